"""Writes through addresses of the driver's own functions that go on from where they are made.

To other functions as arguments and results, and into local variables. What bytes and words propose
is followed along the flow of control.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hvci.binary.behaviour.called.candidates import named_rvas
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.shallow import MAX_WALKED
from hvci.binary.behaviour.writes import lasting
from hvci.binary.behaviour.writes.callees import writes
from hvci.binary.behaviour.writes.given import POSITIONS, Given
from hvci.binary.behaviour.writes.handed import Handed, position_of
from hvci.binary.behaviour.writes.infields import InFields
from hvci.binary.behaviour.writes.own import direct, store
from hvci.binary.flow.makers import Makers
from hvci.binary.form.code import CALLS, Function
from hvci.binary.form.references import Rvas
from hvci.model import Machine

if TYPE_CHECKING:
    from hvci.binary.behaviour.arm64 import givenwords

MAX_PLACES = 1024
"""Places that make an address of code and are followed."""


def find(scene: Scene, rows: Iterable[Handed], fields: InFields) -> None:
    """Add every write through an address of code that is followed; `rows`: those handed on."""
    makers, made = Makers(scene.flow), _made(scene)
    makers.pointees = fields.shallow
    places = sorted({*proposed(scene, made, rows)})
    for place in places[:MAX_PLACES]:
        found = scene.analysis.functions.instruction_at(place)
        if found is not None and found[0].flows[found[1]] not in CALLS:
            _follow(scene, makers, fields, found, place)
    if len(places) > MAX_PLACES:
        scene.flow.spend()  # which is told
    for each, place in fields.stored(made):
        for start in _starts(scene, makers, place):
            _tell(scene, fields, {each}, start)


def _made(scene: Scene) -> Rvas:
    """The places that make an address of code."""
    if scene.image.machine is Machine.ARM64:
        from hvci.binary.behaviour.arm64 import lastingwords

        return lastingwords.made(scene)
    return lasting.functions(scene, lasting.made(scene))


def proposed(
    scene: Scene, places: Rvas, rows: Iterable[Handed], few: bool = False
) -> Iterator[int]:
    """Those of some operands, or ARM64 instructions, whose register outlasts what is behind them.

    Or gets to a function that may write through it, as `rows` say that it gets to one. Where they
    are `few`, more is worth following.
    """
    given: Given | givenwords.Given
    if scene.image.machine is Machine.ARM64:
        from hvci.binary.behaviour.arm64 import givenwords, lastingwords

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


def _follow(scene: Scene, makers: Makers, fields: InFields, made: Place, place: int) -> None:
    """The writes through the address of code that an instruction makes."""
    if scene.image.machine is Machine.ARM64:
        named_stores(scene, made[0])
    for start in _starts(scene, makers, place):
        fate = scene.flow.apart(partial(makers.fate, *made, start, MAX_WALKED))
        for where, behind, exact in writes(scene, fate):
            store(scene, where, start + behind, exact)
        _tell(scene, fields, fate.landed, start)


def _starts(scene: Scene, makers: Makers, place: int) -> list[int]:
    """The code whose address the instruction at a place makes."""
    if scene.image.machine is Machine.ARM64:
        found = scene.analysis.functions.instruction_at(place)
        starts = [] if found is None else sorted(makers.all_made(*found))
    else:
        starts = named_rvas(scene, np.array((place,), np.int64)).tolist()
    return [*filter(scene.image.is_code, starts)]


def _tell(scene: Scene, fields: InFields, stores: Iterable[Place], start: int) -> None:
    """Add the writes through an address of code that some stores put into fields."""
    for where, behind in fields.written(stores):
        store(scene, where, start + behind, exact=False)


def named_stores(scene: Scene, function: Function) -> None:
    """The stores of a function to addresses that it made of code, wherever that was."""
    for i in scene.arch.storing(function):
        direct(scene, (function, i))
