"""The gates as data: shipped rows are whole, bad rows are refused by name."""

import re

import pytest

from hvci.catalog.gates import gates, parse_gates
from hvci.catalog.reader import data_text
from hvci.errors import CatalogError
from hvci.model import Confidence
from hvci.model.gates import Gate
from hvci.rules import RULES

TEXT = data_text("gates.toml")
SIGN = """
[[sign]]
kind = "event"
id = "9999"
provider = "P"
gate = ""
effect = "note"
title = "t"
means = "m"
evidence = ["observed"]
source = "s"
"""


def test_the_shipped_rows_say_everything():
    shipped = gates()
    assert set(shipped.gates) == set(Gate)
    for row in (*shipped.gates.values(), *shipped.signs):
        assert all((row.title, row.means, row.evidence, row.source))
        assert row.means.rstrip().endswith((".", '."'))
        assert not row.source.startswith("http") or re.match(r"https://\S+$", row.source)
    assert all(rule in RULES for rule in shipped.layouts.values() if rule)
    assert any(Confidence.DOCUMENTED in info.evidence for info in shipped.gates.values())


def test_a_new_sign_is_read():
    assert parse_gates(TEXT + SIGN).signs[-1].name == "event 9999 of P"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "event"', 'kind = "rumour"', "rumour"),
        ('gate = ""', 'gate = "fence"', "fence"),
        ('effect = "note"', 'effect = "odd"', "odd"),
        ('id = "9999"', 'id = "x"', "'x' is not known"),
        ('id = "9999"', "id = 9999", "must be of type str"),
        ('provider = "P"\n', "", "events have a provider"),
        ('kind = "event"', 'kind = "code"', "nothing else has"),
        ('provider = "P"', 'extra = 1\nprovider = "P"', "unknown field extra"),
        (
            'kind = "event"\nid = "9999"\nprovider = "P"',
            'kind = "policy"\nid = "12"',
            "'12' is not known",
        ),
    ],
)
def test_a_bad_row_is_refused_by_name(old, new, message):
    assert old in SIGN
    with pytest.raises(CatalogError, match=re.escape(message)):
        parse_gates(TEXT + SIGN.replace(old, new))


def test_a_row_twice_and_a_missing_gate_are_refused():
    with pytest.raises(CatalogError, match="listed twice"):
        parse_gates(TEXT + SIGN + SIGN)
    with pytest.raises(CatalogError, match="no row for kernel-cfg"):
        parse_gates(TEXT.replace('[[gate]]\nid = "kernel-cfg"', '[[other]]\nid = "kernel-cfg"'))
    with pytest.raises(CatalogError, match="want a table"):
        parse_gates("gate = [1]\n")
