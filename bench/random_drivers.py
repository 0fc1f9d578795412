"""Searches for wrong answers: builds random drivers and compares what is said of them with runs.

    python bench/random_drivers.py [--first SEED] [--count N] [--machine x64 ...]
        [--compiler clang|gcc|clang-gnu ...] [--no-unwind] [--flags="..."] [--jobs N]
        [--wider|--pointers] [--keep FOLDER] [--rows FILE]

Each program exists in C and in Python (random_program.py, with `--wider` random_shapes.py). The
C is compiled by one of the compilers of random_builds.py; the Python is run many times and tells
which pool type each call can receive. An answer that is called complete and lacks one of those is
wrong, and so is a call that was not found where no limit says so. "loud": the rule fails, and no
run asked for executable memory; a few are right. `--no-unwind` builds without unwind tables, which
for x64 and ARM64 tell where functions are. `--flags` replaces what a seed would choose. `--keep`
writes the driver of every wrong answer with its source and what its calls receive, as a fixture
(tests/fixtures/random); `--rows` writes a line of JSON for every driver.

With `--pointers` (random_pointers.py) the runs tell which pointers lead to data when they are
called, and to code when they are written through; a rule that passes though a run broke it is
wrong. The sites are then the rules.

Needs the `ziglang` wheel of the version that tests/fixtures names, and for `gcc` and `clang-gnu`
the compilers and the linker of MinGW-w64.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from random_kinds import KINDS, Observed, add_arguments, as_json  # first: it finds what follows

from kit.toolchain import ARCHES, BuildError  # isort: skip
from random_builds import MACHINES, Builder, Setting, choose, missing  # isort: skip
from received import Answer  # isort: skip

IN_A_CHUNK = 20
"""Seeds that one process builds with what it made once."""

PARTS = ("", ".2")
"""How the names of a program's files end."""
SHOWN = 3
"""Problems of one driver that are printed."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one driver; without an answer it could not be built."""

    program: str
    setting: Setting
    answer: Answer | None
    failure: str = ""


def examine(seeds: Iterable[int], options: argparse.Namespace) -> list[Row]:
    """Build the drivers of some seeds and judge what is said of them."""
    with tempfile.TemporaryDirectory(prefix="random-") as scratch:
        builder = Builder(Path(scratch), options.compiler)
        return [row for seed in seeds for row in _examine(builder, seed, options)]


def _examine(builder: Builder, seed: int, options: argparse.Namespace) -> Iterator[Row]:
    kind = KINDS[options.kind]
    program = kind.make(seed)
    observed = program.values(seed)
    name = f"{kind.letter}{seed}"
    sources = [builder.scratch / f"{name}{part}.c" for part in PARTS[: len(program.sources)]]
    for path, text in zip(sources, program.sources, strict=True):
        path.write_text(text)
    for setting in settings(seed, options):
        try:
            driver = builder.build(sources, setting)
        except BuildError as error:
            yield Row(name, setting, None, str(error))
            continue
        found = kind.judge(driver.read_bytes(), observed)
        if found.problems and options.keep:
            keep(options.keep, driver, f"/* {setting.command} */\n{program.source}", observed)
        driver.unlink()
        yield Row(name, setting, found)


def settings(seed: int, options: argparse.Namespace) -> Iterator[Setting]:
    """How the program of a seed is built."""
    flags = None if options.flags is None else options.flags.split()
    for compiler in options.compiler:
        for machine in MACHINES[compiler]:
            if machine in options.machine:
                yield choose(seed, compiler, machine, options.unwind, flags)


def keep(folder: Path, driver: Path, source: str, observed: Observed) -> None:
    """Write a driver as a fixture."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(driver, folder)
    (folder / f"{driver.stem}.c").write_text(source)
    (folder / f"{driver.stem}.json").write_text(as_json(observed))


def tell(row: Row) -> None:
    """Print a wrong answer, or why there is none."""
    name = f"{row.program}{row.setting.name} ({row.setting.command})"
    if row.answer is None:
        print(f"{name}: {row.failure}", file=sys.stderr, flush=True)
    elif row.answer.problems:
        first, rest = row.answer.problems[:SHOWN], len(row.answer.problems) - SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        print(f"{name}: {'; '.join(first)}{more}", flush=True)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Per compiler, machine and level, then per compiler and machine, in columns."""
    sums: dict[tuple[str, str, str], Counter[str]] = {}
    for row in rows:
        for level in (row.setting.level, "all"):
            key = row.setting.compiler, row.setting.machine, level
            _add(sums.setdefault(key, Counter()), row.answer)
    yield f"{'compiler':10}{'machine':8}{'level':6}{'drivers':>8}{'wrong':>6}{'missed':>7}" + (
        f"{'loud':>5}{'limits':>7}{'sites':>7}{'open':>6}"
    )
    for (compiler, machine, level), n in sorted(sums.items()):
        share = 100 * n["open"] / max(n["sites"], 1)
        yield f"{compiler:10}{machine:8}{level:6}{n['drivers']:8}{n['wrong']:6}{n['missed']:7}" + (
            f"{n['loud']:5}{n['limits']:7}{n['sites']:7}{share:5.1f}%"
        )


def _add(to: Counter[str], found: Answer | None) -> None:
    if found is None:
        return
    missed = any(text.startswith("no call") for text in found.problems)
    to.update(
        drivers=1, wrong=bool(found.problems), missed=missed, loud=found.loud,
        limits=bool(found.limits), sites=found.sites, open=found.open,
    )  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line, with every default filled in."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--compiler", choices=MACHINES, action="append")
    parser.add_argument("--machine", choices=ARCHES, action="append")
    parser.add_argument("--unwind", action=argparse.BooleanOptionalAction, default=True)
    add_arguments(parser)
    parser.add_argument("--flags", help="instead of those that a seed chooses; a level too")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    options.compiler = options.compiler or ["clang"]
    options.machine = options.machine or [*ARCHES]
    for setting in settings(0, options):
        if program := missing(setting.compiler, setting.machine):
            parser.error(f"{setting.compiler} for {setting.machine} needs {program}")
    return options


def main() -> None:
    """Run the command line."""
    options = arguments()
    seeds = range(options.first, options.first + options.count)
    chunks = [seeds[at : at + IN_A_CHUNK] for at in range(0, len(seeds), IN_A_CHUNK)]
    rows: list[Row] = []
    with ProcessPoolExecutor(max_workers=options.jobs) as pool:
        for found in pool.map(partial(examine, options=options), chunks):
            rows += found
            for row in found:
                tell(row)
    if options.rows:
        options.rows.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
