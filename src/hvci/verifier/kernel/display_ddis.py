"""Stand-ins for the display port driver, and for the control codes that ask for its entry points.

Knows the start of DRIVER_INITIALIZATION_DATA and DXGKRNL_INTERFACE; the other callbacks of a
miniport are queued like those of any registration.
"""

from __future__ import annotations

from types import MappingProxyType

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

TABLE = 0x400
START_INFORMATION = 0x100
INITIALIZERS = MappingProxyType(
    {0x23_003F: "DxgkInitialize", 0x23_0047: "DxgkInitializeDisplayOnlyDriver"}
)
"""What the display library asks \\Device\\DxgKrnl for, by control code."""
_ROUTINES = (
    "EvalAcpiMethod",
    "GetDeviceInformation",
    "IndicateChildStatus",
    "MapMemory",
    "QueueDpc",
    "QueryServices",
    "ReadDeviceSpace",
    "SynchronizeExecution",
    "UnmapMemory",
    "WriteDeviceSpace",
    "IsDevicePresent",
    "GetHandleData",
    "GetHandleParent",
    "EnumHandleChildren",
    "NotifyInterrupt",
    "NotifyDpc",
    "QueryVidPnInterface",
    "QueryMonitorInterface",
    "GetCaptureAddress",
    "LogEtwEvent",
    "ExcludeAdapterAccess",
    "CreateContextAllocation",
    "DestroyContextAllocation",
    "SetPowerComponentActive",
    "SetPowerComponentIdle",
    "AcquirePostDisplayOwnership",
    "PowerRuntimeControlRequest",
    "SetPowerComponentLatency",
    "SetPowerComponentResidency",
    "CompleteFStateTransition",
)
"""Members of DXGKRNL_INTERFACE behind Size, Version and DeviceHandle; each is a DxgkCb routine."""


@stands_in("DxgkInitialize", "DxgkInitializeDisplayOnlyDriver")
def register_display(call: Call) -> int:
    """Queue AddDevice, StartDevice with the interface, and the other functions of the table."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    table = call.arg(2)
    add, start = memory.pointer(table + p), memory.pointer(table + 2 * p)
    context, interface = kernel.arena.take(0x10), _interface(call)
    kernel.register("DxgkDdiAddDevice", add, [kernel.objects.physical_device, context])
    information, sources, children = (kernel.arena.take(START_INFORMATION) for _ in range(3))
    arguments = [context, information, interface, sources, children]
    kernel.register("DxgkDdiStartDevice", start, arguments, through=(0,))
    kernel.register_table("display miniport", table, TABLE)
    return 0


def _interface(call: Call) -> int:
    """A DXGKRNL_INTERFACE whose routines are stand-ins."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    size = 8 + p * (1 + len(_ROUTINES))
    interface = kernel.arena.take(size)
    memory.put_u32(interface, size)
    memory.put_u32(interface + 4, 1)
    memory.put_pointer(interface + 8, kernel.handle())
    for index, name in enumerate(_ROUTINES, 1):
        routine = kernel.address_of(f"DxgkCb{name}", "dxgkrnl.sys")
        memory.put_pointer(interface + 8 + p * index, routine)
    return interface


@stands_in("DxgkCbMapMemory", wide=(1,))
def map_device_memory(call: Call) -> int:
    """Device registers that read zero."""
    call.give(6, call.kernel.keep("device registers", size=0x10000))
    return 0


@stands_in("DxgkCbGetDeviceInformation")
def device_information(call: Call) -> int:
    """DXGK_DEVICE_INFO: the device below; everything else is zero."""
    call.give_bytes(1, bytes(0x100))
    call.give(1, call.kernel.objects.physical_device)
    return 0


@stands_in("ZwDeviceIoControlFile")
def device_control(call: Call) -> int:
    """The display port's entry points; any other device answers with success and nothing."""
    give_initializer(call, call.u32(5), call.arg(8))
    return 0


def give_initializer(call: Call, code: int, output: int) -> None:
    """Answer a display library's question for the routine that registers a miniport."""
    name = INITIALIZERS.get(code)
    if name is not None and output >= LOWEST_POINTER:
        call.memory.put_pointer(output, call.kernel.address_of(name, "dxgkrnl.sys"))
