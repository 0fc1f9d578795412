"""Every rule that decides is in a list of what limits weaken; else it would pass unexamined."""

import sys

import pytest

from facts import evidence, moved
from hvci import catalog
from hvci.catalog.ddis import OptIn
from hvci.model import Limit, Origin, Outcome, judged
from hvci.rules import RULES

LISTS = {name: ids for name, ids in vars(judged).items() if name.endswith("_RULES")}
DECIDING = sorted(rule.id for rule in RULES.values() if rule.questions)
OF_CODE = [name for name in DECIDING if Origin.CALLSITE in RULES[name].sees]


def test_every_id_of_the_lists_is_a_rule():
    assert {name for ids in LISTS.values() for name in ids} <= set(RULES)


@pytest.mark.parametrize("name", DECIDING)
def test_every_rule_that_decides_is_in_a_list(name):
    assert [label for label, ids in LISTS.items() if name in ids], (
        f"put {name} into the list of src/hvci/model/judged.py that says what weakens it"
    )


@pytest.mark.parametrize("name", OF_CODE)
@pytest.mark.parametrize("label", ["CODE_RULES", "TEXT_RULES"])
def test_what_code_decides_is_open_where_nobody_looked_at_code(name, label):
    limit = Limit(Origin.CALLSITE, LISTS[label], "not looked at")
    assert moved(evidence(limits=(limit,)))[name] is Outcome.UNDECIDED


def test_the_rules_that_count_are_those_of_the_kinds_of_values():
    judges = {rule.judged_by for rule in catalog.value_rules().values() if rule.judged_by}
    assert {*judged.COUNTED_RULES, "executable-by-default"} == judges


@pytest.mark.parametrize("name", sorted(catalog.ddis()))
def test_a_use_that_nobody_follows_leaves_its_rule_open(name):
    ddi = catalog.ddis()[name]
    judge = ddi.rule.judged_by
    assert (judge in ddi.weakens) == bool(judge) == bool(ddi.weakens)
    assert ("nx-opt-in" in ddi.weakens) == (bool(judge) and ddi.opt_in is not OptIn.NONE)


def test_a_rule_on_calls_that_judges_no_kind_of_value_is_left_open_by_all(monkeypatch):
    module = sys.modules["hvci.catalog.ddis"]  # a function of the package has its name
    monkeypatch.setattr(module, "CALL_RULES", (*judged.CALL_RULES, "made-up"))
    assert catalog.ddis()["MmProtectMdlSystemAddress"].weakens == (
        "execute-page-protection",
        "made-up",
    )
