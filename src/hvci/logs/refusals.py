"""One row for each driver and check that refused it, from everything that a log says.

Signs that several checks leave (event 219, Code 39) belong to the check that another sign of the
same driver names; alone they name none. Knows signs and reports; reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from hvci.catalog.gates import gates
from hvci.logs.beside import compared_with
from hvci.logs.crashes import Crash
from hvci.logs.event_facts import Seen
from hvci.logs.machine import Machine, infs_of
from hvci.logs.rows import Refusal
from hvci.model import Report
from hvci.model.gates import Effect, Gate, Kind
from hvci.report.bugchecks import PAGE_FAULT, decode_bugcheck, was_execution
from hvci.report.pairs import named as reports_named
from hvci.report.safe import safe

BY_POLICY = (Gate.DRIVER_POLICY, Gate.BLOCK_LIST, Gate.APP_CONTROL)
POLICY_EVENTS, SIGNING_LEVEL = (3076, 3077), (3033, 3034)
"""Events that come with a policy's own event, and say less."""
_KERNEL = frozenset(("nt", "hal", "ntkrnlmp", "ntoskrnl", "wdf01000", "ndis", "fltmgr", "ci"))
"""Modules of Windows on a stack, which are not the driver."""
_WORST = (Effect.REFUSED, Effect.STOPPED, Effect.AUDIT, Effect.NOTE)
_SEVERAL = (
    "not compared: {} different drivers of this name were given, and the log does not tell which "
    "of them it was; give that one"
)
AT_BOOT = (
    " It is a boot-start driver: memory integrity that Windows turned on by itself is turned off "
    "again without a word."
)


def refusals(
    everything: Iterable[Seen],
    computer: Machine,
    reports: Sequence[Report],
    signers: Mapping[str, str],
) -> tuple[Refusal, ...]:
    """The rows, by driver."""
    by_driver: dict[str, list[Seen]] = {}
    for one in everything:
        by_driver.setdefault(_driver(one, computer), []).append(one)
    rows = (
        _row(driver, gate, group, computer, reports, signers)
        for driver, group in sorted(by_driver.items())
        for gate, group in _by_gate(group)
    )
    return tuple(rows)


def crash_signs(crashes: Iterable[Crash], bases: Mapping[str, tuple[int, int]]) -> Iterator[Seen]:
    """Bug checks that a gate caused, with the driver that the log names, or a list of modules."""
    for crash in crashes:
        decoded = decode_bugcheck(crash.code, crash.parameters, crash.record)
        sign = gates().find(Kind.BUGCHECK, crash.code)
        unclear = crash.code == PAGE_FAULT and not was_execution(crash.parameters)
        if sign is None or decoded.unrelated or unclear or not crash.parameters:
            continue
        named = [name for name, _ in (*crash.offsets, *crash.functions)]
        named += [
            name
            for name, (start, end) in bases.items()
            if any(start <= address < end for address in crash.parameters)
        ]
        modules = [name for name in named if name not in _KERNEL]
        driver = crash.driver or (f"{modules[0]}.sys" if modules else "")
        said = (decoded.title,)
        yield Seen(driver.lower(), sign, sign.gate, sign.effect, said, rule=decoded.rule)


def _driver(one: Seen, computer: Machine) -> str:
    """The driver's file; of its package or device where only that is known."""
    if one.driver:
        return one.driver
    files = [name for name, inf in computer.packages.items() if one.package in infs_of(inf)]
    return files[0] if len(files) == 1 else one.package or one.device


def _by_gate(group: list[Seen]) -> Iterator[tuple[Gate | None, list[Seen]]]:
    """What was seen of one driver, by check; what names none joins what names one."""
    found: dict[Gate, list[Seen]] = {}
    by_policy = any(one.gate in BY_POLICY or one.sign.id in POLICY_EVENTS for one in group)
    open_: list[Seen] = []
    for one in group:
        level = one.gate is Gate.SIGNING and one.sign.id in SIGNING_LEVEL
        if one.gate is None or (by_policy and level):
            open_.append(one)
        else:
            found.setdefault(one.gate, []).append(one)
    if not found:
        yield None, open_
        return
    for gate, members in sorted(found.items()):
        yield gate, members + [one for one in open_ if one.gate is None or gate in BY_POLICY]


def _row(
    driver: str,
    gate: Gate | None,
    group: list[Seen],
    computer: Machine,
    reports: Sequence[Report],
    signers: Mapping[str, str],
) -> Refusal:
    named = [one for one in group if one.gate is gate] or group
    effect = min((one.effect for one in named), key=_WORST.index)
    packages = [one.package for one in group if one.package]
    likely = computer.likely.get(driver, "")
    package = next(iter((*packages, computer.packages.get(driver, ""))), "")
    if not package and likely:
        package = f"{likely} (by the name of its INF)"
    at_boot = gate is Gate.IMAGE and driver in computer.at_boot
    bitmaps = [one for one in group if one.bitmap]
    row = Refusal(
        driver,
        gate,
        effect,
        tuple(dict.fromkeys(map(_evidence, group))),
        next((one.path for one in group if one.path), ""),
        package,
        next((signers[one.activity] for one in group if one.activity in signers), ""),
        bitmaps[0].bitmap if bitmaps else "",
        tuple(dict.fromkeys(name for one in bitmaps for name in one.layouts)),
        todo=_todo(gate, package) + (AT_BOOT if at_boot else ""),
    )
    own = _meant(reports_named(driver, reports, row.path), group)
    if len({report.target.sha256 for report in own}) > 1:
        return replace(row, verdict=_SEVERAL.format(len(own)))
    if not own:
        return row
    return compared_with(replace(row, sha256=own[0].target.sha256), own[0], group)


def _meant(found: list[Report], group: list[Seen]) -> list[Report]:
    """Of several drivers of one name those whose hash the events name, if any is."""
    hashes = {one.sha256 for one in group if one.sha256}
    same = [one for one in found if one.trust and one.trust.authentihash.lower() in hashes]
    return same or found


def _evidence(one: Seen) -> str:
    if one.sign.kind is Kind.BUGCHECK:
        return one.facts[0]
    when = f", {safe(one.time)}" if one.time else ""
    facts = "; ".join(one.facts)
    return f"{one.sign.name}{when}: {facts or one.sign.title}"


def _todo(gate: Gate | None, package: str) -> str:
    if gate is None:
        return (
            "Look in the log Microsoft-Windows-CodeIntegrity/Operational for an event at the same "
            "time: only that tells which check it was."
        )
    todo = gates().gates[gate].todo
    published = package.partition(" ")[0]
    if published.startswith("oem") and gate is not Gate.RUN:
        todo += f" To remove the package: pnputil /delete-driver {published} /uninstall."
    return todo
