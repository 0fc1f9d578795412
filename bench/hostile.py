"""How long code takes that is written to keep an analysis busy.

    python bench/hostile.py [--machine x64] [--number 40] [--size 1048576] [--seed 1]

Each image is one section of code: a random pattern of instructions over and over, from those of
tests/evidence/test_hostile_code.py and some more. Shown are the slowest, in CPU seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "evidence")]

import test_hostile_code as hostile  # noqa: E402  (found by the line above)

from hvci.evaluate import evaluate  # noqa: E402

Part = Any
"""An instruction: bytes or a word, or an opening and what its operand names."""
SHOWN = 10
LONGEST = 8
"""Instructions in a pattern."""
MORE: dict[str, list[Part]] = {
    "x64": [
        b"\x74\x10",  # je
        b"\xeb\xe0",  # jmp, back
        b"\xff\xd3",  # call rbx
        (b"\xff\x25", hostile.SLOT),  # jmp [slot]
        (b"\x48\x8b\x1d", hostile.SLOT),  # mov rbx, [slot]
        (b"\xe8", hostile.CODE),
        b"\x48\x8b\xcb",  # mov rcx, rbx
        b"\x48\x89\x5c\x24\x20",  # mov [rsp+20h], rbx
        b"\x48\x8b\x5c\x24\x20",
        b"\xff\x50\x18",  # call [rax+18h]
        b"\xc3",
    ],
    "x86": [
        b"\x74\x10",
        b"\xeb\xe0",
        b"\xff\xd6",  # call esi
        (b"\xff\x25", hostile.SLOT),
        (b"\x8b\x35", hostile.SLOT),  # mov esi, [slot]
        b"\x55\x8b\xec",
        b"\x8b\x45\xf8",
        b"\xff\x50\x18",
        b"\xc2\x08\x00",
    ],
    "arm64": [
        0x5400_0080,  # b.eq
        0x17FF_FFF0,  # b, back
        0xD63F_0260,  # blr x19
        (0xF940_0013, hostile.SLOT),  # ldr x19
        0xAA13_03E0,  # mov x0, x19
        0xF900_0BF3,  # str x19, [sp, #16]
        0xF940_0BF3,
        0xD65F_03C0,
    ],
}


def parts(machine: str) -> list[Part]:
    """All instructions that patterns are made of."""
    patterns = {"x64": hostile.X64, "x86": hostile.X86, "arm64": hostile.ARM64}[machine]
    return [*(part for pattern in patterns.values() for part in pattern), *MORE[machine]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", choices=sorted(MORE), default="x64")
    parser.add_argument("--number", type=int, default=40, help="images")
    parser.add_argument("--size", type=int, default=1 << 20, help="bytes of code in each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    hostile.SIZE = options.size
    rows: list[tuple[float, str, list[Part]]] = []
    for seed in range(options.seed, options.seed + options.number):
        chosen = random.Random(seed)
        pattern = chosen.choices(parts(options.machine), k=chosen.randint(1, LONGEST))
        data = hostile.filled(options.machine, pattern)
        begin = time.process_time()
        report = evaluate(data)
        rows.append((time.process_time() - begin, str(report.verdict), pattern))
    rows.sort(key=lambda row: -row[0])
    print("verdicts", dict(Counter(verdict for _, verdict, _ in rows)))
    for seconds, verdict, pattern in rows[:SHOWN]:
        print(f"{seconds:7.2f} s  {verdict:12}  {pattern}")


if __name__ == "__main__":
    main()
