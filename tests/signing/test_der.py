"""DER: elements, numbers, names, times, and every way to be none."""

import pytest

from hvci.signing import der
from hvci.signing.der import DerError, element
from signed import integer, oid, sequence, tlv


@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x12345])
def test_lengths(size):
    found = element(tlv(4, bytes(size)) + b"more")
    assert (len(found.octets), found.raw) == (size, tlv(4, bytes(size)))


@pytest.mark.parametrize("text", ["1.2.3", "2.5.29.37", "0.9.2342", "2.999.1", "1.3.6.1.4.1.311.2"])
def test_object_identifiers(text):
    found = element(oid(text))
    assert found.oid == text
    if not text.startswith("2.999"):
        assert der.encoded(text) == found.content


@pytest.mark.parametrize("number", [0, 1, 127, 128, 65537, 1 << 2048])
def test_integers(number):
    assert element(integer(number)).number == number


@pytest.mark.parametrize(
    ("tag", "raw", "text"),
    [
        (der.UTF8, "ä".encode(), "ä"),
        (der.BMP, "ä".encode("utf-16-be"), "ä"),
        (der.UNIVERSAL, "ä".encode("utf-32-be"), "ä"),
        (der.PRINTABLE, b"abc", "abc"),
        (der.BMP, b"\xd8\x00\x00", "\ufffd"),
    ],
)
def test_text(tag, raw, text):
    assert element(tlv(tag, raw)).text == text


@pytest.mark.parametrize(
    ("tag", "raw", "time"),
    [
        (0x17, b"240506070809Z", "2024-05-06T07:08:09Z"),
        (0x17, b"500506070809Z", "1950-05-06T07:08:09Z"),
        (0x17, b"490506070809Z", "2049-05-06T07:08:09Z"),
        (0x17, b"2405060708Z", "2024-05-06T07:08:00Z"),
        (0x18, b"20240506070809.25Z", "2024-05-06T07:08:09Z"),
    ],
)
def test_times(tag, raw, time):
    assert element(tlv(tag, raw)).time == time


def test_elements_without_a_length():
    inner = tlv(4, b"ab") + tlv(4, b"cd")
    found = element(b"\x24\x80" + inner + b"\0\0" + b"rest")
    assert (found.octets, found.raw) == (b"abcd", b"\x24\x80" + inner + b"\0\0")


def test_members_of_elements_without_a_length():
    one, two = element(sequence(b"\x30\x80" + integer(1) + b"\0\0", integer(2))).members
    assert (one.members[0].number, two.number) == (1, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x05\x00",
        b"\x30\x82\x01",
        b"\x30\x85\x00\x00\x00\x00\x01\x00",
        b"\x1f\x01\x00",
        b"\x04\x80\x00\x00",
        b"\x30\x80\x04\x01\x00",
        b"\x30\x80" * 40,
    ],
)
def test_what_is_no_element(data):
    with pytest.raises(DerError):
        element(data)


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\x2a\x86"])
def test_object_identifiers_that_are_cut_off(raw):
    with pytest.raises(DerError):
        der.dotted(raw)


@pytest.mark.parametrize("raw", [b"", b"24", b"xx0506070809Z", b"241306070809Z", b"\xff" * 13])
def test_what_is_no_time(raw):
    with pytest.raises(DerError):
        element(tlv(0x17, raw)).time  # noqa: B018


def test_another_tag_is_refused():
    with pytest.raises(DerError, match="tag 0x4 where 0x2 is needed"):
        element(tlv(4, b"1")).number  # noqa: B018


def test_members_are_bounded(monkeypatch):
    monkeypatch.setattr(der, "MOST_MEMBERS", 3)
    with pytest.raises(DerError, match="more than 3"):
        element(sequence(*[integer(1)] * 4)).members  # noqa: B018
    with pytest.raises(DerError, match="more than 3"):
        element(b"\x30\x80" + integer(1) * 4 + b"\0\0")
