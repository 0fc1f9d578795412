"""Names the routines around the entry point: those of the C runtime, of KMDF, and DriverEntry.

The entry point of most drivers is no code of theirs: it sets the security cookie or binds the
framework and goes on to DriverEntry. That shape is followed from the entry point, within small
bounds; what tells the routines is data/libraries.toml. Where anything does not fit, nothing is
named. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple, TypeVar

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.libraries import users
from hvci.binary.form.code import Flow, Function
from hvci.catalog import Place, Routine
from hvci.model import BehaviourFact, DdiCall, Evidence, ImageSite, Limit, Machine

Fact = TypeVar("Fact", DdiCall, BehaviourFact, Limit)

MAX_STUB = 80
"""Instructions of an entry point that only leads elsewhere; real ones have 10 to 40."""
MAX_BYTES = 0xC0
"""Bytes that are decoded of it."""
MAX_COOKIE_CODE = 0x60
"""Bytes in which a routine that sets the cookie compares it with the default."""
_NEAR_JUMP = 5
"""Bytes of an x86 jump to another object file; compilers jump within a function in fewer."""
_COOKIE_64 = 0x2B992DDFA232.to_bytes(8, "little")
_COOKIES = {
    Machine.X64: (_COOKIE_64,),
    Machine.ARM64: (_COOKIE_64,),
    Machine.X86: (0xBB40E64E.to_bytes(4, "little"), 0xBB40.to_bytes(4, "little")),
}
"""The default cookie as an immediate, on ARM64 behind the code; 0xBB40 before Visual C++ 2005."""
_MOVK_MASK, _MOVK_COOKIE = 0xFFFF_FFE0, 0xF2C0_0000 | 0x2B99 << 5
"""`movk reg, #0x2b99, lsl #32` ends the building of the default cookie in ARM64 registers."""


class Stub(NamedTuple):
    """An entry point that leads elsewhere."""

    rvas: frozenset[int]
    """Its instructions."""
    targets: tuple[int, ...]
    """What it calls or jumps to, in order."""


def with_entry_names(analysis: Analysis, evidence: Evidence) -> Evidence:
    """The evidence with the names of the routines around the entry point at every place in them."""
    stub = find_stub(analysis)
    if stub is None or not _is_shown(stub, evidence):
        return evidence
    names = name_routines(analysis, stub)
    if not names:
        return evidence
    entry = analysis.image.headers.entry
    made_up = {f"sub_{start:x}": name for start, name in names.items()}

    def named(site: ImageSite) -> ImageSite:
        name = made_up.get(site.function or "")
        if site.function == "entry point" and site.rva in stub.rvas:
            name = names.get(entry)
        return replace(site, function=name) if name else site

    return replace(
        evidence,
        calls=_renamed(evidence.calls, named),
        behaviours=_renamed(evidence.behaviours, named),
        limits=_renamed(evidence.limits, named),
    )


def _is_shown(stub: Stub, evidence: Evidence) -> bool:
    """Whether any fact lies in the entry point or in what it leads to."""
    groups = (evidence.calls, evidence.behaviours, evidence.limits)
    sites = [fact.site for facts in groups for fact in facts]
    shown = {site.function for site in sites if isinstance(site, ImageSite)}
    return not shown.isdisjoint(("entry point", *(f"sub_{target:x}" for target in stub.targets)))


def _renamed(facts: tuple[Fact, ...], named: Callable[[ImageSite], ImageSite]) -> tuple[Fact, ...]:
    """The same facts; those in a routine that has a name now say so."""

    def renamed(fact: Fact) -> Fact:
        site = named(fact.site) if isinstance(fact.site, ImageSite) else None
        return fact if site is None or site is fact.site else replace(fact, site=site)

    return tuple(map(renamed, facts))


def name_routines(analysis: Analysis, stub: Stub) -> dict[int, str]:
    """Names by start RVA: of what the stub leads to, of the stub itself, of what is left over."""
    entry = int(analysis.image.headers.entry)
    rows = catalog.routines()
    using = _users(analysis, _asked())

    def first(start: int, place: Place, calls: frozenset[str]) -> Routine | None:
        """The first row that fits a routine; rows that need a caller are for what is left over."""
        cookie = holds_cookie(analysis, start, {entry, *stub.targets})
        used = frozenset(name for name, starts in using.items() if start in starts)
        for row in rows:
            fits = row.place is place and not row.called_by and row.calls <= calls
            if fits and (cookie or not row.cookie) and row.imports <= used:
                return row
        return None

    found = {target: first(target, Place.CALLED, frozenset()) for target in stub.targets}
    names = {target: row.name for target, row in found.items() if row is not None}
    own = first(entry, Place.ENTRY, frozenset(names.values()))
    if own is None:
        return {}
    unnamed = [target for target in stub.targets if target not in names]
    rest = next((row for row in rows if own.name in row.called_by), None)
    if rest is not None and len(unnamed) == 1:
        names[unnamed[0]] = rest.name
    return {entry: own.name, **names}


@cache
def _asked() -> frozenset[str]:
    """The imports that any row asks about."""
    return frozenset(name for row in catalog.routines() for name in row.imports)


def _users(analysis: Analysis, wanted: frozenset[str]) -> dict[str, frozenset[int]]:
    """The starts of the functions that call each import, directly or through its thunk."""
    found: dict[str, frozenset[int]] = {}
    for name in sorted(wanted & analysis.image.import_slots.keys()):
        functions = (analysis.functions.at(site) for site in users(analysis, name))
        found[name] = frozenset(function.start for function in functions if function)
    return found


def holds_cookie(analysis: Analysis, start: int, others: set[int]) -> bool:
    """Whether the code at a start, up to the next known one, holds the default security cookie."""
    ends = {start + MAX_COOKIE_CODE, *(other for other in others if other > start)}
    if analysis.image.bits == 64:
        ends |= {item.end for item in analysis.functions.unwind.find(start) if item.end > start}
    code = bytes(analysis.image.memory[start : min(ends)])
    if any(cookie in code for cookie in _COOKIES[analysis.image.machine]):
        return True
    if analysis.image.machine is not Machine.ARM64:
        return False
    words = (int.from_bytes(code[i : i + 4], "little") for i in range(0, len(code) - 3, 4))
    return any(word & _MOVK_MASK == _MOVK_COOKIE for word in words)


def find_stub(analysis: Analysis) -> Stub | None:
    """The entry point, when it is short, calls nothing but routines of the image and goes on."""
    entry = int(analysis.image.headers.entry)
    if not analysis.image.is_code(entry):
        return None
    function = analysis.functions.read(entry, min(entry + MAX_BYTES, analysis.image.size))
    seen: set[int] = set()
    targets: set[int] = set()
    first = function.find(entry)
    todo = [] if first is None else [first]
    while todo:
        i = todo.pop()
        if i in seen:
            continue
        seen.add(i)
        flow = function.flows[i]
        if flow in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP) or len(seen) > MAX_STUB:
            return None
        following = [i + 1] if function.falls_through(i) else []
        if flow in (Flow.CALL, Flow.JUMP, Flow.BRANCH):
            target = analysis.arch.direct_target(function, i)
            if flow == Flow.CALL or _leaves(analysis, function, i, target):
                targets.add(target)
            else:
                following.append(function.jumps[i])
        if any(each >= len(function.rvas) for each in following):
            return None
        todo += following
    return Stub(frozenset(function.rvas[i] for i in seen), tuple(sorted(targets)))


def _leaves(analysis: Analysis, function: Function, i: int, target: int) -> bool:
    """Whether a jump or branch leads out of the entry point."""
    if i not in function.jumps:
        return True
    if function.flows[i] != Flow.JUMP:
        return False
    if analysis.image.machine is Machine.ARM64:
        return any(item.start == target for item in analysis.functions.unwind.find(target))
    return function.end(i) - function.rvas[i] == _NEAR_JUMP
