"""A driver whose headers say that it is a program is judged as the driver that it is."""

import io
import json
import struct
import zipfile

import pytest
from click.testing import CliRunner

import build
from hvci.binary.pe.image import PeImage
from hvci.cli import main
from hvci.errors import UnsupportedImage
from hvci.evaluate import evaluate
from hvci.fleet.walk import ARCHIVE, IMAGE, Place, places
from hvci.model import Question
from hvci.packages import images
from hvci.packages.opened import Driver, open_archive, open_inf
from hvci.packages.programs import parts
from hvci.report.words import answer_sentence

MACHINES = ("x64", "x86", "arm64")
BAD = build.driver(subsystem=3, pool_type=0)
PROGRAM = build.user_program(subsystem=3)
OF_PORT = {"storport.sys": ("ExAllocatePoolWithTag",)}
INF = """[Version]
Signature="$WINDOWS NT$"
Provider=Maker
Class=System
DriverVer=01/02/2024,1.2.3.4
[Manufacturer]
M=Std,NTamd64
[Std.NTamd64]
D=I,PCI\\VEN_1
[I]
[I.Services]
AddService=svc,2,S
[S]
ServiceType=1
StartType=3
ServiceBinary=%12%\\{}
"""


def check(*words):
    return CliRunner().invoke(main, ["check", *map(str, words), "-f", "json"])


def verdicts(result):
    """Name of each driver and its answer."""
    found = json.loads(result.stdout)["reports"]
    return {one["target"]["path"].rpartition("/")[2]: one["verdict"] for one in found}


def put(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def in_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("subsystem", [0, 2, 3, 77])
def test_it_has_the_answer_of_its_code(machine, subsystem):
    good = evaluate(build.driver(machine, subsystem=subsystem))
    assert good.verdict is evaluate(build.driver(machine)).verdict
    bad = evaluate(build.driver("x64", subsystem=subsystem, pool_type=0))
    assert bad.verdict is evaluate(build.driver("x64", pool_type=0)).verdict
    said = answer_sentence(good, Question.LOADS)
    assert f"Subsystem {subsystem} of its headers says" in said
    assert "link with /SUBSYSTEM:NATIVE" in said
    assert "Subsystem" not in answer_sentence(evaluate(build.driver(machine)), Question.LOADS)


@pytest.mark.parametrize("name", ["hal.dll", "NTOSKRNL.exe", "Storport.SYS"])
def test_any_module_of_the_kernel_tells(name):
    imports = {"ntdll.dll": ("ExAllocatePoolWithTag",), name: ("DbgPrint",)}
    data = build.driver(subsystem=2, imports=imports)
    assert evaluate(data).image.subsystem == 2


DLL, NO_ENTRY = 0x2022, 0


def of_linker(data, **fields):
    """The same without the section that only linkers of drivers make."""
    return build.patch(data.replace(b"INIT\0\0\0\0", b".start\0\0"), **fields)


def alone(machine="x64", imports=(0, 0), subsystem=3, **more):
    """A driver whose table of imports is none, or lies elsewhere."""
    more["directories"] = {"import": imports, "iat": (0, 0)}
    return build.driver(machine, subsystem=subsystem, **more)


REFUSED = {
    "a console program": (PROGRAM, "a Windows console program"),
    "a program of a linker of drivers": (
        build.user_program(3).replace(b".rdata\0\0", b"PAGE\0\0\0\0"),
        "a Windows console program",
    ),
    "a native program": (
        build.driver(subsystem=1, imports=build.OF_PROGRAMS, section_alignment=0x80),
        "a native program for user mode",
    ),
    "UEFI": (of_linker(alone(subsystem=12)), "UEFI"),
    "UEFI with sections of drivers": (alone(subsystem=11), "UEFI"),
    ".NET": (build.driver(subsystem=3, managed=True), ".NET"),
    "a library of resources": (
        of_linker(alone(), characteristics=DLL, entry=NO_ENTRY),
        "a Windows console program",
    ),
    "a library of data": (of_linker(alone(), characteristics=DLL), "a Windows console program"),
    "no entry": (of_linker(alone(), entry=NO_ENTRY), "a Windows console program"),
    "imports outside": (of_linker(alone(imports=(0x7FFF_0000, 40))), "a Windows console program"),
    "imports of a library of a program": (
        of_linker(build.driver(subsystem=3, imports={"maker.dll": ("ExAllocatePoolWithTag",)})),
        "a Windows console program",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_none_stays_none(name, tmp_path):
    data, words = REFUSED[name]
    with pytest.raises(UnsupportedImage, match=words):
        evaluate(data)
    good = put(tmp_path, {"a.dll": data, "b.sys": data, "good.sys": build.driver()})
    result = check(tmp_path)
    assert (verdicts(result), result.exit_code) == ({"good.sys": "compatible"}, 0)
    assert {one.path.rpartition("/")[2]: one.kind for one in places([str(good)])} == {
        "a.dll": ARCHIVE,  # whether it brings anything along is for a worker to look at
        "b.sys": IMAGE,
        "good.sys": IMAGE,
    }
    assert not parts(tmp_path / "a.dll")


OF_KERNEL = {
    "nothing imported": of_linker(alone()),
    "imports that end at once": of_linker(alone(imports=(0x3100, 40))),
    "imports outside, and INIT": alone(imports=(0x7FFF_0000, 40)),
    "a library of the kernel": build.patch(alone(), characteristics=DLL),
    "that is not paged": of_linker(alone(sections=(("text", 0x6800_0020),)), characteristics=DLL),
    "made for WDM": of_linker(alone(dll_characteristics=0x2160), characteristics=DLL),
    "a library of another driver": build.driver(
        subsystem=3, imports={"maker.dll": ("ExAllocatePoolWithTag",)}
    ),
    "a kernel by another name": build.driver(
        subsystem=3, imports={"ntkrnlmp.exe": ("ExAllocatePoolWithTag",)}
    ),
    "native, with a module of programs too": build.driver(
        subsystem=1, imports={**build.OF_PROGRAMS, "hal.dll": ("HalReturnToFirmware",)}
    ),
    "native, with nothing imported": of_linker(alone(subsystem=1)),
    "said to be of UEFI": of_linker(build.driver(subsystem=12)),
}


@pytest.mark.parametrize("name", OF_KERNEL)
def test_what_no_program_can_be_is_a_driver(name, tmp_path):
    """Beside a good one, whatever it is called, it would be silence that calls it compatible."""
    data = OF_KERNEL[name]
    put(tmp_path, {"a.bin": data, "b.sys": data, "good.sys": build.driver()})
    assert set(verdicts(check(tmp_path))) == {"a.bin", "b.sys", "good.sys"}
    said = [(one.path.rpartition("/")[2], one.kind) for one in places([str(tmp_path)])]
    assert said == [("a.bin", IMAGE), ("b.sys", IMAGE), ("good.sys", IMAGE)]
    archive = in_zip(tmp_path / "x.zip", {"a.bin": data, "b.sys": data})
    assert [one.path.partition("!")[2] for one in open_archive(archive)] == ["a.bin", "b.sys"]


def test_its_linker_is_named_and_no_import_that_it_lacks():
    said = answer_sentence(evaluate(OF_KERNEL["nothing imported"]), Question.LOADS)
    assert "though nothing but a driver is linked so" in said
    assert "imports the kernel" not in said


def test_beside_a_good_driver_it_is_seen(tmp_path):
    files = {"bad.sys": BAD, "bad.bin": BAD, "good.sys": build.driver(), "tool.exe": PROGRAM}
    wanted = {"bad.sys": "incompatible", "bad.bin": "incompatible", "good.sys": "compatible"}
    folder = tmp_path / "in"
    folder.mkdir()
    result = check(put(folder, files))
    assert (verdicts(result), result.exit_code) == (wanted, 1)
    found = [one for one in places([str(folder)]) if isinstance(one, Place) and one.kind == IMAGE]
    assert {one.path.rpartition("/")[2] for one in found} == set(wanted)
    archive = in_zip(tmp_path / "x.zip", files)
    assert {one.path.partition("!")[2] for one in open_archive(archive)} == set(wanted)
    alone = check(folder / "bad.bin")
    assert (verdicts(alone), alone.exit_code) == ({"bad.bin": "incompatible"}, 1)


@pytest.mark.parametrize("name", ["a.sys", "a.bin"])
def test_the_service_of_an_inf_has_it(tmp_path, name):
    files = {"a.inf": INF.format(name).encode(), name: BAD}
    (one,) = open_inf(put(tmp_path, files) / "a.inf")
    assert isinstance(one, Driver)
    (met,) = places([str(tmp_path)])
    assert (met.path.rpartition("/")[2], met.package.service) == (name, "svc")
    result = check(tmp_path)
    assert (verdicts(result), result.exit_code) == ({name: "incompatible"}, 1)
    (inside,) = open_archive(in_zip(tmp_path / "x.zip", files))
    assert inside.package.service == "svc"


def test_a_program_brings_one_along(tmp_path):
    whole = build.user_program(overlay=bytes(24) + BAD)
    put(tmp_path, {"setup.exe": whole})
    (part,) = parts(tmp_path / "setup.exe")
    assert whole[part.start : part.end] == BAD
    result = check(tmp_path / "setup.exe")
    assert (set(verdicts(result).values()), result.exit_code) == ({"incompatible"}, 1)


def test_a_large_folder_of_programs_is_read_at_few_places(tmp_path):
    """Not what a program holds: headers, the table of imports, the names of modules."""
    big = build.user_program(overlay=bytes(1 << 20))
    asked = []

    def read(at, size):
        asked.append(size)
        return big[at : at + size]

    assert not images.is_of_kernel(read)
    assert sum(asked) < 4096


HEADERS = BAD.index(b"INIT") + 40


@pytest.mark.parametrize("length", [*range(0, HEADERS, 7), HEADERS - 1])
def test_what_is_cut_off_in_its_headers_is_no_driver(length):
    assert images.is_driver_at(io.BytesIO(BAD[:length])) is False


@pytest.mark.parametrize("length", [*range(HEADERS, len(BAD), 97), len(BAD)])
def test_what_is_cut_off_behind_them_is_one_that_is_told(length):
    assert images.is_driver_at(io.BytesIO(BAD[:length])) is True


def test_absurd_headers_end():
    for at in range(0x80, 0x300):
        broken = bytearray(BAD)
        struct.pack_into("<I", broken, at, 0xFFFF_FFF0)
        images.is_driver_at(io.BytesIO(bytes(broken)))


def test_both_readers_agree_on_modules():
    image = PeImage(build.driver(subsystem=3, imports=OF_PORT))
    assert [name for name, _ in image.facts.import_tables] == ["storport.sys"]
