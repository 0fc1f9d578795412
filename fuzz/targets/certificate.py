"""The certificate table: PKCS #7, certificates, time stamps, page hashes."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

import build
import signed
from hvci import signing
from hvci.model import NEWEST

_plain = build.driver()


def one(data: bytes) -> None:
    """The input is one entry of the table, whose head says how long it is."""
    with answer_or_sentence():
        signing.read(signed.attached(_plain, data), NEWEST)


def seeds() -> Iterator[bytes]:
    """Signatures of several signers."""
    yield signed.message(_plain, signed.vendor())
    yield signed.message(_plain, signed.microsoft(), pages=True)
    yield signed.message(_plain, signed.cross_signed(), alg="sha1")
