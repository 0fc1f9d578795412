"""Calls through fields of the image's data that a routine gets as its context.

Such a field is a variable of the image, of which the routine has the address from Windows only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hvci.binary.behaviour.called.contexts import Contexts, plain_address
from hvci.binary.behaviour.called.fields import Reader, fields_called
from hvci.binary.behaviour.called.objects import ObjectsOf
from hvci.binary.behaviour.scene import Place
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import among, distinct

FARTHEST = 0x1000
"""Bytes from the start of data to the last field that is looked at."""


def find(contexts: Contexts, reader: Reader) -> Iterator[tuple[Place, int, int]]:
    """Each call, with the RVA of the data, and how far behind that the field lies."""
    scene, around = contexts.scene, contexts.around
    if not len(contexts.places) or not len(around.sites):
        return
    places = reader.calls(np.arange(FARTHEST)).places
    if not len(places):
        return
    rows = around.rows(places)
    wanted = distinct(np.concatenate((rows, around.calling(distinct(rows)))))
    others = contexts.places[~around.hold(contexts.places)]
    if len(others):
        named = around.rows(reader.named_before(others))
        contexts.look_at(others[among(named, wanted).any(axis=1)].tolist())
    of = ObjectsOf(scene, contexts)
    for place, given in _given(contexts, wanted, places, rows):
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted:
            continue
        for d, memory in fields_called(scene, *found):
            objects = of.behind(found[0], d, memory.base)
            for rva in sorted(given):
                if ("data", rva) in objects:
                    yield found, rva, memory.displacement


def _given(
    contexts: Contexts, wanted: Rvas, places: Rvas, rows: Rvas
) -> Iterator[tuple[int, set[int]]]:
    """Calls through fields in routines, and what these call, with the data that those get."""
    around = contexts.around
    for start, data in sorted(_data(contexts, wanted).items()):
        for place in places[among(rows, around.called_by(start))].tolist():
            yield place, data


def _data(contexts: Contexts, wanted: Rvas) -> dict[int, set[int]]:
    """The writable data whose addresses some routines get, by where these start."""
    scene, found = contexts.scene, dict[int, set[int]]()
    starts = np.array(sorted({start for start, _ in contexts.given}), np.int64)
    chosen = set(starts[among(contexts.around.rows(starts), wanted)].tolist())
    for (start, _), givers in contexts.given.items():
        for at, position in givers if start in chosen else ():
            for atom in plain_address(scene, *at, position):
                rva = scene.rva_of(atom)
                if rva > 0 and scene.image.is_writable(rva):
                    found.setdefault(start, set()).add(rva)
    return found
