"""Cheap tests on bytes that decide whether a place is worth decoding a function for.

They only sort out; a place that passes is decoded and judged by the data flow. x64 and x86 only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

from hvci.binary.arch.x86.lift import FRAME_BASES, NONE, RAX, RCX, RDI, RDX, REGISTERS, RSI
from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, LEA
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import NO_RVAS
from hvci.binary.pe.image import Bytes
from hvci.binary.pe.sets import among, distinct
from hvci.model import Machine

Rvas = npt.NDArray[np.int64]
WINDOW = 64
"""Bytes behind an instruction in which a use of what it loads is looked for."""
CALLEE = 96
"""Bytes at the start of a function in which a store through an argument is looked for."""
OPERAND = 4
"""Bytes of an address in an instruction."""
MAX_INSTRUCTION = 16
"""Bytes; no x64 instruction has more than 15."""
STORES = np.frombuffer(
    bytes.fromhex("01 09 11 21 29 31 7f 80 81 83 86 87 88 89 c6 c7 e7"), np.uint8
)
"""Last opcode bytes of the usual instructions that write a memory operand."""
_BRANCHES = (b"\xff\x15", b"\xff\x25")
"""A call and a jump through a slot; what else names one loads it."""
LOAD, LOAD_SHORT, ADD = 0x8B, 0xA1, 0x03
MOVE_IMMEDIATE, PUSH = 0xB8, 0x68
"""Opcodes of a constant to a register, which is in the three bits below, and to the stack."""
_STRINGS = (0xA4, 0xA5, 0xAA, 0xAB)
KEEPS_OPERAND = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH))
KEEPS_REGISTER = KEEPS_OPERAND | {Mnemonic.ADD, Mnemonic.SUB, Mnemonic.INC, Mnemonic.DEC}
"""What leaves its register a pointer to about the same place."""
CHOOSES = frozenset(getattr(Mnemonic, name) for name in dir(Mnemonic) if name.startswith("CMOV"))
"""What leaves its register as it is, or gives it that of another one."""
FRAME, PUSHED = -1, -2
"""Where a pointer is that no register holds: in a frame slot, or pushed as an argument."""
ANY_BASE = 8
"""Instead of a base register: where the pointer is not in one, or needs a longer encoding."""
CHUNK = 4096
"""Places looked at together: bounds the memory of a look at what is behind them."""
NUMBERS = [REGISTERS[n][0] if n in REGISTERS else -2 for n in range(256)]
"""By iced's number of a register: the register that holds it, below 0 for other kinds."""
ARGUMENTS = (RCX, RDX)
VOLATILE = (RAX, RCX, RDX, 8, 9, 10, 11)


def names_memory(scene: Scene, place: int) -> bool:
    """Whether the bytes at `place` can be the address in a memory operand.

    `and eax, imm32` behind a zero byte looks like a store.
    """
    start = scene.analysis.functions.likely_boundary(place)
    if start is None:
        return True
    if start == place:
        return False
    instruction = decode(scene, start)
    if scene.image.bits == 64:
        return bool(instruction.is_ip_rel_memory_operand)
    return instruction.memory_displ_size == 4 and instruction.memory_base == NONE


def decode(scene: Scene, start: int) -> Instruction:
    """The instruction whose bytes start at an RVA."""
    code = bytes(scene.image.memory[start : start + MAX_INSTRUCTION])
    return Decoder(scene.image.bits, code, ip=start).decode()


def is_called_code(scene: Scene, place: int) -> bool:
    """Whether bytes at an RVA lie in a known function, or what code calls starts there.

    Outside of known functions only that proves them code, and data looks like code too often.
    """
    functions = scene.analysis.functions
    if scene.image.bits == 32 or not functions.unwind.starts or functions.unwind.find(place):
        return True
    start = functions.gap_start(place)
    if start == scene.image.headers.entry or start in scene.image.exports:
        return True
    sites = scene.analysis.references.to_code(start)
    return any(functions.likely_boundary(site) == site for site in sites)


def standing(scene: Scene, wanted: tuple[bytes, ...], start: int, end: int) -> list[int]:
    """RVAs where some short strings of bytes stand that end alike, one string after the other."""
    code, memory = scene.image.bytes[start:end], scene.image.memory
    last = (code == wanted[0][-1]).nonzero()[0]
    before = np.array(sorted({each[-2] for each in wanted}), np.uint8)
    behind = last[(last > 0) & among(code[last - 1], before)] + (start + 1)
    places = ((each, at - len(each)) for each in wanted for at in behind.tolist())
    return [at for each, at in places if at >= start and memory[at : at + len(each)] == each]


def may_start(scene: Scene, places: Iterable[int]) -> bool:
    """Whether an instruction can start at one of some neighbouring places."""
    boundary = scene.analysis.functions.likely_boundary
    return any(boundary(place) in (place, None) for place in places)


def candidates(scene: Scene, place: int, prefixes: int) -> Iterator[Instruction]:
    """The instructions that may start at an RVA, or up to so many bytes before it."""
    boundary = scene.analysis.functions.likely_boundary
    for start in range(place, place - prefixes - 1, -1):
        if boundary(start) in (start, None):
            yield decode(scene, start)


def stored_soon(scene: Scene, places: Rvas, registers: Rvas) -> Rvas:
    """Which operands are followed by what may be a store through the register they load.

    Looks at `WINDOW` bytes for stores with that base, copies of it, and its return from a frame
    slot. Of a pointer in the frame any store counts, of a pushed one after a load by ESP.
    """
    inside = places + WINDOW + 6 < scene.image.size
    pushed = inside & (registers == PUSHED)
    if pushed.any():
        inside[pushed] = _loads_by_esp(scene, places[pushed])
    places, registers = places[inside], registers[inside]
    lows = np.where((registers < 0) | (registers & 6 == 4), ANY_BASE, registers & 7)
    memory = scene.image.memory
    count = max(0, scene.image.size - WINDOW - 2)
    behind = np.ndarray((count, WINDOW + 2), np.uint8, memory, 0, (1, 1))
    found = [
        places[first : first + CHUNK][
            _stores_in(behind[places[first : first + CHUNK]], lows[first : first + CHUNK])
        ]
        for first in range(0, len(places), CHUNK)
    ]
    return np.concatenate(found) if found else places


_THROUGH, _SIB, _COPIED, _LOADED, _KEEP, _RELOAD, _STRING, _ANY = (1 << n for n in range(8))
_AT_ONCE = _THROUGH | _COPIED | _LOADED | _STRING | _ANY


def _opcode_table() -> Bytes:
    """By opcode byte: what it may do to a pointer, as bits."""
    table = np.full(256, _STRING, np.uint8)
    table[STORES] |= _THROUGH | _SIB | _ANY
    table[0x89] |= _COPIED | _KEEP
    table[0x8B] |= _LOADED | _RELOAD
    table[0x8D] |= _THROUGH | _SIB
    return table


def _modrm_table() -> Bytes:
    """By 256 times the base register, and the byte behind an opcode: what it allows, as bits."""
    modrm, low = np.arange(256)[None, :], np.arange(ANY_BASE + 1)[:, None]
    base, source, in_memory = modrm & 7, modrm >> 3 & 7, modrm < 0xC0
    is_named, is_any, in_frame = modrm & DIRECT_MASK != DIRECT, low == ANY_BASE, base >> 1 == 2
    is_string = np.isin(modrm, _STRINGS)
    table = (
        _THROUGH * (in_memory & is_named & (base != 4) & (base == low))
        | _SIB * (in_memory & (base == 4) & ~is_any)
        | _COPIED * (~in_memory & (source == low))
        | _LOADED * (~in_memory & (base == low))
        | _KEEP * (in_memory & in_frame & (source == low))
        | _RELOAD * (in_memory & in_frame & ~is_any)
        | _STRING * (is_string & (low >= RSI))
        | _ANY * (in_memory & is_named & is_any)
    )
    return np.asarray(table, np.uint8).ravel()


_OPCODE, _MODRM = _opcode_table(), _modrm_table()


def _stores_in(rows: Bytes, low: Rvas) -> npt.NDArray[np.bool_]:
    """By row of bytes from an operand on: whether one of them may begin such a store.

    A byte is an opcode by one table, the next its operands by another, for each base register;
    what both allow has a bit in common.
    """
    named = _MODRM.take(rows[:, 5:-1] + (low[:, None] << 8))
    named &= _OPCODE.take(rows[:, 4:-2])
    # Behind a SIB byte the base stands there: `mov [rax+rcx], dl`.
    by_sib = (named & _SIB != 0) & (rows[:, 6:] & 7 == low[:, None])
    # the stubs of numpy 2.5 know no array of bytes here, those before it do
    seen: Bytes = np.bitwise_or.reduce(named, axis=1)  # type: ignore[call-overload,unused-ignore]
    kept = seen & (_KEEP | _RELOAD) == _KEEP | _RELOAD
    answer: npt.NDArray[np.bool_] = (seen & _AT_ONCE != 0) | kept | by_sib.any(axis=1)
    return answer


def _loads_by_esp(scene: Scene, places: Rvas) -> npt.NDArray[np.bool_]:
    """Which places have something like `mov r, [esp+x]` in the bytes behind them."""
    loads = [NO_RVAS]
    for start, end in scene.image.code_ranges:
        code = scene.image.bytes[start:end]
        loads.append(((code[:-2] == 0x8B) & (code[1:-1] & 0x07 == 4)).nonzero()[0] + start)
    sites = np.concatenate(loads)
    return _followed(places, sites, WINDOW)


def soon(scene: Scene, places: Rvas, held: Rvas, calls: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Which operands have a call, or maybe a store through what they load, right behind them."""
    stored = among(places, np.sort(stored_soon(scene, places, held)))
    return stored | _followed(places, call_places(scene, calls), WINDOW)


def used(scene: Scene, places: Rvas, calls: frozenset[str], held: Rvas | None = None) -> list[int]:
    """Those of the operands that give a pointer which is written through, or given to a call.

    `held`: the registers that get it, where the bytes before do not tell.
    """
    held = registers(scene, places) if held is None else held
    loaded = dict(zip(places.tolist(), held.tolist(), strict=True))
    known = frozenset(call_places(scene, calls).tolist())
    return [
        place
        for place in distinct(places[soon(scene, places, held, calls)]).tolist()
        if not is_reloaded(scene, place, loaded[place])
        and is_used(scene, place, loaded[place], known)
    ]


def registers(scene: Scene, places: Rvas) -> Rvas:
    """What instructions with their last operand at `places` load; the frame is below 0."""
    code = scene.image.bytes
    modrm, last = code[places - 1].astype(np.int64), code[places - 2]
    if scene.image.bits == 64:
        extended = code[places - 3] & 0xF4 == 0x44
        named = (last == LEA) | (last == LOAD) | (last == ADD)
        return np.asarray(np.where(named, modrm >> 3 & 7 | 8 * extended, FRAME))
    found = np.where(modrm == LOAD_SHORT, 0, FRAME)
    found = np.where(modrm == PUSH, PUSHED, found)
    found = np.where(modrm & 0xF8 == MOVE_IMMEDIATE, modrm & 7, found)
    is_read = (last == LEA) | (last == LOAD) | (last == ADD)
    named = (modrm & DIRECT_MASK == DIRECT) & is_read
    return np.where(named, modrm >> 3 & 7, found)


def called_soon(places: Rvas, sites: Rvas, window: int = WINDOW) -> Rvas:
    """Which places have one of the sorted `sites` in the bytes behind them."""
    return places[_followed(places, sites, window)]


def called_before(places: Rvas, sites: Rvas, window: int) -> list[int]:
    """Which places have one of the sorted `sites` in the bytes before them."""
    before = sites.searchsorted(places) - 1
    near = (before >= 0) & (places - sites[np.maximum(before, 0)] < window)
    found: list[int] = places[near].tolist()
    return found


def _followed(places: Rvas, sites: Rvas, window: int) -> npt.NDArray[np.bool_]:
    if not len(sites):
        return np.zeros(len(places), bool)
    following = sites.searchsorted(places)
    near = sites[np.minimum(following, len(sites) - 1)] - places
    found: npt.NDArray[np.bool_] = (near >= 0) & (near < window)
    return found


def call_places(scene: Scene, names: frozenset[str]) -> Rvas:
    """RVAs of the instructions that may call these imports, sorted."""
    known = scene.call_places.get(names)
    if known is None:
        known = scene.call_places[names] = _call_places(scene, names)
    return known


def _call_places(scene: Scene, names: frozenset[str]) -> Rvas:
    found: list[int] = []
    loaded = names
    if scene.image.machine is not Machine.ARM64:
        memory = scene.image.memory
        hits, thunk_at = scene.analysis.import_hits, scene.analysis.thunk_at
        named = {name: [place for place, _ in hits[name]] for name in hits.keys() & names}
        loaded = frozenset(
            name
            for name, places in named.items()
            if any(memory[place - 2 : place] not in _BRANCHES for place in places)
        )
        for place in chain.from_iterable(named.values()):
            found += (place - 2, place - 3)
            if place in thunk_at:
                found += scene.analysis.references.to_code(place - 2)
    calls = scene.calls(*loaded) if loaded else ()
    return distinct(np.array([*found, *(call.function.rvas[call.i] for call in calls)], np.int64))


def is_reloaded(scene: Scene, place: int, register: int) -> bool:
    """Whether x64 code only stores the pointer and then loads its register anew.

    `mov [base+x], register; lea register, [address]` fills tables of functions; no other load of
    an address is as frequent.
    """
    memory, at = scene.image.memory, place + 4
    if scene.image.bits == 32 or at + MAX_INSTRUCTION > scene.image.size:
        return False
    rex, opcode, modrm = memory[at : at + 3]
    mode, base = modrm >> 6, modrm & 7
    if rex & 0xF0 != 0x40 or opcode != 0x89 or mode == 3 or base == 4 or (base == 5 and mode):
        return False
    is_global = base == 5
    if not is_global and base | (rex & 1) << 3 == register:
        return False
    at += 7 if is_global else (3, 4, 7)[mode]
    rex, opcode, modrm = memory[at : at + 3]
    is_load = rex & 0xFB == 0x48 and opcode == LEA and modrm & DIRECT_MASK == DIRECT
    return is_load and (modrm >> 3 & 7 | (rex & 4) << 1) == register


def is_used(
    scene: Scene,
    place: int,
    register: int,
    calls: frozenset[int],
    arguments: tuple[int, ...] = ARGUMENTS,
) -> bool:
    """Whether code behind the operand at an RVA writes through the pointer it loads, or calls.

    `register` holds the pointer, or `FRAME` or `PUSHED` say where it is. Follows copies between
    registers and to the frame, in code order, as far as the next jump. A call counts where one of
    the registers `arguments` holds the pointer.
    """
    start, on_stack = place + OPERAND, register < 0
    held = set() if on_stack else {register}
    code = bytes(scene.image.memory[start : start + WINDOW])
    kept: set[tuple[int, int]] = set()
    for instruction in Decoder(scene.image.bits, code, ip=start):
        flow = instruction.flow_control
        if flow:
            if instruction.ip in calls:
                return scene.image.bits == 32 or not held.isdisjoint(arguments)
            if flow == FlowControl.CONDITIONAL_BRANCH:
                continue
            held.difference_update(VOLATILE)
            on_stack = False
            if flow not in (FlowControl.CALL, FlowControl.INDIRECT_CALL) or not (held or kept):
                return False
            continue
        first = instruction.op0_register
        if first:
            note_load(instruction, NUMBERS[first], held, kept, on_stack)
        elif writes_through(instruction, held, kept):
            return True
        if not held and not kept and not on_stack:
            return False
    return False


def pushes(scene: Scene, start: int, end: int) -> int:
    """How many instructions of a stretch of x86 code push something."""
    code = bytes(scene.image.memory[start:end])
    return sum(each.mnemonic == Mnemonic.PUSH for each in Decoder(32, code, ip=start))


def writes_argument(scene: Scene, start: int, register: int) -> bool:
    """Whether a function seems to write through an argument, in code order from its start.

    Through that in a register, or, below 0, the complement of the position of one on the stack.
    """
    held, kept = {register}, set[tuple[int, int]]()
    if register < 0:
        held, kept = set(), {(Register.ESP, -4 * register), (Register.EBP, 4 - 4 * register)}
    code = bytes(scene.image.memory[start : start + CALLEE])
    for instruction in Decoder(scene.image.bits, code, ip=start):
        flow, first = instruction.flow_control, instruction.op0_register
        moved = _moves_stack(instruction) if register < 0 else 0
        if moved:
            kept = {(base, at + moved * (base == Register.ESP)) for base, at in kept}
        elif flow in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
            held.difference_update(VOLATILE)
        elif flow in (FlowControl.RETURN, FlowControl.INTERRUPT, FlowControl.EXCEPTION):
            return False
        elif flow == FlowControl.NEXT and first:
            note_load(instruction, NUMBERS[first], held, kept, on_stack=False)
        elif flow == FlowControl.NEXT and writes_through(instruction, held, kept):
            return True
        if not held and not kept:
            return False
    return False


def _moves_stack(instruction: Instruction) -> int:
    """How far x86 code moves its stack pointer down, where it pushes or makes room."""
    if instruction.mnemonic == Mnemonic.SUB and instruction.op0_register == Register.ESP:
        return int(instruction.immediate(1)) if instruction.op1_kind != OpKind.REGISTER else 0
    return OPERAND if instruction.mnemonic == Mnemonic.PUSH else 0


def note_load(
    instruction: Instruction,
    target: int,
    held: set[int],
    kept: set[tuple[int, int]],
    on_stack: bool,
) -> None:
    """Note whether an instruction puts the pointer, or one near it, into its first register."""
    mnemonic = instruction.mnemonic
    if mnemonic in KEEPS_REGISTER:
        return
    source = instruction.op1_register
    if mnemonic in CHOOSES and target in held:
        return
    if source:
        is_held = (mnemonic == Mnemonic.MOV or mnemonic in CHOOSES) and NUMBERS[source] in held
    else:
        base = instruction.memory_base
        if mnemonic == Mnemonic.LEA:
            is_held = NUMBERS[base] in held
        else:
            is_held = base in FRAME_BASES and (
                on_stack or (base, instruction.memory_displacement) in kept
            )
    if is_held:
        held.add(target)
    else:
        held.discard(target)


def writes_through(instruction: Instruction, held: set[int], kept: set[tuple[int, int]]) -> bool:
    """Whether an instruction stores through a held pointer; notes where it is kept in the frame."""
    kind = instruction.op0_kind
    if kind != OpKind.MEMORY:
        is_string = kind != OpKind.REGISTER and instruction.is_string_instruction
        return is_string and not held.isdisjoint((RSI, RDI))
    if instruction.mnemonic in KEEPS_OPERAND:
        return False
    base = instruction.memory_base
    if base in FRAME_BASES:
        if instruction.op_count == 2 and NUMBERS[instruction.op1_register] in held:
            kept.add((base, instruction.memory_displacement))
        return False
    return NUMBERS[base] in held
