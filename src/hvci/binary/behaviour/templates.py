"""Routines that are kept as bytes in data, and copied into memory that may execute.

Starts from instructions that name constant bytes which decode as a whole routine; asks whether
these are copied into memory that a DDI returned. Who calls the copy is not known where a record
carries the pointer: such an image is not judged compatible while it calls through any pointer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from iced_x86 import Code, Decoder, FlowControl, Mnemonic

from hvci.binary.arch.x86.lift import IMMEDIATES, RCX, RDX, RSI
from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.emitted import upper_halves
from hvci.binary.behaviour.generated import (
    RULE,
    allocations,
    allocator,
    comes_up_within,
    may_execute,
)
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Root, Use, argument_of, follow, roots
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Expr,
    Flow,
    Function,
    Load,
    Memory,
    Reg,
)
from hvci.binary.form.references import NO_RVAS
from hvci.binary.pe.sets import distinct, members
from hvci.model import Confidence, Limit, Machine, Origin

LONGEST = 256
"""Bytes from the first instruction of such a routine to its end, at most."""
SHORTEST, SHORTEST_ARM64 = 3, 8
"""Bytes of a routine that does something: `xor eax, eax; ret`, and two words."""
MAX_POPPED = 64
"""Bytes of arguments that a return takes off the stack, at most."""
MAX_TARGETS, MAX_PLACES = 4096, 64
"""Places in data that are decoded, and instructions naming a routine that are asked."""
AHEAD = 48
"""Instructions behind the one that names the bytes in which they are copied."""
ARGUMENTS, MAX_CALLS = 2, 3
"""Arguments of a copy that are addresses, and calls looked at behind a place."""
BACK, NEAR, MAX_ARGUMENTS = 16, 6, 3
_FAST = (RCX, RDX)
_RET, _RET_X30 = 0xC3, 0xD65F03C0
"""The end of a routine on x64 and x86, and on ARM64."""
_FOUR_BYTE_END = b"\xc3\0\0\0"
_PUSH, _MOVE_IMMEDIATE, _TO_STACK = 0x68, 0xB8, b"\xc7\x44\x24"
"""What stands before it in `push 0xC3`, `mov register, 0xC3` and `mov [esp+x], 0xC3`."""
_BYTE_ENDS = (b"\xb1\xc3", b"\xb2\xc3", b"\x41\xb0\xc3", b"\x41\xb1\xc3")
"""`mov cl, 0xC3` and its like."""
CALLED_WITHIN = 32
"""Bytes from there in which a direct call follows."""
_ENDS_ARM64, _RET_ARM64, _BR_ARM64 = 0xFFFF_FC1F, 0xD65F_0000, 0xD61F_0000
"""Mask of RET and BR without their register."""
_TEXT = np.isin(np.arange(256), (0, 9, 10, 13, *range(0x20, 0x7F)))
"""By byte: whether text holds it, that of 16-bit characters as well."""
_MAY_END = np.isin(np.arange(256), (0xC2, 0xC3, 0xFF))
"""By byte: first bytes of returns and of jumps through a register or memory."""
_NEVER = frozenset(
    bytes.fromhex(
        "06 07 0e 16 17 1e 1f 27 2f 37 3f 6c 6d 6e 6f 9a 9b 9e 9f a6 a7 ac ad ae af c8 ca cb cd ce"
        "cf d4 d5 d6 d7 d8 d9 da db dc dd de df e0 e1 e2 e3 e4 e5 e6 e7 ea ec ed ee ef f1 f4"
    )
)
"""First bytes of what no such routine holds, and tables do: segments, BCD, x87, I/O."""
_NEVER_NAMES = frozenset((Mnemonic.INVALID, Mnemonic.ARPL, Mnemonic.BOUND))
_NEVER_CODES = frozenset((Code.ADD_RM8_R8, Code.ADD_R8_RM8))
"""What zeros and small numbers decode as."""


_STRING_MOVES = frozenset((Mnemonic.MOVSB, Mnemonic.MOVSW, Mnemonic.MOVSD, Mnemonic.MOVSQ))


def find(scene: Scene) -> None:
    """Weaken the rule where a routine is copied and its callers cannot be told."""
    if not scene.imports_any(*names.RETURNED) or any(rule == RULE for rule, _, _ in scene.facts):
        return  # nothing is made, or it fails already
    if not len(nearby.call_places(scene, names.ALLOCATIONS)):
        return
    places = ((start, place) for start, named in _routines(scene) for place in named)
    seen: set[tuple[int, int]] = set()
    called: int | None = None
    for count, (start, place) in enumerate(places):
        if count == MAX_PLACES:
            _stopped(scene, MAX_PLACES, "instructions name bytes that decode as a routine")
            return
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted or (found[0].start, start) in seen:
            continue
        into = _copied(scene, found, start)
        if into is None or scene.reach(*found) is Confidence.POSSIBLE:
            continue
        called = _call(scene) if called is None else called
        if called is None:
            return
        seen.add((found[0].start, start))
        reason = (
            f"bytes at {start:#x} that decode as a routine are copied to {into}, and "
            f"which memory the call through a pointer at {called:#x} goes to is not known"
        )
        site = scene.analysis.site(found[0].rvas[found[1]], found[0])
        scene.limits.append(Limit(Origin.CALLSITE, (RULE,), reason, site))


# ---- the end of a routine, handed to a function that writes it


def handed(scene: Scene) -> None:
    """Weaken the rule where a function gets the end of a routine, and memory to write it into."""
    if not scene.imports_any(*names.RETURNED) or any(rule == RULE for rule, _, _ in scene.facts):
        return
    if not len(nearby.call_places(scene, names.ALLOCATIONS)):
        return
    seen: set[int] = set()
    places = _constants(scene)
    if len(places) > MAX_PLACES:
        _stopped(scene, MAX_PLACES, "calls may be given the end of a routine")
        del places[MAX_PLACES:]
    sites = allocations(scene)[0] if places else NO_RVAS
    for place in places:
        outline = scene.analysis.functions.outline(place)
        if outline is not None and not comes_up_within(sites, outline.spans):
            continue
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted:
            continue
        function, i = found
        behind = range(i + 1, min(i + NEAR, len(function.flows)))
        j = next((j for j in behind if function.flows[j] in (Flow.CALL, Flow.JUMP)), None)
        if j is None or function.rvas[j] in seen:
            continue
        seen.add(function.rvas[j])
        into = _gets_end(scene, function, j)
        if into is not None and scene.reach(function, j) is not Confidence.POSSIBLE:
            called = _call(scene)
            if called is None:
                return
            reason = (
                f"a function gets the end of a routine and {into}, and which memory the call "
                f"through a pointer at {called:#x} goes to is not known"
            )
            site = scene.analysis.site(function.rvas[j], function)
            scene.limits.append(Limit(Origin.CALLSITE, (RULE,), reason, site))


def _stopped(scene: Scene, bound: int, what: str) -> None:
    """Say that a bound was met, where a call could lead to what was not looked at."""
    if _call(scene) is not None:
        reason = f"more than {bound} {what}: those behind them were not looked at"
        scene.limits.append(Limit(Origin.CALLSITE, (RULE,), reason, None))


def _constants(scene: Scene) -> list[int]:
    """RVAs of instructions that may make the end of a routine as an argument."""
    if scene.image.machine is Machine.ARM64:
        return upper_halves(scene)
    find, memory = scene.image.find, scene.image.memory
    boundary = scene.analysis.functions.likely_boundary
    found: list[int] = []
    for start, end in scene.image.code_ranges:
        places = [at for wanted in _BYTE_ENDS for at in find(wanted, start, end)]
        for at in find(_FOUR_BYTE_END, start + 4, end):
            if memory[at - 1] == _PUSH or memory[at - 1] & 0xF8 == _MOVE_IMMEDIATE:
                places += (at - 1, at - 2) if scene.image.bits == 64 else (at - 1,)
            elif memory[at - 4 : at - 1] == _TO_STACK:
                places.append(at - 4)
        for place in places:
            is_called = b"\xe8" in bytes(memory[place : place + CALLED_WITHIN])
            if is_called and boundary(place) == place:
                found.append(place)
    return found


def _gets_end(scene: Scene, function: Function, j: int) -> str | None:
    """The memory that a call of an own function gets together with the end of a routine."""
    if not scene.is_within(function, j) or scene.callee(function, j) is not None:
        return None
    end = _RET_X30 if scene.image.machine is Machine.ARM64 else _RET
    given = _given(scene, function, j, MAX_ARGUMENTS, False)
    ends = [any(_is_end(atom, end) for atom in atoms) for _, atoms in given]
    others = [expr for (expr, _), is_end in zip(given, ends, strict=True) if not is_end]
    if len(others) == len(given):
        return None
    made = (_memory(scene, roots(scene, function, j, expr)) for expr in others)
    return next((into for into in made if into is not None), None)


def _is_end(atom: Atom, end: int) -> bool:
    return atom.kind is Kind.CONST and atom.value & 0xFFFF_FFFF == end


def _given(
    scene: Scene, function: Function, j: int, count: int, ask: bool
) -> list[tuple[Expr, Atoms]]:
    """The first arguments of a call, callers asked on wish; on x86 registers as well."""
    found: list[tuple[Expr, Atoms]] = []
    for n in range(count):
        scene.flow.begin()
        held = scene.flow.interprocedural.argument(function, j, n, scene.image.pointer_size)
        held = scene.flow.interprocedural.resolve(held) if ask else held
        found.append((argument_of(scene, n), held))
    if not scene.arch.parameter_registers:
        for register in _FAST:
            scene.flow.begin()
            expr = Reg(register)
            found.append((expr, scene.flow.evaluate(function, j, expr, 0)))
    return found


# ---- bytes that are a routine


def _routines(scene: Scene) -> Iterator[tuple[int, list[int]]]:
    """RVAs of constant bytes that decode as a routine, and the instructions that name them."""
    is_arm64 = scene.image.machine is Machine.ARM64
    looked_at = 0
    for section in scene.image.sections:
        end = min(section.end, section.rva + section.raw_size, len(scene.image.bytes))
        if section.executable or end - section.rva < 4 or section.name == ".reloc":
            continue
        ends = _ends_arm64(scene, section.rva, end) if is_arm64 else _ends(scene, section.rva, end)
        if not len(ends):
            continue
        first = max(section.rva, int(ends[0]) - LONGEST)
        targets, places = scene.analysis.references.naming(first, int(ends[-1]) + 1)
        starts = _near_end(scene, distinct(targets), ends)
        for start in starts.tolist():
            looked_at += 1
            if looked_at > MAX_TARGETS:
                _stopped(scene, MAX_TARGETS, "places in data may end a routine")
                return
            decodes = _is_routine_arm64 if is_arm64 else _is_routine
            if start not in scene.image.imports and decodes(scene, start, end):
                yield start, sorted(places[targets == start].tolist())


def _ends(scene: Scene, first: int, end: int) -> nearby.Rvas:
    """RVAs in data of bytes that may end an x64 or x86 routine."""
    code = scene.image.bytes[first:end]
    at = _MAY_END[code].nonzero()[0]
    behind = code[np.minimum(at + 1, len(code) - 1)]
    jumps = (behind & 0xF8 == 0xE0) | (behind == 0x25)
    found: nearby.Rvas = at[(code[at] != 0xFF) | jumps] + first
    return found


def _ends_arm64(scene: Scene, first: int, end: int) -> nearby.Rvas:
    """RVAs in data of words that are RET, or a branch through a register."""
    words = scene.image.bytes[first : end - (end - first) % 4].view("<u4") & _ENDS_ARM64
    found: nearby.Rvas = ((words == _RET_ARM64) | (words == _BR_ARM64)).nonzero()[0] * 4 + first
    return found


def _near_end(scene: Scene, starts: nearby.Rvas, ends: nearby.Rvas) -> nearby.Rvas:
    """Those that have such an end soon behind them, and start neither with zero nor with text."""
    starts = starts[(starts < ends[-1]) & (starts + 8 < len(scene.image.bytes))]
    starts = starts[ends[ends.searchsorted(starts)] - starts < LONGEST]
    if scene.image.machine is Machine.ARM64:
        return starts
    rows = scene.image.bytes[starts[:, None] + np.arange(8)]
    found: nearby.Rvas = starts[(rows[:, 0] != 0) & ~_TEXT[rows].all(axis=1)]
    return found


def _is_routine(scene: Scene, start: int, end: int) -> bool:
    """Whether bytes decode in a row up to a return or a jump through a register or memory."""
    code = bytes(scene.image.memory[start : min(end, start + LONGEST)])
    for count, instruction in enumerate(Decoder(scene.image.bits, code, ip=start), 1):
        is_odd = instruction.mnemonic in _NEVER_NAMES or instruction.code in _NEVER_CODES
        if is_odd or code[instruction.ip - start] in _NEVER:
            return False
        flow = instruction.flow_control
        if flow in (FlowControl.RETURN, FlowControl.INDIRECT_BRANCH):
            popped = instruction.immediate(0) if instruction.op0_kind in IMMEDIATES else 0
            plain = popped <= MAX_POPPED and popped % (scene.image.bits // 8) == 0
            return count > 1 and plain and instruction.next_ip - start >= SHORTEST
        is_branch = flow in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
        if is_branch and not start <= instruction.near_branch_target < start + LONGEST:
            return False
    return False


def _is_routine_arm64(scene: Scene, start: int, end: int) -> bool:
    """The same of words; those with bits 27 and 28 clear are reserved, or for user mode (SVE)."""
    if start % 4:
        return False
    for at in range(start, min(end - 3, start + LONGEST), 4):
        word = scene.image.u32(at)
        if word & _ENDS_ARM64 in (_RET_ARM64, _BR_ARM64):
            return at + 4 - start >= SHORTEST_ARM64
        if not word >> 27 & 3:
            return False
    return False


# ---- where they are copied to


def _copied(scene: Scene, place: Place, start: int) -> str | None:
    """The memory that the bytes at an RVA, named at an instruction, are copied to; None if none."""
    function, i = place
    for j in _given_to(scene, function, i):
        into = _by_call(scene, function, j, start)
        if into is not None:
            return into
    for j in range(i, min(i + AHEAD, len(function.flows))):
        into = _by_store(scene, function, j, start) if function.flows[j] == Flow.NEXT else None
        if into is not None:
            return into
    return None


def _given_to(scene: Scene, function: Function, i: int) -> list[int]:
    """The first calls that may get the address which an instruction makes or pushes."""
    arch = scene.arch
    effect = arch.effect(function, i)
    if effect.stores:
        behind = range(i + 1, min(i + AHEAD, len(function.flows)))
        return [j for j in behind if function.flows[j] in CALLS][:1]
    made = {number: arch.define(function, i, number) for number in members(effect.registers)}
    mask = sum(1 << number for number, expr in made.items() if not isinstance(expr, Load))
    steps = [step for step in follow(scene, function, i, mask, set()) if step.use is Use.CALL]
    if arch.parameter_registers:
        given = sum(1 << number for number in arch.parameter_registers[:ARGUMENTS])
        steps = [step for step in steps if step.registers & given]
    return [step.i for step in steps[:MAX_CALLS]]


def _by_call(scene: Scene, function: Function, j: int, start: int) -> str | None:
    """A call that gets the bytes' address and memory to put them into."""
    if scene.flow.exhausted or not scene.is_within(function, j):
        return None
    name = scene.callee(function, j)
    if name is not None and name not in names.BLOCKS:
        return None
    given = _given(scene, function, j, ARGUMENTS, True)
    if not any(scene.rva_of(atom) == start for _, atoms in given for atom in atoms):
        return None
    for expr, atoms in given:
        found = roots(scene, function, j, expr)
        found |= {Root(atom, True) for atom in atoms}
        into = _memory(scene, found)
        if into is not None:
            return into
    return None


def _by_store(scene: Scene, function: Function, j: int, start: int) -> str | None:
    """A store through a pointer to such memory of something that may be of the bytes."""
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    effect = scene.arch.effect(function, j)
    for n, memory in enumerate(effect.stores):
        bases = (memory.base, memory.index_register)
        registers = [each for each in bases if each >= 0 and each not in frame]
        holds = _moves_from if effect.fills else _may_hold
        if not registers or not holds(scene, (function, j), n, start):
            continue
        for register in registers:
            found = roots(scene, function, j, Reg(register))
            scene.flow.begin()
            atoms = scene.flow.evaluate(function, j, Reg(register), 0)
            resolved = scene.flow.interprocedural.resolve(atoms)
            into = _memory(scene, found | {Root(atom, True) for atom in resolved})
            if into is not None:
                return into
    return None


def _moves_from(scene: Scene, place: Place, _: int, start: int) -> bool:
    """Whether a string instruction copies from the bytes at an RVA."""
    function, j = place
    instruction = nearby.decode(scene, function.rvas[j])
    if instruction.mnemonic not in _STRING_MOVES:
        return False
    scene.flow.begin()
    held = scene.flow.evaluate(function, j, Reg(RSI), 0)
    return any(scene.rva_of(atom) == start for atom in held)


def _may_hold(scene: Scene, place: Place, n: int, start: int) -> bool:
    """Whether a store stores what was just read from the bytes at an RVA."""
    function, j = place
    expr = scene.arch.stored(function, j, n)
    if isinstance(expr, Reg):
        for p in range(j - 1, max(-1, j - BACK), -1):
            if scene.arch.effect(function, p).registers >> expr.number & 1:
                if function.flows[p] in CALLS:
                    return False
                expr, j = scene.arch.define(function, p, expr.number), p
                break
    return isinstance(expr, Load) and _lies_in(scene, (function, j), expr.memory, start)


def _lies_in(scene: Scene, place: Place, memory: Memory, start: int) -> bool:
    """Whether a memory operand names the bytes at an RVA, with whatever index."""
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    near = range(start, start + LONGEST)
    if memory.base == IMAGE_BASE:
        return memory.displacement in near
    if scene.image.bits == 32 and memory.displacement - scene.image.base in near:
        return True
    for register in (memory.base, memory.index_register):
        if register >= 0 and register not in frame:
            scene.flow.begin()
            held = scene.flow.evaluate(*place, Reg(register), 0)
            if any(scene.rva_of(atom) + memory.displacement in near for atom in held):
                return True
    return False


def _memory(scene: Scene, found: set[Root]) -> str | None:
    """The memory that a pointer goes to, in words; None when it is none that may execute."""
    for root in sorted(found):
        made = allocator(scene, root)
        if made is not None and may_execute(scene, made.name, made.rva):
            return f"{names.memory_of(made.name)} of {made.name}"
    return None


# ---- calls that may go there


def _call(scene: Scene) -> int | None:
    """RVA of a call whose target nothing explains; None where there is none."""
    functions = scene.analysis.functions
    for start in sorted(set(_starts(scene))):
        function = functions.at(start)
        if function is None:
            continue
        for i, flow in enumerate(function.flows):
            if flow not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
                continue
            if scene.flow.exhausted:
                return function.rvas[i]
            if _is_unexplained(scene, function, i):
                return function.rvas[i]
    return None


def _starts(scene: Scene) -> Iterator[int]:
    """An RVA in each function that is known, by unwind data and by who calls it."""
    functions = scene.analysis.functions
    yield from functions.unwind.starts
    yield from scene.analysis.references.branch_targets.tolist()
    yield from (function.start for function in functions.decoded())


def _is_unexplained(scene: Scene, function: Function, i: int) -> bool:
    """Whether a call or tail jump through a pointer may go to memory that was filled."""
    if not scene.is_within(function, i) or scene.callee(function, i):
        return False
    operand = scene.target(function, i)
    if scene.slot_of(operand) is not None or _is_guard(scene, operand):
        return False
    if function.flows[i] == Flow.INDIRECT_JUMP and not _loaded_plainly(scene, function, i, operand):
        return False
    scene.flow.begin()
    held = scene.flow.interprocedural.resolve(scene.flow.evaluate(function, i, operand, 0))
    known = (Kind.IMPORT, Kind.ROUTINE, Kind.TABLE, Kind.ADDRESS)
    return not held or any(atom.kind not in known for atom in held)


def _is_guard(scene: Scene, operand: Expr) -> bool:
    """Whether the call asks Control Flow Guard about a target, which another one then goes to."""
    if not isinstance(operand, Load) or operand.memory.base != IMAGE_BASE:
        return False
    return operand.memory.displacement == scene.image.guard_check


def _loaded_plainly(scene: Scene, function: Function, i: int, operand: Expr) -> bool:
    """Whether a jump goes where a pointer in memory says: jump tables have an index."""
    if isinstance(operand, Reg):
        for p in range(i - 1, max(-1, i - BACK), -1):
            if scene.arch.effect(function, p).registers >> operand.number & 1:
                operand = scene.arch.define(function, p, operand.number)
                break
    return isinstance(operand, Load) and operand.memory.index_register == NO_REGISTER


__all__ = ["find"]
