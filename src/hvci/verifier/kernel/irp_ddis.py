"""Stand-ins for I/O request packets: sending one completes it, running completion routines."""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.display_ddis import give_initializer
from hvci.verifier.kernel.models import Answer, Enter, stands_in

INVOKE_ON_ANY = 0xE0
MORE_PROCESSING = 0xC000_0016
MAJOR_FUNCTIONS = 28


@stands_in("IofCallDriver", "IoCallDriver", "PoCallDriver")
def call_driver(call: Call) -> Answer:
    """Send an IRP down: to the driver's own dispatch routine, or to a device that completes it."""
    kernel, at, memory = call.kernel, call.kernel.structures, call.memory
    device, irp = call.arg(0), call.arg(1)
    location = memory.pointer(irp + at.irp_location) - at.location_size
    memory.put_pointer(irp + at.irp_location, location)
    memory.put_pointer(location + at.location_device, device)
    if memory.pointer(device + at.device_driver) == kernel.objects.driver:
        function = kernel.objects.major(memory.u8(location) % MAJOR_FUNCTIONS)
        if kernel.is_drivers(function):
            return Enter(function, (device, irp))
    memory.put_pointer(irp + at.irp_status + call.pointer_size, 0)
    memory.put_u32(irp + at.irp_status, 0)
    return _complete(call, irp, location)


def _complete(call: Call, irp: int, location: int) -> Answer:
    """Run the completion routine of the stack location that was just used."""
    at, memory = call.kernel.structures, call.memory
    memory.put_pointer(irp + at.irp_location, location + at.location_size)
    routine = memory.pointer(location + at.location_completion)
    context = memory.pointer(location + at.location_completion + call.pointer_size)
    if not memory.u8(location + 3) & INVOKE_ON_ANY or not call.kernel.is_drivers(routine):
        return 0
    device = memory.pointer(location + at.location_size + at.location_device)
    return Enter(routine, (device, irp, context), lambda result: 0)


@stands_in("IofCompleteRequest", "IoCompleteRequest")
def complete_request(call: Call) -> None:
    """The request is done; the I/O manager would hand it back."""


@stands_in("IoForwardIrpSynchronously")
def forward(call: Call) -> int:
    """Sent and completed with success."""
    call.memory.put_u32(call.arg(1) + call.kernel.structures.irp_status, 0)
    return 1


@stands_in("IoAllocateIrp", "IoAllocateIrpEx")
def allocate_irp(call: Call) -> int:
    """An IRP whose current stack location lies above the first, as after creation."""
    objects = call.kernel.objects
    irp = objects.blank_irp(call.u8(1 if call.name == "IoAllocateIrpEx" else 0))
    return _before_first(call, irp)


def _before_first(call: Call, irp: int) -> int:
    at, memory = call.kernel.structures, call.memory
    location = memory.pointer(irp + at.irp_location)
    memory.put_pointer(irp + at.irp_location, location + at.location_size)
    memory.put(irp + at.irp_stack_count + 1, memory.u8(irp + at.irp_stack_count) + 1, 1)
    return irp


@stands_in("IoInitializeIrp", "IoReuseIrp")
def reuse_irp(call: Call) -> None:
    """Leave the packet as it is but for its status."""
    status = call.u32(1) if call.name == "IoReuseIrp" else 0
    call.memory.put_u32(call.arg(0) + call.kernel.structures.irp_status, status)


@stands_in(
    "IoBuildSynchronousFsdRequest",
    "IoBuildAsynchronousFsdRequest",
)
def build_request(call: Call) -> int:
    """A read, write, flush or shutdown request for the device below."""
    irp = call.kernel.objects.irp(call.arg(1), call.u32(0) & 0xFF)
    return _before_first(call, irp)


@stands_in("IoBuildDeviceIoControlRequest")
def build_control_request(call: Call) -> int:
    """A control request; its status block is filled in at once."""
    call.give(8, 0)
    give_initializer(call, call.u32(0), call.arg(4))
    irp = call.kernel.objects.irp(call.arg(1), 15 if call.u8(6) else 14, code=call.u32(0))
    return _before_first(call, irp)


@stands_in("IoSetCompletionRoutineEx")
def set_completion(call: Call) -> int:
    """Store the routine in the next stack location."""
    at, memory = call.kernel.structures, call.memory
    location = memory.pointer(call.arg(1) + at.irp_location) - at.location_size
    memory.put_pointer(location + at.location_completion, call.arg(2))
    memory.put_pointer(location + at.location_completion + call.pointer_size, call.arg(3))
    memory.put(location + 3, INVOKE_ON_ANY, 1)
    return 0


@stands_in("PoRequestPowerIrp")
def request_power(call: Call) -> int:
    """Queue the completion routine."""
    kernel = call.kernel
    block = kernel.arena.take(0x20)
    function, context = call.arg(3), call.arg(4)
    kernel.register("power completion", function, [call.arg(0), call.u8(1), 1, context, block])
    return 0x103


@stands_in("IoStartPacket")
def start_packet(call: Call) -> None:
    """Make the request current and queue StartIo for it."""
    kernel, at = call.kernel, call.kernel.structures
    device, irp = call.arg(0), call.arg(1)
    call.memory.put_pointer(device + at.device_current_irp, irp)
    start = call.memory.pointer(kernel.objects.driver + at.driver_start_io)
    kernel.register("StartIo", start, [device, irp])


@stands_in("IoCsqInitialize", "IoCsqInitializeEx")
def initialize_queue(call: Call) -> int:
    """Keep the driver's queue functions where the header says."""
    memory, p = call.memory, call.pointer_size
    queue = call.arg(0)
    memory.put_u32(queue, 1)
    for index in range(1, 7):
        memory.put_pointer(queue + p * index, call.arg(index))
    return 0


@stands_in("IoCsqInsertIrp")
def insert_in_queue(call: Call) -> Answer:
    """Hand the request to the driver's insert function."""
    function = call.memory.pointer(call.arg(0) + call.pointer_size)
    if call.kernel.is_drivers(function):
        return Enter(function, (call.arg(0), call.arg(1)))
    return None
