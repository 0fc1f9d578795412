"""Searches for wrong answers: builds random drivers and compares what is said of them with runs.

    python bench/random_drivers.py [--first SEED] [--count N] [--machine x64 ...] [--keep FOLDER]

Each program exists in C and in Python (random_program.py). The C is compiled at a random level; the
Python is run many times and tells which pool type each call can receive. An answer that is called
complete and lacks one of those is wrong, and so is a call that was not found. `--keep` writes the
driver of every wrong answer with its source and what its calls receive, as a fixture
(tests/fixtures/random). Needs the `ziglang` wheel of the version that tests/fixtures names.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from random_program import Program

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "fixtures")]

from kit.driver import prepare  # noqa: E402
from kit.toolchain import ARCHES, BuildError, Toolchain  # noqa: E402

from received import contradictions  # noqa: E402

LEVELS = ("-O0", "-O1", "-O2", "-Os", "-Oz", "-O3")
FLAGS: tuple[tuple[str, ...], ...] = ((), (), ("-fno-omit-frame-pointer",), ("-fno-inline",))


def build(tools: Toolchain, source: Path, machine: str, flags: list[str]) -> Path:
    """The driver of a source."""
    stem = f"{source.stem}.{machine}{flags[0]}"
    text = (tools.scratch / tools.compile(source, machine, stem, ["-w", *flags], False)).read_text()
    name = f"{stem}.sys"
    tools.link(machine, [tools.assemble(text, machine, stem), f"support.{machine}.obj"], name, [])
    return tools.scratch / name


def keep(folder: Path, driver: Path, program: Program, received: dict[int, set[int]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(driver, folder)
    (folder / f"{driver.stem}.c").write_text(program.source)
    found = {f"{tag:#x}": sorted(values) for tag, values in sorted(received.items())}
    (folder / f"{driver.stem}.json").write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--machine", choices=ARCHES, action="append")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    drivers = calls = wrong = 0
    with tempfile.TemporaryDirectory(prefix="random-") as scratch:
        tools = Toolchain(Path(scratch))
        prepare(tools)
        for seed in range(options.first, options.first + options.count):
            program, choice = Program(seed), random.Random(~seed)
            received = program.values(seed)
            source = tools.scratch / f"r{seed}.c"
            source.write_text(program.source)
            for machine in options.machine or ARCHES:
                try:
                    flags = [choice.choice(LEVELS), *choice.choice(FLAGS)]
                    driver = build(tools, source, machine, flags)
                except BuildError as error:
                    print(f"{source.name} for {machine}: {error}", file=sys.stderr)
                    continue
                problems = [*contradictions(driver.read_bytes(), received)]
                drivers, calls = drivers + 1, calls + len(received)
                if problems:
                    wrong += 1
                    print(f"{driver.name} {' '.join(flags)}: {'; '.join(problems)}", flush=True)
                    if options.keep:
                        keep(options.keep, driver, program, received)
                driver.unlink()
    print(f"{drivers} drivers with {calls} calls, {wrong} with a wrong answer")


if __name__ == "__main__":
    main()
