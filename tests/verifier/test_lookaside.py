"""A lookaside list: its pool type is what it was initialised with, and asked for by the kernel."""

import pytest

from hvci.model import Machine as Architecture
from hvci.model import WindowsVersion
from hvci.verifier.checks import watched_ddis
from hvci.verifier.kernel import Kernel
from hvci.verifier.layout import STACK, STUB_BYTES
from hvci.verifier.machine import Machine

SIZE, TAG = 0x40, 0x6B6C6F4C
NX = 0x200
PLAIN = ("ExInitializeNPagedLookasideList", "ExInitializePagedLookasideList")
EX = "ExInitializeLookasideListEx"


def enter(kernel, name, *arguments):
    """Call a stand-in as a driver would."""
    machine = kernel.machine
    address = kernel.address_of(name) if isinstance(name, str) else name
    place = machine.layout
    machine.processor.enter(arguments, place.exit, place.stack + STACK - 0x100)
    return kernel.call((address - place.stubs) // STUB_BYTES)


def listed(architecture, name, *rest):
    """A kernel, and the type, tag, size and two functions of a list."""
    kernel = Kernel(Machine(architecture, 0x10000), WindowsVersion.WINDOWS_11_24H2)
    entry = kernel.arena.take(0x100)
    kernel.answer(enter(kernel, name, entry, *rest))
    memory, wide = kernel.memory, kernel.memory.pointer_size == 8
    at = entry + (0x24 if wide else 0x1C)
    functions = entry + (0x30 if wide else 0x28)
    fields = [memory.u32(at + 4 * n) for n in range(3)]
    return kernel, fields, [memory.pointer(functions + memory.pointer_size * n) for n in range(2)]


@pytest.mark.parametrize("architecture", [Architecture.X64, Architecture.X86, Architecture.ARM64])
@pytest.mark.parametrize(
    ("name", "flags", "kind"),
    [
        (PLAIN[0], 0, 0),
        (PLAIN[0], NX, NX),
        (PLAIN[1], 0, 1),
        (EX, NX, NX),
        (EX, 1, 1),
    ],
)
def test_the_type_is_that_of_the_initialisation(architecture, name, flags, kind):
    rest = (0, 0, flags, SIZE, TAG, 0) if name in PLAIN else (0, 0, flags, 0, SIZE, TAG, 0)
    kernel, fields, (allocate, free) = listed(architecture, name, *rest)
    assert fields == [kind, TAG, SIZE]
    call = enter(kernel, allocate, kind, SIZE, TAG, 0)
    address = kernel.answer(call)
    assert kernel.arena.owner(address) == "a lookaside list"
    assert call.name not in watched_ddis()
    given = enter(kernel, free, address, 0)
    kernel.answer(given)
    if architecture is Architecture.X86:
        words = (call.convention.stack_bytes, given.convention.stack_bytes)
        assert words == ((16, 8) if name == EX else (12, 4))


@pytest.mark.parametrize("architecture", [Architecture.X64, Architecture.X86, Architecture.ARM64])
def test_functions_of_the_driver_stay(architecture):
    functions = [0x1111_0000, 0x1111_1000]
    assert listed(architecture, EX, *functions, NX, 0, SIZE, TAG, 0)[2] == functions
