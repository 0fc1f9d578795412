"""No reason in any report is empty or ends in nothing: each is something a person can act on."""

import re
from pathlib import Path

import pytest

from hvci.errors import HvciError
from hvci.evaluate import Options, evaluate
from hvci.model import Outcome
from hvci.report import Document, Format, render
from hvci.report.encode import document_fields

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = sorted({path.parent for path in FIXTURES.rglob("*.sys")})
DANGLING = re.compile(r"(?<!'): *[,;)]|: *$|\( *\)|, *,|; *;|^ *[,;:]|\bNone\b")
TEXTS = ("reason", "message", "note", "dead", "why", "summary")


def texts(node):
    """Every sentence of a report with the name of its field."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in TEXTS and isinstance(value, str):
                yield name, value
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


def empty_reasons(one):
    """Where something is said without saying why."""
    for result in one.results:
        found = [finding for finding in result.findings if finding.outcome is Outcome.UNDECIDED]
        silent = result.outcome in (
            Outcome.UNDECIDED,
            Outcome.NOT_CHECKED,
            Outcome.NOT_APPLICABLE,
        )
        if silent and not found and not result.reason.strip():
            yield result.rule
        yield from (f"{result.rule}: message" for one in result.findings if not one.message.strip())
    yield from ("limit" for limit in one.limits if not limit.reason.strip())
    for judged in one.calls:
        for name, value in judged.call.arguments.items():
            if not value.complete and not value.reason.strip():
                yield f"{judged.call.ddi} {name} at {judged.call.site}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_no_reason_is_empty_or_dangling(folder):
    wrong = []
    for path in sorted(folder.glob("*.sys")):
        try:
            one = evaluate(path, Options())
        except HvciError:
            continue
        wrong += [(path.name, what) for what in empty_reasons(one)]
        (fields,) = document_fields(Document((one,)))["reports"]
        wrong += [(path.name, *each) for each in texts(fields) if DANGLING.search(each[1])]
        if len(wrong) == 0 and one.limits:
            assert "not known: ," not in render(Document((one,)), Format.TEXT)
    assert wrong == []


@pytest.mark.parametrize("path", sorted((FIXTURES / "src").glob("*.c")), ids=lambda path: path.name)
def test_no_reason_of_sources_is_empty_or_dangling(path):
    one = evaluate(path, Options())
    assert list(empty_reasons(one)) == []
    (fields,) = document_fields(Document((one,)))["reports"]
    assert [each for each in texts(fields) if DANGLING.search(each[1])] == []
