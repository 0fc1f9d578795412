"""Catalogs (.cat): which files a signature beside them covers.

A member is a hash: Authenticode's for images, that of the whole file for others. Old catalogs name
members by the hash in hexadecimal digits, newer ones by its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from hvci.errors import InputError, UsageError
from hvci.model.signature import Signature
from hvci.signing import der
from hvci.signing.authenticode import INDIRECT_DATA, Read, signature
from hvci.signing.der import DAMAGE, Der, DerError
from hvci.signing.image import SignedFile
from hvci.signing.pkcs7 import SignedData

MAX_BYTES = 64 << 20
MOST_CATALOGS = 20_000
_TRUST_LIST = "1.3.6.1.4.1.311.10.1"
_INDIRECT = der.encoded(INDIRECT_DATA)
_DIGITS = re.compile(r"(?:[0-9A-Fa-f]{2}){16,64}")


class Catalog:
    """One catalog: its signature, and the hashes that it lists."""

    is_read = True

    def __init__(self, path: str, message: SignedData) -> None:
        self.path, self.message = path, message

    @cached_property
    def members(self) -> frozenset[bytes]:
        """All hashes; a file usually has two of them."""
        fields = self.message.content.of(der.SEQUENCE).members
        # The members follow the algorithm: the only SEQUENCE whose first element is one as well.
        for field in fields[2:]:
            filled = field.tag == der.SEQUENCE and field.body < field.end
            if filled and field.inner.tag == der.SEQUENCE:
                return frozenset(value for each in field.members for value in _hashes(each))
        return frozenset()

    @cached_property
    def facts(self) -> Signature:
        """What its signature says of itself."""
        return signature(self.message, self.path)

    def covers(self, file: SignedFile) -> Read | None:
        """The signature as one of an image, when the catalog lists it."""
        for algorithm in ("sha256", "sha1"):
            digest = file.digest(algorithm)
            if digest in self.members:
                facts = self.facts._replace(
                    digest_algorithm=algorithm,
                    digest=digest.hex(),
                    digest_matches=True,
                )
                return Read(facts, self.message)
        return None


class Unread(Catalog):
    """What is called a catalog and is none that can be read: nobody knows what it lists."""

    is_read = False

    def __init__(self, path: str) -> None:
        self.path = path

    def covers(self, file: SignedFile) -> Read | None:
        """No file that is known."""
        return None


def _hashes(member: Der) -> list[bytes]:
    """The hashes by which a catalog knows one file."""
    parts = member.members
    name = parts[0].octets
    text = name.decode("utf-16-le", "replace").rstrip("\0") if len(name) > 64 else ""
    found = [bytes.fromhex(text) if _DIGITS.fullmatch(text) else name]
    for attribute in parts[1].members if len(parts) > 1 else ():
        kind, values = attribute.members[:2]
        if kind.content == _INDIRECT:
            found.append(values.inner.members[1].members[1].octets)
    return found


def read_catalog(data: bytes, path: str) -> Catalog:
    """Read a catalog; raise `InputError` when the bytes are none."""
    try:
        catalog = Catalog(path, SignedData(der.element(data)))
        if catalog.message.kind != _TRUST_LIST:
            raise DerError("it signs no list of files")
        if not catalog.members:
            raise DerError("it lists no file")
        catalog.facts  # noqa: B018 - read here, so that what is damaged is told once
    except DAMAGE as error:
        raise InputError(f"{path}: not a catalog: {error}") from error
    return catalog


def catalogs_of(found: Iterable[tuple[str, bytes]]) -> Iterator[Catalog]:
    """The catalogs of a package, given by path and bytes."""
    for path, data in found:
        try:
            yield read_catalog(data, path)
        except InputError:
            yield Unread(path)


def load_catalogs(words: tuple[str, ...]) -> tuple[Catalog, ...]:
    """Catalogs of files and of folders; only a file that was named must be one."""
    found: list[Catalog] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(path.rglob("*.[cC][aA][tT]"))
            if len(inside) > MOST_CATALOGS:
                raise UsageError(f"{path}: more than {MOST_CATALOGS} catalogs; name some of them")
            before = len(found)
            for each in inside:
                with suppress(InputError):
                    found.append(_load(each))
            if len(found) == before:
                raise UsageError(f"{path}: no catalog (.cat) in this folder")
        else:
            found.append(_load(path))
    return tuple(found)


def _load(path: Path) -> Catalog:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: too large for a catalog")
        return read_catalog(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
