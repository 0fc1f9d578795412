"""What a routine of the image gets that Windows calls with a context which the driver gave.

Knows which routines of Windows hand a context on, and to which parameter; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from hvci.binary.arch.x86.stack.pushes import find_push
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    Address,
    Binary,
    Const,
    Expr,
    Function,
    ImageAddress,
    Load,
    Memory,
    Reg,
    slot,
)
from hvci.binary.form.jumptables import leaves
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.catalog.givers import GIVERS

_NAMES = frozenset(GIVERS)
MAX_COPIES = 4
"""Copies of an address on the way to a call."""


class Contexts:
    """The contexts of one image that may have to do with allocated memory."""

    def __init__(self, scene: Scene, around: Around) -> None:
        self.scene, self.around = scene, around
        self._seen: set[int] = set()

    @cached_property
    def places(self) -> Rvas:
        """RVAs of the calls that may give a context, sorted."""
        is_there = self.scene.imports_any(*GIVERS)
        return nearby.call_places(self.scene, _NAMES) if is_there else NO_RVAS

    @cached_property
    def given(self) -> dict[tuple[int, int], list[tuple[Place, int]]]:
        """Calls and the argument that they give, by the routine and where it finds that."""
        found: dict[tuple[int, int], list[tuple[Place, int]]] = {}
        if len(self.places):
            for rva in self.places[self.around.hold(self.places)].tolist():
                self._note(rva, found, is_plain=False)
        return found

    def look_at(self, places: Iterable[int]) -> None:
        """Look at further calls, which get known like the others, where the routine is plain."""
        for rva in places:
            if rva not in self._seen:
                self._note(rva, self.given, is_plain=True)

    def _note(
        self, rva: int, found: dict[tuple[int, int], list[tuple[Place, int]]], is_plain: bool
    ) -> None:
        """Note what a call gives, where it gives a context to a routine of the image."""
        self._seen.add(rva)
        scene = self.scene
        at = scene.analysis.functions.instruction_at(rva)
        gives = GIVERS.get(scene.call_name(rva)) if at is not None else None
        if at is None or gives is None or not (at[0].flows[at[1]] in CALLS or leaves(*at)):
            return
        argument = plain_address if is_plain else Scene.argument
        start = scene.code_address(argument(scene, *at, gives.routine))
        if start is not None:
            place = scene.flow.interprocedural.at_entry(gives.position(scene.image.bits))
            found.setdefault((start, place), []).append((at, gives.context))

    def routines(self) -> list[tuple[int, int]]:
        """(RVA of the call, start) of the routines that get a context."""
        return [
            (function.rvas[i], start)
            for (start, _), calls in self.given.items()
            for (function, i), _ in calls
        ]

    def of(self, atom: Atom) -> list[tuple[Function, Atoms]]:
        """What a parameter gets by a context, and who gives it."""
        if atom.kind is not Kind.PARAMETER:
            return []
        return [
            (at[0], self.scene.argument(*at, position))
            for at, position in self.given.get((atom.value, atom.place), ())
        ]


def plain_address(scene: Scene, function: Function, i: int, position: int) -> Atoms:
    """An argument that straight code makes the address of; nothing where it does not.

    For who asks of many calls, few of which give what is looked for.
    """
    arch, registers = scene.arch, scene.arch.parameter_registers
    if position < len(registers):
        expr: Expr | None = Reg(registers[position])
    else:
        d = _on_stack(scene, function, i, position)
        expr = None if d is None else arch.stored(function, d)
        i = i if d is None else d
    for _ in range(MAX_COPIES):
        if isinstance(expr, Reg):
            d, register = (
                scene.flow.reaching.ways.writer(function, i, 1 << expr.number),
                expr.number,
            )
            expr = arch.define(function, d, register) if _is_plain(function, d) else None
        elif isinstance(expr, Load) and scene.image.bits == 64:
            d = _stored(scene, function, i, expr.memory)
            expr = arch.stored(function, d) if _is_plain(function, d) else None
        else:
            break
        i = d
    is_named = isinstance(expr, Address) and expr.memory.base == IMAGE_BASE
    if expr is None or not (is_named or isinstance(expr, Const | ImageAddress | Binary)):
        return NOTHING
    scene.flow.begin()
    return scene.flow.evaluate(function, i, expr, 0)


def _on_stack(scene: Scene, function: Function, i: int, position: int) -> int | None:
    """The instruction that puts an argument on the stack, where it is plain."""
    arch, size = scene.arch, scene.image.pointer_size
    if scene.image.bits == 32:
        push = find_push(arch, function, i, size * position)
        return None if push is None else push.i
    depth = scene.flow.depth.before(function, i)
    if depth is None:
        return None
    above = size * (position + arch.arguments_above(is_call=function.flows[i] in CALLS))
    made = scene.flow.definitions(function, i, slot(depth + above))
    return made[0] if len(made) == 1 and isinstance(made[0], int) else None


def _is_plain(function: Function, d: int) -> bool:
    return d >= 0 and function.flows[d] not in CALLS


def _stored(scene: Scene, function: Function, i: int, memory: Memory) -> int:
    """The only instruction that writes the slot that an operand names; below 0 for none."""
    frames = scene.flow.frames
    offset = frames.offset(function, i, memory) if frames.is_plain(function, i, memory) else None
    made = scene.flow.definitions(function, i, slot(offset)) if offset is not None else ()
    return made[0] if len(made) == 1 and isinstance(made[0], int) else -1
