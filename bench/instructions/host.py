"""The state of a processor before and behind one instruction, and the host that computes it."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DATA, STACK, CODE = 0x1000_0000, 0x1001_0000, 0x1002_0000
MEMORY = 512
STATUS = 0x8D5
"""Carry, parity, adjust, zero, sign and overflow."""
SIZE = 128 + 24 + 512 + 256 + 2 * MEMORY + 128
AT_ONCE = 256
"""Cases that one process gets: what follows one that it does not survive is sent again."""
PATIENCE = 10
"""Seconds that it may take for them."""
TARGETS = {64: "x86_64-linux-musl", 32: "x86-linux-musl"}
SPECIAL = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0x7FFF_FFFF,
    0x8000_0000,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


@dataclass
class State:
    """Registers and memory."""

    general: list[int]
    flags: int
    x87: bytes
    """The first 160 bytes of FXSAVE: control, status, tags, ST0 to ST7."""
    vectors: list[int]
    data: bytes
    stack: bytes
    fault: int = 0
    exit: int = 0
    extra: dict[str, int] = field(default_factory=dict)

    def pack(self, code: bytes) -> bytes:
        """As the harness reads it."""
        general = struct.pack("<16Q", *self.general)
        low = b"".join((each & 2**128 - 1).to_bytes(16, "little") for each in self.vectors)
        high = b"".join((each >> 128).to_bytes(16, "little") for each in self.vectors)
        legacy = (self.x87 + low).ljust(512, b"\0")
        head = struct.pack("<QQQ", self.flags, 0, 0)
        text = (bytes([len(code)]) + code).ljust(128, b"\0")
        return general + head + legacy + high + self.data + self.stack + text

    @classmethod
    def unpack(cls, raw: bytes) -> State:
        """As the harness writes it."""
        general = list(struct.unpack_from("<16Q", raw))
        flags, fault, leave = struct.unpack_from("<QQQ", raw, 128)
        legacy, high = raw[152:664], raw[664:920]
        vectors = [
            int.from_bytes(
                legacy[160 + 16 * n : 176 + 16 * n] + high[16 * n : 16 * n + 16], "little"
            )
            for n in range(16)
        ]
        data, stack = raw[920 : 920 + MEMORY], raw[920 + MEMORY : 920 + 2 * MEMORY]
        return cls(general, flags, legacy[:160], vectors, data, stack, fault, leave)


def x87_image(dice: random.Random, mmx: bool) -> bytes:
    """Control, status, tags and eight registers: four floating-point numbers, or MMX data."""
    top, tags = (0, 0xFF) if mmx else (4, 0xF0)
    head = (
        struct.pack("<HHBxH", 0x37F, top << 11, tags, 0)
        + bytes(16)
        + struct.pack("<II", 0x1F80, 0xFFFF)
    )
    registers = b""
    for _ in range(8):
        sign, exponent = dice.getrandbits(1), 0x3FFF + dice.randint(-6, 12)
        mantissa = 1 << 63 | (dice.getrandbits(20) << 43)
        value = mantissa.to_bytes(8, "little") + (sign << 15 | exponent).to_bytes(2, "little")
        if mmx:
            value = dice.randbytes(8) + b"\xff\xff"
        registers += value.ljust(16, b"\0")
    return head[:32] + registers


def vector(dice: random.Random, floats: bool) -> int:
    """Thirty-two bytes: anything, small numbers, or floating-point numbers."""
    if floats:
        doubles = dice.random() < 0.5
        numbers = [dice.choice((1.0, -1.0)) * dice.randint(0, 4000) / 8 for _ in range(8)]
        raw = struct.pack("<4d", *numbers[:4]) if doubles else struct.pack("<8f", *numbers)
        return int.from_bytes(raw, "little")
    if dice.random() < 0.2:
        return int.from_bytes(struct.pack("<8I", *(dice.randint(0, 9) for _ in range(8))), "little")
    return dice.getrandbits(256)


def _large(dice: random.Random) -> int:
    return dice.choice(SPECIAL) if dice.random() < 0.3 else dice.getrandbits(64)


def random_state(seed: int, bits: int, mmx: bool, small: bool, floats: bool) -> State:
    """A state in which memory operands point at data."""
    dice = random.Random(seed)
    mask = 2**bits - 1
    general = [
        (
            dice.randint(0, 31)
            if small
            else dice.choice(SPECIAL)
            if dice.random() < 0.3
            else dice.getrandbits(64)
        )
        & mask
        for _ in range(16)
    ]
    general[1] = dice.randint(0, 7) if small else general[1]
    general[3] = DATA + 0x80 if dice.random() < 0.5 else general[3]
    general[4], general[6], general[7] = STACK + 0x100, DATA + 0x80, DATA + 0x100
    if bits == 32:
        general[8:] = [0] * 8
    flags = 2 | dice.getrandbits(12) & STATUS
    data = bytearray(dice.randbytes(MEMORY))
    if floats:
        for at in range(0, MEMORY, 32):
            data[at : at + 32] = vector(dice, True).to_bytes(32, "little")
    vectors = [vector(dice, floats) for _ in range(16 if bits == 64 else 8)]
    vectors += [0] * (16 - len(vectors))
    return State(general, flags, x87_image(dice, mmx), vectors, bytes(data), dice.randbytes(MEMORY))


def build(bits: int, folder: Path) -> Path:
    """Build the harness with the compiler that the fixtures are built with."""
    out = folder / f"harness{bits}"
    words = ["-target", TARGETS[bits], "-mcpu=baseline", "-O1", "-static", "-fno-PIE"]
    command = [sys.executable, "-m", "ziglang", "cc", *words, "-fno-sanitize=all"]
    subprocess.run([*command, str(HERE / "harness_x86.c"), "-o", str(out)], check=True)
    return out


def _ask(command: list[str], request: bytes) -> bytes:
    """What one process answers before it ends, or goes round in circles.

    x86 code that loads a segment register can make the handler of its own fault fault.
    """
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as late:
        return late.stdout or b""
    return done.stdout


def run(
    harness: Path, cases: Sequence[tuple[bytes, State]], runner: tuple[str, ...] = ()
) -> list[State | None]:
    """Execute all cases; None where the harness did not survive one, and is started again."""
    found: list[State | None] = []
    while len(found) < len(cases):
        batch = cases[len(found) : len(found) + AT_ONCE]
        request = b"".join(state.pack(code) for code, state in batch)
        answer = _ask([*runner, str(harness)], request)
        whole = len(answer) // SIZE
        found += [State.unpack(answer[at : at + SIZE]) for at in range(0, whole * SIZE, SIZE)]
        if whole < len(batch):
            found.append(None)
    return found
