"""Signed catalogs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from answers import answer_or_sentence

import signed
from hvci.signing.catalog import read_catalog


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        assert read_catalog(data, "x.cat").members


def seeds() -> Iterator[bytes]:
    """Catalogs of both forms."""
    digest = hashlib.sha1(b"", usedforsecurity=False).digest()
    yield signed.catalog([digest], signed.vendor())
    yield signed.catalog([digest], signed.microsoft(), old=True)
