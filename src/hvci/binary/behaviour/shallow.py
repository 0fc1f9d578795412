"""What is written through a pointer, without a question to the data flow: for who has many.

Into callees that are called directly, and a few of those one behind the other. Of what else becomes
of the pointer nothing is told.
"""

from __future__ import annotations

from hvci.binary.behaviour import names
from hvci.binary.behaviour.scene import Scene
from hvci.binary.flow.fates import Fate, Held, Passed, loaded, moved
from hvci.binary.flow.frames import Leak
from hvci.binary.flow.pointees import MAX_NESTED, Pointees, Walk
from hvci.binary.form.code import BY_POINTER, Flow, Function, Location, Memory, slot
from hvci.binary.pe.sets import members

DEEP = 2
"""Functions that hand an argument on, one to the next."""
MAX_WALKED = 400
"""Instructions that one is followed for in its function."""


class Shallow(Pointees):
    """Follows pointers in one image; its answers are for nobody else."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.flow)
        self.walk = _Walk
        self.scene = scene
        self._made: dict[int, Fate] = {}
        """By the RVA of what makes an address."""

    def made(self, function: Function, i: int) -> Fate:
        """What is done by the address that an instruction makes in registers, worked out once."""
        rva = function.rvas[i]
        if rva not in self._made:
            left = members(self.arch.effect(function, i).registers)
            held = frozenset((Location(each), 0) for each in left)
            self._made[rva] = self.from_instruction(function, i, held)
        return self._made[rva]

    def from_instruction(
        self, function: Function, i: int, held: Held, most: int = MAX_WALKED
    ) -> Fate:
        """What is written through a pointer that instruction `i` leaves in some locations."""
        return self._from(function, i, held, MAX_NESTED - DEEP - 1, most)


class _Walk(Walk):
    """One walk over one function."""

    pointees: Shallow

    def _put(
        self, i: int, n: int, memory: Memory, held: Held, kept: set[tuple[Location, int]]
    ) -> bool:
        """Note stores into local structures whose address goes on, as well."""
        is_put = super()._put(i, n, memory, held, kept)
        at = self._slot(i, memory) if is_put else None
        if at is not None and self.flow.frames.leak(self.function, at) is not Leak.NONE:
            self.landed.add((self.function, i))
        return is_put

    def _slot(self, i: int, memory: Memory) -> Location | None:
        if memory.base not in (self.arch.stack_pointer, self.arch.frame_pointer):
            return None
        at = self.flow.frames.offset(self.function, i, memory)
        return None if at is None else slot(at)

    def _is_settled(self, i: int, memory: Memory) -> bool:
        frame = (self.arch.stack_pointer, self.arch.frame_pointer)
        return memory.base not in frame or super()._is_settled(i, memory)

    def _called(self, i: int, held: Held) -> Held:
        """Follow the pointer into a function of the image, or a copy of a block."""
        if self.function.flows[i] in BY_POINTER:
            self._note_reads(i, loaded(self.pointees.scene.target(self.function, i)), held)
        kept = {each for each in held if self._stays(each[0], self.arch.volatile)}
        name, callee = self._callee(i)
        for place, offset in held if name or callee else ():
            entered = self._entry(i, place, name)
            if entered is None:
                continue
            if callee is None:
                self.passed.add(Passed(self.function, i, offset, name or "", entered[1]))
                continue
            fate = self.pointees.parameter(callee, entered[0], self.nesting + 1)
            self._add(fate, i, offset)
            kept |= {(Location(self.arch.result), moved(offset, more)) for more in fate.returned}
        return frozenset(kept)

    def _callee(self, i: int) -> tuple[str | None, Function | None]:
        """The routine that copies or fills, or the function, that a call plainly goes to."""
        scene, function = self.pointees.scene, self.function
        if function.rvas[i] in scene.copy_sites:
            name = scene.callee(function, i)
            return (name if name in names.BLOCKS else None), None
        if function.flows[i] in BY_POINTER or function.flows[i] not in _DIRECT:
            return None, None
        target = self.arch.direct_target(function, i)
        if target in self.flow.interprocedural.thunks:
            return None, None
        return None, self.flow.functions.starting_at(target)


_DIRECT = frozenset((Flow.CALL, Flow.JUMP, Flow.BRANCH))
