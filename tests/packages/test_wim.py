"""Windows images: each form of compression, several images, damage."""

import hashlib
import random
import struct

import pytest

import wims
from build import driver
from hvci.errors import InputError
from hvci.packages import archives
from hvci.packages.opened import open_archive
from hvci.packages.wim import Damaged, Wim, _lzx, xpress

IMAGE = driver()


@pytest.mark.parametrize("size", [1, 9, 4000, wims.CHUNK])
def test_chunks_of_xpress_and_lzx(size):
    data = bytes(random.Random(size).choice((0, 0, 0, 7, 255)) for _ in range(size))
    assert xpress(wims.xpress(data), size) == data
    assert _lzx()(wims.lzx(data), size) == data


def test_every_image_is_read_and_equal_files_once(tmp_path):
    path = tmp_path / "install.wim"
    files = {"Windows/System32/a.sys": IMAGE, "Windows/b.txt": b"x" * 99, "Windows/c.exe": IMAGE}
    path.write_bytes(wims.wim(files, images=2))
    found = {one.path.removeprefix(str(path)): one.data for one in open_archive(path)}
    assert found == {"!1/Windows/System32/a.sys": IMAGE, "!1/Windows/c.exe": IMAGE}


INF = """[Version]
Signature="$WINDOWS NT$"
[Manufacturer]
M=M,NTamd64
[M.NTamd64]
D=I,ROOT\\A
[I.Services]
AddService={},2,S
[S]
ServiceType=1
StartType={}
ServiceBinary=%12%\\a.sys
"""


def test_equal_files_are_of_each_package_that_has_them(tmp_path):
    """One driver for two Windows in two packages, one INF beside two drivers."""
    one, two, other = INF.format("One", 0).encode(), INF.format("Two", 3).encode(), driver("x86")
    files = {"w10/a.inf": one, "w10/a.sys": IMAGE, "w11/b.inf": two, "w11/a.sys": IMAGE}
    files |= {"old/a.inf": one, "old/a.sys": other, "loose/a.sys": IMAGE}
    path = tmp_path / "a.wim"
    path.write_bytes(wims.wim(files, images=2))
    found = {one.path.removeprefix(f"{path}!1/"): one for one in open_archive(path)}
    assert "one for x86" in str(found.pop("old/a.inf").error)
    assert {name: each.data for name, each in found.items()} == {
        name: data for name, data in files.items() if name.endswith(".sys")
    }
    told = {name: each.package and each.package.service for name, each in found.items()}
    services = ("One", "Two", "One", None)
    names = ("w10/a.sys", "w11/a.sys", "old/a.sys", "loose/a.sys")
    assert told == dict(zip(names, services, strict=True))


def test_a_package_that_differs_between_images_is_read_whole(tmp_path, monkeypatch):
    one, other, text = INF.format("One", 0).encode(), driver("x86"), b"text"
    first = {"p/a.inf": one, "p/x/a.sys": IMAGE, "p/b.sys": IMAGE, "c.sys": IMAGE, "d": text}
    second = {**first, "p/x/a.sys": other, "d": b"other"}
    lists = [
        [(name, hashlib.sha1(data).digest()) for name, data in each.items()]
        for each in (first, second)
    ]
    path = tmp_path / "a.wim"
    path.write_bytes(wims.wim({**first, "other": other}, images=2))
    with path.open("rb") as stream:
        image = Wim(stream, path.stat().st_size)
        monkeypatch.setattr(image, "listed", lambda number: iter(lists[number - 1]))
        found = [name for name, _ in image._distinct()]
    again = ["2/p/a.inf", "2/p/x/a.sys", "2/p/b.sys", "2/d"]
    assert found == [*(f"1/{name}" for name in first), *again]


def test_bytes_that_are_in_another_file_are_told(tmp_path):
    path = tmp_path / "a.wim"
    data = wims.wim({"a.sys": IMAGE, "b.sys": driver("x86"), "c.sys": b"", "d.txt": b"text"})
    data = data.replace(hashlib.sha1(b"").digest(), bytes(20))
    for lost in (IMAGE, b"text"):
        at = data.rindex(hashlib.sha1(lost).digest())
        data = data[:at] + b"\xff" * 20 + data[at + 20 :]
    path.write_bytes(data)
    found = {one.path.rpartition("/")[2]: one for one in open_archive(path)}
    assert sorted(found) == ["a.sys", "b.sys", "c.sys"]
    assert "its bytes are in another image file" in str(found["a.sys"].error)
    assert found["c.sys"].data == b""


def test_of_a_whole_windows_what_was_not_looked_at_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.packages.wim.MOST_LOOKED_AT", 2)
    path = tmp_path / "install.wim"
    files = {"Windows/System32/a.sys": IMAGE, "Windows/b.txt": b"x" * 99, "Windows/c.exe": IMAGE}
    path.write_bytes(wims.wim(files))
    first, second = open_archive(path)
    assert first.path == f"{path}!1/Windows/System32/a.sys"
    assert "2 files that are not called as drivers" in str(second.error)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (12, 0xE00, "a solid Windows image"),
        (42, 2, "a part of a split Windows image"),
        (16, 0x80002, "compressed in a way"),
        (20, 100, "no size of a chunk"),
    ],
)
def test_what_is_not_opened_is_named(tmp_path, at, value, said):
    data = bytearray(wims.wim({"a.sys": IMAGE}))
    struct.pack_into("<H" if at == 42 else "<I", data, at, value)
    path = tmp_path / "a.wim"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        list(archives.members(path, "wim"))


@pytest.mark.parametrize("packed", [b"", b"\x99" * 300, b"\xff" * 256 + bytes(9), bytes(300)])
def test_damaged_chunks(packed):
    with pytest.raises((Damaged, IndexError)):
        xpress(packed, 5000)


@pytest.mark.parametrize("form", ["stored", "xpress"])
@pytest.mark.parametrize("seed", range(60))
def test_mutated_images(tmp_path, form, seed):
    chance = random.Random(seed)
    data = bytearray(wims.wim({"Windows/a.sys": IMAGE, "b/c/d.inf": b"x" * 40_000}, form))
    for _ in range(chance.choice((1, 4, 30))):
        place = chance.choice((chance.randrange(len(data)), -chance.randrange(1, 400)))
        data[place] = chance.randrange(256)
    path = tmp_path / "a.wim"
    path.write_bytes(data[: chance.randrange(len(data))] if seed % 5 == 0 else data)
    try:
        for one in open_archive(path):
            assert one.path
    except InputError as error:
        assert str(error)
