"""The part of a SARIF log that says what the tool can find: rules and the names others give them.

Knows the rules and the catalogue, no report.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from hvci.catalog import ddis
from hvci.model import Counter, Question
from hvci.report.document import TOOL_NAME
from hvci.report.pages import rule_page
from hvci.report.warnings import WARNINGS
from hvci.report.words import parse_explanation
from hvci.rules import RULES, Rule

Json = dict[str, Any]

INFORMATION = "https://learn.microsoft.com/windows-hardware/drivers/driversecurity/implement-hvci-compatible-code"
COUNTERS, SUBCODES, WARNING_NUMBERS = "HLK readiness counters", "Verifier sub-codes", "C300xx"


@cache
def rule_indexes() -> dict[str, int]:
    """Where each rule stands in the tool's list."""
    return {rule: index for index, rule in enumerate(RULES)}


def driver(version: str) -> Json:
    """The tool component."""
    return {
        "name": TOOL_NAME,
        "semanticVersion": version,
        "informationUri": INFORMATION,
        "rules": _descriptors(),
        "supportedTaxonomies": [
            {"name": taxonomy["name"], "index": index}
            for index, taxonomy in enumerate(taxonomies())
        ],
    }


@cache
def _descriptors() -> list[Json]:
    return [_descriptor(rule) for rule in RULES.values()]


def _descriptor(rule: Rule) -> Json:
    parts = parse_explanation(rule.explanation)
    page = rule_page(rule)
    markdown = "\n\n".join(f"**{label}**: {text}" for label, text in page.facts)
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": parts.title},
        "fullDescription": {"text": f"{parts.title} {parts.why}"},
        "help": {"text": page.text(None), "markdown": markdown},
        "helpUri": INFORMATION,
        "defaultConfiguration": {"level": level_of(rule)},
        "relationships": [
            _relationship(taxonomy, taxon) for taxonomy, taxon in _names_of(rule).items() if taxon
        ],
        "properties": {
            "tags": _tags(rule),
            "precision": "high",
            "problem.severity": "error" if level_of(rule) == "error" else "warning",
            "security-severity": _severity(rule),
        },
    }


def level_of(rule: Rule | None) -> str:
    """How bad a failure of the rule is; a rule that decides nothing only notes."""
    if rule is None:
        return "warning"
    return "error" if rule.questions else "note"


def _severity(rule: Rule) -> str:
    """On GitHub's scale: not loading is worse than a counter, a note is least."""
    if Question.LOADS in rule.questions:
        return "7.5"
    return "5.0" if rule.questions else "2.0"


def _tags(rule: Rule) -> list[str]:
    tags = ["hvci", "memory-integrity", "security", *sorted(rule.questions)]
    if rule.subcode:
        tags.append(f"0xC4-{rule.subcode:#x}")
    return tags


def _names_of(rule: Rule) -> dict[str, str]:
    subcode = f"{rule.subcode:#x}" if rule.subcode else ""
    return {COUNTERS: rule.counter.value if rule.counter else "", SUBCODES: subcode}


def _relationship(taxonomy: str, taxon: str) -> Json:
    return {"target": reference(taxonomy, taxon), "kinds": ["relevant"]}


def reference(taxonomy: str, taxon: str) -> Json:
    """Points at a taxon."""
    found = next(i for i, item in enumerate(taxonomies()) if item["name"] == taxonomy)
    ids = [item["id"] for item in taxonomies()[found]["taxa"]]
    component = {"name": taxonomy, "index": found}
    return {"id": taxon, "index": ids.index(taxon), "toolComponent": component}


def ddi_taxa(ddi: str | None) -> list[Json]:
    """The compiler warnings that speak of a DDI."""
    row = ddis().get(ddi or "")
    known = [warning for warning in row.warnings if warning in WARNINGS] if row else []
    return [reference(WARNING_NUMBERS, warning) for warning in known]


@cache
def taxonomies() -> list[Json]:
    """What Microsoft calls the same things: counters, sub-codes, compiler warnings."""
    counters = [(counter.value, counter.hlk_name) for counter in Counter]
    subcodes = [(f"{c.subcode:#x}", c.hlk_name) for c in Counter if c.subcode]
    warnings = [(number, warning.title) for number, warning in WARNINGS.items()]
    return [
        _taxonomy(COUNTERS, "The seven counters of the HLK readiness test", counters),
        _taxonomy(SUBCODES, "First parameter of bug check 0xC4 under Driver Verifier", subcodes),
        _taxonomy(WARNING_NUMBERS, "Code analysis warnings for drivers", warnings),
    ]


def _taxonomy(name: str, text: str, taxa: list[tuple[str, str]]) -> Json:
    return {
        "name": name,
        "organization": "Microsoft",
        "shortDescription": {"text": text},
        "isComprehensive": name != WARNING_NUMBERS,
        "taxa": [{"id": id_, "shortDescription": {"text": title}} for id_, title in sorted(taxa)],
    }
