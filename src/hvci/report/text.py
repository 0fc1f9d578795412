"""Reports for a person at a terminal: what happens, then why, where and what to write instead.

Makes one string; opens no file, asks no terminal and takes no string of a file as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from hvci.model import Answer, Finding, Outcome, Question, Report, RuleResult, Verdict
from hvci.model.record import record
from hvci.report import overview, text_table, trust, verified, words
from hvci.report.document import Document, TargetError
from hvci.report.ink import Ink, Part
from hvci.report.safe import safe
from hvci.report.sentence import summary, told_answers

_COLOURS = {
    Verdict.COMPATIBLE: "green",
    Verdict.INCOMPATIBLE: "red",
    Verdict.UNDECIDED: "yellow",
    Answer.YES: "green",
    Answer.NO: "red",
    Answer.UNDECIDED: "yellow",
    Outcome.FAIL: "red",
    Outcome.UNDECIDED: "yellow",
    Outcome.NOTE: "cyan",
}
_SHOWN_OUTCOMES = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOTE)
_MOST_PLACES = {Outcome.FAIL: 10_000, Outcome.UNDECIDED: 8, Outcome.NOTE: 4}
"""Places that are listed for one statement; nothing that fails is left out."""
_MOST_STATEMENTS = {Outcome.FAIL: 10_000, Outcome.UNDECIDED: 8, Outcome.NOTE: 4}
_MOST_LIMITS = 6


@record
class Style:
    """How a text report looks."""

    width: int | None = None
    """Columns of a terminal; None folds nothing."""
    colour: bool = False
    verbose: bool = False
    """List every finding and every limit, and every target in full."""
    quiet: bool = False
    """Only the table."""


def to_text(document: Document, style: Style) -> str:
    """The document as text for a terminal or a file."""
    page = _Page(style)
    several = overview.is_wanted(document)
    if several or style.quiet:
        text_table.write(page.ink, document)
    if not style.quiet:
        _details(page, document, several)
    for notice in document.notices:
        page.ink.line(("Note: ", "bold"), safe(notice, 2000))
    if several and page.has_details:
        page.ink.line((overview.totals(document), "bold"))
    return page.ink.text


def _details(page: _Page, document: Document, several: bool) -> None:
    """The targets, the worst first; of several only what fails, unless all is asked for."""
    for row in overview.rows(document):
        if row.report is not None and (page.style.verbose or not several):
            page.report(row.report)
        elif row.report is not None:
            page.failures(row.report)
        if row.error is not None and (page.style.verbose or not several):
            page.error(row.error)


class _Page:
    """The parts of a report as lines."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.ink = Ink(style.width, style.colour)
        self.has_details = False
        """Whether anything stands behind the table."""
        self._explained: set[str] = set()

    def report(self, report: Report) -> None:
        """One target in full."""
        self._headline(report)
        self.ink.line(words.about_target(report), indent=2)
        self.ink.blank()
        self._answers(report)
        self._trust(report)
        self._counters(report)
        for outcome in _SHOWN_OUTCOMES:
            for result in words.shown_results(report):
                self._rule(result, outcome)
        self._reasoned_passes(report)
        self._verifier(report)
        self._not_examined(report)
        if self.style.verbose and (lines := trust.lines(report)):
            self._listed("Signatures:", lines)
        last = (("Fix: ", words.fixes(report)), ("For information: ", words.image_facts(report)))
        for label, line in last:
            if line:
                self.ink.line((label, "bold"), line)
                self.ink.blank()

    def failures(self, report: Report) -> None:
        """What fails in one target of several and nobody accepted; nothing where nothing does."""
        failing = [
            replace(one, findings=tuple(found))
            for one in words.shown_results(report)
            if (found := words.open_findings(one, Outcome.FAIL))
        ]
        if not failing:
            return
        self._headline(report)
        self.ink.line(words.about_target(report), indent=2)
        self.ink.blank()
        for result in failing:
            self._rule(result, Outcome.FAIL)

    def _headline(self, report: Report) -> None:
        self.has_details = True
        said = (summary(report), f"bold {_COLOURS[report.verdict]}")
        self.ink.line((safe(report.target.path), "bold"), ": ", said)

    def _answers(self, report: Report) -> None:
        rows: list[tuple[str, str, str, str]] = []
        told = told_answers(report)
        for question in Question:
            answer = told[question]
            style = "dim" if answer is None else f"bold {_COLOURS[answer]}"
            sentence = words.answer_sentence(report, question)
            rows.append((question.value, words.answer_word(report, question), style, sentence))
        if report.blocklisted is not None:
            answer, sentence = report.blocklisted, words.BLOCKLIST[report.blocklisted]
            rows.append(("blocklisted", answer.value, "", sentence))
        names, answers = (max(len(row[i]) for row in rows) for i in (0, 1))
        for name, word, style, sentence in rows:
            head = (f"{name:<{names}}  ", (f"{word:<{answers}}", style), f"  {sentence}")
            self.ink.line(*head, indent=2, hang=names + answers + 4)
        self.ink.blank()

    def _trust(self, report: Report) -> None:
        """Who signed it and what that means: apart, because it changes no verdict."""
        rows = trust.rows(report)
        for name, word, sentence in rows:
            head = (f"{name:<13}  ", (word, "bold"), f": {sentence}")
            self.ink.line(*head, indent=2, hang=15)
        if rows:
            self.ink.blank()

    def _counters(self, report: Report) -> None:
        if report.answers[Question.READINESS] is None:
            return
        for counter, count in report.counters.items():
            label = words.counter_label(counter)
            self.ink.line(f"{label:<34}", (str(count), "bold red" if count else ""), indent=2)
        self.ink.blank()

    def _rule(self, result: RuleResult, outcome: Outcome) -> None:
        findings = [finding for finding in result.findings if finding.outcome is outcome]
        if not findings:
            return
        code = f"  ({words.subcode(result)})" if result.subcode else ""
        self.ink.line(
            (f"{outcome.value.upper()}  {result.rule}", f"bold {_COLOURS[outcome]}"), code
        )
        if outcome is not Outcome.NOTE and result.rule not in self._explained:
            self._explained.add(result.rule)
            about = words.explanation(result.rule)
            self.ink.line(about.title, indent=2)
            if about.why:
                self.ink.line(("Why: ", "bold"), about.why, indent=2)
        ordered = sorted(findings, key=words.finding_order)
        for _, group in groupby(ordered, key=words.finding_group):
            self._group(list(group), outcome)
        self.ink.blank()

    def _group(self, findings: Sequence[Finding], outcome: Outcome) -> None:
        """Findings of one DDI with one remedy."""
        ddi, fix, accepted = findings[0].ddi, findings[0].fix, findings[0].suppressed
        if ddi:
            count = len(words.once(findings))
            calls = "1 call" if count == 1 else f"{count} calls"
            self.ink.line((safe(ddi), "bold"), f", {calls}", indent=2)
        by_text: dict[str, list[Finding]] = {}
        for finding in findings:
            by_text.setdefault(words.statement(finding), []).append(finding)
        statements = list(by_text.items())
        shown = len(statements) if self.style.verbose else _MOST_STATEMENTS[outcome]
        for text, same in statements[:shown]:
            self._statement(text, same, outcome)
        if hidden := sum(len(same) for _, same in statements[shown:]):
            self.ink.line(f"and {hidden} more; --verbose lists them all", indent=4)
        if fix:
            self.ink.line(("Instead: ", "bold"), safe(fix, 2000), indent=4)
        if accepted is not None:
            self.ink.line((words.suppression(accepted), "dim"), indent=4)

    def _statement(self, text: str, findings: Sequence[Finding], outcome: Outcome) -> None:
        """One statement with its place, or with all the places where it holds."""
        if self.style.verbose or len(findings) == 1:
            for finding in findings:
                self.ink.line((words.place(finding.site), "bold"), f"  {text}", indent=4)
                self._excerpt(finding)
            return
        self.ink.line(text, indent=4)
        most = _MOST_PLACES[outcome]
        listed = ", ".join(words.place(finding.site) for finding in findings[:most])
        rest = len(findings) - most
        self.ink.line(listed, f" and {rest} more (--verbose)" if rest > 0 else "", indent=6)

    def _excerpt(self, finding: Finding) -> None:
        """Code and edits, cut at the width of the page rather than wrapped."""
        if not self.style.verbose:
            return
        edits = [line for edit in finding.edits for line in words.edit_lines(edit)]
        for line in (*finding.excerpt, *edits):
            self.ink.cropped(safe(line), "dim", 8)

    def _verifier(self, report: Report) -> None:
        if report.verifier is not None:
            lines = (*verified.run_lines(report), *verified.event_lines(report))
            self._listed("Verifier run:", lines)

    def _listed(self, head: str, lines: Sequence[Part]) -> None:
        self.ink.line((head, "bold"))
        for line in lines:
            self.ink.line("- ", line, indent=2, hang=2)
        self.ink.blank()

    def _reasoned_passes(self, report: Report) -> None:
        """Rules that pass for a reason which silence would not tell, such as an NX opt-in."""
        reasons: dict[str, list[str]] = {}
        for result in report.results:
            if result.outcome is Outcome.PASS and result.reason:
                reasons.setdefault(result.reason, []).append(result.rule)
        for reason, rules in sorted(reasons.items(), key=lambda item: item[1]):
            self.ink.line(("PASS  ", "green"), ", ".join(rules))
            self.ink.line(safe(reason), indent=2)
            self.ink.blank()

    def _not_examined(self, report: Report) -> None:
        lines = words.not_examined(report)
        if not lines:
            return
        most = len(lines) if self.style.verbose else _MOST_LIMITS
        rest = len(lines) - most
        more = [f"and {rest} more; --verbose lists them all"] if rest > 0 else []
        self._listed("Not examined:", [*lines[:most], *more])

    def error(self, error: TargetError) -> None:
        """Why there is no report for a target."""
        fate = overview.fate_of_error(error)
        self.ink.line((safe(error.path), "bold"), ": ", (str(fate), "bold red"))
        self.ink.line(safe(error.message.rstrip(".") + ".", 2000), indent=2)
        if error.advice:
            self.ink.line(safe(error.advice, 2000), indent=2)
        self.ink.blank()
