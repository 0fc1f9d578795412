"""What a verifier run is asked and what it answers: plain data, light to import.

Knows the words of the model; runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from hvci.model import (
    NEWEST,
    BehaviourFact,
    Counter,
    DdiCall,
    Limit,
    PageEvent,
    Tier,
    WindowsVersion,
)


class Trust(IntEnum):
    """How far an observation can be trusted; the lower the better."""

    NATURAL = 0
    """The driver came there by itself."""
    FORCED = 1
    """A branch was turned; all data is the driver's own."""
    INVENTED = 2
    """Arguments or memory were invented, so values may come from nowhere."""

    @property
    def tier(self) -> Tier:
        """The tier that reports know."""
        return Tier.NATURAL if self is Trust.NATURAL else Tier.FORCED


class Ending(StrEnum):
    """How a path ended."""

    RETURNED = "returned"
    BUG_CHECK = "bug check"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a path."""

    ending: Ending
    status: int
    reason: str = ""
    tier: Tier = Tier.NATURAL


@dataclass(frozen=True, slots=True)
class Effort:
    """How much may be forced."""

    paths: int = 6_000
    blocks: int = 1_500_000


@dataclass(frozen=True, slots=True)
class VerifierOptions:
    """What a run depends on besides the driver."""

    target_os: WindowsVersion = NEWEST
    force: bool = True
    """Go on behind what runs by itself."""
    entry: str = ""
    """Only entry points whose name starts so; empty for all. DriverEntry always runs."""
    ioctls: tuple[int, ...] = ()
    """Control codes to send besides those that the code names."""
    effort: Effort = field(default_factory=Effort)
    trace: bool = False
    """Keep every call, for `VerifierRun.trace`."""
    seconds: int = 120
    """Wall time after which the run is given up; a run that ends by itself never depends on it."""
    megabytes: int = 3072
    """Address space of the child process."""


@dataclass(frozen=True, slots=True)
class EntryResult:
    """What became of one entry point."""

    name: str
    tier: Tier
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class UnknownInstruction:
    """An instruction that the emulated processor does not know: the path behind it is forced."""

    name: str
    rva: int
    tier: Tier
    """How the run came to it."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a run reached, of what there is."""

    blocks: int
    blocks_total: int
    sites: int
    sites_natural: int
    sites_total: int
    missed: tuple[int, ...]
    """RVAs of call sites that no path reached."""


@dataclass(frozen=True, slots=True)
class VerifierRun:
    """Everything that a run saw."""

    calls: tuple[DdiCall, ...]
    events: tuple[PageEvent, ...]
    counters: dict[Counter, int]
    entry_points: tuple[EntryResult, ...]
    coverage: Coverage
    limits: tuple[Limit, ...]
    allocations: int
    allocated_bytes: int
    paths: int
    blocks_executed: int
    unknown: tuple[tuple[str, int], ...]
    """DDIs without a model, and how often each was called."""
    executed: tuple[tuple[int, int], ...] = ()
    """(RVA, bytes) of the blocks that ran, for coverage files."""
    behaviours: tuple[BehaviourFact, ...] = ()
    trace: tuple[str, ...] = ()
    """Calls and page events in order, one JSON object a line."""
    base: int = 0
    """Where the image was loaded."""
    unsupported: tuple[UnknownInstruction, ...] = ()
    """Instructions that were not executed, by place."""

    @property
    def driver_entry(self) -> EntryResult | None:
        """The first entry point; None when the run never started."""
        return self.entry_points[0] if self.entry_points else None
