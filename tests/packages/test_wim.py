"""Windows images: each form of compression, several images, damage."""

import random
import struct

import pytest

import wims
from build import driver
from hvci.errors import InputError
from hvci.packages import archives
from hvci.packages.opened import open_archive
from hvci.packages.wim import Damaged, _lzx, xpress

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
