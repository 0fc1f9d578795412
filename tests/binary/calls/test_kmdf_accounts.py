"""What becomes of the KMDF function table: a use leads to calls that are found, or is a limit."""

import struct

import pytest

import build
from here import FIXTURES
from hvci import evaluate
from hvci.binary.calls.framework import table as kmdf
from hvci.binary.calls.indirect import PointerCalls
from hvci.binary.pe.image import PeImage
from hvci.model import Executable

BUILT = FIXTURES / "built"
IMPORTS = {"ntoskrnl.exe": ("DbgPrint",), "wdfldr.sys": ("WdfVersionBind",)}
BIND, NAME, TABLE, OTHER = 0x40, 0x100, 0x200, 0x300
"""Where things lie in `.data`: bind information, its name, the pointer to the table, a variable."""
FUNCTIONS, MEMORY_CREATE, HARMLESS = 453, 192, 201
UNFOLLOWED = "a use of the KMDF function table that is not followed"
NO_CALL = "the image binds to KMDF, and no call of the framework was found"


def _driver(machine: str, code: bytes, relocated: list[int]) -> bytes:
    """A driver that binds to KMDF 1.33; `relocated` are offsets of addresses in the code."""
    step = 4 if machine == "x86" else 8
    fields = BIND + step, BIND + 2 * step + 16
    empty = build.driver(machine, code=code, imports=IMPORTS, pointers=(*fields, 0x800))
    image = PeImage(empty)
    data = next(section for section in image.headers.sections if section.name == ".data")
    rvas = [data.rva + field for field in fields]
    kind = 3 if machine == "x86" else 10
    blocks = b""
    for page, places in ((data.rva, rvas), (image.headers.entry, relocated)):
        words = [kind << 12 | place & 0xFFF for place in places]
        words += [0] * (len(words) % 2)
        if words:
            size = 8 + 2 * len(words)
            blocks += struct.pack(f"<II{len(words)}H", page & ~0xFFF, size, *words)
    made = bytearray(
        build.driver(
            machine, code=code, imports=IMPORTS, pointers=(*fields, 0x800), relocations=blocks
        )
    )
    name = "KmdfLibrary\0".encode("utf-16-le")
    pointer = "<I" if machine == "x86" else "<Q"
    at = data.raw_offset
    made[at + NAME : at + NAME + len(name)] = name
    struct.pack_into(pointer, made, at + fields[0], image.base + data.rva + NAME)
    struct.pack_into("<4I", made, at + BIND + 2 * step, 1, 33, 0, FUNCTIONS)
    struct.pack_into(pointer, made, at + fields[1], image.base + data.rva + TABLE)
    return bytes(made)


def _places(machine: str) -> dict[str, int]:
    """RVAs of what code names, and of the entry."""
    code = bytes(0x180)
    image = PeImage(build.driver(machine, code=code, imports=IMPORTS, pointers=(0x800,)))
    data = next(section for section in image.headers.sections if section.name == ".data")
    (print_,) = image.import_slots["DbgPrint"]
    return {
        "entry": int(image.headers.entry),
        "base": image.base,
        "table": data.rva + TABLE,
        "other": data.rva + OTHER,
        "print": print_,
    }


def _x64(*parts: str) -> bytes:
    """Hexadecimal text, and names of `_places` that displacements lead to."""
    places, code = _places("x64"), b""
    for part in parts:
        if part in places:
            code += struct.pack("<i", places[part] - (places["entry"] + len(code) + 4))
        else:
            code += bytes.fromhex(part)
    return _driver("x64", code, [])


def _x86(*parts: str) -> bytes:
    places, code, relocated = _places("x86"), b"", []
    for part in parts:
        if part in places:
            relocated.append(places["entry"] + len(code))
            code += struct.pack("<I", places["base"] + places[part])
        else:
            code += bytes.fromhex(part)
    return _driver("x86", code, relocated)


def _arm64(*words: int | tuple[int, str]) -> bytes:
    """Words, and (register, name) for an ADRP with the ADD of the offset behind it."""
    places, made = _places("arm64"), []
    for word in words:
        if isinstance(word, int):
            made.append(word)
            continue
        register, rva = word[0], places[word[1]]
        pages = (rva >> 12) - ((places["entry"] + 4 * len(made)) >> 12)
        made.append(0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5 | register)
        made.append(0x9100_0000 | (rva & 0xFFF) << 10 | register << 5 | register)
    return _driver("arm64", struct.pack(f"<{len(made)}I", *made), [])


OPEN, CLOSE = "4883ec48 33d2 4533c0 41b941414141", "4883c448 c3"
LOAD = "488b05", "table"
"""`mov rax, [table]`."""
OPEN_32, CLOSE_32 = "6a00 6a00 6a10 6841414141 6a00 6a00 6a00", "c20800"
FRAME, ARGUMENTS, RETURN = 0xA9BF_7BFD, (0x5280_0002, 0x5280_0003), (0xA8C1_7BFD, 0xD65F_03C0)
TABLE_IN_X8 = (8, "table"), 0xF940_0108
FOLLOWED = {
    "x64 plain": lambda: _x64(OPEN, *LOAD, "488b8000060000 ffd0", CLOSE),
    "x64 added": lambda: _x64(OPEN, *LOAD, "480500060000 488b00 ffd0", CLOSE),
    "x64 added and called": lambda: _x64(OPEN, *LOAD, "480500060000 ff10", CLOSE),
    "x64 lea": lambda: _x64(OPEN, *LOAD, "488d8800060000 ff11", CLOSE),
    "x64 added to another": lambda: _x64(OPEN, *LOAD, "b900060000 4803c8 ff11", CLOSE),
    "x64 in the frame": lambda: _x64(
        OPEN, *LOAD, "4889442430 488b4c2430 488b8100060000 4889442438 488b442438 ffd0", CLOSE
    ),
    "x64 through a routine": lambda: _x64(
        OPEN,
        *LOAD,
        "488bc8 e81b000000 33d2 488b8000060000 4533c0 ffd0",
        CLOSE,
        "90" * 11,
        "488bc1 c3",
    ),
    "x86 added": lambda: _x86(OPEN_32, "a1", "table", "0500030000 8b00 ffd0", CLOSE_32),
    "x86 lea": lambda: _x86(OPEN_32, "a1", "table", "8d8800030000 ff11", CLOSE_32),
    "arm64 added": lambda: _arm64(
        FRAME, *ARGUMENTS, *TABLE_IN_X8, 0x9118_0108, 0xF940_0108, 0xD63F_0100, *RETURN
    ),
    "arm64 added to another": lambda: _arm64(
        FRAME, *ARGUMENTS, *TABLE_IN_X8, 0xD280_C009, 0x8B08_0129, 0xF940_0129, 0xD63F_0120, *RETURN
    ),
    "arm64 with an index": lambda: _arm64(
        FRAME, *ARGUMENTS, *TABLE_IN_X8, 0xD280_C009, 0xF869_6909, 0xD63F_0120, *RETURN
    ),
}
CALL = OPEN, *LOAD, "488b8000060000 41b800020000 ffd0"
UNSEEN = {
    "x64 kept in a variable": lambda: _x64(*CALL, *LOAD, "488905", "other", CLOSE),
    "x64 passed": lambda: _x64(*CALL, "488b0d", "table", "ff15", "print", CLOSE),
    "x64 returned": lambda: _x64(*CALL, *LOAD, CLOSE),
    "x64 an entry kept": lambda: _x64(*CALL, *LOAD, "488b8000060000 488905", "other", CLOSE),
    "x64 an unknown entry": lambda: _x64(*CALL, *LOAD, "488b04c8 ffd0", CLOSE),
    "x64 the address of the pointer": lambda: _x64(
        *CALL, "488d0d", "table", "ff15", "print", CLOSE
    ),
}
HARMLESS_USES = {
    "x64 compared": lambda: _x64(*CALL, *LOAD, "4885c0 33c0", CLOSE),
    "x64 compared in memory": lambda: _x64(*CALL, "48833d", "table", CLOSE),
    "x64 an entry that asks for nothing": lambda: _x64(
        *CALL, *LOAD, "488b8048060000 488905", "other", "33c0", CLOSE
    ),
}


def _limits(report) -> list[str]:
    return [limit.reason for limit in report.limits if "WdfVersionBind" not in limit.reason]


@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_call_by_an_address_in_the_table_is_found(kind):
    report = evaluate.evaluate(FOLLOWED[kind]())
    found = [(each.call.ddi, each.executable) for each in report.calls]
    told = _limits(report)
    assert found == [("WdfMemoryCreate", Executable.YES)] or UNFOLLOWED in told, told
    assert found
    assert not told


@pytest.mark.parametrize("kind", UNSEEN)
def test_a_use_that_is_not_followed_is_a_limit(kind):
    report = evaluate.evaluate(UNSEEN[kind]())
    assert UNFOLLOWED in _limits(report)


@pytest.mark.parametrize("kind", HARMLESS_USES)
def test_a_use_that_calls_nothing_is_no_limit(kind):
    report = evaluate.evaluate(HARMLESS_USES[kind]())
    assert [each.executable for each in report.calls] == [Executable.NO]
    assert not _limits(report)


def test_a_table_that_is_bound_and_never_called_is_a_limit():
    assert NO_CALL in _limits(evaluate.evaluate(_x64("33c0 c3")))


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
@pytest.mark.parametrize("version", ["v15_o2", "v15_o0", "v13_o2"])
def test_without_its_finders_the_table_is_a_limit(machine, version, monkeypatch):
    monkeypatch.setattr(kmdf, "_use", lambda *place: None)
    monkeypatch.setattr(PointerCalls, "within", lambda *asked: iter(()))
    monkeypatch.setattr("hvci.binary.calls.framework.words.plain_call", lambda *asked: None)
    path = BUILT / f"kmdf_bad.{machine}.{version}.sys"
    if not path.exists():
        pytest.skip("not built")
    report = evaluate.evaluate(path)
    assert not any(each.call.via == "kmdf" for each in report.calls)
    assert {UNFOLLOWED, NO_CALL} <= set(_limits(report))
