"""What no output may keep to itself: errors, notices, why something is open, what is accepted."""

from dataclasses import replace
from html import unescape

import pytest

from hvci.errors import NotAnImage
from hvci.model import Limit, Origin, Outcome, Question
from hvci.report import Document, Format, TargetError, render
from reports import pool_call, report, source_report, suppressed, unknown_call

WHY = "zebras were not followed"
LIMIT = Limit(Origin.CALLSITE, ("execute-pool-type", "nx-opt-in"), WHY)
TOLD = {
    "why a rule is open": (Document((report(limits=(LIMIT,)),)), WHY),
    "why a call is open": (Document((report(unknown_call(0x1000)),)), "memory that others write"),
    "what is accepted": (Document((suppressed(report(pool_call(0, 0))),)), "known and harmless"),
    "what could not be read": (
        Document((report(),), (TargetError.of("gone.sys", NotAnImage(f"gone.sys: {WHY}")),)),
        WHY,
    ),
    "what there is to notice": (Document((report(),), notices=(WHY,)), WHY),
}
SILENT = {
    (Format.CONCISE, "what is accepted"),
    (Format.CSV, "what there is to notice"),
    *((Format.READINESS, what) for what in TOLD),
}
"""Lines of what is left to do; rows of targets; what another tool prints, word for word."""


@pytest.mark.parametrize("what", TOLD)
@pytest.mark.parametrize("form", Format)
def test_every_format_tells(form, what):
    if (form, what) in SILENT:
        return
    document, told = TOLD[what]
    assert told in unescape(render(document, form)), f"{form} does not tell {what}"


BY_LINES = (Format.CONCISE, Format.MSVS, Format.GITHUB)


@pytest.mark.parametrize("form", BY_LINES)
def test_a_reason_that_rules_share_is_one_line(form):
    (line,) = render(Document((report(limits=(LIMIT,)),)), form).splitlines()
    assert line.endswith(f"undecided: {WHY} [execute-pool-type, nx-opt-in]")
    assert "driver.sys" in line


def test_the_lines_of_builds_name_the_first_rule():
    document = Document((report(limits=(LIMIT,)),))
    msvs, github = render(document, Format.MSVS), render(document, Format.GITHUB)
    assert msvs.startswith("driver.sys : warning HVCI2000: undecided: ")
    start = "::warning file=driver.sys,title=execute-pool-type::HVCI2000: undecided: "
    assert github.startswith(start)


@pytest.mark.parametrize("form", BY_LINES)
def test_a_reason_is_not_told_beside_a_finding_that_is_open(form):
    text = render(Document((report(unknown_call(0x1000), limits=(LIMIT,)),)), form)
    assert text.splitlines()[-1].endswith(f"undecided: {WHY} [nx-opt-in]")


@pytest.mark.parametrize("form", BY_LINES)
def test_what_the_user_left_out_is_open_for_nobody(form):
    one = replace(report(limits=(LIMIT,)), left_out=frozenset(LIMIT.rules))
    assert WHY not in render(Document((one,)), form)


@pytest.mark.parametrize("form", BY_LINES)
def test_a_rule_that_was_not_checked_is_open_where_it_decides(form):
    """A rule that only notes decides nothing: without its evidence nothing is open."""
    one = source_report()
    note = next(each for each in one.results if each.outcome is Outcome.NOT_CHECKED)
    assert "undecided" not in render(Document((one,)), form)
    deciding = replace(note, questions=frozenset((Question.LOADS,)))
    results = tuple(deciding if each is note else each for each in one.results)
    assert "needs image evidence" in render(Document((replace(one, results=results),)), form)


def test_csv_has_a_row_for_each_rule_that_is_open():
    rows = render(Document((report(limits=(LIMIT,)),)), Format.CSV).splitlines()[1:]
    assert [row.count(WHY) for row in rows] == [1, 1]
    assert all(f"{rule},undecided," in row for rule, row in zip(LIMIT.rules, rows, strict=True))
