"""Writes through addresses of the driver's own functions that go on from where they are made.

To other functions as arguments and results, and into local variables. What bytes and words propose
is followed along the flow of control.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from hvci.binary.behaviour import names
from hvci.binary.behaviour.arm64 import givenwords, lastingwords
from hvci.binary.behaviour.called.candidates import named_rvas
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.writes import lasting
from hvci.binary.behaviour.writes.callees import is_beside
from hvci.binary.behaviour.writes.given import POSITIONS, Given
from hvci.binary.behaviour.writes.handed import Handed, position_of
from hvci.binary.behaviour.writes.own import direct, store
from hvci.binary.behaviour.writes.shallow import Shallow
from hvci.binary.flow.fates import Fate, Write, is_moving
from hvci.binary.flow.makers import Makers
from hvci.binary.form.code import CALLS, Function
from hvci.binary.form.references import Rvas
from hvci.model import Machine

MAX_PLACES = 1024
"""Places that make an address of code and are followed."""
MAX_WALKED = 400
"""Instructions that one is followed for in its function."""


def find(scene: Scene, rows: Iterable[Handed]) -> None:
    """Add every write through an address of code that is followed; `rows`: those handed on."""
    makers = Makers(scene.flow)
    makers.pointees = Shallow(scene)
    places = sorted({*_candidates(scene, rows)})
    for place in places[:MAX_PLACES]:
        found = scene.analysis.functions.instruction_at(place)
        if found is not None and found[0].flows[found[1]] not in CALLS:
            _follow(scene, makers, found, place)
    if len(places) > MAX_PLACES:
        scene.flow.spend()  # which is told


def _candidates(scene: Scene, rows: Iterable[Handed]) -> Iterator[int]:
    """The places of addresses that outlast what stands behind them, or get to who writes there."""
    if scene.image.machine is Machine.ARM64:
        return proposed(scene, lastingwords.made(scene), rows)
    return proposed(scene, lasting.functions(scene, lasting.made(scene)), rows)


def proposed(
    scene: Scene, places: Rvas, rows: Iterable[Handed], few: bool = False
) -> Iterator[int]:
    """Those of some operands, or ARM64 instructions, whose register outlasts what is behind them.

    Or gets to a function that may write through it, as `rows` say that it gets to one. Where they
    are `few`, more is worth following.
    """
    given: Given | givenwords.Given
    if scene.image.machine is Machine.ARM64:
        yield from lastingwords.find(scene, places, few)
        given = givenwords.Given(scene)
    else:
        yield from lasting.find(scene, places, few)
        given = Given(scene)
    asked = {*places.tolist()}
    for row in rows:
        if row.place in asked and any(
            given.may_write(row.target, each) for each in _arguments(scene, row)
        ):
            yield row.place


def _arguments(scene: Scene, row: Handed) -> Iterator[int]:
    """Which argument an address is, as far as what stands before the call tells.

    Its register, or, below 0, the complement of its position on the x86 stack.
    """
    register = row.register
    if scene.image.bits == 32:
        position = position_of(scene, row.place, register, row.call)
        if position < POSITIONS:
            yield ~position
            return
    elif scene.image.machine is Machine.X64:
        register = lasting.copied_to(scene, row.place, register)
    if register in scene.arch.entry_registers:
        yield register


def _follow(scene: Scene, makers: Makers, made: Place, place: int) -> None:
    """The writes through the address of code that an instruction makes."""
    if scene.image.machine is Machine.ARM64:
        starts = sorted(makers.all_made(*made))
        named_stores(scene, made[0])
    else:
        starts = named_rvas(scene, np.array((place,), np.int64)).tolist()
    for start in filter(scene.image.is_code, starts):
        fate = scene.flow.apart(partial(makers.fate, *made, start, MAX_WALKED))
        for where, behind, exact in writes(scene, fate):
            store(scene, where, start + behind, exact)


def named_stores(scene: Scene, function: Function) -> None:
    """The stores of a function to addresses that it made of code, wherever that was."""
    for i in scene.arch.storing(function):
        direct(scene, (function, i))


def writes(scene: Scene, fate: Fate) -> Iterator[tuple[Place, int, bool]]:
    """(place, bytes behind the pointer, exact?) of all writes; of a callee's, its call."""
    for write in fate.writes:
        if _is_through(scene, write):
            place = write.calls[-1] if write.calls else (write.function, write.i)
            yield place, write.offset, write.size > 0
    for passed in fate.passed:
        if passed.name in names.BLOCKS and passed.argument == 0:
            is_exact = not is_moving(passed.offset)
            yield (passed.function, passed.i), passed.offset if is_exact else 0, is_exact


def _is_through(scene: Scene, write: Write) -> bool:
    """Whether a store goes to where the pointer leads, or to an element behind it."""
    memory = scene.arch.effect(write.function, write.i).stores[write.n]
    return not is_beside(scene, write.function, write.i, memory)
