"""Privileged instructions do in the emulated processor what the manual says, form by form.

Each row is a driver that is nothing but its code and returns EAX. The results are those of Intel's
manual (volume 2, each instruction's operation; volume 3, control and debug registers) for code at
privilege level 0; the computer around it has no devices (ports read zero) and one processor.
"""

import pytest

from hvci.model import Tier
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here
from patched import starts_with

RETURN = {"x64": b"\xc3", "x86": b"\xc2\x08\x00"}
BOTH = ("x64", "x86")


def run(machine, text):
    """The run of a driver that starts with these bytes."""
    data = starts_with(f"calls_clean.{machine}.o2.sys", bytes.fromhex(text) + RETURN[machine])
    return run_here(data, VerifierOptions(force=False))


ROWS = {
    # control registers; PG alone reads as zero: the engine has no page tables, only our pages
    "mov eax, cr0: PE and WP are on": ("0f20c0 25 01000100", 0x1_0001, BOTH),
    "mov cr0 clears WP": ("0f20c0 25 fffffeff 0f22c0 0f20c0 c1e810 83e001", 0, BOTH),
    "mov cr0 sets TS": ("0f20c0 83c808 0f22c0 0f20c0 83e008", 8, BOTH),
    "mov cr0 with another mod field": ("0f20c0 83c808 0f2200 0f20c0 83e008", 8, BOTH),
    "clts": ("0f20c0 83c808 0f22c0 0f06 0f20c0 83e008", 0, BOTH),
    "lmsw cannot clear PE": ("31c0 0f01f0 0f20c0 83e001", 1, BOTH),
    "smsw": ("31c0 0f01e0 83e001", 1, BOTH),
    "mov cr2": ("b878563412 0f22d0 31c0 0f20d0", 0x1234_5678, BOTH),
    "mov cr3 keeps the code running": ("0f20d8 0f22d8 b805000000", 5, BOTH),
    "mov cr4: SMEP is on": ("0f20e0 c1e814 83e001", 1, BOTH),
    "mov cr4 clears SMEP": ("0f20e0 25 ffffefff 0f22e0 0f20e0 c1e814 83e001", 0, BOTH),
    # debug registers: bits that read as one whatever is written
    "mov dr0": ("b878563412 0f23c0 31c0 0f21c0", 0x1234_5678, BOTH),
    "mov dr3": ("b878563412 0f23d8 31c0 0f21d8", 0x1234_5678, BOTH),
    "mov dr6": ("31c0 0f23f0 0f21f0", 0xFFFF_0FF0, BOTH),
    "mov dr7": ("31c0 0f23f8 0f21f8", 0x400, BOTH),
    # model-specific registers: ECX chooses, EDX:EAX is the value
    "wrmsr IA32_SYSENTER_EIP": ("b976010000 b878563412 31d2 0f30 31c0 0f32", 0x1234_5678, BOTH),
    "wrmsr IA32_LSTAR": ("b9820000c0 b878563412 31d2 0f30 31c0 0f32", 0x1234_5678, ("x64",)),
    "rdmsr EFER: long mode": ("b9800000c0 0f32 2500050000", 0x500, ("x64",)),
    "rdmsr clears the high halves": ("4883c8ff b9800000c0 0f32 48c1e820", 0, ("x64",)),
    # swapgs exchanges the bases, twice is nothing
    "swapgs": (
        "b9020100c0 b878563412 31d2 0f30 0f01f8 b9010100c0 0f32 0f01f8",
        0x1234_5678,
        ("x64",),
    ),
    # ports: nobody answers; the rest of the register stays
    "in al, imm8": ("83c8ff e460", 0xFFFF_FF00, BOTH),
    "in ax, dx": ("83c8ff 66baf80c 66ed", 0xFFFF_0000, BOTH),
    "in eax, dx": ("83c8ff 66baf80c ed", 0, BOTH),
    "out changes nothing": ("b805000000 66baf80c e660 ee 66ef ef", 5, BOTH),
    # interrupts
    "cli": ("fa 9c 58 c1e809 83e001", 0, BOTH),
    "sti": ("fa fb 90 9c 58 c1e809 83e001", 1, BOTH),
    "popf brings IF back": ("9c fa 9d 9c 58 c1e809 83e001", 1, BOTH),
    # caches and translations
    "invlpg": ("b805000000 0f013c24", 5, BOTH),
    "wbinvd": ("b805000000 0f09", 5, BOTH),
    "invd": ("b805000000 0f08", 5, BOTH),
    "hlt waits for an interrupt that comes": ("b805000000 f4", 5, BOTH),
    # tables: limit and base go in and come out
    "lidt, sidt": (
        "4883ec20 66c704247f00 48b8785634120000ffff 4889442402 0f011c24 0f014c2410"
        " 8b442412 4883c420",
        0x1234_5678,
        ("x64",),
    ),
    "sidt, the limit": (
        "4883ec20 66c704247f00 48b8785634120000ffff 4889442402 0f011c24 0f014c2410"
        " 0fb7442410 4883c420",
        0x7F,
        ("x64",),
    ),
    "lidt, sidt of 32 bits": (
        "6834120000 687f007856 0f011c24 0f014c24f8 8b4424fa 83c408",
        0x1234_5678,
        ("x86",),
    ),
    "lgdt, sgdt": (
        "4883ec20 0f010424 0f011424 0f01442410 8b442412 2b442402 4883c420",
        0,
        ("x64",),
    ),
    # extended control register 0: x87 state is always on
    "xgetbv": ("31c9 0f01d0 83e001", 1, BOTH),
    "xsetbv": ("31c9 31d2 b803000000 0f01d1 31c0 0f01d0", 3, BOTH),
}
CASES = [(machine, name) for name, (_, _, machines) in ROWS.items() for machine in machines]


@pytest.mark.parametrize(("machine", "name"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_privileged_instruction_gives_what_the_manual_says(machine, name):
    text, result, _ = ROWS[name]
    done = run(machine, text)
    entry = done.driver_entry
    assert (entry.outcome.ending, entry.tier) == ("returned", Tier.NATURAL)
    assert done.unsupported == ()
    assert entry.outcome.status == result


VIRTUAL = {
    "vmcall": "0f01c1",
    "vmlaunch": "0f01c2",
    "vmxoff": "0f01c4",
    "vmxon": "f30fc73424",
    "vmread": "0f78c1",
    "vmrun": "0f01d8",
    "vmmcall": "0f01d9",
}


@pytest.mark.parametrize("name", VIRTUAL)
def test_what_needs_a_virtual_machine_is_named(name):
    """There is none: the manual has an invalid opcode, and what follows is no longer natural."""
    done = run("x64", VIRTUAL[name] + "31c0")
    assert [each.name for each in done.unsupported] == [name]
    assert done.driver_entry.tier is not Tier.NATURAL
