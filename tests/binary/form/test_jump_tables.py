"""A label that a jump table and the code before it lead to has the values of both ways.

Every driver here asks for pool in its second case, and its first case falls through to that:
`switch (x) { case 0: type = NonPagedPoolNx; case 1: ExAllocatePoolWithTag(type, ...); }`
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest

from build import driver
from clock import Clock
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.x86 import architecture as x86_code
from hvci.binary.form.code import Flow
from hvci.binary.pe.image import PeImage
from hvci.evaluate import evaluate
from hvci.model import Outcome

ENTRY, CASES, TABLE, BYTES, SLOT, INIT = 0x1000, 0x1040, 0x1100, 0x1180, 0x2000, 0x5000
"""RVAs in the drivers that `build` makes; the first case is where the cases begin."""
BASE_X86, BASE_X64 = 0x1_0000, 0x1_4000_0000
EXECUTABLE, NX, OTHER_NX = 0, 0x200, 0x204
LEA_RDX, LEA_RCX, LEA_RSI = "488d15", "488d0d", "488d35"


def code_of(head, cases, tables, padding):
    """The bytes of an entry whose parts stand at the RVAs above."""
    code = bytearray(padding * (0x200 // len(padding)))
    for rva, part in ((ENTRY, head), (CASES, cases), *tables):
        assert rva != ENTRY or len(part) <= CASES - ENTRY
        code[rva - ENTRY : rva - ENTRY + len(part)] = part
    return bytes(code)


def parts(*items):
    """Code from hexadecimal text and bytes."""
    return b"".join(bytes.fromhex(each) if isinstance(each, str) else each for each in items)


def values(machine, code, **change):
    """The pool types that are seen, and whether they are a failure."""
    report = evaluate(driver(machine, code=code, **change))
    (judged,) = report.calls
    outcomes = {each.outcome for each in report.results}
    return judged.call.arguments["PoolType"].possible, Outcome.FAIL in outcomes


def packed(form, *numbers):
    return struct.pack(f"<{len(numbers)}{form}", *numbers)


# ---- x64

SECOND_X86 = CASES + 5
"""Behind `mov ebx, imm32`, on x64 as well."""


def lea(opcode, target, head):
    """LEA of an RVA, behind some code."""
    return bytes.fromhex(opcode) + struct.pack("<i", target - ENTRY - len(head) - 7)


def x64(between, entries, start=EXECUTABLE, more=()):
    """A driver whose switch goes on like this; names stand for LEA of an RVA into a register."""
    head = parts("4883ec28 bb", packed("I", start), "83f901 89c8")
    for each in between:
        head += lea(*each, head) if isinstance(each, tuple) else bytes.fromhex(each)
    cases = parts("bb", packed("I", NX), "89d9 ba00100000 41b854657374 ff15")
    cases += struct.pack("<i", SLOT - CASES - len(cases) - 4) + parts("4883c428 c3")
    return code_of(head, cases, ((TABLE, entries), *more), b"\xcc")


RVAS = packed("I", CASES, SECOND_X86)
OFFSETS = packed("i", CASES - TABLE, SECOND_X86 - TABLE)
POINTERS = packed("Q", BASE_X64 + CASES, BASE_X64 + SECOND_X86)
INDICES = ((BYTES, bytes((1, 0, 1))),)
X64 = {
    "msvc": ([(LEA_RDX, 0), "8b8c8200110000 4801d1 ffe1"], RVAS),
    "msvc with bytes": (
        [(LEA_RDX, 0), "0fb6840a80110000 8b8c8200110000 4801d1 ffe1"],
        RVAS,
    ),
    "msvc, image base kept": ([(LEA_RSI, 0), "90" * 17, "8b8c8600110000 4801f1 ffe1"], RVAS),
    "clang": ([(LEA_RCX, TABLE), "48630481 4801c8 ffe0"], OFFSETS),
    "clang, table kept": ([(LEA_RCX, TABLE), "90" * 17, "48630481 4801c8 ffe0"], OFFSETS),
    "from a label": (
        [(LEA_RCX, TABLE), "48630481", (LEA_RCX, CASES), "4801c8 ffe0"],
        packed("i", 0, SECOND_X86 - CASES),
    ),
    "from a label in the frame": (
        [(LEA_RCX, CASES), "48894c2428", (LEA_RDX, TABLE), "48630482 4803442428 ffe0"],
        packed("i", 0, SECOND_X86 - CASES),
    ),
    "addresses": ([(LEA_RDX, TABLE), "ff24c2"], POINTERS),
    "addresses by a register": ([(LEA_RDX, TABLE), "488b04c2 ffe0"], POINTERS),
}


@pytest.mark.parametrize("shape", X64)
def test_x64(shape):
    for start, fails in ((EXECUTABLE, True), (OTHER_NX, False)):
        code = x64(*X64[shape], start, more=INDICES)
        assert values("x64", code) == ({start, NX}, fails)


# ---- x86


def x86(jump, entries, start=EXECUTABLE, more=()):
    """A driver whose switch ends like this."""
    head = parts("8b442404 53 bb", packed("I", start), "83f801", jump)
    cases = parts("bb", packed("I", NX), "6854657374 6800100000 53 ff15")
    cases += packed("I", BASE_X86 + SLOT) + parts("5b c20800")
    return code_of(head, cases, ((TABLE, entries), *more), b"\xcc")


RELOCATED = 5 + 5 + 5 + 1 + 2
"""Where the address of the import stands in the cases."""
ONE_RELOCATION = struct.pack("<IIHH", ENTRY, 12, 3 << 12 | CASES - ENTRY + RELOCATED, 0)
ADDRESSES = packed("I", BASE_X86 + CASES, BASE_X86 + SECOND_X86)
X86 = {
    "msvc": "ff248500110100",
    "msvc with bytes": "0fb68080110100 ff248500110100",
    "by a register": "8b048500110100 ffe0",
    "index in bytes": "c1e002 ffa000110100",
}


@pytest.mark.parametrize("shape", X86)
def test_x86(shape):
    change = {"pointers": (), "relocations": ONE_RELOCATION}
    for start, fails in ((EXECUTABLE, True), (OTHER_NX, False)):
        code = x86(X86[shape], ADDRESSES, start, INDICES)
        assert values("x86", code, **change) == ({start, NX}, fails)


# ---- ARM64

SECOND_ARM64 = CASES + 4


def words(*items):
    return struct.pack(f"<{len(items)}I", *items)


def adr(register, target, at):
    offset = target - at
    return 0x1000_0000 | register | (offset & 3) << 29 | (offset >> 2 & 0x7FFFF) << 5


def mov_w19(value):
    return 0x5280_0013 | value << 5


def arm64(between, entries, start=EXECUTABLE):
    """A driver whose switch goes on like this; (register, RVA) stands for ADR."""
    head = [0xA9BE7BFD, 0xF9000BF3, mov_w19(start), 0x7100041F]
    for each in between:
        at = ENTRY + 4 * len(head)
        head.append(adr(*each, at) if isinstance(each, tuple) else each)
    call = (0xD2820001, 0x528CAE82, 0xB0000008, 0xF9400108, 0xD63F0100)
    cases = words(mov_w19(NX), 0x2A1303E0, *call, 0xF9400BF3, 0xA8C27BFD, 0xD65F03C0)
    return code_of(words(*head), cases, ((TABLE, entries),), words(0xD4200000))


LSL_2, BR_X8, BR_X9 = 0x8B080948, 0xD61F0100, 0xD61F0120
ARM64 = {
    "words": ([(9, TABLE), 0xB8A05928, (10, CASES), LSL_2, BR_X8], words(0, 1)),
    "halves": ([(9, TABLE), 0x78605928, (10, CASES), 0x8B28A948, BR_X8], packed("h", 0, 1)),
    "bytes from the table": (
        [(9, TABLE), 0x38A04928, 0x8B080928, BR_X8],
        packed("b", (CASES - TABLE) // 4, (SECOND_ARM64 - TABLE) // 4, 0, 0),
    ),
    "bytes": ([(9, TABLE), 0x38604928, (10, CASES), LSL_2, BR_X8], bytes((0, 1, 0xFF, 0xFF))),
    "page and offset": (
        [0x90000009, 0x91040129, 0xB8A05928, (10, CASES), LSL_2, BR_X8],
        words(0, 1),
    ),
    "offsets from the table": (
        [(9, TABLE), 0xB8A0592A, 0x8B0A0129, BR_X9],
        packed("i", CASES - TABLE, SECOND_ARM64 - TABLE),
    ),
    "addresses": (
        [(9, TABLE), 0xF8605928, BR_X8],
        packed("Q", BASE_X64 + CASES, BASE_X64 + SECOND_ARM64),
    ),
}


@pytest.mark.parametrize("shape", ARM64)
def test_arm64(shape):
    for start, fails in ((EXECUTABLE, True), (OTHER_NX, False)):
        assert values("arm64", arm64(*ARM64[shape], start)) == ({start, NX}, fails)


def test_arm64_finds_a_call_whose_import_page_is_made_before_the_switch():
    between = [0xB0000006, (9, TABLE), 0xB8A05928, (10, CASES), LSL_2, BR_X8]
    head = [0xA9BE7BFD, 0xF9000BF3, mov_w19(0), 0x7100041F]
    for each in between:
        head.append(adr(*each, ENTRY + 4 * len(head)) if isinstance(each, tuple) else each)
    first = (0xD2800006, 0x14000006)  # the register is lost, and the call jumped over
    second = (0x52800000, 0xD2820001, 0x528CAE82, 0xF94000C8, 0xD63F0100)
    cases = words(*first, *second, 0xF9400BF3, 0xA8C27BFD, 0xD65F03C0)
    code = code_of(words(*head), cases, ((TABLE, words(0, 2)),), words(0xD4200000))
    assert values("arm64", code) == ({EXECUTABLE}, True)


# ---- tables that are none, or no longer


def labels(machine, code):
    """RVAs that the indirect jumps of the entry lead to."""
    image = PeImage(driver(machine, code=code))
    function = Analysis(image).functions.at(ENTRY)
    return {
        function.rvas[i]
        for i, sources in function.sources.items()
        if any(function.flows[p] == Flow.INDIRECT_JUMP for p in sources)
    }


def test_a_table_ends_where_an_entry_leads_nowhere():
    between, _ = X64["msvc"]
    assert labels("x64", x64(between, RVAS + packed("I", 0, CASES))) == {CASES, SECOND_X86}


def test_a_part_of_the_function_elsewhere_does_not_end_a_table():
    between, _ = X64["msvc"]
    entries = packed("I", CASES, INIT, SECOND_X86)
    assert labels("x64", x64(between, entries)) == {CASES, SECOND_X86}


def test_a_table_ends_before_the_next_of_the_function():
    again = [(LEA_RCX, TABLE + 8), "48630481 4801c8 ffe0"]
    entries = OFFSETS + packed("i", SECOND_X86 - TABLE - 8, SECOND_X86 - TABLE - 8)
    code = x64([*X64["clang"][0], *again], entries)
    image = PeImage(driver("x64", code=code))
    function = Analysis(image).functions.at(ENTRY)
    first, second = function.indirect_jumps[:2]
    assert function.sources[function.find(CASES)] == [first]
    assert function.sources[function.find(SECOND_X86)] == [first, second]


@pytest.mark.parametrize(
    "between", ["ffe0", "ff2530100000", "488b00 ffe0", "ff6010", "ff2550100000"]
)
def test_a_tail_call_has_no_table(between):
    assert labels("x64", x64([between], RVAS)) == set()


DAMAGED = (b"", b"\xff" * 64, b"\0" * 64, packed("I", *[0x7FFFFFFF] * 16), b"\x41" * 64)


@pytest.mark.parametrize("entries", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_table_has_few_labels(entries):
    for between, _ in X64.values():
        assert len(labels("x64", x64(between, entries))) <= 2
    for jump in X86.values():
        assert not labels("x86", x86(jump, entries))
    for between, _ in ARM64.values():
        assert len(labels("arm64", arm64(between, entries))) <= 3


@pytest.mark.parametrize("at", [0, 1, 0xFFFF_FFF0, 0x7FFF_FFFF, 0x10_0000])
def test_a_table_outside_the_image_is_harmless(at):
    jump = "ff2485" + struct.pack("<I", at).hex()
    assert not labels("x86", x86(jump, ADDRESSES))
    load = "8b8c82" + struct.pack("<I", at).hex() + "4801d1 ffe1"
    assert not labels("x64", x64([(LEA_RDX, 0), load], RVAS))


@pytest.mark.parametrize("count", [200, 9000])
def test_all_tables_of_an_image_together_are_bounded(count):
    jumps = bytes.fromhex("ff248500110100") * count
    start = TABLE + 4 * 9000
    table = packed("I", *range(BASE_X86 + start, BASE_X86 + start + 7 * 9000, 7))
    image = SimpleNamespace(
        bits=32,
        base=BASE_X86,
        memory=bytearray(TABLE) + table + jumps,
        size=start + len(jumps),
        is_code=lambda rva: True,
    )
    with Clock() as clock:
        architecture = x86_code.X86(image)
        for _ in range(20):
            architecture.function(start, [(start, image.size)], "start")
    assert clock.seconds < 5
