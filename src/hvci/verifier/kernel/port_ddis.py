"""Stand-ins for port and class drivers: a registration hands over the callbacks it holds.

StorPort, ScsiPort, kernel streaming, video, smart card, file system filters, network filters, USB
and HID.
"""

from __future__ import annotations

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

OPERATION_END = 0x80
FILTER_UNLOAD, INSTANCE_SETUP = 2, 3
LEAVING = frozenset((FILTER_UNLOAD, 4, 5, 6))
"""Routines of FLT_REGISTRATION, by number: its unload, its teardown of instances."""
DISK_FILE_SYSTEM, NTFS = 8, 2
"""FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS."""
OBJECT = 0x100
EXTENSION, LARGEST_EXTENSION = 0x1000, 0x4_0000
"""Bytes of a miniport's extension: what it asks for, within these."""
NOT_FOUND = 0xC000_0225


def _new(call: Call, size: int = OBJECT) -> int:
    return call.kernel.arena.take(size)


# ---- storage


@stands_in("StorPortInitialize", "ScsiPortInitialize", "VideoPortInitialize")
def register_hardware(call: Call) -> int:
    """Queue the entry points of a miniport: all get the extension that HwFindAdapter fills."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    data = call.arg(2)
    if data < LOWEST_POINTER:
        return 0
    is_video = call.name == "VideoPortInitialize"
    size = memory.u32(data + 8 + p * (4 if is_video else 7))
    extension = kernel.arena.take(max(EXTENSION, min(size, LARGEST_EXTENSION)))
    find_adapter = 8 if is_video else 8 + 3 * p
    found = kernel.routines_in(data, memory.u32(data))
    for offset, routine in sorted(found, key=lambda each: each[0] != find_adapter):
        arguments = [extension, *(_new(call, 0x800) for _ in range(5))]
        kernel.register(f"miniport+{offset:#x}", routine, arguments)
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


# ---- smart card


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
    routines = [memory.pointer(registration + 8 + index * p) for index in range(12)]
    set_up = [_new(call, 0x200), 1, DISK_FILE_SYSTEM, NTFS]
    kernel.register("InstanceSetupCallback", routines[INSTANCE_SETUP], set_up)
    operations = routines[1]
    for index in range(64 if operations else 0):
        operation = operations + index * (8 + 3 * p)
        major = memory.u8(operation)
        if major == OPERATION_END:
            break
        for which in (0, 1):
            function = memory.pointer(operation + 8 + p * which)
            kernel.register(f"filter operation {major:#x}", function, _filter_data(call, major))
    for index in range(2, 12):
        arguments = (
            [0] if index == FILTER_UNLOAD else [_new(call, 0x200), 0, _new(call), _new(call)]
        )
        name, is_last = f"filter callback {index}", index in LEAVING
        kernel.register(name, routines[index], arguments, is_last=is_last)
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


_CONTEXTS = ("Volume", "Instance", "File", "Stream", "StreamHandle", "Transaction")


def _kind(call: Call) -> str:
    return call.name.removeprefix("FltGet").removeprefix("FltSet").removesuffix("Context")


def _context_out(call: Call) -> int:
    """Which argument of a routine that hands out a context points at it."""
    return 1 if _kind(call) == "Instance" else 2


@stands_in(*(f"FltSet{kind}Context" for kind in _CONTEXTS))
def set_context(call: Call) -> int:
    """The last context of its kind; what callbacks get their contexts for differs each time."""
    new = call.arg(2 if _kind(call) in ("Volume", "Instance") else 3)
    call.kernel.kept["filter context", _kind(call)] = new
    return 0


@stands_in(*(f"FltGet{kind}Context" for kind in _CONTEXTS))
def get_context(call: Call) -> int:
    """The context that was set; there is none before."""
    kept = call.kernel.kept.get(("filter context", _kind(call)), 0)
    call.give(_context_out(call), kept)
    return 0 if kept else NOT_FOUND


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
