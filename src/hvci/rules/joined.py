"""A call that an image and its sources both show is one call: one finding, with both places.

Knows findings; whether a rule is right about them is not asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from hvci.model import Finding, ImageSite, Origin, RuleResult, Site, SourceSite

Key = tuple[str, str, str]


def joined(results: Iterable[RuleResult]) -> tuple[tuple[RuleResult, ...], frozenset[Site]]:
    """The results with such findings made one, and the places in sources that went with them."""
    made, gone = [], set()
    for result in results:
        pairs = dict(_pairs(result.findings))
        gone |= {source.site for source in pairs.values()}
        again = {id(source) for source in pairs.values()}
        findings = tuple(
            _one(finding, pairs[id(finding)]) if id(finding) in pairs else finding
            for finding in result.findings
            if id(finding) not in again
        )
        made.append(replace(result, findings=findings) if again else result)
    return tuple(made), frozenset(gone)


def _pairs(findings: tuple[Finding, ...]) -> Iterator[tuple[int, Finding]]:
    """Findings in code, by identity, with the only one in sources that is the same.

    Where several calls say the same, only their functions can tell which is which.
    """
    left = [one for one in findings if one.ddi]
    for key in (_said, _said_in):
        in_code, in_sources = _alone(left, key, sources=False), _alone(left, key, sources=True)
        for same in in_code.keys() & in_sources.keys():
            yield id(in_code[same]), in_sources[same]
            left = [one for one in left if one not in (in_code[same], in_sources[same])]


def _said(finding: Finding) -> Key:
    return finding.ddi or "", finding.message.partition(" (from ")[0], ""


def _said_in(finding: Finding) -> Key:
    ddi, message, _ = _said(finding)
    return ddi, message, finding.site.function or ""


def _alone(
    findings: list[Finding], key: Callable[[Finding], Key], *, sources: bool
) -> dict[Key, Finding]:
    """The findings of one side that no other of that side is like."""
    found: dict[Key, list[Finding]] = {}
    for finding in findings:
        if (finding.origin is Origin.SOURCE) is sources:
            found.setdefault(key(finding), []).append(finding)
    return {name: many[0] for name, many in found.items() if len(many) == 1}


def _one(code: Finding, source: Finding) -> Finding:
    """The finding in code with the place, the edits and the acceptance of the one in sources."""
    site, text = code.site, source.site
    assert isinstance(site, ImageSite)
    assert isinstance(text, SourceSite)
    return replace(
        code,
        site=replace(site, file=site.file or text.path, line=site.line or text.line),
        edits=code.edits or source.edits,
        suppressed=code.suppressed or source.suppressed,
    )
