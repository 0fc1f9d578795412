"""What a verifier run proves, from its block: a violation, none, or nothing, in one sentence.

Knows the block of the JSON report and trusts none of its types; runs nothing.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Mapping
from enum import StrEnum

from hvci.model.record import record

Block = Mapping[str, object]
FIRST_FAILURE = 0x8000_0000
"""NTSTATUS values from here on are warnings and errors: NT_SUCCESS is false."""
NATURAL = "natural"


class Proof(StrEnum):
    """What a run proves."""

    VIOLATION = "violation"
    CLEAN = "clean"
    NOTHING = "nothing"


EXIT_CODES = {Proof.CLEAN: 0, Proof.VIOLATION: 1, Proof.NOTHING: 3}


@record
class Conclusion:
    """What a run proves and the sentence that says so."""

    proof: Proof
    summary: str

    @property
    def exit_code(self) -> int:
        """Of the commands that run drivers."""
        return EXIT_CODES[self.proof]


def part(block: Block, name: str) -> Block:
    """A mapping of the block; empty when it is none."""
    found = block.get(name)
    return found if isinstance(found, Mapping) else {}


def rows(block: Block, name: str) -> list[Block]:
    """The mappings of a list of the block."""
    found = block.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def whole(block: Block, name: str) -> int:
    """A number of the block; 0 when it is none."""
    found = block.get(name)
    return found if isinstance(found, int) else 0


def conclude(block: Block) -> Conclusion:
    """A violation weighs whatever else happened; without one, silence has to be earned."""
    events = rows(block, "events")
    own = [event for event in events if event.get("tier") == NATURAL]
    if own or any(whole(part(block, "counters"), name) for name in part(block, "counters")):
        return Conclusion(Proof.VIOLATION, f"violation: {_kinds(own)}{_also_forced(events)}")
    if why := _nothing(block):
        return Conclusion(Proof.NOTHING, f"undecided: {why}{_also_forced(events)}")
    if events:
        where = "no violation by the driver itself, but on forced paths"
        why = "whether the driver ever comes there is not known"
        return Conclusion(Proof.NOTHING, f"undecided: {where} {_kinds(events)}: {why}")
    return Conclusion(Proof.CLEAN, f"no violation was seen: {_reached(block)}")


def violation_line(block: Block) -> str:
    """Places of violations, told apart by how the run came there."""
    events = rows(block, "events")
    own = sum(1 for event in events if event.get("tier") == NATURAL)
    return f"{own} by the driver itself, {len(events) - own} on forced paths only"


def driver_entry(block: Block) -> str:
    """What became of DriverEntry."""
    entries, stopped = rows(block, "entry_points"), rows(block, "stopped")
    if not entries:
        return "did not run"
    if entries[0].get("returned") is True:
        return f"returned {entries[0].get('status')}"
    return f"ended: {stopped[0].get('why') if stopped else 'not known why'}"


def _kinds(events: list[Block]) -> str:
    """The bug checks and how many places each has."""
    kinds = Multiset(
        f"bug check {event.get('bugcheck')}"
        + (f" {event.get('subcode')}" if event.get("subcode") else "")
        for event in events
    )
    return ", ".join(f"{kind} at {_places(count)}" for kind, count in sorted(kinds.items())) or (
        "counted"
    )


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"


def _also_forced(events: list[Block]) -> str:
    forced = [event for event in events if event.get("tier") != NATURAL]
    return f"; on forced paths only: {_kinds(forced)}" if forced else ""


def _nothing(block: Block) -> str:
    """Why a run without a violation proves nothing; empty when it does."""
    entries = rows(block, "entry_points")
    if not entries:
        return f"the driver did not run: {_limits(block) or 'the emulator gave no answer'}"
    if entries[0].get("returned") is not True:
        return f"DriverEntry did not return ({driver_entry(block)})"
    if _status(entries[0]) >= FIRST_FAILURE:
        failed = f"DriverEntry failed with {entries[0].get('status')} in the emulated machine"
        return f"{failed}, so what the driver does after a good start was not seen"
    coverage = part(block, "coverage")
    total = whole(coverage, "call_sites_total")
    if total and not whole(coverage, "call_sites_natural"):
        forced = whole(coverage, "call_sites")
        also = f", {forced} on forced paths" if forced else ""
        return f"the driver itself reached none of the {total} call sites of impacted DDIs{also}"
    unknown = [row for row in rows(block, "not_executed") if row.get("tier") == NATURAL]
    if unknown:
        name = unknown[0].get("instruction")
        return f"the emulated processor cannot execute {name}, to which the driver came by itself"
    return ""


def _limits(block: Block) -> str:
    limits = block.get("limits")
    return "; ".join(map(str, limits)) if isinstance(limits, list) else ""


def _status(entry: Block) -> int:
    try:
        return int(str(entry.get("status")), 16)
    except ValueError:
        return FIRST_FAILURE


def _reached(block: Block) -> str:
    coverage = part(block, "coverage")
    total = whole(coverage, "call_sites_total")
    begin = f"DriverEntry {driver_entry(block)}"
    if not total:
        return f"{begin}, and the code shows no call of an impacted DDI that could count"
    natural = whole(coverage, "call_sites_natural")
    return (
        f"{begin}, and {natural} of {total} call sites of impacted DDIs were reached by the "
        f"driver itself; what was not reached was not counted"
    )
