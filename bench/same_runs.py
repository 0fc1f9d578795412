"""Compares the emulated verifier of two builds on the same drivers: results, and processor time.

    python bench/same_runs.py OTHER FILE|FOLDER... [--selection] [--limit N] [--repeat N]

OTHER is a checkout of another commit (see same.py); the build in which this file lies is compared
to it, each in a process of its own with the same Python, driver by driver in turns. A run forces
paths, as `hvci verify` does. Equal means equal in every field that both builds know: calls with
their values, page events, counters, entry points, coverage, blocks, paths, limits. Blocks and paths
follow every stand-in and snapshot, so that a shortcut that changes what runs is seen here.
`--selection` takes only the drivers that verifier_drivers.json names. Exit code 1: results differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from pathlib import Path

from same import Build

HERE = Path(__file__).resolve().parent
SELECTION = HERE / "verifier_drivers.json"


def serve() -> None:
    """Run the drivers whose paths come in, one a line; answer with fields and seconds."""
    from hvci.errors import HvciError
    from hvci.verifier.outcome import VerifierOptions
    from hvci.verifier.session import run_here

    for line in sys.stdin:
        path, repeat = json.loads(line)
        data, best, answer = Path(path).read_bytes(), float("inf"), {}
        for _ in range(repeat):
            begin = time.process_time()
            try:
                run = run_here(data, VerifierOptions())
                answer = fields(run)
            except HvciError as error:
                answer = {"error": str(error)}
            best = min(best, time.process_time() - begin)
        print(json.dumps([best, answer]), flush=True)


def fields(run: object) -> dict[str, str]:
    """What a run found, by field; of calls and limits what every build knows."""
    found = {name: repr(getattr(run, name)) for name in run.__slots__}
    found["calls"] = repr(
        sorted(
            (
                call.ddi,
                call.site.rva,
                call.tier,
                sorted((name, sorted(value.possible)) for name, value in call.arguments.items()),
            )
            for call in run.calls
        )
    )
    found["limits"] = repr(sorted(limit.reason for limit in run.limits))
    return found


def excerpt(old: str, new: str) -> str:
    """Where two texts part."""
    at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    return f"...{old[max(0, at - 40) : at + 60]} -> ...{new[max(0, at - 40) : at + 60]}"


def percentile(values: list[float], share: float) -> float:
    """The value below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def summary(times: list[tuple[float, float]], different: int) -> str:
    """One line of figures."""
    old, new = ([pair[n] for pair in times] for n in (0, 1))
    columns = (("total", sum), ("median", statistics.median), ("p95", None), ("worst", max))
    words = [f"{len(times)} drivers, {different} differ"]
    for name, of in columns:
        before, after = (of(v) if of else percentile(v, 0.95) for v in (old, new))
        words.append(f"{name} {before:.2f} -> {after:.2f} s x{after / before:.3f}")
    words.append(f"median of ratios x{statistics.median(b / a for a, b in times):.3f}")
    return "; ".join(words)


def files(paths: list[Path], chosen: bool) -> list[Path]:
    """The drivers to run."""
    found = [each for path in paths for each in (sorted(path.rglob("*.sys")) or [path])]
    if not chosen:
        return found
    names = {name for row in json.loads(SELECTION.read_text()).values() for name in row}
    return [p for p in found if hashlib.sha256(p.read_bytes()).hexdigest()[:16] in names]


def main() -> int:
    if sys.argv[1:] == ["--serve"]:
        serve()
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--selection", action="store_true")
    parser.add_argument("--limit", type=int, default=1 << 30)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    builds = Build(options.other.resolve(), __file__), Build(HERE.parent, __file__)
    times, different = [], 0
    for n, path in enumerate(files(options.paths, options.selection)[: options.limit]):
        order = (0, 1) if n % 2 else (1, 0)
        found = {each: builds[each].ask(path, options.repeat) for each in order}
        (old_time, old), (new_time, new) = found[0], found[1]
        times.append((old_time, new_time))
        print(f"{path.name}: {old_time:.2f} -> {new_time:.2f} s", flush=True)
        names = [name for name in old.keys() & new.keys() if old[name] != new[name]]
        different += bool(names) or ("error" in old) != ("error" in new)
        for name in sorted(names):
            print(f"    {name}: {excerpt(old[name], new[name])}", flush=True)
    print(summary(times, different))
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
