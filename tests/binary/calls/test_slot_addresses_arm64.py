"""What becomes of the address of an import slot in ARM64 code: read, handed on, or not known.

tests/fixtures/src/acquire_arm64.s has the ways in which a slot is read and called.
"""

import struct

import pytest

import build
from hvci import evaluate
from hvci.binary.pe.image import PeImage
from hvci.model import Executable

NOP, RETURN = 0xD503_201F, 0xD65F_03C0
ARGUMENTS = (0x5280_0000, 0x5282_0001, 0x5280_0022)  # w0 = 0, w1 = 0x1000, w2 = 1
SAVE, RESTORE = 0xA9BF_7BFD, 0xA8C1_7BFD  # stp, ldp x29, x30
CALL = 0xD63F_0120  # blr x9
LDAR, LDR = 0xC8DF_FC00, 0xF940_0000
IMAGE = PeImage(build.driver("arm64"))
ENTRY = int(IMAGE.headers.entry)
(SLOT,) = IMAGE.import_slots["ExAllocatePoolWithTag"]
DATA = next(int(each.rva) for each in IMAGE.headers.sections if each.name == ".data") + 0x100


class Code(list):
    """Words at the entry point."""

    def address(self, register, target):
        """ADRP and ADD."""
        pages = (target >> 12) - ((ENTRY + 4 * len(self)) >> 12)
        self.append(0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5 | register)
        self.append(0x9100_0000 | (target & 0xFFF) << 10 | register << 5 | register)
        return self

    def then(self, *words):
        self += words
        return self

    def report(self):
        return evaluate.evaluate(build.driver("arm64", code=struct.pack(f"<{len(self)}I", *self)))


def moved(opcode, register, base):
    return opcode | base << 5 | register


def limits(report):
    return [limit.reason for limit in report.limits if "ExAllocatePoolWithTag" in limit.reason]


def call_of_leaf(*leaf, register=7, then=()):
    """The slot's address in a volatile register over the call of a function; then it is read."""
    code = Code([SAVE]).address(register, SLOT)
    behind = [*then, moved(LDR, 9, register), *ARGUMENTS, CALL, RESTORE, RETURN]
    return code.then(0x9400_0000 | len(behind) + 1, *behind, *leaf)


def test_an_acquiring_load_is_a_call():
    code = Code([SAVE]).address(8, SLOT).then(moved(LDAR, 9, 8), *ARGUMENTS, CALL, RESTORE, RETURN)
    report = code.report()
    assert [each.executable for each in report.calls] == [Executable.YES]
    assert not report.limits


@pytest.mark.parametrize(
    "hands_on",
    [
        (0xAA08_03E0, 0x9400_0003),  # mov x0, x8; bl on
        (0x910_00100 | 0, 0x9400_0003),  # add x0, x8, #0
        (0xF900_0108,),  # str x8, [x8]
        (0x8B01_0108, moved(LDR, 9, 8), CALL),  # add x8, x8, x1
        (0xAA08_03E0, 0x1400_0003),  # mov x0, x8; b on
        (0xAA08_03E0, RETURN),  # returned
    ],
)
def test_an_address_that_is_handed_on_is_a_limit(hands_on):
    report = Code([SAVE]).address(8, SLOT).then(*hands_on, RESTORE, RETURN, RETURN).report()
    assert limits(report)
    assert report.verdict != "compatible"


@pytest.mark.parametrize(
    "stays",
    [
        (0xB500_0048,),  # cbnz x8, on
        (0xEB08_003F,),  # cmp x1, x8
        (0xAA08_03E1, 0xAA1F_03E1),  # mov x1, x8, which is lost again
        (moved(LDR, 31, 8),),  # read into no register
    ],
)
def test_an_address_that_nobody_gets_is_none(stays):
    report = Code([SAVE]).address(8, SLOT).then(*stays, RESTORE, RETURN, RETURN).report()
    assert not limits(report)


def test_a_callee_that_leaves_the_register_alone_does_not_hide_the_call():
    report = call_of_leaf(0x0B01_0000, RETURN).report()  # add w0, w0, w1
    assert [each.executable for each in report.calls] == [Executable.YES]
    assert not report.limits


@pytest.mark.parametrize(
    "leaf",
    [
        (0xD280_0007, RETURN),  # x7 = 0
        (0xF840_8427, RETURN),  # ldr x7, [x1], #8
        (0xB400_0040, 0xD280_0007, RETURN),  # on one way only
        (SAVE, 0x9400_0003, RESTORE, RETURN, 0xD280_0007, RETURN),  # calls one that sets x7 = 0
        (0xD61F_0020,),  # br x1
    ],
)
def test_what_a_callee_may_have_changed_is_a_limit(leaf):
    report = call_of_leaf(*leaf).report()
    assert not report.calls
    assert limits(report)


def test_a_value_is_kept_over_a_callee_that_leaves_it_alone():
    # w3 = 0x200 before the call, copied to w0 behind it
    code = Code([SAVE]).address(8, SLOT).then(moved(LDAR, 9, 8), 0x5280_4003)
    behind = [*ARGUMENTS[1:], 0x2A03_03E0, CALL, RESTORE, RETURN]
    code.then(0x9400_0000 | len(behind) + 1, *behind, 0xD280_0004, RETURN)
    report = code.report()
    assert [sorted(each.call.arguments["PoolType"].possible) for each in report.calls] == [[0x200]]
    assert not report.limits


def test_a_pointer_in_a_pair_with_another_is_named_rightly():
    names = {slot: item.name for slot, item in IMAGE.imports.items()}
    assert names[SLOT + 8] == "ExFreePoolWithTag"
    pair = 0xA940_0000 | 10 << 10 | 8 << 5 | 9  # ldp x9, x10, [x8]
    code = Code([SAVE]).address(8, SLOT).then(pair, *ARGUMENTS, 0xD63F_0140, RESTORE, RETURN)
    assert [each.call.ddi for each in code.report().calls] == []  # blr x10
    code[-3] = CALL
    assert [each.call.ddi for each in code.report().calls] == ["ExAllocatePoolWithTag"]


def test_a_slot_beside_that_a_pair_reads_for_nobody_is_none():
    pair = 0xA940_0000 | 31 << 10 | 8 << 5 | 9  # ldp x9, xzr, [x8], from the slot before
    code = Code([SAVE]).address(8, SLOT - 8).then(pair, RESTORE, RETURN)
    assert all("no use of it was found" in reason for reason in limits(code.report()))


def test_a_forwarder_with_an_acquiring_load_is_a_thunk():
    code = Code([SAVE, *ARGUMENTS, 0x9400_0003, RESTORE, RETURN]).address(16, SLOT)
    report = code.then(moved(LDAR, 16, 16), 0xD61F_0200).report()
    assert [(each.call.via, each.executable) for each in report.calls] == [
        ("thunk", Executable.YES)
    ]


@pytest.mark.parametrize(
    "leaf",
    [
        (0x3400_0061, 0x5280_4000, 0x1400_0002, 0x5280_0000),  # if w1: w0 = 0x200, or 0
        (0x5280_0000, 0x3400_0061, 0x5280_4000, 0x1400_0001),  # w0 = 0; if w1: w0 = 0x200
    ],
)
def test_a_jump_within_a_leaf_without_exception_data_starts_no_function(leaf):
    code = Code([SAVE, 0x9400_0003, RESTORE, RETURN, *leaf]).address(8, SLOT)
    report = code.then(moved(LDAR, 9, 8), *ARGUMENTS[1:], 0xD61F_0120).report()  # br x9
    assert [sorted(each.call.arguments["PoolType"].possible) for each in report.calls] == [
        [0, 0x200]
    ]
