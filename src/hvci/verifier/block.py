"""The "verifier" block of a JSON report, and the statistics in the words of `!verifier`.

Knows the run's result; runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hvci.model import Counter, PageEvent
from hvci.verifier.outcome import Coverage, Ending, EntryResult, VerifierRun

Block = Mapping[str, object]
FLAG = 0x0200_0000
WIDTH = 36


def to_block(run: VerifierRun, agreement: Block | None = None) -> dict[str, object]:
    """What a verifier run saw, as JSON values."""
    block: dict[str, object] = {
        "counters": {counter.value: run.counters[counter] for counter in Counter},
        "entry_points": [_entry(entry) for entry in run.entry_points],
        "coverage": _coverage(run.coverage),
        "events": [_event(event) for event in run.events],
        "statistics": {
            "allocations": run.allocations,
            "allocated_bytes": run.allocated_bytes,
            "paths": run.paths,
            "blocks_executed": run.blocks_executed,
        },
        "stopped": [_stopped(entry) for entry in run.entry_points if _is_stopped(entry)],
        "without_model": [{"ddi": name, "calls": count} for name, count in run.unknown],
        "not_executed": [
            {"instruction": each.name, "rva": each.rva, "tier": each.tier.value}
            for each in run.unsupported
        ],
    }
    if agreement is not None:
        block["agreement"] = dict(agreement)
    return block


def _entry(entry: EntryResult) -> dict[str, object]:
    returned = entry.outcome.ending is Ending.RETURNED
    return {
        "name": entry.name,
        "tier": entry.tier.value,
        "returned": returned,
        "status": f"{entry.outcome.status:#x}" if returned else None,
    }


def _is_stopped(entry: EntryResult) -> bool:
    return entry.outcome.ending is not Ending.RETURNED


def _stopped(entry: EntryResult) -> dict[str, object]:
    return {"entry": entry.name, "why": entry.outcome.reason}


def _coverage(coverage: Coverage) -> dict[str, object]:
    return {
        "blocks": coverage.blocks,
        "blocks_total": coverage.blocks_total,
        "call_sites": coverage.sites,
        "call_sites_natural": coverage.sites_natural,
        "call_sites_total": coverage.sites_total,
        "call_sites_missed": list(coverage.missed),
    }


def _event(event: PageEvent) -> dict[str, object]:
    return {
        "bugcheck": f"{event.bugcheck:#x}",
        "subcode": None if event.subcode is None else f"{event.subcode:#x}",
        "parameters": list(event.parameters),
        "site": {"rva": event.site.rva},
        "tier": event.tier.value,
        "message": event.message,
    }


def counter_lines(counters: Mapping[str, int]) -> list[str]:
    """The seven counters as `!verifier` prints them."""
    lines = []
    for counter in Counter:
        suffix = "" if counter is Counter.SECTION_ALIGNMENT_FAILURES else " Count"
        lines.append(f"{counter.hlk_name + suffix + ':':<{WIDTH}}{counters[counter.value]}")
    return lines


def statistics_lines(name: str, block: Block) -> list[str]:
    """The statistics of one driver, from its block."""
    counters = _mapping(block["counters"])
    coverage, statistics = _mapping(block["coverage"]), _mapping(block["statistics"])
    entries = _rows(block["entry_points"])
    returned = sum(1 for entry in entries if entry["returned"])
    lines = [f"Name: {name}, loads: 1, unloads: {_unloads(entries)}", ""]
    lines += counter_lines({key: int(str(value)) for key, value in counters.items()})
    lines += [
        "",
        _line("Allocations:", f"{statistics['allocations']} ({_bytes(statistics)})"),
        _line("Entry points run:", f"{len(entries)}, of which {returned} returned"),
        _line("DriverEntry:", _driver_entry(entries, _rows(block["stopped"]))),
        _line("Blocks covered:", f"{coverage['blocks']} of {coverage['blocks_total']}"),
        _line("Impacted call sites reached:", _sites(coverage)),
        _line("Paths:", str(statistics["paths"])),
        _line("DDIs without a model:", _names(_rows(block["without_model"]))),
    ]
    if rows := _rows(block["not_executed"]):
        names = sorted({str(row["instruction"]) for row in rows})
        lines.append(_line("Instructions not executed:", f"{len(rows)} ({', '.join(names[:6])})"))
    return [line.rstrip() for line in lines]


def _line(label: str, text: str) -> str:
    return f"{label:<{WIDTH}}{text}"


def _bytes(statistics: Mapping[str, object]) -> str:
    return f"{statistics['allocated_bytes']} bytes"


def _sites(coverage: Mapping[str, object]) -> str:
    natural, total = coverage["call_sites_natural"], coverage["call_sites_total"]
    return f"{coverage['call_sites']}, {natural} of them naturally; known from the code: {total}"


def _unloads(entries: Sequence[Mapping[str, object]]) -> int:
    names = ("DriverUnload", "EvtDriverUnload")
    return int(any(entry["name"] in names and entry["returned"] for entry in entries))


def _driver_entry(
    entries: Sequence[Mapping[str, object]], stopped: Sequence[Mapping[str, object]]
) -> str:
    if not entries:
        return "did not run"
    if entries[0]["returned"]:
        return f"returned {entries[0]['status']}"
    return f"ended: {stopped[0]['why']}"


def _names(rows: Sequence[Mapping[str, object]]) -> str:
    names = [str(row["ddi"]) for row in rows]
    shown = ", ".join(names[:6])
    return f"{len(names)}" + (f" ({shown}{', ...' if len(names) > 6 else ''})" if names else "")


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _rows(value: object) -> Sequence[Mapping[str, object]]:
    assert isinstance(value, list)
    return value
