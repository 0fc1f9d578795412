"""Stand-ins for the kernel-mode driver framework: the function table, the driver, its devices.

The leading globals argument is hidden: arguments count as documented.
"""

from __future__ import annotations

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.framework import OBJECT, device_for, device_of, make, routines
from hvci.verifier.kernel.models import stands_in

SMALLEST_TABLE = 444
LARGEST_TABLE = 600
PARAMETERS = 0x100
STEPS = {5: 0, 1: 1, 2: 2, 9: 3}
"""What Windows calls first among WDF_PNPPOWER_EVENT_CALLBACKS, by the number of the pointer.

EvtDevicePrepareHardware, EvtDeviceD0Entry and what follows it, EvtDeviceSelfManagedIoInit."""
LEAVING = frozenset((3, 4, 6, 7, 8, 10, 12))
"""What it calls when a device goes: D0Exit, ReleaseHardware, SelfManagedIo-, SurpriseRemoval."""


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


# ---- the driver


@stands_in("WdfDriverCreate")
def create_driver(call: Call) -> int:
    """Queue EvtDriverDeviceAdd; EvtDriverUnload comes last."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    configuration = call.arg(3)
    add, unload = memory.pointer(configuration + p), memory.pointer(configuration + 2 * p)
    driver = make(call, call.arg(2))
    kernel.kept["framework driver",] = driver
    kernel.register("EvtDriverDeviceAdd", add, [driver, kernel.arena.take(OBJECT)])
    kernel.set_unload("EvtDriverUnload", unload, [driver])
    call.give(4, driver)
    return 0


@stands_in("WdfDeviceGetDriver", "WdfWdmDriverGetWdfDriverHandle")
def driver_of(call: Call) -> int:
    """The framework's driver object."""
    return call.kernel.keep("framework driver", size=OBJECT)


@stands_in("WdfDriverWdmGetDriverObject")
def wdm_driver(call: Call) -> int:
    """The WDM driver object."""
    return call.kernel.objects.driver


@stands_in("WdfDriverGetRegistryPath")
def registry_path(call: Call) -> int:
    """The text of the path that DriverEntry got."""
    return call.memory.pointer(call.kernel.objects.registry_path + call.pointer_size)


@stands_in("WdfDriverIsVersionAvailable")
def is_version_available(call: Call) -> int:
    """Every version is there."""
    return 1


# ---- devices


@stands_in("WdfControlDeviceInitAllocate", "WdfPdoInitAllocate", "WdfCxDeviceInitAllocate")
def initializer(call: Call) -> int:
    """A device initializer."""
    return call.kernel.arena.take(OBJECT)


@stands_in("WdfDeviceCreate")
def create_device(call: Call) -> int:
    """The framework device that its callbacks were promised; takes the initializer away."""
    holder = call.arg(0)
    promised = call.memory.pointer(holder) if holder >= LOWEST_POINTER else 0
    device = device_for(call, promised)
    make(call, call.arg(1), device)  # for the callbacks in the attributes
    call.give(0, 0)
    call.give(2, device)
    return 0


@stands_in(
    "WdfDeviceWdmGetDeviceObject",
    "WdfDeviceWdmGetAttachedDevice",
    "WdfDeviceWdmGetPhysicalDevice",
    "WdfFdoInitWdmGetPhysicalDevice",
    "WdfIoTargetWdmGetTargetDeviceObject",
    "WdfIoTargetWdmGetTargetPhysicalDevice",
)
def wdm_device(call: Call) -> int:
    """A WDM device object."""
    return call.kernel.objects.device


@stands_in(
    "WdfWdmDeviceGetWdfDeviceHandle",
    "WdfChildListGetDevice",
    "WdfDmaTransactionGetDevice",
    "WdfFileObjectGetDevice",
    "WdfInterruptGetDevice",
    "WdfIoQueueGetDevice",
    "WdfIoTargetGetDevice",
    "WdfPdoGetParent",
    "WdfWmiInstanceGetDevice",
    "WdfWmiProviderGetDevice",
)
def device_of_object(call: Call) -> int:
    """The device that an object belongs to."""
    is_wdm = call.name == "WdfWdmDeviceGetWdfDeviceHandle"
    return device_of(call, 0 if is_wdm else call.arg(0))


@stands_in("WdfDeviceInitSetPnpPowerEventCallbacks")
def set_power_callbacks(call: Call) -> None:
    """Queue the callbacks in the order in which a device comes, works and goes."""
    kernel, device = call.kernel, device_for(call, call.arg(0))
    found = [(at // call.pointer_size, routine) for at, routine in routines(call, call.arg(1))]
    for index, routine in sorted(found, key=lambda each: STEPS.get(each[0], len(STEPS))):
        arguments = [device, *(kernel.arena.take(OBJECT) for _ in range(5))]
        kernel.register(f"{call.name}+{index}", routine, arguments, is_last=index in LEAVING)


@stands_in(
    "WdfDeviceInitSetPowerPolicyEventCallbacks",
    "WdfFdoInitSetEventCallbacks",
    "WdfPdoInitSetEventCallbacks",
)
def set_callbacks(call: Call) -> None:
    """Queue the callbacks of a device."""
    kernel, device = call.kernel, device_for(call, call.arg(0))
    for offset, routine in routines(call, call.arg(1)):
        arguments = [device, *(kernel.arena.take(OBJECT) for _ in range(5))]
        kernel.register(f"{call.name}+{offset:#x}", routine, arguments)


@stands_in("WdfDeviceInitSetFileObjectConfig")
def set_file_callbacks(call: Call) -> None:
    """Queue EvtDeviceFileCreate; EvtFileClose and EvtFileCleanup come last."""
    kernel, device = call.kernel, device_for(call, call.arg(0))
    file = make(call, parent=device)
    for offset, routine in routines(call, call.arg(1)):
        if offset == call.pointer_size:
            request = make(call, parent=device)
            kernel.register("EvtDeviceFileCreate", routine, [device, request, file])
        else:
            kernel.register(f"EvtFile+{offset:#x}", routine, [file], is_last=True)


@stands_in("WdfDeviceInitSetIoInCallerContextCallback")
def set_caller_callback(call: Call) -> None:
    """Queue the callback."""
    device = device_for(call, call.arg(0))
    call.kernel.register("EvtIoInCallerContext", call.arg(1), [device, make(call, parent=device)])


@stands_in("WdfDeviceInitAssignWdmIrpPreprocessCallback")
def set_preprocessing(call: Call) -> int:
    """Queue the callback with an IRP of its major function."""
    kernel, device = call.kernel, device_for(call, call.arg(0))
    irp = kernel.objects.irp(kernel.objects.device, call.u8(2))
    kernel.register("EvtDeviceWdmIrpPreprocess", call.arg(1), [device, irp])
    return 0


@stands_in("WdfDeviceAddQueryInterface")
def add_interface(call: Call) -> int:
    """Queue the routines of an interface: other drivers call them with its context."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    device, configuration = call.arg(0), call.arg(1)
    for _, routine in routines(call, configuration):
        arguments = [device, *(kernel.arena.take(OBJECT) for _ in range(3))]
        kernel.register("EvtDeviceProcessQueryInterfaceRequest", routine, arguments)
    interface = memory.pointer(configuration + p) if configuration >= LOWEST_POINTER else 0
    if interface >= LOWEST_POINTER:
        subject = memory.pointer(interface + p)
        for offset, routine in kernel.routines_in(interface, memory.u16(interface)):
            arguments = [subject, *(kernel.arena.take(PARAMETERS) for _ in range(5))]
            kernel.register(f"interface+{offset:#x}", routine, arguments)
    return 0
