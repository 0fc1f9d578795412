"""Keyboard layouts are tables in executable sections: read by the kernel, never run."""

import struct

import pytest

from build import driver
from hvci.binary.pe.image import PeImage
from hvci.evaluate import evaluate
from hvci.model import Answer, Question, Verdict

EXECUTABLE = 0x60000040
STORES = bytes.fromhex("0005faffffffc3").ljust(16, b"\xcc")
"""As an export adds to its own code, which breaks; as tables they are numbers."""
ENTRY, CHARACTERISTICS = 0x28, 0x16


def layout(*names, entry=0, dll=0x2000, imports=None):
    """An image with one section that can be executed and the exports of these names."""
    size = 40 + 10 * len(names) + sum(len(name) + 1 for name in names)
    code = -(-size // 16) * 16

    def built(rva):
        functions, listed = rva + 40, rva + 40 + 4 * len(names)
        ordinals, text = listed + 4 * len(names), listed + 6 * len(names)
        out = struct.pack("<12xIIIIIII", rva, 1, *[len(names)] * 2, functions, listed, ordinals)
        out += struct.pack(f"<{len(names)}I", *(rva + code + 16 * n for n in range(len(names))))
        for name in names:
            out += struct.pack("<I", text)
            text += len(name) + 1
        out += struct.pack(f"<{len(names)}H", *range(len(names)))
        out += b"".join(name.encode() + b"\0" for name in names)
        return out.ljust(code, b"\0") + STORES * max(len(names), 1)

    more = {"imports": imports or {}, "code": b"", "sections": ((".tables", EXECUTABLE),)}
    draft = PeImage(driver(content=built(0), **more))
    rva = next(one.rva for one in draft.headers.sections if one.name == ".tables")
    data = bytearray(driver(content=built(rva), directories={"export": (rva, size)}, **more))
    start = int.from_bytes(data[0x3C:0x40], "little")
    struct.pack_into("<I", data, start + ENTRY, entry)
    before = int.from_bytes(data[start + CHARACTERISTICS :][:2], "little")
    struct.pack_into("<H", data, start + CHARACTERISTICS, before & ~0x2000 | dll)
    return bytes(data)


@pytest.mark.parametrize(
    "names", [("KbdLayerDescriptor",), ("KbdLayerDescriptor", "KbdNlsLayerDescriptor")]
)
def test_tables_are_not_taken_for_code(names):
    report = evaluate(layout(*names))
    assert report.verdict is Verdict.COMPATIBLE
    assert report.answers[Question.RUNS] is Answer.YES


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("KbdLayerDescriptor", "Other")},
        {"names": ("Other",)},
        {"entry": 0x1000},
        {"dll": 0},
        {"imports": {"ntoskrnl.exe": ("ExAllocatePoolWithTag",)}},
    ],
)
def test_what_could_run_is_looked_at(change):
    names = change.pop("names", ("KbdLayerDescriptor",))
    assert evaluate(layout(*names, **change)).answers[Question.RUNS] is not Answer.YES


def test_its_sections_are_judged_as_any_other():
    data = layout("KbdLayerDescriptor")
    writable = data.replace(struct.pack("<I", EXECUTABLE), struct.pack("<I", EXECUTABLE | 1 << 31))
    assert evaluate(writable).verdict is Verdict.INCOMPATIBLE
