"""Reference pages: a rule, a DDI, a compiler warning, a bug check, each put into plain English.

Knows the catalogue and the rules, never a report or a terminal; the command line and the
documentation print these pages.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from hvci.catalog import Ddi, Library, OptIn, VerifierEffect, ddis, libraries
from hvci.errors import UsageError
from hvci.model import Counter
from hvci.report.bugchecks import BUGCHECKS, VERIFIER, decode_bugcheck, number, plain
from hvci.report.signs import explain_sign
from hvci.report.warnings import RETIRED, WARNINGS
from hvci.report.words import parse_explanation
from hvci.rules import RULES, Rule

LABEL_WIDTH = 14


@dataclass(frozen=True, slots=True)
class Page:
    """A title and labelled paragraphs."""

    title: str
    facts: tuple[tuple[str, str], ...]

    def text(self, width: int | None = 100) -> str:
        """The page as plain text; without a width each paragraph stays one line."""
        lines = [self.title, ""]
        room = None if width is None else max(width - LABEL_WIDTH, 20)
        for label, paragraph in self.facts:
            first, *others = _wrap(paragraph, room)
            lines.append(f"{label:<{LABEL_WIDTH}}{first}".rstrip())
            lines += [" " * LABEL_WIDTH + line for line in others]
        return "\n".join(lines) + "\n"


def _wrap(paragraph: str, room: int | None) -> list[str]:
    """Lines that break at blanks only, so that an address stays whole."""
    if room is None:
        return [" ".join(paragraph.split())]
    lines = textwrap.wrap(paragraph, room, break_long_words=False, break_on_hyphens=False)
    return lines or [""]


def explain(words: tuple[str, ...]) -> Page:
    """The page for a rule id, a DDI, a warning, a counter or a bug check with its parameters."""
    if (page := _named(words[0])) is not None:
        if len(words) > 1:
            raise UsageError(f"{' '.join(words[1:])!r} behind {words[0]} is not understood")
        return page
    joined = " ".join(words).lower().rstrip(":").removesuffix(" count")
    for counter in Counter:
        if joined == counter.hlk_name.lower():
            return rule_page(RULES[counter.rule])
    if sign := explain_sign(words):
        return Page(*sign)
    return bugcheck_page(words)


def _named(word: str) -> Page | None:
    """The page of what one word names: a rule, a DDI, a library or a warning."""
    if word in RULES:
        return rule_page(RULES[word])
    if found := _by_folded_name(word):
        return ddi_page(found)
    if library := _library(word):
        return library_page(library)
    warning = "C" + word.upper().removeprefix("C")
    return warning_page(warning) if warning in WARNINGS else None


def _by_folded_name(word: str) -> Ddi | None:
    folded = word.lower()
    return next((ddi for name, ddi in ddis().items() if name.lower() == folded), None)


def _library(word: str) -> Library | None:
    """The library of that name, with its ending or without."""
    folded = word.lower()
    return next(
        (row for name, row in libraries().items() if folded in (name, name.partition(".")[0])), None
    )


def bugcheck_page(words: tuple[str, ...]) -> Page:
    """What a bug check and its parameters say; a lone sub-code means bug check 0xC4."""
    if [word.lower() for word in words[:2]] == ["bug", "check"]:
        words = words[1:]
    if words[0].lower() in ("bugcheck", "check", "stop"):
        words = words[1:] or words
    try:
        code = plain(number(words[0]))
    except ValueError as error:
        raise UsageError(_unknown(words[0])) from error
    is_subcode = 0x2000 <= code <= 0x2006
    if code not in BUGCHECKS and not is_subcode:
        raise UsageError(_unknown(words[0]))
    parameters = [_parameter(word) for word in words[1:]]
    if is_subcode:
        code, parameters = VERIFIER, [code, *parameters]
    decoded = decode_bugcheck(code, tuple(parameters))
    facts = decoded.facts
    if decoded.rule:
        facts += rule_page(RULES[decoded.rule]).facts
    return Page(decoded.title, facts)


def _parameter(word: str) -> int:
    try:
        return number(word)
    except ValueError as error:
        raise UsageError(f"{word!r} is no number; parameters are hexadecimal") from error


def _unknown(word: str) -> str:
    names = [*RULES, *ddis(), *WARNINGS, *libraries()]
    folded = {name.lower(): name for name in names}
    close = [folded[match] for match in get_close_matches(word.lower(), folded, n=3)]
    hint = f"; did you mean {' or '.join(close)}?" if close else "; see hvci rules and hvci ddis"
    return (
        f"{word!r} is no rule, DDI, constant, warning, event, status, error, code, policy, gate or "
        f"bug check that hvci knows{hint}"
    )


@cache
def _judged_by() -> dict[str, list[str]]:
    """The DDIs that each rule judges, by name."""
    names: dict[str, list[str]] = {}
    for ddi in sorted(ddis().values(), key=lambda ddi: ddi.name):
        names.setdefault(ddi.rule.judged_by, []).append(ddi.name)
    return names


def rule_page(rule: Rule) -> Page:
    """What a rule finds, why it matters and what to do."""
    parts = parse_explanation(rule.explanation)
    facts = [("Why", parts.why), ("Bad", parts.bad), ("Good", parts.good), ("Fix", parts.fix)]
    if rule.counter:
        facts.append(("Counter", f"{rule.counter.hlk_name} (HLK readiness test, !verifier)"))
    if rule.subcode:
        facts.append(("Bug check", f"0xC4 {rule.subcode:#x} under Driver Verifier"))
    decides = ", ".join(sorted(rule.questions)) or "nothing: it only notes"
    facts += [("Decides", decides), ("Seen in", ", ".join(sorted(rule.sees)))]
    if judged := _judged_by().get(rule.id, []):
        facts.append(("DDIs", ", ".join(judged)))
    if linked := [row.name for row in libraries().values() if row.ddis & set(judged)]:
        known = "recognised, and named in the finding"
        facts.append(("Libraries", f"calls that come from {', '.join(linked)} are {known}"))
    return Page(f"{rule.id}: {parts.title}", tuple(facts))


_VERIFIER = {
    VerifierEffect.REPORT: "checks the argument and reports bug check 0xC4",
    VerifierEffect.SILENT_NX: "makes the memory non-executable silently and counts nothing",
    VerifierEffect.COMPONENT: "another component decides",
    VerifierEffect.NONE: "looks at nothing",
    VerifierEffect.UNKNOWN: "not known",
}
_OPT_IN = {
    OptIn.NONE: "POOL_NX_OPTIN and POOL_NX_OPTIN_AUTO change nothing at this call.",
    OptIn.CONSTANT_RENAME: "POOL_NX_OPTIN(_AUTO) makes NonPagedPool in the source the NX type.",
    OptIn.HEADER_WRAPPER: "POOL_NX_OPTIN(_AUTO) wraps the call and adds the NX bit.",
}


def ddi_page(ddi: Ddi) -> Page:
    """What decides at a call of a DDI, and what to call instead."""
    parameters = ", ".join(f"{item.type} {item.name}".strip() for item in ddi.parameters)
    facts = [
        ("Declaration", f"{ddi.name}({parameters})"),
        ("From", f"{ddi.module}, {ddi.since}; reached as {ddi.binding.value.replace('_', ' ')}"),
        ("Decided by", ddi.deciding or "no argument of the caller"),
        ("Executable", ddi.rule.text),
        ("Judged by", ddi.rule.judged_by or "no rule: calls are listed only"),
        ("NX opt-in", _OPT_IN[ddi.opt_in]),
        ("Verifier", _VERIFIER[ddi.verifier]),
    ]
    if ddi.subcode:
        facts.append(("Bug check", f"0xC4 {ddi.subcode:#x}"))
    if ddi.warnings:
        facts.append(("Warnings", ", ".join(ddi.warnings)))
    facts += [("Instead", f"{item.since.label}: {item.use}") for item in ddi.replacements]
    facts.append(("Evidence", ", ".join(sorted(ddi.evidence))))
    facts += [("Notes", ddi.notes)] if ddi.notes else []
    facts += [("Page", ddi.page)] if ddi.page else []
    listed = ": listed by Microsoft as impacted" if ddi.seed else ""
    return Page(ddi.name + listed, tuple(facts))


def library_page(library: Library) -> Page:
    """What a static library or a header of a kit does in a driver, and what to do about it."""
    facts = [
        ("Gives", library.gives),
        ("Known", library.text),
        ("Fix", library.fix),
        ("Calls", ", ".join(sorted(library.ddis))),
        ("Likely by", "; ".join(library.signs)),
    ]
    if library.functions:
        facts.append(("Certain by", f"{', '.join(sorted(library.functions))} in symbols"))
    facts += [
        ("Evidence", ", ".join(sorted(library.evidence))),
        ("Page", library.source),
    ]
    return Page(f"{library.name}: code of a kit that drivers contain", tuple(facts))


def warning_page(warning: str) -> Page:
    """What a compiler warning means and which DDIs it is about."""
    about = WARNINGS[warning]
    facts = [("Means", about.means), ("Fix", about.fix), ("Page", about.page)]
    if named := sorted(ddi.name for ddi in ddis().values() if warning in ddi.warnings):
        facts.append(("DDIs", ", ".join(named)))
    facts.append(("State", RETIRED))
    return Page(f"warning {warning}: {about.title}", tuple(facts))
