"""LOLDrivers' JSON: every hash that it can hold, and what is no such list."""

import hashlib
import json

import pytest

import signed as make
from build import driver
from hvci import signing
from hvci.errors import InputError
from hvci.lists import blocklisted
from hvci.lists.loldrivers import LolDrivers
from hvci.lists.subject import Subject
from hvci.model import NEWEST, Answer

IMAGE = make.signed(driver(), make.vendor())
FLAT = {name: hashlib.new(name, IMAGE).hexdigest() for name in ("md5", "sha1", "sha256")}
AUTHENTICODE = {name: make.authentihash(IMAGE, name).hex() for name in ("md5", "sha1", "sha256")}


def ask(*samples, **entry):
    entry = {"Id": "guid-1", "Tags": ["evil.sys"], "Category": "vulnerable driver"} | entry
    data = json.dumps([entry | {"KnownVulnerableSamples": list(samples)}]).encode()
    return LolDrivers("drivers.json", data).ask(Subject(signing.read(IMAGE, NEWEST)))


@pytest.mark.parametrize("name", FLAT)
def test_hashes_of_the_file(name):
    (match,) = ask({name.upper(): FLAT[name].upper()}).matches
    assert (match.rule, match.title) == ("guid-1", "evil.sys (vulnerable driver)")
    assert match.why.endswith("of the file")


@pytest.mark.parametrize("name", AUTHENTICODE)
@pytest.mark.parametrize("flat", [False, True])
def test_authenticode_in_both_spellings(name, flat):
    value = AUTHENTICODE[name]
    sample = (
        {f"Authentihash{name.upper()}": value} if flat else {"Authentihash": {name.upper(): value}}
    )
    (match,) = ask(sample).matches
    assert match.why.startswith("Authenticode")


def test_a_driver_matches_an_entry_once_and_the_strongest_hash_is_named():
    answer = ask({name.upper(): value for name, value in FLAT.items()}, {"MD5": FLAT["md5"]})
    (match,) = answer.matches
    assert match.why == "SHA-256 of the file"
    assert "Windows does not refuse it for that" in answer.note
    assert answer.entries == 1


def test_a_hash_of_the_wrong_kind_matches_nothing():
    answer = ask({"SHA256": AUTHENTICODE["sha256"], "Authentihash": {"SHA256": FLAT["sha256"]}})
    assert (answer.matches, answer.note) == ((), "")


def test_odd_fields_are_passed_over():
    answer = ask(
        {"SHA256": "-", "MD5": None, "Authentihash": "none", "Filename": "x"},
        "none",
        {"SHA1": FLAT["sha1"], "Filename": "x.sys"},
        Tags="none",
    )
    assert answer.matches[0].title == "x.sys (vulnerable driver)"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "not a list of drivers"),
        (b"[1]", "not a list of drivers"),
        (b'[{"Id": "x"}]', "no hash of a driver"),
        (b'[{"KnownVulnerableSamples": 5}]', "no hash of a driver"),
        (b"[\xff]", "not JSON"),
    ],
)
def test_what_is_no_such_list(data, why):
    with pytest.raises(InputError, match=why):
        LolDrivers("x", data)


def test_an_empty_list_answers_nothing():
    answer = LolDrivers("x", b"[]").ask(Subject(signing.read(IMAGE, NEWEST)))
    assert (answer.matches, blocklisted([answer])) == ((), Answer.UNDECIDED)
    assert answer.doubt.startswith("it is empty")
    other = ask({"SHA256": "0" * 64})
    assert (other.doubt, blocklisted([other])) == ("", Answer.NO)
