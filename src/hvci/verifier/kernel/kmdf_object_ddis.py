"""Stand-ins for what framework objects have in common, and for those that only hold something.

Creation, contexts, collections, strings, timers and their kind. Arguments count as documented.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.framework import (
    OBJECT,
    Slot,
    context,
    device_of,
    get,
    make,
    owner_of,
    put,
    routines,
)
from hvci.verifier.kernel.models import stands_in

MANY = 256
"""Items of a collection."""


class Creation(NamedTuple):
    """Arguments of a routine that makes an object, counted from 0."""

    attributes: int
    out: int
    parent: int | None = None


CREATIONS = {
    "WdfCollectionCreate": Creation(0, 1),
    "WdfDmaTransactionCreate": Creation(1, 2, 0),
    "WdfDmaEnablerCreate": Creation(2, 3, 0),
    "WdfIoResourceListCreate": Creation(1, 2),
    "WdfIoTargetCreate": Creation(1, 2, 0),
    "WdfObjectCreate": Creation(0, 1),
    "WdfRequestCreate": Creation(0, 2, 1),
    "WdfSpinLockCreate": Creation(0, 1),
    "WdfUsbTargetDeviceCreate": Creation(1, 2, 0),
    "WdfUsbTargetDeviceCreateWithParameters": Creation(2, 3, 0),
    "WdfWaitLockCreate": Creation(0, 1),
    "WdfWmiProviderCreate": Creation(2, 3, 0),
    "WdfRegistryOpenKey": Creation(3, 4),
    "WdfRegistryCreateKey": Creation(5, 6),
    "WdfDriverOpenParametersRegistryKey": Creation(2, 3, 0),
    "WdfDriverOpenPersistentStateRegistryKey": Creation(2, 3, 0),
    "WdfDeviceOpenRegistryKey": Creation(3, 4, 0),
    "WdfDeviceOpenDevicemapKey": Creation(3, 4, 0),
    "WdfFdoInitOpenRegistryKey": Creation(3, 4),
}
WITH_ROUTINES = {
    "WdfTimerCreate": Creation(1, 2),
    "WdfDpcCreate": Creation(1, 2),
    "WdfWorkItemCreate": Creation(1, 2),
    "WdfInterruptCreate": Creation(2, 3, 0),
    "WdfChildListCreate": Creation(2, 3, 0),
    "WdfWmiInstanceCreate": Creation(2, 3, 0),
}
"""Those that take a configuration with routines, right before the attributes."""
ISR = {8: 24, 4: 16}
"""Where EvtInterruptIsr stands in WDF_INTERRUPT_CONFIG, by pointer size."""


def created(call: Call, creation: Creation) -> int:
    """Make the object and hand it to the driver."""
    parent = 0 if creation.parent is None else call.arg(creation.parent)
    handle = make(call, call.arg(creation.attributes), parent)
    call.give(creation.out, handle)
    return handle


@stands_in(*CREATIONS)
def create(call: Call) -> int:
    """An object."""
    created(call, CREATIONS[call.name])
    return 0


@stands_in(*WITH_ROUTINES)
def create_with_routines(call: Call) -> int:
    """An object, and its routines queued; an interrupt's get a message number or its device."""
    creation, kernel = WITH_ROUTINES[call.name], call.kernel
    handle = created(call, creation)
    for offset, routine in routines(call, call.arg(creation.attributes - 1)):
        if call.name == "WdfInterruptCreate":
            arguments = [handle, 0 if offset == ISR[call.pointer_size] else call.arg(0)]
        else:
            arguments = [handle, *(kernel.arena.take(OBJECT) for _ in range(3))]
        kernel.register(f"{call.name}+{offset:#x}", routine, arguments)
    return 0


# ---- contexts and parents


@stands_in("WdfObjectGetTypedContextWorker")
def typed_context(call: Call) -> int:
    """The context of an object and a type: always the same memory."""
    return context(call, call.arg(0), call.arg(1))


@stands_in("WdfObjectAllocateContext")
def allocate_context(call: Call) -> int:
    """One more context, of the type that the attributes name."""
    attributes = call.arg(1)
    if attributes >= LOWEST_POINTER:
        information = call.memory.pointer(call.field(attributes, 48, 28))
        unique = 3 * call.pointer_size
        kind = call.memory.pointer(information + unique) if information >= LOWEST_POINTER else 0
        call.give(2, context(call, call.arg(0), kind or information))
    return 0


@stands_in("WdfObjectContextGetObject")
def object_of_context(call: Call) -> int:
    """The object whose context that is."""
    return owner_of(call, call.arg(0))


@stands_in("WdfTimerGetParentObject", "WdfDpcGetParentObject", "WdfWorkItemGetParentObject")
def parent_of(call: Call) -> int:
    """The parent that its attributes named."""
    return get(call, call.arg(0), Slot.PARENT) or device_of(call, 0)


@stands_in("WdfObjectDelete", "WdfObjectReferenceActual", "WdfObjectDereferenceActual")
def keep_object(call: Call) -> None:
    """Objects stay; the routine that cleans up is called in the end."""


@stands_in("WdfWaitLockAcquire")
def acquire(call: Call) -> int:
    """The lock is free."""
    return 0


# ---- collections


def _items(call: Call) -> list[int]:
    buffer = get(call, call.arg(0), Slot.BUFFER)
    count = min(get(call, call.arg(0), Slot.COUNT), MANY)
    if not buffer:
        return []
    return [call.memory.pointer(buffer + call.pointer_size * index) for index in range(count)]


def _store(call: Call, items: list[int]) -> None:
    collection, p = call.arg(0), call.pointer_size
    buffer = get(call, collection, Slot.BUFFER) or call.kernel.arena.take(p * MANY)
    put(call, collection, Slot.BUFFER, buffer)
    put(call, collection, Slot.COUNT, len(items))
    for index, item in enumerate(items):
        call.memory.put_pointer(buffer + p * index, item)


@stands_in("WdfCollectionAdd")
def collection_add(call: Call) -> int:
    """Add an object at the end."""
    items = _items(call)
    if len(items) < MANY and call.arg(0) >= LOWEST_POINTER:
        _store(call, [*items, call.arg(1)])
    return 0


@stands_in("WdfCollectionRemove")
def collection_remove(call: Call) -> None:
    """Take an object out."""
    items = _items(call)
    if call.arg(1) in items:
        items.remove(call.arg(1))
        _store(call, items)


@stands_in("WdfCollectionRemoveItem")
def collection_remove_item(call: Call) -> None:
    """Take the object at an index out."""
    items = _items(call)
    if call.u32(1) < len(items):
        del items[call.u32(1)]
        _store(call, items)


@stands_in("WdfCollectionGetCount")
def collection_count(call: Call) -> int:
    """How many objects it holds."""
    return len(_items(call))


@stands_in("WdfCollectionGetItem", "WdfCollectionGetFirstItem", "WdfCollectionGetLastItem")
def collection_item(call: Call) -> int:
    """An object that was added, or none."""
    items = _items(call)
    last = len(items) - 1
    at = {"WdfCollectionGetFirstItem": 0, "WdfCollectionGetLastItem": max(last, 0)}
    index = at[call.name] if call.name in at else call.u32(1)
    return items[index] if index <= last else 0


# ---- strings


@stands_in("WdfStringCreate")
def create_string(call: Call) -> int:
    """A string object with the text of a UNICODE_STRING."""
    string = created(call, Creation(1, 2))
    put(call, string, Slot.BUFFER, call.kernel.objects.unicode(call.unicode(call.arg(0))))
    return 0


@stands_in("WdfStringGetUnicodeString")
def string_text(call: Call) -> None:
    """The object's text."""
    text = get(call, call.arg(0), Slot.BUFFER)
    if text:
        call.give_bytes(1, call.memory.read(text, 2 * call.pointer_size))


@stands_in("WdfFileObjectGetFileName")
def file_name(call: Call) -> int:
    """An empty name."""
    return call.kernel.keep("file name", call.arg(0))


@stands_in("WdfRegistryQueryString")
def query_string(call: Call) -> int:
    """The text "1"."""
    put(call, call.arg(2), Slot.BUFFER, call.kernel.objects.unicode("1"))
    return 0


# ---- registry values and hardware resources


@stands_in("WdfRegistryQueryULong")
def query_number(call: Call) -> int:
    """The number one."""
    call.give_u32(2, 1)
    return 0


@stands_in("WdfRegistryQueryValue")
def query_value(call: Call) -> int:
    """REG_DWORD 1."""
    if call.u32(2) >= 4:
        call.give_u32(3, 1)
    call.give_u32(4, 4)
    call.give_u32(5, 4)
    return 0


@stands_in("WdfCmResourceListGetCount")
def resource_count(call: Call) -> int:
    """Memory, ports and an interrupt."""
    return 3


@stands_in("WdfCmResourceListGetDescriptor")
def resource(call: Call) -> int:
    """One of them."""
    index, objects = call.u32(1), call.kernel.objects
    if index > 2:
        return 0
    size = call.kernel.structures.descriptor_size
    address = call.kernel.arena.take(32)
    call.memory.write(address, objects.descriptors()[size * index : size * (index + 1)])
    return address
