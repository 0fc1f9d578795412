"""Stand-ins for locks, events, timers, DPCs, work items and threads.

One processor and no interrupts: every lock is free and every wait is over at once.
"""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import Answer, Enter, stands_in


@stands_in(
    "KeInitializeEvent",
    "KeInitializeMutex",
    "KeInitializeMutant",
    "KeInitializeSemaphore",
    "KeInitializeSpinLock",
    "KeInitializeTimer",
    "KeInitializeTimerEx",
    "KeInitializeGuardedMutex",
    "ExInitializeFastMutex",
    "ExInitializeResourceLite",
    "ExInitializeRundownProtection",
    "IoInitializeRemoveLockEx",
    "IoAcquireRemoveLockEx",
    "IoReleaseRemoveLockEx",
    "IoReleaseRemoveLockAndWaitEx",
    "ExDeleteResourceLite",
    "KeWaitForSingleObject",
    "KeWaitForMultipleObjects",
    "KeWaitForMutexObject",
    "KeDelayExecutionThread",
    "KeSetEvent",
    "KeClearEvent",
    "KeResetEvent",
    "KeReadStateEvent",
    "KePulseEvent",
    "KeReleaseMutex",
    "KeReleaseSemaphore",
    "KeReleaseSpinLock",
    "KeReleaseSpinLockFromDpcLevel",
    "KefReleaseSpinLockFromDpcLevel",
    "KfReleaseSpinLock",
    "KfLowerIrql",
    "KeLowerIrql",
    "KeAcquireSpinLockAtDpcLevel",
    "KefAcquireSpinLockAtDpcLevel",
    "KfAcquireSpinLock",
    "KfRaiseIrql",
    "KeAcquireSpinLockRaiseToDpc",
    "KeAcquireSpinLockRaiseToSynch",
    "KeRaiseIrqlToDpcLevel",
    "KeGetCurrentIrql",
    "KeAcquireInStackQueuedSpinLock",
    "KeReleaseInStackQueuedSpinLock",
    "KeEnterCriticalRegion",
    "KeLeaveCriticalRegion",
    "KeEnterGuardedRegion",
    "KeLeaveGuardedRegion",
    "ExAcquireFastMutex",
    "ExReleaseFastMutex",
    "ExAcquireFastMutexUnsafe",
    "ExReleaseFastMutexUnsafe",
    "KeAcquireGuardedMutex",
    "KeReleaseGuardedMutex",
    "ExReleaseResourceLite",
    "KeCancelTimer",
    "KeRemoveQueueDpc",
    "KeFlushQueuedDpcs",
    "KeStallExecutionProcessor",
    "IoStartTimer",
    "IoStopTimer",
    "IoAcquireCancelSpinLock",
    "IoReleaseCancelSpinLock",
    "PoStartNextPowerIrp",
)
def nothing(call: Call) -> int:
    """Nothing to do; zero where a result is wanted."""
    return 0


@stands_in(
    "ExAcquireResourceExclusiveLite",
    "ExAcquireResourceSharedLite",
    "ExAcquireSharedStarveExclusive",
    "ExAcquireRundownProtection",
    "ExTryToAcquireFastMutex",
    "KeTryToAcquireSpinLockAtDpcLevel",
)
def acquired(call: Call) -> int:
    """The lock is free."""
    return 1


@stands_in("KeAcquireSpinLock", "KeRaiseIrql")
def raise_irql(call: Call) -> None:
    """The old IRQL is PASSIVE_LEVEL."""
    call.give_bytes(1, b"\0")


@stands_in("KeInitializeDpc", "KeInitializeThreadedDpc")
def initialize_dpc(call: Call) -> None:
    """Store routine and context; queue the routine as an entry point."""
    kernel, at = call.kernel, call.kernel.structures
    dpc, routine, context = call.arg(0), call.arg(1), call.arg(2)
    call.memory.put_pointer(dpc + at.dpc_routine, routine)
    call.memory.put_pointer(dpc + at.dpc_context, context)
    kernel.register("DPC", routine, [dpc, context, 0, 0])


@stands_in("KeInsertQueueDpc")
def queue_dpc(call: Call) -> int:
    """Queue the DPC's routine with its system arguments."""
    kernel, at, dpc = call.kernel, call.kernel.structures, call.arg(0)
    routine = call.memory.pointer(dpc + at.dpc_routine)
    context = call.memory.pointer(dpc + at.dpc_context)
    kernel.register("DPC", routine, [dpc, context, call.arg(1), call.arg(2)])
    return 1


@stands_in("KeSetTimer", wide=(1,))
def set_timer(call: Call) -> int:
    """Queue the timer's DPC."""
    return _queue_timer(call, call.arg(2))


@stands_in("KeSetTimerEx", wide=(1,))
def set_timer_ex(call: Call) -> int:
    """Queue the timer's DPC."""
    return _queue_timer(call, call.arg(3))


def _queue_timer(call: Call, dpc: int) -> int:
    at = call.kernel.structures
    if dpc:
        routine = call.memory.pointer(dpc + at.dpc_routine)
        context = call.memory.pointer(dpc + at.dpc_context)
        call.kernel.register("timer", routine, [dpc, context, 0, 0])
    return 0


@stands_in("ExAllocateTimer")
def allocate_timer(call: Call) -> int:
    """Queue the timer's callback."""
    timer = call.kernel.arena.take(0x100)
    call.kernel.register("timer", call.arg(0), [timer, call.arg(1)])
    return timer


@stands_in("IoAllocateWorkItem")
def allocate_work_item(call: Call) -> int:
    """A work item of the device."""
    return call.kernel.arena.take(0x80)


@stands_in("IoQueueWorkItem", "IoQueueWorkItemEx", "IoTryQueueWorkItem")
def queue_work_item(call: Call) -> int:
    """Queue the routine; the Ex form gets the work item too."""
    kernel, device = call.kernel, call.kernel.objects.device
    arguments = [device, call.arg(3)]
    if call.name != "IoQueueWorkItem":
        arguments = [device, call.arg(3), call.arg(0)]
    kernel.register("work item", call.arg(1), arguments)
    return 1


@stands_in("ExQueueWorkItem")
def queue_system_work(call: Call) -> None:
    """Queue the routine of a WORK_QUEUE_ITEM."""
    item, p = call.arg(0), call.pointer_size
    routine, parameter = call.memory.pointer(item + 2 * p), call.memory.pointer(item + 3 * p)
    call.kernel.register("work item", routine, [parameter])


@stands_in("PsCreateSystemThread", "IoCreateSystemThread", "PsCreateSystemThreadEx")
def create_thread(call: Call) -> int:
    """Queue the thread's routine."""
    shift = 1 if call.name == "IoCreateSystemThread" else 0
    call.give(shift, call.kernel.handle())
    call.kernel.register("system thread", call.arg(5 + shift), [call.arg(6 + shift)])
    return 0


@stands_in("KeSynchronizeExecution")
def synchronize(call: Call) -> Answer:
    """Call the routine at once."""
    if not call.kernel.is_drivers(call.arg(1)):
        return 1
    return Enter(call.arg(1), (call.arg(2),))


@stands_in("RtlRunOnceExecuteOnce")
def run_once(call: Call) -> Answer:
    """Call the routine at once, the first time."""
    if not call.kernel.is_drivers(call.arg(1)):
        return 0
    arguments = (call.arg(0), call.arg(2), call.arg(3))
    return Enter(call.arg(1), arguments, lambda result: 0 if result & 0xFF else 0xC000_0001)


@stands_in("KeIpiGenericCall", "KeGenericCallDpc")
def call_everywhere(call: Call) -> Answer:
    """Call the routine on the one processor there is."""
    if not call.kernel.is_drivers(call.arg(0)):
        return 0
    if call.name == "KeIpiGenericCall":
        return Enter(call.arg(0), (call.arg(1),))
    cell = call.kernel.arena.take(16)
    return Enter(call.arg(0), (call.kernel.arena.take(0x40), call.arg(1), cell, cell))


@stands_in("InterlockedExchange", "InterlockedExchangeAdd", "InterlockedCompareExchange")
def exchange(call: Call) -> int:
    """Exchange, add or compare and exchange; give the old value."""
    address, value = call.arg(0), call.u32(1)
    old = call.memory.u32(address)
    if call.name == "InterlockedExchangeAdd":
        value += old
    if call.name != "InterlockedCompareExchange" or old == call.u32(2):
        call.memory.put_u32(address, value)
    return old


@stands_in("InterlockedIncrement", "InterlockedDecrement")
def count(call: Call) -> int:
    """Add or subtract one; give the new value."""
    value = call.memory.u32(call.arg(0)) + (1 if call.name == "InterlockedIncrement" else -1)
    call.memory.put_u32(call.arg(0), value)
    return value & 0xFFFF_FFFF
