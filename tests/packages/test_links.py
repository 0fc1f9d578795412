"""Links in archives and folders, and what stands behind compressed files: no silence."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import libarchive
import pytest

from build import driver
from hvci.fleet.walk import Problem, places
from hvci.packages.archives import members
from hvci.packages.kinds import is_package, kind_of_file
from hvci.packages.opened import Driver, open_archive
from hvci.packages.unpacking import Unpacking
from hvci.targets import Missing, find

IMAGE, OTHER = driver(), driver("x86")
LINKS = {"y/b.sys": "../x/a.sys", "c.sys": "y/b.sys", "notes.txt": "x/a.sys", "z/a.sys": "a.sys"}
LOST = {"gone.sys": "../a.sys", "loop.sys": "loop.sys", "all.zip": "/abs/all.zip", "no.txt": "no"}


def tarred(files, links, symbolic=tarfile.SYMTYPE):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, target in list(links.items())[:1]:  # one before what it leads to
            add_link(archive, name, target, symbolic)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, target in list(links.items())[1:]:
            add_link(archive, name, target, symbolic)
    return out.getvalue()


def add_link(archive, name, target, kind):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    archive.addfile(entry)


def zipped(files, links):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, target in links.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def by_libarchive(form):
    def written(files, links):
        for name, data in files.items():
            place(name).write_bytes(data)
        for name, target in links.items():
            place(name).symlink_to(target)
        with libarchive.file_writer("out.bin", form) as out:
            out.add_files(*sorted({name.partition("/")[0] for name in (*files, *links)}))
        return Path("out.bin").read_bytes()

    return written


def place(name):
    Path(name).parent.mkdir(exist_ok=True)
    return Path(name)


FORMS = {
    "tar": tarred,
    "tgz": lambda *given: gzip.compress(tarred(*given)),
    "zip": zipped,
    "7z": by_libarchive("7zip"),
    "cpio": by_libarchive("cpio_newc"),
}


@pytest.mark.parametrize("form", FORMS)
def test_links_in_archives(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    files = {"x/a.sys": IMAGE, "z/other.txt": b"text"}
    path = tmp_path / f"archive.{form}"
    path.write_bytes(FORMS[form](files, {**LINKS, **LOST}))
    images, wrong = {}, {}
    for one in open_archive(path):
        kept = images if isinstance(one, Driver) else wrong
        kept[one.path.rpartition("!")[2]] = one
    assert sorted(images) == ["c.sys", "x/a.sys", "y/b.sys"]
    assert {one.data for one in images.values()} == {IMAGE}
    assert sorted(wrong) == ["all.zip", "gone.sys", "loop.sys", "z/a.sys"]
    assert "it is a link to ../a.sys, which is not in" in str(wrong["gone.sys"].error)


def test_packages_of_a_folder_that_are_links_to_nothing_are_told(tmp_path):
    (tmp_path / "a.sys").write_bytes(IMAGE)
    for name in ("gone.zip", "gone.inf", "gone.sys", "gone.txt", "gone.c"):
        (tmp_path / name).symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.zip")
    told = ["gone.inf", "gone.sys", "gone.zip"]
    met = [one for one in find([str(tmp_path)], is_package) if isinstance(one, Missing)]
    assert [one.path for one in met] == [str(tmp_path / name) for name in told]
    scanned = [one for one in places([str(tmp_path)]) if isinstance(one, Problem)]
    assert [one.path for one in scanned] == [str(tmp_path / name) for name in told]


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("form", PACKERS)
@pytest.mark.parametrize("name", ["x.tar", "x.sys"])
@pytest.mark.parametrize(
    ("behind", "says"),
    [(b"", []), (bytes(700), []), (b"garbage" * 99, ["something else stands behind"])],
)
def test_what_stands_behind_a_compressed_file(tmp_path, form, name, behind, says):
    data = IMAGE if name == "x.sys" else tarred({"x.sys": IMAGE}, {})
    path = tmp_path / f"{name}.{form}"
    path.write_bytes(PACKERS[form](data) + behind)
    image, *wrong = open_archive(path)
    assert image.data == IMAGE
    assert [text in str(one.error) for text, one in zip(says, wrong, strict=True)] == [True] * len(
        says
    )


@pytest.mark.parametrize("form", PACKERS)
def test_streams_that_are_joined_are_one(tmp_path, form):
    parts = [os.urandom(200_000), b"", bytes(300_000), b"end"]
    path = tmp_path / f"x.sys.{form}"
    path.write_bytes(bytes(8).join(map(PACKERS[form], parts)))
    (found,) = (b"".join(one.pieces) for one in members(path, kind_of_file(path)))
    assert found == b"".join(parts)
    with path.open("rb") as raw:
        stream = io.BufferedReader(Unpacking(raw))
        whole = stream.read()
        assert (stream.seek(199_999), stream.read(2)) == (199_999, whole[199_999:200_001])
        assert (stream.seek(10), stream.read(3)) == (10, whole[10:13])
        with pytest.raises(io.UnsupportedOperation):
            stream.raw.seek(0, os.SEEK_END)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(EOFError, match="cut off"), path.open("rb") as raw:
        io.BufferedReader(Unpacking(raw)).read()
