"""Code of the image that lies where nothing executes: calls and jumps to it, and its routines.

A section without the execute right is data with memory integrity on and without, whatever its name
and the linker say of it. Looks at direct branches, at the entry point, and at functions that the
exception data places in such a section.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from hvci.binary.behaviour.scene import Scene
from hvci.binary.calls.imports.addresses import KeptAddresses
from hvci.binary.form.code import CALLS, Flow, Function, any_of
from hvci.model import Behaviour, BehaviourFact, Confidence, Limit, Machine, Origin, Section
from hvci.model.judged import CODE_RULES

RULE = "dynamic-code"
MAX_ROUTINES = 64
"""Functions in sections without the execute right that are asked who leads to them."""
_BRANCHES = frozenset((Flow.CALL, Flow.JUMP, Flow.BRANCH))
_DIRECT_CALL = any_of(Flow.CALL)
_PREFIXES = b"\x2e\x36\x3e\x26\x64\x65\x66\x67\xf2\xf3" + bytes(range(0x40, 0x50))
"""First bytes of x86 instructions before the opcode."""
_OPCODES = (b"\xe8", b"\xe9", *(bytes((0x0F, opcode)) for opcode in range(0x80, 0x90)))
"""Of direct calls, jumps, and branches on a condition."""


def find(scene: Scene) -> None:
    """Add what runs, or is handed on to be run, and is not executable."""
    seen: set[str] = set()
    _entry(scene, seen)
    for place, target in scene.analysis.references.strays():
        if not _may_start(scene, place):
            continue
        found = scene.analysis.functions.instruction_at(place)
        if found is not None and _leads_to(scene, *found, target) and _runs(scene, *found):
            _branch(scene, *found, target, seen)
    _routines(scene, seen)
    for function, i, target in _outside(scene):
        if not _runs(scene, function, i):
            continue
        verb = "calls" if function.flows[i] in CALLS else "jumps to"
        what = f"{verb} an address outside the image, {target & 0xFFFFFFFF:#x} from its start"
        scene.add(RULE, Behaviour.NOT_EXECUTABLE, what, (function, i), Confidence.LIKELY)


def _may_start(scene: Scene, place: int) -> bool:
    """Whether an instruction with a displacement at an RVA may be a branch, by where it starts."""
    if scene.image.machine is Machine.ARM64:
        return True
    start = scene.analysis.functions.likely_boundary(place)
    if start is None:
        return True
    opening = bytes(scene.image.memory[start:place]).lstrip(_PREFIXES)
    return opening in _OPCODES


def _leads_to(scene: Scene, function: Function, i: int, target: int) -> bool:
    """Whether an instruction is a direct call, jump or branch to an RVA."""
    is_branch = function.flows[i] in _BRANCHES
    return is_branch and scene.arch.direct_target(function, i) == target


def _runs(scene: Scene, function: Function, i: int) -> bool:
    """Whether bytes are likely code that runs: data among code looks like branches as well."""
    return scene.reach(function, i) is not Confidence.POSSIBLE


def _entry(scene: Scene, seen: set[str]) -> None:
    """The entry point."""
    rva = int(scene.image.headers.entry)
    section = scene.image.section_at(rva)
    if rva and section is not None and not section.executable:
        what = f"the entry point lies in section {section.name}, which is not executable"
        scene.facts[RULE, rva, what] = BehaviourFact(
            RULE,
            what,
            scene.analysis.site(rva),
            Origin.CALLSITE,
            Confidence.PROVEN,
            kind=Behaviour.NOT_EXECUTABLE,
        )
        _unexamined(scene, section, rva, seen)


def _branch(scene: Scene, function: Function, i: int, target: int, seen: set[str]) -> None:
    """A direct call or jump that leads to no code."""
    section = scene.image.section_at(target)
    verb = "calls" if function.flows[i] in CALLS else "jumps to"
    if section is None or section.executable:
        if section is not None and not section.raw_size:
            return  # the image is packed, which is a limit of its own
        where = "bytes that the file does not hold" if section else "no section"
        reason = f"{verb} {target:#x}, where the file holds no code"
        site = scene.analysis.site(function.rvas[i], function)
        scene.limits.append(Limit(Origin.CALLSITE, CODE_RULES, f"{reason}: {where}", site))
        return
    what = f"{verb} {target:#x} in section {section.name}, which is not executable"
    scene.add(RULE, Behaviour.NOT_EXECUTABLE, what, (function, i), Confidence.PROVEN)
    _unexamined(scene, section, target, seen)


def _routines(scene: Scene, seen: set[str]) -> None:
    """Functions of the exception data in such a section whose address is taken."""
    starts = scene.analysis.functions.unwind.starts if scene.image.bits == 64 else []
    looked_at = 0
    for section in scene.image.sections:
        first, last = (bisect_left(starts, at) for at in (section.rva, section.end))
        if section.executable or first == last:
            continue
        _unexamined(scene, section, starts[first], seen)
        for start in starts[first : min(last, first + MAX_ROUTINES - looked_at)]:
            looked_at += 1
            _taken(scene, start, section)


def _taken(scene: Scene, start: int, section: Section) -> None:
    """A routine that an instruction or a pointer names, or an export."""
    what = f"a routine at {start:#x} in section {section.name}, which is not executable"
    for place in scene.analysis.references.to_data(start):
        found = scene.analysis.functions.instruction_at(place)
        if found is None or found[0].flows[found[1]] in _BRANCHES:
            continue
        if KeptAddresses(scene.analysis).is_made(*found, start):
            what_for = f"hands on the address of {what}"
            scene.add(RULE, Behaviour.NOT_EXECUTABLE, what_for, found, Confidence.LIKELY)
    pointers = scene.analysis.references.pointers_to(start)
    exported = [start] if start in scene.image.exports else []
    for at in (*pointers[:1], *exported):
        verb = "exports" if at == start else "keeps a pointer to"
        told = f"{verb} {what}"
        scene.facts[RULE, at, told] = BehaviourFact(
            RULE,
            told,
            scene.analysis.site(at),
            Origin.CALLSITE,
            Confidence.LIKELY,
            kind=Behaviour.NOT_EXECUTABLE,
        )


def _unexamined(scene: Scene, section: Section, rva: int, seen: set[str]) -> None:
    """Say, once for a section, that what its code does is not known."""
    if section.name not in seen:
        seen.add(section.name)
        reason = f"code in section {section.name}, which is not executable, was not examined"
        site = scene.analysis.site(rva)
        scene.limits.append(Limit(Origin.CALLSITE, CODE_RULES, reason, site))


def _outside(scene: Scene) -> Iterator[tuple[Function, int, int]]:
    """Direct calls and jumps that leave the image, of functions in which no table lies."""
    size, arch = scene.image.size, scene.arch
    functions = [each for each in scene.analysis.functions.decoded() if each.kind == "unwind"]
    for function in scene.analysis.references.leaving(functions):
        if function.indirect_jumps:
            continue
        targets = [(i, target) for i, target in function.targets.items() if target >= size]
        calls = ((i, arch.direct_target(function, i)) for i in function.where(_DIRECT_CALL))
        targets += [(i, target) for i, target in calls if not 0 <= target < size]
        yield from ((function, i, target) for i, target in targets)
