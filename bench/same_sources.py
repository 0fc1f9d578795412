"""Compares two builds on sources: whole reports, processor time and memory, in turns in one run.

    python bench/same_sources.py OTHER PATH... [--repeat N]

OTHER is a checkout of another commit. Each PATH is given to both builds as it is (a folder, a
solution, a project, a file), each time in a new process with the same Python. Equal means equal in
everything but the time taken. With no difference the ratio of the least times is what counts. The
share of parsing is that of tree-sitter's parser in this build, measured in a run of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
_ONE = """
import json, resource, sys, time
begin = time.process_time()
parsing = [0.0]
if sys.argv[2] == "parsing":
    try:
        from hvci.source.preprocess import tree
    except ImportError:  # a checkout in which all lay in one room
        from hvci.source import tree
    def timed(function):
        def run(*given):
            start = time.process_time()
            try:
                return function(*given)
            finally:
                parsing[0] += time.process_time() - start
        return run
    tree._parse_piece, tree.parse = timed(tree._parse_piece), timed(tree.parse)
from hvci import evaluate
from hvci.errors import HvciError
from hvci.report.document import Document
from hvci.report.encode import to_json
from pathlib import Path
try:
    if hasattr(evaluate, "evaluate_drivers"):
        found = evaluate.evaluate_drivers(sys.argv[1], evaluate.Options())
    else:
        found = [evaluate.evaluate(sys.argv[1])]
    reports = json.loads(to_json(Document(tuple(found))))["reports"]
except HvciError as error:
    reports = [{"error": str(error)}]
for report in reports:
    report.pop("seconds", None)
usage = resource.getrusage(resource.RUSAGE_SELF)
spent = time.process_time() - begin
print(json.dumps([spent, usage.ru_maxrss // 1024, parsing[0], reports]))
"""


def one(root: Path, path: str, how: str = "") -> tuple[float, int, float, object]:
    """(processor seconds, megabytes at most, seconds of parsing, reports) of one build."""
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _ONE, path, how],
        env={"OPENBLAS_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return tuple(json.loads(done.stdout))


def main() -> int:
    """Compare, and say how many targets differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    different, totals, most = 0, [0.0, 0.0], [0, 0]
    for path in options.paths:
        best: list[float] = [float("inf"), float("inf")]
        found: list[object] = [None, None]
        for n in range(options.repeat):
            for each in (0, 1) if n % 2 else (1, 0):
                root = (options.other, HERE)[each]
                seconds, megabytes, _, found[each] = one(root, path)
                best[each] = min(best[each], seconds)
                most[each] = max(most[each], megabytes)
        totals = [total + seconds for total, seconds in zip(totals, best, strict=True)]
        if found[0] != found[1]:
            different += 1
            print(f"{path}: DIFFERENT")
        print(f"{path}: {best[0]:.2f} -> {best[1]:.2f} s x{best[1] / best[0]:.2f}", flush=True)
    seconds, _, parsing, _ = one(HERE, options.paths[0], "parsing")
    print(
        f"{len(options.paths)} targets, {different} differ; x{totals[1] / totals[0]:.2f};", end=" "
    )
    print(f"{most[0]} -> {most[1]} MB; parsing {parsing / seconds:.0%} of the first")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
