"""The version resource: equal to pefile's reading, and nothing where there is none."""

import struct

import pefile
import pytest

from build import driver
from hvci.binary.pe.headers import parse_headers
from hvci.lists.version import VersionInfo, read_version
from resources import resource_section, version_block, with_resource, with_version

NAMES = {"OriginalFilename": "a.sys", "ProductName": "A & B", "InternalName": "x", "Odd": "ümlaut"}


def read(data):
    return read_version(data, parse_headers(data))


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_numbers_and_names_as_pefile_reads_them(machine):
    data = with_version(driver(machine), (10, 0, 65535, 7), **NAMES)
    found = read(data)
    assert (found.file, found.product, found.language) == ((10, 0, 65535, 7),) * 2 + (0x409,)
    assert {name: found.names[name] for name in NAMES} == NAMES
    (fixed,) = pefile.PE(data=data).VS_FIXEDFILEINFO
    assert (fixed.FileVersionMS, fixed.FileVersionLS) == (10 << 16, 65535 << 16 | 7)


def test_a_driver_without_resources_has_no_version():
    assert read(driver()) == VersionInfo()


def test_strings_without_numbers():
    block = version_block(fixed=False, OriginalFilename="b.sys")
    found = read(with_resource(driver(), lambda rva: resource_section(block, rva)))
    assert (found.file, found.names["OriginalFilename"]) == (None, "b.sys")


@pytest.mark.parametrize(
    "make",
    [
        lambda rva: b"",
        lambda rva: bytes(16),
        lambda rva: resource_section(version_block(), rva, type_=3),
        lambda rva: resource_section(version_block(), rva)[:60],
        lambda rva: resource_section(b"", rva),
        lambda rva: resource_section(b"\xff" * 40, rva),
        lambda rva: resource_section(version_block(), 0x7000_0000),
        lambda rva: resource_section(version_block(), rva).replace(b"\x18\0\0\x80", b"\x18\0\0\0"),
    ],
)
def test_a_damaged_resource_is_none(make):
    assert read(with_resource(driver(), make)).file is None


def test_a_directory_outside_the_file_is_none():
    assert read(driver(directories={"resource": (0x9000_0000, 64)})) == VersionInfo()


def test_hostile_lengths_end():
    block = bytearray(version_block(OriginalFilename="a.sys"))
    for at in range(0, len(block) - 2, 2):
        for value in (0, 1, 6, 0xFFFF):
            changed = bytearray(block)
            struct.pack_into("<H", changed, at, value)
            read(with_resource(driver(), lambda rva, c=bytes(changed): resource_section(c, rva)))
