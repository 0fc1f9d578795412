"""Writes to code by a function of the image that gets the address: a helper, a copy of its own.

Candidates are calls of own functions right behind an operand that names code or an import, and of
these only what seems to write through one of its first arguments; the data flow decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.x86.lift import RCX, RDX
from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, LEA
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.trace import Root
from hvci.binary.behaviour.writes.callees import written_through
from hvci.binary.behaviour.writes.exports import hook
from hvci.binary.behaviour.writes.own import store
from hvci.binary.flow.atoms import single
from hvci.binary.form.code import Function
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import among
from hvci.model import Machine

NOT_SEEN = 0x100
"""As the position of an argument."""
MAX_CALLS = 1024
"""Calls that are looked at."""
_COPIES_OF_ESP = (0, 1, 2, 3, 6, 7)
"""Registers that may hold one."""
COPIED_WITHIN = 48
"""Bytes before the store of an argument in which ESP is copied."""
SOON = 64
"""Bytes behind an operand in which the call is looked for."""
_ARGUMENTS = (RCX, RDX, 8)
"""Registers of as many arguments on x64."""
_CALL, _JUMP, _STORE_CONSTANT = 0xE8, 0xE9, 0xC7
_PUSH_REGISTER, _MOVE, _TO_ESP = 0x50, 0x89, 0x24
_PUSH_MEMORY, _FROM_MEMORY = 0xFF, 0x35
_STORES_LAST, _STORES_THERE = b"\xc7\x04\x24", b"\xc7\x44\x24"
"""`mov dword [esp], constant`, and that with a displacement."""


class Handed(NamedTuple):
    """An address of code or an import that is made or loaded right before a direct call."""

    place: int
    """RVA of its operand, on ARM64 of the instruction that completes it."""
    register: int
    """That which gets it; below 0 where none does."""
    call: int
    target: int


def find(scene: Scene, rows: Iterable[Handed]) -> None:
    """Add the fact of every call that hands on an address of code to be written through."""
    is_arm64 = scene.image.machine is Machine.ARM64
    candidates = words.handing(scene, rows) if is_arm64 else _candidates(scene, rows)
    for count, call in enumerate(candidates):
        if count == MAX_CALLS or scene.flow.exhausted:
            scene.flow.spend()  # which is told
            break
        found = scene.analysis.functions.instruction_at(call)
        if found is not None:
            _handed(scene, *found)


def handed(scene: Scene) -> list[Handed]:
    """Every address of code and import with a direct call soon behind it, in order of place."""
    if scene.image.machine is Machine.ARM64:
        return [Handed(*row) for row in words.handed(scene)]
    return behind(scene, np.concatenate((_taken(scene), _loaded(scene))))


def behind(scene: Scene, places: Rvas) -> list[Handed]:
    """The same of the operands of loads or, on ARM64, of loads themselves."""
    if scene.image.machine is Machine.ARM64:
        return [Handed(*row) for row in words.loaded(scene, places)]
    code, references = scene.image.bytes, scene.analysis.references
    sites = references.branches[1]
    sites = np.sort(sites[(code[sites] == _CALL) | (code[sites] == _JUMP)])
    places = np.sort(places)
    if not len(sites) or not len(places):
        return []
    following = sites.searchsorted(places)
    near = following < len(sites)
    places, calls = places[near], sites[following[near]]
    near = calls - places < SOON
    places, calls = places[near], calls[near]
    displacements = np.ndarray((len(code) - 3,), "<i4", scene.image.memory, 0, (1,))
    targets = calls + 5 + displacements[calls + 1]
    columns = (places, nearby.registers(scene, places), calls, targets)
    return [*map(Handed, *(each.tolist() for each in columns))]


def _candidates(scene: Scene, rows: Iterable[Handed]) -> Iterator[int]:
    """RVAs of the calls and jumps to what seems to write through an address of code."""
    writers: dict[tuple[int, int], bool] = {}
    for place, register, call, target in rows:
        arguments: tuple[int, ...] = _ARGUMENTS
        if scene.image.bits == 32:
            position = position_of(scene, place, register, call)
            arguments = (~position,) if position < words.DESTINATIONS else ()
        for argument in arguments:
            if (target, argument) not in writers:
                writers[target, argument] = _seems_to_write(scene, target, argument)
            if writers[target, argument] and nearby.is_used(
                scene, place, register, frozenset((call,)), (argument,)
            ):
                yield call
                break


def _taken(scene: Scene) -> Rvas:
    """Operands that make an address of code."""
    code, places = scene.image.bytes, scene.analysis.references.to_executable()
    if scene.image.bits == 32:
        found = _name_functions(scene, places)
    else:
        found = (code[places - 2] == LEA) & ((code[places - 1] & DIRECT_MASK) == DIRECT)
    return np.asarray(places[found])


def _loaded(scene: Scene) -> Rvas:
    """Operands of loads of imports into registers, and of x86 code that pushes them."""
    code, places = scene.image.bytes, np.array(scene.analysis.import_places, np.int64)
    opcode, modrm = code[places - 2], code[places - 1]
    found = (opcode == nearby.LOAD) & ((modrm & DIRECT_MASK) == DIRECT)
    if scene.image.bits == 32:
        found |= modrm == nearby.LOAD_SHORT
        found |= (opcode == _PUSH_MEMORY) & (modrm == _FROM_MEMORY)
    return np.asarray(places[found])


def position_of(scene: Scene, place: int, register: int, call: int) -> int:
    """Which argument on the x86 stack an address is that is pushed, or stored there as GCC does.

    `NOT_SEEN` where it is neither.
    """
    memory, behind = scene.image.memory, place + nearby.OPERAND
    before = bytes(memory[place - 4 : place])
    if register < 0:
        if before[3] == nearby.PUSH or before[2:] == bytes((_PUSH_MEMORY, _FROM_MEMORY)):
            return nearby.pushes(scene, behind, call)
        if before[:3] == _STORES_THERE:
            return before[3] // 4
        return 0 if before[1:] == _STORES_LAST else _above_copy(scene, place)
    between = bytes(memory[behind:call])
    if between.find(bytes((_MOVE, register << 3 | 4, _TO_ESP))) >= 0:
        return 0
    above = between.find(bytes((_MOVE, register << 3 | 0x44, _TO_ESP)))
    if 0 <= above < len(between) - 3:
        return between[above + 3] // nearby.OPERAND
    for base in _COPIES_OF_ESP:
        above = between.find(bytes((_MOVE, 0x40 | register << 3 | base)))
        copy = memory.find(bytes((_MOVE, 0xE0 | base)), place - COPIED_WITHIN, call)
        if 0 <= above < len(between) - 2 and copy >= 0:
            return between[above + 2] // nearby.OPERAND
    is_pushed = memory[behind] == _PUSH_REGISTER + register
    return nearby.pushes(scene, behind + 1, call) if is_pushed else NOT_SEEN


def _above_copy(scene: Scene, place: int) -> int:
    """The same of an address that is stored by a copy of ESP, as Clang does without optimising."""
    memory = scene.image.memory
    opcode, modrm, above = memory[place - 3 : place]
    if opcode != _STORE_CONSTANT or modrm & 0xF8 != 0x40:
        opcode, modrm, above = memory[place - 2], memory[place - 1], 0
    is_store = opcode == _STORE_CONSTANT and modrm & 0xB8 == 0
    copy = bytes((_MOVE, 0xE0 | modrm & 7))
    copied = memory.find(copy, place - COPIED_WITHIN, place) >= 0
    return above // nearby.OPERAND if is_store and copied else NOT_SEEN


def _name_functions(scene: Scene, places: Rvas) -> npt.NDArray[np.bool_]:
    """Which x86 operands are an address that a function starts at: images have text in between."""
    image = scene.image
    words = np.ndarray((image.size - 3,), "<u4", image.memory, 0, (1,))
    starts = np.array(scene.analysis.functions.starts, np.int64)
    return among(words[places].astype(np.int64) - image.base, starts)


def _seems_to_write(scene: Scene, target: int, argument: int) -> bool:
    """Whether a callee is one of the image and seems to write through an argument."""
    if not scene.image.is_code(target) or target in scene.flow.interprocedural.thunks:
        return False
    return nearby.writes_argument(scene, target, argument)


def _handed(scene: Scene, function: Function, i: int) -> None:
    """Decide one call: which of its arguments are code, and does the callee write there?"""
    for position in range(words.DESTINATIONS):
        offsets = written_through(scene, scene.arch.direct_target(function, i), position)
        if not offsets:
            continue
        scene.flow.begin()
        size = scene.image.pointer_size
        held = scene.flow.interprocedural.argument(function, i, position, size)
        atom, rva = single(held), scene.code_address(held)
        if atom is not None and rva is not None:
            store(scene, (function, i), rva + min(offsets, key=abs), exact=True)
        elif atom is not None:
            hook(scene, (function, i), Root(atom, exact=True))
