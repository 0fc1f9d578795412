"""Stand-ins for what framework drivers do with requests: queues, memory, targets, DMA.

Arguments count as documented. A request keeps its buffers, its file and its IRP.
"""

from __future__ import annotations

import struct

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.framework import OBJECT, Slot, device_of, get, make, put, routines
from hvci.verifier.kernel.kmdf_object_ddis import Creation, created
from hvci.verifier.kernel.models import Answer, Enter, stands_in

BUFFER, LARGEST_BUFFER = 0x1000, 0x1_0000
DEFAULT_CODE = 0x22_2000
NO_MORE_ENTRIES = 0x8000_001A
BUFFER_TOO_SMALL = 0xC000_0023
FIRST_ROUTINE = 16
"""Where the routines of WDF_IO_QUEUE_CONFIG begin, on every machine."""
READ, WRITE, DEVICE_CONTROL, INTERNAL_CONTROL = 3, 4, 14, 15
MAJORS = (DEVICE_CONTROL, READ, WRITE, DEVICE_CONTROL, INTERNAL_CONTROL)
"""What requests EvtIoDefault, -Read, -Write, -DeviceControl and -InternalDeviceControl get."""
MANY_CODES = 48


# ---- queues


@stands_in("WdfIoQueueCreate")
def create_queue(call: Call) -> int:
    """Queue the request callbacks, those that get a control code once for each."""
    kernel, p = call.kernel, call.pointer_size
    queue = created(call, Creation(2, 3, 0))
    for offset, routine in routines(call, call.arg(1)):
        index = (offset - FIRST_ROUTINE) // p
        major = MAJORS[index] if 0 <= index < len(MAJORS) else DEVICE_CONTROL
        codes = kernel.ioctls.codes[:MANY_CODES] or (DEFAULT_CODE,)
        for code in codes if major in (DEVICE_CONTROL, INTERNAL_CONTROL) else (0,):
            request = _request(call, queue, major, code)
            size = kernel.ioctls.size
            arguments = [queue, request, size, size, code]
            is_last = index >= len(MAJORS)
            name = f"EvtIo+{offset:#x} {code:#x}"
            kernel.register(name, routine, arguments, code, is_last=is_last)
    return 0


def _request(call: Call, queue: int, major: int, code: int) -> int:
    request = make(call, parent=queue)
    put(call, request, Slot.QUEUE, queue)
    put(call, request, Slot.MAJOR, major)
    put(call, request, Slot.CODE, code)
    return request


@stands_in("WdfDeviceGetDefaultQueue")
def default_queue(call: Call) -> int:
    """A queue of the device: always the same."""
    queue = call.kernel.keep("default queue", call.arg(0), size=OBJECT)
    put(call, queue, Slot.PARENT, call.arg(0))
    return queue


@stands_in("WdfIoQueueRetrieveNextRequest", "WdfIoQueueRetrieveRequestByFileObject")
def next_request(call: Call) -> int:
    """Every other time a request, so that loops over a queue end."""
    queue = call.arg(0)
    was_given = get(call, queue, Slot.COUNT)
    put(call, queue, Slot.COUNT, not was_given)
    if was_given:
        return NO_MORE_ENTRIES
    code = (call.kernel.ioctls.codes or (DEFAULT_CODE,))[0]
    out = 1 if call.name == "WdfIoQueueRetrieveNextRequest" else 2
    call.give(out, _request(call, queue, DEVICE_CONTROL, code))
    return 0


@stands_in(
    "WdfIoQueueStop",
    "WdfIoQueueDrain",
    "WdfIoQueuePurge",
    "WdfIoQueueStopAndPurge",
    "WdfIoQueueReadyNotify",
)
def notify_of_queue(call: Call) -> int:
    """Queue the routine that is told of the queue's state."""
    call.kernel.register(call.name, call.arg(1), [call.arg(0), call.arg(2)])
    return 0


# ---- requests


@stands_in("WdfRequestCreateFromIrp")
def create_from_irp(call: Call) -> int:
    """A request for an IRP."""
    put(call, created(call, Creation(0, 3)), Slot.IRP, call.arg(1))
    return 0


@stands_in("WdfRequestGetIoQueue")
def queue_of(call: Call) -> int:
    """The queue that it came from."""
    return get(call, call.arg(0), Slot.QUEUE)


@stands_in("WdfRequestWdmGetIrp")
def irp_of(call: Call) -> int:
    """Its IRP: always the same."""
    request, objects = call.arg(0), call.kernel.objects
    irp = get(call, request, Slot.IRP)
    if not irp:
        major = get(call, request, Slot.MAJOR) or DEVICE_CONTROL
        irp = objects.irp(objects.device, major & 0xFF, code=get(call, request, Slot.CODE))
        put(call, request, Slot.IRP, irp)
    return irp


@stands_in("WdfRequestGetFileObject", "WdfDeviceGetFileObject")
def file_of(call: Call) -> int:
    """Its file object: always the same."""
    holder = call.arg(0)
    file = get(call, holder, Slot.FILE)
    if not file:
        file = make(call, parent=device_of(call, holder))
        put(call, holder, Slot.FILE, file)
    return file


@stands_in("WdfFileObjectWdmGetFileObject", "WdfIoTargetWdmGetTargetFileObject")
def wdm_file(call: Call) -> int:
    """A WDM file object."""
    return call.kernel.objects.file_object(call.kernel.objects.device)


@stands_in("WdfRequestGetParameters")
def request_parameters(call: Call) -> None:
    """Type, minor function, lengths, code."""
    request, parameters = call.arg(0), call.arg(1)
    if parameters < LOWEST_POINTER:
        return
    major = get(call, request, Slot.MAJOR) or DEVICE_CONTROL
    code = get(call, request, Slot.CODE) or (call.kernel.ioctls.codes or (DEFAULT_CODE,))[0]
    call.memory.write(parameters + 2, struct.pack("<BxI", 0, major & 0xFF))
    at, p = parameters + 8, call.pointer_size
    for index, value in enumerate((BUFFER, BUFFER, code)):
        call.memory.put_pointer(at + p * index, value)


def _buffer(call: Call, request: int, is_input: bool) -> int:
    """The request's buffer; one for both directions where its method is METHOD_BUFFERED."""
    is_shared = not get(call, request, Slot.CODE) & 3
    kernel = call.kernel
    return kernel.keep("request buffer", request, is_shared or is_input, size=BUFFER)


@stands_in(
    "WdfRequestRetrieveInputBuffer",
    "WdfRequestRetrieveOutputBuffer",
    "WdfRequestRetrieveUnsafeUserInputBuffer",
    "WdfRequestRetrieveUnsafeUserOutputBuffer",
)
def request_buffer(call: Call) -> int:
    """The request's buffer; a longer one where the driver insists."""
    wanted = call.arg(1)
    if wanted > LARGEST_BUFFER:
        return BUFFER_TOO_SMALL
    buffer = _buffer(call, call.arg(0), "Input" in call.name)
    if wanted > BUFFER:
        buffer = call.kernel.arena.take(wanted)
    call.give(2, buffer)
    call.give(3, max(wanted, BUFFER))
    return 0


@stands_in("WdfRequestRetrieveInputMemory", "WdfRequestRetrieveOutputMemory")
def request_memory(call: Call) -> int:
    """A memory object over the request's buffer."""
    buffer = _buffer(call, call.arg(0), "Input" in call.name)
    call.give(1, _memory(call, make(call, parent=call.arg(0)), buffer, BUFFER))
    return 0


@stands_in("WdfRequestRetrieveInputWdmMdl", "WdfRequestRetrieveOutputWdmMdl")
def request_mdl(call: Call) -> int:
    """An MDL of the request's buffer, mapped already."""
    objects = call.kernel.objects
    mdl = objects.mdl(_buffer(call, call.arg(0), "Input" in call.name), BUFFER)
    objects.lock_mdl(mdl, mapped=True)
    call.give(1, mdl)
    return 0


@stands_in("WdfRequestProbeAndLockUserBufferForRead", "WdfRequestProbeAndLockUserBufferForWrite")
def lock_user_buffer(call: Call) -> int:
    """A memory object over what the caller named."""
    call.give(3, _memory(call, make(call, parent=call.arg(0)), call.arg(1), call.arg(2)))
    return 0


@stands_in("WdfRequestSetCompletionRoutine")
def set_completion(call: Call) -> None:
    """Remember the routine until the request is sent."""
    put(call, call.arg(0), Slot.ROUTINE, call.arg(1))
    put(call, call.arg(0), Slot.ROUTINE_CONTEXT, call.arg(2))


@stands_in("WdfRequestSend")
def send(call: Call) -> int:
    """Sent; its completion routine is queued, with parameters that say success."""
    request, target = call.arg(0), call.arg(1)
    routine = get(call, request, Slot.ROUTINE)
    parameters = call.kernel.arena.take(OBJECT)
    arguments = [request, target, parameters, get(call, request, Slot.ROUTINE_CONTEXT)]
    call.kernel.register("completion routine", routine, arguments)
    return 1


@stands_in("WdfRequestMarkCancelable", "WdfRequestMarkCancelableEx")
def mark_cancelable(call: Call) -> int:
    """Queue the routine that cancels it, behind everything else."""
    call.kernel.register("EvtRequestCancel", call.arg(1), [call.arg(0)], is_last=True)
    return 0


# ---- memory


def _memory(call: Call, handle: int, buffer: int, size: int) -> int:
    put(call, handle, Slot.BUFFER, buffer)
    put(call, handle, Slot.LENGTH, size)
    return handle


@stands_in("WdfMemoryCreate")
def create_memory(call: Call) -> int:
    """A memory object and its buffer."""
    buffer, size = call.kernel.arena.allocate(call.arg(3), call.name), call.arg(3)
    _memory(call, created(call, Creation(0, 4)), buffer, size)
    call.give(5, buffer)
    return 0


@stands_in("WdfMemoryCreatePreallocated")
def create_preallocated(call: Call) -> int:
    """A memory object over the driver's buffer."""
    _memory(call, created(call, Creation(0, 3)), call.arg(1), call.arg(2))
    return 0


@stands_in("WdfMemoryAssignBuffer")
def assign_buffer(call: Call) -> int:
    """The object takes the driver's buffer."""
    _memory(call, call.arg(0), call.arg(1), call.arg(2))
    return 0


@stands_in("WdfMemoryGetBuffer")
def memory_buffer(call: Call) -> int:
    """The object's buffer; one of its own where it comes from nowhere that is known."""
    handle = call.arg(0)
    buffer, size = get(call, handle, Slot.BUFFER), get(call, handle, Slot.LENGTH)
    call.give(1, size if buffer else BUFFER)
    return buffer or call.kernel.keep("memory buffer", handle, size=BUFFER)


@stands_in("WdfMemoryCopyToBuffer", "WdfMemoryCopyFromBuffer")
def copy_memory(call: Call) -> int:
    """Copy between the object's buffer and the driver's, if it is long enough."""
    handle, offset, other, size = (call.arg(index) for index in range(4))
    buffer = get(call, handle, Slot.BUFFER)
    if not buffer or offset + size > get(call, handle, Slot.LENGTH) or size > LARGEST_BUFFER:
        return BUFFER_TOO_SMALL
    if other >= LOWEST_POINTER:
        pair = (buffer + offset, other)
        source, target = pair if call.name == "WdfMemoryCopyToBuffer" else pair[::-1]
        call.memory.write(target, call.memory.read(source, size))
    return 0


@stands_in("WdfLookasideListCreate")
def create_lookaside(call: Call) -> int:
    """A list that remembers the size of its entries."""
    put(call, created(call, Creation(0, 5)), Slot.LENGTH, call.arg(1))
    return 0


@stands_in("WdfMemoryCreateFromLookaside")
def memory_from_lookaside(call: Call) -> int:
    """A memory object with a buffer of the list's size."""
    size = get(call, call.arg(0), Slot.LENGTH)
    buffer = call.kernel.arena.allocate(size, call.name)
    call.give(1, _memory(call, make(call, parent=call.arg(0)), buffer, size))
    return 0


@stands_in("WdfRegistryQueryMemory")
def query_memory(call: Call) -> int:
    """A memory object with REG_DWORD 1."""
    buffer = call.kernel.arena.allocate(4, call.name)
    if buffer:
        call.memory.put_u32(buffer, 1)
    _memory(call, created(call, Creation(3, 4)), buffer, 4)
    call.give_u32(5, 4)
    return 0


@stands_in("WdfCommonBufferCreate", "WdfCommonBufferCreateWithConfig")
def create_common_buffer(call: Call) -> int:
    """Memory that a device shares."""
    shift = call.name == "WdfCommonBufferCreateWithConfig"
    handle, size = created(call, Creation(2 + shift, 3 + shift, 0)), call.arg(1)
    _memory(call, handle, call.kernel.arena.allocate(size, call.name), size)
    return 0


@stands_in("WdfCommonBufferGetAlignedVirtualAddress")
def common_buffer(call: Call) -> int:
    """Its address."""
    return get(call, call.arg(0), Slot.BUFFER)


@stands_in("WdfCommonBufferGetLength")
def common_length(call: Call) -> int:
    """Its size."""
    return get(call, call.arg(0), Slot.LENGTH)


# ---- targets, interrupts, DMA


@stands_in("WdfDeviceGetIoTarget", "WdfDeviceGetSelfIoTarget")
def target_of(call: Call) -> int:
    """The device's target: always the same."""
    target = call.kernel.keep("target", call.name, call.arg(0), size=OBJECT)
    put(call, target, Slot.PARENT, call.arg(0))
    return target


@stands_in("WdfIoTargetOpen")
def open_target(call: Call) -> int:
    """Open; the routines that are told of its removal come last."""
    for offset, routine in routines(call, call.arg(1)):
        name = f"EvtIoTarget+{offset:#x}"
        call.kernel.register(name, routine, [call.arg(0)], is_last=True)
    return 0


@stands_in("WdfUsbTargetPipeConfigContinuousReader")
def read_continuously(call: Call) -> int:
    """Queue the routine that gets what was read, and the one that is told of failures."""
    kernel, pipe, configuration = call.kernel, call.arg(0), call.arg(1)
    if configuration < LOWEST_POINTER:
        return 0
    subject = call.memory.pointer(configuration + 7 * call.pointer_size)
    memory = _memory(call, make(call), kernel.arena.take(BUFFER), BUFFER)
    for offset, routine in routines(call, configuration):
        kernel.register(f"reader+{offset:#x}", routine, [pipe, memory, BUFFER, subject])
    return 0


@stands_in("WdfInterruptSynchronize")
def synchronize(call: Call) -> Answer:
    """Call the routine now."""
    if not call.kernel.is_drivers(call.arg(1)):
        return 0
    return Enter(call.arg(1), (call.arg(0), call.arg(2)))


@stands_in(
    "WdfDmaTransactionInitialize",
    "WdfDmaTransactionInitializeUsingOffset",
    "WdfDmaTransactionInitializeUsingRequest",
)
def initialize_transfer(call: Call) -> int:
    """Remember EvtProgramDma, and the request."""
    is_of_request = call.name == "WdfDmaTransactionInitializeUsingRequest"
    put(call, call.arg(0), Slot.ROUTINE, call.arg(2 if is_of_request else 1))
    put(call, call.arg(0), Slot.REQUEST, call.arg(1) if is_of_request else 0)
    return 0


@stands_in("WdfDmaTransactionGetRequest")
def request_of_transfer(call: Call) -> int:
    """The request that it was initialised with."""
    return get(call, call.arg(0), Slot.REQUEST)


@stands_in("WdfDmaTransactionExecute")
def execute_transfer(call: Call) -> int:
    """Queue EvtProgramDma with an empty scatter/gather list."""
    kernel, transaction = call.kernel, call.arg(0)
    elements = kernel.arena.take(OBJECT)
    arguments = [transaction, device_of(call, transaction), call.arg(1), 1, elements]
    kernel.register("EvtProgramDma", get(call, transaction, Slot.ROUTINE), arguments)
    return 0
