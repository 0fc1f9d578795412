"""Targets that cannot be evaluated: one clear sentence, exit code 4, and the others go on."""

import os
import re
import struct

import pytest
from click.testing import CliRunner

import build
from clock import Clock
from hvci.binary import PeImage
from hvci.cli import main
from hvci.errors import DamagedImage, InputError, NotAnImage, UnsupportedImage
from hvci.evaluate import evaluate

CLEAN = build.driver()
SECONDS = 5.0
ABSURD = 0xFFFF_FFF0

REFUSED = {
    "empty": (b"", NotAnImage, "empty"),
    "text": (b"hello", NotAnImage, "not a PE image"),
    "zip": (b"PK\x03\x04" + bytes(100), NotAnImage, "not a PE image"),
    "elf": (b"\x7fELF" + bytes(100), NotAnImage, "not a PE image"),
    "library": (b"!<arch>\n" + bytes(100), NotAnImage, "a static library, which is judged in"),
    "object": (b"\x64\x86\x01\0" + bytes(100), NotAnImage, "an object file, which is judged in"),
    "zeros": (bytes(1 << 20), NotAnImage, "not a PE image"),
    "MZ only": (b"MZ", DamagedImage, "DOS header"),
    "DOS program": (b"MZ" + bytes(0x3A) + b"\x40" + bytes(0x200), NotAnImage, "not a PE image"),
    "no PE header": (build.patch(CLEAN, pe_offset=ABSURD), DamagedImage, "behind the end"),
    "optional header magic": (build.patch(CLEAN, magic=0x107), DamagedImage, "magic 0x107"),
    "optional header cut": (build.patch(CLEAN, optional_size=20), DamagedImage, "too short"),
    "no sections": (build.patch(CLEAN, section_count=0), DamagedImage, "no sections"),
    "65535 sections": (build.patch(CLEAN, section_count=0xFFFF), DamagedImage, "65535 sections"),
    "section table cut": (
        build.patch(CLEAN[:0x400], section_count=60),
        DamagedImage,
        "section table",
    ),
    "section beyond 256 MiB": (
        build.patch_section(CLEAN, 0, rva=ABSURD),
        DamagedImage,
        "256 MiB",
    ),
    "user mode": (build.user_program(subsystem=3), UnsupportedImage, "not a kernel-mode driver"),
    "UEFI": (build.user_program(subsystem=11), UnsupportedImage, "UEFI"),
    "unknown subsystem": (build.user_program(subsystem=77), UnsupportedImage, "subsystem 77"),
    ".NET": (build.driver(managed=True), UnsupportedImage, ".NET"),
    "IA64": (build.driver("ia64", code=b""), UnsupportedImage, "Itanium"),
    "ARM": (build.driver("arm", code=b""), UnsupportedImage, "32-bit ARM"),
    "other machine": (build.patch(CLEAN, machine=0x1F0), UnsupportedImage, "0x01f0"),
    "no machine": (build.patch(CLEAN, machine=0xA641), DamagedImage, "0xa641 is none of a driver"),
    "x86 with a 64-bit header": (
        build.patch(CLEAN, machine=0x14C),
        DamagedImage,
        "of the other size",
    ),
}


OPENED = {"zip": "the archive cannot be read"}
"""What the command says of targets that it opens first, whatever their name."""


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_clear_sentence(name):
    data, error, words = REFUSED[name]
    with pytest.raises(error) as caught:
        evaluate(data)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert caught.value.exit_code == 4
    assert caught.value.advice


@pytest.mark.parametrize("name", REFUSED)
def test_the_command_says_so_and_exits_with_4(name, tmp_path):
    path = tmp_path / "bad.sys"
    path.write_bytes(REFUSED[name][0])
    good = tmp_path / "good.sys"
    good.write_bytes(CLEAN)
    result = CliRunner().invoke(main, ["check", str(path), str(good)])
    assert result.exit_code == (0 if REFUSED[name][1] is UnsupportedImage else 4)
    assert "good.sys x64 if signed yes yes - pass" in re.sub(r"\s+", " ", result.output)
    assert CliRunner().invoke(main, ["check", str(path)]).exit_code == 4
    assert "Traceback" not in result.output
    assert OPENED.get(name, REFUSED[name][2]) in re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize("length", [*range(0, 0x300, 0x11), 0x400, 0x600, 0x800, 0x1000])
def test_a_truncated_driver_is_refused_or_read_with_limits(length):
    with Clock() as clock:
        try:
            report = evaluate(CLEAN[:length])
        except InputError as error:
            assert str(error)
        else:
            assert report.target.size_bytes == length
    assert clock.seconds < SECONDS


DAMAGED = {
    "import directory outside": {"directories": {"import": (ABSURD, 0x28)}},
    "import directory of zeros": {"directories": {"import": (0x4800, 0x28)}},
    "relocations outside": {"directories": {"relocation": (ABSURD, 0x1000)}},
    "relocation block of size 1": {"relocations": b"\0\x30\0\0\x01\0\0\0"},
    "relocation block without end": {"relocations": b"\0\x30\0\0\xff\xff\xff\xff"},
    "relocation pages outside": {"relocations": b"\0\0\0\xf0\x0c\0\0\0\0\xa0\0\xa0"},
    "signature outside": {"directories": {"security": (ABSURD, 0x1000)}},
    "address table outside": {"directories": {"iat": (ABSURD, 0x1000)}},
    "exports outside": {"directories": {"export": (ABSURD, 0x28)}},
    "exports of code": {"directories": {"export": (0x1000, 0x28)}},
    "exception data of code": {"directories": {"exception": (0x1000, 0x200)}},
    "exception data outside": {"directories": {"exception": (ABSURD, ABSURD)}},
    "debug data outside": {"directories": {"debug": (ABSURD, ABSURD)}},
    "load configuration outside": {"directories": {"load_config": (ABSURD, ABSURD)}},
}


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tables_leave_a_report(name, machine):
    report = evaluate(build.driver(machine, **DAMAGED[name]))
    assert report.results


@pytest.mark.parametrize("name", ["import directory outside", "relocation block of size 1"])
def test_damage_that_could_hide_something_is_a_limit(name):
    report = evaluate(build.driver(**DAMAGED[name]))
    assert report.limits
    assert report.limits[0].rules
    assert report.limits[0].reason


def test_without_readable_imports_nothing_about_calls_passes():
    report = evaluate(build.driver(directories={"import": (ABSURD, 0x28)}))
    outcomes = {result.rule: result.outcome for result in report.results}
    for rule in ("execute-pool-type", "execute-page-protection", "execute-page-mapping"):
        assert outcomes[rule] == "undecided"
    assert report.verdict == "undecided"


ODD_HEADERS = {
    "entry outside": build.patch(CLEAN, entry=ABSURD),
    "size of image 0": build.patch(CLEAN, size_of_image=0),
    "size of image absurd": build.patch(CLEAN, size_of_image=ABSURD),
    "size of headers absurd": build.patch(CLEAN, size_of_headers=ABSURD),
    "file alignment absurd": build.patch(CLEAN, file_alignment=ABSURD),
    "raw data outside": build.patch_section(CLEAN, 0, raw=ABSURD),
    "raw size absurd": build.patch_section(CLEAN, 0, raw_size=0x0FFF_0000),
    "virtual size 0": build.patch_section(CLEAN, 0, virtual_size=0),
    "overlapping sections": build.patch_section(CLEAN, 1, rva=0x1000),
    "section over the headers": build.patch_section(CLEAN, 0, rva=0),
}


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_odd_headers_are_refused_or_read_in_bounded_time(name):
    with Clock() as clock:
        try:
            assert evaluate(ODD_HEADERS[name]).results
        except InputError as error:
            assert str(error)
    assert clock.seconds < SECONDS


def test_code_beyond_the_file_is_not_searched():
    huge = build.patch_section(CLEAN, 0, virtual_size=0x0F00_0000, raw_size=0x0F00_0000)
    report = evaluate(huge)
    assert any("more bytes than the file" in limit.reason for limit in report.limits)
    assert sum(end - start for start, end in PeImage(huge).code_ranges) <= len(huge)


def test_a_directory_a_missing_file_and_an_unreadable_one(tmp_path):
    secret = tmp_path / "secret.sys"
    secret.write_bytes(CLEAN)
    secret.chmod(0)
    words = [(tmp_path, "directory"), (tmp_path / "none.sys", "No such file")]
    if os.geteuid():  # nothing is unreadable for root
        words.append((secret, "denied"))
    for path, word in words:
        with pytest.raises(InputError, match=word):
            evaluate(path)


def test_a_gibibyte_of_zeros_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "zeros.sys"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with Clock() as clock:
        result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 4
    assert clock.seconds < SECONDS


IMAGE = PeImage(CLEAN)
SLOT = next(slot for slot, item in IMAGE.imports.items() if item.name == "ExAllocatePoolWithTag")
NAME = struct.pack("<Q", IMAGE.pointer(SLOT))
PORT = build.driver(imports={**build.IMPORTS, "portcls.sys": ("PcNewServiceGroup",)})
PORT_IMAGE = PeImage(PORT)
PORT_SLOT = next(slot for slot, item in PORT_IMAGE.imports.items() if item.module == "portcls.sys")
HIDDEN = {
    "entry outside": build.patch(CLEAN, entry=ABSURD),
    "entry in data": build.patch(CLEAN, entry=0x3000),
    "code that the file does not hold": build.patch_section(CLEAN, 0, raw_size=0),
    "code behind the end of the file": build.patch_section(CLEAN, 0, raw=ABSURD),
    "code in a section that is not executable": build.patch_section(
        CLEAN, 0, characteristics=build.CONSTANT
    ),
    "truncated": CLEAN[: CLEAN.rindex(b"ExAllocatePoolWithTag")],
    "imports by number": CLEAN.replace(NAME, struct.pack("<Q", 1 << 63 | 17)),
    "imports of a port driver by number": PORT.replace(
        struct.pack("<Q", PORT_IMAGE.pointer(PORT_SLOT)), struct.pack("<Q", 1 << 63 | 17)
    ),
}


BREAKS = {"entry in data", "code in a section that is not executable"}
"""Code that starts where nothing may execute: that it breaks is certain."""


@pytest.mark.parametrize("name", HIDDEN)
def test_what_the_file_does_not_show_is_never_compatible(name):
    report = evaluate(HIDDEN[name])
    assert report.verdict == ("incompatible" if name in BREAKS else "undecided")
    assert report.limits


@pytest.mark.parametrize("behind", ["2be0", "2b2424", "83ec08", "6681ec0800"])
def test_room_on_the_stack_of_any_size_behind_a_call_that_nobody_knows(behind):
    """`sub esp, eax` behind `call esi` once had no immediate to give."""
    image = PeImage(build.driver("x86", code=b"\xcc" * 64))
    slot = next(rva for rva, one in image.imports.items() if one.name == "ExAllocatePoolWithTag")
    start = "83ec0c c744240800000000 ffd6" + behind + "8b442408 6861626364 6a10 50 ff15"
    head = bytes.fromhex(start)
    code = head + struct.pack("<I", image.base + slot) + b"\x83\xc4\x0c\xc2\x08\x00"
    moved = struct.pack("<IIHH", 0x1000, 12, build.HIGHLOW << 12 | len(head), 0)
    report = evaluate(build.driver("x86", code=code, relocations=moved))
    assert [judged.call.ddi for judged in report.calls] == ["ExAllocatePoolWithTag"]
    assert report.verdict != "compatible"


@pytest.mark.parametrize("beyond", [-6, -2, 0, 1, 14, 15, 0x10_0000])
@pytest.mark.parametrize("jump", ["ff2485", "8b0485", "0fb680"])
def test_a_jump_table_around_the_end_of_the_image(beyond, jump):
    """Tables and what names them may lie where the image ends, or behind it."""
    image = PeImage(build.driver("x86", code=b"\xcc" * 64))
    slot = next(rva for rva, one in image.imports.items() if one.name == "ExAllocatePoolWithTag")
    head = bytes.fromhex("558bec 8b4508 83f804 7720" + jump)
    table = struct.pack("<I", image.base + image.size + beyond)
    call = b"\x68abcd\x6a\x10\x6a\x00\xff\x15"
    code = head + table + b"\xff\xe0" + call + struct.pack("<I", image.base + slot)
    places = (len(head), len(head) + 6 + len(call))
    words = [build.HIGHLOW << 12 | place for place in places]
    moved = struct.pack("<II2H", 0x1000, 12, *words)
    data = build.driver("x86", code=code + b"\xc9\xc2\x08\x00", relocations=moved)
    assert evaluate(data).verdict != "compatible"
