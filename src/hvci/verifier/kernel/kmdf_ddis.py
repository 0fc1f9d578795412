"""Stand-ins for the kernel-mode driver framework: the function table and what it is asked most.

The leading globals argument is hidden: arguments count as documented.
"""

from __future__ import annotations

import struct

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

SMALLEST_TABLE = 444
LARGEST_TABLE = 600
OBJECT = 0x40
BUFFER = 0x1000
DEFAULT_CODE = 0x22_2000


def _object(call: Call) -> int:
    return call.kernel.arena.take(OBJECT)


@stands_in("WdfVersionBind")
def bind(call: Call) -> int:
    """Fill the function table.

    From 1.15 on the image holds a pointer to it; before, the table itself lies in the image.
    """
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    information = call.arg(2)
    count = memory.u32(call.field(information, 0x1C, 0x14))
    holder = memory.pointer(call.field(information, 0x20, 0x18))
    minor = memory.u32(information + 2 * p + 4)
    total = max(min(count, LARGEST_TABLE), SMALLEST_TABLE)
    in_image = minor < 15
    table = holder if in_image else kernel.arena.take(p * total)
    for index in range(min(count, LARGEST_TABLE) if in_image else total):
        memory.put_pointer(table + p * index, kernel.kmdf_address(index))
    if not in_image:
        memory.put_pointer(holder, table)
    call.give(3, kernel.arena.take(0x100))
    return 0


@stands_in("WdfVersionBindClass")
def bind_class(call: Call) -> int:
    """Fill a class extension's table with functions that are known by number only."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    information = call.arg(2)
    name = memory.wide_text(memory.pointer(information + p), 32)
    holder = memory.pointer(call.field(information, 0x20, 0x14))
    count = min(memory.u32(call.field(information, 0x28, 0x18)), LARGEST_TABLE)
    table = kernel.arena.take(p * max(count, 1))
    for index in range(count):
        function = kernel.address_of(f"{name}!{index}", name)
        memory.put_pointer(table + p * index, function)
    memory.put_pointer(holder, table)
    return 0


@stands_in("WdfVersionUnbind", "WdfVersionUnbindClass")
def accept(call: Call) -> int:
    """Accept."""
    return 0


@stands_in("WdfDriverCreate")
def create_driver(call: Call) -> int:
    """Queue EvtDriverDeviceAdd; EvtDriverUnload comes last."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    configuration = call.arg(3)
    add, unload = memory.pointer(configuration + p), memory.pointer(configuration + 2 * p)
    driver = _object(call)
    kernel.register("EvtDriverDeviceAdd", add, [driver, _object(call)])
    kernel.set_unload("EvtDriverUnload", unload, [driver])
    call.give(4, driver)
    return 0


@stands_in("WdfDeviceCreate")
def create_device(call: Call) -> int:
    """A framework device."""
    call.give(2, _object(call))
    return 0


@stands_in("WdfControlDeviceInitAllocate")
def control_device(call: Call) -> int:
    """A device initializer."""
    return _object(call)


@stands_in(
    "WdfDeviceWdmGetDeviceObject",
    "WdfDeviceWdmGetAttachedDevice",
    "WdfDeviceWdmGetPhysicalDevice",
)
def wdm_device(call: Call) -> int:
    """The WDM device object."""
    return call.kernel.objects.device


@stands_in("WdfDriverWdmGetDriverObject")
def wdm_driver(call: Call) -> int:
    """The WDM driver object."""
    return call.kernel.objects.driver


@stands_in("WdfObjectGetTypedContextWorker")
def typed_context(call: Call) -> int:
    """The context of an object and a type: always the same memory."""
    return call.kernel.keep("context", call.arg(0), call.arg(1), size=0x1000)


@stands_in("WdfIoQueueCreate")
def create_queue(call: Call) -> int:
    """Queue the request callbacks, once for each control code."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    configuration = call.arg(1)
    for offset in range(8, 0x60, p):
        function = memory.pointer(configuration + offset)
        if not kernel.machine.in_image(function) or not memory.is_code(function):
            continue
        for code in kernel.ioctls.codes[:48] or (DEFAULT_CODE,):
            size = kernel.ioctls.size
            arguments = [_object(call), _object(call), size, size, code]
            kernel.register(f"EvtIo+{offset:#x} {code:#x}", function, arguments, code)
    call.give(3, _object(call))
    return 0


@stands_in(
    "WdfDeviceInitSetPnpPowerEventCallbacks",
    "WdfDeviceInitSetPowerPolicyEventCallbacks",
    "WdfDeviceInitSetFileObjectConfig",
    "WdfFdoInitSetEventCallbacks",
)
def set_callbacks(call: Call) -> None:
    """Queue the callbacks."""
    call.kernel.register_table(call.name, call.arg(1), 0xA0)


@stands_in("WdfTimerCreate", "WdfDpcCreate", "WdfWorkItemCreate", "WdfInterruptCreate")
def create_with_callback(call: Call) -> int:
    """Queue the callbacks and give an object."""
    is_interrupt = call.name == "WdfInterruptCreate"
    call.kernel.register_table(call.name, call.arg(1 if is_interrupt else 0), 0x60)
    call.give(3 if is_interrupt else 2, _object(call))
    return 0


@stands_in(
    "WdfRequestRetrieveInputBuffer",
    "WdfRequestRetrieveOutputBuffer",
    "WdfRequestRetrieveUnsafeUserInputBuffer",
    "WdfRequestRetrieveUnsafeUserOutputBuffer",
)
def request_buffer(call: Call) -> int:
    """A buffer that is long enough."""
    call.give(2, call.kernel.arena.take(max(BUFFER, min(call.arg(1), 0x10000))))
    call.give(3, BUFFER)
    return 0


@stands_in("WdfMemoryCreate", "WdfMemoryCreatePreallocated")
def create_memory(call: Call) -> int:
    """A memory object and its buffer."""
    call.give(4, _object(call))
    if call.name == "WdfMemoryCreate":
        call.give(5, call.kernel.arena.allocate(call.arg(3), call.name))
    return 0


@stands_in("WdfMemoryGetBuffer")
def memory_buffer(call: Call) -> int:
    """The object's buffer."""
    call.give(1, BUFFER)
    return call.kernel.keep("memory buffer", call.arg(0), size=BUFFER)


@stands_in("WdfRegistryOpenKey", "WdfRegistryCreateKey")
def open_key(call: Call) -> int:
    """A key object."""
    call.give(4 if call.name == "WdfRegistryOpenKey" else 6, _object(call))
    return 0


@stands_in("WdfDriverOpenParametersRegistryKey")
def open_parameters(call: Call) -> int:
    """A key object."""
    call.give(3, _object(call))
    return 0


@stands_in("WdfDeviceOpenRegistryKey")
def open_device_key(call: Call) -> int:
    """A key object."""
    call.give(4, _object(call))
    return 0


@stands_in("WdfRegistryQueryULong")
def query_number(call: Call) -> int:
    """The number one."""
    call.give_u32(2, 1)
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


@stands_in("WdfRequestGetParameters")
def request_parameters(call: Call) -> None:
    """A device control request: type, minor function, lengths, code."""
    parameters = call.arg(1)
    if parameters >= LOWEST_POINTER:
        code = (call.kernel.ioctls.codes or (DEFAULT_CODE,))[0]
        call.memory.write(parameters + 2, struct.pack("<BxI", 0, 14))
        at, p = parameters + 8, call.pointer_size
        for index, value in enumerate((BUFFER, BUFFER, code)):
            call.memory.put_pointer(at + p * index, value)
