"""Windows as the judge: its check of images beside what hvci says of the same drivers.

Knows rows and reports. A bundle holds hashes and facts, never a driver or a path of the user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hvci import __version__
from hvci.logs.rows import Refusal
from hvci.model import Answer, Question, Report
from hvci.model.gates import Gate
from hvci.report.identity import short_name
from hvci.report.safe import safe


@dataclass(frozen=True, slots=True)
class Comparison:
    """How Windows and hvci compare on the drivers of a log."""

    agreed: int
    disagreed: int
    lines: tuple[str, ...]


def compared(rows: Sequence[Refusal], reports: Sequence[Report]) -> Comparison:
    """Only events of the image check are labels; no event is none."""
    labels = [row for row in rows if row.gate is Gate.IMAGE]
    told = {row.driver for row in labels}
    agreed = [row for row in labels if row.agrees]
    disagreed = [row for row in labels if row.agrees is False]
    lines = [
        f"compared with the check of Windows: {len(agreed)} agree, {len(disagreed)} disagree, "
        f"{len(labels) - len(agreed) - len(disagreed)} not compared"
    ]
    lines += [f"  {safe(row.driver)}: {row.verdict}" for row in disagreed]
    silent = [one for one in reports if short_name(one.target.path).lower() not in told]
    lines += [f"  {safe(short_name(one.target.path))}: {_silence(one)}" for one in silent]
    return Comparison(len(agreed), len(disagreed), tuple(lines))


def _silence(report: Report) -> str:
    """What a log without an event of a driver tells: nothing, unless the driver was loaded."""
    said = report.answers[Question.LOADS]
    if said is Answer.NO:
        return (
            "no event, but hvci says that memory integrity refuses it; this is a disagreement if "
            "the driver was loaded with memory integrity on or in audit mode"
        )
    return "no event, which says nothing unless the driver was loaded"


def as_bundle(rows: Iterable[Refusal], reports: Sequence[Report]) -> dict[str, object]:
    """Facts about the drivers on which Windows and hvci disagree."""
    wrong = (row for row in rows if row.agrees is False)
    by_digest = {one.target.sha256: one for one in reports}
    found = ((row, by_digest[row.sha256]) for row in wrong if row.sha256 in by_digest)
    return {
        "hvci": __version__,
        "disagreements": [dict(_facts(row, report)) for row, report in found],
    }


def _facts(row: Refusal, report: Report) -> Iterator[tuple[str, object]]:
    yield "driver", row.driver
    yield "sha256", report.target.sha256
    yield "size_bytes", report.target.size_bytes
    yield "machine", report.target.machine.value if report.target.machine else None
    yield "target_os", report.target_os.slug
    yield "windows", list(row.evidence)
    yield "failure_bitmap", row.bitmap or None
    yield "failure_names", list(row.layouts)
    loads = report.answers[Question.LOADS]
    yield "loads", loads.value if loads else None
    rules = [one for one in report.results if Question.LOADS in one.questions]
    yield "rules", {one.rule: one.outcome.value for one in rules}
    image = report.image
    if image is not None:
        yield "section_alignment", image.section_alignment
        yield "file_alignment", image.file_alignment
        yield "subsystem", image.subsystem
        yield (
            "sections",
            [
                {
                    "name": safe(one.name),
                    "rva": one.rva,
                    "virtual_size": one.virtual_size,
                    "raw_size": one.raw_size,
                    "characteristics": one.characteristics,
                }
                for one in image.sections
            ],
        )
        yield "iat", list(image.iat) if image.iat else None
