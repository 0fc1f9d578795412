"""An X.509 certificate, as far as a signature needs it, and whether one signed another.

Knows nothing of Authenticode. Trusts nothing: it only says what stands there and what fits.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache

from hvci.signing import der
from hvci.signing.der import DAMAGE, Der, DerError

COMMON_NAME = der.encoded("2.5.4.3")
ORGANIZATION, UNIT = der.encoded("2.5.4.10"), der.encoded("2.5.4.11")
_EXTENDED_KEY_USAGE = der.encoded("2.5.29.37")
_BASIC_CONSTRAINTS = der.encoded("2.5.29.19")
_RSA = "1.2.840.113549.1.1.1"
MOST_BITS = 8192
"""A longer RSA key is only there to keep somebody busy."""

KEPT = 512
"""Certificates that are remembered: many files enclose those of the same authorities."""

HASHES = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "1.2.840.113549.1.1.4": "md5",
    "1.2.840.113549.1.1.5": "sha1",
    "1.3.14.3.2.29": "sha1",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10045.4.1": "sha1",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
"""Hash functions by their own object identifiers and by those of signatures with them."""
_OIDS = {
    "md5": der.encoded("1.2.840.113549.2.5"),
    "sha1": der.encoded("1.3.14.3.2.26"),
    "sha256": der.encoded("2.16.840.1.101.3.4.2.1"),
    "sha384": der.encoded("2.16.840.1.101.3.4.2.2"),
    "sha512": der.encoded("2.16.840.1.101.3.4.2.3"),
}


class Certificate:
    """One certificate; its parts are read when somebody asks."""

    def __init__(self, whole: Der) -> None:
        self.whole = whole

    @cached_property
    def _fields(self) -> list[Der]:
        """Of tbsCertificate, behind the optional version."""
        fields = self.whole.of(der.SEQUENCE).inner.of(der.SEQUENCE).members
        fields = fields[1:] if fields and fields[0].tag == 0xA0 else fields
        if len(fields) < 6:
            raise DerError("a certificate lacks fields")
        return fields

    @cached_property
    def serial(self) -> bytes:
        """The serial number's octets."""
        return self._fields[0].of(der.INTEGER).content

    @cached_property
    def issuer(self) -> bytes:
        """The issuer's name as it is encoded."""
        return self._fields[2].raw

    @cached_property
    def subject(self) -> bytes:
        """The subject's name as it is encoded."""
        return self._fields[4].raw

    @cached_property
    def name(self) -> str:
        """The common name of the subject, else its unit or organization."""
        return name_of(self._fields[4])

    @cached_property
    def issuer_name(self) -> str:
        """The same of the issuer."""
        return name_of(self._fields[2])

    @property
    def own_issuer(self) -> bool:
        """It names itself as issuer."""
        return self.issuer == self.subject

    @cached_property
    def life(self) -> tuple[str, str]:
        """From when to when it is good, in ISO form."""
        begin, end = self._fields[3].members[:2]
        return begin.time, end.time

    @cached_property
    def is_rsa(self) -> bool:
        """The key is one of RSA."""
        return self.key.members[0].inner.oid == _RSA

    @cached_property
    def rsa_numbers(self) -> tuple[int, int]:
        """Modulus and exponent of a key of RSA."""
        bits = self.key.members[1]
        modulus, exponent = (part.number for part in der.element(bits.content[1:]).members[:2])
        return modulus, exponent

    @cached_property
    def ekus(self) -> tuple[str, ...]:
        """Extended key usages, sorted."""
        return tuple(sorted(map(der.dotted, self.eku_contents)))

    @cached_property
    def eku_contents(self) -> frozenset[bytes]:
        """Extended key usages as they are encoded."""
        usages = self._extension(_EXTENDED_KEY_USAGE)
        members = usages.members if usages else ()
        return frozenset(usage.of(der.OID).content for usage in members)

    @cached_property
    def is_authority(self) -> bool:
        """It may make certificates, by its basic constraints."""
        constraints = self._extension(_BASIC_CONSTRAINTS)
        members = constraints.members if constraints else []
        return bool(members) and members[0].tag == der.BOOLEAN and any(members[0].content)

    def _extension(self, oid: bytes) -> Der | None:
        """What an extension holds."""
        for field in self._fields[6:]:
            if field.tag == 0xA3:
                for extension in field.inner.members:
                    parts = extension.members
                    if parts[0].content == oid:
                        return der.element(parts[-1].octets)
        return None

    @property
    def key(self) -> Der:
        """SubjectPublicKeyInfo."""
        return self._fields[5]

    @cached_property
    def key_hash(self) -> str:
        """SHA-256 of SubjectPublicKeyInfo, in hexadecimal."""
        return hashlib.sha256(self.key.raw).hexdigest()

    @cached_property
    def hash_name(self) -> str:
        """The hash function of the signature on this certificate; empty for one that is unknown."""
        try:
            return HASHES.get(self.whole.members[1].inner.oid, "")
        except DAMAGE:
            return ""  # nobody checks how the last certificate of a chain was signed

    @cached_property
    def tbs_hash(self) -> str:
        """What App Control names a certificate by: the hash of what was signed of it."""
        name = self.hash_name
        return hashlib.new(name, self.whole.inner.raw).hexdigest() if name else ""

    def signed_by(self, issuer: Certificate) -> bool | None:
        """Whether the issuer's key made the signature; None where that cannot be checked."""
        return _signed_by(self, issuer)

    def is_signed_by(self, issuer: Certificate) -> bool | None:
        """The same, worked out anew."""
        parts = self.whole.members
        if len(parts) < 3:
            raise DerError("a certificate lacks its signature")
        signature = parts[2].of(der.BIT_STRING).content[1:]
        return verifies(issuer, signature, self.whole.inner.raw, self.hash_name, parts[1])


@lru_cache(KEPT)
def _signed_by(one: Certificate, issuer: Certificate) -> bool | None:
    return one.is_signed_by(issuer)


def certificate(whole: Der) -> Certificate:
    """The certificate in an element, read once however many files enclose it."""
    return _certificate(whole.raw)


@lru_cache(KEPT)
def _certificate(raw: bytes) -> Certificate:
    return Certificate(der.element(raw))


def name_of(name: Der) -> str:
    """The common name within a name, else the last unit or organization."""
    found: dict[bytes, str] = {}
    for part in name.members:
        for pair in part.members:
            kind, value = pair.members[:2]
            found[kind.content] = value.text
    return next((found[kind] for kind in (COMMON_NAME, UNIT, ORGANIZATION) if kind in found), "")


def verifies(
    signer: Certificate, signature: bytes, signed: bytes, hash_name: str, algorithm: Der
) -> bool | None:
    """Whether a certificate's key made a signature of some bytes; None where nobody can tell.

    RSA with the padding of PKCS #1 1.5, which nearly every driver has, is one power and one
    comparison: importing a library for it would take longer than the rest of a report.
    """
    if not hash_name:
        return None
    oid = algorithm.inner.oid
    if not signer.is_rsa or oid.endswith(".1.10"):
        return _by_library(signer, signature, signed, hash_name, oid)
    modulus, exponent = signer.rsa_numbers
    if not 0 < exponent < 1 << 40 or not 0 < modulus < 1 << MOST_BITS:
        return None
    size = (modulus.bit_length() + 7) // 8
    padded = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big")
    digest = hashlib.new(hash_name, signed).digest()
    return any(padded == form for form in _padded(digest, hash_name, size))


def _padded(digest: bytes, hash_name: str, size: int) -> list[bytes]:
    """The only two forms that a right signature can have: with parameters of NULL, and without."""
    oid = _OIDS[hash_name]
    forms = []
    for tail in (b"\x05\x00", b""):
        kind = bytes((0x06, len(oid))) + oid + tail
        info = bytes((0x30, len(kind))) + kind + bytes((0x04, len(digest))) + digest
        info = bytes((0x30, len(info))) + info
        forms.append(b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info)
    return forms


def _by_library(
    signer: Certificate, signature: bytes, signed: bytes, hash_name: str, oid: str
) -> bool | None:
    """Elliptic curves and the other padding of RSA."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    kinds: dict[str, hashes.HashAlgorithm] = {
        "sha1": hashes.SHA1(),  # noqa: S303 (old signatures use it)
        "sha256": hashes.SHA256(),
        "sha384": hashes.SHA384(),
        "sha512": hashes.SHA512(),
    }
    kind = kinds.get(hash_name)
    try:
        key = serialization.load_der_public_key(signer.key.raw)
        if isinstance(key, ec.EllipticCurvePublicKey) and kind:
            key.verify(signature, signed, ec.ECDSA(kind))
        elif isinstance(key, rsa.RSAPublicKey) and kind and key.key_size <= MOST_BITS:
            mask = padding.PSS(padding.MGF1(kind), padding.PSS.AUTO)
            key.verify(signature, signed, mask, kind)
        else:
            return None
    except InvalidSignature:
        return False
    except (ValueError, UnsupportedAlgorithm):
        return None
    return True
