"""How a report is put into plain English: places, answers, counters, explanations of rules.

Every human-readable output uses these sentences; nothing here knows how they are laid out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from hvci.model import (
    NEWEST,
    TARGETS,
    Answer,
    Confidence,
    Counter,
    Edit,
    Finding,
    ImageSite,
    Level,
    Origin,
    Outcome,
    Question,
    Report,
    RuleResult,
    Site,
    SourceSite,
    Suppression,
    open_outcome,
)
from hvci.model.record import record
from hvci.report.flags import DLL_CHARACTERISTICS
from hvci.report.safe import safe
from hvci.report.sentence import is_unsigned
from hvci.rules import RULES

_SECTION_OF_DOCSTRING = re.compile(r"^(Why|Bad|Good|Fix): (.*)$")


@record
class Explanation:
    """The parts of a rule's docstring."""

    title: str
    why: str = ""
    bad: str = ""
    good: str = ""
    fix: str = ""


@cache
def explanation(rule_id: str) -> Explanation:
    """What a rule is about; a rule of another version is only named."""
    rule = RULES.get(rule_id)
    return Explanation(rule_id) if rule is None else parse_explanation(rule.explanation)


def parse_explanation(text: str) -> Explanation:
    """Take a rule docstring apart."""
    title, _, body = text.partition("\n")
    parts: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        if match := _SECTION_OF_DOCSTRING.match(line):
            name = match[1].lower()
            parts[name] = match[2].strip()
        elif name and line.strip():
            parts[name] += " " + line.strip()
    return Explanation(title, **parts)


def place(site: Site) -> str:
    """A place in one line, such as "0x1234 .text DriverEntry (driver.c:12)"."""
    if isinstance(site, SourceSite):
        inside = f" {safe(site.function)}" if site.function else ""
        return f"{safe(site.path)}:{site.line}:{site.column}{inside}"
    parts = [f"{site.rva:#x}", safe(site.section), safe(site.function or ""), _source(site)]
    return " ".join(part for part in parts if part)


def edit_lines(edit: Edit) -> tuple[str, str]:
    """What stands in the source and what to write instead, as a diff shows it."""
    return f"- {edit.line}: {safe(edit.old)}", f"+ {edit.line}: {safe(edit.new)}  ({edit.level})"


def place_key(site: Site) -> tuple[int, str, int, int]:
    """Sorts places: image before source, then by address or position."""
    if isinstance(site, SourceSite):
        return (-1, site.path, site.line, site.column)
    return (site.rva, "", 0, 0)


def _source(site: ImageSite) -> str:
    if site.file is None:
        return ""
    line = "" if site.line is None else f":{site.line}"
    return f"({safe(site.file)}{line})"


def counter_label(counter: Counter) -> str:
    """The counter's line in `!verifier`, which omits "Count" for the alignment."""
    bare = counter is Counter.SECTION_ALIGNMENT_FAILURES
    return counter.hlk_name + (":" if bare else " Count:")


def subcode(result: RuleResult) -> str:
    """The bug check of Driver Verifier for a rule, or the empty string."""
    return "" if result.subcode is None else f"bug check 0xC4 {result.subcode:#x}"


def about_target(report: Report) -> str:
    """What was evaluated, in one line."""
    target = report.target
    kind = "source" if target.machine is None else f"{target.machine} {target.kind}"
    said = f"{kind}, {target.size_bytes:,} bytes, judged for {judged_for(report)}"
    counts = {"left out": 0, "accepted": 0}
    for result in report.results:
        what = "left out" if result.rule in report.left_out else "accepted"
        counts[what] += sum(
            one.suppressed is not None and one.outcome is not Outcome.NOTE
            for one in result.findings
        )
    told = [f"{_number(count, 'finding')} {what}" for what, count in counts.items() if count]
    if told or report.policy_gate is not None:
        return f"{said}; {', '.join((*told, f'gate: {report.gate}'))}"
    return said


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def judged_for(report: Report) -> str:
    """The target, and where memory integrity begins when it is older."""
    target = report.target_os
    if target.has_memory_integrity:
        server = target.server.replace("server-", "Windows Server ")
        return f"{target.label} and {server}" if server else target.label
    return f"{target.label} and later; memory integrity came with {TARGETS[0].label}"


def _windows(report: Report) -> str:
    """The oldest Windows that a sentence about memory integrity is true of."""
    return max(report.target_os, TARGETS[0]).label


def answer_sentence(report: Report, question: Question) -> str:
    """One question's answer in a sentence."""
    answer = report.answers[question]
    if answer is None:
        return _NOT_ASKED[question]
    if answer is Answer.UNDECIDED:
        return f"{_UNDECIDED[question]} {_doubts(report, question)}."
    if answer is Answer.YES:
        if report.target.kind == "source":
            return _YES_IN_SOURCES[question].format(os=_windows(report))
        return _YES[question].format(os=_windows(report)) + _beside(report, question)
    return _NO[question].format(os=_windows(report), what=_faults(report, question))


def _beside(report: Report, question: Question) -> str:
    """What else stands against loading, memory integrity or not."""
    if report.image is None or question is not Question.LOADS:
        return ""
    linking = safe(report.image.linking)
    unsigned = _UNSIGNED if is_unsigned(report) else ""
    return unsigned + (f" Memory integrity apart: {linking}." if linking else "")


def answer_word(report: Report, question: Question) -> str:
    """One question's answer in a word: a file without a signature never simply "loads: yes"."""
    answer = report.answers[question]
    if answer is None:
        return "not asked"
    if answer is Answer.YES and question is Question.LOADS and is_unsigned(report):
        return "if signed"
    return answer.value


_UNSIGNED = (
    " No intact signature was found, and Windows loads no unsigned driver with memory integrity "
    "on: sign it, or name the catalog that does (--catalog)."
)
_YES = {
    Question.LOADS: "The image check of memory integrity ({os}) has nothing against this image; "
    "signing policy, block list and compatibility database are other gates.",
    Question.READINESS: "Nothing was found that the HLK readiness test would count.",
    Question.RUNS: "No code was found that breaks when memory is never both writable "
    "and executable.",
}
_YES_IN_SOURCES = {
    Question.LOADS: "The build asks the linker for nothing that {os} refuses; the built .sys "
    "answers the rest.",
    Question.READINESS: "No call in the sources asks for what the HLK readiness test counts.",
    Question.RUNS: "No code was found in the sources that breaks when memory is never both "
    "writable and executable.",
}
"""A source answers for its text, not for the image that a build makes of it."""
_NO = {
    Question.LOADS: "The image does not load with memory integrity on ({os}): {what}.",
    Question.READINESS: "The HLK readiness test would count, when this loads and runs: {what}.",
    Question.RUNS: "Code breaks when memory is never both writable and executable: {what}.",
}
_UNDECIDED = {
    Question.LOADS: "It could not be decided whether the image loads with memory integrity on:",
    Question.READINESS: "Nothing is certain to be counted, but something could not be decided:",
    Question.RUNS: "It could not be decided whether the code keeps working:",
}
_NOT_ASKED = {
    Question.LOADS: "Not asked: only a driver image can answer this.",
    Question.READINESS: "Not asked: nothing was examined that could answer this.",
    Question.RUNS: "Not asked: nothing was examined that could answer this.",
}

BLOCKLIST = {
    Answer.YES: "A given block list names this driver: where Windows enforces the list, it is "
    "refused whatever it does.",
    Answer.NO: "No given block list names this driver.",
    Answer.UNDECIDED: "It could not be decided whether a given block list names this driver.",
}


def _faults(report: Report, question: Question) -> str:
    """The rules that answer "no", with how much each counts."""
    failing = [
        result
        for result in report.results
        if question in result.questions and result.outcome is Outcome.FAIL
    ]
    if (
        question is Question.READINESS
    ):  # a rule without a counter fails for calls that another counts
        failing = [one for one in failing if one.counter is not None] or failing
    return ", ".join(f"{_count(result)} x {result.rule}" for result in failing)


def _count(result: RuleResult) -> int:
    """How far the failures of a rule move its counter."""
    failures = [one for one in result.findings if one.outcome is Outcome.FAIL]
    return sum(finding.count for finding in once(failures))


_NO_REASON = "nothing was examined that could answer"


def once(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Findings without those of sources, where an image shows the same calls once more."""
    in_code = [one for one in findings if one.origin is not Origin.SOURCE]
    return in_code if any(one.count or one.ddi for one in in_code) else findings


def _doubts(report: Report, question: Question) -> str:
    """The rules in doubt, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for result in report.results:
        in_doubt = result.outcome in (Outcome.UNDECIDED, Outcome.NOT_CHECKED)
        if question in result.questions and in_doubt:
            by_reason.setdefault(_doubt(result), []).append(result.rule)
    return "; ".join(f"{', '.join(rules)} ({reason})" for reason, rules in by_reason.items())


def _doubt(result: RuleResult) -> str:
    doubts = [one for one in result.findings if one.outcome is Outcome.UNDECIDED]
    count = len(once(doubts))
    return f"{count} undecided" if count else reason_of(result)


def reason_of(result: RuleResult) -> str:
    """Why a rule could not say more; never empty."""
    return safe(result.reason, 500) or _NO_REASON


def open_findings(result: RuleResult, outcome: Outcome) -> list[Finding]:
    """The findings of that outcome which nobody suppressed."""
    return [f for f in result.findings if f.outcome is outcome and f.suppressed is None]


def shown_results(report: Report) -> list[RuleResult]:
    """The rules that nobody asked to leave out, by name."""
    kept = (result for result in report.results if result.rule not in report.left_out)
    return sorted(kept, key=lambda result: result.rule)


def open_rules(report: Report) -> dict[str, list[str]]:
    """Why rules are open of which no finding tells it: reason to rules, both in order."""
    rules: dict[str, list[str]] = {}
    for result in shown_results(report):
        is_open = open_outcome(result) is Outcome.UNDECIDED
        if result.outcome is Outcome.NOT_CHECKED:
            is_open = bool(result.questions)  # what only notes decides nothing
        if is_open and not open_findings(result, Outcome.UNDECIDED):
            rules.setdefault(reason_of(result), []).append(result.rule)
    return rules


def suppression(accepted: Suppression) -> str:
    """Who accepted a finding, why and until when."""
    owner = f", {safe(accepted.owner)}" if accepted.owner else ""
    until = f", until {safe(accepted.expires)}" if accepted.expires else ""
    return f"suppressed by {safe(accepted.by)}{owner}{until}: {safe(accepted.reason)}"


def fixes(report: Report) -> str:
    """How many findings `hvci fix` can edit, and how; empty when there are none."""
    levels = [
        max((edit.level for edit in finding.edits), key=_LEVELS.__getitem__)
        for finding in report.findings
        if finding.edits and finding.suppressed is None
    ]
    if not levels or report.target.kind != "source":
        return ""
    counts = [f"{levels.count(level)} {level}" for level in Level if level in levels]
    widest = max(levels, key=_LEVELS.__getitem__)
    more = "" if widest is Level.SAFE else f" --level {widest}"
    findings = "1 finding" if len(levels) == 1 else f"{len(levels)} findings"
    path = safe(report.target.path)
    path = f'"{path}"' if " " in path else path
    target = "" if report.target_os is NEWEST else f" --target-os {report.target_os.slug}"
    return f"hvci fix {path}{more}{target} edits {findings} ({', '.join(counts)})"


_LEVELS = {level: n for n, level in enumerate(Level)}


def image_facts(report: Report) -> str:
    """Header facts that decide nothing, in one line; empty for source."""
    image = report.image
    if image is None:
        return ""
    bits = image.dll_characteristics
    facts = [name.upper() for name, bit in DLL_CHARACTERISTICS.items() if bits & bit]
    facts += [f"no {name.upper()}" for name, bit in DLL_CHARACTERISTICS.items() if not bits & bit]
    if report.trust is None:
        facts.append("carries a signature (not verified)" if image.signed else "not signed")
    facts.append("linker {}.{}".format(*image.linker_version))
    if image.kmdf_version:
        facts.append(f"KMDF {safe(image.kmdf_version)}")
    if image.hybrid:
        facts.append(f"hybrid {safe(image.hybrid)}")
    if image.linking:
        facts.append(safe(image.linking))
    if image.debug_id:
        facts.append(f"PDB {safe(image.debug_id.path)}")
    return ", ".join(facts)


def finding_group(finding: Finding) -> tuple[bool, str, str, str]:
    """Findings that stand together: of one DDI, with one remedy, accepted for one reason."""
    accepted = finding.suppressed
    reason = "" if accepted is None else suppression(accepted)
    return (accepted is not None, finding.ddi or "", finding.fix, reason)


def finding_order(finding: Finding) -> tuple[object, ...]:
    """Sorts findings by group, then by place."""
    return (*finding_group(finding), place_key(finding.site))


def statement(finding: Finding) -> str:
    """What is wrong, without the DDI that the heading names; says so when it is not documented."""
    text = finding.message.removeprefix(f"{finding.ddi}: ")
    unsure = finding.confidence not in (Confidence.DOCUMENTED, Confidence.PROVEN)
    tier = f", {finding.tier.value} path" if finding.tier else ""
    return safe(text, 2000) + (f" [{finding.confidence.value}{tier}]" if unsure or tier else "")


def not_examined(report: Report) -> list[str]:
    """What the report could not look at; the most frequent reason first."""
    counted: dict[str, int] = {}
    for reason in _reasons(report):
        counted[reason] = counted.get(reason, 0) + 1
    return [
        f"{reason} ({count} places)" if count > 1 else reason
        for reason, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    ]


def _reasons(report: Report) -> Iterable[str]:
    for limit in report.limits:
        weakens = f" [weakens {', '.join(sorted(limit.rules))}]" if limit.rules else ""
        yield safe(limit.reason, 1000) + weakens
    for result in report.results:
        if result.outcome is Outcome.NOT_CHECKED:
            yield f"{result.rule}: {safe(result.reason, 1000)}"
