"""The stand-ins: registered once, documented, and right where drivers depend on it."""

import inspect

import pytest

from hvci.errors import CatalogError
from hvci.model import Machine as Architecture
from hvci.model import WindowsVersion
from hvci.verifier.kernel import STAND_INS, Kernel
from hvci.verifier.kernel.exports import convention, exports, parse_exports
from hvci.verifier.machine import Machine


@pytest.fixture
def kernel():
    return Kernel(Machine(Architecture.X64, 0x10000), WindowsVersion.WINDOWS_10_22H2)


def test_every_stand_in_says_what_it_does():
    undocumented = [name for name, item in STAND_INS.items() if not inspect.getdoc(item.model)]
    assert undocumented == []


def test_a_name_has_one_address(kernel):
    assert kernel.address_of("ZwClose") == kernel.address_of("ZwClose")
    assert kernel.address_of("ZwClose") != kernel.address_of("ZwOpenKey")


def test_variables_are_cells_and_not_code(kernel):
    cell = kernel.address_of("NtBuildNumber")
    assert kernel.memory.u32(cell) == 0xF000_0000 | 19045
    assert not kernel.memory.is_code(cell)


def test_pool_is_zero_owned_and_rewound(kernel):
    top = kernel.arena.top
    address = kernel.arena.allocate(0x40, "ExAllocatePool2")
    assert kernel.memory.read(address, 0x40) == bytes(0x40)
    assert kernel.arena.owner(address + 0x3F) == "ExAllocatePool2"
    kernel.arena.rewind(top)
    assert kernel.arena.owner(address) == ""


def test_a_request_beyond_the_arena_fails(kernel):
    assert kernel.arena.allocate(1 << 40, "ExAllocatePool2") == 0


def test_x86_conventions_come_from_prototypes():
    assert convention("ExAllocatePoolWithTag", 4, 0).stack_bytes == 12
    assert convention("IofCallDriver", 4, 0).fastcall
    assert convention("WdfMemoryCreate", 4, 1).stack_bytes == 28
    assert convention("ExAllocatePoolWithTag", 8, 0).stack_bytes == 0


def test_a_bad_row_of_the_data_file_is_named():
    with pytest.raises(CatalogError, match=r"variables\.Odd"):
        parse_exports("[variables]\nOdd = 'nonsense'\n")
    with pytest.raises(CatalogError, match=r"x86_stack\.Odd"):
        parse_exports("[x86_stack]\nOdd = 3\n")
    assert "KeNumberProcessors" in exports().variables
