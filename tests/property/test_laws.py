"""Laws that hold for any input: of the rules, and of the readers of our own data."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import call, evidence, outcomes
from hvci import catalog
from hvci.errors import CatalogError
from hvci.evaluate import report_on
from hvci.model import Limit, Origin, Outcome, Target, Value, Verdict
from hvci.rules import RULES, judge

TARGET = Target("x.sys", "0" * 64, 1, "image")
POOL = "execute-pool-type"

values = st.builds(
    Value,
    st.frozensets(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 4, 0x200, 0x204])),
    st.booleans(),
    st.just("some reason"),
)
judged = st.sampled_from([ddi for ddi in catalog.ddis().values() if ddi.rule.judged_by])


@given(values)
def test_unknown_is_never_pass(value):
    got = outcomes(evidence(calls=(call("ExAllocatePool", PoolType=value),)))[POOL]
    bad = any(v & 0x201 == 0 for v in value.possible)
    expected = Outcome.FAIL if bad else Outcome.PASS if value.complete else Outcome.UNDECIDED
    assert got is expected


@given(judged, values, values)
def test_a_value_that_can_be_more_is_never_judged_better(ddi, one, other):
    def rank(value):
        argument = {ddi.deciding: value} if ddi.deciding else {}
        outcome = outcomes(evidence(calls=(call(ddi.name, **argument),)))[ddi.rule.judged_by]
        return [Outcome.PASS, Outcome.NOTE, Outcome.UNDECIDED, Outcome.FAIL].index(outcome)

    assert rank(one.join(other)) >= max(rank(one), rank(other))


@given(st.lists(st.sampled_from(sorted(RULES)), min_size=1))
def test_a_limit_on_any_deciding_rule_forbids_compatible(names):
    facts = evidence(limits=(Limit(Origin.CALLSITE, tuple(names), "not examined"),))
    decides = any(RULES[name].questions for name in names)
    assert (report_on(TARGET, facts).verdict is Verdict.COMPATIBLE) == (not decides)


@given(st.lists(st.tuples(judged, values)))
def test_the_same_facts_give_the_same_results(calls):
    facts = evidence(
        calls=tuple(
            call(ddi.name, **({ddi.deciding: value} if ddi.deciding else {}))
            for ddi, value in calls
        )
    )
    assert judge(facts) == judge(facts)


@pytest.mark.parametrize(
    "parse",
    [
        lambda text: catalog.parse_ddis(text, catalog.value_rules()),
        catalog.parse_values,
        catalog.parse_prototypes,
        catalog.parse_x86_stack,
    ],
    ids=["ddis", "values", "prototypes", "x86_stack"],
)
@given(text=st.text())
def test_data_text_never_raises_anything_but_a_catalogue_error(parse, text):
    with contextlib.suppress(CatalogError):
        parse(text)


scalars = st.sampled_from(["3", "-1", "true", '"x"', '["x"]', "[1]", "[[1]]", "{ a = 1 }", "1.5"])
DDIS, VALUES = catalog.reader.data_text("ddis.toml"), catalog.reader.data_text("values.toml")


def damaged(text, start, line, scalar):
    """One table of a data file with one of its values replaced."""
    lines = text[text.index(start) :].split("\n\n")[0].splitlines()
    fields = [i for i, each in enumerate(lines) if " = " in each]
    at = fields[line % len(fields)]
    lines[at] = f"{lines[at].partition(' = ')[0]} = {scalar}"
    return "\n".join(lines)


@given(st.sampled_from(sorted(catalog.ddis())), st.integers(0, 40), scalars)
def test_a_row_with_a_wrong_value_is_read_or_refused(name, line, scalar):
    start = DDIS.rindex("[[ddi]]", 0, DDIS.index(f'name = "{name}"\n'))
    with contextlib.suppress(CatalogError):
        catalog.parse_ddis(damaged(DDIS[start:], "[[ddi]]", line, scalar), catalog.value_rules())


@given(st.sampled_from(sorted(catalog.value_rules())), st.integers(0, 40), scalars)
def test_a_value_rule_with_a_wrong_value_is_read_or_refused(name, line, scalar):
    with contextlib.suppress(CatalogError):
        catalog.parse_values(damaged(VALUES, f"[rules.{name}]", line, scalar))


@given(st.sampled_from(sorted(catalog.families())), st.integers(0, 40), scalars)
def test_a_family_with_a_wrong_value_is_read_or_refused(name, line, scalar):
    with contextlib.suppress(CatalogError):
        catalog.parse_values(damaged(VALUES, f"[families.{name}]", line, scalar))
