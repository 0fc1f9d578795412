"""Relations between numbers, and what routines of the kernel say about versions."""

import pytest

from hvci.binary.flow import atoms
from hvci.binary.flow.versions.deciding import holds
from hvci.binary.flow.versions.telling import Telling, kernels
from hvci.model import TARGETS, WindowsVersion

MINUS = 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("name", "left", "right", "expected"),
    [
        ("eq", 10, 10, True),
        ("ne", 10, 10, False),
        ("ult", 6, MINUS, True),
        ("slt", 6, MINUS, False),
        ("uge", MINUS, 6, True),
        ("sge", MINUS, 6, False),
        ("ule", 6, 6, True),
        ("sgt", 6, MINUS, True),
        ("sle", MINUS, MINUS, True),
        ("ugt", 6, 6, False),
        ("neg", 5, 6, True),
        ("pos", 6, 6, True),
    ],
)
def test_a_relation_holds_between_numbers_of_some_bits(name, left, right, expected) -> None:
    assert holds(name, left, right, 32) is expected
    assert holds(name, left + (7 << 32), right, 32) is expected


def test_the_kernels_are_those_with_memory_integrity() -> None:
    assert kernels(WindowsVersion.WINDOWS_7) == TARGETS
    assert kernels(WindowsVersion.WINDOWS_11_25H2)[0] is WindowsVersion.WINDOWS_11_25H2


def test_what_a_question_says_holds_for_every_kernel() -> None:
    telling = Telling(kernels(WindowsVersion.WINDOWS_11_25H2))
    builds = telling.written("RtlGetVersion", 0, 12)
    assert builds is not None
    assert atoms.truncate(builds, 4) == atoms.const(26200, 26300, 28000)
    asked = {0: atoms.const(0x0602_0000), 1: atoms.const(6)}
    assert telling.returned("RtlIsNtDdiVersionAvailable", asked.__getitem__) == atoms.const(1)
    later = {0: atoms.const(0x0A00_000F)}
    assert telling.returned("RtlIsNtDdiVersionAvailable", later.__getitem__) is None
    never = {0: atoms.const(0x0A01_0000, 0x0B00_0000)}
    assert telling.returned("RtlIsNtDdiVersionAvailable", never.__getitem__) == atoms.const(0)
    wdm = {0: atoms.const(6), 1: atoms.const(0)}
    assert telling.returned("IoIsWdmVersionAvailable", wdm.__getitem__) == atoms.const(1)
    newer = {0: atoms.const(10), 1: atoms.const(0)}
    assert telling.returned("IoIsWdmVersionAvailable", newer.__getitem__) is None
    assert telling.returned("DbgPrint", asked.__getitem__) is None


def test_what_lies_behind_a_variable_is_any() -> None:
    found = Telling(TARGETS).written("PsGetVersion", 1, 0)
    assert found is not None
    assert len(found) == 2
    assert atoms.truncate(found, 4) == atoms.const(0)


def test_the_variable_of_the_kernel_holds_the_build() -> None:
    telling = Telling([WindowsVersion.WINDOWS_10_22H2])
    assert telling.build_number(2) == atoms.const(19045)
    assert telling.build_number(4) == atoms.const(0xF000_0000 | 19045, 0xC000_0000 | 19045)
