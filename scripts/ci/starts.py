"""What the start of one staged package costs, and that of another, in turn: starts.py DIST OTHER [STARTS].

Each is started as the Functions host would, until its port takes a connection. Fails when the first takes more than
5 ms longer than the other, in the median.
"""

import glob
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

LONGER_MS = 5.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(program):
    """Milliseconds until it listens, of that on a processor, and megabytes of memory: resident, private."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "FUNCTIONS_CUSTOMHANDLER_PORT": str(port), "DATA_DIR": folder, "REQUIRE_API_KEY": "true",
            "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000001", "AZURE_CLIENT_SECRET": "unused",
            "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000002",
        }
        begun = time.perf_counter()
        process = subprocess.Popen(
            [program, "serve"], env=environment, cwd=os.path.dirname(program), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, f"{program} ended"
                    time.sleep(0.0002)
            listens = (time.perf_counter() - begun) * 1e3
            threads = glob.glob(f"/proc/{process.pid}/task/*/schedstat")
            busy = sum(int(open(thread).read().split()[0]) for thread in threads) / 1e6
            time.sleep(0.2)
            rows = (line.split() for line in open(f"/proc/{process.pid}/smaps_rollup") if line.endswith("kB\n"))
            memory = {row[0]: int(row[1]) / 1e3 for row in rows}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return listens, busy, memory["Rss:"], memory["Private_Dirty:"]


def main():
    folders, starts = sys.argv[1:3], int(sys.argv[3]) if len(sys.argv) > 3 else 30
    programs = [os.path.abspath(f"{folder}/graphgate") for folder in folders]
    for program in programs:
        start(program)  # reads it from the disk
    measured = {program: [] for program in programs}
    for _ in range(starts):
        for program in programs:
            measured[program].append(start(program))
    medians = [[statistics.median(column) for column in zip(*measured[program])] for program in programs]
    for folder, (listens, busy, resident, private) in zip(folders, medians):
        print(f"{folder}: listens after {listens:.1f} ms, {busy:.1f} ms of them busy; {resident:.1f} MB resident, {private:.1f} private")
    longer = medians[0][0] - medians[1][0]
    print(f"{longer:+.1f} ms in the median of {starts} starts each, in turn")
    sys.exit(longer > LONGER_MS)


main()
