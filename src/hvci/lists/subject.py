"""A driver as lists know it: hashes, names and version of its resource, signatures.

Each hash is made when a list first asks for one of its size. Knows no list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from hvci.lists.version import VersionInfo, read_version
from hvci.model import NEWEST, WindowsVersion
from hvci.model.signature import Signed
from hvci.signing import Signatures
from hvci.signing.pkcs7 import SignedData


class Subject:
    """One driver image, asked by any number of lists."""

    def __init__(
        self, signatures: Signatures, path: str = "", target_os: WindowsVersion = NEWEST
    ) -> None:
        self.path = path
        self.target_os = target_os
        self.file = signatures.file
        self.trust = signatures.trust
        self._reads = signatures.reads
        self._flat: dict[str, bytes] = {}

    @cached_property
    def version(self) -> VersionInfo:
        """The version resource."""
        return read_version(self.file.data, self.file.headers)

    def flat(self, algorithm: str) -> bytes:
        """The hash of the whole file."""
        if algorithm not in self._flat:
            self._flat[algorithm] = hashlib.new(algorithm, self.file.data).digest()
        return self._flat[algorithm]

    @cached_property
    def digests(self) -> dict[bytes, str]:
        """The hashes that App Control asks for, with what they are of."""
        found: dict[bytes, str] = {}
        for algorithm, name in (("sha256", "SHA-256"), ("sha1", "SHA-1")):
            found[self.file.digest(algorithm)] = f"Authenticode {name}"
            found[self.file.first_page(algorithm)] = f"{name} of its first page"
            found[self.flat(algorithm)] = f"{name} of the file"
        return found

    @cached_property
    def messages(self) -> tuple[SignedData, ...]:
        """The signatures that hold, those of catalogs included."""
        return tuple(
            read.message
            for read in self._reads
            if read.message is not None and read.facts.signed is not Signed.DAMAGED
        )

    def named(self) -> Iterator[str]:
        """The names that a list can know it by, in lower case: on disk, and in its resource."""
        yield self.path.replace("\\", "/").rpartition("/")[2].lower()
        yield self.version.names.get("OriginalFilename", "").lower()
