"""Scan drivers with changed bytes, and programs made native: each is a report or a sentence.

    python bench/mutants.py FOLDER --number 20000 [--programs FOLDER] [--largest 200000] [--seed 1]

A mutant is a driver of the folder with some bytes overwritten, cut off or doubled. Of programs for
user mode only the subsystem is changed, so that they are judged as drivers. Shown is what came of
them; the exit code is 1 where one has no answer, or a process died or gave up at it.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

BATCH = 1000
"""Files that are scanned together."""
ANSWERS = (
    *("compatible", "incompatible", "undecided"),
    *("NotAnImage", "DamagedImage", "UnsupportedImage"),
)
"""What may come of a file."""
NATIVE = 1
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutant(data: bytes, chance: random.Random) -> bytes:
    """A driver that was changed in one to eight places, its headers as often as the rest."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        end = min(0x400, len(changed)) if chance.random() < 0.5 else len(changed)
        at = chance.randrange(max(1, end - 8))
        match chance.randrange(5):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                struct.pack_into("<I", changed, at, chance.choice(INTERESTING))
            case 2:
                changed[at : at + 8] = chance.randbytes(8)
            case 3 if chance.random() < 0.2 and len(changed) > 0x400:
                del changed[chance.randrange(0x200, len(changed)) :]
            case _:
                size = chance.randrange(1, 64)
                changed[at : at + size] = changed[at : at + size] * 2
    return bytes(changed)


def native(data: bytes) -> bytes | None:
    """A program for user mode with the subsystem of drivers; None for what is none."""
    try:
        (header,) = struct.unpack_from("<I", data, 0x3C)
        if data[:2] != b"MZ" or data[header : header + 4] != b"PE\0\0":
            return None
        changed = bytearray(data)
        struct.pack_into("<H", changed, header + 24 + 68, NATIVE)
    except struct.error:
        return None
    return bytes(changed)


def made(options: argparse.Namespace) -> Iterator[bytes]:
    """Everything that is scanned."""
    chance = random.Random(options.seed)
    paths = [path for path in sorted(options.folder.rglob("*.sys")) if path.is_file()]
    drivers = [path for path in paths if path.stat().st_size <= options.largest]
    for _ in range(options.number):
        yield mutant(chance.choice(drivers).read_bytes(), chance)
    for path in sorted(options.programs.rglob("*")) if options.programs else ():
        if path.is_file() and path.stat().st_size <= options.largest:
            found = native(path.read_bytes())
            if found is not None:
                yield found


def scanned(files: list[bytes], jobs: int) -> Counter[str]:
    """What `hvci scan` says of some files: verdicts, and kinds of problems."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        folder, database = Path(scratch, "in"), Path(scratch, "scan.db")
        folder.mkdir()
        for number, data in enumerate(files):
            (folder / f"{number:05}.sys").write_bytes(data)
        words = [sys.executable, "-m", "hvci", "scan", str(folder), "--quiet"]
        words += ["--database", str(database), "--jobs", str(jobs)]
        subprocess.run(words, check=True)
        rows = sqlite3.connect(database).execute(
            "SELECT coalesce(seen.problem, nullif(result.verdict, '-'), result.kind, 'nothing'),"
            " coalesce(sentence, summary)"
            " FROM seen LEFT JOIN result ON result.id = seen.result_id"
        )
        told = Counter(str(kind) for kind, sentence in rows if sentence and "\n" not in sentence)
    told["without a sentence"] = len(files) - told.total()
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--programs", type=Path)
    parser.add_argument("--largest", type=int, default=200_000, help="bytes of a file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    told: Counter[str] = Counter()
    batch: list[bytes] = []
    for data in made(options):
        batch.append(data)
        if len(batch) == BATCH:
            told += scanned(batch, options.jobs)
            batch = []
            print(told.total(), dict(told), flush=True)
    told += scanned(batch, options.jobs) if batch else Counter()
    for kind, count in told.most_common():
        print(f"{count:7,}  {kind}")
    return int(any(count and kind not in ANSWERS for kind, count in told.items()))


if __name__ == "__main__":
    sys.exit(main())
