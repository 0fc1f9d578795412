"""Writes to code: the driver's own, by itself or by a helper, and that of other modules."""

from __future__ import annotations

from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.shallow import Shallow
from hvci.binary.behaviour.writes import exports, handed, kept, own, sent
from hvci.binary.behaviour.writes.exports import export_of
from hvci.binary.behaviour.writes.infields import InFields
from hvci.binary.behaviour.writes.own import WRITES


def find(scene: Scene) -> None:
    """Add every fact about writes to code."""
    scene.copy_sites = frozenset(nearby.call_places(scene, names.BLOCKS).tolist())
    own.find(scene)
    rows = handed.handed(scene)
    handed.find(scene, rows)
    fields = InFields(scene, Shallow(scene))
    sent.find(scene, rows, fields)
    kept.find(scene, exports.find(scene, fields))


__all__ = ["WRITES", "export_of", "find"]
