"""One report as its page shows it: every sentence is that of the other outputs, laid out anew.

Turns reports into plain rows for templates; knows no HTTP and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hvci.model import (
    TARGETS,
    Answer,
    Confidence,
    DdiCall,
    Finding,
    ImageSite,
    Origin,
    Outcome,
    Question,
    Report,
    RuleResult,
    Value,
)
from hvci.report import trust, verified, words
from hvci.report.encode import rights
from hvci.report.identity import short_name
from hvci.report.sentence import summary
from hvci.rules.wording import library_note
from hvci.web.picture import Mark, kind, picture

MOST = 200
"""Findings of one rule on a page; the downloads have all of them."""
_ASKED = {
    Question.LOADS: "Loads",
    Question.READINESS: "Passes the readiness test",
    Question.RUNS: "Runs",
}
_ORIGINS = {
    Origin.IMAGE: "read in the headers of the image",
    Origin.CALLSITE: "read in the machine code",
    Origin.SOURCE: "read in the source",
    Origin.VERIFIER: "seen in an emulated run",
}
_HOW = {
    Confidence.DOCUMENTED: "the rule is documented by Microsoft",
    Confidence.HEADER: "the rule stands in the headers of the kit",
    Confidence.OBSERVED: "the rule was observed on Windows",
    Confidence.INFERRED: "the rule is inferred from what is known",
    Confidence.PROVEN: "proven by the code",
    Confidence.LIKELY: "likely",
    Confidence.POSSIBLE: "possible",
}
_CLASSES = {Answer.YES: "good", Answer.NO: "bad", Answer.UNDECIDED: "open", None: "none"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding."""

    link: str
    outcome: str
    place: str
    ddi: str
    what: str
    arguments: tuple[tuple[str, str, str], ...]
    """Name, value, and what is not known of it."""
    notes: str
    how: str
    code: tuple[str, ...]
    edits: tuple[tuple[str, str], ...]
    fix: str
    accepted: str


@dataclass(frozen=True, slots=True)
class Group:
    """What one rule says."""

    rule: str
    outcome: str
    title: str
    why: str
    code: str
    findings: tuple[Shown, ...]
    left: int


def target_words(report: Report) -> dict[str, Any]:
    """Everything that a page about one target shows."""
    groups, marks = _groups(report)
    image = report.image
    sections = image.sections if image else ()
    return {
        "name": short_name(report.target.path),
        "full_name": report.target.path,
        "sentence": _capital(summary(report)),
        "verdict": report.verdict.value,
        "about": words.about_target(report),
        "sha256": report.target.sha256,
        "gate": report.gate.value,
        "answers": [_answer(report, question) for question in Question],
        "gates": _gates(report),
        "counters": [
            (words.counter_label(counter).rstrip(":"), number, counter.rule)
            for counter, number in report.counters.items()
        ],
        "picture": picture(report, marks),
        "sections": [
            (one.name, rights(one), f"{one.rva:#x}", f"{one.end:#x}", kind(one)) for one in sections
        ],
        "bad": [group for group in groups if group.outcome != "note"],
        "notes": [group for group in groups if group.outcome == "note"],
        "run": [*verified.run_lines(report), *verified.event_lines(report)],
        "not_examined": words.not_examined(report),
        "signatures": trust.lines(report),
        "facts": words.image_facts(report),
        "windows": windows(report.target_os.slug),
        "chosen": report.target_os.label,
    }


def windows(chosen: str) -> list[tuple[str, str, bool]]:
    """The versions of Windows that can be chosen, the newest first."""
    return [(one.slug, one.label, one.slug == chosen) for one in reversed(TARGETS)]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _answer(report: Report, question: Question) -> tuple[str, str, str, str]:
    """Question, word, sentence and class of an answer."""
    found = report.answers[question]
    word = words.answer_word(report, question)
    sentence = words.answer_sentence(report, question)
    # "If signed" is a yes with a condition: nothing unsigned loads with memory integrity on.
    kind = "open" if found is Answer.YES and word != found.value else _CLASSES[found]
    return _ASKED[question], word, sentence, kind


def _gates(report: Report) -> list[tuple[str, str, str]]:
    """The other checks of Windows that the file can tell something about."""
    found = trust.rows(report)
    if report.blocklisted is not None:
        sentence = words.BLOCKLIST[report.blocklisted]
        found.append(("block list", report.blocklisted.value, sentence))
    return found


def _groups(report: Report) -> tuple[list[Group], list[Mark]]:
    calls = {(judged.call.site, judged.call.ddi): judged.call for judged in report.calls}
    groups: list[Group] = []
    marks: list[Mark] = []
    number = 0
    for outcome in (Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOTE):
        for result in words.shown_results(report):
            findings = [one for one in result.findings if one.outcome is outcome]
            if not findings:
                continue
            shown = []
            for finding in sorted(findings, key=words.finding_order)[:MOST]:
                number += 1
                call = calls.get((finding.site, finding.ddi or ""))
                shown.append(_finding(finding, f"f{number}", call))
                marks += _mark(finding, result, f"f{number}")
            groups.append(_group(result, outcome, shown, len(findings) - len(shown)))
    return groups, marks


def _mark(finding: Finding, result: RuleResult, link: str) -> list[Mark]:
    if not isinstance(finding.site, ImageSite) or finding.outcome is Outcome.NOTE:
        return []
    label = f"{result.rule} at {words.place(finding.site)}"
    return [Mark(finding.site.rva, finding.outcome, link, label)]


def _group(result: RuleResult, outcome: Outcome, shown: list[Shown], left: int) -> Group:
    about = words.explanation(result.rule)
    return Group(
        result.rule,
        outcome.value,
        about.title,
        about.why,
        words.subcode(result),
        tuple(shown),
        left,
    )


def _finding(finding: Finding, link: str, call: DdiCall | None) -> Shown:
    notes = []
    if call is not None:
        notes = [f"called via {call.via}", call.note, library_note(call)]
    accepted = finding.suppressed
    return Shown(
        link=link,
        outcome=finding.outcome.value,
        place=words.place(finding.site),
        ddi=finding.ddi or "",
        what=_capital(words.statement(finding)),
        arguments=tuple(_arguments(call)) if call else (),
        notes="; ".join(note for note in notes if note),
        how=_how(finding),
        code=finding.excerpt,
        edits=tuple(words.edit_lines(edit) for edit in finding.edits),
        fix=finding.fix,
        accepted=words.suppression(accepted) if accepted else "",
    )


def _how(finding: Finding) -> str:
    """How it is known."""
    tier = f", on a {finding.tier.value} path" if finding.tier else ""
    return f"{_ORIGINS[finding.origin]}{tier}; {_HOW[finding.confidence]}"


def _arguments(call: DdiCall) -> Iterator[tuple[str, str, str]]:
    for name, value in sorted(call.arguments.items()):
        yield name, _value(value), "" if value.complete else f"not complete: {value.why}"


def _value(value: Value) -> str:
    found = " or ".join(f"{number:#x}" for number in sorted(value.possible))
    return found or "unknown"


def by_fate(glances: list[dict[str, Any]]) -> list[tuple[str, list[tuple[int, dict[str, Any]]]]]:
    """The targets of one job with their numbers, the worst first."""
    from hvci.report.overview import Fate

    ranks = {fate.value: rank for rank, fate in enumerate(Fate)}
    numbered = sorted(
        enumerate(glances), key=lambda one: (ranks.get(one[1]["fate"], 99), one[1]["path"])
    )
    return [
        (fate, list(some)) for fate, some in groupby(numbered, key=lambda one: str(one[1]["fate"]))
    ]
