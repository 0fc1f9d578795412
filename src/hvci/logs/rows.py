"""A row for one driver and one check that refused it, as text and as JSON.

Knows what a row holds; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hvci.catalog.gates import gates
from hvci.model.gates import Effect, Gate
from hvci.report.safe import safe


@dataclass(frozen=True, slots=True)
class Refusal:
    """One driver and one check."""

    driver: str
    gate: Gate | None
    effect: Effect
    evidence: tuple[str, ...]
    path: str = ""
    package: str = ""
    signer: str = ""
    bitmap: str = ""
    layouts: tuple[str, ...] = ()
    verdict: str = ""
    """What hvci says of the same driver, and whether that agrees."""
    agrees: bool | None = None
    """None where hvci was not asked, or cannot tell."""
    causes: tuple[str, ...] = ()
    todo: str = ""
    sha256: str = ""
    """Of the file that it was compared with."""


def to_lines(rows: Iterable[Refusal]) -> Iterator[str]:
    """The rows as text."""
    for row in rows:
        info = gates().gates.get(row.gate) if row.gate else None
        by = f"{info.title} [{row.gate}]" if info else "a check that this log does not name"
        yield f"{safe(row.driver) or 'driver not named'}: {_WORDS[row.effect]} {by}"
        yield from (f"  {safe(line, 1000)}" for line in row.evidence)
        for label, text in (
            ("file", row.path),
            ("package", row.package),
            ("signed by", row.signer),
            ("Windows names", "; ".join(row.layouts)),
            ("hvci", row.verdict),
        ):
            if text:
                yield f"  {label}: {safe(text, 1000)}"
        yield from (f"    {cause}" for cause in row.causes)
        yield f"  next: {row.todo}"
        yield ""


_WORDS = {
    Effect.REFUSED: "refused by",
    Effect.AUDIT: "loaded, but would be refused by",
    Effect.STOPPED: "stopped the computer, caught by",
    Effect.NOTE: "named by",
}


def as_json(row: Refusal) -> dict[str, object]:
    """One row as JSON values."""
    return {
        "driver": row.driver,
        "gate": row.gate.value if row.gate else None,
        "effect": row.effect.value,
        "evidence": list(row.evidence),
        "path": row.path,
        "package": row.package,
        "signer": row.signer,
        "failure_bitmap": row.bitmap or None,
        "failure_names": list(row.layouts),
        "hvci": row.verdict or None,
        "agrees": row.agrees,
        "causes": list(row.causes),
        "next": row.todo,
    }
