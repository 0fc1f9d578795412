"""Searches for wrong answers about sources: writes random drivers and compares with runs.

    python bench/random_sources.py [--first SEED] [--count N] [--wider|--pointers] [--jobs N]
        [--keep FOLDER]

The programs are those of random_drivers.py, of the same kinds. Each exists in C and in Python:
`hvci` reads the C, without a compiler, and the Python is run many times and tells which pool type
each call can receive. An answer that is called complete and lacks one of those is wrong, and so is
a call that was not found, unless a limit owns up to it. "loud": the rule fails, and no run asked
for executable memory. `--keep` writes the sources of every wrong answer with what its calls
receive, as a fixture (tests/fixtures/random_sources).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from random_kinds import KINDS, TESTS, add_arguments, as_json  # first: it finds what follows

from received import Answer  # isort: skip

KERNEL = TESTS / "fixtures" / "src" / "kernel.h"
PARTS = (".c", ".2.c")
"""How the names of a program's files end."""
SHOWN = 3
"""Problems of one program that are printed."""


class Row(NamedTuple):
    """What became of one program."""

    name: str
    answer: Answer
    seconds: float


def examine(seed: int, options: argparse.Namespace) -> Row:
    """Write the program of a seed and judge what is said of it."""
    kind = KINDS[options.kind]
    program = kind.make(seed)
    observed = program.values(seed)
    name = f"{kind.letter}{seed}"
    with tempfile.TemporaryDirectory(prefix="random-") as scratch:
        folder = Path(scratch)
        write(folder, name, program.sources)
        begin = time.process_time()
        found = kind.judge(folder, observed)
        spent = time.process_time() - begin
    if found.problems and options.keep:
        write(options.keep / name, name, program.sources, with_kernel=False)
        (options.keep / name / "received.json").write_text(as_json(observed))
    return Row(name, found, spent)


def write(folder: Path, name: str, sources: Iterable[str], with_kernel: bool = True) -> None:
    """Write the sources of a program, with the header that they include."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in zip(PARTS, sources, strict=False):
        (folder / f"{name}{part}").write_text(text)
    if with_kernel:
        shutil.copy(KERNEL, folder)


def tell(row: Row) -> None:
    """Print a wrong answer."""
    if row.answer.problems:
        first, rest = row.answer.problems[:SHOWN], len(row.answer.problems) - SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        print(f"{row.name}: {'; '.join(first)}{more}", flush=True)


def table(rows: Iterable[Row]) -> str:
    """The sums of all programs, and the slowest."""
    n, slowest = Counter[str](), 0.0
    for row in rows:
        found, slowest = row.answer, max(slowest, row.seconds)
        for key in ("loud", "sites", "open", "unseen"):
            n[key] += getattr(found, key)
        n.update(drivers=1, wrong=int(bool(found.problems)), limits=int(bool(found.limits)))
    said = ", ".join(f"{n[key]} {key}" for key in ("drivers", "wrong", "loud", "limits", "sites"))
    share = 100 * n["open"] / max(n["sites"], 1)
    return f"{said}, {share:.1f}% of them open; {n['unseen']} calls unseen; slowest {slowest:.1f} s"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    add_arguments(parser)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    with ProcessPoolExecutor(max_workers=options.jobs) as pool:
        seeds = range(options.first, options.first + options.count)
        for row in pool.map(partial(examine, options=options), seeds):
            rows.append(row)
            tell(row)
    print(table(rows))


if __name__ == "__main__":
    main()
