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
        self._known: dict[tuple[int, int], bool] = {}

    def has(self, rva: int, displacement: int) -> bool:
        """Whether a field so far behind its object, which code at an RVA sets, may be such."""
        row = int(self.around.rows(np.array((rva,), np.int64))[0])
        if (row, displacement) not in self._known:
            self._known[row, displacement] = self._has(rva, displacement)
        return self._known[row, displacement]

    def _has(self, rva: int, displacement: int) -> bool:
        fields, rows = self._loads
        chosen = self.around.near(rva)[rows]
        if displacement != ANY:
            chosen &= fields.displacements == displacement
        return bool(chosen.any()) and self._are_written(
            fields.places[chosen], fields.operands[chosen]
        )

    @cached_property
    def around(self) -> around.Around:
        """Which functions are near one another."""
        return around.of(self.scene)

    @cached_property
    def _loads(self) -> tuple[Fields, Rvas]:
        """All loads of fields, and the functions that they are in."""
        if self.scene.image.machine is Machine.ARM64:
            fields = words.object_loads(self.scene)
        else:
            fields = fieldbytes.object_loads(self.scene)
        return fields, self.around.rows(fields.places)

    def _are_written(self, places: Rvas, ends: Rvas) -> bool:
        """Whether something is written through what a load gives, one of some."""
        scene = self.scene
        if scene.image.machine is Machine.ARM64:
            return bool(words.written_through(scene, ends, scene.copy_sites))
        code = scene.image.bytes
        held = code[places + 1].astype(np.int64) >> 3 & 7
        if scene.image.bits == 64:
            held |= (code[places - 1].astype(np.int64) & 4) << 1
        return bool(nearby.used(scene, ends - nearby.OPERAND, names.BLOCKS, held))
