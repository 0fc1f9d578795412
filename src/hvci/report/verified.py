"""What a verifier run saw, in plain English: one line for each thing, for every output.

Knows the block of the JSON report and trusts none of its types; runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hvci.model import Counter, Outcome, Report
from hvci.model.conclusion import conclude, driver_entry, part, rows, violation_line, whole
from hvci.report.safe import safe

MOST_EVENTS = 20


def run_lines(report: Report) -> list[str]:
    """The run in a few lines; none when there was no run."""
    block = report.verifier
    if block is None:
        return []
    return [safe(line, 1000) for line in (*_lines(block), *_differences(report, block))]


def event_lines(report: Report) -> list[str]:
    """The bug checks of the run, each in one line."""
    events = [] if report.verifier is None else rows(report.verifier, "events")
    lines = [safe(_event(event), 1000) for event in events[:MOST_EVENTS]]
    rest = len(events) - len(lines)
    return [*lines, f"and {rest} more"] if rest > 0 else lines


def _lines(block: Mapping[str, object]) -> Iterator[str]:
    entries, stopped = rows(block, "entry_points"), rows(block, "stopped")
    returned = sum(1 for entry in entries if entry.get("returned") is True)
    yield conclude(block).summary
    yield f"violations: {violation_line(block)}"
    yield f"{len(entries)} entry points ran, {returned} returned; DriverEntry {driver_entry(block)}"
    for entry in stopped:
        yield f"{entry.get('entry')} did not return: {entry.get('why')}"
    yield f"counted: {_counted(part(block, 'counters'))}"
    coverage = part(block, "coverage")
    if "blocks_total" in coverage:
        yield (
            f"covered: {coverage.get('blocks')} of {coverage.get('blocks_total')} blocks, "
            f"{coverage.get('call_sites')} of {coverage.get('call_sites_total')} call sites of "
            f"impacted DDIs ({coverage.get('call_sites_natural')} by themselves)"
        )
    agreement = part(block, "agreement")
    if agreement:
        yield (
            f"compared with the code: {agreement.get('agreed')} call sites agree, "
            f"{agreement.get('disagreed')} disagree, {agreement.get('only_in_run')} were seen in "
            "the run only"
        )
    if unknown := rows(block, "not_executed"):
        places = (f"{row.get('instruction')} at {_hex(row.get('rva'))}" for row in unknown[:12])
        more = f" and {len(unknown) - 12} more" if len(unknown) > 12 else ""
        yield f"not executed, what follows counts as forced: {', '.join(places)}{more}"
    if guessed := rows(block, "without_model"):
        yield "answered with a guess: " + ", ".join(str(row.get("ddi")) for row in guessed[:12])


def _differences(report: Report, block: Mapping[str, object]) -> Iterator[str]:
    """Why a counter of the run and the one that the code shows are not both zero or both not.

    The code shows places, the run counts calls, so other numbers need not be equal.
    """
    counted = part(block, "counters")
    for counter, shown in report.counters.items():
        ran = whole(counted, counter.value)
        if bool(shown) == bool(ran):
            continue
        numbers = f"{counter.hlk_name}: the code shows {shown}, the run counted {ran}"
        if shown:
            yield f"{numbers}: the run did not come to such a call by itself"
            continue
        notes = sum(
            1
            for result in report.results
            if result.counter is counter
            for finding in result.findings
            if finding.outcome is Outcome.NOTE
        )
        yield f"{numbers}: " + (
            f"Driver Verifier counts user-mode mappings without the NX bit ({notes} noted), though "
            "none of them executes"
            if notes
            else "the code does not show what the run saw; see the calls of the run"
        )


def _counted(counters: Mapping[str, object]) -> str:
    counts = ((counter, counters.get(counter.value)) for counter in Counter)
    named = ", ".join(f"{counter.hlk_name} {count}" for counter, count in counts if count)
    return named or "nothing"


def _event(event: Mapping[str, object]) -> str:
    site = event.get("site")
    rva = site.get("rva") if isinstance(site, Mapping) else None
    place = _hex(rva)
    subcode = f" {event.get('subcode')}" if event.get("subcode") else ""
    code = f"bug check {event.get('bugcheck')}{subcode}"
    return f"{place}  {code}: {event.get('message')} [{event.get('tier')} path]"


def _hex(rva: object) -> str:
    return f"{rva:#x}" if isinstance(rva, int) else "unknown place"
