"""Markdown for a comment on a pull request: short, and safe to post. Knows only the report.

Every string of a driver is written with character references, so that no name can become a link,
a mention, an image or HTML.
"""

from __future__ import annotations

import re

from hvci.model import Outcome, Question, Report
from hvci.report import overview, trust, verified, words
from hvci.report.document import Document
from hvci.report.identity import named_findings
from hvci.report.safe import safe
from hvci.report.sentence import summary

MOST_FINDINGS = 60
"""Rows of one report; GitHub refuses a comment of more than 65,536 characters."""
MOST_CHARACTERS = 60_000
MOST_NOTICES = 20

_SPECIAL = re.compile(r"[^A-Za-z0-9 ,;()=]")
_OUTCOMES = {Outcome.FAIL: "fail", Outcome.UNDECIDED: "undecided", Outcome.NOTE: "note"}


def to_markdown(document: Document) -> str:
    """The document as Markdown; what does not fit a comment is counted, not shown."""
    rows = overview.rows(document)
    shown = _overview(document, rows) if overview.is_wanted(document) else []
    shown += [f"Note&#58; {_text(notice)}\n" for notice in document.notices[:MOST_NOTICES]]
    left = MOST_CHARACTERS - sum(map(len, shown))
    for number, row in enumerate(rows):
        block = _block(row)
        left -= len(block) + 1
        if left < 0:
            shown.append(f"{len(rows) - number} more targets are in the full report.\n")
            break
        shown.append(block)
    return "\n".join(shown)


def _overview(document: Document, rows: list[overview.Row]) -> list[str]:
    """Totals and a table, the worst first; what does not fit is no worse than what does."""
    heads = " | ".join(overview.HEADS)
    lines = [_text(overview.totals(document)), "", f"| {heads} |", "|---" * 7 + "|"]
    left = MOST_CHARACTERS // 2
    for number, row in enumerate(rows):
        path, *rest = row.cells
        line = f"| {' | '.join((_code(path), *map(_text, rest)))} |"
        left -= len(line) + 1
        if left < 0:
            lines += ["", f"{len(rows) - number} more are in the full report."]
            break
        lines.append(line)
    return ["\n".join(lines) + "\n"]


def _block(row: overview.Row) -> str:
    """One target in full; one too long is cut at a line."""
    if row.report is None:
        return f"### {_code(row.path)}: {_text(row.sentence)}\n"
    block = _report(row.report)
    if len(block) <= MOST_CHARACTERS // 2:
        return block
    return (
        block[: block.rindex("\n", 0, MOST_CHARACTERS // 2)] + "\n\nMore is in the full report.\n"
    )


def _text(text: str, longest: int = 600) -> str:
    """Text in which nothing is Markdown; a comment keeps "@" from being a mention."""
    escaped = _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", safe(text, longest))
    return escaped.replace("&#64;", "&#64;<!-- -->")


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _report(report: Report) -> str:
    lines = [
        f"### {_code(report.target.path)}: {summary(report)}",
        "",
        _text(words.about_target(report)),
        "",
        "| question | answer | |",
        "|---|---|---|",
    ]
    for question in Question:
        answer = words.answer_word(report, question)
        lines.append(
            f"| {question} | {answer} | {_text(words.answer_sentence(report, question))} |"
        )
    lines += [f"| {name} | {word} | {_text(about)} |" for name, word, about in trust.rows(report)]
    lines += ["", *_counters(report), *_findings(report)]
    lines += [*_verifier(report), *_limits(report)]
    return "\n".join(lines)


def _counters(report: Report) -> list[str]:
    counted = {counter: count for counter, count in report.counters.items() if count}
    if not counted:
        return []
    named = ", ".join(f"{counter.hlk_name} {count}" for counter, count in counted.items())
    return [f"Counters of the readiness test: {_text(named)}", ""]


def _findings(report: Report) -> list[str]:
    shown = (one for one in named_findings(report) if one.result.rule not in report.left_out)
    found = sorted(shown, key=lambda named: list(_OUTCOMES).index(named.finding.outcome))
    if not found:
        return []
    lines = ["| | rule | where | what | instead |", "|---|---|---|---|---|"]
    for named in found[:MOST_FINDINGS]:
        finding = named.finding
        outcome = "suppressed" if finding.suppressed else _OUTCOMES[finding.outcome]
        what = _text(finding.message)
        if finding.suppressed:
            what += f"<br>{_text(words.suppression(finding.suppressed))}"
        where = _code(words.place(finding.site))
        cells = (outcome, named.result.rule, where, what, _text(finding.fix))
        lines.append(f"| {' | '.join(cells)} |")
    if len(found) > MOST_FINDINGS:
        lines += ["", f"{len(found) - MOST_FINDINGS} more findings are in the full report."]
    return [*lines, ""]


def _verifier(report: Report) -> list[str]:
    lines = verified.run_lines(report)
    return ["Verifier run", "", *(f"- {_text(line)}" for line in lines), ""] if lines else []


def _limits(report: Report) -> list[str]:
    reasons = sorted({limit.reason for limit in report.limits})
    if not reasons:
        return []
    listed = [f"- {_text(reason)}" for reason in reasons[:20]]
    rest = [f"- {len(reasons) - 20} more"] if len(reasons) > 20 else []
    return ["<details><summary>Not examined</summary>", "", *listed, *rest, "", "</details>", ""]
