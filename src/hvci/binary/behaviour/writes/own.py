"""Writes to the driver's own code: stores into executable sections, by name or through a pointer.

Candidates are operands that name an executable section; the data flow decides what a store writes
to.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.x86.operands import (
    DIRECT,
    DIRECT_MASK,
    ESCAPES,
    LEA,
    NEEDS_ESCAPE,
    VEX2,
    VEX3,
    WRITING_FORMS,
)
from hvci.binary.behaviour import generated, names, nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Step, Use, follow, roots
from hvci.binary.behaviour.writes.callees import is_beside
from hvci.binary.form.code import IMAGE_BASE, NO_REGISTER, Flow, Function, Memory, Reg
from hvci.binary.pe.image import Bytes
from hvci.binary.pe.sets import among
from hvci.model import Behaviour, Confidence, Machine

WRITES = "writes-executable-memory"
MAX_CANDIDATES = 4096
MAX_PER_SECTION = 8
"""Places shown of the stores into a section that is writable as well."""
PUSHED_WINDOW = 8
_MOFFS = np.array((0xA2, 0xA3), np.uint8)
_READS_ONLY = "the page is executable and never writable under memory integrity"


def find(scene: Scene) -> None:
    """Add every fact about stores into code."""
    behind = words.WINDOW if scene.image.machine is Machine.ARM64 else 1
    for place in _candidates(scene)[:MAX_CANDIDATES]:
        found = scene.analysis.functions.instruction_at(place)
        if found is not None:
            function, i = found
            for j in range(i, min(i + behind, len(function.flows))):
                direct(scene, (function, j))
            _through_pointer(scene, found)


def _candidates(scene: Scene) -> list[int]:
    """RVAs of the operands that name an executable section in a store or as an address."""
    if scene.image.machine is Machine.ARM64:
        return words.code_addresses(scene, scene.copy_sites)
    code = scene.image.bytes
    places = scene.analysis.references.to_executable()
    if scene.image.bits == 64:  # nothing else names an address there
        places = places[(code[places - 1] & DIRECT_MASK) == DIRECT]
    last, modrm = code[places - 2], code[places - 1]
    direct = (modrm & DIRECT_MASK) == DIRECT
    stores = direct & (WRITING_FORMS[last] >> (modrm >> 3 & 7) & 1 == 1)
    doubtful = (stores & NEEDS_ESCAPE[last]).nonzero()[0]
    stores[doubtful] = _is_escaped(code, places[doubtful])
    taken = direct & (last == LEA)
    if scene.image.bits == 32:
        stores |= among(modrm, _MOFFS)
        taken |= (
            ((modrm & 0xF8) == nearby.MOVE_IMMEDIATE)
            | (modrm == nearby.PUSH)
            | _to_frame(code, places)
        )
    written = [
        place
        for place in places[stores].tolist()
        if nearby.names_memory(scene, place) and nearby.is_called_code(scene, place)
    ]
    return [*written, *nearby.used(scene, places[taken], names.BLOCKS)]


def _is_escaped(code: Bytes, places: nearby.Rvas) -> npt.NDArray[np.bool_]:
    """Which opcodes of the operands at `places` have an escape byte or a VEX prefix before them."""
    escaped = among(code[places - 3], ESCAPES)
    return np.asarray(escaped | (code[places - 4] == VEX2) | (code[places - 5] == VEX3))


def _to_frame(code: Bytes, places: nearby.Rvas) -> npt.NDArray[np.bool_]:
    """Which immediates are stored in the frame: `mov [ebp-x], imm` or `mov [esp+x], imm`."""
    before = [code[places - n] for n in range(1, 5)]
    found: npt.NDArray[np.bool_] = (before[2] == 0xC7) & (before[1] == 0x45)
    found |= (before[2] == 0xC7) & (before[1] == 0x04) & (before[0] == 0x24)
    found |= (before[3] == 0xC7) & (before[2] == 0x44) & (before[1] == 0x24)
    return found


def direct(scene: Scene, place: Place) -> None:
    """A store whose operand names the section."""
    function, i = place
    for memory in scene.arch.effect(function, i).stores:
        if memory.base == IMAGE_BASE and scene.image.is_code(memory.displacement):
            exact = memory.index_register == NO_REGISTER
            store(scene, place, memory.displacement, exact)


def store(scene: Scene, place: Place, target: int, exact: bool) -> None:
    """Add the fact that the instruction at a place writes to code at an RVA."""
    section = scene.image.section_at(target)
    sure = scene.reach(*place)
    if section is None or sure is Confidence.POSSIBLE or _is_text(scene, place, sure):
        return
    what = f"writes to {section.name or 'an unnamed section'}, which is executable"
    if section.writable:
        what += " and writable"
        known = sum(fact.what == what for fact in scene.facts.values())
        if known >= MAX_PER_SECTION:
            return
    sure = sure if exact else Confidence.LIKELY
    where = f"the store goes to {target:#x}"
    scene.add(WRITES, Behaviour.STORE, what, place, sure, f"{where}; {_READS_ONLY}")


def _is_text(scene: Scene, place: Place, sure: Confidence) -> bool:
    """Whether bytes outside known functions are more likely a constant than a store."""
    return place[0].kind == "gap" and sure is not Confidence.PROVEN


def _through_pointer(scene: Scene, place: Place) -> None:
    """Stores through, and copies to, an address that an instruction puts somewhere."""
    function, i = place
    is_arm64 = scene.image.machine is Machine.ARM64
    if is_arm64 and not words.may_be_written(scene, function.rvas[i]):
        return
    registers, slots = _holders(scene, function, i)
    if not registers and not slots and scene.image.bits == 64:
        return
    for step in follow(scene, function, i, registers, slots):
        if step.use is Use.STORE and step.memory is not None:
            target = _target(scene, function, step.i, step.memory)
            if target is not None:
                store(scene, (function, step.i), *target)
        elif step.use is Use.CALL:
            _copy(scene, function, step)
    if scene.image.bits == 32 and not registers and not slots:
        _pushed(scene, function, i)


def _holders(scene: Scene, function: Function, i: int) -> tuple[int, set[tuple[int, int]]]:
    """The registers and frame slots that get an address of code from an instruction."""
    arch = scene.arch
    effect = arch.effect(function, i)
    registers = effect.registers & ~(1 << arch.stack_pointer)
    slots = {
        (memory.base, memory.displacement)
        for memory in effect.stores
        if memory.base == arch.frame_pointer
        or (memory.base == arch.stack_pointer and memory.displacement >= 0)
    }
    return (registers if not effect.stores else 0), slots


def _target(scene: Scene, function: Function, i: int, memory: Memory) -> tuple[int, bool] | None:
    """The code that a store through a register goes to, and whether that is exact."""
    for root in sorted(roots(scene, function, i, Reg(memory.base))):
        rva = scene.rva_of(root.atom)
        if rva >= 0 and scene.image.is_code(rva) and root.exact:
            if is_beside(scene, function, i, memory):
                return None
            exact = memory.index_register == NO_REGISTER
            return rva + memory.displacement, exact
    return None


def _pushed(scene: Scene, function: Function, i: int) -> None:
    """An address pushed as an argument: look at the call that takes it."""
    for j in range(i + 1, min(i + PUSHED_WINDOW, len(function.flows))):
        if function.flows[j] != Flow.NEXT:
            _copy(scene, function, Step(j, Use.CALL))
            return


def _copy(scene: Scene, function: Function, step: Step) -> None:
    """A block copy or fill whose destination or source is code."""
    if function.rvas[step.i] not in scene.copy_sites:
        return
    name = scene.callee(function, step.i)
    if name is None or name not in names.BLOCKS:
        return
    target = scene.code_address(scene.argument(function, step.i, 0))
    if target is not None:
        store(scene, (function, step.i), target, exact=True)
    elif name in names.COPIES:
        generated.copied(scene, function, step.i, name)
