"""Stand-ins for versions, time, processes, handles, system routines and the ways to stop.

Time stands still but for a counter that each query moves on.
"""

from __future__ import annotations

import re
import struct

from hvci.catalog.memory import LOOKUPS
from hvci.verifier.kernel.call import LOWEST_POINTER, Call, EndPath
from hvci.verifier.kernel.exports import is_newer
from hvci.verifier.kernel.models import stands_in

_NAME = re.compile(r"[A-Za-z_]\w{2,63}")
TICKS = 10_000_000
START = 0x1D9_0000_0000_0000
PROCESS_ID, THREAD_ID = 0x1234, 0x1238
NOT_FOUND = 0xC000_0034
SYSTEM_INFORMATION_SIZE = 0x200
SYSTEM_MODULES = 11


def _version(call: Call) -> tuple[int, int, int]:
    build = int(call.kernel.version)
    old = {2195: (5, 0), 2600: (5, 1), 3790: (5, 2), 6000: (6, 0), 7600: (6, 1)}
    major, minor = old.get(build, (6, 2) if build == 9200 else (6, 3) if build == 9600 else (10, 0))
    return major, minor, build


@stands_in("RtlGetVersion")
def get_version(call: Call) -> int:
    """The version that the run is for."""
    call.give_bytes_at(call.arg(0) + 4, struct.pack("<IIII", *_version(call), 2))
    return 0


@stands_in("PsGetVersion")
def get_version_parts(call: Call) -> int:
    """The version that the run is for."""
    for index, value in enumerate(_version(call)):
        call.give_u32(index, value)
    return 1


@stands_in("RtlVerifyVersionInfo", wide=(2,))
def verify_version(call: Call) -> int:
    """Whether the running version is at least the wanted one."""
    major, minor = struct.unpack("<II", call.memory.read(call.arg(0) + 4, 8))
    mine = _version(call)[:2]
    return 0 if not call.u32(1) & 3 or mine >= (major, minor) else 0xC000_0059


@stands_in("RtlIsNtDdiVersionAvailable")
def ddi_version_available(call: Call) -> int:
    """NTDDI versions hold the Windows version in the high half."""
    major, minor, _ = _version(call)
    return int(call.u32(0) >> 16 <= major << 8 | minor)


@stands_in("IoIsWdmVersionAvailable")
def wdm_version_available(call: Call) -> int:
    """WDM 6.0 and earlier."""
    return int((call.u8(0), call.u8(1)) <= (6, 0))


@stands_in("VerSetConditionMask", wide=(0,))
def condition_mask(call: Call) -> int:
    """Keep the mask."""
    return call.arg(0)


@stands_in("KeQuerySystemTime", "KeQuerySystemTimePrecise", "KeQueryTickCount")
def system_time(call: Call) -> None:
    """Move time on and store it."""
    call.kernel.ticks += TICKS
    call.give_bytes(0, struct.pack("<Q", START + call.kernel.ticks))


@stands_in("KeQueryPerformanceCounter")
def performance_counter(call: Call) -> int:
    """Move time on and give it."""
    call.give_bytes(0, struct.pack("<Q", TICKS))
    call.kernel.ticks += TICKS
    return call.kernel.ticks


@stands_in("KeQueryInterruptTime", "KeQueryUnbiasedInterruptTime", "KeQueryInterruptTimePrecise")
def interrupt_time(call: Call) -> int:
    """Move time on and give it."""
    call.kernel.ticks += TICKS
    return call.kernel.ticks


@stands_in("KeQueryTimeIncrement")
def time_increment(call: Call) -> int:
    """15.625 milliseconds."""
    return 156_250


@stands_in(
    "KeQueryActiveProcessorCount",
    "KeQueryActiveProcessorCountEx",
    "KeQueryActiveProcessors",
    "KeQueryMaximumProcessorCount",
    "KeQueryMaximumProcessorCountEx",
    "KeQueryActiveGroupCount",
)
def one(call: Call) -> int:
    """One processor."""
    return 1


@stands_in("IoGetCurrentProcess", "PsGetCurrentProcess")
def current_process(call: Call) -> int:
    """The process object."""
    return call.kernel.objects.process


@stands_in("KeGetCurrentThread", "PsGetCurrentThread")
def current_thread(call: Call) -> int:
    """The thread object."""
    return call.kernel.objects.thread


@stands_in("PsGetCurrentProcessId", "PsGetProcessId", "PsGetThreadProcessId")
def process_id(call: Call) -> int:
    """Always the same."""
    return PROCESS_ID


@stands_in("PsGetCurrentThreadId", "PsGetThreadId")
def thread_id(call: Call) -> int:
    """Always the same."""
    return THREAD_ID


@stands_in("PsLookupProcessByProcessId", "PsLookupThreadByThreadId")
def lookup(call: Call) -> int:
    """The process or thread object."""
    objects = call.kernel.objects
    found = objects.process if "Process" in call.name else objects.thread
    call.give(1, found)
    return 0


@stands_in(
    "PsSetCreateProcessNotifyRoutine",
    "PsSetCreateProcessNotifyRoutineEx",
    "PsSetCreateThreadNotifyRoutine",
    "PsSetLoadImageNotifyRoutine",
)
def notify_routine(call: Call) -> int:
    """Queue the routine."""
    kernel = call.kernel
    arguments = [PROCESS_ID, PROCESS_ID, kernel.arena.take(0x100)]
    if call.name == "PsSetLoadImageNotifyRoutine":
        arguments[0] = kernel.objects.unicode(r"\SystemRoot\System32\image.dll")
    elif call.name.endswith("Ex"):
        arguments[0] = kernel.objects.process
    kernel.register("process notification", call.arg(0), arguments)
    return 0


@stands_in("ObRegisterCallbacks")
def object_callbacks(call: Call) -> int:
    """Queue the operation callbacks of an OB_CALLBACK_REGISTRATION."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    registration = call.arg(0)
    operations = memory.pointer(call.field(registration, 0x20, 0x10))
    if memory.find(operations) is not None:
        for index in range(min(memory.u16(registration + 2), 4)):
            kernel.register_table("object callback", operations + 4 * p * index + 2 * p, 2 * p, 2)
    call.give(1, kernel.handle())
    return 0


@stands_in(*LOOKUPS)
def routine_address(call: Call) -> int:
    """A stand-in for any name, but for what is newer than the Windows that the run is for."""
    by = LOOKUPS[call.name]
    told = call.arg(by.position)
    name = call.unicode(told) if by.counted else call.memory.text(told, 64).decode("latin-1")
    if not _NAME.fullmatch(name) or is_newer(name, call.kernel.version):
        return 0
    return call.kernel.address_of(name)


@stands_in("ZwCreateFile", "ZwOpenFile", "ZwOpenProcess", "ZwOpenThread", "ZwOpenDirectoryObject")
def open_object(call: Call) -> int:
    """A handle; nothing of the host is opened."""
    call.give(0, call.kernel.handle())
    return 0


@stands_in("ObReferenceObjectByHandle", "ObReferenceObjectByHandleWithTag")
def object_by_handle(call: Call) -> int:
    """The object of a handle: the section's memory, the thread, or an unknown object."""
    kernel, handle = call.kernel, call.arg(0)
    out = 4 if call.name == "ObReferenceObjectByHandle" else 5
    call.give(out, kernel.keep("object", handle, size=0x400))
    return 0


@stands_in("ObReferenceObjectByName")
def object_by_name(call: Call) -> int:
    """The driver object."""
    call.give(7, call.kernel.objects.driver)
    return 0


@stands_in("ZwQuerySystemInformation")
def system_information(call: Call) -> int:
    """The loaded modules; for any other class an empty answer of a fixed size."""
    modules = call.u32(0) == SYSTEM_MODULES
    data = _modules(call) if modules else bytes(SYSTEM_INFORMATION_SIZE)
    call.give_u32(3, len(data))
    if call.u32(2) < len(data):
        return 0xC000_0004
    call.give_bytes(1, data)
    return 0


def _modules(call: Call) -> bytes:
    """RTL_PROCESS_MODULES: the kernel and the driver."""
    kernel, p = call.kernel, call.pointer_size
    objects, at = kernel.objects, kernel.structures
    base = call.memory.pointer(objects.driver + at.driver_start)
    size = call.memory.u32(objects.driver + at.driver_length)
    rows = (
        (kernel.header_page(), 0x80_0000, b"\\SystemRoot\\system32\\", b"ntoskrnl.exe"),
        (base, size, b"\\SystemRoot\\system32\\drivers\\", b"driver.sys"),
    )
    data = (len(rows)).to_bytes(p, "little")
    for index, (start, length, folder, name) in enumerate(rows):
        data += bytes(2 * p) + start.to_bytes(p, "little")
        data += struct.pack("<IIHHHH", length, 0, index, index, 1, len(folder))
        data += (folder + name).ljust(256, b"\0")
    return data


@stands_in("__chkstk")
def probe_stack(call: Call) -> int:
    """Touches the stack and keeps every register."""
    return call.kernel.machine.processor.result


@stands_in("ZwQueryDirectoryObject")
def no_entries(call: Call) -> int:
    """There is nothing to list."""
    return 0x8000_001A


@stands_in(
    "ZwClose",
    "ObfDereferenceObject",
    "ObDereferenceObject",
    "ObDereferenceObjectDeferDelete",
    "ObReferenceObjectByPointer",
    "ZwSetValueKey",
    "ZwFlushKey",
    "ZwDeleteKey",
    "ZwDeleteValueKey",
    "ZwUnmapViewOfSection",
    "ZwReadFile",
    "ZwWriteFile",
    "ProbeForRead",
    "ProbeForWrite",
    "DbgPrint",
    "DbgPrintEx",
    "WmiTraceMessage",
    "EtwRegister",
    "EtwUnregister",
    "EtwWrite",
    "EtwWriteTransfer",
    "__C_specific_handler",
    "_except_handler3",
    "_local_unwind2",
    "IoCreateSymbolicLink",
    "IoCreateUnprotectedSymbolicLink",
    "IoDeleteSymbolicLink",
    "IoDeleteDevice",
    "IoDetachDevice",
    "IoSetDeviceInterfaceState",
    "IoRegisterShutdownNotification",
    "IoUnregisterShutdownNotification",
    "IoInvalidateDeviceRelations",
    "IoInvalidateDeviceState",
    "IoDisconnectInterrupt",
    "IoFreeIrp",
    "IoFreeWorkItem",
    "IoFreeController",
    "KeSetPriorityThread",
    "KeSetImportanceDpc",
    "KeSetTargetProcessorDpc",
    "MmLockPagableDataSection",
    "MmResetDriverPaging",
    "MmPageEntireDriver",
    "MmUnlockPagableImageSection",
    "FsRtlIsNameInExpression",
    "IoIs32bitProcess",
    "ExGetPreviousMode",
    "MmIsDriverVerifying",
    "MmIsDriverSuspectForVerifier",
    "HalGetBusData",
    "HalGetBusDataByOffset",
    "WmiSystemControl",
    "ExDeleteNPagedLookasideList",
    "ExDeletePagedLookasideList",
    "ExDeleteLookasideListEx",
    "KeDeregisterBugCheckCallback",
    "DbgBreakPoint",
    "DbgBreakPointWithStatus",
)
def nothing(call: Call) -> int:
    """Nothing to do; zero where a result is wanted."""
    return 0


@stands_in("ObfReferenceObject", "ObReferenceObject")
def reference(call: Call) -> int:
    """A count that is always one."""
    return 1


@stands_in(
    "KeRegisterBugCheckCallback",
    "KeRegisterBugCheckReasonCallback",
    "SeSinglePrivilegeCheck",
    "RtlEqualSid",
    "RtlValidSid",
    "PsIsThreadTerminating",
    "MmIsThisAnNtAsSystem",
)
def true(call: Call) -> int:
    """TRUE."""
    return int(call.name not in ("PsIsThreadTerminating", "MmIsThisAnNtAsSystem"))


@stands_in("HalTranslateBusAddress", wide=(2,))
def translate_bus_address(call: Call) -> int:
    """Bus and physical addresses are the same."""
    call.give_bytes(4, call.arg(2).to_bytes(8, "little"))
    return 1


@stands_in("IoGetStackLimits")
def stack_limits(call: Call) -> None:
    """The whole emulated stack."""
    start = call.kernel.machine.layout.stack
    mapping = call.memory.find(start)
    call.give(0, start)
    call.give(1, mapping.end if mapping else start)


@stands_in("RtlImageNtHeader")
def image_headers(call: Call) -> int:
    """Where the PE header of a mapped image starts."""
    base = call.arg(0)
    if base < LOWEST_POINTER or call.memory.read(base, 2) != b"MZ":
        return 0
    return base + call.memory.u32(base + 0x3C)


@stands_in(
    "KeBugCheck",
    "KeBugCheckEx",
    "ExRaiseStatus",
    "ExRaiseAccessViolation",
    "ExRaiseDatatypeMisalignment",
    "RtlRaiseException",
    "RtlRaiseStatus",
    "RtlFailFast",
    "PsTerminateSystemThread",
    "RtlAssert",
    "VideoPortBugCheck",
    "_purecall",
)
def stop(call: Call) -> int:
    """The system, the thread or the control flow ends here."""
    code = f" {call.u32(0):#x}" if call.name.startswith("KeBugCheck") else ""
    raise EndPath(f"the driver calls {call.name}{code}")
