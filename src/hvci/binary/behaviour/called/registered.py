"""Memory that the driver gives to Windows as a routine: of a thread, a DPC, a notification.

Knows which arguments are such routines; who judges where a pointer leads is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called import outputs
from hvci.binary.behaviour.called.contexts import Contexts
from hvci.binary.behaviour.scene import Place
from hvci.binary.behaviour.trace import Root, argument_of
from hvci.binary.form.code import CALLS
from hvci.binary.form.jumptables import leaves
from hvci.catalog.givers import CALLERS

_NAMES = frozenset(CALLERS)


def find(contexts: Contexts) -> Iterator[tuple[Place, str, set[Root]]]:
    """(call, name of the routine of Windows, what the routine that it gets is made of) of each.

    Only where a pointer to allocated memory may come up.
    """
    scene = contexts.scene
    if not scene.imports_any(*CALLERS):
        return
    places = nearby.call_places(scene, _NAMES)
    for rva in places[contexts.around.hold(places)].tolist():
        at = scene.analysis.functions.instruction_at(rva)
        name = scene.call_name(rva) if at is not None else ""
        is_call = at is not None and at[0].flows[at[1]] in CALLS
        if at is None or not (is_call or leaves(*at)):
            continue
        for position in CALLERS.get(name, ()):
            argument = argument_of(scene, position, is_call)
            yield at, name, outputs.roots(contexts, at, argument)
