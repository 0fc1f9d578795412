import re

import pytest

from hvci import catalog
from hvci.catalog import Test, parse_values
from hvci.catalog.reader import data_text
from hvci.errors import CatalogError
from hvci.rules import RULES

RULE = catalog.value_rules()

GOOD = """
[rules.kind]
clear = 2
family = "colours"
judged_by = ""
evidence = ["documented"]
text = "A kind."
[families.colours]
flags = false
values = { Red = 0, Green = 2 }
safer = { Red = "Green" }
"""


def test_the_good_text_is_read():
    rules, families = parse_values(GOOD)
    assert rules["kind"].executable == rules["kind"].counted == Test("clear", mask=2)
    assert rules["kind"].family is families["colours"]
    assert rules["kind"].spell(0) == "Red (0x0)"


def test_shipped_rows_are_those_of_the_whole_file():
    rules, families = parse_values(data_text("values.toml"))
    assert repr(dict(catalog.value_rules())) == repr(dict(rules))
    assert repr(dict(catalog.families())) == repr(dict(families))
    for rule in catalog.value_rules().values():
        assert rule.family is None or rule.family is catalog.families()[rule.family.name]


@pytest.mark.parametrize(
    ("test", "holds", "not_"),
    [
        (Test("clear", mask=0x201), (0, 4, 0x400), (1, 0x200, 0x201)),
        (Test("set", mask=0xF0), (0x10, 0x40, 0x80), (0, 4, 0x104)),
        (Test("one_of", members=frozenset({1, 2})), (1, 2), (0, 3)),
        (Test("except", members=frozenset({2})), (0, 1), (2,)),
        (Test("always"), (0, 1, 1 << 63), ()),
        (Test("never"), (), (0, 1, 1 << 63)),
    ],
)
def test_each_kind_of_test(test, holds, not_):
    assert all(test.holds(value) for value in holds)
    assert not any(test.holds(value) for value in not_)


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ("pool_type", 0, "NonPagedPool (0x0)"),
        ("pool_type", 0x200, "NonPagedPoolNx (0x200)"),
        ("pool_type", 0x400, "NonPagedPool | POOL_ZERO_ALLOCATION (0x400)"),
        ("pool_type", 0x40, "0x40"),
        ("page_protection", 0x40, "PAGE_EXECUTE_READWRITE (0x40)"),
        ("page_protection", 0x204, "PAGE_READWRITE | PAGE_NOCACHE (0x204)"),
        ("page_protection", 0, "0x0"),
        ("page_protection", 0x100040, "0x100000 | PAGE_EXECUTE_READWRITE (0x100040)"),
        ("mdl_priority", 0x10, "NormalPagePriority (0x10)"),
        ("mdl_priority", 0x4000_0011, "0x11 | MdlMappingNoExecute (0x40000011)"),
        ("lookaside_flags", 0, "0x0"),
        ("pool_flags", 0x1_0000_0080, "POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_SPECIAL_POOL"),
        ("contiguous_cache", 1, "MmCached (0x1)"),
        ("contiguous_cache", 6, "0x6"),
        ("always", 6, "0x6"),
    ],
)
def test_values_are_spelled_as_in_source(rule, value, words):
    assert RULE[rule].spell(value).startswith(words)


@pytest.mark.parametrize(
    ("rule", "value", "name"),
    [
        ("pool_type", 4, "NonPagedPoolNxCacheAligned"),
        ("pool_type", 0x400, "NonPagedPoolNx"),
        ("pool_type", 0x200, ""),
        ("page_protection", 0x240, "PAGE_READWRITE"),
        ("page_protection", 0x10, ""),
        ("page_protection", 4, ""),
        ("pool_flags", 0x80, ""),
    ],
)
def test_the_counterpart_of_a_value(rule, value, name):
    assert RULE[rule].family.safer_for(value) == name


@pytest.mark.parametrize("family", catalog.families().values(), ids=lambda family: family.name)
def test_a_counterpart_is_never_executable(family):
    for rule in (rule for rule in RULE.values() if rule.family is family):
        for bad, safe in family.safer.items():
            assert rule.executable.holds(family.constants[bad]) or rule.judged_by == ""
            assert not rule.executable.holds(family.constants[safe])


@pytest.mark.parametrize("rule", RULE.values(), ids=lambda rule: rule.name)
def test_a_value_rule_is_judged_by_a_rule_that_exists(rule):
    assert rule.judged_by == "" or rule.judged_by in RULES
    assert rule.evidence
    assert rule.text.endswith(".")


@pytest.mark.parametrize("rule", RULE.values(), ids=lambda rule: rule.name)
def test_every_value_rule_is_used(rule):
    assert any(ddi.rule is rule for ddi in catalog.ddis().values())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("clear = 2", "", "want exactly one of clear, set"),
        ("clear = 2", "clear = 2\nset = 4", "want exactly one of clear, set"),
        ("clear = 2", 'clear = "2"', "clear must be of type int"),
        ("clear = 2", 'one_of = ["2"]', "one_of must hold int only"),
        ("clear = 2", "clear = 2\ncounted = { now = 1 }", "want exactly one of clear, set"),
        ('"colours"\nj', '"tastes"\nj', "family 'tastes' is not known"),
        ('["documented"]', '["said"]', "evidence: 'said' is not known"),
        ("[families.colours]", "size = 1\n[families.colours]", "unknown field size"),
        ("flags = false", "", "flags is missing"),
        ("flags = false", "flags = 0", "flags must be of type bool"),
        ("Red = 0", 'Red = "0"', "values must hold numbers"),
        ("Red = 0", "Red = -1", "values must hold numbers"),
        ('safer = { Red = "Green" }', 'safer = { Blue = "Green" }', "safer must name constants"),
        ('safer = { Red = "Green" }', 'safer = { Red = "Blue" }', "safer must name constants"),
        ('safer = { Red = "Green" }', "safer = { Red = [1] }", "safer must name constants"),
        ("[rules.kind]", "rules = 1\n[rule.kind]", "want [rules.NAME] tables"),
        ("[rules.kind]", "[rules]\nkind = 3\n[x]", "rule kind: want a table"),
    ],
)
def test_a_bad_row_is_refused_by_name(old, new, why):
    assert old in GOOD
    with pytest.raises(CatalogError, match=re.escape(why)) as caught:
        parse_values(GOOD.replace(old, new))
    assert str(caught.value).startswith("values.toml: ")


def test_aliases_are_constants_but_never_spelled():
    family = catalog.families()["pool_type"]
    assert family.constants["NonPagedPoolExecute"] == 0
    assert "NonPagedPoolExecute" not in family.spell(0)
