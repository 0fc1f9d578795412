"""Nothing that can hold a driver is passed over in silence: it is opened, or told."""

import bz2
import gzip
import io
import lzma
import random
import struct
import sys
import zipfile
import zlib

import libarchive
import pytest

from build import driver, user_program
from cabinets import cabinet, cabinet_of, installer
from hvci.errors import InputError
from hvci.packages import kinds
from hvci.packages.opened import Driver, NoDriver, open_archive
from hvci.packages.programs import parts

IMAGE, OTHER = driver(), driver("x86")
PROGRAM = user_program()
TEXT = b"text " * 1000


@pytest.fixture
def put(tmp_path):
    def write(data, name="x.bin"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def opened(path):
    """Name within the archive -> bytes of the driver or what is wrong."""
    found = {}
    for one in open_archive(path):
        name = one.path.removeprefix(str(path))
        found[name] = one.data if isinstance(one, Driver) else str(one.error)
    return found


def zipped(files, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


# ---------------------------------------------------------------------- cabinets

DATA = random.Random(1).randbytes(70_000)
ONE, TWO = IMAGE + DATA, OTHER
LAYOUTS = {
    "one file under two names": [("a.sys", 0, 0, len(ONE)), ("b.sys", 0, 0, len(ONE))],
    "folders there and back": [
        ("a.sys", 0, 0, len(ONE)),
        ("c.sys", 1, 0, len(TWO)),
        ("b.sys", 0, 0, len(ONE)),
    ],
    "a gap": [("t.txt", 0, 0, 100), ("c.sys", 1, 0, len(TWO)), ("a.sys", 0, 0, len(ONE))],
    "bytes that no file has": [("d.sys", 2, 5000, len(TWO)), ("c.sys", 1, 0, len(TWO))],
    "files that share some bytes": [
        ("a.sys", 0, 0, len(ONE)),
        ("t.txt", 0, 50, 100),
        ("c.sys", 1, 0, len(TWO)),
    ],
    "an empty file": [("a.sys", 0, 0, len(ONE)), ("e.txt", 0, 7, 0), ("c.sys", 1, 0, len(TWO))],
}


@pytest.mark.parametrize("python_only", [False, True])
@pytest.mark.parametrize("of_block", [0, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_order_of_files_in_a_cabinet(put, monkeypatch, layout, of_block, python_only):
    """Installers store what is the same once: later names lead back to earlier bytes."""
    if python_only:
        monkeypatch.setitem(sys.modules, "libarchive", None)
    folders = [ONE, TWO, TEXT + TWO]
    files = LAYOUTS[layout]
    data = cabinet_of(folders, files, of_block=of_block)
    wanted = {
        f"!{name}": folders[folder][start : start + length]
        for name, folder, start, length in files
        if name.endswith(".sys")
    }
    assert opened(put(data, "x.cab")) == wanted


def test_folders_whose_blocks_stand_in_another_order(put):
    data = bytearray(cabinet_of([ONE, TWO], [("a.sys", 0, 0, len(ONE)), ("c.sys", 1, 0, len(TWO))]))
    data[36:52] = data[44:52] + data[36:44]
    at = data.index(b"a.sys") - 16
    other = data.index(b"c.sys") - 16
    data[at + 8], data[other + 8] = 1, 0
    assert opened(put(bytes(data))) == {"!a.sys": ONE, "!c.sys": TWO}


def test_what_is_whole_in_a_part_of_a_set_of_cabinets_is_read(put):
    """libarchive refuses every part of a set."""
    data = bytearray(cabinet({"a.sys": IMAGE, "t.txt": TEXT}))
    data[30] |= 2
    names = b"next.cab\0\0"
    data[36:36] = names
    for at in (8, 16, 36 + len(names)):
        place = int.from_bytes(data[at : at + 4], "little") + len(names)
        data[at : at + 4] = place.to_bytes(4, "little")
    found = opened(put(bytes(data), "x1.cab"))
    assert found.pop("!a.sys") == IMAGE
    assert list(found.values()) == [
        "a part of a set of cabinets: what the other parts hold was not read"
    ]


def test_an_installer_with_one_file_in_two_folders(put):
    """Both names are told, each by its own folder."""
    keyed = {"k1": ("app/a.sys", IMAGE), "k2": ("system/a.sys", IMAGE)}
    data = installer(keyed)
    start = data.index(b"MSCF")
    whole = cabinet_of([IMAGE], [("k1", 0, 0, len(IMAGE)), ("k2", 0, 0, len(IMAGE))])
    data = data[:start] + whole + data[start + len(whole) :]
    assert opened(put(data)) == {
        "!cabinet 1!app/a.sys": IMAGE,
        "!cabinet 1!system/a.sys": IMAGE,
    }


def test_a_cabinet_beside_its_installer(put):
    path = put(installer({"k": ("p/a.sys", IMAGE)}, outside="more.cab"), "x.msi")
    assert opened(path) == {
        "!cabinet 1!p/a.sys": IMAGE,
        "": "what it installs lies in more.cab: name that as well",
    }
    put(cabinet({"k": OTHER}), "more.cab")
    assert opened(path) == {"!cabinet 1!p/a.sys": IMAGE, "!more.cab!p/a.sys": OTHER}


def test_no_cabinet_is_taken_from_another_folder(put, tmp_path):
    (tmp_path / "in").mkdir()
    put(cabinet({"k": OTHER}), "more.cab")
    path = put(installer({"k": ("p/a.sys", IMAGE)}, outside="../more.cab"), "in/x.msi")
    assert opened(path)[""] == "what it installs lies in ../more.cab: name that as well"


def test_other_streams_of_an_installer(put):
    """Custom actions bring drivers along in streams of their own."""
    data = installer({"k": ("p/t.txt", TEXT)}, streams={"Binary.x": OTHER.ljust(5000, b"\0")})
    (found,) = opened(put(data)).items()
    assert found[0] == "!Binary.x"
    assert found[1].startswith(OTHER)


# ---------------------------------------------------------------------- programs


def by_libarchive(form, name, data):
    out = []
    with libarchive.custom_writer(lambda data: out.append(bytes(data)) or len(data), form) as it:
        it.add_file_from_memory(name, len(data), data)
    return b"".join(out)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("driver", IMAGE),
        ("cab", cabinet({"a.sys": IMAGE})),
        ("zip", zipped([("a.sys", IMAGE)])),
        ("7z", by_libarchive("7zip", "a.sys", IMAGE)),
        ("msi", None),
    ],
)
@pytest.mark.parametrize("behind", [b"", b"certificates" * 700])
def test_a_program_that_brings_something_along(put, kind, data, behind):
    if data is None:
        data = bytearray(installer({"k": ("a.sys", IMAGE)}))
        root = (int.from_bytes(data[48:52], "little") + 1) * 512
        data[root + 0x50 : root + 0x60] = bytes.fromhex("84100c0000000000c000000000000046")
        data = bytes(data)
    at = len(PROGRAM) + len(TEXT)
    path = put(PROGRAM + TEXT + data + behind, "setup.exe")
    assert kinds.kind_of_file(path) == "program"
    (name,) = opened(path)
    assert opened(path)[name] == IMAGE
    assert name.startswith(f"!{kind} at {at:#x}")
    assert list(opened(put(zipped([("s/setup.exe", path.read_bytes())]), "x.zip"))) == [
        f"!s/setup.exe{name}"
    ]


def test_a_driver_in_a_program_comes_with_its_certificates(put):
    signed = bytearray(IMAGE) + b"C" * 40
    header = int.from_bytes(signed[0x3C:0x40], "little")
    struct.pack_into("<II", signed, header + 24 + 112 + 32, len(IMAGE), 40)
    assert list(opened(put(PROGRAM + signed + TEXT, "a.exe")).values()) == [bytes(signed)]


def test_a_zip_that_counts_from_the_start_of_the_program(put):
    out = io.BytesIO()
    out.write(PROGRAM)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("a.sys", IMAGE)
    assert list(opened(put(out.getvalue(), "setup.exe")).values()) == [IMAGE]


def test_many_things_in_one_program(put):
    """What lies in an archive is of the archive, also where it is stored as it is."""
    stored = zipped([("in.sys", OTHER)], zipfile.ZIP_STORED)
    path = put(PROGRAM + IMAGE + stored + cabinet({"c.sys": OTHER}), "setup.exe")
    places = [len(PROGRAM), len(PROGRAM + IMAGE), len(PROGRAM + IMAGE + stored)]
    assert [(part.kind, part.start) for part in parts(path)] == list(
        zip(["driver", "zip", "cab"], places, strict=True)
    )
    assert list(opened(path).values()) == [IMAGE, OTHER, OTHER]


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst", "an NSIS installer"),
        (b"Inno Setup Setup Data (6.2.0) (u)".ljust(64, b"\0"), "an Inno Setup installer"),
        (b"ISSetupStream", "an InstallShield installer"),
        (b"ADVINSTSFX", "an installer of Advanced Installer"),
    ],
)
def test_installers_that_are_not_opened_are_named_wherever_they_lie(put, mark, told):
    setup = PROGRAM + mark + TEXT + mark
    sentence = f"{told}, which hvci does not open: extract it and check the folder"
    assert opened(put(setup, "setup.exe")) == {"": sentence}
    assert opened(put(zipped([("s/setup.exe", setup)]), "x.zip")) == {"!s/setup.exe": sentence}


MARKS = (
    b"PE\0\0 MSCF\0\0\0\0 7z\xbc\xaf\x27\x1c PK\5\6 Rar!\x1a\x07 \xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
)


@pytest.mark.parametrize(
    "program", [PROGRAM, PROGRAM + MARKS + TEXT, IMAGE + cabinet({"a": IMAGE})]
)
def test_marks_alone_are_nothing(put, program):
    path = put(program, "a.exe")
    assert parts(path) == []
    assert kinds.kind_of_file(path) == ""
    with pytest.raises(InputError, match="no driver in this archive"):
        opened(put(zipped([("a.exe", PROGRAM + MARKS)]), "x.zip"))


def test_a_program_with_more_parts_than_are_looked_at_says_so(put, monkeypatch):
    monkeypatch.setattr("hvci.packages.programs._MOST", 2)
    found = opened(put(PROGRAM + IMAGE + IMAGE, "a.exe"))  # the first mark is its own header
    assert found[f"!driver at {len(PROGRAM):#x}"] == IMAGE
    assert "very many parts" in found[""]


@pytest.mark.parametrize(
    "data",
    [
        b"Rar!\x1a\x07\1\0" + bytes.fromhex("3392b5e50a01050600050101808000"),
        b"Rar!\x1a\x07\0" + bytes.fromhex("cf907300000d00000000000000"),
        b"MSWIM\0\0\0\xd0\0\0\0\0\x0e\0\0" + bytes(300),
    ],
)
def test_other_archives_in_programs_are_known(put, data):
    (part,) = parts(put(PROGRAM + data + TEXT, "a.exe"))
    assert part.kind in ("rar", "wim")
    assert part.start == len(PROGRAM)


@pytest.mark.parametrize("shift", range(-70, 10, 7))
def test_marks_that_lie_across_two_pieces(put, monkeypatch, shift):
    monkeypatch.setattr("hvci.packages.programs.PIECE", 1 << 16)
    head = PROGRAM.ljust((1 << 16) + shift, b"\0")
    found = parts(put(head + IMAGE + b"\0" * 99 + cabinet({"a.sys": IMAGE}), "a.exe"))
    assert [part.kind for part in found] == ["driver", "cab"]
    assert found[0].start == len(head)


def test_a_driver_whose_header_lies_far_behind(put):
    image = bytearray(IMAGE[:0x3C] + struct.pack("<I", 40_000)).ljust(40_000, b"\0")
    header = int.from_bytes(IMAGE[0x3C:0x40], "little")
    image += IMAGE[header:]
    assert list(opened(put(zipped([("a.dll", bytes(image))])))) == ["!a.dll"]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_programs(put, seed):
    chance = random.Random(seed)
    data = bytearray(PROGRAM + IMAGE + cabinet({"a.sys": OTHER}) + zipped([("b.sys", OTHER)]))
    for _ in range(chance.choice((1, 5, 50))):
        data[chance.randrange(len(PROGRAM), len(data))] = chance.randrange(256)
    try:
        for one in open_archive(put(bytes(data[: chance.choice((None, -99))]), "a.exe")):
            assert isinstance(one, Driver) or str(one.error)
    except InputError as error:
        assert str(error)


# ---------------------------------------------------------------------- what is not opened


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"SZDD\x88\xf0\x27\x33A_" + TEXT, "run expand on it"),
        (b"KWAJ\x88\xf0\x27\xd1" + TEXT, "run expand on it"),
        (b"ISc(" + TEXT, "InstallShield"),
        (b"PA30" + TEXT, "only Windows can put together"),
        (bytes(0x8001) + b"BEA01\1\0" + bytes(2041) + b"\0NSR02" + TEXT, "mount it"),
    ],
)
def test_kinds_that_are_known_and_not_opened_are_told(put, data, told):
    (named,) = opened(put(data, "a.sy_")).items()
    assert named[0] == ""
    assert told in named[1]
    (within,) = opened(put(zipped([("p/a.sy_", data), ("t.txt", TEXT)]), "x.zip")).items()
    assert within == ("!p/a.sy_", named[1])
    assert kinds.is_package(str(put(data, "b.sy_")), data[:16])


END = b"\x55\xaa"
FLOPPY = (b"\xeb\x3c\x90MSDOS5.0".ljust(54, b"\0") + b"FAT12   ").ljust(510, b"\0") + END


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"vhdxfile", "disk.bin"),
        (b"KDMV", "disk.bin"),
        (b"\xeb\x52\x90NTFS    ", "disk.bin"),
        (FLOPPY, "disk.bin"),
        (FLOPPY, "disk.vfd"),
        (bytes(510) + END, "disk.IMG"),
    ],
)
def test_the_image_of_a_disk_in_an_archive_is_told(put, head, name):
    disk = head + bytes(5000)
    (text,) = opened(put(zipped([(f"d/{name}", disk)]))).values()
    assert text.startswith("the image of a disk, which is opened where it is named")
    if name != "disk.bin":
        assert kinds.is_package(str(put(disk, name)), disk[:16])
    assert not opened_or_nothing(put(zipped([("boot.bin", bytes(510) + END)])))


def opened_or_nothing(path):
    try:
        return opened(path)
    except NoDriver:
        return {}


@pytest.mark.parametrize("name", ["a.zip", "a.CAB", "a.7z", "a.msi", "a.iso", "a.tar.lz", "a.dmg"])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "called an archive and is empty"),
        (bytes(4096), "called an archive and is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "only a pointer to one"),
        (b"XX\3\4\x14" + bytes(range(40)), "no archive of a kind that is known here"),
    ],
    ids=["empty", "zeros", "pointer", "damaged"],
)
def test_what_is_an_archive_by_its_name_alone_is_told(put, name, data, told):
    path = put(data, name)
    assert kinds.is_package(str(path), data[:16])
    assert told in opened(path)[""]
    assert told in opened(put(zipped([(f"p/{name}", data)]), "x.bin"))[f"!p/{name}"]
    assert not opened_or_nothing(put(zipped([(f"__MACOSX/._{name}", b"\0\5\x16\7")])))


def test_a_disc_whose_files_are_in_another_file_system(put):
    disc = bytearray(by_libarchive("iso9660", "README.TXT", TEXT))
    assert disc[0x9001:0x9006] != b"NSR02"
    disc[0x9800:0x9806] = b"\0NSR02"
    assert "a UDF file system" in opened(put(bytes(disc), "x.iso"))[""]


def test_the_differences_of_an_update_are_one_sentence(put):
    update = cabinet({"a.sys": IMAGE, "0": b"PA30" + TEXT, "1": b"PA30" + TEXT, "2": TEXT})
    found = opened(put(zipped([("u.cab", update), ("0", b"PA30")]), "x.zip"))
    assert found.pop("!u.cab!a.sys") == IMAGE
    assert [text.rpartition(" makes")[2] for text in found.values()] == [" (2 files)", ""]
    assert list(found) == ["!u.cab!0", "!0"]


NAMES = [
    ("Windows6.1-KB2685811-x64.cab", False),
    ("Windows8-RT-KB1-x64.msu", False),
    ("Microsoft Kernel-Mode Driver Framework Install-v1.9-Vista.msu", False),
    ("Windows10.0-KB5034441-x64.msu", True),
    ("driver.cab", True),
]


@pytest.mark.parametrize(("name", "is_read"), NAMES)
def test_updates_that_no_windows_with_memory_integrity_takes_are_left_out(put, name, is_read):
    """A co-installer brings the driver framework of Windows 7 along, which nothing loads today."""
    path = put(PROGRAM + cabinet({name: cabinet({"wdf01000.sys": IMAGE})}), "coinstaller.dll")
    if is_read:
        assert list(opened(path).values()) == [IMAGE]
    else:
        with pytest.raises(InputError, match="that only Windows before 10 takes are left out"):
            opened(path)
    named = put(cabinet({"wdf01000.sys": IMAGE}), name)
    assert list(opened(named).values()) == [IMAGE], "whoever names it wants it"


# ---------------------------------------------------------------------- compressed files


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("a.sys", IMAGE, ["!a.sys"]),
        ("content", IMAGE, ["!content"]),
        ("a.cab", cabinet({"b.sys": IMAGE}), ["!a.cab!b.sys"]),
        ("setup.exe", PROGRAM + IMAGE, [f"!setup.exe!driver at {len(PROGRAM):#x}"]),
    ],
)
def test_one_compressed_file(put, pack, name, data, found):
    path = put(pack(data), f"{name}.gz")
    assert kinds.is_package(str(path), path.read_bytes()[:16])
    assert list(opened(path)) == found
    outer = put(zipped([(f"d/{name}.gz", pack(data))]), "x.zip")
    assert list(opened(outer)) == [f"!d/{name}.gz{each}" for each in found]


def test_compressed_text_is_no_package(put):
    for pack in (gzip.compress, lzma.compress):
        path = put(pack(TEXT), "log.gz")
        assert not kinds.is_package(str(path), path.read_bytes()[:16])


# ---------------------------------------------------------------------- 7z


def number(value):
    """As 7z writes numbers below 16,384."""
    return bytes([value]) if value < 0x80 else bytes([0x80 | value >> 8, value & 0xFF])


def seven_zipped(*files):
    """A 7z of files that are stored, each by a coder of its own."""
    sizes = b"".join(number(len(data)) for _, data, _ in files)
    coders = b"".join(b"\1\1" + coder for _, _, coder in files)
    names = b"\0" + b"".join(name.encode("utf-16-le") + b"\0\0" for name, _, _ in files)
    count = number(len(files))
    header = b"\1\4\6\0" + count + b"\x09" + sizes + b"\0"
    header += b"\7\x0b" + count + b"\0" + coders + b"\x0c" + sizes + b"\0\x08\0\0"
    header += b"\5" + count + b"\x11" + number(len(names)) + names + b"\0\0"
    body = b"".join(data for _, data, _ in files)
    start = struct.pack("<QQI", len(body), len(header), zlib.crc32(header))
    head = b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start))
    return head + start + body + header


def test_a_file_that_the_library_cannot_unpack_spoils_no_other(put):
    """7-Zip packs each kind of program in its own way, some of which an older library lacks."""
    files = [("a.sys", IMAGE, b"\x3f"), ("b.sys", OTHER, b"\0"), ("c.sys", IMAGE, b"\x3f")]
    found = opened(put(seven_zipped(*files, ("d.sys", IMAGE, b"\0")), "x.7z"))
    assert (found.pop("!b.sys"), found.pop("!d.sys")) == (OTHER, IMAGE)
    assert all("cannot be read" in text for text in found.values())
    assert list(found) == ["!a.sys", "!c.sys"]
    shut = [one for one in open_archive(put(seven_zipped(*files), "x.7z")) if one.path[-5] != "b"]
    assert [one.lasting for one in shut] == [False, False]  # a newer library may read them
    cut = seven_zipped(*files)[:-4]
    assert [one.lasting for one in open_archive(put(cut, "x.7z"))] == [True]


def test_what_the_library_says_is_what_to_do(put):
    found = opened(put(seven_zipped(("a.sys", IMAGE, b"\x0a")), "x.7z"))
    assert found["!a.sys"].endswith("extract it with 7-Zip and check the folder")
    whole = seven_zipped(("a.sys", IMAGE, b"\0"))
    (text,) = opened(put(whole[:3000], "x.7z.001")).values()
    assert "None" not in text


def test_an_archive_of_which_nothing_can_be_read_is_given_up(put, monkeypatch):
    monkeypatch.setattr("hvci.packages.library._MOST_SPOILT", 2)
    files = [(f"{name}.sys", IMAGE, b"\x3f") for name in "abc"]
    assert "the rest was not tried" in opened(put(seven_zipped(*files), "x.7z"))[""]


# ---------------------------------------------------------------------- zips


def test_what_is_encrypted_hides_nothing_else(put):
    data = bytearray(zipped([("a.sys", IMAGE), ("b.sys", OTHER), ("c.sys", IMAGE)]))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    assert opened(put(bytes(data))) == {
        "!b.sys": OTHER,
        "!c.sys": IMAGE,
        "": "the archive is encrypted (a.sys)",
    }


@pytest.mark.parametrize("python_only", [False, True])
def test_a_file_that_is_packed_in_an_unknown_way_hides_nothing_else(put, monkeypatch, python_only):
    if python_only:
        monkeypatch.setitem(sys.modules, "libarchive", None)
    data = bytearray(zipped([("a.sys", IMAGE), ("b.sys", OTHER)]))
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + at] = 9
    found = opened(put(bytes(data)))
    assert found["!b.sys"] == OTHER
    assert "cannot be read" in found["!a.sys"]
    assert "archive_p" not in found["!a.sys"], "the same in every run"


def test_two_members_of_one_name_are_two_drivers(put):
    """Each is judged by its own bytes; what an INF says of the name is said of those that fit."""
    inf = b"""[Version]
Signature="$WINDOWS NT$"
[Manufacturer]
Maker=Models,NTamd64
[Models.NTamd64]
Device=Install,ROOT\\A
[Install.Services]
AddService=A,2,Service
[Service]
ServiceType=1
StartType=0
ServiceBinary=%12%\\a.sys
"""
    more = driver(pool_type=0)
    for order in ((IMAGE, OTHER, more), (more, IMAGE, OTHER), (OTHER, more, IMAGE)):
        with pytest.warns(UserWarning, match="Duplicate name"):
            path = put(zipped([("a.inf", inf), *(("A.sys", each) for each in order)]))
        found = [(one.data, one.package and one.package.service) for one in open_archive(path)]
        assert found == [(each, "A" if each is not OTHER else None) for each in order]
