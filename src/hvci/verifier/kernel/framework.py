"""Framework objects: handles that know their device, parent, buffer, request and contexts.

What a handle stands for lies in the emulated memory that it points at, so that snapshots hold it,
and a device that one callback fills is the device that the next one reads. Knows no DDI.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from hvci.verifier.kernel.call import LOWEST_POINTER, Call

CONTEXT, LARGEST_CONTEXT = 0x1000, 0x1_0000
GENERATIONS = 8
"""So many parents are asked for their device."""


class Slot(IntEnum):
    """What stands in a handle's memory, one pointer each."""

    DEVICE = 0
    PARENT = 1
    BUFFER = 2
    LENGTH = 3
    CODE = 4
    """The control code of a request."""
    MAJOR = 5
    IRP = 6
    QUEUE = 7
    FILE = 8
    COUNT = 9
    ROUTINE = 10
    ROUTINE_CONTEXT = 11
    REQUEST = 12


OBJECT = 8 * 16


def get(call: Call, handle: int, slot: Slot) -> int:
    """What a handle says; 0 where it is none."""
    if handle < LOWEST_POINTER:
        return 0
    return call.memory.pointer(handle + call.pointer_size * slot)


def put(call: Call, handle: int, slot: Slot, value: int) -> None:
    """Have a handle say something, if it is one."""
    if handle >= LOWEST_POINTER:
        call.memory.put_pointer(handle + call.pointer_size * slot, value)


def make(call: Call, attributes: int = 0, parent: int = 0) -> int:
    """A new object; the callbacks in its WDF_OBJECT_ATTRIBUTES are called when all else was.

    The framework refuses attributes whose first field is not their size.
    """
    handle, p = call.kernel.arena.take(OBJECT), call.pointer_size
    if attributes >= LOWEST_POINTER and call.memory.u32(attributes) == call.field(0, 56, 32):
        for index, name in ((1, "EvtCleanupCallback"), (2, "EvtDestroyCallback")):
            routine = call.memory.pointer(attributes + p * index)
            call.kernel.register(name, routine, [handle], is_last=True)
        parent = call.memory.pointer(call.field(attributes, 32, 20)) or parent
    put(call, handle, Slot.PARENT, parent)
    return handle


def device_for(call: Call, initializer: int) -> int:
    """The device that will be made from a WDFDEVICE_INIT: callbacks are named before it is."""
    device = get(call, initializer, Slot.DEVICE)
    if not device:
        device = call.kernel.arena.take(OBJECT)
        put(call, device, Slot.DEVICE, device)
        put(call, initializer, Slot.DEVICE, device)
        call.kernel.kept["framework device",] = device
    return device


def device_of(call: Call, handle: int) -> int:
    """The device that an object belongs to: its own, its parents', else the one made last."""
    for _ in range(GENERATIONS):
        if handle < LOWEST_POINTER:
            break
        device = get(call, handle, Slot.DEVICE)
        if device:
            return device
        handle = get(call, handle, Slot.PARENT)
    return call.kernel.keep("framework device", size=OBJECT)


def context(call: Call, handle: int, kind: int) -> int:
    """The context of an object and a WDF_OBJECT_CONTEXT_TYPE_INFO: always the same memory."""
    size = 0
    if kind >= LOWEST_POINTER:
        size = call.memory.pointer(kind + 2 * call.pointer_size)
    size = max(CONTEXT, size if size <= LARGEST_CONTEXT else 0)
    return call.kernel.keep("context", handle, kind, size=size)


def owner_of(call: Call, memory: int) -> int:
    """The object whose context that is; 0 when it is none's."""
    kept = call.kernel.kept.items()
    handles = (key[1] for key, at in kept if key[0] == "context" and at == memory)
    owner = next(handles, 0)
    assert isinstance(owner, int)
    return owner


def routines(call: Call, table: int) -> Iterator[tuple[int, int]]:
    """(offset, function of the driver) in a structure that begins with its size."""
    if table < LOWEST_POINTER:
        return
    yield from call.kernel.routines_in(table, call.memory.u32(table))
