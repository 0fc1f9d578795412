"""Whether a field that a function sets may be loaded near it and written through: by bytes alone.

Near are functions that may get a pointer to one object by calls. Only sorts out.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.called import around, fieldbytes
from hvci.binary.behaviour.called.fieldbytes import Fields
from hvci.binary.behaviour.called.readagain import ANY
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import Rvas
from hvci.model import Machine


class Pairs:
    """The fields of one image."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._near: dict[int, Rvas] = {}
        """By the number of a function: which loads lie near it."""
        self._written: dict[int, bool] = {}
        """By the number of a load: whether something is written through what it gives."""

    def has(self, rva: int, displacement: int) -> bool:
        """Whether a field so far behind its object, which code at an RVA sets, may be such."""
        loads, _ = self._loads
        if displacement != ANY and displacement not in self._displacements:
            return False
        row = int(self.around.rows(np.array((rva,), np.int64))[0])
        if row not in self._near:
            self._near[row] = self._loads_near(rva)
        near = self._near[row]
        if displacement != ANY:
            near = near[loads.displacements[near] == displacement]
        return any(map(self._is_written, near.tolist()))

    @cached_property
    def around(self) -> around.Around:
        """Which functions are near one another."""
        return around.of(self.scene)

    @cached_property
    def _loads(self) -> tuple[Fields, Rvas]:
        """The loads of fields behind which something may be written; their functions."""
        scene = self.scene
        if scene.image.machine is Machine.ARM64:
            fields = words.object_loads(scene)
            soon = words.stored_soon(scene, fields.operands, scene.copy_sites)
        else:
            fields = fieldbytes.object_loads(scene)
            places, held = self._operands(fields)
            soon = nearby.soon(scene, places, held, names.BLOCKS)
        fields = Fields(*(each[soon] for each in fields))
        return fields, self.around.rows(fields.places)

    @cached_property
    def _displacements(self) -> frozenset[int]:
        return frozenset(self._loads[0].displacements.tolist())

    def _loads_near(self, rva: int) -> Rvas:
        """The numbers of the loads in functions near an RVA."""
        return np.asarray(self.around.near(rva)[self._loads[1]].nonzero()[0])

    def _is_written(self, n: int) -> bool:
        """Whether something is written through what a load gives; worked out once."""
        if n not in self._written:
            load = Fields(*(each[n : n + 1] for each in self._loads[0]))
            if self.scene.image.machine is Machine.ARM64:
                copies = self.scene.copy_sites
                found = words.written_through(self.scene, load.operands, copies)
            else:
                places, held = self._operands(load)
                found = nearby.used(self.scene, places, names.BLOCKS, held)
            self._written[n] = bool(found)
        return self._written[n]

    def _operands(self, loads: Fields) -> tuple[Rvas, Rvas]:
        """The last operands of some loads, as if four bytes long, and the registers they load."""
        code = self.scene.image.bytes
        held = code[loads.places + 1].astype(np.int64) >> 3 & 7
        if self.scene.image.bits == 64:
            held |= (code[loads.places - 1].astype(np.int64) & 4) << 1
        return loads.operands - nearby.OPERAND, held
