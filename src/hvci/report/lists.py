"""What a report says of the lists that were given, in words and as fields; decides nothing."""

from __future__ import annotations

from typing import Any

from hvci.model import ListAnswer, ListKind, Match, Report
from hvci.report.fields import Fields
from hvci.report.safe import safe

Json = dict[str, Any]

_NAMES = {
    ListKind.POLICY: "block list",
    ListKind.LOLDRIVERS: "block list",
    ListKind.COMPATIBILITY: "compatibility db",
}


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Name, answer and sentence of each list."""
    return [(_NAMES[each.kind], word(each), _sentence(each)) for each in report.lists]


def word(answer: ListAnswer) -> str:
    """The answer of one list as a word."""
    if answer.matches:
        return "names it"
    return "undecided" if answer.doubt else "does not name it"


def _sentence(answer: ListAnswer) -> str:
    parts = [f"{answer.title} ({answer.source}, {answer.entries:,} entries)"]
    parts += [_match(each) for each in answer.matches[:3]]
    if len(answer.matches) > 3:
        parts.append(f"and {len(answer.matches) - 3} more")
    parts += [each for each in (answer.doubt, answer.note) if each]
    return safe("; ".join(parts), 2000).rstrip(".") + "."


def _match(match: Match) -> str:
    title = f' "{match.title}"' if match.title else ""
    return f"{match.rule}{title}: {match.why}"


def matched(report: Report) -> str:
    """The rules that matched, for one cell of a table."""
    return ", ".join(match.rule for answer in report.lists for match in answer.matches)


def fields(answer: ListAnswer) -> Json:
    """One answer as JSON."""
    return {
        "source": answer.source,
        "kind": answer.kind,
        "title": answer.title,
        "entries": answer.entries,
        "matches": [
            {"rule": each.rule, "title": each.title, "why": each.why} for each in answer.matches
        ],
        "doubt": answer.doubt,
        "note": answer.note,
    }


def read(fields: Fields) -> ListAnswer:
    """The inverse of `fields`."""
    return ListAnswer(
        fields.take("source", str),
        fields.word("kind", ListKind),
        fields.take("title", str),
        fields.take("entries", int),
        fields.items("matches", _read_match),
        fields.take("doubt", str),
        fields.take("note", str),
    )


def _read_match(fields: Fields) -> Match:
    rule, title = fields.take("rule", str), fields.take("title", str)
    return Match(rule, title, fields.take("why", str))
