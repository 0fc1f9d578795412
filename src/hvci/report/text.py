"""Reports for a person at a terminal: verdict first, then why, where and what to write instead.

Makes one string; opens no file, asks no terminal and takes no string of a file as markup.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hvci.model import Answer, Finding, Outcome, Question, Report, RuleResult, Verdict
from hvci.report import trust, verified, words
from hvci.report.document import Document, TargetError
from hvci.report.safe import safe
from hvci.report.sentence import summary

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


@dataclass(frozen=True, slots=True)
class Style:
    """How a text report looks."""

    width: int = 100
    colour: bool = False
    verbose: bool = False
    """List every finding, every limit and every compatible target in full."""


def to_text(document: Document, style: Style) -> str:
    """The document as text for a terminal or a file."""
    page = _Page(style)
    several = len(document.reports) > 1
    for report in document.reports:
        page.report(report, brief=several and not style.verbose)
    for error in document.errors:
        page.error(error)
    for notice in document.notices:
        page.line(("Policy: ", "bold"), safe(notice, 2000))
    if len(document.reports) + len(document.errors) > 1:
        page.summary(document)
    return page.text


class _Page:
    """Lines with indents on a console that writes into memory."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self._out = io.StringIO()
        self._console = Console(
            file=self._out,
            width=max(style.width, 20),
            force_terminal=style.colour,
            no_color=not style.colour,
            color_system="standard" if style.colour else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
            _environ={},
        )

    @property
    def text(self) -> str:
        lines = (line.rstrip() for line in self._out.getvalue().splitlines())
        return "\n".join(lines).strip("\n") + "\n" if self._out.tell() else ""

    def line(self, *parts: str | tuple[str, str], indent: int = 0) -> None:
        self._console.print(Padding(Text.assemble(*parts), (0, 0, 0, indent)))

    def blank(self) -> None:
        self._console.print()

    def report(self, report: Report, *, brief: bool) -> None:
        verdict = report.verdict
        headline = (summary(report), f"bold {_COLOURS[verdict]}")
        self.line((safe(report.target.path), "bold"), ": ", headline)
        if brief and verdict is Verdict.COMPATIBLE and not report.findings:
            self.blank()
            return
        self.line(words.about_target(report), indent=2)
        self.blank()
        self._answers(report)
        self._trust(report)
        self._counters(report)
        for outcome in _SHOWN_OUTCOMES:
            for result in sorted(report.results, key=lambda r: r.rule):
                self._rule(result, outcome)
        self._reasoned_passes(report)
        self._verifier(report)
        self._not_examined(report)
        if fixes := words.fixes(report):
            self.line(("Fix: ", "bold"), fixes)
            self.blank()
        self._signatures(report)
        if facts := words.image_facts(report):
            self.line(("For information: ", "bold"), facts)
            self.blank()

    def _answers(self, report: Report) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for question, answer in report.answers.items():
            sentence = words.answer_sentence(report, question)
            word = _answer(answer, words.answer_word(report, question))
            table.add_row(Text(question.value), word, Text(sentence))
        if report.blocklisted is not None:
            sentence = words.BLOCKLIST[report.blocklisted]
            table.add_row(Text("blocklisted"), Text(report.blocklisted), Text(sentence))
        self._console.print(Padding(table, (0, 0, 1, 2)))

    def _trust(self, report: Report) -> None:
        """Who signed it and what that means: apart, because it changes no verdict."""
        if not (rows := trust.rows(report)):
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, word, sentence in rows:
            table.add_row(Text(name), Text.assemble((word, "bold"), f": {sentence}"))
        self._console.print(Padding(table, (0, 0, 1, 2)))

    def _counters(self, report: Report) -> None:
        if report.answers[Question.READINESS] is None:
            return
        for counter, count in report.counters.items():
            label = words.counter_label(counter)
            self.line(f"{label:<34}", (str(count), "bold red" if count else ""), indent=2)
        self.blank()

    def _rule(self, result: RuleResult, outcome: Outcome) -> None:
        findings = [finding for finding in result.findings if finding.outcome is outcome]
        if not findings:
            return
        code = f"  ({words.subcode(result)})" if result.subcode else ""
        self.line((f"{outcome.value.upper()}  {result.rule}", f"bold {_COLOURS[outcome]}"), code)
        if outcome is not Outcome.NOTE:
            about = words.explanation(result.rule)
            self.line(about.title, indent=2)
            self.line(("Why: ", "bold"), about.why, indent=2)
        for _, group in groupby(sorted(findings, key=words.finding_order), key=words.finding_group):
            self._group(list(group), outcome)
        self.blank()

    def _group(self, findings: Sequence[Finding], outcome: Outcome) -> None:
        """Findings of one DDI with one remedy."""
        ddi, fix, accepted = findings[0].ddi, findings[0].fix, findings[0].suppressed
        if ddi:
            count = len(words.once(findings))
            calls = "1 call" if count == 1 else f"{count} calls"
            self.line((safe(ddi), "bold"), f", {calls}", indent=2)
        by_text: dict[str, list[Finding]] = {}
        for finding in findings:
            by_text.setdefault(words.statement(finding), []).append(finding)
        statements = list(by_text.items())
        shown = len(statements) if self.style.verbose else _MOST_STATEMENTS[outcome]
        for text, same in statements[:shown]:
            self._statement(text, same, outcome)
        if hidden := sum(len(same) for _, same in statements[shown:]):
            self.line(f"and {hidden} more; --verbose lists them all", indent=4)
        if fix:
            self.line(("Instead: ", "bold"), safe(fix, 2000), indent=4)
        if accepted is not None:
            self.line((words.suppression(accepted), "dim"), indent=4)

    def _statement(self, text: str, findings: Sequence[Finding], outcome: Outcome) -> None:
        """One statement with its place, or with all the places where it holds."""
        if self.style.verbose or len(findings) == 1:
            for finding in findings:
                self.line((words.place(finding.site), "bold"), f"  {text}", indent=4)
                self._excerpt(finding)
            return
        self.line(text, indent=4)
        most = _MOST_PLACES[outcome]
        listed = ", ".join(words.place(finding.site) for finding in findings[:most])
        rest = len(findings) - most
        self.line(listed, f" and {rest} more (--verbose)" if rest > 0 else "", indent=6)

    def _excerpt(self, finding: Finding) -> None:
        """Code and edits, cut at the width of the page rather than wrapped."""
        if not self.style.verbose:
            return
        edits = [line for edit in finding.edits for line in words.edit_lines(edit)]
        for line in (*finding.excerpt, *edits):
            text = Text(safe(line), "dim", no_wrap=True, overflow="crop")
            self._console.print(Padding(text, (0, 0, 0, 8)))

    def _verifier(self, report: Report) -> None:
        if report.verifier is None:
            return
        self.line(("Verifier run:", "bold"))
        for line in (*verified.run_lines(report), *verified.event_lines(report)):
            self.line(f"- {line}", indent=2)
        self.blank()

    def _signatures(self, report: Report) -> None:
        if self.style.verbose and (lines := trust.lines(report)):
            self.line(("Signatures:", "bold"))
            for line in lines:
                self.line(f"- {line}", indent=2)
            self.blank()

    def _reasoned_passes(self, report: Report) -> None:
        """Rules that pass for a reason which silence would not tell, such as an NX opt-in."""
        reasons: dict[str, list[str]] = {}
        for result in report.results:
            if result.outcome is Outcome.PASS and result.reason:
                reasons.setdefault(result.reason, []).append(result.rule)
        for reason, rules in sorted(reasons.items(), key=lambda item: item[1]):
            self.line(("PASS  ", "green"), ", ".join(rules))
            self.line(safe(reason), indent=2)
            self.blank()

    def _not_examined(self, report: Report) -> None:
        lines = words.not_examined(report)
        if not lines:
            return
        self.line(("Not examined:", "bold"))
        most = len(lines) if self.style.verbose else _MOST_LIMITS
        for line in lines[:most]:
            self.line(f"- {line}", indent=2)
        if len(lines) > most:
            self.line(f"and {len(lines) - most} more; --verbose lists them all", indent=2)
        self.blank()

    def error(self, error: TargetError) -> None:
        self.line((safe(error.path), "bold"), ": ", ("could not be read", "bold red"))
        self.line(safe(error.message.rstrip(".") + ".", 2000), indent=2)
        if error.advice:
            self.line(safe(error.advice, 2000), indent=2)
        self.blank()

    def summary(self, document: Document) -> None:
        verdicts = [report.verdict for report in document.reports]
        counts = [
            f"{verdicts.count(verdict)} {verdict.value}"
            for verdict in reversed(Verdict)
            if verdict in verdicts
        ]
        if document.errors:
            counts.append(f"{len(document.errors)} could not be read")
        total = len(document.reports) + len(document.errors)
        self.line((f"{total} targets: ", "bold"), ", ".join(counts))


def _answer(answer: Answer | None, word: str) -> Text:
    if answer is None:
        return Text(word, "dim")
    return Text(word, f"bold {_COLOURS[answer]}")
