"""Every stand-in takes what a hostile driver may give it: nothing, pointers, or garbage."""

import pytest

from hvci import catalog
from hvci.catalog.ddis import Gives
from hvci.model import Machine as Architecture
from hvci.model import WindowsVersion
from hvci.verifier.kernel import STAND_INS, EntryPoint, Kernel
from hvci.verifier.kernel.call import EndPath
from hvci.verifier.kernel.models import stand_in
from hvci.verifier.machine import Machine
from hvci.verifier.memory import AccessFault

SIZE = 0x400


class Arguments:
    """A processor whose argument registers and stack slots hold chosen values."""

    def __init__(self, processor, values):
        self._processor = processor
        self._values = values

    def argument(self, index, rules):
        return self._values[index % len(self._values)]

    def __getattr__(self, name):
        return getattr(self._processor, name)


def kernel_for(architecture, values):
    kernel = Kernel(Machine(architecture, 0x10000), WindowsVersion.WINDOWS_11_24H2)
    made = [kernel.arena.allocate(SIZE, "test") if value == "object" else value for value in values]
    kernel.machine.processor = Arguments(kernel.machine.processor, made)
    return kernel


def answer(kernel, name):
    address = kernel.address_of(name)
    number = (address - kernel.machine.layout.stubs) // 16
    try:
        return kernel.answer(kernel.call(number))
    except (EndPath, AccessFault) as end:  # the driver's own fault: its path ends there
        return str(end)


@pytest.mark.parametrize("architecture", [Architecture.X64, Architecture.X86, Architecture.ARM64])
@pytest.mark.parametrize(
    "values",
    [
        (0,),
        ("object",),
        ("object", 1, "object", 2, "object"),
        ("object", "object", 3, 0x40, "object", 0x20),
        (0xFFFF_FFFF,),
        (1, 0x7FFF_FFFF, 8, 0xFFFF_FFF0),
    ],
    ids=["nothing", "objects", "mixed", "sizes", "all-ones", "garbage"],
)
def test_no_stand_in_breaks(architecture, values):
    kernel = kernel_for(architecture, values)
    broken = []
    for name in sorted(STAND_INS):
        try:
            answer(kernel, name)
        except Exception as error:
            broken.append(f"{name}: {error!r}")
    assert broken == []


GIVING = [name for name, row in catalog.ddis().items() if row.gives is not None]


@pytest.mark.parametrize("name", GIVING)
def test_memory_that_the_catalogue_knows_is_given_by_a_stand_in(name):
    """Else a guess is answered, and nobody notices the code that runs there."""
    assert stand_in(name) is not None, (
        f'give {name} a stand-in: @stands_in("{name}") in src/hvci/verifier/kernel/*_ddis.py, or '
        "leave `gives` out"
    )


OF_NEW_MEMORY = [
    name
    for name in GIVING
    if catalog.ddis()[name].gives in (Gives.POOL, Gives.CONTIGUOUS, Gives.VIRTUAL)
]


@pytest.mark.parametrize("architecture", [Architecture.X64, Architecture.X86, Architecture.ARM64])
@pytest.mark.parametrize("name", OF_NEW_MEMORY)
def test_given_memory_is_known_as_given(name, architecture):
    kernel = kernel_for(architecture, ("object",))
    (cells,) = kernel.machine.processor._values
    values, outputs = [], []
    for at, parameter in enumerate(catalog.ddis()[name].parameters):
        slots = parameter.x86_slots if architecture is Architecture.X86 else 1
        cell = cells + 8 * at
        kernel.memory.put_pointer(cell, 0x200)
        outputs += [cell] if parameter.type == "PVOID*" else []
        values += [cell if parameter.type[0] == "P" else 0x200, 0][:slots]
    kernel.machine.processor = Arguments(kernel.machine.processor._processor, values)
    given = answer(kernel, name)
    given = kernel.memory.pointer(outputs[0]) if outputs else given
    assert kernel.arena.owner(given) in (name, name.replace("Nt", "Zw", 1))


@pytest.mark.parametrize(
    ("name", "port", "value"),
    [
        ("READ_PORT_ULONG", 0xCFC, 0xFFFF_FFFF),
        ("READ_PORT_UCHAR", 0xCFE, 0xFF),
        ("READ_PORT_ULONG", 0xCF8, 0),
        ("READ_PORT_USHORT", 0x378, 0),
    ],
)
def test_no_pci_slot_holds_a_device(name, port, value):
    assert answer(kernel_for(Architecture.X86, (port,)), name) == value


def test_device_registers_are_the_memory_that_was_mapped():
    kernel = kernel_for(Architecture.X64, ("object",))
    (address,) = kernel.machine.processor._values
    kernel.memory.put_u32(address, 0x1234_5678)
    assert answer(kernel, "READ_REGISTER_ULONG") == 0x1234_5678
    assert answer(kernel, "READ_REGISTER_UCHAR") == 0x78


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("ExAllocatePool2", WindowsVersion.WINDOWS_11_24H2, True),
        ("ExAllocatePool2", WindowsVersion.WINDOWS_10_1909, False),
        ("MmMapIoSpaceEx", WindowsVersion.WINDOWS_7, False),
        ("MmMapIoSpaceEx", WindowsVersion.WINDOWS_10_1507, True),
        ("ExAllocatePoolWithTag", WindowsVersion.WINDOWS_XP, True),
        ("NobodyKnowsThis", WindowsVersion.WINDOWS_XP, True),
    ],
)
def test_a_name_is_found_by_the_windows_that_has_it(name, version, found):
    kernel = Kernel(Machine(Architecture.X64, 0x10000), version)
    text = kernel.objects.unicode(name)
    kernel.machine.processor = Arguments(kernel.machine.processor, (text,))
    assert bool(answer(kernel, "MmGetSystemRoutineAddress")) is found


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x23_003F, "DxgkInitialize"),
        (0x23_0047, "DxgkInitializeDisplayOnlyDriver"),
        (0x22_2000, ""),
    ],
)
def test_the_display_port_gives_its_entry_point(code, name):
    kernel = kernel_for(Architecture.X64, (0,))
    out = kernel.arena.allocate(8, "test")
    values = (0, 0, 0, 0, 0, code, 0, 0, out, 8)
    kernel.machine.processor = Arguments(kernel.machine.processor._processor, values)
    assert answer(kernel, "ZwDeviceIoControlFile") == 0
    given = kernel.memory.pointer(out)
    assert given == (kernel.address_of(name, "dxgkrnl.sys") if name else 0)


def test_an_argument_that_an_earlier_callback_sets_is_read_late():
    kernel = kernel_for(Architecture.X86, (0,))
    cell = kernel.arena.allocate(4, "test")
    entry = EntryPoint("callback", 0, (cell, cell), through=(1,))
    kernel.memory.put_pointer(cell, 77)
    assert entry.values(kernel.memory) == (cell, 77)
