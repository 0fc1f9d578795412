"""Files that a URL names: fetched once, kept by content, and what cannot be had is a row."""

import io
import zipfile

import pytest
from click.testing import CliRunner

from build import driver
from fleets import rows_below as rows
from hvci.cli import main
from hvci.fleet import elsewhere

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("in.sys", driver("arm64"))
    files.pipe({"/top/a.sys": driver(pool_type=0), "/top/b/c.zip": inside.getvalue()})
    files.pipe({"/top/note.txt": b"x"})
    yield "memory://top"
    files.rm("/top", recursive=True)


def run(*args):
    done = CliRunner().invoke(main, ["scan", *map(str, args), "--jobs", "1"])
    assert done.exit_code == 0, done.output
    return done.output


def test_what_is_below_a_url(memory, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run(memory, "-d", tmp_path / "a.db")
    found = rows(tmp_path / "a.db", "memory:/")
    assert {path: row[:2] for path, row in found.items()} == {
        "/top/a.sys": ("report", "incompatible"),
        "/top/b/c.zip": ("package", "-"),
        "/top/b/c.zip!in.sys": ("report", "compatible"),
    }
    assert not list(scratch.iterdir())
    assert "unchanged             3" in run(memory, "-d", tmp_path / "a.db")


def test_what_cannot_be_had_is_a_row(memory, tmp_path, monkeypatch):
    told = {
        "memory://nothing": "no driver or archive there",
        "memory://top/lost.sys": "no driver or archive there",
        "nosuch://a/b": "cannot be fetched",
        "https://me:secret@host/a.sys": "credentials do not belong into a URL",
    }
    for url, sentence in told.items():
        (one,) = elsewhere.places_of(url)
        assert sentence in one.sentence
        assert "secret" not in one.path
    monkeypatch.setattr(elsewhere, "MAX_BYTES", 100)
    (one, _) = elsewhere.places_of(memory)
    assert elsewhere.fetched(one, tmp_path).kind == "too-large"
    assert not list(tmp_path.iterdir())
    assert (
        elsewhere.fetched(one._replace(path="memory://top/lost.sys"), tmp_path).kind == "vanished"
    )
