"""Reads one signature into facts: its class, its parts, and what is wrong with it.

Knows the forms of Microsoft's signatures; a class is what the certificates say of themselves, and
`anchored` whether their keys lead to an authority that is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hvci.model.signature import PageHashes, Signature, Signed
from hvci.signing import der
from hvci.signing.certificate import HASHES, Certificate
from hvci.signing.der import DAMAGE, Der, DerError
from hvci.signing.image import SignedFile
from hvci.signing.pkcs7 import SignedData

INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_PAGES = {"1.3.6.1.4.1.311.2.3.1": "sha1", "1.3.6.1.4.1.311.2.3.2": "sha256"}
BY_MICROSOFT = (Signed.HARDWARE, Signed.ATTESTATION, Signed.EARLY_LAUNCH, Signed.IN_BOX)
"""The classes whose keys must lead to Microsoft."""
_MOST = 64
"""Signatures in one file; some drivers carry 28."""

_HARDWARE, _ATTESTED = "1.3.6.1.4.1.311.10.3.5", "1.3.6.1.4.1.311.10.3.5.1"
_EARLY_LAUNCH, _COMPONENT = "1.3.6.1.4.1.311.61.4.1", "1.3.6.1.4.1.311.10.3.6"
_CROSS_ROOT = "Microsoft Code Verification Root"
_TEST_NAMES = re.compile(
    r"WDKTestCert|\(TEST ONLY\)|\(DO_NOT_TRUST\)|Microsoft Testing Root|Microsoft Test Root"
    r"|Microsoft Digital Media Authority Test|Microsoft Development "
)
"""How Microsoft's kits and test authorities name their certificates."""


class Read(NamedTuple):
    """A signature as facts for the report, and as certificates for lists."""

    facts: Signature
    message: SignedData | None = None


def embedded(file: SignedFile) -> Iterator[Read]:
    """The signatures in a file, outer ones before those that were added to them."""
    messages, problem = file.entries()
    left = _MOST
    for number, message in enumerate(messages, start=1):
        for read in _with_nested(message, f"embedded {number}", file):
            if not left:
                return
            left -= 1
            yield read
    if problem or not messages:
        why = problem or "the certificate table holds no signature"
        yield Read(Signature("certificate table", Signed.DAMAGED, why))


def _with_nested(message: bytes, place: str, file: SignedFile) -> Iterator[Read]:
    """One signature and all that were added to it, in order."""
    try:
        todo = [(der.element(message), place)]
    except DerError as error:
        yield Read(Signature(place, Signed.DAMAGED, f"it cannot be read: {error}"))
        return
    for whole, where in todo:
        read = of_image(whole, where, file)
        yield read
        if read.message is not None and len(todo) < _MOST:
            try:
                nested = list(read.message.nested())
            except DAMAGE:
                continue
            depth = where.count("nested")
            name = where if not depth else where.partition(" nested")[0]
            todo += [(each, f"{name} nested {len(todo) + n}") for n, each in enumerate(nested)]


def of_image(whole: Der, place: str, file: SignedFile) -> Read:
    """One signature of an image."""
    try:
        message = SignedData(whole)
        facts = signature(message, place)
        if message.kind != INDIRECT_DATA:
            raise DerError("it does not sign a file")
        facts = _compared(facts, message, file)
        return Read(facts, message)
    except DAMAGE as error:  # DerError, and what a library says of odd numbers
        return Read(Signature(place, Signed.DAMAGED, f"it cannot be read: {error}"))


def signature(message: SignedData, place: str) -> Signature:
    """What a message says of itself."""
    leaf = message.leaf
    kind = classify(message)
    facts = Signature(
        place,
        kind,
        signer=leaf.name if leaf else "",
        chain=tuple(each.name for each in message.issuers),
        anchored=kind in BY_MICROSOFT and _is_anchored(message),
        submitter=message.submitter,
    )
    if leaf is not None:
        begin, end = leaf.life
        stamp = _stamp(message)
        facts = facts._replace(
            ekus=leaf.ekus,
            not_before=begin,
            not_after=end,
            timestamp=stamp,
            in_time=begin <= stamp <= end if stamp else None,
        )
    problem = message.problem() or message.broken
    if problem:
        return facts._replace(signed=Signed.DAMAGED, anchored=False, problem=problem)
    if message.unchecked:
        return facts._replace(anchored=False, problem=message.unchecked)
    return facts


def _is_anchored(message: SignedData) -> bool:
    """Whether its keys lead to an authority that is known; most drivers start without those."""
    from hvci.signing import anchors

    return anchors.known(message)


def _stamp(message: SignedData) -> str:
    """The time of the time stamp; a broken one is none."""
    try:
        return message.timestamp
    except DAMAGE:
        return ""


def classify(message: SignedData) -> Signed:
    """The class that the certificates claim."""
    leaf = message.leaf
    if leaf is None:
        return Signed.OTHER
    names = _names(leaf, message.issuers)
    if leaf.own_issuer or any(map(_TEST_NAMES.search, names)):
        return Signed.TEST
    usages = {
        _EARLY_LAUNCH: Signed.EARLY_LAUNCH,
        _ATTESTED: Signed.ATTESTATION,
        _HARDWARE: Signed.HARDWARE,
        _COMPONENT: Signed.IN_BOX,
    }
    for usage, kind in usages.items():
        if usage in leaf.ekus:
            return kind
    return Signed.CROSS_SIGNED if _CROSS_ROOT in names else Signed.OTHER


def _names(leaf: Certificate, issuers: list[Certificate]) -> list[str]:
    """Names of all certificates of a chain and of those that they name."""
    return [name for each in (leaf, *issuers) for name in (each.name, each.issuer_name)]


def _compared(facts: Signature, message: SignedData, file: SignedFile) -> Signature:
    """With what the signature says of the file, compared with the file."""
    about, digest = message.content.of(der.SEQUENCE).members[:2]
    algorithm, value = digest.members[:2]
    name = HASHES.get(algorithm.inner.oid, "")
    facts = facts._replace(digest_algorithm=name, digest=value.octets.hex())
    if not name:
        facts = facts._replace(problem=facts.problem or "its hash function is not known")
        return facts._replace(signed=Signed.DAMAGED)
    fits = file.digest(name) == value.octets
    facts = facts._replace(digest_matches=fits, page_hashes=_page_hashes(about, file))
    if fits:
        return facts
    problem = facts.problem or "it belongs to other bytes: the file was altered after signing"
    return facts._replace(signed=Signed.DAMAGED, anchored=False, problem=problem)


def _page_hashes(about: Der, file: SignedFile) -> PageHashes | None:
    """Page hashes stand in a moniker where usually no file name is."""
    try:
        moniker = about.members[1].members[1].inner
        if moniker.tag != 0xA1:
            return None
        listed = der.element(moniker.members[1].octets).inner
        kind, table = listed.members[:2]
        name, value = _PAGES[kind.oid], table.inner.octets
    except (*DAMAGE, KeyError):
        return None
    size = 24 if name == "sha1" else 36
    return PageHashes(name, max(len(value) // size - 1, 0), file.pages(name) == value)
