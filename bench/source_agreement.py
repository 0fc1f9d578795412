"""Compares what sources and the built image of the same driver say of the calls that both see.

    python bench/source_agreement.py NAME=SOURCES,IMAGE ...

For each export that asks for memory it takes the values that calls pass, in the configurations of
the image's machine and for the newest Windows. One call of the text can be several in the image
(inlined, unrolled by its callers) or none (dead code), and several can be one: so a call agrees
when each of its values is one of some call of the same export on the other side. All others are
printed with their places; `docs/agreement.md` explains those of some public drivers.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from hvci import catalog
from hvci.evaluate import evaluate
from hvci.model import NEWEST, DdiCall, ImageSite, Report, SourceSite
from hvci.rules.source import export_of
from hvci.source import drivers

ZEROED = 0x400
"""POOL_ZERO_ALLOCATION, which inline routines of the headers add."""
Calls = dict[str, list[tuple[frozenset[str], DdiCall]]]


def told(calls: Iterable[DdiCall]) -> Calls:
    """The judged calls by the export that they end in, with the values of each."""
    found: Calls = defaultdict(list)
    for call in calls:
        ddi = catalog.ddis().get(call.ddi)
        if ddi is None or not ddi.rule.judged_by or not ddi.deciding or call.dead:
            continue
        value = call.arguments.get(ddi.deciding)
        added = ZEROED if call.ddi in ("ExAllocatePoolZero", "ExAllocatePoolQuotaZero") else 0
        words = {hex(one | added) for one in value.lasting} if value is not None else set()
        if value is None or not value.complete:
            words.add("?")
        found[export_of(call)].append((frozenset(words), call))
    return found


def place(call: DdiCall) -> str:
    """Where a call stands, for a person to look at."""
    if isinstance(call.site, SourceSite):
        return f"{Path(call.site.path).name}:{call.site.line}"
    assert isinstance(call.site, ImageSite)
    return f"{int(call.site.rva):#x}"


def of_sources(path: str, image: str, report: Report) -> Iterable[DdiCall]:
    """The calls of the driver that an image was built from, or of all that is there."""
    assert report.image is not None
    found = drivers(path, NEWEST, machine=report.image.machine)
    debug = report.image.debug_id.path if report.image.debug_id else ""
    own = found.of_image(image, debug, NEWEST).evidence
    return (own or found.reading.evidence(NEWEST)).calls


def compare(name: str, sources: str, image: str) -> tuple[int, int]:
    """Print one driver's rows; how many calls agree, and how many there are on both sides."""
    report = evaluate(image)
    assert report.image is not None
    code = told(one.call for one in report.calls)
    text = told(of_sources(sources, image, report))
    agreed = every = 0
    for export in sorted(text.keys() | code.keys()):
        sides = {"source": text.get(export, []), "image": code.get(export, [])}
        odd = []
        for side, calls in sides.items():
            other = sides["image" if side == "source" else "source"]
            known = frozenset().union(*(words for words, _ in other))
            odd += [(side, words, call) for words, call in calls if not words <= known]
            every += len(calls)
        agreed += sum(map(len, sides.values())) - len(odd)
        print(f"{name:14} {export:38} {len(sides['source']):4} {len(sides['image']):4}")
        for side, words, call in odd[:SHOWN]:
            library = f" from {call.library.name}" if call.library is not None else ""
            print(f"{'':14}   {side} {place(call)}: {' '.join(sorted(words))}{library}")
    return agreed, every


SHOWN = 12
"""Differences that are shown of one export."""


def main() -> None:
    """Every pair of the command line."""
    agreed = every = 0
    for word in sys.argv[1:]:
        name, _, pair = word.partition("=")
        sources, _, image = pair.partition(",")
        same, count = compare(name, sources, image)
        print(f"{name:12} {same} of {count} calls agree\n")
        agreed, every = agreed + same, every + count
    print(f"all: {agreed} of {every} calls agree")


if __name__ == "__main__":
    main()
