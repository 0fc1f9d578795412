"""Code written to keep an analysis busy is answered in bounded time, and never by silence."""

import struct
from pathlib import Path

import pytest

import build
from clock import Clock
from hvci.binary import TOO_DEEP, PeImage
from hvci.binary.analysis import wiring as analysis
from hvci.binary.arch.arm64.scan import references as references_arm64
from hvci.binary.arch.x86 import references as references_x86
from hvci.binary.calls import byname
from hvci.binary.calls.callsites import CallSites
from hvci.binary.flow import dataflow, reaching, written
from hvci.binary.form import functions, references
from hvci.evaluate import evaluate
from hvci.model import Via

BUILT = Path(__file__).parents[1] / "fixtures" / "built"
SECONDS = 20.0
"""What any of these took before the work budget counted it was minutes; now 1 to 6 s."""
SIZE = 0x8_0000
"""Bytes of code."""
FUNCTION = 0x1_0000
"""Bytes that the exception data gives each function: the most that is decoded of one."""
TEXT = 0x1000
IMPORTS = {
    "ntoskrnl.exe": ("ExAllocatePoolWithTag", "MmGetSystemRoutineAddress", "ExFreePoolWithTag")
}

SLOT, GLOBAL, CODE = "slot", "global", "code"
X64 = {
    "a jump that may go to every label": [
        b"\xff\xe0",  # jmp rax
        (b"\xff\x15", SLOT),  # call [slot]
        (b"\x48\x89\x05", GLOBAL),  # mov [global], rax
        (b"\xff\x15", SLOT),
        b"\xff\xe1",
        b"\x8b\x0c\x82",  # mov ecx, [rdx+rax*4]
    ],
    "table jumps that never end": [
        (b"\x48\x8d\x0d", CODE),  # lea rcx, [code]
        b"\x8b\x04\x81",  # mov eax, [rcx+rax*4]
        b"\x48\x03\xc1",  # add rax, rcx
        b"\xff\xe0",
        (b"\xff\x15", SLOT),
    ],
    "a pointer in many globals": [
        (b"\x48\x8b\x05", SLOT),  # mov rax, [slot]
        (b"\x48\x89\x05", GLOBAL),
        b"\xff\xe0",
        b"\x48\x8b\x00",  # mov rax, [rax]
        b"\xc3",
    ],
    "writes to a control register": [b"\x0f\x22\xc0"],
}
X86 = {
    "a jump that may go to every label": [
        b"\xff\xe0",
        (b"\xff\x15", SLOT),
        (b"\x89\x05", GLOBAL),
        (b"\xff\x15", SLOT),
        b"\xff\xe1",
        b"\x50",  # push eax
    ],
    "one long block of stores": [
        (b"\x8b\x05", SLOT),
        b"\x89\x45\xf8",  # mov [ebp-8], eax
        b"\x89\x06",  # mov [esi], eax
    ],
    "pushes and stores to globals": [(b"\xff\x35", SLOT), (b"\x89\x15", GLOBAL)],
}
ARM64 = {
    "table jumps that never end": [
        0x8B010000,  # add x0, x0, x1
        0xD61F0000,  # br x0
        (0xF9400008, SLOT),
        0xD63F0100,
    ],
    "a jump that may go to every label": [
        (0xF9400008, SLOT),  # adrp x8; ldr x8, [x8]
        0xD61F0020,  # br x1
        (0xF9000008, GLOBAL),
        0xD63F0100,  # blr x8
        0xB8617802,  # ldr w2, [x0, x1, lsl #2]
    ],
    "writes to a control register": [0xD5181000, 0x14000001],  # msr sctlr_el1, x0; b next
}
CASES = [
    *((machine, name) for machine, each in (("x64", X64), ("x86", X86)) for name in each),
    *(("arm64", name) for name in ARM64),
]


def filled(machine, pattern):
    """A driver whose code is one pattern over and over, with exception data where there is any."""
    first = PeImage(build.driver(machine, code=b"\xcc" * (SIZE + 0x1000), imports=IMPORTS))
    places = {
        SLOT: next(rva for rva, item in first.imports.items() if "Allocate" in item.name),
        GLOBAL: next(section.rva for section in first.sections if section.name == ".data") + 0x40,
        CODE: TEXT,
    }
    assert first.headers.entry == TEXT
    code, relocated = bytearray(), []
    while len(code) < SIZE:
        for part in pattern:
            at = TEXT + len(code)
            if machine == "arm64":
                code += _words(at, part, places)
            elif isinstance(part, bytes):
                code += part
            elif machine == "x64":
                opcode, target = part
                code += opcode + struct.pack("<i", places[target] - at - len(opcode) - 4)
            else:
                opcode, target = part
                relocated.append(at + len(opcode))
                code += opcode + struct.pack("<I", first.base + places[target])
    code = code[:SIZE]
    table = b""
    info = TEXT + SIZE
    if machine != "x86":
        for start in range(TEXT, TEXT + SIZE, FUNCTION):
            extent = FUNCTION if machine == "x64" else FUNCTION // 4 << 2 | 1
            table += struct.pack("<2I", start, start + extent if machine == "x64" else extent)
            table += struct.pack("<I", info) if machine == "x64" else b""
    code += build.UNWIND.ljust(16, b"\0") + table
    relocations = _relocations(relocated) if machine == "x86" else None
    return build.driver(
        machine,
        code=bytes(code.ljust(SIZE + 0x1000, b"\xcc")),
        imports=IMPORTS,
        relocations=relocations,
        directories={"exception": (info + 16, len(table))} if table else None,
    )


def _words(at, part, places):
    """One word, or ADRP and a load or store through it."""
    if isinstance(part, int):
        return struct.pack("<I", part)
    word, target = part
    page = (places[target] >> 12) - (at >> 12)
    adrp = 0x9000_0008 | (page & 3) << 29 | (page >> 2 & 0x7FFFF) << 5
    return struct.pack("<II", adrp, word | (places[target] & 0xFFF) >> 3 << 10 | 8 << 5)


def _relocations(rvas):
    blocks, pages = b"", {}
    for rva in rvas:
        pages.setdefault(rva & ~0xFFF, []).append(build.HIGHLOW << 12 | rva & 0xFFF)
    for page, words in pages.items():
        words += [0] * (len(words) % 2)
        blocks += struct.pack(f"<II{len(words)}H", page, 8 + 2 * len(words), *words)
    return blocks


@pytest.mark.parametrize(("machine", "name"), CASES)
def test_it_ends_and_says_what_was_not_examined(machine, name):
    pattern = {"x64": X64, "x86": X86, "arm64": ARM64}[machine][name]
    data = filled(machine, pattern)
    with Clock() as clock:
        report = evaluate(data)
    assert clock.seconds < SECONDS
    assert report.verdict != "compatible"


def limits_of(name, machine="x64"):
    report = evaluate(BUILT / f"{name}.{machine}.o2.sys")
    return report, [limit.reason for limit in report.limits]


def incomplete(report):
    return [
        call for call in report.calls if any(not v.complete for v in call.call.arguments.values())
    ]


def test_a_variable_named_too_often_is_unknown(monkeypatch):
    before, _ = limits_of("calls_clean")
    monkeypatch.setattr(written, "MAX_REFERENCES", 0)
    after, _ = limits_of("calls_clean")
    assert len(incomplete(after)) > len(incomplete(before))
    assert after.verdict != "compatible"


def test_look_ups_that_are_not_read_are_said(monkeypatch):
    monkeypatch.setattr(byname, "MAX_CALLS", 0)
    _, reasons = limits_of("byname_clean")
    assert any("too many look-ups" in reason for reason in reasons)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_spent_budget_is_said(monkeypatch, machine):
    monkeypatch.setattr(dataflow, "FILE_STEPS", -(1 << 30))
    report, reasons = limits_of("calls_clean", machine)
    assert report.verdict != "compatible"
    assert any("the work budget was spent before all calls" in reason for reason in reasons)
    assert any("the work budget was spent before all code" in reason for reason in reasons)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_questions_spend_the_budget_however_short_they_are(monkeypatch, machine):
    monkeypatch.setattr(dataflow, "QUESTION_COST", 1 << 30)
    report, reasons = limits_of("calls_clean", machine)
    assert report.verdict != "compatible"
    assert any("the work budget was spent before all calls" in reason for reason in reasons)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_nothing_plain_is_lost_with_the_budget(monkeypatch, machine):
    before, _ = limits_of("calls_bad", machine)
    monkeypatch.setattr(dataflow, "FILE_STEPS", -(1 << 30))
    after, _ = limits_of("calls_bad", machine)
    direct = {
        (c.call.site.rva, c.call.ddi) for c in before.calls if c.call.via in (Via.IAT, Via.THUNK)
    }
    assert direct <= {(c.call.site.rva, c.call.ddi) for c in after.calls}


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_decoding_far_more_than_there_is_spends_the_budget(monkeypatch, machine):
    monkeypatch.setattr(functions, "MAX_DECODED", -(1 << 30))
    report, reasons = limits_of("calls_clean", machine)
    assert report.verdict != "compatible"
    assert any("the work budget was spent" in reason for reason in reasons)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_more_uses_of_imports_than_are_looked_at_spend_the_budget(monkeypatch, machine):
    for module in (references, analysis, references_x86, references_arm64):
        monkeypatch.setattr(module, "MAX_HITS", 5)
    report, reasons = limits_of("calls_clean", machine)
    assert len(report.calls) <= 5
    assert report.verdict != "compatible"
    assert any("the work budget was spent before all calls" in reason for reason in reasons)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_question_that_nests_too_deep_is_doubted_not_answered(monkeypatch, machine):
    """Where a call goes was once asked through any number of other calls."""
    before, _ = limits_of("calls_bad", machine)
    monkeypatch.setattr(reaching, "MOST_OWN_CALLS", 0)
    after, _ = limits_of("calls_bad", machine)
    assert after.verdict == before.verdict
    assert len(incomplete(after)) >= len(incomplete(before))


def test_code_that_nests_deeper_than_python_is_a_limit(monkeypatch):
    def deep(self):
        raise RecursionError

    monkeypatch.setattr(CallSites, "find", deep)
    report, reasons = limits_of("calls_clean")
    assert TOO_DEEP in reasons
    assert report.verdict == "undecided"
