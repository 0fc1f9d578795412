"""Stand-ins for devices, symbolic links, interfaces, notifications and driver extensions."""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in

LARGEST_EXTENSION = 0x10_0000
NOT_FOUND = 0xC000_0225


def _create(call: Call, out: int) -> int:
    size = min(call.u32(1), LARGEST_EXTENSION)
    device = call.kernel.objects.add_device(size, call.u32(3), call.u32(4))
    call.give(out, device)
    return 0


@stands_in("IoCreateDevice")
def create_device(call: Call) -> int:
    """A device with its extension."""
    return _create(call, 6)


@stands_in("IoCreateDeviceSecure", "WdmlibIoCreateDeviceSecure")
def create_device_secure(call: Call) -> int:
    """A device with its extension."""
    return _create(call, 8)


@stands_in("IoAttachDeviceToDeviceStack")
def attach(call: Call) -> int:
    """The device below."""
    return call.arg(1) or call.kernel.objects.physical_device


@stands_in("IoAttachDeviceToDeviceStackSafe")
def attach_safe(call: Call) -> int:
    """The device below, through a pointer."""
    call.give(2, call.arg(1) or call.kernel.objects.physical_device)
    return 0


@stands_in("IoAttachDevice")
def attach_by_name(call: Call) -> int:
    """The device below, through a pointer."""
    call.give(2, call.kernel.objects.physical_device)
    return 0


@stands_in("IoGetDeviceObjectPointer")
def device_by_name(call: Call) -> int:
    """A device of another driver, and a file object on it."""
    objects = call.kernel.objects
    call.give(2, objects.file_object(objects.physical_device))
    call.give(3, objects.physical_device)
    return 0


@stands_in(
    "IoGetAttachedDevice",
    "IoGetAttachedDeviceReference",
    "IoGetLowerDeviceObject",
    "IoGetDeviceAttachmentBaseRef",
    "IoGetRelatedDeviceObject",
    "IoGetBaseFileSystemDeviceObject",
)
def other_device(call: Call) -> int:
    """The device below."""
    return call.kernel.objects.physical_device


@stands_in("IoAllocateDriverObjectExtension")
def allocate_extension(call: Call) -> int:
    """Memory that the same identification finds again."""
    size = min(call.u32(2), LARGEST_EXTENSION)
    call.give(3, call.kernel.keep("driver extension", call.arg(1), size=size))
    return 0


@stands_in("IoGetDriverObjectExtension")
def get_extension(call: Call) -> int:
    """The memory of that identification, if there is any."""
    return call.kernel.kept.get(("driver extension", call.arg(1)), 0)


@stands_in("IoRegisterDeviceInterface", "IoGetDeviceInterfaceAlias")
def register_interface(call: Call) -> int:
    """A symbolic link name."""
    text = r"\??\ROOT#DRIVER#0000#{00000000-0000-0000-0000-000000000000}"
    header = call.kernel.objects.unicode(text)
    out = 3 if call.name == "IoRegisterDeviceInterface" else 2
    call.give_bytes(out, call.memory.read(header, 2 * call.pointer_size))
    return 0


@stands_in("IoRegisterPlugPlayNotification")
def plug_play_notification(call: Call) -> int:
    """Queue the callback."""
    kernel = call.kernel
    kernel.register("PnP notification", call.arg(4), [kernel.arena.take(0x80), call.arg(5)])
    call.give(6, kernel.arena.take(0x20))
    return 0


@stands_in("IoGetDeviceProperty")
def device_property(call: Call) -> int:
    """A property of four zero bytes."""
    call.give_u32(4, 4)
    if call.u32(2) < 4 or not call.arg(3):
        return 0xC000_0023
    call.give_u32(3, 0)
    return 0


@stands_in("IoGetDmaAdapter", "HalGetAdapter")
def dma_adapter(call: Call) -> int:
    """A DMA_ADAPTER whose operations are stand-ins."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    adapter, operations = kernel.arena.take(0x40), kernel.arena.take(0x100)
    memory.put(adapter, 1, 2)
    memory.put_pointer(adapter + p, operations)
    memory.put_u32(operations, 0x100)
    for index in range(1, 24):
        memory.put_pointer(operations + index * p, kernel.address_of(f"DmaOperation{index}"))
    call.give_u32(2, 16)
    return adapter


@stands_in("DmaOperation2")
def allocate_common_buffer(call: Call) -> int:
    """AllocateCommonBuffer(adapter, length, logical address, cached)."""
    buffer = call.kernel.arena.allocate(call.u32(1), "AllocateCommonBuffer")
    call.give_bytes(2, call.memory.physical(buffer).to_bytes(8, "little"))
    return buffer


@stands_in("IoConnectInterrupt")
def connect_interrupt(call: Call) -> int:
    """Queue the service routine."""
    interrupt = call.kernel.arena.take(0x200)
    call.give(0, interrupt)
    call.kernel.register("interrupt", call.arg(1), [interrupt, call.arg(2)])
    return 0


@stands_in("IoConnectInterruptEx")
def connect_interrupt_ex(call: Call) -> int:
    """Queue the service routine of a fully specified or line-based request."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    request = call.arg(0)
    fields = [memory.pointer(request + p * index) for index in range(1, 5)]
    interrupt = kernel.arena.take(0x200)
    if memory.find(fields[1]) is not None:
        memory.put_pointer(fields[1], interrupt)
    kernel.register("interrupt", fields[2], [interrupt, fields[3]])
    return 0


@stands_in("IoReportDetectedDevice", "IoReportRootDevice")
def detected_device(call: Call) -> int:
    """The device below."""
    call.give(7, call.kernel.objects.physical_device)
    return 0


@stands_in("IoGetConfigurationInformation")
def configuration(call: Call) -> int:
    """Counts of devices, all zero."""
    return call.kernel.keep("configuration information")


@stands_in("IopInvalidDeviceRequest")
def invalid_request(call: Call) -> int:
    """What an unset dispatch routine does."""
    return 0xC000_0010


@stands_in("IoRegisterDriverReinitialization", "IoRegisterBootDriverReinitialization")
def reinitialize(call: Call) -> None:
    """Queue the routine."""
    call.kernel.register("reinitialization", call.arg(1), [call.arg(0), call.arg(2), 1])


@stands_in("IoWMIRegistrationControl", "IoRegisterFsRegistrationChange")
def accept_registration(call: Call) -> int:
    """Accept; queue a file system notification."""
    if call.name == "IoRegisterFsRegistrationChange":
        device = call.kernel.objects.physical_device
        call.kernel.register("file system notification", call.arg(1), [device, 1])
    return 0


@stands_in("IoInitializeTimer")
def initialize_timer(call: Call) -> int:
    """Queue the timer routine of a device."""
    call.kernel.register("device timer", call.arg(1), [call.arg(0), call.arg(2)])
    return 0
