"""ARM64: instruction words of real drivers and of a list, in the emulator and under qemu-user.

    python bench/instructions/arm.py FOLDER [--qemu qemu-aarch64]

qemu-user shares its ancestor with the emulator's engine but is years younger (7.2 against 5.0), so
a mistake that both make is not seen; what is wrong in one of them is. On an ARM64 computer give
`--qemu ""`. x28 belongs to the harness: words that name it are left out.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import capstone
import numpy as np
import unicorn
from unicorn import arm64_const as reg

from hvci.binary import PeImage
from hvci.model import Machine
from hvci.verifier.arch import make_processor
from hvci.verifier.memory import RW, Memory, Rights

HERE = Path(__file__).parent
DATA, CODE, EXIT, MEMORY = 0x1000_0000, 0x0200_0000, 64, 1024
SIZE = 31 * 8 + 32 + 512 + 16 + MEMORY + 16
STATES = 4
KEPT = 3
_NUMBERS = re.compile(r"#-?(?:0x)?[0-9a-f.e+-]+|\b([xwbhsdqv])\d+")
_BASE = re.compile(r"\[(x\d+|sp)")


@dataclass
class State:
    """Registers and memory."""

    general: list[int]
    sp: int
    flags: int
    vectors: list[bytes]
    data: bytes
    fault: int = 0
    exit: int = 0
    status: int = 0

    def pack(self, word: int) -> bytes:
        """As the harness reads it."""
        head = struct.pack("<31QQQQQ", *self.general, self.sp, self.flags, 0, 0)
        tail = struct.pack("<QQ", 0, 0) + self.data + struct.pack("<4I", word, 0, 0, 0)
        return head + b"".join(self.vectors) + tail

    @classmethod
    def unpack(cls, raw: bytes) -> State:
        """As the harness writes it."""
        *general, sp, flags, fault, leave = struct.unpack_from("<35Q", raw)
        vectors = [raw[280 + 16 * n : 296 + 16 * n] for n in range(32)]
        status = struct.unpack_from("<Q", raw, 800)[0]
        return cls(general, sp, flags, vectors, raw[808 : 808 + MEMORY], fault, leave, status)


def random_state(seed: int, text: str) -> State:
    """A state in which the base register of a memory operand points at data."""
    dice = random.Random(seed)
    small = dice.random() < 0.5
    general = [dice.randint(0, 63) if small else dice.getrandbits(64) for _ in range(31)]
    vectors = [
        dice.randbytes(16)
        if seed % 2
        else struct.pack("<4f", *(dice.randint(-99, 99) / 4 for _ in range(4)))
        for _ in range(32)
    ]
    found = _BASE.search(text)
    if found is not None and found[1] != "sp":
        general[int(found[1][1:])] = DATA + 512
    if text.startswith(("dc ", "ic ", "cpy", "set")):
        general = [DATA + 512] * 31
    if text.startswith(("br", "blr", "ret")):
        general = [CODE + EXIT] * 31
    data = b"".join(struct.pack("<I", dice.getrandbits(32)) for _ in range(MEMORY // 4))
    return State(general, DATA + 512, dice.getrandbits(4) << 28, vectors, data)


def form_of(mnemonic: str, operands: str) -> str:
    """The shape of an instruction: numbers and register numbers do not count."""
    shape = _NUMBERS.sub(lambda match: match[1] or "#", operands)
    return f"{mnemonic} {shape}".strip()


def harvest(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Some words of each form, of real drivers and of the list."""
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    found: dict[str, list[tuple[int, str]]] = {}
    words: set[int] = set(listed())
    for path in sorted(folder.rglob("*.sys")):
        image = PeImage(path.read_bytes())
        if image.machine is Machine.ARM64:
            for start, end in image.code_ranges:
                part = np.frombuffer(image.memory, "<u4", (end - start) // 4, start)
                words.update(_one_of_each(part))
    kinds: Counter[int] = Counter()
    fixed = set(listed())
    for word in sorted(words):
        kinds[word & 0xFFE0_FC00] += 1
        if kinds[word & 0xFFE0_FC00] > KEPT and word not in fixed:
            continue
        for _, _, mnemonic, operands in engine.disasm_lite(word.to_bytes(4, "little"), CODE):
            kept = found.setdefault(form_of(mnemonic, operands), [])
            if len(kept) < KEPT and not re.search(r"[xw]28\b", operands):
                kept.append((word, f"{mnemonic} {operands}"))
    return found


def _one_of_each(words: np.ndarray) -> list[int]:
    """One word of each kind: registers and most constants stand outside these bits."""
    _, first = np.unique(words & np.uint32(0xFFE0_FC00), return_index=True)
    return [int(word) for word in words[first]]


def listed() -> list[int]:
    """The words of list_arm64.s, which the fixtures' assembler builds."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "list.o"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl"]
        words = ["-Wa,-march=armv8.7-a+sve+crypto+fp16+memtag", "-mcpu=generic+v8_7a+crypto+mte"]
        text = str(HERE / "list_arm64.s")
        subprocess.run([*command, *words[1:], "-c", text, "-o", str(out)], check=True)
        raw = out.read_bytes()
    headers, count = struct.unpack_from("<Q", raw, 40)[0], struct.unpack_from("<H", raw, 60)[0]
    for index in range(count):
        kind, flags, _, offset, size = struct.unpack_from("<IQQQQ", raw, headers + 64 * index + 4)
        if kind == 1 and flags & 4 and size:
            return [int(word) for word in np.frombuffer(raw, "<u4", size // 4, offset)]
    return []


class Emulated:
    """The engine with the model that hvci chooses."""

    def __init__(self) -> None:
        self.processor = make_processor(Machine.ARM64)
        self.engine = self.processor.engine
        self.engine.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        self.memory = Memory(self.engine, 8, 0x10_0000)
        self.processor.memory = self.memory
        every = Rights.READ | Rights.WRITE | Rights.EXECUTE
        for start, rights in ((DATA, RW), (CODE, every), (0x2000_0000, RW)):
            self.memory.map(start, 0x2000, rights, "test")
        self.processor.prepare(0x2000_0000)
        self.engine.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        self._general = [getattr(reg, f"UC_ARM64_REG_X{n}") for n in range(31)]
        self._vectors = [getattr(reg, f"UC_ARM64_REG_Q{n}") for n in range(32)]
        self._interrupted = False
        self._fresh = self.engine.context_save()

    def _on_interrupt(self, engine: object, number: int, data: object) -> None:
        self._interrupted = True
        self.engine.emu_stop()

    def run(self, word: int, state: State) -> State:
        """The state behind the instruction."""
        engine, memory = self.engine, self.memory
        engine.context_restore(self._fresh)
        memory.poke(DATA, state.data)
        halt = (0xD440_0000).to_bytes(4, "little")
        memory.poke(CODE, word.to_bytes(4, "little") + halt * 31)
        engine.ctl_remove_cache(CODE, CODE + 128)
        for register, value in zip(self._general, state.general, strict=True):
            engine.reg_write(register, value)
        for register, raw in zip(self._vectors, state.vectors, strict=True):
            engine.reg_write(register, int.from_bytes(raw, "little"))
        engine.reg_write(reg.UC_ARM64_REG_SP, state.sp)
        engine.reg_write(reg.UC_ARM64_REG_NZCV, state.flags)
        self._interrupted, fault = False, 0
        try:
            engine.emu_start(CODE, CODE + 4, count=8)
        except unicorn.UcError:
            fault = 1
        at = self.processor.pc
        leaves = at in (CODE + EXIT, CODE + EXIT + 4)
        if self._interrupted and not leaves and at != CODE + 4:
            fault = 1
        return State(
            [engine.reg_read(register) for register in self._general],
            engine.reg_read(reg.UC_ARM64_REG_SP),
            engine.reg_read(reg.UC_ARM64_REG_NZCV) & 0xF000_0000,
            [engine.reg_read(register).to_bytes(16, "little") for register in self._vectors],
            memory.read(DATA, MEMORY),
            fault,
            int(leaves),
        )


def emulate(cases: list[tuple[int, State]]) -> list[State | None]:
    """All cases; None where the engine crashed."""
    found: list[State | None] = []
    while len(found) < len(cases):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            emulated = Emulated()
            with os.fdopen(writer, "wb") as stream:
                for word, state in cases[len(found) :]:
                    pickle.dump(emulated.run(word, state), stream)
                    stream.flush()
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            while True:
                try:
                    found.append(pickle.load(stream))
                except (EOFError, pickle.UnpicklingError):
                    break
        os.waitpid(child, 0)
        if len(found) < len(cases):
            found.append(None)
    return found


def under_qemu(
    harness: Path, runner: list[str], cases: list[tuple[int, State]]
) -> list[State | None]:
    """All cases; None where the harness did not survive."""
    found: list[State | None] = []
    while len(found) < len(cases):
        request = b"".join(state.pack(word) for word, state in cases[len(found) :])
        done = subprocess.run([*runner, str(harness)], input=request, capture_output=True)
        whole = len(done.stdout) // SIZE
        found += [State.unpack(done.stdout[at : at + SIZE]) for at in range(0, whole * SIZE, SIZE)]
        if len(found) < len(cases):
            found.append(None)
    return found


def differences(one: State, other: State) -> list[str]:
    """Names of what differs."""
    if one.fault or other.fault:
        return [] if bool(one.fault) == bool(other.fault) else [f"fault {one.fault}/{other.fault}"]
    found = [
        f"x{index} {left:x}/{right:x}"
        for index, (left, right) in enumerate(zip(one.general, other.general, strict=True))
        if left != right and index != 28
    ]
    found += [
        f"v{index} {left[::-1].hex()}/{right[::-1].hex()}"
        for index, (left, right) in enumerate(zip(one.vectors, other.vectors, strict=True))
        if left != right
    ]
    return found + [
        f"{name}"
        for name in ("sp", "flags", "data", "exit")
        if getattr(one, name) != getattr(other, name)
    ]


def kind_of(rows: list[tuple[State | None, State | None]]) -> tuple[str, list[str]]:
    """How the emulator compares, over all states of a form."""
    if any(ours is None for _, ours in rows):
        return "crash", []
    pairs = [(theirs, ours) for theirs, ours in rows if theirs is not None and ours is not None]
    if not pairs:
        return "not run", []
    if all(theirs.fault for theirs, _ in pairs):
        return ("both refuse" if all(ours.fault for _, ours in pairs) else "qemu refuses"), []
    if any(ours.fault and not theirs.fault for theirs, ours in pairs):
        return "refused", []
    found = [name for theirs, ours in pairs for name in differences(theirs, ours)]
    return ("wrong" if found else "right"), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--qemu", default="qemu-aarch64")
    options = parser.parse_args()
    forms = harvest(options.folder)
    cases: list[tuple[str, int, State]] = []
    for form, kept in forms.items():
        for word, text in kept:
            if text.startswith(("svc", "hvc", "smc", "wfe", "wfi")):
                continue
            cases += [(form, word, random_state(word + 7919 * n, text)) for n in range(STATES)]
    with tempfile.TemporaryDirectory() as folder:
        harness = Path(folder) / "harness"
        words = ["-target", "aarch64-linux-musl", "-mcpu=generic", "-O1", "-static", "-fno-PIE"]
        source = str(HERE / "harness_arm64.c")
        command = [sys.executable, "-m", "ziglang", "cc", *words, "-fno-sanitize=all", source]
        subprocess.run([*command, "-o", str(harness)], check=True)
        runner = [options.qemu, "-cpu", "max"] if options.qemu else []
        pairs = [(word, replace(state)) for _, word, state in cases]
        theirs, ours = under_qemu(harness, runner, pairs), emulate(pairs)
    rows: dict[str, list[tuple[State | None, State | None]]] = {}
    for (form, _, _), left, right in zip(cases, theirs, ours, strict=True):
        rows.setdefault(form, []).append((left, right))
    kinds: Counter[str] = Counter()
    for form, found in sorted(rows.items()):
        kind, why = kind_of(found)
        kinds[kind] += 1
        if kind not in ("right", "both refuse"):
            print(f"{kind:<14}{form:<40}{forms[form][0][1]:<44}{why[:2]}")
    print(f"{len(rows)} forms: " + ", ".join(f"{kind} {count}" for kind, count in kinds.items()))


if __name__ == "__main__":
    main()
