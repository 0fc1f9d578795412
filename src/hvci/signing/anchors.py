"""Authorities of Microsoft by their keys, so that a name alone never counts as proof.

Roots are not enclosed in signatures; the authorities below them are. A key is named by the
SHA-256 of its SubjectPublicKeyInfo, as it was observed in many drivers of independent vendors.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from hvci.errors import CatalogError
from hvci.signing.pkcs7 import SignedData


@cache
def keys() -> frozenset[str]:
    """The hashes of all known keys."""
    text = (files("hvci") / "data" / "anchors.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["authority"]
    for row in rows:
        if set(row) != {"name", "key", "source"} or len(row["key"]) != 64:
            raise CatalogError(f"anchors.toml: bad row {row.get('name')!r}")
    return frozenset(row["key"] for row in rows)


def known(message: SignedData) -> bool:
    """Whether the keys of a signature lead to a known authority."""
    return any(each.key_hash in keys() for each in message.issuers)
