"""Fuzz every reader, one after the other, and say what came of it.

    python fuzz/run.py --minutes 60 [TARGET ...]
    python fuzz/run.py --minutes 480 --until 50000 --turns 2
    python fuzz/run.py --table

Each target is a file of fuzz/targets with `one(data: bytes) -> None`. What it must hold to: an
answer or one sentence (`answers.py`), within 5 s and 1 GiB. What breaks that is made small, kept
in fuzz/corpus/TARGET and from then on a test (tests/fuzz). With the package `atheris` inputs are
chosen by coverage, else seeds are changed at random, which is several times as fast: --turns
does both in turns, and what coverage chose is what the other changes. Figures add up in the folder
of --state.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem != "__init__")
PATIENCE = 120
"""Seconds that one input may take before the process is ended."""
HEADS = ("target", "executions", "by coverage", "edges", "a second", "slowest s", "MiB", "defects")


def run(target: str, seconds: float, state: Path, plain: bool, until: int) -> None:
    """Fuzz one target and add its figures to those of earlier runs."""
    now = state / "now"
    words = [sys.executable, str(HERE / "engine.py"), target, "--state", str(now)]
    words += ["--seconds", str(seconds), *(["--plain"] if plain else [])]
    if until:
        words += ["--most", str(until - _known(state, target)["executions"])]
    now.mkdir(parents=True, exist_ok=True)
    for old in now.glob(f"{target}.*"):
        old.unlink()
    log = now / f"{target}.log"
    with log.open("w") as out:
        try:
            patience = 1.5 * seconds + PATIENCE
            code = subprocess.run(
                words, stdout=out, stderr=out, check=False, timeout=patience
            ).returncode
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
    told = now / f"{target}.json"
    new = json.loads(told.read_text()) if told.exists() else {}
    said = log.read_text(errors="replace")
    new["edges"] = max(map(int, re.findall(r"\bcov: (\d+)", said)), default=0)
    done = [
        *re.findall(r"#(\d+)\s+DONE", said),
        *re.findall(r"number_of_executed_units: (\d+)", said),
    ]
    new["executions"] = max([new.get("executions", 0), *map(int, done)])
    for path in now.glob(f"{target}.*-*"):
        new.setdefault("defects", {})[f"{path.name.split('-')[0].split('.')[1]}: {target}"] = str(
            path
        )
    new["guided"] = 0 if plain else new["executions"]
    if code and not new.get("defects"):
        last = now / f"{target}.last"
        where = last.rename(last.with_suffix(f".{time.time_ns()}")) if last.exists() else log
        new.setdefault("defects", {})[f"ended with {code}: {target}"] = str(where)
    _add(state / f"{target}.json", new)


def _add(path: Path, new: dict[str, Any]) -> None:
    old = _known(path.parent, path.stem)
    total: dict[str, Any] = {
        "executions": old["executions"] + new.get("executions", 0),
        "seconds": round(old.get("seconds", 0) + new.get("seconds", 0), 1),
    }
    total["guided"] = old.get("guided", 0) + new.get("guided", 0)
    for name in ("edges", "slowest", "memory"):
        total[name] = max(old.get(name, 0), new.get(name, 0))
    total["defects"] = {**old.get("defects", {}), **new.get("defects", {})}
    path.write_text(json.dumps(total, indent=1))


def table(state: Path) -> str:
    """What is known of all targets."""
    rows = [HEADS]
    total = defects = 0
    for target in TARGETS:
        one = _known(state, target)
        rate = one["executions"] / (one.get("seconds") or 1)
        total += one["executions"]
        defects += len(one["defects"])
        rows.append(
            (
                target,
                f"{one['executions']:,}",
                f"{one.get('guided', 0):,}",
                str(one.get("edges", 0)),
                f"{rate:.0f}",
                f"{one.get('slowest', 0):.2f}",
                str(one.get("memory", 0)),
                str(len(one["defects"])),
            )
        )
    rows.append(("all", f"{total:,}", "", "", "", "", "", str(defects)))
    wide = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(r, wide, strict=True)) for r in rows
    )


def _known(state: Path, target: str) -> dict[str, Any]:
    path = state / f"{target}.json"
    return json.loads(path.read_text()) if path.exists() else {"executions": 0, "defects": {}}


def take_turns(targets: list[str], options: argparse.Namespace) -> None:
    """Fuzz targets until the time is over or all have had their executions."""
    end = time.monotonic() + 60 * options.minutes
    has_coverage = not options.plain and importlib.util.find_spec("atheris") is not None
    turn = 0
    while True:
        waiting = [one for one in targets if not _has_enough(one, options)]
        for number, target in enumerate(waiting):
            begin = time.monotonic()
            share = (end - begin) / (len(waiting) - number)
            if options.turns:
                share = min(share, 60 * options.turns)
            if share < 1:
                return
            plain = not has_coverage or bool(turn % 2)
            run(target, share, options.state, plain, options.until)
            print(f"{target}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        turn += 1
        if not waiting or not options.turns:
            return


def _has_enough(target: str, options: argparse.Namespace) -> bool:
    done: int = _known(options.state, target)["executions"]
    return bool(options.until) and done >= options.until


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=60, help="for all targets together")
    parser.add_argument(
        "--until",
        type=int,
        default=0,
        metavar="N",
        help="leave out targets with so many executions",
    )
    parser.add_argument(
        "--turns",
        type=float,
        default=0,
        metavar="MINUTES",
        help="go round, so long at each target: with coverage, then without it, and so on",
    )
    parser.add_argument("--state", type=Path, default=HERE / "state")
    parser.add_argument("--plain", action="store_true", help="without coverage, even with atheris")
    parser.add_argument("--table", action="store_true", help="run nothing, show the figures")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target {sorted(unknown)[0]}; there are {', '.join(TARGETS)}")
    chosen = options.targets or TARGETS
    if not options.table:
        take_turns(chosen, options)
    print(table(options.state))
    for target in chosen:
        for key, where in _known(options.state, target)["defects"].items():
            print(f"{target}: {key} ({where})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
