"""What a routine of the image gets that Windows calls with a context which the driver gave.

Knows which routines of Windows hand a context on, and to which parameter; judges nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import CALLS, Function


class _Gives(NamedTuple):
    """Arguments, counted from 0."""

    routine: int
    context: int
    parameter: int
    """Of the routine: the one that gets the context."""


GIVERS = {
    "PsCreateSystemThread": _Gives(5, 6, 0),
    "IoCreateSystemThread": _Gives(6, 7, 0),
    "IoQueueWorkItem": _Gives(1, 3, 1),
    "IoQueueWorkItemEx": _Gives(1, 3, 1),
    "IoTryQueueWorkItem": _Gives(1, 3, 1),
    "KeInitializeDpc": _Gives(1, 2, 1),
    "KeInitializeThreadedDpc": _Gives(1, 2, 1),
    "KeInitializeApc": _Gives(5, 7, 0),
    "KeIpiGenericCall": _Gives(0, 1, 0),
    "KeExpandKernelStackAndCallout": _Gives(0, 1, 0),
    "KeExpandKernelStackAndCalloutEx": _Gives(0, 1, 0),
    "KeSynchronizeExecution": _Gives(1, 2, 0),
    "IoConnectInterrupt": _Gives(1, 2, 1),
    "IoInitializeTimer": _Gives(1, 2, 1),
    "IoRegisterPlugPlayNotification": _Gives(4, 5, 1),
    "IoSetCompletionRoutineEx": _Gives(2, 3, 2),
    "ExAllocateTimer": _Gives(0, 1, 1),
    "ExRegisterCallback": _Gives(1, 2, 0),
    "PoRegisterPowerSettingCallback": _Gives(2, 3, 3),
    "RtlRunOnceExecuteOnce": _Gives(1, 2, 1),
    "CmRegisterCallback": _Gives(0, 1, 0),
    "CmRegisterCallbackEx": _Gives(0, 3, 0),
    "FltQueueGenericWorkItem": _Gives(2, 4, 2),
    "NdisQueueIoWorkItem": _Gives(1, 2, 0),
    "NdisInitializeTimer": _Gives(1, 2, 1),
    "NdisMInitializeTimer": _Gives(2, 3, 1),
}
"""The routines of Windows that call a routine of the driver with what it gave them."""
_NAMES = frozenset(GIVERS)


class Contexts:
    """The contexts of one image that may have to do with allocated memory."""

    def __init__(self, scene: Scene, around: Around) -> None:
        self.scene, self.around = scene, around

    @cached_property
    def given(self) -> dict[tuple[int, int], list[tuple[Place, int]]]:
        """Calls and the argument that they give, by the routine and where it finds that."""
        found: dict[tuple[int, int], list[tuple[Place, int]]] = {}
        if not self.scene.imports_any(*GIVERS):
            return found
        places = nearby.call_places(self.scene, _NAMES)
        for rva in places[self.around.hold(places)].tolist() if len(places) else ():
            at = self.scene.analysis.functions.instruction_at(rva)
            gives = GIVERS.get(self.scene.call_name(rva)) if at is not None else None
            if at is None or gives is None or at[0].flows[at[1]] not in CALLS:
                continue
            start = self.scene.code_address(self.scene.argument(*at, gives.routine))
            if start is not None:
                place = self.scene.flow.interprocedural.at_entry(gives.parameter)
                found.setdefault((start, place), []).append((at, gives.context))
        return found

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
