"""Who signed a driver, as one more answer of a report; nothing here reads a signature.

It changes no verdict: memory integrity asks how an image is made; who signed it is asked besides.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Signed(StrEnum):
    """What kind of signature a driver carries, the most trusted first."""

    HARDWARE = "hardware"
    """Signed by Microsoft's hardware program after the HLK tests (WHCP)."""
    ATTESTATION = "attestation"
    """Signed by Microsoft's hardware program without tests."""
    EARLY_LAUNCH = "early-launch"
    """Signed by Microsoft as early-launch anti-malware."""
    IN_BOX = "in-box"
    """Signed by Microsoft as a part of Windows."""
    CROSS_SIGNED = "cross-signed"
    """Signed by its vendor, whose authority Microsoft's Code Verification Root certifies."""
    OTHER = "other"
    """Signed by somebody whom the kernel does not trust for drivers by itself."""
    TEST = "test"
    """Signed by a test certificate: one that vouches for itself, or of a test authority."""
    DAMAGED = "damaged"
    """There is a signature, and it is broken or belongs to other bytes."""
    NONE = "none"


class DriverPolicy(StrEnum):
    """What the Windows Driver Policy says of a driver, by the signatures that were given."""

    PASSES = "passes"
    ALLOW_LISTED = "only-if-allow-listed"
    REFUSED = "refused-when-enforced"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not-applicable"


class PageHashes(NamedTuple):
    """Hashes of single pages within a signature."""

    algorithm: str
    pages: int
    match: bool


class Signature(NamedTuple):
    """One signature; what could not be read is empty."""

    place: str
    """"embedded 1", "embedded 1 nested 2", or the path of a catalog."""
    signed: Signed
    problem: str = ""
    """Why it is damaged, or what of it could not be checked."""
    signer: str = ""
    """Common name of the certificate that signed."""
    chain: tuple[str, ...] = ()
    """Common names of the certificates that vouch for it, as far as they are given."""
    anchored: bool = False
    """The chain was followed by its keys to an authority of Microsoft that hvci knows."""
    submitter: str = ""
    """The program name of the signature: for Microsoft's hardware signatures, the vendor."""
    digest_algorithm: str = ""
    digest: str = ""
    """What the signature says of the file, in hexadecimal."""
    digest_matches: bool | None = None
    """None where the file was not compared."""
    page_hashes: PageHashes | None = None
    ekus: tuple[str, ...] = ()
    """Extended key usages of the signer as object identifiers."""
    not_before: str = ""
    not_after: str = ""
    """When the signer's certificate is good, in ISO form."""
    timestamp: str = ""
    """When a time stamp says that it was signed, in ISO form; empty without one."""
    in_time: bool | None = None
    """Whether the time stamp lies within the certificate's life; None without one."""


class Trust(NamedTuple):
    """All that is known about the trust in one driver."""

    signed: Signed
    reason: str
    driver_policy: DriverPolicy
    policy_reason: str
    signatures: tuple[Signature, ...] = ()
    authentihash: str = ""
    """SHA-256 that a signature of this image would hold."""
    catalogs: int = 0
    """How many catalogs were asked."""


class ListKind(StrEnum):
    """What a list that the user gave is."""

    POLICY = "app-control-policy"
    LOLDRIVERS = "loldrivers"
    COMPATIBILITY = "compatibility-database"


class Match(NamedTuple):
    """One entry of a list that is about a driver."""

    rule: str
    """The entry's id; in lists without ids its number."""
    title: str
    """What the list calls it."""
    why: str
    """What of the driver fits."""


class ListAnswer(NamedTuple):
    """What one list says of one driver."""

    source: str
    """Path of the list."""
    kind: ListKind
    title: str
    """What the list calls itself, with its version."""
    entries: int
    matches: tuple[Match, ...] = ()
    doubt: str = ""
    """Why an entry may match that hvci cannot tell."""
    note: str = ""
    """What else the list has to say of the driver."""

    @property
    def blocks(self) -> bool:
        """Whether it keeps drivers from loading: only that is a block list."""
        return self.kind is not ListKind.COMPATIBILITY
