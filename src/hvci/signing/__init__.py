"""Signatures of drivers: bytes in, who signed out, and what Windows makes of it. No verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hvci.model import WindowsVersion
from hvci.model.signature import Signed, Trust
from hvci.signing import policy
from hvci.signing.authenticode import Read, embedded
from hvci.signing.image import SignedFile

if TYPE_CHECKING:
    from hvci.signing.catalog import Catalog


class Signatures(NamedTuple):
    """A file with its signatures: for the report, and for lists that name certificates."""

    file: SignedFile
    reads: tuple[Read, ...]
    trust: Trust


def read(data: bytes, target_os: WindowsVersion, catalogs: Sequence[Catalog] = ()) -> Signatures:
    """The signatures of a driver image; raise `InputError` when it is none."""
    file = SignedFile(data)
    reads = list(embedded(file)) if file.has_table else []
    reads += [found for catalog in catalogs if (found := catalog.covers(file))]
    unread = [each.path for each in catalogs if not each.is_read]
    asked = len(catalogs) - len(unread)
    facts = tuple(each.facts for each in reads)
    one = policy.best(facts)
    passes, why = policy.driver_policy(one, file.headers.machine, target_os)
    trust = Trust(
        one.signed if one else Signed.NONE,
        policy.reason(facts, asked, unread),
        passes,
        why,
        facts,
        file.digest("sha256").hex(),
        asked,
    )
    return Signatures(file, tuple(reads), trust)


__all__ = ["Read", "Signatures", "read"]
