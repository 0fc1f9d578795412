"""What has to be said beside the rows of a question, so that no rows are no answer by silence.

Names that nobody has, files without an answer, and questions that no scan of the view can answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from sqlalchemy import ColumnElement, Connection, func, select

from hvci.catalog import ddis
from hvci.errors import UsageError
from hvci.fleet.asked import in_view
from hvci.fleet.schema import package, result, seen, tally
from hvci.fleet.unfinished import numbers
from hvci.fleet.views import View
from hvci.model import Verdict
from hvci.report.lines import code
from hvci.report.safe import safe
from hvci.rules import RULES

_OF_JUDGED = ("undecided", "boot", "rule", "ddi")
_OF_DRIVERS = ("will-not-load", "breaks", "fails-readiness", "update-first", "installed")
_CLOSE = 3


def plain_word(question: str, word: str) -> str:
    """The word of a question as the database has it: rules by their ids."""
    if question != "rule":
        return word
    return {code(rule): rule for rule in RULES}.get(word.upper(), word)


def refuse_unknown(connection: Connection, question: str, view: View, word: str) -> None:
    """Refuse a name that had no row and that nothing in the scans, and no list of ours, has."""
    known = {name for _, name, *_ in numbers(connection, view, question)}
    if question == "rule":
        known |= set(RULES)
    elif question == "ddi":
        known |= set(ddis())
    if question in ("rule", "ddi") and word in known:
        return  # nothing fails by it
    by_lower = {name.lower(): name for name in sorted(known)}
    close = [by_lower[one] for one in get_close_matches(word.lower(), by_lower, _CLOSE)]
    hint = f"; did you mean {' or '.join(map(safe, close))}?" if close else ""
    raise UsageError(
        f"{safe(word)}: no {question} of this name in the current scans{hint} "
        f"(all of them: hvci query {question})"
    )


def asides(connection: Connection, question: str, view: View) -> Iterator[str]:
    """What people have to know about the rows of a question, each a sentence."""
    if question == "installed" and not _has(connection, view, package.c.installed):
        yield "none of these scans looked at a Windows: see hvci scan --installed"
    if question == "boot" and not _has(connection, view, package.c.start != ""):
        yield "none of these scans knows when a driver starts: see hvci scan --installed"
    if question in (*_OF_DRIVERS, *_OF_JUDGED) and not _is_any_judged(connection, view):
        yield "no driver was judged in these scans (hvci query scans, not-judged, problems)"
    if question in _OF_DRIVERS:
        lost = _files(connection, view, "problem")
        open_ = _files(connection, view, "verdict", "undecided")
        told = [f"{lost} without an answer (hvci query problems)"] * bool(lost)
        told += [f"{open_} undecided (hvci query undecided)"] * bool(open_)
        if told:
            yield f"of the files that are not listed, {' and '.join(told)} may be such as well"


def _has(connection: Connection, view: View, what: ColumnElement[bool]) -> bool:
    of = select(package.c.id).where(what)
    found = select(seen.c.file_id).where(seen.c.package_id.in_(of), in_view(view)).limit(1)
    return connection.execute(found).first() is not None


def _is_any_judged(connection: Connection, view: View) -> bool:
    judged = select(seen.c.file_id).join(result, result.c.id == seen.c.result_id)
    found = judged.where(result.c.verdict.in_([*Verdict]), in_view(view)).limit(1)
    return connection.execute(found).first() is not None


def _files(connection: Connection, view: View, kind: str, name: str = "") -> int:
    """Files by what the scans that came to their end add up to; the others are told anyway."""
    which = (tally.c.kind == kind, tally.c.scan_id.in_(view.scans))
    found = select(func.coalesce(func.sum(tally.c.files), 0)).where(*which)
    return int(connection.scalar(found.where(tally.c.name == name) if name else found) or 0)
