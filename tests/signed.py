"""Signs drivers that `build.driver` makes: chains of every kind, nested, stamped, with catalogs.

The DER is written here by hand, so that a mistake of the reader is not repeated by the writer.
`cryptography` makes keys and certificates.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384}
OIDS = {"md5": "1.2.840.113549.2.5", "sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1"}
OIDS["sha384"] = "2.16.840.1.101.3.4.2.2"
CODE_SIGNING, WHQL = "1.3.6.1.5.5.7.3.3", "1.3.6.1.4.1.311.10.3.5"
ATTESTED, EXTENDED = WHQL + ".1", "1.3.6.1.4.1.311.10.3.39"
EARLY, COMPONENT = "1.3.6.1.4.1.311.61.4.1", "1.3.6.1.4.1.311.10.3.6"
FROM, UNTIL = datetime(2020, 1, 1), datetime(2030, 1, 1)
SIGNED_AT = datetime(2024, 5, 6, 7, 8, 9)


def tlv(tag, *contents):
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def oid(text):
    first, second, *rest = (int(part) for part in text.split("."))
    out = bytearray()
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.insert(0, number & 0x7F | 0x80)
        out += bytes(groups)
    return tlv(6, bytes(out))


def sequence(*parts):
    return tlv(0x30, *parts)


def set_of(*parts):
    return tlv(0x31, *parts)


def integer(number):
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def algorithm(name):
    return sequence(oid(OIDS[name]), tlv(5))


@cache
def key(name, kind="rsa"):
    """One key for each name: making them is slow."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 1024)


@dataclass(frozen=True)
class Authority:
    """A certificate with its key; `above` are those that vouch for it."""

    name: str
    certificate: x509.Certificate
    key: object
    above: tuple[Authority, ...] = ()

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def chain(self):
        return (self, *(each for one in self.above for each in one.chain))


def authority(
    name, above=None, *, usages=(), alg="sha256", kind="rsa", life=(FROM, UNTIL), serial=7, ca=False
):
    """A certificate that `above` made, or one that vouches for itself."""
    own = key(name, kind)
    maker = above.key if above else own
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(own.public_key())
        .serial_number(serial)
        .not_valid_before(life[0])
        .not_valid_after(life[1])
    )
    if usages:
        listed = [x509.ObjectIdentifier(usage) for usage in usages]
        built = built.add_extension(x509.ExtendedKeyUsage(listed), critical=False)
    if ca:
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        built = built.add_extension(constraints, critical=True)
    return Authority(name, built.sign(maker, HASHES[alg]()), own, (above,) if above else ())


def absent(name):
    """A root that no signature encloses."""
    return authority(name)


def vendor(root="Some Root", *, name="Vendor Ltd", usages=(CODE_SIGNING,), **more):
    """A leaf under an authority under a root that is not enclosed."""
    middle = authority(f"{root} signing", absent(root), ca=True)
    return authority(
        name, Authority(middle.name, middle.certificate, middle.key), usages=usages, **more
    )


def microsoft(*usages, name="Microsoft Windows Hardware Compatibility Publisher", **more):
    return vendor("Microsoft Root", name=name, usages=(CODE_SIGNING, *usages), **more)


def cross_signed(name="Vendor Ltd", **more):
    cross = authority("Public Root", absent("Microsoft Code Verification Root"))
    cross = Authority(cross.name, cross.certificate, cross.key)
    middle = authority("Public Code Signing CA", cross)
    return authority(name, middle, usages=(CODE_SIGNING,), **more)


def test_signed(name="WDKTestCert somebody,131"):
    return authority(name, usages=(CODE_SIGNING,))


# ---------------------------------------------------------------------- what is signed


def authentihash(image, alg="sha256"):
    """As Microsoft's paper describes it, on an image with or without a table."""
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    wide = struct.unpack_from("<H", image, pe + 24)[0] == 0x20B
    entry = pe + 24 + (112 if wide else 96) + 32
    offset, size = struct.unpack_from("<II", image, entry)
    end = offset or len(image)
    body = image[: pe + 88] + image[pe + 92 : entry] + image[entry + 8 : end]
    body += image[offset + size :] if offset else bytes(-len(image) % 8)
    return hashlib.new(alg, body).digest()


def page_hashes(image, alg):
    pe, sections = struct.unpack_from("<I", image, 0x3C)[0], []
    count, optional = struct.unpack_from("<H12xH", image, pe + 6)
    for n in range(count):
        at = pe + 24 + optional + 40 * n
        sections.append(struct.unpack_from("<II", image, at + 16))
    headers = struct.unpack_from("<I", image, pe + 24 + 60)[0]
    wide = struct.unpack_from("<H", image, pe + 24)[0] == 0x20B
    entry = pe + 24 + (112 if wide else 96) + 32
    first = image[: pe + 88] + image[pe + 92 : entry] + image[entry + 8 : headers]
    rows = [(0, first + bytes(4096 - headers))]
    rows += [
        (at, image[at : min(at + 4096, offset + size)].ljust(4096, b"\0"))
        for size, offset in sections
        for at in range(offset, offset + size, 4096)
    ]
    out = b"".join(struct.pack("<I", at) + hashlib.new(alg, page).digest() for at, page in rows)
    last = max(offset + size for size, offset in sections)
    return out + struct.pack("<I", last) + bytes(hashlib.new(alg).digest_size)


def indirect(digest, alg, pages=b""):
    """SpcIndirectDataContent."""
    link = tlv(0xA0, tlv(0xA2, tlv(0x80, "<<<Obsolete>>>".encode("utf-16-be"))))
    if pages:
        version = {"sha1": "1", "sha256": "2"}[alg]
        inside = set_of(sequence(oid(f"1.3.6.1.4.1.311.2.3.{version}"), set_of(tlv(4, pages))))
        guid = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")
        link = tlv(0xA0, tlv(0xA1, tlv(4, guid), tlv(4, inside)))
    about = sequence(oid("1.3.6.1.4.1.311.2.1.15"), sequence(tlv(3, b"\0"), link))
    return sequence(about, sequence(algorithm(alg), tlv(4, digest)))


# ---------------------------------------------------------------------- who signs it


@dataclass
class Wish:
    """What a signature shall be like; `break_` names one thing to spoil."""

    signer: Authority
    alg: str = "sha256"
    program: str = ""
    stamp: str = "token"
    """"token", "countersignature" or ""."""
    at: datetime = SIGNED_AT
    nested: tuple[bytes, ...] = ()
    spoil: str = ""
    extra: tuple[Authority, ...] = field(default=())


def signature(content, kind, wish):
    """ContentInfo with SignedData about some content."""
    inside = _content_of(content)
    digest = hashlib.new(wish.alg, inside).digest()
    if wish.spoil == "digest":
        digest = bytes(len(digest))
    attributes = [
        sequence(oid("1.2.840.113549.1.9.3"), set_of(oid(kind))),
        sequence(oid("1.2.840.113549.1.9.4"), set_of(tlv(4, digest))),
    ]
    if wish.program:
        name = tlv(0xA0, tlv(0x80, wish.program.encode("utf-16-be")))
        attributes.append(sequence(oid("1.3.6.1.4.1.311.2.1.12"), set_of(sequence(name))))
    signed = b"".join(attributes)
    value = sign(wish.signer.key, set_of(signed), wish.alg)
    if wish.spoil == "signature":
        value = bytes((value[0] ^ 1, *value[1:]))
    info = [
        integer(1),
        _name(wish.signer),
        algorithm(wish.alg),
        tlv(0xA0, signed),
        _signature_algorithm(wish),
        tlv(4, value),
    ]
    if added := [*_stamp(value, wish), *_nested(wish)]:
        info.append(tlv(0xA1, *added))
    certificates = [each.der for each in (*wish.signer.chain, *wish.extra)]
    if wish.spoil == "leaf":
        certificates = certificates[1:]
    data = sequence(
        integer(1),
        set_of(algorithm(wish.alg)),
        sequence(oid(kind), tlv(0xA0, content)),
        tlv(0xA0, *certificates),
        set_of(sequence(*info)),
    )
    return sequence(oid("1.2.840.113549.1.7.2"), tlv(0xA0, data))


def _content_of(element):
    size = element[1]
    return element[2:] if size < 0x80 else element[2 + (size & 0x7F) :]


def sign(private, data, alg):
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(data, ec.ECDSA(HASHES[alg]()))
    return private.sign(data, padding.PKCS1v15(), HASHES[alg]())


def _signature_algorithm(wish):
    if isinstance(wish.signer.key, ec.EllipticCurvePrivateKey):
        return sequence(oid("1.2.840.10045.4.3.2"))
    return sequence(oid("1.2.840.113549.1.1.1"), tlv(5))


def _name(who):
    certificate = who.certificate
    issuer = certificate.issuer.public_bytes()
    return sequence(issuer, integer(certificate.serial_number))


def _stamp(value, wish):
    if not wish.stamp:
        return []
    when = wish.at + timedelta(days=365 * 20) if wish.spoil == "late" else wish.at
    stamped = b"other" if wish.spoil == "stamp" else value
    clock = authority("Clock")
    if wish.stamp == "token":
        token = sequence(
            integer(1),
            oid("1.2.3"),
            sequence(algorithm("sha256"), tlv(4, hashlib.sha256(stamped).digest())),
            integer(5),
            tlv(0x18, when.strftime("%Y%m%d%H%M%S.5Z").encode()),
        )
        stamp = Wish(clock, stamp="")
        made = signature(tlv(4, token), "1.2.840.113549.1.9.16.1.4", stamp)
        return [sequence(oid("1.3.6.1.4.1.311.3.3.1"), set_of(made))]
    time = tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())
    attributes = (
        sequence(oid("1.2.840.113549.1.9.5"), set_of(time)),
        sequence(oid("1.2.840.113549.1.9.4"), set_of(tlv(4, hashlib.sha1(stamped).digest()))),
    )
    info = sequence(
        integer(1),
        _name(clock),
        algorithm("sha1"),
        tlv(0xA0, *attributes),
        sequence(oid("1.2.840.113549.1.1.1"), tlv(5)),
        tlv(4, sign(clock.key, set_of(*attributes), "sha1")),
    )
    return [sequence(oid("1.2.840.113549.1.9.6"), set_of(info))]


def _nested(wish):
    if not wish.nested:
        return []
    return [sequence(oid("1.3.6.1.4.1.311.2.4.1"), set_of(*wish.nested))]


# ---------------------------------------------------------------------- whole files


def message(image, signer, *, alg="sha256", pages=False, digest=None, **wish):
    """An Authenticode signature of an image."""
    table = page_hashes(image, alg) if pages else b""
    content = indirect(digest or authentihash(image, alg), alg, table)
    return signature(content, "1.3.6.1.4.1.311.2.1.4", Wish(signer, alg, **wish))


def attached(image, *messages):
    """The image with a certificate table that holds the messages."""
    image = bytearray(image.ljust((len(image) + 7) & ~7, b"\0"))
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    wide = struct.unpack_from("<H", image, pe + 24)[0] == 0x20B
    entry = pe + 24 + (112 if wide else 96) + 32
    offset, table = len(image), b""
    for each in messages:
        size = 8 + len(each)
        table += (struct.pack("<IHH", size, 0x200, 2) + each).ljust((size + 7) & ~7, b"\0")
    struct.pack_into("<II", image, entry, offset, len(table))
    return bytes(image) + table


def signed(image, signer, **wish):
    """A driver with one signature."""
    return attached(image, message(image, signer, **wish))


def catalog(digests, signer, *, old=False, **wish):
    """A catalog that lists some digests."""
    members = [_member(digest, old) for digest in digests]
    usage = "1.3.6.1.4.1.311.12.1.2" if old else "1.3.6.1.4.1.311.12.1.3"
    content = sequence(
        sequence(oid("1.3.6.1.4.1.311.12.1.1")),
        tlv(4, bytes(16)),
        tlv(0x17, b"240506070809Z"),
        sequence(oid(usage), tlv(5)),
        sequence(*members),
    )
    return signature(content, "1.3.6.1.4.1.311.10.1", Wish(signer, **wish))


def _member(digest, old):
    if not old:
        return sequence(tlv(4, digest))
    alg = {16: "md5", 20: "sha1", 32: "sha256"}[len(digest)]
    name = (digest.hex().upper() + "\0").encode("utf-16-le")
    data = sequence(oid("1.3.6.1.4.1.311.2.1.4"), set_of(indirect(digest, alg)))
    return sequence(tlv(4, name), set_of(data))
