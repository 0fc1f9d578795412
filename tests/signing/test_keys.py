"""Keys that are written to trip a reader: never an error, never a match."""

import pytest

import signed as make
from build import driver
from hvci import signing
from hvci.model import NEWEST, Signed

IMAGE = driver()
RSA = make.sequence(make.oid("1.2.840.113549.1.1.1"), make.tlv(5))


def key(modulus, exponent):
    return make.sequence(RSA, make.tlv(3, b"\0" + make.sequence(modulus, exponent)))


@pytest.mark.parametrize(
    "bad",
    [
        key(make.tlv(2, b"\xff" * 128), make.integer(65537)),
        key(make.tlv(2, b"\x80" + b"\x11" * 127), make.integer(65537)),
        key(make.tlv(2, b"\0"), make.integer(65537)),
        key(make.integer(1), make.integer(65537)),
        key(make.integer(1 << 20_000), make.integer(65537)),
        key(make.integer(1 << 1000), make.integer(0)),
        key(make.integer(1 << 1000), make.tlv(2, b"\xff")),
        key(make.integer(1 << 1000), make.integer(1 << 90)),
        key(make.integer(255), make.integer(1)),
        make.sequence(RSA, make.tlv(3, b"\0")),
        make.sequence(RSA, make.tlv(3, b"")),
        make.sequence(make.sequence(make.oid("1.2.3")), make.tlv(3, b"\0abc")),
    ],
)
def test_odd_keys(bad):
    leaf = make.vendor(name="Odd key")
    whole = make.message(IMAGE, leaf)
    spki = leaf.certificate.public_key().public_bytes(
        make.serialization.Encoding.DER, make.serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert spki in whole
    data = make.attached(IMAGE, _with_key(whole, spki, bad))
    found = signing.read(data, NEWEST).trust
    assert found.signed in (Signed.DAMAGED, Signed.OTHER)
    assert found.signatures[0].problem


def _with_key(message, old, new):
    """The message with another key, all lengths around it made right again."""

    def rebuilt(data):
        out, at = b"", 0
        while at < len(data):
            tag, size, body = data[at], data[at + 1], at + 2
            if size > 0x80:
                body += size & 0x7F
                size = int.from_bytes(data[at + 2 : body], "big")
            content = data[body : body + size]
            if data[at : body + size] == old:
                out += new
            elif tag & 0x20 and old in content:
                out += make.tlv(tag, rebuilt(content))
            else:
                out += data[at : body + size]
            at = body + size
        return out

    return rebuilt(message)


def test_an_extension_without_parts_is_damage():
    leaf = make.vendor(name="Empty extension")
    whole = make.message(IMAGE, leaf)
    (usage,) = (each for each in leaf.certificate.extensions)
    wanted = usage.oid.dotted_string
    at = leaf.der.index(make.oid(wanted)) - 2
    extension = leaf.der[at : at + 2 + leaf.der[at + 1]]
    data = make.attached(IMAGE, _with_key(whole, extension, make.sequence()))
    (one,) = signing.read(data, NEWEST).trust.signatures
    assert one.signed is Signed.DAMAGED
    assert one.problem
