"""Lines covered by the tests, by module: `just coverage`, or `python3 scripts/ci/coverage.py [FILTER of cargo-nextest…]`.

Needs cargo-llvm-cov and the component llvm-tools. Fails below 80 % in all, or in one service or toolset that is no exception.
With a filter it prints only: a part of the tests says nothing of the whole.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEAST = 80
# Of a module, why less is enough: each stands in CONTRIBUTING.md too.
EXCEPTIONS: dict[str, str] = {}


def module(path: pathlib.Path) -> str:
    """`services::planner` for what is below `src/services` and `src/toolsets`, else the first folder or file of `src`."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    if parts[-1] == "mod":
        parts = parts[:-1]
    return "::".join(parts[: 2 if parts[0] in ("services", "toolsets") else 1])


def covered(report: dict) -> dict[str, tuple[int, int]]:
    """For each module, its lines and how many of them a test reached."""
    modules: dict[str, tuple[int, int]] = {}
    for file in report["data"][0]["files"]:
        path = pathlib.Path(file["filename"])
        if not path.is_relative_to(ROOT / "src"):
            continue
        lines = file["summary"]["lines"]
        count, reached = modules.get(module(path), (0, 0))
        modules[module(path)] = (count + lines["count"], reached + lines["covered"])
    return modules


def main() -> None:
    filters = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "coverage.json"
        nextest = f"cargo llvm-cov nextest --json --summary-only --output-path {out}"
        tests = [ROOT / "scripts/ci/tests.sh", "--lib", "--test", "it", *filters]
        subprocess.run(tests, check=True, env={**os.environ, "NEXTEST": nextest})
        modules = covered(json.loads(out.read_text()))
    modules["all"] = tuple(map(sum, zip(*modules.values())))
    low = []
    for name, (count, reached) in sorted(modules.items()):
        share = 100 * reached / max(count, 1)
        print(f"{share:6.1f} %  {reached:6} of {count:6}  {name}")
        judged = name == "all" or name.startswith(("services::", "toolsets::"))
        if judged and share < LEAST and name not in EXCEPTIONS:
            low.append(name)
    if low and not filters:
        sys.exit(f"below {LEAST} %: {', '.join(low)}")


if __name__ == "__main__":
    main()
