"""Joins what a run saw with what the code shows: agreement, disagreement, settled doubt.

Knows facts of both readers; judges nothing and runs nothing.

1. Both saw a site: the values that the run saw naturally must be among those that the code gives.
   A disagreement is counted, listed and kept as a call of its own, so that it is judged.
2. The code left the value open: the run settles it, naturally or else on forced paths. That a site
   calls the DDI, and that something leads to it, only a natural call settles.
3. A forced value never contradicts a complete value of the code: paths were forced.
4. A call that only the run made tells that the code was not read whole: the call is judged, and
   the rule that judges its DDI cannot pass, for there may be more of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hvci import catalog
from hvci.model import DdiCall, Evidence, ImageSite, Limit, Origin, Tier, Value
from hvci.verifier.outcome import VerifierRun

Place = tuple[str, int]
MAX_LISTED = 64
MAX_NAMED = 4


@dataclass(slots=True)
class Agreement:
    """How the two readers compare."""

    agreed: int = 0
    settled_naturally: int = 0
    settled_forced: int = 0
    only_in_run: int = 0
    disagreements: list[dict[str, object]] = field(default_factory=list)

    def block(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "agreed": self.agreed,
            "settled_naturally": self.settled_naturally,
            "settled_forced": self.settled_forced,
            "only_in_run": self.only_in_run,
            "disagreed": len(self.disagreements),
            "disagreements": self.disagreements[:MAX_LISTED],
        }


def merge(evidence: Evidence, run: VerifierRun) -> tuple[Evidence, Agreement]:
    """The evidence of both readers, and how they compare."""
    agreement = Agreement()
    seen = _by_place(run.calls)
    static = {place for call in evidence.calls if (place := _place(call)) is not None}
    alone = sorted(set(seen) - static)
    agreement.only_in_run = len(alone)
    limits = (*run.limits, *_not_read(alone, seen))
    calls = tuple(_settled(call, seen, agreement) for call in evidence.calls)
    emulated = Evidence(
        frozenset({Origin.VERIFIER}),
        calls=run.calls,
        behaviours=run.behaviours,
        events=run.events,
        limits=limits,
    )
    return replace(evidence, calls=calls).merged([emulated]), agreement


def _not_read(alone: Sequence[Place], seen: Mapping[Place, dict[Tier, DdiCall]]) -> Iterator[Limit]:
    """A limit for each DDI of which the run made a call that the code did not show."""
    places: dict[str, list[Place]] = {}
    for place in alone:
        places.setdefault(place[0], []).append(place)
    for name, found in places.items():
        ddi = catalog.ddis().get(name)
        if ddi is None or not ddi.rule.judged_by:
            continue
        rvas = ", ".join(f"{rva:#x}" for _, rva in found[:MAX_NAMED])
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        reason = (
            f"the verifier run called {name} at RVA {rvas}{more}, where the code showed no such "
            "call: there may be others"
        )
        site = next(iter(seen[found[0]].values())).site
        yield Limit(Origin.VERIFIER, ddi.weakens, reason, site)


def _place(call: DdiCall) -> Place | None:
    return (call.ddi, call.site.rva) if isinstance(call.site, ImageSite) else None


def _by_place(calls: tuple[DdiCall, ...]) -> Mapping[Place, dict[Tier, DdiCall]]:
    found: dict[Place, dict[Tier, DdiCall]] = {}
    for call in calls:
        place = _place(call)
        if place is not None and call.tier is not None:
            found.setdefault(place, {})[call.tier] = call
    return found


def _settled(
    call: DdiCall, seen: Mapping[Place, dict[Tier, DdiCall]], agreement: Agreement
) -> DdiCall:
    """The call as the code shows it, with its deciding value settled where that was open."""
    place, ddi = _place(call), catalog.ddis().get(call.ddi)
    tiers = seen.get(place, {}) if place else {}
    value = call.arguments.get(ddi.deciding) if ddi else None
    if not tiers or ddi is None or value is None:
        return call
    is_open = bool(call.doubt or call.unreached or call.dead)
    if is_open and Tier.NATURAL in tiers:
        call = replace(call, doubt="", unreached=False, dead="")
        agreement.settled_naturally += value.complete
    natural, forced = (_value(tiers.get(tier), ddi.deciding) for tier in Tier)
    if value.complete:
        _compare(call, value, natural, agreement)
        return call
    best = natural or forced
    if best is None:
        return call
    how = "by itself" if natural else "on a forced path"
    if natural:
        agreement.settled_naturally += 1
    else:
        agreement.settled_forced += 1
    reason = f"settled by the verifier run, which came here {how}"
    settled = Value(value.possible | best.possible, True, reason, value.opt_in - best.possible)
    return replace(call, arguments={**call.arguments, ddi.deciding: settled})


def _value(call: DdiCall | None, name: str) -> Value | None:
    """A value that the run really saw."""
    value = call.arguments.get(name) if call else None
    return value if value is not None and value.complete else None


def _compare(call: DdiCall, static: Value, natural: Value | None, agreement: Agreement) -> None:
    if natural is None:
        return
    if natural.possible <= static.possible:
        agreement.agreed += 1
        return
    assert isinstance(call.site, ImageSite)
    agreement.disagreements.append(
        {
            "ddi": call.ddi,
            "rva": call.site.rva,
            "code": sorted(static.possible),
            "run": sorted(natural.possible),
        }
    )
