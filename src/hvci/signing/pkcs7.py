"""SignedData of PKCS #7: what was signed, by whom, when, and whether its parts fit each other.

Reads what Authenticode puts into it: program name, time stamps, signatures within. Knows no image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from hvci.signing import der
from hvci.signing.certificate import HASHES, Certificate, certificate, verifies
from hvci.signing.der import Der, DerError

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_MESSAGE_DIGEST = der.encoded("1.2.840.113549.1.9.4")
_SIGNING_TIME = der.encoded("1.2.840.113549.1.9.5")
_COUNTERSIGNATURE = der.encoded("1.2.840.113549.1.9.6")
_OPUS_INFO = der.encoded("1.3.6.1.4.1.311.2.1.12")
_NESTED = der.encoded("1.3.6.1.4.1.311.2.4.1")
_TIMESTAMP = der.encoded("1.3.6.1.4.1.311.3.3.1")
MOST_CERTIFICATES = 256
MOST_ISSUERS = 12
"""Certificates that are followed from one signer."""


class Signer:
    """SignerInfo."""

    def __init__(self, whole: Der) -> None:
        self.whole = whole

    @cached_property
    def _parts(self) -> tuple[list[Der], Der | None, Der | None]:
        """The fields in order, the signed and the unsigned attributes."""
        fields = self.whole.of(der.SEQUENCE).members
        attributes = {field.tag: field for field in fields if field.tag in (0xA0, 0xA1)}
        plain = [field for field in fields if field.tag not in attributes]
        if len(plain) < 5:
            raise DerError("a signer lacks fields")
        return plain, attributes.get(0xA0), attributes.get(0xA1)

    @property
    def names(self) -> tuple[bytes, bytes]:
        """Issuer and serial number of the certificate that signed."""
        issuer, serial = self._parts[0][1].members[:2]
        return issuer.raw, serial.of(der.INTEGER).content

    @cached_property
    def hash_name(self) -> str:
        """The hash function; empty for one that is unknown."""
        return HASHES.get(self._parts[0][2].inner.oid, "")

    @property
    def algorithm(self) -> Der:
        """AlgorithmIdentifier of the signature."""
        return self._parts[0][3]

    @property
    def signature(self) -> bytes:
        """The signature itself."""
        return self._parts[0][4].octets

    def signed(self, content: bytes) -> bytes:
        """The bytes that were signed: the attributes, else the content."""
        attributes = self._parts[1]
        return b"\x31" + attributes.raw[1:] if attributes else content

    def values(self, oid: bytes, *, signed: bool = True) -> list[Der]:
        """The values of an attribute."""
        return [
            value
            for kind, values in (self._signed if signed else self._unsigned)
            if kind == oid
            for value in values.members
        ]

    @cached_property
    def _signed(self) -> list[tuple[bytes, Der]]:
        """Object identifier and values of each signed attribute."""
        return _attributes(self._parts[1])

    @cached_property
    def _unsigned(self) -> list[tuple[bytes, Der]]:
        """The same of the unsigned ones."""
        return _attributes(self._parts[2])

    @property
    def digest(self) -> bytes | None:
        """The digest of the content that the attributes hold."""
        values = self.values(_MESSAGE_DIGEST)
        return values[0].octets if values else None


def _attributes(listed: Der | None) -> list[tuple[bytes, Der]]:
    """Object identifier and values of each attribute."""
    found = []
    for attribute in listed.members if listed else ():
        kind, values = attribute.members[:2]
        found.append((kind.content, values))
    return found


class SignedData:
    """One PKCS #7 message with one signer."""

    def __init__(self, whole: Der) -> None:
        kind, content = whole.of(der.SEQUENCE).members[:2]
        if kind.oid != _SIGNED_DATA:
            raise DerError("this is no signed data")
        fields = content.inner.of(der.SEQUENCE).members
        if len(fields) < 4:
            raise DerError("signed data lacks fields")
        self._content = fields[2].members
        listed = [field for field in fields[3:-1] if field.tag == 0xA0]
        self.certificates = [
            certificate(each)
            for field in listed
            for each in field.members[:MOST_CERTIFICATES]
            if each.tag == der.SEQUENCE
        ]
        signers = fields[-1].of(der.SET).members
        if not signers:
            raise DerError("nobody signed")
        self.signer = Signer(signers[0])

    @property
    def kind(self) -> str:
        """Object identifier of what the content is."""
        return self._content[0].oid

    @cached_property
    def content(self) -> Der:
        """The content; in PKCS #7 an element of its own kind, in CMS octets that hold it."""
        if len(self._content) < 2:
            raise DerError("the signature has no content")
        return self._content[1].inner

    @cached_property
    def leaf(self) -> Certificate | None:
        """The certificate of the signer, when it is enclosed."""
        issuer, serial = self.signer.names
        for each in self.certificates:
            if each.serial == serial and each.issuer == issuer:
                return each
        return None

    @property
    def submitter(self) -> str:
        """The program name that the signer gave."""
        for info in self.signer.values(_OPUS_INFO):
            for part in info.members:
                if part.tag == 0xA0:
                    text = part.inner
                    wide = text.tag & 0x1F == 0
                    return text.content.decode("utf-16-be" if wide else "latin-1", "replace")
        return ""

    def problem(self) -> str:
        """Why the parts do not fit each other; empty when they do."""
        if not self.signer.hash_name:
            return "it uses a hash function that hvci does not know"
        digest = self.signer.digest
        inside = self.content.content
        if digest is not None and hashlib.new(self.signer.hash_name, inside).digest() != digest:
            return "what it says of the file was altered after signing"
        if self.leaf is None:
            return "the certificate that signed is missing"
        if self._is_made_by_leaf is False:
            return "the signature was not made by the certificate's key"
        return ""

    @cached_property
    def _is_made_by_leaf(self) -> bool | None:
        """Whether the signer's key made the signature; None where nobody can tell."""
        signer = self.signer
        if self.leaf is None:
            return None
        signed = signer.signed(self.content.content)
        return verifies(self.leaf, signer.signature, signed, signer.hash_name, signer.algorithm)

    @cached_property
    def unchecked(self) -> str:
        """Which of its signatures nobody here can check; empty when all were."""
        if self.leaf is not None and self._is_made_by_leaf is None:
            return "the signature's algorithm is not known, so it was not checked"
        return self._issuers[1]

    @property
    def issuers(self) -> list[Certificate]:
        """The enclosed certificates that vouch for the signer, nearest first."""
        return self._issuers[0]

    @property
    def broken(self) -> str:
        """Which certificate was not signed by the one it names; empty when each was."""
        return self._issuers[2]

    @cached_property
    def _issuers(self) -> tuple[list[Certificate], str, str]:
        """Issuers whose keys fit, what could not be checked, and what does not fit."""
        found: list[Certificate] = []
        unchecked = broken = ""
        todo = [self.leaf] if self.leaf else []
        for one in todo:
            above = [each for each in self.certificates if each.subject == one.issuer]
            if one.own_issuer or not above:
                continue
            fits = [(each, one.signed_by(each)) for each in above[:MOST_ISSUERS]]
            good = [each for each, answer in fits if answer is not False]
            if not good:
                broken = f"the certificate of {one.name} was not made by that of {above[0].name}"
            if any(answer is None for _, answer in fits):
                unchecked = f"how the certificate of {one.name} was signed could not be checked"
            for each in good:
                if each not in found and len(found) < MOST_ISSUERS:
                    found.append(each)
                    todo.append(each)
        return found, unchecked, broken

    @cached_property
    def timestamp(self) -> str:
        """When a time stamp of this very signature says that it was made; empty without one."""
        for value in self.signer.values(_TIMESTAMP, signed=False):
            return _of_token(SignedData(value), self.signer.signature)
        for value in self.signer.values(_COUNTERSIGNATURE, signed=False):
            return _of_countersigner(Signer(value), self.signer.signature)
        return ""

    def nested(self) -> Iterator[Der]:
        """Signatures that were added to this one."""
        yield from self.signer.values(_NESTED, signed=False)


def _of_token(token: SignedData, stamped: bytes) -> str:
    """The time of an RFC 3161 token, when it is about these bytes."""
    fields = der.element(token.content.octets).members
    if len(fields) < 5:
        raise DerError("a time stamp lacks fields")
    algorithm, digest = fields[2].members[:2]
    name = HASHES.get(algorithm.inner.oid, "")
    fits = name and hashlib.new(name, stamped).digest() == digest.octets
    return fields[4].time if fits else ""


def _of_countersigner(signer: Signer, stamped: bytes) -> str:
    """The time of a countersignature of PKCS #9, when it is about these bytes."""
    times, name = signer.values(_SIGNING_TIME), signer.hash_name
    fits = name and hashlib.new(name, stamped).digest() == signer.digest
    return times[0].time if times and fits else ""
