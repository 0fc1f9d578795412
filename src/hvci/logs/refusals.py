"""One row for each driver and check that refused it, from everything that a log says.

Signs that several checks leave (event 219, Code 39) belong to the check that another sign of the
same driver names; alone they name none. Knows signs and reports; reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hvci.catalog.gates import gates
from hvci.logs.crashes import Crash
from hvci.logs.event_facts import Seen
from hvci.logs.machine import Machine
from hvci.model import Answer, DriverPolicy, Finding, Outcome, Question, Report, Signed
from hvci.model.gates import Effect, Gate, Kind
from hvci.report import words
from hvci.report.bugchecks import decode_bugcheck
from hvci.report.identity import short_name
from hvci.report.safe import safe

BY_POLICY = (Gate.DRIVER_POLICY, Gate.BLOCK_LIST, Gate.APP_CONTROL)
POLICY_EVENTS, SIGNING_LEVEL = (3076, 3077), (3033, 3034)
"""Events that come with a policy's own event, and say less."""
_KERNEL = frozenset(("nt", "hal", "ntkrnlmp", "ntoskrnl", "wdf01000", "ndis", "fltmgr", "ci"))
"""Modules of Windows on a stack, which are not the driver."""
_WORST = (Effect.REFUSED, Effect.STOPPED, Effect.AUDIT, Effect.NOTE)
MOST_CAUSES = 20
AT_BOOT = (
    " It is a boot-start driver: memory integrity that Windows turned on by itself is turned off "
    "again without a word."
)


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
        decoded = decode_bugcheck(crash.code, crash.parameters)
        sign = gates().find(Kind.BUGCHECK, crash.code)
        if sign is None or decoded.unrelated or not crash.parameters:
            continue
        named = [name for name, _ in (*crash.offsets, *crash.functions)]
        named += [
            name
            for name, (start, end) in bases.items()
            if any(start <= address < end for address in crash.parameters)
        ]
        modules = [name for name in named if name not in _KERNEL]
        driver = crash.driver or (f"{modules[0]}.sys" if modules else "")
        yield Seen(driver.lower(), sign, sign.gate, sign.effect, (decoded.title,))


def _driver(one: Seen, computer: Machine) -> str:
    """The driver's file; of its package or device where only that is known."""
    if one.driver:
        return one.driver
    files = [name for name, inf in computer.packages.items() if inf == one.package]
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
    own = [report for report in reports if short_name(report.target.path).lower() == driver]
    return _compared(row, own[0], group) if own else row


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


# ---- beside what hvci says


def _compared(row: Refusal, report: Report, group: list[Seen]) -> Refusal:
    hashes = {one.sha256 for one in group if one.sha256}
    own = report.trust.authentihash.lower() if report.trust else ""
    if hashes and own and own not in hashes:
        verdict = "the file given is another build: its hash is not that of the event"
        return replace(row, verdict=verdict)
    if row.gate is Gate.IMAGE:
        return _image(row, report, group)
    loads = report.answers[Question.LOADS]
    if row.gate in (Gate.RUN, Gate.KERNEL_CFG):
        return replace(row, causes=tuple(_failures(report, Question.RUNS, Question.READINESS)))
    also = "; it finds that memory integrity would refuse it too" if loads is Answer.NO else ""
    agrees, said = _by_trust(row, report)
    return replace(row, verdict=f"{said}{also}", agrees=agrees)


_UNTRUSTED = (Signed.NONE, Signed.DAMAGED, Signed.TEST, Signed.OTHER)


def _by_trust(row: Refusal, report: Report) -> tuple[bool | None, str]:
    """What the signatures of the file and the lists that were given say of another check."""
    trust = report.trust
    if row.gate is Gate.BLOCK_LIST and report.blocklisted is not None:
        named = report.blocklisted is Answer.YES
        verb = "names" if named else "does not name"
        return named, f"{_AGREES[named]}: the given block list {verb} it"
    if trust is None or row.gate not in (Gate.SIGNING, Gate.DRIVER_POLICY):
        return None, "it looks at the image and the code, not at this check"
    if row.gate is Gate.DRIVER_POLICY:
        passes = trust.driver_policy is DriverPolicy.PASSES
        refused = trust.driver_policy in (DriverPolicy.REFUSED, DriverPolicy.ALLOW_LISTED)
        agrees = False if passes else True if refused else None
        return agrees, f"{_AGREES[agrees]}: {trust.policy_reason}"
    untrusted = True if trust.signed in _UNTRUSTED else None
    return untrusted, f"{_AGREES[untrusted]}: {trust.reason}"


_AGREES: Mapping[bool | None, str] = {True: "agrees", False: "disagrees", None: "cannot tell"}


def _image(row: Refusal, report: Report, group: list[Seen]) -> Refusal:
    """The check that `loads` predicts: do Windows and hvci say the same?"""
    loads = report.answers[Question.LOADS]
    causes = tuple(_failures(report, Question.LOADS))
    by_rule = {result.rule: result.outcome for result in report.results}
    wanted = {gates().layouts[name] for name in row.layouts} - {""}
    wanted |= {rule for one in group if (rule := _RULE_OF_EVENT.get(one.sign.id))}
    missed = sorted(rule for rule in wanted if by_rule.get(rule) not in (Outcome.FAIL, None))
    if loads is Answer.NO and not missed:
        return replace(row, verdict="agrees: it does not load", agrees=True, causes=causes)
    if loads is Answer.NO:
        verdict = (
            f"agrees that it does not load, but not why: it finds nothing for {', '.join(missed)}"
        )
        return replace(row, verdict=verdict, agrees=False, causes=causes)
    if loads is Answer.YES:
        verdict = (
            "disagrees: it finds nothing in this image that memory integrity refuses; is it the "
            "same file? If so, please report it (--bundle)"
        )
        return replace(row, verdict=verdict, agrees=False)
    return replace(row, verdict="could not decide whether it loads", causes=causes)


_RULE_OF_EVENT: Mapping[int | str, str] = {3072: "section-alignment", 3073: "execute-write-section"}


def _failures(report: Report, *questions: Question) -> Iterator[str]:
    found = (
        finding
        for result in report.results
        if result.questions & set(questions)
        for finding in result.findings
        if finding.outcome is Outcome.FAIL
    )
    for _, finding in zip(range(MOST_CAUSES), found, strict=False):
        yield _line(finding)


def _line(finding: Finding) -> str:
    return f"{words.place(finding.site)}  {safe(finding.message, 1000)}"


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
