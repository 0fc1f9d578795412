"""Archives opened in place: every kind, nested ones, hostile names, bombs, damage."""

import gzip
import io
import json
import random
import sys
import tarfile
import zipfile
from pathlib import Path

import libarchive
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import signed as make
from build import driver, user_program
from cabinets import cabinet, compound, installer
from hvci.catalog.reader import data_text
from hvci.cli import main
from hvci.errors import InputError
from hvci.packages import archives, kinds, library, marks, opened
from hvci.packages.opened import Driver, Refused, open_archive, open_inf
from wims import wim

IMAGE, OTHER = driver(), driver("x86")
INF = """[Version]
Signature="$WINDOWS NT$"
Provider=Maker
Class=System
DriverVer=01/02/2024,1.2.3.4
CatalogFile=a.cat
[Manufacturer]
Maker=Models,NTamd64
[Models.NTamd64]
Device=Install,ROOT\\A
[Install]
CopyFiles=@a.sys
[Install.Services]
AddService=A,2,Service
[Service]
ServiceType=1
StartType=0
ServiceBinary=%12%\\a.sys
[SourceDisksNames]
1=Disk
[SourceDisksFiles]
a.sys=1,bin
"""
CATALOG = make.catalog([make.authentihash(IMAGE)], make.vendor())
FILES = {"p/a.inf": INF.encode(), "p/bin/A.sys": IMAGE, "p/a.cat": CATALOG, "readme.txt": b"x" * 99}


def zipped(files, **more):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data, **more)
    return out.getvalue()


def tarred(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def by_libarchive(files, form):
    parts = []
    with libarchive.custom_writer(lambda data: parts.append(bytes(data)) or len(data), form) as out:
        for name, data in files.items():
            out.add_file_from_memory(name, len(data), data)
    return b"".join(parts)


KINDS = {
    "zip": zipped,
    "tar": tarred,
    "tgz": lambda files: tarred(files, "w:gz"),
    "txz": lambda files: tarred(files, "w:xz"),
    "7z": lambda files: by_libarchive(files, "7zip"),
    "iso": lambda files: by_libarchive(files, "iso9660"),
    "cab": cabinet,
    "stored.cab": lambda files: cabinet(files, zipped=False),
    "wim": wim,
    "xpress.wim": lambda files: wim(files, "xpress"),
    "msi": lambda files: compound({"\u4840\u3b3f": b"table", "data": cabinet(files)}),
}


@pytest.fixture
def put(tmp_path):
    def write(data, name="x.bin"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def drivers(path):
    return [one for one in open_archive(path) if isinstance(one, Driver)]


def refused(path):
    return [one for one in open_archive(path) if isinstance(one, Refused)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_archive(put, kind):
    path = put(KINDS[kind](FILES), f"x.{kind}")
    (one,) = drivers(path)
    assert one.data == IMAGE
    assert one.path.startswith(f"{path}!")
    assert one.path.lower().endswith("bin/a.sys")
    assert [data for _, data in one.catalogs] == [CATALOG]
    assert (one.package.service, one.package.start) == ("A", "boot")
    assert (one.package.provider, one.package.hardware_ids) == ("Maker", 1)


def test_an_installer_names_the_files_of_its_cabinets(put):
    """A driver is the one that the INF means, whatever key it has, in the folder that it is for."""
    keyed = {f"fil{number}": file for number, file in enumerate(FILES.items())}
    keyed["filX"] = ("other/bin/A.sys", OTHER)
    found = {one.path.partition("!cabinet 1!")[2]: one for one in drivers(put(installer(keyed)))}
    assert {name: one.package and one.package.service for name, one in found.items()} == {
        "p/bin/A.sys": "A",
        "other/bin/A.sys": None,
    }
    assert [data for _, data in found["p/bin/A.sys"].catalogs] == [CATALOG]


def test_a_package_in_two_cabinets_of_an_installer(put):
    keys = dict(zip("isc", FILES.items(), strict=False))
    path = put(installer(keys, second=("s", "c")))
    (one,) = open_archive(path)
    assert one.path == f"{path}!cabinet 2!p/bin/A.sys"
    assert (one.package.inf, one.package.service) == (f"{path}!cabinet 1!p/a.inf", "A")
    assert one.package.catalogs == (f"{path}!cabinet 2!p/a.cat",)
    assert len(one.catalogs) == 1


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_installer_still_opens(put, seed):
    chance = random.Random(seed)
    data = bytearray(installer({"k": ("p/a.sys", IMAGE), "i": ("p/a.inf", INF.encode())}))
    tables = data.index(b"SourceDir")
    for _ in range(chance.choice((1, 4, 30))):
        place = chance.choice((chance.randrange(len(data)), tables + chance.randrange(-4096, 64)))
        data[place % len(data)] = chance.randrange(256)
    try:
        for one in open_archive(put(bytes(data))):
            assert isinstance(one, Driver) or str(one.error)
    except InputError as error:
        assert str(error)


def test_a_cabinet_without_libarchive(put, monkeypatch):
    monkeypatch.setitem(sys.modules, "libarchive", None)
    assert drivers(put(cabinet(FILES)))[0].data == IMAGE
    (one,) = refused(put(by_7z()))
    assert "needs libarchive: install 'hvci[packages]'" in str(one.error)


def by_7z():
    return KINDS["7z"](FILES)


@pytest.mark.parametrize(("module", "kind"), [("olefile", "msi"), ("pymsi", "cab")])
def test_a_missing_package_is_named(put, monkeypatch, module, kind):
    monkeypatch.setitem(sys.modules, "libarchive", None)
    monkeypatch.setitem(sys.modules, module, None)
    for name in list(sys.modules):
        if name.startswith(f"{module}."):
            monkeypatch.setitem(sys.modules, name, None)
    (one,) = refused(put(KINDS[kind](FILES)))
    assert "install 'hvci[packages]'" in str(one.error)


def test_archives_within_archives(put):
    inner = zipped({"a.sys": IMAGE})
    deep = zipped(
        {"in.cab": cabinet({"b.sys": OTHER}), "in.zip": inner, "x.gz": gzip.compress(b"x")}
    )
    found = drivers(put(tarred({"dir/deep.zip": deep}), "x.tar"))
    assert sorted(one.path.partition("!")[2] for one in found) == [
        "dir/deep.zip!in.cab!b.sys",
        "dir/deep.zip!in.zip!a.sys",
    ]
    too_deep = inner
    for number in range(6):
        too_deep = zipped({f"{number}.zip": too_deep})
    assert "nested too deep" in str(refused(put(too_deep))[0].error)


def test_a_driver_is_known_by_what_it_is(put):
    files = {"_ABC123": IMAGE, "tool.exe": b"MZ" + bytes(100), "not.sys": b"text", "b.sys": OTHER}
    files["__MACOSX/._b.sys"] = b"\0\5\x16\7"
    names = [one.path.rpartition("!")[2] for one in drivers(put(zipped(files)))]
    assert names == ["_ABC123", "not.sys", "b.sys"], "what is called a driver is never left out"


@pytest.mark.parametrize("name", ["a.inf", "A.CAT"])
def test_what_is_called_a_text_of_a_package_is_known_by_what_it_is_as_well(put, name):
    files = {name: IMAGE, f"in/{name}": zipped({"b.sys": OTHER})}
    assert [one.path.partition("!")[2] for one in drivers(put(zipped(files)))] == [
        name,
        f"in/{name}!b.sys",
    ]


@pytest.mark.parametrize("library", [True, False])
def test_a_cabinet_behind_a_cabinet_is_told(put, monkeypatch, library):
    if not library:
        monkeypatch.setattr("hvci.packages.library.has_library", lambda: False)
    *found, last = open_archive(put(cabinet(FILES) + cabinet({"c.sys": OTHER})))
    assert len(found) == len(drivers(put(cabinet(FILES))))
    assert "another cabinet stands behind it" in str(last.error)
    assert not refused(put(cabinet(FILES) + b"a signature"))


NAMES = [
    "../../evil.sys",
    "/abs/evil.sys",
    "C:\\evil.sys",
    "NUL",
    "a:stream.sys",
    "x" * 200 + ".sys",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_anywhere(put, tmp_path, name, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (one,) = drivers(put(tarred({name: IMAGE})))
    assert one.path.endswith(f"!{name}")
    assert sorted(tmp_path.rglob("*")) == [scratch, tmp_path / "x.bin"]


def test_links_and_devices_are_passed_over(put):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            entry = tarfile.TarInfo("device.sys" if kind == tarfile.CHRTYPE else "link.txt")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    with pytest.raises(InputError, match="no driver in this archive"):
        drivers(put(out.getvalue()))


def test_bounds(put, monkeypatch):
    path = put(zipped({"a.sys": IMAGE, "b.sys": OTHER, "c.txt": bytes(5000)}))
    monkeypatch.setattr(opened, "MAX_MEMBER", 100)
    assert ["too large" in str(one.error) for one in refused(path)] == [True, True]
    monkeypatch.setattr(opened, "MAX_TOTAL", 3000)
    assert "more than 0 GiB" in str(refused(path)[-1].error)
    monkeypatch.setattr(opened, "MAX_TOTAL", 1 << 30)
    monkeypatch.setattr(opened, "MAX_MEMBER", 1 << 20)
    monkeypatch.setattr(opened, "_MOST_KEPT", 1)
    assert "more than 1 drivers" in str(refused(path)[-1].error)
    monkeypatch.setattr(opened, "MAX_MEMBERS", 1)
    assert "more than 1 files" in str(refused(path)[-1].error)


def test_an_archive_within_may_be_larger_than_a_driver(put, monkeypatch):
    inner = zipped({"a.sys": IMAGE, "b.bin": random.Random(1).randbytes(20_000)})
    path = put(zipped({"in.zip": inner}))
    monkeypatch.setattr(opened, "MAX_MEMBER", 10_000)
    assert [one.data for one in drivers(path)] == [IMAGE]
    monkeypatch.setattr(opened, "MAX_NESTED", 10_000)
    assert "extract it and check it alone" in str(refused(path)[0].error)


def test_a_full_disk_is_said_and_not_remembered(put, monkeypatch):
    path = put(zipped({"a.sys": IMAGE}))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hvci.packages.opened._Opening._copied", full)
    (one,) = refused(path)
    assert (str(one.error), one.lasting) == ("there was no room to unpack all of it", False)


def test_a_bomb_is_not_unpacked(put, monkeypatch):
    monkeypatch.setattr(opened, "MAX_TOTAL", 1 << 20)
    bomb = zipped({"a.sys": b"MZ" + bytes(64 << 20)})
    assert "holds more than" in str(refused(put(bomb))[0].error)


def test_a_zip_that_begins_with_what_it_does_not_list_says_so(put):
    """Two that are joined, and a list without the file: the reader of a zip begins at its end."""
    one, other = zipped({"a.sys": IMAGE}), zipped({"b.sys": OTHER})
    first, told = open_archive(put(one + other, "x.zip"))
    assert first.data == OTHER
    assert "begins with a file that its list does not name" in str(told.error)
    emptied = one[: one.index(b"PK\1\2")] + b"PK\5\6" + bytes(18)
    (told,) = open_archive(put(emptied, "x.zip"))
    assert "begins with a file that its list does not name" in str(told.error)


@pytest.mark.parametrize("mark", [b"PK\7\x08", b"PK00"])
def test_a_zip_that_was_made_in_parts_is_one(put, mark):
    path = put(mark + zipped({"a.sys": IMAGE}), "x.bin")
    assert kinds.is_package(str(path), path.read_bytes()[:16])
    assert [one.data for one in open_archive(path)] == [IMAGE]


def test_an_encrypted_archive_says_so(put):
    data = bytearray(zipped({"a.sys": IMAGE}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    assert "encrypted (a.sys)" in str(refused(put(bytes(data)))[0].error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_says_so(put, kind):
    data = KINDS[kind](FILES)
    whole = data.find(IMAGE[:512])  # an ISO ends with much that is not needed
    found = refused(put(data[: whole + 700 if kind == "iso" else len(data) // 3]))
    assert found
    assert all(str(one.error) for one in found)


@pytest.mark.parametrize("kind", ["tar", "tgz", "txz"])
def test_a_tar_that_is_cut_anywhere_says_so(put, kind):
    """tarfile itself takes a cut between two members for the end."""
    data = KINDS[kind](FILES)
    used = (
        len(data)
        if kind != "tar"
        else 1024 + sum(512 + -(-len(d) // 512) * 512 for d in FILES.values())
    )
    for cut in range(0, used - 1024 if kind == "tar" else used - 1, 97):
        try:
            found = refused(put(data[:cut], f"x.{kind}"))
        except InputError as error:
            assert cut < 300, str(error)
            continue
        assert found, cut


def linked(name="d/a.sys", target="d/a.sys"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in ((name, IMAGE), ("old.txt", b""), ("e/none.sys", b"")):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for path in ("e/b.sys", "e/c.sys", *("e/notes.txt",) * (target != name)):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.LNKTYPE, target
            archive.addfile(entry)
    return out.getvalue()


def in_cpio(name, data, inode, links):
    def whole(data):
        return data + bytes(-len(data) % 4)

    fields = (inode, 0o100644, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % one for one in fields)
    return whole(head + name.encode() + b"\0") + whole(data)


@pytest.mark.parametrize("form", ["tar", "tgz", "lz4", "cpio"])
def test_every_name_of_a_file_is_told(put, form):
    names = ("d/a.sys", "e/b.sys", "e/c.sys", "e/none.sys")
    pack = {"tar": bytes, "tgz": gzip.compress, "lz4": in_lz4, "cpio": lambda _: cpio}
    cpio = b"".join(in_cpio(one, b"", 5, 3) for one in names[:2])
    cpio += in_cpio(names[2], IMAGE, 5, 3) + in_cpio(names[3], b"", 6, 1)
    cpio += in_cpio("TRAILER!!!", b"", 0, 1)
    found = drivers(put(pack[form](linked()), f"x.tar.{form}" if form == "lz4" else f"x.{form}"))
    told = {one.path.rpartition("!")[2]: one.data for one in found}
    assert told == {**dict.fromkeys(names[:3], IMAGE), names[3]: b""}


def in_lz4(data):
    parts = []
    with libarchive.custom_writer(
        lambda some: parts.append(bytes(some)) or len(some), "raw", "lz4"
    ) as out:
        out.add_file_from_memory("x", len(data), data)
    return b"".join(parts)


@pytest.mark.parametrize("form", ["tar", "tar.lz4"])
def test_a_link_to_what_is_not_in_an_archive_is_told(put, form):
    data = linked(target="lost.sys")
    path = put(in_lz4(data) if form == "tar.lz4" else data, f"x.{form}")
    told = {one.path.rpartition("!")[2]: str(one.error) for one in refused(path)}
    why = "it cannot be read: it is a link to lost.sys, which is not in the archive"
    assert told == dict.fromkeys(("e/b.sys", "e/c.sys"), why)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_tars_that_are_joined_are_all_read_and_damage_between_files_is_told(put, pack):
    one, other = tarred({"a.sys": IMAGE}), tarred({"b.sys": OTHER})
    path = put(pack(one + other), "x.tar")
    assert [each.data for each in open_archive(path)] == [IMAGE, OTHER]
    size = 512 + len(IMAGE) + -len(IMAGE) % 512
    damaged = one[:size] + b"\xff" * 512 + other
    first, told = open_archive(put(pack(damaged), "y.tar"))
    assert first.data == IMAGE
    assert "there is more behind the last file of it that can be read" in str(told.error)


def test_a_damaged_member_leaves_the_others(put):
    data = bytearray(zipped({"a.sys": IMAGE, "b.sys": OTHER}))
    data[60] ^= 0xFF
    found = list(open_archive(put(bytes(data))))
    assert {type(one) for one in found} == {Driver, Refused}


@pytest.mark.parametrize("python_only", [False, True])
def test_a_part_of_a_set_of_cabinets_says_so(put, monkeypatch, capfd, python_only):
    if python_only:
        monkeypatch.setitem(sys.modules, "libarchive", None)
    data = bytearray(cabinet(FILES))
    data[30] |= 2
    data[36:36] = b"next.cab\0disk 2\0"  # and everything behind it stands so much later
    for at in (8, 16, 36 + 16):
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + 16).to_bytes(4, "little")
    found = list(open_archive(put(bytes(data))))
    assert any("a part of a set" in str(one.error) for one in found if isinstance(one, Refused))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("place", "held", "told"),
    [
        (0x48, b"\x18\x4d", "contradict each other"),
        (0x46, b"\xff\xff", "larger than it can be"),
        (0x28, b"\xff\xff", "cut off"),
        (0x34, b"\x07\x00", "a folder that is not there"),
        (0x2C, b"\xff\xff\x00\x00", "larger than what it is packed in"),
        (0x24, b"\xff\xff\xff\x7f", "cut off"),
    ],
)
def test_a_cabinet_that_contradicts_itself_is_refused_before_it_is_unpacked(
    put, monkeypatch, place, held, told
):
    """Native code once trusted the lengths of a block."""
    data = bytearray(cabinet({"a.sys": bytes(24)}, zipped=False))
    data[place : place + len(held)] = held
    monkeypatch.setattr(library, "by_library", None)
    with pytest.raises(InputError, match=told):
        list(archives.members(put(bytes(data), "x.cab"), "cab"))


def test_an_archive_without_drivers(put):
    with pytest.raises(InputError, match=r"x.bin: no driver in this archive"):
        drivers(put(zipped({"a.txt": b"x"})))


@pytest.mark.parametrize("seed", range(240))
def test_mutated_archives(put, seed):
    chance = random.Random(seed)
    data = bytearray(list(KINDS.values())[seed % len(KINDS)](FILES))
    for _ in range(chance.choice((1, 3, 20))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path = put(bytes(data))
    try:
        for one in open_archive(path):
            assert isinstance(one, Driver) or str(one.error)
    except InputError as error:
        assert str(error)


# ---------------------------------------------------------------------- an INF and its files


@pytest.fixture
def package(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path / "p" / "a.inf"


def test_the_drivers_of_an_inf(package):
    (one,) = open_inf(package)
    assert (one.path, one.data) == (str(package.parent / "bin" / "A.sys"), IMAGE)
    assert one.package.catalogs == (str(package.parent / "a.cat"),)
    assert one.catalogs == ((str(package.parent / "a.cat"), CATALOG),)


def test_a_binary_that_is_missing_is_told(package):
    (package.parent / "bin" / "A.sys").unlink()
    (one,) = open_inf(package)
    assert str(one.error) == "service A: a.sys is not in the package"


def test_no_link_is_followed_out_of_a_package(package, tmp_path):
    file = package.parent / "bin" / "A.sys"
    file.rename(tmp_path / "outside.sys")
    file.symlink_to(tmp_path / "outside.sys")
    (one,) = open_inf(package)
    assert isinstance(one, Refused)


def test_an_inf_without_kernel_services(package):
    package.write_text(INF.replace("ServiceType=1", "ServiceType=0x10"))
    with pytest.raises(InputError, match="installs no kernel driver"):
        list(open_inf(package))
    package.write_text(
        INF.replace("[Install.Services]", "[Install.None]").replace(
            "[Install]", "[Install]\nInclude=usb.inf"
        )
    )
    with pytest.raises(InputError, match=r"no kernel driver; it includes usb\.inf"):
        list(open_inf(package))


def test_problems_of_an_inf_are_told(package):
    package.write_text(INF.replace("AddService=A", "AddService=B,2,Absent\nAddService=A"))
    found = list(open_inf(package))
    assert [type(one) for one in found] == [Driver, Refused]


def test_files_of_a_package_are_bounded(package, monkeypatch):
    monkeypatch.setattr(opened, "MAX_MEMBER", 10)
    with pytest.raises(InputError, match="too large"):
        list(open_inf(package))
    monkeypatch.setattr(opened, "MAX_MEMBERS", 1)
    assert len(list(opened._around(package.parent))) == 1
    with pytest.raises(InputError, match="No such file"):
        list(open_inf(Path("missing.inf")))


# ---------------------------------------------------------------------- the command line


def check(*words):
    return CliRunner().invoke(main, ["check", *map(str, words), "--no-config"])


def test_a_package_is_a_target(package):
    text = " ".join(check(package).stdout.split())
    assert f"package {package}: service A, starts at boot; provider Maker; version" in text
    assert f"1 hardware ids; catalog {package.parent / 'a.cat'}." in text
    assert "signed other: Signed, but not by Microsoft" in text
    assert f"by catalog {package.parent / 'a.cat'}" in text


def test_a_folder_holds_packages_and_archives(package, tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"in.cab": cabinet({"b.sys": OTHER})}))
    (tmp_path / "none.zip").write_bytes(zipped({"a.txt": b"x"}))
    (tmp_path / "edk.inf").write_bytes(b"[Defines]\n")
    result = check(tmp_path, "-f", "json")
    document = json.loads(result.stdout)
    paths = {one["target"]["path"]: one for one in document["reports"]}
    driven = str(package.parent / "bin" / "A.sys")
    assert set(paths) == {driven, f"{tmp_path / 'x.zip'}!in.cab!b.sys"}
    assert paths[driven]["package"]["service"] == "A"
    assert paths[driven]["answers"]["signed"] == "other"
    assert document["errors"] == []
    assert "1 INFs read, 2 archives opened" in result.stderr


def test_a_folder_without_drivers_says_so_whatever_packages_it_has(tmp_path):
    (tmp_path / "none.zip").write_bytes(zipped({"a.txt": b"x"}))
    (tmp_path / "a.inf").write_text(INF)
    result = check(tmp_path)
    assert (result.exit_code, "no driver in this folder" in result.output) == (4, True)


def test_archives_of_a_folder_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.cli.gather.MOST_ARCHIVES", 1)
    for name in ("a.zip", "b.zip", "c.zip"):
        (tmp_path / name).write_bytes(zipped({"a.sys": IMAGE}))
    result = check(tmp_path, "-f", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, len(document["reports"])) == (4, 1)
    (error,) = document["errors"]
    assert error["path"] == str(tmp_path / "b.zip")
    assert "not opened, and 1 archives behind it" in error["message"]


def test_an_archive_is_a_target(put):
    path = put(zipped({**FILES, "b.sys": b"MZ" + bytes(80)}), "x.whl")
    document = json.loads(check(path, "-f", "json").stdout)
    Draft202012Validator(json.loads(data_text("report.schema.json"))).validate(document)
    (one,) = document["reports"]
    assert one["target"]["path"] == f"{path}!p/bin/A.sys"
    assert one["package"]["service"] == "A"
    assert one["answers"]["signed"] == "other"
    assert [error["path"] for error in document["errors"]] == [f"{path}!b.sys"]
    saved = put(json.dumps(document).encode(), "saved.json")
    assert json.loads(check(saved, "-f", "json").stdout)["reports"] == document["reports"]


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        (bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst", "an NSIS"),
        (b"Inno Setup Setup Data (5.4.2)\0", "an Inno Setup"),
    ],
)
def test_an_installer_is_named(put, mark, name):
    program = user_program(overlay=mark)
    result = check(put(program, "setup.exe"))
    assert result.exit_code == 4
    assert f"{name} installer, which hvci does not open" in " ".join(result.stdout.split())
    assert "hvci does not open" not in check(put(user_program(), "tool.exe")).stdout


def test_a_bad_catalog_of_a_package_says_nothing(package):
    (package.parent / "a.cat").write_bytes(b"none")
    assert "signed none" in " ".join(check(package).stdout.split())


def test_what_is_no_archive():
    assert marks.kind_of(b"MZ") == kinds.kind_of_file(Path("missing")) == ""


def test_a_folder_lacks_what_its_inf_names(package, tmp_path):
    """An INF that names what is not there is news beside drivers; among sources it is none."""
    (package.parent / "bin" / "A.sys").unlink()
    (tmp_path / "other.sys").write_bytes(OTHER)
    assert check(tmp_path).exit_code == 0  # no driver at or below the INF
    (package.parent / "b.sys").write_bytes(OTHER)
    for more in ((), ("--isolate",)):
        result = check(tmp_path, "-f", "json", *more)
        (error,) = json.loads(result.stdout)["errors"]
        assert (result.exit_code, error["path"]) == (4, str(package))
        assert error["message"] == "service A: a.sys is not in the package"
    built = package.parent / "x64" / "Release" / "A.SYS"
    built.parent.mkdir(parents=True)
    built.write_bytes(IMAGE)
    assert json.loads(check(tmp_path, "-f", "json").stdout)["errors"] == []
    built.unlink()
    in_cabinet = INF.replace("1=Disk", "1=Disk,a.cab").replace("=1,bin", "=1")
    package.write_text(in_cabinet)
    (package.parent / "A.cab").write_bytes(cabinet({"a.sys": IMAGE}))  # is opened for itself
    assert json.loads(check(tmp_path, "-f", "json").stdout)["errors"] == []
    (package.parent / "A.cab").write_bytes(cabinet({"c.sys": IMAGE}))
    for beside in (True, False):  # another driver
        if not beside:
            (package.parent / "b.sys").unlink()
        for more in ((), ("--isolate",)):
            result = check(tmp_path, "-f", "json", *more)
            (error,) = json.loads(result.stdout)["errors"]
            assert (result.exit_code, error["path"]) == (4, str(package))
            assert "a.sys is not in the package, or in a.cab" in error["message"]
    package.write_text(INF)
    (package.parent / "main.c").write_text("int x;")
    assert json.loads(check(tmp_path, "-f", "json").stdout)["errors"] == []
