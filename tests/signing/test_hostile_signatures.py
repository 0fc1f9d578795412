"""Mutated certificate tables: always an answer, never an error, never better than before."""

import random

import pytest

import signed as make
from build import driver
from hvci import signing
from hvci.errors import InputError
from hvci.model import NEWEST, Signed
from hvci.signing.catalog import read_catalog

IMAGE = driver()


def mutated(data, start, random):
    """The bytes with a few changed from an offset on."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 30))):
        at = random.randrange(start, len(data))
        match random.randrange(5):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at] = random.choice((0, 1, 0x30, 0x31, 0x7F, 0x80, 0x84, 0xA0, 0xFF))
            case 2:
                del data[at : at + random.randrange(1, 40)]
            case 3:
                data[at:at] = data[start : start + random.randrange(1, 200)]
            case _:
                del data[at:]
        if len(data) <= start + 8:
            break
    return bytes(data)


def subjects():
    """Signed drivers with where their table starts."""
    inner = make.message(IMAGE, make.cross_signed(), pages=True, program="Vendor")
    stamped = make.message(IMAGE, make.vendor(), stamp="countersignature", nested=(inner,))
    for data in (
        make.signed(IMAGE, make.microsoft(make.WHQL), program="Vendor", pages=True),
        make.attached(IMAGE, stamped, inner),
    ):
        yield data, len(IMAGE)


@pytest.mark.parametrize("seed", range(300))
def test_mutated_tables(seed):
    chance = random.Random(seed)
    data, start = list(subjects())[seed % 2]
    found = signing.read(mutated(data, start, chance), NEWEST).trust
    assert found.signed in Signed
    assert found.reason
    for one in found.signatures:
        assert one.signed is not Signed.DAMAGED or one.problem


@pytest.mark.parametrize("seed", range(150))
def test_mutated_catalogs(seed):
    whole = make.catalog([make.authentihash(IMAGE)], make.microsoft(make.WHQL), old=seed % 2 == 0)
    try:
        catalog = read_catalog(mutated(whole, 0, random.Random(seed)), "x.cat")
    except InputError:
        return
    assert signing.read(IMAGE, NEWEST, (catalog,)).trust.signed in Signed
