"""Instructions that change what the processor protects: control registers, tables, MSRs.

Candidates are opcode bytes anywhere in executable sections; a hit counts only where the function
around it decodes to the instruction.
"""

from __future__ import annotations

from enum import Enum, auto

from iced_x86 import Instruction, Mnemonic, Register

from hvci.binary.arch.x86.lift import RCX, REGISTERS
from hvci.binary.arch.x86.system import CANDIDATES, MSRS, SMEP, WRITE_PROTECT
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import NUMERIC, Kind
from hvci.binary.form.code import (
    CALLS,
    Binary,
    Const,
    Expr,
    Function,
    Load,
    Location,
    Reg,
    register_of,
    slot,
)
from hvci.model import Behaviour, Confidence, Machine

WRITES = "writes-executable-memory"
MAX_DEPTH = 8
MAX_CALLERS = 32
_NOT_HVCI = "memory integrity itself does not forbid it; "
_GUARDED = (
    _NOT_HVCI + "PatchGuard and, where virtualization-based security runs, HyperGuard stop the "
    "machine for a value that is not the system's own"
)


_SYSTEM = frozenset((Mnemonic.WRMSR, Mnemonic.LIDT, Mnemonic.LGDT))
_STATE = frozenset((Register.CR0, Register.CR4, *range(Register.DR0, Register.DR7 + 1)))
MAX_PREFIXES = 2
"""Bytes before the opcode at which an instruction may start."""


class _Bit(Enum):
    """What is known of a bit of a value on its way into a control register."""

    CLEARED = auto()
    SET = auto()
    UNKNOWN = auto()


def find(scene: Scene) -> None:
    """Add every fact about processor state."""
    if scene.image.machine is Machine.ARM64:
        words.processor_state(scene)
        return
    memory = scene.image.memory
    for start, end in scene.image.code_ranges:
        for match in CANDIDATES.finditer(memory, start, end):
            place = match.start()
            if any(_is_asked(each) for each in nearby.candidates(scene, place, MAX_PREFIXES)):
                _judge(scene, place, memory[place + 1])


def _is_asked(instruction: Instruction) -> bool:
    """Whether an instruction can change processor state; most moves are to CR8, the IRQL."""
    mnemonic = instruction.mnemonic
    return mnemonic in _SYSTEM or (mnemonic == Mnemonic.MOV and instruction.op0_register in _STATE)


def _judge(scene: Scene, place: int, opcode: int) -> None:
    """One candidate: decode it where it stands."""
    found = scene.analysis.functions.instruction_at(place)
    if found is None:
        return
    function, i = found
    instruction = function.instructions[i]
    mnemonic = instruction.mnemonic
    if mnemonic == Mnemonic.WRMSR:
        _msr(scene, found)
    elif mnemonic in (Mnemonic.LIDT, Mnemonic.LGDT):
        _table(scene, found, mnemonic == Mnemonic.LIDT)
    elif mnemonic == Mnemonic.MOV and opcode in (0x22, 0x23):
        _register(scene, found, instruction.op0_register)


def _register(scene: Scene, place: Place, target: int) -> None:
    """A write to a control or debug register."""
    if target == Register.CR0:
        _control(
            scene, place, WRITE_PROTECT, Behaviour.WRITE_PROTECTION, "clears CR0.WP, the "
            "processor's write protection", "with memory integrity on code stays read-only "
            "whatever CR0 says, and the write that follows stops the machine",
        )  # fmt: skip
    elif target == Register.CR4:
        _control(
            scene, place, SMEP, Behaviour.USER_EXECUTION, "clears CR4.SMEP, which keeps the "
            "kernel from executing user pages", "with memory integrity on user pages never "
            "execute in kernel mode, whatever CR4 says",
        )  # fmt: skip
    elif Register.DR0 <= target <= Register.DR7:
        scene.add(
            WRITES, Behaviour.PROCESSOR_STATE, f"writes debug register DR{target - Register.DR0}",
            place, Confidence.PROVEN, _NOT_HVCI + "the processor allows it",
        )  # fmt: skip


def _control(scene: Scene, place: Place, bit: int, kind: Behaviour, what: str, why: str) -> None:
    """A control register write: a finding only when the bit was cleared on the way."""
    function, i = place
    source = REGISTERS.get(function.instructions[i].op1_register)
    if source is None:
        return
    scene.flow.begin()
    if _bit(scene, function, i, Location(source[0]), bit, 0) is _Bit.CLEARED:
        rule = WRITES if kind is Behaviour.WRITE_PROTECTION else "dynamic-code"
        scene.add(rule, kind, what, place, Confidence.PROVEN, why)


def _bit(
    scene: Scene, function: Function, i: int, location: Location, bit: int, depth: int
) -> _Bit:
    """Follow a value back to the arithmetic on one of its bits."""
    if depth > MAX_DEPTH:
        return _Bit.UNKNOWN
    answers = set()
    for definition in scene.flow.definitions(function, i, location):
        if isinstance(definition, int):
            if function.flows[definition] not in CALLS:
                answers.add(_defined(scene, function, definition, location, bit, depth))
            continue
        for atom in definition:
            if atom.kind is Kind.PARAMETER and not atom.ops:
                answers |= _passed(scene, atom.value, Location(atom.place), bit, depth)
    return _Bit.CLEARED if _Bit.CLEARED in answers else _Bit.UNKNOWN


def _passed(scene: Scene, start: int, location: Location, bit: int, depth: int) -> set[_Bit]:
    """What the callers of a function made of a register parameter."""
    if location not in scene.arch.parameter_registers:
        return set()
    callers = scene.analysis.functions.callers(start)[:MAX_CALLERS]
    return {_bit(scene, caller, i, location, bit, depth + 2) for caller, i in callers}


def _defined(
    scene: Scene, function: Function, d: int, location: Location, bit: int, depth: int
) -> _Bit:
    """What one instruction does to the bit."""
    arch = scene.arch
    stores = arch.effect(function, d).stores
    in_memory = bool(stores) and location >= slot(-(1 << 30))
    expr = (
        arch.stored(function, d) if in_memory else arch.define(function, d, register_of(location))
    )
    match expr:
        case Binary(name, left, right, size):
            return _arithmetic(scene, (function, d), (name, left, right, size), bit, depth)
        case Reg(number, size, 0) if size >= 4:
            return _bit(scene, function, d, Location(number), bit, depth + 1)
        case Load(memory):
            offset = scene.flow.frames.offset(function, d, memory)
            if offset is not None:
                return _bit(scene, function, d, slot(offset), bit, depth + 1)
    return _Bit.UNKNOWN


def _arithmetic(
    scene: Scene, place: Place, operation: tuple[str, Expr, Expr, int], bit: int, depth: int
) -> _Bit:
    """AND, BTR, OR, BTS with a constant; the rest of a chain of them further back."""
    function, d = place
    name, left, right, _ = operation
    held = [right] if isinstance(right, Const) else scene.flow.evaluate(function, d, right, 0)
    values = {item.value for item in held if isinstance(item, Const) or item.kind in NUMERIC}
    if len(values) != 1:
        return _Bit.UNKNOWN
    value = values.pop()
    if (name == "and" and not value >> bit & 1) or (name == "btr" and value == bit):
        return _Bit.CLEARED
    if (name == "or" and value >> bit & 1) or (name == "bts" and value == bit):
        return _Bit.SET
    if name in ("and", "or", "btr", "bts") and isinstance(left, Reg):
        return _bit(scene, function, d, Location(left.number), bit, depth + 1)
    return _Bit.UNKNOWN


def _table(scene: Scene, place: Place, interrupts: bool) -> None:
    which = "an interrupt descriptor table (LIDT)" if interrupts else "a descriptor table (LGDT)"
    scene.add(
        WRITES, Behaviour.PROCESSOR_STATE, f"loads {which}", place, Confidence.PROVEN, _GUARDED
    )


def _msr(scene: Scene, place: Place) -> None:
    """WRMSR with the number of a system call entry in ECX."""
    function, i = place
    scene.flow.begin()
    held = scene.flow.interprocedural.resolve(scene.flow.value(function, i, Location(RCX)))
    numbers = {atom.value & 0xFFFF_FFFF for atom in held if atom.kind in NUMERIC}
    for number in sorted(numbers & set(MSRS)):
        scene.add(
            WRITES, Behaviour.PROCESSOR_STATE, f"writes {MSRS[number]}, a system call entry",
            place, Confidence.PROVEN, _GUARDED,
        )  # fmt: skip
