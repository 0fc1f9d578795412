"""Compares two builds on the same files: whole reports, and what they cost, in turns in one run.

    python bench/same.py OTHER FILE|FOLDER... [--machine x64] [--limit N] [--repeat N] [--details N]

OTHER is a checkout of another commit (`git worktree add ../other COMMIT`); the build in which this
file lies is compared to it. Each build runs in a process of its own with the same Python, and every
file is given to both, one after the other, so that both meet the same moods of the machine. Equal
means equal in everything but the time taken: verdict, answers, rules, findings, calls, values and
limits. What differs is named by file. Times are the least of `--repeat` runs, in processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def serve() -> None:
    """Evaluate the paths that come in, one a line; answer with a report and its cost."""
    from hvci.errors import HvciError
    from hvci.evaluate import evaluate
    from hvci.report.document import Document
    from hvci.report.encode import to_json

    for line in sys.stdin:
        path, repeat = json.loads(line)
        best, answer = float("inf"), {}
        for _ in range(repeat):
            begin = time.process_time()
            try:
                report = evaluate(path)
            except HvciError as error:
                answer, report = {"error": str(error)}, None
            best = min(best, time.process_time() - begin)
        if report is not None:
            answer = json.loads(to_json(Document((report,))))["reports"][0]
            answer.pop("seconds")
        print(json.dumps([best, answer]), flush=True)


class Build:
    """One checkout, asked in a process of its own: `script --serve` answers a path a line."""

    def __init__(self, root: Path, script: str = __file__) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(script).resolve()), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self, path: Path, repeat: int) -> tuple[float, dict]:
        """(least processor time in seconds, answer) of one file."""
        self.process.stdin.write(json.dumps([str(path), repeat]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            return 0.0, {"error": "the process died"}
        seconds, answer = json.loads(line)
        return seconds, answer


def _rows(report: dict, name: str) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in report.get(name, ()))


def _calls(report: dict) -> dict[tuple, dict]:
    """By place alone: the name of the function around it may be told better."""
    return {
        (call["ddi"], json.dumps(call["site"].get("rva") or call["site"])): call
        for call in report.get("calls", ())
    }


def _arguments(before: dict, after: dict) -> Iterator[str]:
    """Calls that are new or lost, and arguments that changed."""
    old, new = _calls(before), _calls(after)
    for key in sorted(old.keys() | new.keys()):
        what = f"{key[0]} at {key[1]}"
        if key not in new:
            yield f"LOST call {what}"
        elif key not in old:
            yield f"new call {what}: {_values(new[key])}"
        elif old[key] != new[key]:
            yield f"{what}: {_values(old[key])} -> {_values(new[key])}"


def _values(call: dict) -> str:
    found = (
        f"{name}={'|'.join(map(hex, value['possible']))}"
        + ("" if value["complete"] else f"? ({value['reason']})")
        for name, value in call["arguments"].items()
    )
    return f"[{call['via']}] " + ", ".join(found) + (f" {call['executable']}")


def differences(before: dict, after: dict) -> Iterator[str]:
    """What a person wants to know of two reports that are not equal."""
    for name in ("error", "verdict", "answers", "counters"):
        if before.get(name) != after.get(name):
            yield f"{name}: {before.get(name)} -> {after.get(name)}"
    old = {rule["id"]: rule["outcome"] for rule in before.get("rules", ())}
    for rule in after.get("rules", ()):
        if old.get(rule["id"]) != rule["outcome"]:
            yield f"{rule['id']}: {old.get(rule['id'])} -> {rule['outcome']}"
    yield from _arguments(before, after)
    old_limits, new_limits = _rows(before, "limits"), _rows(after, "limits")
    yield from (f"limit gone: {row}" for row in sorted(old_limits - new_limits))
    yield from (f"limit new: {row}" for row in sorted(new_limits - old_limits))


def _change(old: float, new: float) -> str:
    """Two times and their ratio."""
    return f"{old * 1e3:.2f} -> {new * 1e3:.2f} ms x{new / old:.3f}"


@dataclass
class Tally:
    """What was seen of one machine."""

    times: list[tuple[float, float]] = field(default_factory=list)
    different: int = 0

    def line(self, machine: str) -> str:
        """Ratios of this build to the other."""
        old, new = ([pair[n] for pair in self.times] for n in (0, 1))
        ratios = sorted(b / a for a, b in self.times if a > 0)
        p95 = sorted(new)[int(len(new) * 0.95)] / sorted(old)[int(len(old) * 0.95)]
        return (
            f"{machine:<7}{len(old):>5} files, {self.different} differ; "
            f"total {_change(sum(old), sum(new))}; "
            f"median {_change(statistics.median(old), statistics.median(new))} "
            f"(of ratios x{statistics.median(ratios):.3f}); p95 x{p95:.3f}; "
            f"worst {_change(max(old), max(new))}"
        )


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.sys")) if path.is_dir() else [path]


def main() -> int:
    if sys.argv[1:] == ["--serve"]:
        serve()
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--machine")
    parser.add_argument("--limit", type=int, default=1 << 30)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--details", type=int, default=6, help="differences shown of one file")
    options = parser.parse_args()
    builds = Build(options.other), Build(HERE)
    tallies: dict[str, Tally] = {}
    for n, path in enumerate(_files(options.paths)):
        if n >= options.limit:
            break
        order = (0, 1) if n % 2 else (1, 0)
        found = {each: builds[each].ask(path, options.repeat) for each in order}
        (old_time, old), (new_time, new) = found[0], found[1]
        machine = (new.get("target") or old.get("target") or {}).get("machine") or "none"
        if options.machine not in (None, machine):
            continue
        tally = tallies.setdefault(machine, Tally())
        tally.times.append((old_time, new_time))
        if old != new:
            tally.different += 1
            lines = [*differences(old, new)] or ["other fields only"]
            print(f"{path}: {len(lines)} differences", *lines[: options.details], sep="\n    ")
            sys.stdout.flush()
    for machine, tally in sorted(tallies.items()):
        print(tally.line(machine))
    return int(any(tally.different for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
