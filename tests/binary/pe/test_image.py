"""Our PE reader against two others, on built drivers and on every fixture."""

import struct
from pathlib import Path

import lief
import pefile
import pytest

import build
from here import FIXTURES
from hvci.binary import PeImage
from hvci.model import Machine

FIXTURES = sorted((FIXTURES / "built").glob("*.sys"))
CHANGES = {
    "clean": {},
    "iat_in_text": {"iat_in_text": True},
    "low_alignment": {"section_alignment": 0x80},
    "straddling": {"pointers": (0, 0xFFC)},
    "hook": {"sections": ((".hook", 0xE000_0020),)},
    "many_imports": {"imports": {"ntoskrnl.exe": tuple(f"Function{i}" for i in range(500))}},
    "signed": {"signature": struct.pack("<IHH", 16, 0x200, 2) + bytes(8)},
    "no_relocations": {"directories": {"relocation": (0, 0)}, "pointers": ()},
}
BUILT = {
    f"{machine}-{name}": build.driver(machine, **{"code": b"\xc3", **change})
    for machine in ("x64", "x86", "arm64")
    for name, change in CHANGES.items()
}
IMAGES = {**{path.name: path for path in FIXTURES}, **BUILT}


@pytest.fixture(scope="module", params=IMAGES, ids=str)
def data(request):
    image = IMAGES[request.param]
    return image.read_bytes() if isinstance(image, Path) else image


@pytest.fixture
def ours(data):
    return PeImage(data)


@pytest.fixture
def other(data):
    image = pefile.PE(data=data, fast_load=True)
    image.parse_data_directories([0, 1, 5, 6])
    return image


def test_headers_agree_with_pefile(ours, other):
    optional = other.OPTIONAL_HEADER
    facts = ours.facts
    assert facts.is_pe32_plus == (optional.Magic == 0x20B)
    assert facts.image_base == optional.ImageBase
    assert facts.entry == optional.AddressOfEntryPoint
    assert facts.size_of_image == optional.SizeOfImage
    assert facts.section_alignment == optional.SectionAlignment
    assert facts.file_alignment == optional.FileAlignment
    assert facts.subsystem == optional.Subsystem
    assert facts.dll_characteristics == optional.DllCharacteristics
    assert facts.linker_version == (optional.MajorLinkerVersion, optional.MinorLinkerVersion)
    table = optional.DATA_DIRECTORY[12]
    assert facts.iat == ((table.VirtualAddress, table.Size) if table.Size else None)
    assert facts.signed == bool(optional.DATA_DIRECTORY[4].Size)
    machines = {0x8664: Machine.X64, 0x14C: Machine.X86, 0xAA64: Machine.ARM64}
    assert facts.machine is machines[other.FILE_HEADER.Machine]


def test_sections_agree_with_pefile(ours, other):
    assert [
        (s.name, s.rva, s.virtual_size, s.raw_offset, s.raw_size, s.characteristics)
        for s in ours.sections
    ] == [
        (
            s.Name.partition(b"\0")[0].decode(),
            s.VirtualAddress,
            s.Misc_VirtualSize,
            s.PointerToRawData,
            s.SizeOfRawData,
            s.Characteristics,
        )
        for s in other.sections
    ]


def test_imports_agree_with_pefile(ours, other):
    theirs = {
        item.address - other.OPTIONAL_HEADER.ImageBase: (
            table.dll.decode().lower(),
            item.name.decode() if item.name else f"#{item.ordinal}",
        )
        for table in getattr(other, "DIRECTORY_ENTRY_IMPORT", [])
        for item in table.imports
    }
    assert {slot: (item.module, item.name) for slot, item in ours.imports.items()} == theirs


def test_relocations_agree_with_pefile(ours, other):
    theirs = [
        (entry.rva, entry.type)
        for block in getattr(other, "DIRECTORY_ENTRY_BASERELOC", [])
        for entry in block.entries
        if entry.type != 0
    ]
    found = ours.relocations
    assert list(zip(found.rvas.tolist(), found.types.tolist(), strict=True)) == theirs
    assert found.problem == ""


def test_content_agrees_with_pefile(data, ours, other):
    for section in other.sections:
        size = min(section.SizeOfRawData, section.Misc_VirtualSize)
        start, raw = section.VirtualAddress, section.PointerToRawData
        assert ours.memory[start : start + size] == data[raw : raw + size]
        gap = ours.memory[start + size : start + section.Misc_VirtualSize]
        assert not any(gap)


def test_headers_sections_and_imports_agree_with_lief(data, ours):
    theirs = lief.PE.parse(list(data))
    assert theirs.optional_header.section_alignment == ours.facts.section_alignment
    assert theirs.optional_header.imagebase == ours.facts.image_base
    assert [s.virtual_address for s in theirs.sections] == [s.rva for s in ours.sections]
    assert [s.characteristics for s in theirs.sections] == [
        s.characteristics for s in ours.sections
    ]
    assert sorted(
        (table.name.lower(), entry.name)
        for table in theirs.imports
        for entry in table.entries
        if not entry.is_ordinal
    ) == sorted(
        (item.module, item.name) for item in ours.imports.values() if not item.name.startswith("#")
    )


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_the_built_driver_is_clean_for_others(machine):
    image = pefile.PE(data=build.driver(machine))
    assert image.verify_checksum()
    warnings = [text for text in image.get_warnings() if "makes up" not in text]
    assert warnings == []


def test_only_64_bit_images_have_odd_relocations():
    change = {"code": b"\xc3", "pointers": (0, 0xFFC)}
    assert PeImage(build.driver("x64", **change)).facts.odd_relocation_count == 1
    assert PeImage(build.driver("arm64", **change)).facts.odd_relocation_count == 1
    assert PeImage(build.driver("x86", **change)).facts.odd_relocation_count == 0


@pytest.mark.parametrize(("offset", "count"), [(0xFF7, 0), (0xFF8, 0), (0xFF9, 1), (0xFFF, 1)])
def test_a_pointer_crosses_a_page_from_0xff9_on(offset, count):
    data = build.driver(code=b"\xc3", pointers=(offset,))
    assert PeImage(data).facts.odd_relocation_count == count


@pytest.mark.parametrize(("kind", "count"), [(0, 0), (10, 0), (3, 3), (1, 3)])
def test_other_types_are_odd_wherever_they_lie(kind, count):
    data = build.driver(code=b"\xc3", relocation_type=kind)
    assert PeImage(data).facts.odd_relocation_count == count


@pytest.mark.parametrize("length", [1, 4, 7, 8, 24])
@pytest.mark.parametrize("at", [0x1000, 0x1001, 0x1002, 0x1003, -1])
def test_bytes_are_found_wherever_they_stand(at, length):
    image = PeImage(build.driver("x64"))
    wanted = bytes(range(0xE0, 0xE0 + length))
    at = len(image.memory) - length if at < 0 else at
    image.memory[at : at + length] = wanted
    assert [each for each in image.find(wanted) if each >= 0x1000] == [at]
    assert not list(image.find(wanted, at + 1))
    assert not list(image.find(wanted + b"\xff"))


def test_overlapping_bytes_are_all_found():
    image = PeImage(build.driver("x64"))
    image.memory[0x1001:0x100B] = b"\xee" * 10
    assert list(image.find(b"\xee" * 8)) == [0x1001, 0x1002, 0x1003]
