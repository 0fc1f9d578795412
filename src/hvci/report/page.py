"""One self-contained HTML page: no script, no network, readable on a phone and on paper.

Knows the report and how pages are made; every string goes through `markup`.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import groupby

from hvci.model import Answer, DdiCall, Finding, Outcome, Question, Report, RuleResult, Site, Value
from hvci.report import overview, trust, verified, words
from hvci.report.document import TOOL_NAME, Document, TargetError
from hvci.report.glance import glance
from hvci.report.identity import short_name
from hvci.report.markup import Html, element, joined, table
from hvci.report.picture import picture
from hvci.report.sentence import summary, told_answers
from hvci.rules.wording import library_note

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
Calls = dict[tuple[Site, str], DdiCall]
_SHOWN = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOTE)


def to_html(document: Document) -> str:
    """The document as one page."""
    style = (files("hvci") / "data" / "report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", _title(document)),
        Html(f"<style>{style}</style>"),
    )
    body = element(
        "body",
        element("header", element("h1", _title(document)), *glance(document)),
        element(
            "main",
            *(_details(row) for row in overview.rows(document)),
            *(element("p", element("strong", "Note: "), item) for item in document.notices),
        ),
        element("footer", f"{TOOL_NAME} {document.tool_version}"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _title(document: Document) -> str:
    if len(document.reports) == 1 and not document.errors:
        return f"Memory integrity: {short_name(document.reports[0].target.path)}"
    return f"Memory integrity: {len(document.reports) + len(document.errors)} targets"


def _details(row: overview.Row) -> Html:
    """One target, in the order of the overview: the worst first."""
    if row.error is not None:
        return _error(row.error)
    return Html("") if row.report is None else _report(row.report, row.index)


def _report(report: Report, index: int) -> Html:
    return element(
        "article",
        element("h2", report.target.path),
        element("p", _capital(summary(report)), class_=f"verdict {report.verdict}"),
        element("p", words.about_target(report)),
        element("p", "SHA-256 ", element("code", report.target.sha256)),
        _answers(report),
        _counters(report),
        picture(report),
        *(
            _rule(report, result, outcome)
            for outcome in _SHOWN
            for result in words.shown_results(report)
        ),
        _verifier(report),
        _limits(report),
        _signatures(report),
        _facts(report),
        id=f"t{index}",
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _answers(report: Report) -> Html:
    rows = [
        _answer(
            question,
            told_answers(report)[question],
            words.answer_word(report, question),
            words.answer_sentence(report, question),
        )
        for question in Question
    ]
    if report.blocklisted is not None:
        sentence = words.BLOCKLIST[report.blocklisted]
        # A driver that is on the block list is bad news, so its colours are those of "no".
        rows.append(_answer("blocklisted", report.blocklisted, report.blocklisted, sentence))
    for name, word, why in trust.rows(report):
        label = element("span", word, class_="answer")
        rows.append(joined(element("dt", f"{name}: ", label), element("dd", why)))
    return element("dl", *rows)


def _answer(name: str, answer: Answer | None, word: str, sentence: str) -> Html:
    kind = "" if answer is None else answer.value
    if name == "blocklisted":
        kind = {"yes": "no", "no": "yes"}.get(kind, kind)
    label = element("span", word, class_=f"answer {kind}")
    return joined(element("dt", f"{name}: ", label), element("dd", sentence))


def _counters(report: Report) -> Html:
    rows = [(words.counter_label(counter), str(n)) for counter, n in report.counters.items()]
    return joined(
        element("h3", "Counters of the readiness test"),
        table(("Counter", "Value"), [(label.rstrip(":"), n) for label, n in rows], "Counters"),
    )


def _rule(report: Report, result: RuleResult, outcome: Outcome) -> Html:
    findings = [finding for finding in result.findings if finding.outcome is outcome]
    if not findings:
        return Html("")
    tag = element("span", outcome.value, class_=f"tag {outcome}")
    parts = [element("h3", tag, f" {result.rule}")]
    if outcome is not Outcome.NOTE:
        about = words.explanation(result.rule)
        code = f" ({words.subcode(result)})" if result.subcode else ""
        parts.append(element("p", f"{about.title}{code}"))
        parts.append(element("p", element("strong", "Why: "), about.why))
    calls = {(judged.call.site, judged.call.ddi): judged.call for judged in report.calls}
    ordered = sorted(findings, key=words.finding_order)
    for _, group in groupby(ordered, key=words.finding_group):
        parts.append(_group(list(group), calls))
    return element("section", *parts)


def _group(findings: list[Finding], calls: Calls) -> Html:
    first = findings[0]
    count = len(words.once(findings))
    places = "1 place" if count == 1 else f"{count} places"
    summary = f"{first.ddi}, {places}" if first.ddi else _capital(places)
    rows = [_row(finding, calls) for finding in findings]
    columns = 3 if any(arguments for _, _, arguments in rows) else 2
    cells = [row[:columns] for row in rows]
    body = [table(("Place", "Finding", "Arguments")[:columns], cells, f"Findings: {summary}")]
    if first.fix:
        body.insert(0, element("p", element("strong", "Instead: "), element("code", first.fix)))
    if first.suppressed:
        body.insert(0, element("p", words.suppression(first.suppressed), class_="suppressed"))
    opened = first.suppressed is None and first.outcome is not Outcome.NOTE
    return element("details", element("summary", summary), *body, open=opened)


def _row(finding: Finding, calls: Calls) -> tuple[str, str, str]:
    call = calls.get((finding.site, finding.ddi or ""))
    arguments = "" if call is None else _arguments(call)
    what = element("p", words.statement(finding))
    if finding.excerpt:
        what = joined(what, _code(finding.excerpt))
    for edit in finding.edits:
        what = joined(what, _code(words.edit_lines(edit)))
    return element("code", words.place(finding.site)), what, arguments


def _code(lines: tuple[str, ...]) -> Html:
    spans = "\n".join(element("span", line) for line in lines)
    return element("pre", element("code", Html(spans)))


def _arguments(call: DdiCall) -> str:
    listed = ", ".join(f"{name} {_value(value)}" for name, value in sorted(call.arguments.items()))
    notes = [note for note in (call.note, library_note(call)) if note]
    return f"{listed} ({'; '.join([f'via {call.via}', *notes])})"


def _value(value: Value) -> str:
    found = " or ".join(f"{number:#x}" for number in sorted(value.possible))
    if value.complete:
        return found
    return f"{found} or unknown: {value.why}" if found else f"unknown: {value.why}"


def _verifier(report: Report) -> Html:
    if report.verifier is None:
        return Html("")
    lines = (*verified.run_lines(report), *verified.event_lines(report))
    items = (element("li", line) for line in lines)
    return element("section", element("h3", "Verifier run"), element("ul", *items))


def _limits(report: Report) -> Html:
    lines = words.not_examined(report)
    if not lines:
        return Html("")
    items = (element("li", line) for line in lines)
    summary = element("summary", f"Not examined: {len(lines)}")
    return element("details", summary, element("ul", *items))


def _signatures(report: Report) -> Html:
    lines = trust.lines(report)
    if not lines:
        return Html("")
    items = (element("li", line) for line in lines)
    summary = element("summary", f"Signatures: {len(lines)}")
    return element("details", summary, element("ul", *items))


def _facts(report: Report) -> Html:
    facts = words.image_facts(report)
    return element("p", element("strong", "For information: "), facts) if facts else Html("")


def _error(error: TargetError) -> Html:
    fate = overview.fate_of_error(error)
    kind = "undecided" if fate is overview.Fate.NOT_A_DRIVER else "incompatible"
    return element(
        "article",
        element("h2", error.path),
        element("p", _capital(fate), class_=f"verdict {kind}"),
        element("p", f"{error.message.rstrip('.')}. {error.advice}"),
    )
