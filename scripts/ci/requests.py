#!/usr/bin/env python3
"""Checks logs of Graph requests, each by itself, with the checker of a folder that is read once for all of them.

    requests.py FOLDER_OF_THE_CHECKER LOG.jsonl ...

Prints what is found and the number of requests. Ends with 1 where something is found or a log cannot be used.
"""

import contextlib
import io
import multiprocessing
import os
import sys

sys.path.insert(0, sys.argv[1])
import check_requests  # noqa: E402


def check(log):
    """What the checker says of one log, and the number of requests in it."""
    out = io.StringIO()
    sys.argv = ["check_requests.py", "--min-requests", "0", log]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = check_requests.main()
    with open(log, "rb") as lines:
        return status, f"{log}:\n{out.getvalue()}", sum(1 for _ in lines)


def main():
    logs = sorted(sys.argv[2:], key=os.path.getsize, reverse=True)
    check_requests.Checker()  # reads Microsoft's metadata, which the processes below share
    total = failed = 0
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for status, text, requests in pool.imap_unordered(check, logs):
            total += requests
            if status:
                failed += 1
                print(text)
    print(f"{total} requests in {len(logs)} logs checked, {failed} logs with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
