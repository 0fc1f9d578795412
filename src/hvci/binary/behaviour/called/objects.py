"""Which object a pointer leads to, told so that two functions can be compared.

An object is the memory that a call returned, data of the image, a local variable of a function, or
what a field of another object leads to. Knows nothing of what is in it.
"""

from __future__ import annotations

from hvci.binary.behaviour.called.contexts import Contexts
from hvci.binary.behaviour.scene import Scene
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import CALLS, IMAGE_BASE, Function, Load, Location

MAX_CALLERS, MAX_DEEP = 8, 3
"""Callers of a function that are asked, and functions one behind the other."""
MAX_OBJECTS = 8
"""A pointer that leads to more is not followed."""
Object = tuple[object, ...]
Objects = frozenset[Object]
OPEN: Object = ("open",)
"""What somebody outside of the image decides."""


class ObjectsOf:
    """The objects of one image."""

    def __init__(self, scene: Scene, contexts: Contexts) -> None:
        self.scene, self.contexts = scene, contexts
        self._passed: dict[tuple[int, int], Objects] = {}

    def behind(self, function: Function, i: int, register: int) -> Objects:
        """What a register may lead to before an instruction, callers asked."""
        flow, location = self.scene.flow, Location(register)
        flow.begin()
        found = self._all(function, flow.value(function, i, location), 0)
        for d in flow.definitions(function, i, location):
            if isinstance(d, int) and function.flows[d] not in CALLS:
                expr = self.scene.arch.define(function, d, register)
                if isinstance(expr, Load) and expr.memory.base == IMAGE_BASE:
                    found |= {("field", 0, ("data", expr.memory.displacement))}
        return found

    def _all(self, function: Function, held: Atoms, deep: int) -> Objects:
        out: set[Object] = set()
        for atom in held if len(held) <= MAX_OBJECTS else ():
            out |= self._one(function, atom, deep)
        return frozenset(out)

    def _one(self, function: Function, atom: Atom, deep: int) -> Objects:
        match atom.kind:
            case Kind.RESULT:
                return self._returned(function, atom.value)
            case Kind.STACK:
                return frozenset((("local", function.start, atom.value),))
            case Kind.PARAMETER:
                return self._by_callers(atom, deep)
            case Kind.FIELD if atom.of is not None:
                inner = self._one(function, atom.of, deep)
                return frozenset(("field", atom.value, each) for each in inner)
            case Kind.LEAKED:
                return frozenset((OPEN,))
        rva = self.scene.rva_of(atom)
        return frozenset((("data", rva),)) if rva > 0 else frozenset()

    def _returned(self, function: Function, rva: int) -> Objects:
        """The object that a call returned; none where a function of several callers makes them."""
        functions = self.scene.flow.functions
        maker = functions.at(rva)
        if maker is None or (maker is not function and len(functions.callers(maker.start)) > 1):
            return frozenset()
        return frozenset((("result", rva),))

    def _by_callers(self, atom: Atom, deep: int) -> Objects:
        """What callers pass for a parameter."""
        key = atom.value, atom.place
        if atom.ops:
            return frozenset()
        if key not in self._passed:
            self._passed[key] = frozenset()  # while it is asked for
            self._passed[key] = self._ask_callers(atom, deep)
        return self._passed[key]

    def _ask_callers(self, atom: Atom, deep: int) -> Objects:
        functions, flow = self.scene.flow.functions, self.scene.flow
        is_open = functions.takes_address(atom.value) or atom.value in self.scene.image.exports
        callers = functions.callers(atom.value) if not is_open and deep < MAX_DEEP else []
        out: set[Object] = set()
        for giver, given in self.contexts.of(atom):
            out |= self._all(giver, given, deep + 1)
        if not callers or len(callers) > MAX_CALLERS:
            return frozenset((OPEN, *out))
        for caller, k in callers:
            passed = flow.interprocedural.passed(caller, k, Location(atom.place))
            out |= self._all(caller, passed, deep + 1)
        return frozenset(out)


def is_known(found: Object) -> bool:
    """Whether nobody outside of the image decides which object it is."""
    inner = found[-1]
    return is_known(inner) if isinstance(inner, tuple) else found != OPEN
