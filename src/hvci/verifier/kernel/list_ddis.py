"""Stand-ins for interlocked lists: doubly and singly linked ones, and sequenced lists."""

from __future__ import annotations

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

_NEXT_OF_64 = 8
"""Offset of NextEntry in the SLIST_HEADER of 64-bit Windows; its lowest four bits are flags."""
_FLAGS = 0xF


@stands_in(
    "ExInterlockedInsertTailList",
    "ExfInterlockedInsertTailList",
    "ExInterlockedInsertHeadList",
    "ExfInterlockedInsertHeadList",
)
def insert(call: Call) -> int:
    """Link an entry at either end; give the one that was there, or zero when there was none."""
    memory, p = call.memory, call.pointer_size
    head, entry = call.arg(0), call.arg(1)
    at_head = "Head" in call.name
    before = head if at_head else memory.pointer(head + p)
    after = memory.pointer(head) if at_head else head
    if not before or not after:
        return 0  # nobody initialised it
    memory.put_pointer(entry, after)
    memory.put_pointer(entry + p, before)
    memory.put_pointer(before, entry)
    memory.put_pointer(after + p, entry)
    neighbour = after if at_head else before
    return 0 if neighbour == head else neighbour


@stands_in("ExInterlockedRemoveHeadList", "ExfInterlockedRemoveHeadList")
def remove_head(call: Call) -> int:
    """Unlink the first entry and give it; zero when the list is empty."""
    memory, p, head = call.memory, call.pointer_size, call.arg(0)
    entry = memory.pointer(head)
    if entry == head or entry < LOWEST_POINTER:
        return 0
    after = memory.pointer(entry)
    memory.put_pointer(head, after)
    memory.put_pointer(after + p, head)
    return entry


@stands_in("ExInterlockedPushEntryList", "ExfInterlockedPushEntryList")
def push(call: Call) -> int:
    """Put an entry in front of a singly linked list; give the former first one."""
    return _push(call, call.arg(0))


@stands_in("ExInterlockedPopEntryList", "ExfInterlockedPopEntryList")
def pop(call: Call) -> int:
    """Take the first entry of a singly linked list; zero when it is empty."""
    return _pop(call, call.arg(0))


def _push(call: Call, head: int) -> int:
    memory, entry = call.memory, call.arg(1)
    first = memory.pointer(head) & ~_flags(call)
    memory.put_pointer(entry, first)
    memory.put_pointer(head, entry)
    return first


def _pop(call: Call, head: int) -> int:
    memory = call.memory
    entry = memory.pointer(head) & ~_flags(call)
    if entry >= LOWEST_POINTER:
        memory.put_pointer(head, memory.pointer(entry))
        return entry
    return 0


def _flags(call: Call) -> int:
    return _FLAGS if call.pointer_size == 8 else 0


def _first(call: Call) -> int:
    """Where the first entry of a sequenced list stands."""
    return call.arg(0) + (_NEXT_OF_64 if call.pointer_size == 8 else 0)


def _count(call: Call, change: int) -> None:
    """Change the depth, which is 16 bits behind the pointer on x86, and in front elsewhere."""
    at = call.arg(0) + (0 if call.pointer_size == 8 else 4)
    call.memory.put(at, call.memory.u16(at) + change & 0xFFFF, 2)


@stands_in("InitializeSListHead", "RtlInitializeSListHead", "ExInitializeSListHead")
def empty_sequenced(call: Call) -> None:
    """An empty sequenced list."""
    call.give_bytes(0, bytes(16 if call.pointer_size == 8 else 8))


@stands_in(
    "ExInterlockedPushEntrySList", "ExpInterlockedPushEntrySList", "InterlockedPushEntrySList"
)
def push_sequenced(call: Call) -> int:
    """Put an entry in front of a sequenced list; give the former first one."""
    first = _push(call, _first(call))
    _count(call, 1)
    return first


@stands_in("ExInterlockedPopEntrySList", "ExpInterlockedPopEntrySList", "InterlockedPopEntrySList")
def pop_sequenced(call: Call) -> int:
    """Take the first entry of a sequenced list; zero when it is empty."""
    entry = _pop(call, _first(call))
    if entry:
        _count(call, -1)
    return entry


@stands_in("ExInterlockedFlushSList", "ExpInterlockedFlushSList", "InterlockedFlushSList")
def flush_sequenced(call: Call) -> int:
    """Take all entries of a sequenced list; give the first one."""
    entry = call.memory.pointer(_first(call)) & ~_flags(call)
    empty_sequenced(call)
    return entry


@stands_in("ExQueryDepthSList", "RtlQueryDepthSList")
def depth_of_sequenced(call: Call) -> int:
    """How many entries a sequenced list has."""
    return call.memory.u16(call.arg(0) + (0 if call.pointer_size == 8 else 4))


@stands_in("KeRemoveEntryDeviceQueue", "KeRemoveDeviceQueue", "KeRemoveByKeyDeviceQueue")
def take_from_queue(call: Call) -> int:
    """The queue of a device is empty."""
    return 0
