"""Archives that Python opens: zip, tar, gzip, bzip2, xz, and archives within."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterator

from answers import answer_or_sentence, written

import build
from hvci.packages.opened import open_archive

_driver = build.driver()


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        for opened in open_archive(written("x.zip", data)):
            assert opened.path


def _zip(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def _tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.sys")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def seeds() -> Iterator[bytes]:
    """One of each kind."""
    yield _zip(**{"a.sys": _driver, "a.inf": b"[Version]\n", "b/c.zip": _zip(d=_driver)})
    tar = _tar(_driver)
    yield tar[:6000]
    yield gzip.compress(tar, mtime=0)
    yield bz2.compress(tar)
    yield lzma.compress(tar)
