"""Stand-ins for NDIS: miniports, filters and protocols, and the memory they ask for.

Handlers of an adapter get the context that the driver set for it while it was initialised.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

OBJECT = 0x100
PARAMETERS = 0x800


class Client(NamedTuple):
    """Where handlers stand in the characteristics of a driver, and who gets which context."""

    kind: str
    first_64: int
    first_32: int
    initialize: int
    """The handler, by number, that is called first and sets the adapter's context."""
    of_driver: frozenset[int]
    """Others that come before there is a context."""
    subject_at: int = 1
    """Which argument of the first handler is what the driver calls itself."""


MINIPORT = Client("miniport", 16, 12, 1, frozenset((0, 3)))
FILTER = Client("filter", 64, 36, 2, frozenset((0,)))
PROTOCOL = Client("protocol", 32, 20, 1, frozenset((0,)), subject_at=0)
OLD_MINIPORT = Client("miniport", 8, 8, 5, frozenset())
OLD_PROTOCOL = Client("protocol", 8, 8, 13, frozenset((16,)))
LATER_ARGUMENT = {(OLD_MINIPORT, 6): 2, (OLD_MINIPORT, 9): 1, (OLD_PROTOCOL, 14): 1}
"""Handlers that get the adapter's context later than first: MiniportISR, MiniportReset, unbind."""


def _new(call: Call, size: int = OBJECT) -> int:
    return call.kernel.arena.take(size)


def _cell(call: Call, client: Client) -> int:
    """Where the context of an adapter is kept."""
    return call.kernel.keep("adapter context", client.kind, size=16)


def _queue(call: Call, client: Client, table: int, size: int, subject: int = 0) -> None:
    """Queue the handlers of characteristics; `subject` is what the driver calls itself."""
    kernel, p = call.kernel, call.pointer_size
    first = call.field(0, client.first_64, client.first_32)
    found = [
        ((offset - first) // p, routine)
        for offset, routine in kernel.routines_in(table, size)
        if offset >= first
    ]
    for index, routine in sorted(found, key=lambda each: each[0] != client.initialize):
        arguments, through = [_new(call, PARAMETERS) for _ in range(6)], tuple[int, ...]()
        if index == client.initialize:
            arguments[client.subject_at] = subject or arguments[client.subject_at]
        elif index not in client.of_driver:
            at = LATER_ARGUMENT.get((client, index), 0)
            arguments[at], through = _cell(call, client), (at,)
        kernel.register(f"NDIS {client.kind} {index}", routine, arguments, through=through)


def _size(call: Call, characteristics: int) -> int:
    """What NDIS_OBJECT_HEADER says."""
    return call.memory.u16(characteristics + 2) if characteristics >= LOWEST_POINTER else 0


@stands_in("NdisMRegisterMiniportDriver")
def register_miniport(call: Call) -> int:
    """Queue the handlers of the characteristics."""
    call.give(4, _new(call))
    _queue(call, MINIPORT, call.arg(3), _size(call, call.arg(3)), call.arg(2))
    return 0


@stands_in("NdisFRegisterFilterDriver")
def register_filter(call: Call) -> int:
    """Queue the handlers of the characteristics."""
    call.give(3, _new(call))
    _queue(call, FILTER, call.arg(2), _size(call, call.arg(2)), call.arg(1))
    return 0


@stands_in("NdisRegisterProtocolDriver")
def register_protocol(call: Call) -> int:
    """Queue the handlers of the characteristics."""
    call.give(2, _new(call))
    _queue(call, PROTOCOL, call.arg(1), _size(call, call.arg(1)), call.arg(0))
    return 0


@stands_in("NdisMRegisterMiniport")
def register_old_miniport(call: Call) -> int:
    """Queue the handlers of NDIS 5 characteristics."""
    _queue(call, OLD_MINIPORT, call.arg(1), call.u32(2))
    return 0


@stands_in("NdisRegisterProtocol")
def register_old_protocol(call: Call) -> None:
    """Queue the handlers of NDIS 5 characteristics."""
    call.give_u32(0, 0)
    call.give(1, _new(call))
    _queue(call, OLD_PROTOCOL, call.arg(2), call.u32(3))


# ---- contexts of adapters


@stands_in("NdisMSetMiniportAttributes")
def set_attributes(call: Call) -> int:
    """The registration attributes, which come first, hold the context."""
    attributes, cell = call.arg(1), _cell(call, MINIPORT)
    if attributes >= LOWEST_POINTER and not call.memory.pointer(cell):
        context = call.memory.pointer(attributes + call.pointer_size)
        call.memory.put_pointer(cell, context)
    return 0


@stands_in("NdisMSetAttributes", "NdisMSetAttributesEx")
def set_old_attributes(call: Call) -> None:
    """The context of an NDIS 5 miniport."""
    call.memory.put_pointer(_cell(call, OLD_MINIPORT), call.arg(1))


@stands_in("NdisFSetAttributes")
def set_filter_attributes(call: Call) -> int:
    """The context of a filter module."""
    call.memory.put_pointer(_cell(call, FILTER), call.arg(1))
    return 0


@stands_in("NdisOpenAdapterEx")
def open_adapter(call: Call) -> int:
    """The context of a binding."""
    call.memory.put_pointer(_cell(call, PROTOCOL), call.arg(1))
    call.give(4, _new(call))
    return 0


@stands_in("NdisOpenAdapter")
def open_old_adapter(call: Call) -> None:
    """The context of an NDIS 5 binding."""
    call.give_u32(0, 0)
    call.give(2, _new(call))
    call.give_u32(3, 0)
    call.memory.put_pointer(_cell(call, OLD_PROTOCOL), call.arg(7))


# ---- memory and devices


@stands_in("NdisInitializeWrapper", "NdisMInitializeWrapper")
def initialize_wrapper(call: Call) -> None:
    """A wrapper handle."""
    call.give(0, _new(call))


@stands_in("NdisAllocateMemory", wide=(3,))
def allocate_network_memory_old(call: Call) -> int:
    """Memory through a pointer."""
    call.give(0, call.kernel.arena.allocate(call.u32(1), call.name))
    return 0


@stands_in("NdisAllocateMemoryWithTag")
def allocate_network_memory(call: Call) -> int:
    """Memory through a pointer."""
    call.give(0, call.kernel.arena.allocate(call.u32(1), call.name))
    return 0


@stands_in("NdisAllocateMemoryWithTagPriority")
def allocate_network_memory_new(call: Call) -> int:
    """Memory as the result."""
    return call.kernel.arena.allocate(call.u32(1), call.name)


@stands_in("NdisMRegisterDevice", "NdisRegisterDeviceEx")
def register_network_device(call: Call) -> int:
    """A device and a handle; NDIS 6 keeps the dispatch table in the attributes."""
    kernel, old = call.kernel, call.name == "NdisMRegisterDevice"
    call.give(4 if old else 2, kernel.objects.add_device(OBJECT, 0x12, 0))
    call.give(5 if old else 3, _new(call))
    return 0
