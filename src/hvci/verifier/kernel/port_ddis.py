"""Stand-ins for port and class drivers: a registration hands over the callbacks it holds.

NDIS, StorPort, ScsiPort, kernel streaming, video, smart card, file system
filters, network filters, USB and HID.
"""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in

OPERATION_END = 0x80
OBJECT = 0x100


def _new(call: Call, size: int = OBJECT) -> int:
    return call.kernel.arena.take(size)


# ---- NDIS


@stands_in("NdisMRegisterMiniportDriver")
def register_miniport(call: Call) -> int:
    """Queue the handlers of the characteristics."""
    call.give(4, _new(call))
    call.kernel.register_table("NDIS miniport", call.arg(3), 0x100)
    return 0


@stands_in("NdisMRegisterMiniport")
def register_old_miniport(call: Call) -> int:
    """Queue the handlers of NDIS 5 characteristics."""
    call.kernel.register_table("NDIS miniport", call.arg(1), min(call.u32(2), 0x200))
    return 0


@stands_in("NdisFRegisterFilterDriver", "NdisRegisterProtocolDriver")
def register_network_client(call: Call) -> int:
    """Queue the handlers of the characteristics."""
    is_filter = call.name == "NdisFRegisterFilterDriver"
    call.give(3 if is_filter else 2, _new(call))
    call.kernel.register_table("NDIS client", call.arg(2 if is_filter else 1), 0x120)
    return 0


@stands_in("NdisRegisterProtocol")
def register_old_protocol(call: Call) -> None:
    """Queue the handlers of NDIS 5 characteristics."""
    call.give_u32(0, 0)
    call.give(1, _new(call))
    call.kernel.register_table("NDIS protocol", call.arg(2), min(call.u32(3), 0x200))


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


# ---- storage


@stands_in("StorPortInitialize", "ScsiPortInitialize")
def register_storage(call: Call) -> int:
    """Queue the entry points of HW_INITIALIZATION_DATA."""
    call.kernel.register_table("storage miniport", call.arg(2), 0xF0)
    return 0


@stands_in("ClassInitialize", "ClassInitializeEx")
def register_class_driver(call: Call) -> int:
    """Queue the entry points of the class driver."""
    call.kernel.register_table("class driver", call.arg(2), 0x180)
    return 0


@stands_in("StorPortGetUncachedExtension", "ScsiPortGetUncachedExtension")
def uncached_extension(call: Call) -> int:
    """Memory for the adapter."""
    return call.kernel.arena.allocate(call.u32(2), call.name)


@stands_in("StorPortGetDeviceBase", "ScsiPortGetDeviceBase", "VideoPortGetDeviceBase")
def device_base(call: Call) -> int:
    """Device registers that read zero."""
    return call.kernel.keep("device registers", size=0x10000)


# ---- streaming


@stands_in("KsInitializeDriver")
def register_streaming(call: Call) -> int:
    """Queue the dispatch functions of the device descriptor."""
    memory, p = call.memory, call.pointer_size
    descriptor = call.arg(2)
    call.kernel.register_table("KS device", descriptor, 4 * p)
    dispatch = memory.pointer(descriptor)
    if memory.find(dispatch) is not None:
        call.kernel.register_table("KS dispatch", dispatch, 14 * p)
    return 0


# ---- video, smart card


@stands_in("VideoPortInitialize")
def register_video(call: Call) -> int:
    """Queue the entry points of VIDEO_HW_INITIALIZATION_DATA."""
    call.kernel.register_table("video miniport", call.arg(2), 0x100)
    return 0


@stands_in("SmartcardInitialize")
def register_reader(call: Call) -> int:
    """Queue the reader's functions."""
    call.kernel.register_table("smart card reader", call.arg(0), 0x200)
    return 0


# ---- file system and network filters


@stands_in("FltRegisterFilter")
def register_filter(call: Call) -> int:
    """Queue the operation callbacks and the others of FLT_REGISTRATION."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    registration = call.arg(1)
    call.give(2, _new(call))
    operations = memory.pointer(registration + 8 + p)
    for index in range(64 if operations else 0):
        operation = operations + index * (8 + 3 * p)
        major = memory.u8(operation)
        if major == OPERATION_END:
            break
        for which in (0, 1):
            function = memory.pointer(operation + 8 + p * which)
            kernel.register(f"filter operation {major:#x}", function, _filter_data(call, major))
    for index in range(2, 12):
        function = memory.pointer(registration + 8 + index * p)
        kernel.register(f"filter callback {index}", function, _filter_data(call, 0))
    return 0


def _filter_data(call: Call, major: int) -> list[int]:
    """FLT_CALLBACK_DATA with its parameter block, related objects, a context and flags."""
    data, objects, block = _new(call, 0x200), _new(call, 0x200), _new(call)
    call.memory.put(block + 4, major, 1)
    call.memory.put_pointer(call.field(data, 0x10, 0x08), block)
    return [data, objects, _new(call), 0]


@stands_in("FltCreateCommunicationPort")
def create_port(call: Call) -> int:
    """Queue the three callbacks of the port."""
    call.give(1, _new(call))
    for index in (4, 5, 6):
        arguments = [_new(call), _new(call), 0x100, _new(call), 0x100, _new(call)]
        call.kernel.register("communication port", call.arg(index), arguments)
    return 0


@stands_in("FltAllocateContext")
def allocate_context(call: Call) -> int:
    """Memory through a pointer."""
    call.give(4, call.kernel.arena.allocate(call.arg(2), call.name))
    return 0


@stands_in("FltGetFileNameInformation")
def file_name(call: Call) -> int:
    """A FLT_FILE_NAME_INFORMATION with names."""
    information = _new(call, 0x100)
    text = call.kernel.objects.unicode(r"\Device\HarddiskVolume1\file.txt")
    header = call.memory.read(text, 2 * call.pointer_size)
    for index in range(6):
        call.memory.write(information + 8 + 2 * call.pointer_size * index, header)
    call.give(2, information)
    return 0


@stands_in("FwpsCalloutRegister0", "FwpsCalloutRegister1", "FwpsCalloutRegister2")
def register_callout(call: Call) -> int:
    """Queue classify, notify and delete of FWPS_CALLOUT."""
    call.kernel.register_table("WFP callout", call.arg(1) + 24, 3 * call.pointer_size)
    call.give_u32(2, 1)
    return 0


# ---- USB and HID


@stands_in("HidRegisterMinidriver")
def register_hid(call: Call) -> int:
    """The minidriver keeps its dispatch table; devices carry a HID_DEVICE_EXTENSION."""
    return 0


@stands_in("USBD_CreateConfigurationRequestEx", "USBD_CreateConfigurationRequest")
def configuration_request(call: Call) -> int:
    """A request block."""
    return _new(call, 0x200)


@stands_in("USBD_ParseConfigurationDescriptorEx", "USBD_ParseConfigurationDescriptor")
def parse_descriptor(call: Call) -> int:
    """An interface descriptor with four endpoints."""
    descriptor = _new(call)
    call.memory.write(descriptor, bytes((9, 4, 0, 0, 4, 0xFF, 0, 0, 0)))
    return descriptor
