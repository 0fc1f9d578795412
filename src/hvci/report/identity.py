"""What a finding is called when addresses and line numbers move: its stable fingerprint.

A fingerprint names the rule, the DDI, the function (or the section, where a function has no name
of its own), what is said about it, and which one of several equal ones it is. It never holds an
address, so a rebuild that only moves code keeps it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter as Tally
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath

from hvci.model import Finding, ImageSite, Outcome, Report, RuleResult
from hvci.model.record import record
from hvci.report.words import place_key

_INVENTED_NAME = re.compile(r"(?:sub|loc|func|thunk)_([0-9a-fA-F]+)")
_ADDRESS = re.compile(r"\b(at|from|in|to) 0x[0-9a-fA-F]+")


@record
class Named:
    """A finding with its rule and its stable name."""

    result: RuleResult
    finding: Finding
    fingerprint: str
    """32 hexadecimal digits; unique within one report."""
    kind: tuple[str, ...] = ()
    """What the fingerprint is made of, but for which one of several equal findings it is."""


def named_findings(report: Report) -> Iterator[Named]:
    """Every finding of a report, in order of rule and place."""
    for result in sorted(report.results, key=lambda result: result.rule):
        seen: Tally[tuple[str, ...]] = Tally()
        for finding in sorted(result.findings, key=_order):
            key = _key(result, finding)
            yield Named(result, finding, _digest((*key, str(seen[key]))), key)
            seen[key] += 1


def _order(finding: Finding) -> tuple[object, ...]:
    return (place_key(finding.site), finding.outcome, finding.message)


def _digest(parts: tuple[str, ...]) -> str:
    text = "\x1f".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:32]


def _key(result: RuleResult, finding: Finding) -> tuple[str, ...]:
    # The reason why something is undecided changes with the analysis, so it is no part of the name.
    said = "" if finding.outcome is Outcome.UNDECIDED else _ADDRESS.sub(r"\1", finding.message)
    return (result.rule, finding.outcome, finding.ddi or "", *where(finding), said)


def where(finding: Finding) -> tuple[str, str]:
    """The named place that holds a finding: section or file, and function."""
    site = finding.site
    if isinstance(site, ImageSite):
        function = stable_name(site.function)
        return ("" if function else site.section, function)
    return (site.path.replace("\\", "/"), site.function or "")


def stable_name(function: str | None) -> str:
    """A function's own name; names that a reader made up of an address are none."""
    return "" if function is None or _INVENTED_NAME.fullmatch(function) else function


def offset_in_function(site: ImageSite) -> int:
    """Bytes from the start of a function that is named by its address; 0 when that is not known."""
    invented = _INVENTED_NAME.fullmatch(site.function or "")
    return site.rva - int(invented[1], 16) if invented else 0


_AGAIN = re.compile(r"(\.\w+)#\d+$")


@lru_cache(maxsize=64)
def short_name(path: str) -> str:
    """The last part of a path of either kind, which is what a driver is called; of one in an
    archive its own name, where it has one, without the number of a second one of that name.
    """
    if "!" in path:
        path = _AGAIN.sub(r"\1", path)
    name = PurePosixPath(path.replace("\\", "/")).name or path
    archive, mark, last = name.rpartition("!")
    return last if mark and "." in archive and "." in last else name


def digest_for(report: Report, fingerprint: str) -> str:
    """A fingerprint that also tells drivers of one run apart."""
    return _digest((short_name(report.target.path), fingerprint))


_CONFIGURATION = re.compile(
    r"(?:obj)?(?:chk|fre|checked|free)(?:_.*)?|.*(?:debug|release|minsizerel|relwithdebinfo)"
)


def configuration(report: Report) -> str:
    """The configuration that made an image, as the folders of its PDB name it, else its own.

    Empty when neither does.
    """
    pdb = report.image.debug_id.path if report.image and report.image.debug_id else ""
    for path in (pdb, report.target.path):
        folders = path.replace("\\", "/").lower().split("/")[:-1]
        named = (folder for folder in reversed(folders) if _CONFIGURATION.fullmatch(folder))
        if found := next(named, ""):
            return found
    return ""
