"""Damaged signatures and resources asked by lists: always an answer, never an error."""

import random

import pytest

import signed as make
from build import driver
from hvci import lists, signing
from hvci.lists.app_control import AppControl
from hvci.lists.sipolicy_xml import read_xml
from hvci.model import NEWEST
from policies import File, Policy, Signer, to_xml
from resources import with_version

IMAGE = with_version(driver(), OriginalFilename="bad.sys")
WHO = make.cross_signed()
POLICY = Policy(
    (File("F", "FileAttrib", "", "0.0.0.0", "9.0.0.0", {"FileName": "bad.sys"}),),
    (
        Signer("S", "00" * 32, ("01082B06010505070303",), "a", "b", "c"),
        Signer("T", 8, (), "", "", "", ("F",)),
        Signer("U", 0x0E),
    ),
    ("S", "T", "U"),
    ("T",),
)
ASKED = AppControl("x", read_xml(to_xml(POLICY)))


@pytest.mark.parametrize("seed", range(300))
def test_damage_anywhere(seed):
    chance = random.Random(seed)
    data = bytearray(make.signed(IMAGE, WHO, program="P", pages=seed % 2 == 0))
    start = 0x400 if seed % 3 else len(IMAGE)
    for _ in range(chance.choice((1, 2, 20))):
        data[chance.randrange(start, len(data))] = chance.choice((0, 0x30, 0x80, 0xFF, 7))
    (answer,) = lists.ask((ASKED,), signing.read(bytes(data), NEWEST), "x.sys", NEWEST)
    assert answer.entries == 5


@pytest.mark.parametrize("mark", [b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"])
def test_odd_algorithms_of_each_certificate(mark):
    """The last certificate of a chain is signed by nobody here: only lists look at how."""
    data = make.signed(IMAGE, WHO)
    at = data.find(mark)
    while at >= 0:
        for change in (b"\x05", b"\x30\x00\x05\x0b", b"\x30\x0d\x06\x80"):
            changed = data[:at] + change + data[at + len(change) :]
            lists.ask((ASKED,), signing.read(changed, NEWEST), "x.sys", NEWEST)
        at = data.find(mark, at + 1)
