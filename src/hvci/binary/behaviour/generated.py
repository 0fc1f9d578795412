"""Code that is not in the image: calls into memory that was allocated, and code copied out.

Starts from calls and jumps through registers, frame slots and variables; asks what the target was
made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvci import catalog
from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Root, argument_of, roots
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import CALLS, IMAGE_BASE, Expr, Flow, Function, Load, Reg, slot
from hvci.binary.pe.sets import among, distinct
from hvci.model import Behaviour, Confidence, Machine

RULE = "dynamic-code"
MAX_CANDIDATES = 512
KEPT_WINDOW = 48
"""Bytes behind a call in which its result is put into a variable."""
ALLOCATION_WINDOW = 0x600
"""Bytes between an allocation and a call into it, in one function."""
ARGUMENTS, MAX_CALLS_BETWEEN = 6, 4
"""Arguments of a call that are looked at for an address, and calls between it and a use."""
BACK = 16
"""Instructions looked at before a call for what its register was loaded from."""
_THROUGH_FRAME = np.array((0x54, 0x55, 0x94, 0x95), np.uint8)
"""Operand bytes of calls through a frame slot."""
_THROUGH_REGISTER = np.array((0xD0, 0xE0), np.uint8)
"""The same of calls and jumps through a register, which is in the three bits below."""
_THROUGH_MEMORY = 0x15
"""The same of `call [address]`."""
_LOAD, _LOAD_EAX = 0x8B, b"\xa1"
"""Opcodes of x64 and x86 loads."""
_INDIRECT = (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP)
_NX = "this memory never executes under memory integrity"


def find(scene: Scene) -> None:
    """Add every fact about code outside the image."""
    if not scene.imports_any(*names.RETURNED, *names.PUT):
        return
    sites, kept = allocations(scene)
    for place in _indirect(scene, sites, kept)[:MAX_CANDIDATES]:
        if not _may_come_up(scene, sites, place):
            continue
        found = scene.analysis.functions.instruction_at(place)
        if found is None or found[0].flows[found[1]] not in _INDIRECT:
            continue
        if comes_up_within(sites, found[0].fragments) or _reads_variable(scene, found):
            _judge(scene, found)


# ---- calls into memory


def allocations(scene: Scene) -> tuple[nearby.Rvas, set[int]]:
    """Places where a pointer to allocated memory comes up, and the variables that keep one.

    A place is a call of a DDI, a call of a function that calls one, or a read of such a variable.
    """
    calls = nearby.call_places(scene, names.ALLOCATIONS)
    kept: set[int] = set()
    wrappers: set[int] = set()
    for place in calls.tolist():
        kept |= _kept_behind(scene, place)
        function = scene.analysis.functions.at(place)
        if function is not None:
            wrappers.add(function.start)
    references = scene.analysis.references
    found = [calls.tolist()]
    found += [references.to_code(start) for start in sorted(wrappers)]
    found.append([place for place, _ in references.to_slots(kept)])
    return distinct(np.array([rva for group in found for rva in group], np.int64)), kept


def _kept_behind(scene: Scene, place: int) -> set[int]:
    """Variables that get the result register shortly behind a call."""
    memory, found = scene.image.memory, set()
    opcodes = (b"\x48\x89\x05",) if scene.image.bits == 64 else (b"\xa3", b"\x89\x05")
    for opcode in opcodes:
        at = memory.find(opcode, place, place + KEPT_WINDOW)
        if at >= 0:
            end = at + len(opcode)
            value = scene.image.u32(end)
            rva = end + 4 + value if scene.image.bits == 64 else value - scene.image.base
            found.add(rva & 0xFFFF_FFFF)
    return found


def _indirect(scene: Scene, sites: nearby.Rvas, kept: set[int]) -> list[int]:
    """RVAs of calls and jumps through a register, a frame slot or such a variable."""
    if scene.image.machine is Machine.ARM64:
        return words.indirect(scene, sites, MAX_CANDIDATES)
    code, bits = scene.image.bytes, scene.image.bits
    found: list[int] = []
    for start, end in scene.image.code_ranges:
        if end - start < 8 or not len(sites):
            continue
        last = min(end - 1, len(code) - 4)  # what is looked at behind it lies in the image
        places = (code[start:last] == 0xFF).nonzero()[0] + start
        modrm = code[places + 1]
        wanted = among(modrm & 0xF8, _THROUGH_REGISTER) | among(modrm, _THROUGH_FRAME)
        if bits == 32:  # `mov edi, edi; push ebp; mov ebp, esp` holds FF 55
            wanted &= (code[places - 1] != 0x8B) | (code[places + 3] != 0xEC)
        chosen = places[wanted]
        before = np.searchsorted(sites, chosen) - 1
        near = (before >= 0) & (chosen - sites[np.maximum(before, 0)] < ALLOCATION_WINDOW)
        found += chosen[near & ~_calls_import(scene, chosen)].tolist()
        own = sites[(sites >= start + 2) & (sites < end)] - 2
        found += own[(code[own] == 0xFF) & (code[own + 1] == _THROUGH_MEMORY)].tolist()
    for pointer in scene.image.guard_dispatches if len(sites) else ():
        dispatched = scene.analysis.references.to_data(pointer)
        calls = np.array(dispatched, np.int64) - 2
        found += nearby.called_before(calls, sites, ALLOCATION_WINDOW)
    return [place for place in sorted(set(found)) if _is_indirect(scene, place, kept)]


def _calls_import(scene: Scene, calls: nearby.Rvas) -> npt.NDArray[np.bool_]:
    """Which calls through a register have it loaded from an import shortly before."""
    if scene.image.bits == 64:
        return np.zeros(len(calls), bool)
    code = scene.image.bytes
    places = np.array(scene.analysis.import_places, np.int64)
    loads = places[(code[places - 2] == 0x8B) & ((code[places - 1] & 0xC7) == 5)]
    if not len(loads):
        return np.zeros(len(calls), bool)
    # One number for a register and an RVA: the next lower one is the last load of the same.
    loaded = np.sort(loads | (code[loads - 1] >> 3 & 7).astype(np.int64) << 32)
    called = calls | (code[calls + 1] & 7).astype(np.int64) << 32
    last = loaded[np.maximum(loaded.searchsorted(called) - 1, 0)]
    answer: npt.NDArray[np.bool_] = (called > last) & (called - last < ALLOCATION_WINDOW)
    return answer


def _is_indirect(scene: Scene, place: int, kept: set[int]) -> bool:
    """Whether the bytes are a call through a register or frame slot, or through such a variable."""
    memory = scene.image.memory
    is_call_or_jump = memory[place] == 0xFF and memory[place + 1] >> 3 & 7 in (2, 4)
    prefix = 1 if scene.image.bits == 64 else 0
    if not is_call_or_jump or not nearby.may_start(scene, range(place, place - prefix - 1, -1)):
        return False
    if memory[place + 1] != 0x15:
        return memory[place + 1] != 0x25
    value = scene.image.u32(place + 2)
    rva = place + 6 + value if scene.image.bits == 64 else value - scene.image.base
    return rva & 0xFFFF_FFFF in kept or rva & 0xFFFF_FFFF in scene.image.guard_dispatches


def _judge(scene: Scene, place: Place) -> None:
    """One indirect call: is its target memory that a DDI returned?"""
    function, i = place
    operand = scene.target(function, i)
    if not _worth_asking(scene, function, i, operand):
        return
    for root in sorted(roots(scene, function, i, operand)):
        made = allocator(scene, root)
        if made is not None:
            verb = "calls" if function.flows[i] in CALLS else "jumps"
            did = "put there" if made.name in names.PUT else "returned"
            scene.add(
                RULE,
                Behaviour.GENERATED_CODE,
                f"{verb} into {names.memory_of(made.name)} of {made.name}",
                place,
                Confidence.PROVEN if root.exact else Confidence.LIKELY,
                f"the target {'is' if root.exact else 'is computed from'} what the call at "
                f"{made.rva:#x} {did}; {_NX}",
            )
            return


class _Made(NamedTuple):
    """The call of a DDI that made memory."""

    name: str
    rva: int


def allocator(scene: Scene, root: Root) -> _Made | None:
    """The call that made the memory; None when none is seen to."""
    rva = root.atom.value
    if root.atom.kind is Kind.LEAKED:
        return _filler(scene, root.atom)
    if root.atom.kind is not Kind.RESULT:
        return None
    name = scene.call_name(rva)
    return _Made(name, rva) if name in names.RETURNED else None


def may_execute(scene: Scene, name: str, rva: int) -> bool:
    """Whether the memory of a call may have been asked for as executable."""
    ddi = catalog.ddis().get(name)
    found = scene.analysis.functions.instruction_at(rva)
    if ddi is None or found is None or ddi.deciding is None:
        return True
    held: Atoms = scene.argument(*found, ddi.position(ddi.deciding), 4)
    return any(
        atom.kind is not Kind.CONST or ddi.rule.executable.holds(atom.value) for atom in held
    )


def _filler(scene: Scene, leaked: Atom) -> _Made | None:
    """The call that put memory into a local variable, before calls that do not get its address."""
    own = Atom(Kind.STACK, leaked.place)
    for _ in range(MAX_CALLS_BETWEEN):
        found = scene.analysis.functions.instruction_at(leaked.value)
        if found is None:
            return None
        receiving = [n for n in range(ARGUMENTS) if own in scene.argument(*found, n)]
        if receiving:
            name = scene.callee(*found) or ""
            puts = name in names.PUT and receiving == [names.PUT_POSITION]
            return _Made(name, leaked.value) if puts else None
        held = scene.flow.value(*found, slot(leaked.place))
        before = [atom for atom in held if atom.kind is Kind.LEAKED]
        if len(before) != 1:
            return None
        leaked = before[0]
    return None


def _may_come_up(scene: Scene, sites: nearby.Rvas, place: int) -> bool:
    """The same by bytes: an allocation in the function, or what may load a variable before."""
    outline = scene.analysis.functions.outline(place)
    if scene.image.machine is Machine.ARM64 or outline is None:
        return True
    memory = scene.image.memory
    if memory[place + 1] & 0xF8 not in _THROUGH_REGISTER or comes_up_within(sites, outline.spans):
        return True
    number = memory[place + 1] & 7
    loads = (bytes((_LOAD, 5 | number << 3)), *([_LOAD_EAX] if number == 0 else ()))
    begin = max(0, place - BACK * nearby.MAX_INSTRUCTION)
    return any(memory.find(load, begin, place) >= 0 for load in loads)


def comes_up_within(sites: nearby.Rvas, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a pointer to allocated memory comes up in a function.

    What a caller hands over is not followed.
    """
    bounds = (sites.searchsorted(span) for span in spans)
    return any(first < last for first, last in bounds)


def _reads_variable(scene: Scene, place: Place) -> bool:
    """Whether the pointer that is called was just loaded from a variable, however it got there."""
    function, i = place
    operand = scene.target(function, i)
    if not isinstance(operand, Reg):
        return isinstance(operand, Load) and operand.memory.base == IMAGE_BASE
    for p in range(i - 1, max(-1, i - BACK), -1):
        if scene.arch.effect(function, p).registers >> operand.number & 1:
            if function.flows[p] in CALLS:
                return False
            expr = scene.arch.define(function, p, operand.number)
            return isinstance(expr, Load) and expr.memory.base == IMAGE_BASE
    return False


def _worth_asking(scene: Scene, function: Function, i: int, operand: Expr) -> bool:
    """Sort out the usual case, a pointer that was just loaded from a structure or an import."""
    if not isinstance(operand, Reg):
        return isinstance(operand, Load)
    arch = scene.arch
    for p in range(i - 1, max(-1, i - BACK), -1):
        if p + 1 in function.sources:
            return True
        if arch.effect(function, p).registers >> operand.number & 1:
            if function.flows[p] in CALLS:
                return True
            expr = arch.define(function, p, operand.number)
            if isinstance(expr, Load):
                memory = expr.memory
                frame = (arch.stack_pointer, arch.frame_pointer)
                if memory.base == IMAGE_BASE:
                    return scene.slot_of(expr) is None
                return memory.base in frame
            return True
    return True


# ---- copies of code


def copied(scene: Scene, function: Function, i: int) -> None:
    """A block copy at `i`: from the start of a function into memory that a DDI returned?"""
    source = scene.code_address(scene.argument(function, i, 1))
    if source is None or not scene.starts_function(source):
        return
    found = roots(scene, function, i, argument_of(scene, 0))
    made = {known.name for root in found if (known := allocator(scene, root))}
    if made:
        scene.add(
            RULE,
            Behaviour.COPIED_CODE,
            f"copies its function at {source:#x} to {names.memory_of(min(made))} of {min(made)}",
            (function, i),
            Confidence.PROVEN,
            _NX,
        )
