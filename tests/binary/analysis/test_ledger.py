"""Nothing unaccounted for: a use of an import that no finder signs for is a limit."""

import struct
from pathlib import Path

import pytest

import build
from here import FIXTURES
from hvci import catalog, evaluate
from hvci.binary.analysis.ledger import Fate, Ledger, Reference
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.pe.image import PeImage

BUILT = FIXTURES / "built"
NAME = "ExAllocatePoolWithTag"
X, Y = Reference(0x10, 0x3000, "x"), Reference(0x20, 0x3008, "y")

# ---- the ledger


def test_a_reference_that_nobody_signed_for_is_open():
    ledger = Ledger()
    ledger.sign(X, Fate.FOLLOWED)
    assert [*ledger.open((X, Y))] == [Y]


def test_a_call_that_is_not_listed_is_open():
    ledger = Ledger()
    ledger.call(X, 0x12)
    assert [*ledger.open((X,), listed={0x12})] == []
    assert [*ledger.open((X,), listed={0x14})] == [X]


def test_each_of_several_calls_must_be_listed():
    ledger = Ledger()
    ledger.call(X, 0x10)
    ledger.call(X, 0x18)
    assert [*ledger.open([X], {0x10})] == [X]
    assert [*ledger.open([X], {0x10, 0x18})] == []


def test_a_limit_outweighs_a_call():
    ledger = Ledger()
    ledger.sign(X, Fate.LIMIT)
    ledger.call(X, 0x12)
    assert ledger.fate(X) is Fate.LIMIT


def test_bytes_of_something_else_are_no_use():
    ledger = Ledger()
    ledger.sign(X, Fate.NOTHING)
    assert not ledger.is_used((X, Y))
    assert [*ledger.open((X,))] == []


# ---- a finder that is taken away

FINDERS = ("_through_thunk", "_plainly", "_directly", "_loaded", "_otherwise", "_addressed")
DRIVERS = (
    "calls_bad.{}.o0",
    "calls_bad.{}.o2",
    "calls_bad.{}.os",
    "byname_bad.{}.o2",
    "msvc_bad.{}.asm",
)
LOSES = {
    "x64": {"_directly", "_loaded", "_through_thunk"},
    "x86": {"_directly", "_loaded", "_through_thunk"},
    "arm64": {"_loaded"},
}
"""The finders without which calls are lost; the others see what one of these sees as well."""


def _images(machine: str) -> list[Path]:
    names = [name.format(machine) for name in DRIVERS]
    names += ["calls_bad.x64.o2thunk"] if machine == "x64" else []
    return [BUILT / f"{name}.sys" for name in names]


def _without(monkeypatch: pytest.MonkeyPatch, finder: str) -> None:
    monkeypatch.setattr(ImportCalls, finder, lambda self, used, *place: None)


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_what_a_missing_finder_loses_is_a_limit(machine, finder, monkeypatch):
    before = [evaluate.evaluate(path) for path in _images(machine)]
    if finder == "_loaded":  # a plain load is seen by two
        _without(monkeypatch, "_plainly")
    _without(monkeypatch, finder)
    after = [evaluate.evaluate(path) for path in _images(machine)]
    lost_any = False
    for old, new in zip(before, after, strict=True):
        kept = {(each.call.ddi, each.call.site.rva) for each in new.calls}
        lost = {
            each.call.ddi
            for each in old.calls
            if (each.call.ddi, each.call.site.rva) not in kept
            and each.call.via in ("iat", "tail", "thunk", "register")
            and catalog.ddis()[each.call.ddi].rule.judged_by
        }
        told = " ".join(limit.reason for limit in new.limits)
        assert all(name in told for name in lost), lost
        lost_any |= bool(lost)
    assert lost_any or finder not in LOSES[machine]


def test_a_call_that_is_found_and_not_listed_is_a_limit(monkeypatch):
    monkeypatch.setattr("hvci.binary.calls.callsites.CallSites.add", lambda *args, **more: None)
    report = evaluate.evaluate(build.driver())
    assert [limit.reason for limit in report.limits] == [f"a use of {NAME} that is not followed"]


# ---- references of every kind


def _place(machine: str) -> tuple[int, int, int, int]:
    """RVAs of the entry, the slot, the slot behind it, and of `.data`."""
    image = PeImage(build.driver(machine))
    data = next(section for section in image.headers.sections if section.name == ".data")
    (slot,), (behind,) = image.import_slots[NAME], image.import_slots["ExFreePoolWithTag"]
    return int(image.headers.entry), slot, behind, int(data.rva)


def _x64(*parts: str | int) -> bytes:
    """A driver whose entry is hexadecimal text and displacements that lead to RVAs."""
    entry = _place("x64")[0]
    code = b""
    for n, part in enumerate(parts):
        if isinstance(part, str):
            code += bytes.fromhex(part.lstrip("+"))
            continue
        more = 1 if n + 1 < len(parts) and str(parts[n + 1]).startswith("+") else 0
        code += struct.pack("<i", part - (entry + len(code) + 4 + more))
    return build.driver("x64", code=code + b"\xc3")


def _x86(*parts: str | int) -> bytes:
    """The same with relocated addresses."""
    entry = _place("x86")[0]
    base, code, places = PeImage(build.driver("x86")).base, b"", []
    for part in parts:
        places += [] if isinstance(part, str) else [0x3000 | (entry + len(code)) & 0xFFF]
        code += bytes.fromhex(part) if isinstance(part, str) else struct.pack("<I", base + part)
    places += [0] * (len(places) % 2)
    block = struct.pack(f"<II{len(places)}H", entry & ~0xFFF, 8 + 2 * len(places), *places)
    return build.driver("x86", code=code + b"\xc3", relocations=block)


def _arm64(*words: int | tuple[int, int]) -> bytes:
    """A driver whose entry is words; a pair is an ADRP's register and the RVA that it leads to."""
    entry, made = _place("arm64")[0], []
    for word in words:
        if isinstance(word, tuple):
            pages = (word[1] >> 12) - ((entry + 4 * len(made)) >> 12)
            made.append(0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5 | word[0])
        else:
            made.append(word)
    return build.driver("arm64", code=struct.pack(f"<{len(made) + 1}I", *made, 0xD65F_03C0))


def _low(rva: int, bits: int = 0) -> int:
    """The offset of an RVA in its page, as it stands in a word."""
    return (rva & 0xFFF) >> bits << 10


def _reasons(data: bytes) -> str:
    report = evaluate.evaluate(data)
    assert not report.calls
    return "; ".join(limit.reason for limit in report.limits)


_, SLOT, BEHIND, DATA = _place("x64")
_, SLOT_32, BEHIND_32, DATA_32 = _place("x86")
_, SLOT_A, BEHIND_A, DATA_A = _place("arm64")

KINDS = {
    "x64 lea": lambda: _x64("488d0d", SLOT, "488b01 ffd0"),
    "x64 lea of the table": lambda: _x64("488d35", SLOT, "488d3d", DATA, "b910000000 f348a5"),
    "x64 stored": lambda: _x64("488b05", SLOT, "488905", DATA),
    "x64 passed": lambda: _x64("488b0d", SLOT, "ff15", BEHIND),
    "x64 vector": lambda: _x64("0f1005", SLOT, "0f1105", DATA),
    "x64 vector that covers it": lambda: _x64("0f1005", SLOT - 8, "0f1105", DATA),
    "x64 wide vector": lambda: _x64("c5fe6f05", SLOT - 24, "c5fe7f05", DATA),
    "x64 vector and a constant": lambda: _x64("660f7005", SLOT, "+44", "0f1105", DATA),
    "x64 push": lambda: _x64("ff35", SLOT, "58 488905", DATA),
    "x64 exchange": lambda: _x64("31c0 480fb105", SLOT, "488905", DATA),
    "x86 immediate": lambda: _x86("68", SLOT_32, "ff15", BEHIND_32),
    "x86 copied": lambda: _x86("be", SLOT_32, "bf", DATA_32, "b910000000 f3a5"),
    "x86 stored": lambda: _x86("a1", SLOT_32, "a3", DATA_32, "ff35", DATA_32),
    "x86 vector": lambda: _x86("0f1005", SLOT_32 - 4, "0f1105", DATA_32),
    "x86 store of its address": lambda: _x86("c705", DATA_32, "", SLOT_32),
    "arm64 address passed": lambda: _arm64(
        (0, SLOT_A),
        0x9100_0000 | _low(SLOT_A),
        (9, BEHIND_A),
        0xF940_0129 | _low(BEHIND_A, 3),
        0xD63F_0120,
    ),
    "arm64 address stored": lambda: _arm64(
        (8, SLOT_A), 0x9100_0108 | _low(SLOT_A), (9, DATA_A), 0xF900_0128 | _low(DATA_A, 3)
    ),
    "arm64 address with an index": lambda: _arm64(
        (8, SLOT_A), 0x9100_0108 | _low(SLOT_A), 0xF860_6909, 0xD63F_0120
    ),
    "arm64 vector": lambda: _arm64(
        (8, SLOT_A), 0x3DC0_0100 | _low(SLOT_A, 4), (9, DATA_A), 0x3D80_0120 | _low(DATA_A, 4)
    ),
    "arm64 stored": lambda: _arm64(
        (8, SLOT_A), 0xF940_0108 | _low(SLOT_A, 3), (9, DATA_A), 0xF900_0128 | _low(DATA_A, 3)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_reference_is_a_limit(kind):
    assert NAME in _reasons(KINDS[kind]())


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_an_import_without_use_is_a_limit(machine):
    code = {"x64": "33c0 c3", "x86": "33c0 c20800", "arm64": "00008052 c0035fd6"}[machine]
    data = build.driver(machine, code=bytes.fromhex(code))
    assert _reasons(data) == f"{NAME} is imported, and no use of it was found"


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_pointer_to_a_slot_in_data_is_a_limit(machine):
    data = bytearray(build.driver(machine))
    image = PeImage(bytes(data))
    (slot,) = image.import_slots[NAME]
    section = next(each for each in image.headers.sections if each.name == ".data")
    pointer = image.base + slot
    size = image.pointer_size
    data[section.raw_offset : section.raw_offset + size] = pointer.to_bytes(size, "little")
    told = [limit.reason for limit in evaluate.evaluate(bytes(data)).limits]
    assert told == [
        f"a pointer to its slot is kept in data; calls of {NAME} by it are not followed"
    ]


def test_bytes_inside_another_instruction_are_no_reference():
    entry = _place("x64")[0]
    lie = struct.pack("<i", SLOT - (entry + 4 + 6))
    call = "b900020000 ba00100000 41b854455354 ff15"
    report = evaluate.evaluate(_x64("48b9 8b05" + lie.hex() + "0000", call, SLOT))
    assert not report.limits
    assert len(report.calls) == 1


def test_an_address_that_is_only_read_through_is_no_limit():
    words = [(20, SLOT_A), 0x9100_0294 | _low(SLOT_A), 0xF940_0288, 0xD63F_0100]
    report = evaluate.evaluate(_arm64(*words))
    assert not report.limits
    assert len(report.calls) == 1


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_clean_driver_has_no_limit(machine):
    assert not evaluate.evaluate(build.driver(machine)).limits


@pytest.mark.parametrize(
    "shape", ["guard_dispatch", "guard_kept", "guard_addressed", "guard_thunk", "retpoline"]
)
def test_a_dispatched_call_that_nobody_finds_is_a_limit(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImportCalls, "_add_kept", lambda *_, **__: False)
    report = evaluate.evaluate((FIXTURES / "code" / f"{shape}.x64.clean.sys").read_bytes())
    assert [each.site.rva for each in report.limits if "execute-pool-type" in each.rules]
