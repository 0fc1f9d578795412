"""The "verifier" block of a JSON report, and the statistics in the layout of `verifier /query`.

Scripts that were made for Windows cut its text at `MODULE:`, take the name up to the parenthesis,
look for `Code Integrity Statistics:`, and take each line behind it with one colon for a counter:
what is ours stands before it. Knows the run's result; runs nothing.
"""

from __future__ import annotations

from hvci.model import Counter, ImageSite, PageEvent
from hvci.model.conclusion import (
    Block,
    conclude,
    driver_entry,
    part,
    rows,
    violation_line,
    whole,
)
from hvci.verifier.outcome import Coverage, Ending, EntryResult, VerifierRun

WIDTH = 34
INDENT = " " * 6
MOST_LIMITS = 8


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
        "limits": [limit.reason for limit in run.limits],
    }
    if agreement is not None:
        block["agreement"] = dict(agreement)
    conclusion = conclude(block)
    return block | {"outcome": conclusion.proof.value, "summary": conclusion.summary}


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
        "site": _site(event.site),
        "tier": event.tier.value,
        "message": event.message,
    }


def _site(site: ImageSite) -> dict[str, object]:
    """The place, and what symbols say of it."""
    known = {"function": site.function, "file": site.file, "line": site.line}
    return {"rva": site.rva} | {name: value for name, value in known.items() if value is not None}


def counter_lines(counters: Block) -> list[str]:
    """The seven counters as `verifier /query` and `!verifier` print them."""
    lines = []
    for counter in Counter:
        suffix = "" if counter is Counter.SECTION_ALIGNMENT_FAILURES else " Count"
        label = f"{counter.hlk_name}{suffix}:"
        lines.append(f"{label:<40}{whole(counters, counter.value)}")
    return lines


def statistics_lines(name: str, block: Block) -> list[str]:
    """The statistics of one driver, from its block."""
    entries = rows(block, "entry_points")
    loads, unloads = int(bool(entries)), _unloads(entries)
    lines = [f"MODULE: {name} (load: {loads} / unload: {unloads})", "", "    Emulated Run:", ""]
    lines += [INDENT + line for line in _run_lines(block)]
    lines += ["", "    Code Integrity Statistics:", ""]
    lines += [INDENT + line for line in counter_lines(part(block, "counters"))]
    return [line.rstrip() for line in lines]


def _run_lines(block: Block) -> list[str]:
    entries, coverage = rows(block, "entry_points"), part(block, "coverage")
    statistics = part(block, "statistics")
    returned = sum(1 for entry in entries if entry.get("returned") is True)
    allocated = whole(statistics, "allocated_bytes")
    lines = [
        _line("Verdict:", conclude(block).summary),
        _line("Violations:", violation_line(block)),
        _line("DriverEntry:", driver_entry(block)),
        _line("Entry points run:", f"{len(entries)}, of which {returned} returned"),
        _line("Impacted call sites reached:", _sites(coverage)),
        _line("Blocks covered:", _of(coverage, "blocks")),
        _line("Paths:", str(whole(statistics, "paths"))),
        _line("Allocations:", f"{whole(statistics, 'allocations')} ({allocated} bytes)"),
        _line("DDIs without a model:", _names(rows(block, "without_model"))),
    ]
    if unknown := rows(block, "not_executed"):
        names = sorted({str(row.get("instruction")) for row in unknown})
        lines.append(
            _line("Instructions not executed:", f"{len(unknown)} ({', '.join(names[:6])})")
        )
    limits = block.get("limits")
    limits = limits if isinstance(limits, list) else []
    return lines + [_line("Limit:", str(limit)) for limit in limits[:MOST_LIMITS]]


def _line(label: str, text: str) -> str:
    return f"{label:<{WIDTH}}{text}"


def _of(coverage: Block, name: str) -> str:
    return f"{whole(coverage, name)} of {whole(coverage, f'{name}_total')}"


def _sites(coverage: Block) -> str:
    natural = whole(coverage, "call_sites_natural")
    return f"{_of(coverage, 'call_sites')}, {natural} of them by the driver itself"


def _unloads(entries: list[Block]) -> int:
    names = ("DriverUnload", "EvtDriverUnload")
    return int(any(entry.get("name") in names and entry.get("returned") for entry in entries))


def _names(found: list[Block]) -> str:
    names = [str(row.get("ddi")) for row in found]
    shown = ", ".join(names[:6])
    return f"{len(names)}" + (f" ({shown}{', ...' if len(names) > 6 else ''})" if names else "")
