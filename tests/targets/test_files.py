"""What a word of the command line leads to."""

import io
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from hvci.errors import InputError
from hvci.packages import images
from hvci.targets import STDIN, Found, Kind, Missing, find, read_bytes
from hvci.targets.files import is_source

NATIVE = b"MZ" + bytes(58) + b"\x40\0\0\0" + b"PE\0\0" + bytes(0x58) + b"\x01\0"
GUI = NATIVE[:-2] + b"\x02\0"


def paths(*words):
    return [target.path for target in find(words)]


def why(word):
    (missing,) = find([word])
    assert isinstance(missing, Missing)
    return str(missing.error)


def test_a_file_is_itself(tmp_path):
    file = tmp_path / "x.bin"
    file.write_bytes(b"anything")
    assert list(find([str(file)])) == [Found(str(file), Kind.IMAGE)]


def test_a_saved_report_is_told_from_an_image(tmp_path):
    file = tmp_path / "x.json"
    file.write_text('\n  {"schema_version": 1}')
    assert list(find([str(file)])) == [Found(str(file), Kind.REPORT)]


def test_standard_input():
    assert list(find(["-"])) == [Found(STDIN, Kind.IMAGE)]


def test_folders_are_searched_in_order_for_drivers_only(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "one.sys").write_bytes(b"")
    (tmp_path / "a" / "TWO.SYS").write_bytes(b"")
    (tmp_path / "a" / "native.dll").write_bytes(NATIVE)
    (tmp_path / "a" / "window.dll").write_bytes(GUI)
    (tmp_path / "a" / "text.txt").write_bytes(b"MZ is how this text starts")
    (tmp_path / "a" / "note.txt").write_bytes(b"no")
    names = ("a/TWO.SYS", "a/native.dll", "b/one.sys")
    assert paths(str(tmp_path)) == [str(tmp_path / name) for name in names]


def test_a_folder_without_drivers_says_so(tmp_path):
    assert "no driver in this folder" in why(str(tmp_path))


def test_symlink_loops_end(tmp_path):
    (tmp_path / "x.sys").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert paths(str(tmp_path)) == [str(tmp_path / "x.sys")]


def test_what_cannot_be_read_in_a_folder_is_told(tmp_path, monkeypatch):
    for name in ("a/good.sys", "b/x.bin", "c/d/deep.sys"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(NATIVE)
    (tmp_path / "a" / "gone.sys").symlink_to("nowhere")
    (tmp_path / "a" / "gone.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a" / "pipe.sys")
    os.mkfifo(tmp_path / "a" / "pipe")
    opened, listed = open, os.scandir

    def refuse(call, path, *rest, **more):
        if Path(path).name in ("x.bin", "c"):
            raise PermissionError(13, "Permission denied", str(path))
        return call(path, *rest, **more)

    monkeypatch.setattr(images, "open", partial(refuse, opened), raising=False)
    monkeypatch.setattr("os.scandir", partial(refuse, listed))
    found = list(find([str(tmp_path)]))
    told = {one.path.removeprefix(f"{tmp_path}/"): str(getattr(one, "error", "")) for one in found}
    reasons = {name: text.rpartition(": ")[2] for name, text in told.items()}
    assert reasons == {
        "a/good.sys": "",
        "a/gone.sys": "No such file or directory",
        "a/pipe.sys": "not a regular file",
        "b/x.bin": "Permission denied",
        "c": "Permission denied",
    }


def test_patterns(tmp_path):
    for name in ("b.sys", "a.sys", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert paths(str(tmp_path / "*.sys")) == [str(tmp_path / "a.sys"), str(tmp_path / "b.sys")]
    assert paths(str(tmp_path / "**" / "*.txt")) == [str(tmp_path / "c.txt")]
    assert "no file matches" in why(str(tmp_path / "*.exe"))


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    file = tmp_path / "a[1].sys"
    file.write_bytes(b"")
    assert paths(str(file)) == [str(file)]


def test_each_path_once(tmp_path):
    file = tmp_path / "a.sys"
    file.write_bytes(b"")
    assert paths(str(file), str(tmp_path), str(file)) == [str(file)]


def test_missing_and_odd_files(tmp_path):
    assert "No such file" in why(str(tmp_path / "none.sys"))
    assert "null" in why("a\0b")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in why(str(pipe))
    assert list(find([str(pipe), str(tmp_path / "none")]))[1:]


def test_reading_is_bounded(tmp_path, monkeypatch):
    file = tmp_path / "a.sys"
    file.write_bytes(b"12345")
    assert read_bytes(str(file)) == b"12345"
    monkeypatch.setattr("hvci.targets.files.MAX_BYTES", 4)
    with pytest.raises(InputError, match="more than 4 bytes"):
        read_bytes(str(file))
    with pytest.raises(InputError, match="Is a directory"):
        read_bytes(str(tmp_path))


def test_reading_standard_input(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"MZ"))
    monkeypatch.setattr(sys, "stdin", stream)
    assert read_bytes(STDIN) == b"MZ"


@pytest.mark.parametrize(
    ("name", "text", "in_folder"),
    [
        ("Cargo.toml", '[dependencies]\nwdk-sys = "0.5"\n', True),
        ("Cargo.toml", '[lib]\ncrate-type = ["cdylib"]\n', True),
        ("Cargo.toml", '[package]\nname = "tool"\n', False),
        ("lib.rs", "", False),
        ("meson.build", "", False),
        ("Makefile", "", False),
        ("a.hxx", "", True),
    ],
)
def test_sources_by_name_and_in_folders(tmp_path, name, text, in_folder):
    path = tmp_path / name
    path.write_text(text)
    assert [one.kind for one in find([str(path)])] == [Kind.SOURCE]
    (found,) = find([str(tmp_path)])
    assert isinstance(found, Found) is in_folder


def test_a_manifest_that_cannot_be_read_is_none_of_a_driver(tmp_path):
    assert not is_source(tmp_path / "Cargo.toml")
