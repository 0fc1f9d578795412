"""Calls of the kernel-mode driver framework, which go through its function table.

A client names the framework in a WDF_BIND_INFO and gets either a copy of the table in its own
image (up to 1.13) or a pointer to the framework's (1.15 and later).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from hvci.binary.analysis.ledger import Reference
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.x86.ahead import step_x86
from hvci.binary.calls.framework.accounts import TABLE, is_judged
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.form.code import IMAGE_BASE, Flow, Function, Load, Location
from hvci.binary.form.straight import Ahead, Held, look_ahead
from hvci.binary.pe.image import PeImage
from hvci.catalog.kmdf import kmdf_functions
from hvci.model import Machine

COMPONENT = "KmdfLibrary\0".encode("utf-16-le")
FIRST_POINTER_MINOR = 15
MAX_FUNCTIONS = 1024
MAX_VERSION = 100
LOAD = 0xF9400000
"""`ldr xt, [xn, #offset]` of ARM64; the offset counts eight bytes and stands from bit 10."""

ACCESS_MASK, ACCESS = 0x0A000000, 0x08000000
"""Loads and stores of ARM64."""


class Binding(NamedTuple):
    """What a client's WDF_BIND_INFO says."""

    version: str
    functions: int
    """Number of entries in the table."""
    table: int
    """RVA of the table, or of the pointer to it."""
    is_pointer: bool


def find_binding(analysis: Analysis) -> Binding | None:
    """The bind information of a KMDF client; None where there is none."""
    image = analysis.image
    for at in image.find(COMPONENT):
        for pointer in analysis.references.pointers_to(at):
            binding = _binding(image, pointer - image.pointer_size)
            if binding is not None:
                return binding
    return None


def _binding(image: PeImage, at: int) -> Binding | None:
    """Read a WDF_BIND_INFO; None when the fields make no sense."""
    step = image.pointer_size
    version = at + 2 * step
    major, minor, build, count = (image.u32(version + 4 * n) for n in range(4))
    table = image.pointer(version + 16) - image.base
    plausible = major == 1 and minor < MAX_VERSION and 0 < count <= MAX_FUNCTIONS
    if not plausible or not image.holds(table, step):
        return None
    return Binding(f"{major}.{minor}.{build}", count, table, minor >= FIRST_POINTER_MINOR)


class Uses(NamedTuple):
    """The calls of the framework that are plain to see, and functions that need the data flow."""

    calls: list[tuple[Function, int, str]]
    """(function, instruction index, name)."""
    others: list[Function]
    plain: list[tuple[int, int, str]]
    """(RVA, start of the function, name) of calls that needed no decoded function."""
    references: list[Reference]
    """Every place that names the table, or an entry of it that asks for memory."""


def uses(analysis: Analysis, binding: Binding) -> Uses:
    """Tell the data flow what the table holds, and find the calls that follow its loads."""
    known = analysis.flow.globals
    known.framework = kmdf_functions()[: binding.functions]
    step = analysis.image.pointer_size
    if binding.is_pointer:
        known.known[binding.table] = analysis.framework_table
        places = [(place, -1) for place in analysis.references.to_data(binding.table)]
    else:
        slots = {binding.table + step * n: step * n for n in range(binding.functions)}
        for slot, offset in slots.items():
            known.known[slot] = known.framework_routine(offset)
        places = [(place, slots[slot]) for place, slot in analysis.references.to_slots(slots)]
    analysis.flow.forget()  # what read the table before was answered without this
    found = Uses([], [], [], [])
    names = known.framework
    for place, offset in places:
        if offset <= 0 or is_judged(names[offset // step]):
            found.references.append(Reference(place, binding.table + max(offset, 0), TABLE))
    if analysis.image.machine is Machine.ARM64:
        _uses_arm64(analysis, binding, places, found)
        return found
    for place, offset in places:
        used = Reference(place, binding.table + max(offset, 0), TABLE)
        at = analysis.functions.instruction_at(place)
        if at is not None:
            _use(analysis, *at, offset, found, used)
    return found


def _uses_arm64(
    analysis: Analysis, binding: Binding, places: list[tuple[int, int]], found: Uses
) -> None:
    """The same for ARM64, where most calls are plain words, and an address takes two of them."""
    from hvci.binary.calls.framework.words import loads_at, plain_call

    names = analysis.flow.globals.framework
    starts: set[int] = set()
    gaps: dict[int, tuple[Function, set[int]]] = {}
    for place, offset in places:
        used = Reference(place, binding.table + max(offset, 0), TABLE)
        call = plain_call(analysis, place) if binding.is_pointer else None
        if call is not None and not call.offset % 8 and call.offset // 8 < len(names):
            starts.add(call.start)
            found.plain.append((call.rva, call.start, names[call.offset // 8]))
            analysis.ledger.call(used, call.rva)
            if call.is_sure:
                analysis.table_loads[call.rva] = place, binding.table
            continue
        at = analysis.functions.instruction_at(place)
        if at is None:
            continue
        function, i = at
        _use(analysis, function, i, offset, found, used)
        if not binding.is_pointer:  # one base address serves many entries
            found.others.append(function)
        elif function.kind == "gap":
            gaps.setdefault(function.start, (function, set()))[1].add(i)
        else:
            starts.add(function.start)
    if not binding.is_pointer:
        return
    for function, seen in gaps.values():
        for i in _far_loads(analysis, function, binding.table, seen):
            _use(analysis, function, i, -1, found)
    for start, rva in loads_at(analysis, binding.table, (place for place, _ in places)):
        at = analysis.functions.instruction_at(rva) if start in starts else None
        if at is not None and _loads_table(analysis, *at, binding.table):
            _use(analysis, *at, -1, found)


def _use(
    analysis: Analysis,
    function: Function,
    i: int,
    offset: int,
    found: Uses,
    used: Reference | None = None,
) -> None:
    """Add the calls that follow one instruction, and sign for the reference that it is."""
    names = analysis.flow.globals.framework
    step = analysis.image.pointer_size
    ahead = _ahead(analysis, function, i, offset)
    entries = [(k, *divmod(at, step)) for k, at in ahead.calls]
    sure = [(k, n) for k, n, rest in entries if not rest and n < len(names)]
    found.calls.extend((function, k, names[n]) for k, n in sure)
    if not ahead.plain or len(sure) != len(entries):
        found.others.append(function)
    elif used is not None:
        for k, _ in sure:
            analysis.ledger.call(used, function.rvas[k])


def _far_loads(analysis: Analysis, function: Function, table: int, seen: set[int]) -> Iterator[int]:
    """Loads of the table whose page address was made too far away for the scan."""
    wanted = LOAD | (table & 0xFFF) >> 3 << 10
    for i, word in enumerate(function.instructions):
        is_load = word & 0xFFFF_FC00 == wanted and i not in seen
        if is_load and _loads_table(analysis, function, i, table):
            yield i


def _loads_table(analysis: Analysis, function: Function, i: int, table: int) -> bool:
    """Whether the base of a load is the page of the table."""
    analysis.flow.begin()
    held = analysis.flow.value(function, i, Location(function.instructions[i] >> 5 & 31))
    return Atom(Kind.ADDRESS, table & ~0xFFF) in held


def _ahead(analysis: Analysis, function: Function, i: int, offset: int) -> Ahead:
    """What follows an instruction that names the table, or the entry at an offset of it."""
    if offset >= 0 and function.flows[i] != Flow.NEXT:
        return Ahead([(i, offset)] if _calls_entry(analysis, function, i, offset) else [])
    written = analysis.arch.effect(function, i).registers
    if written.bit_count() != 1 or not _is_load(analysis, function, i, written.bit_length() - 1):
        return Ahead(plain=False)
    register = written.bit_length() - 1
    held = Held(routines={register: offset}) if offset >= 0 else Held(tables={register})
    if analysis.image.machine is Machine.ARM64:
        from hvci.binary.arch.arm64.steps import take  # costs start-up time where it is not needed

        return look_ahead(function, i, held, take)
    return look_ahead(function, i, held, partial(step_x86, dispatch=analysis.image.guard_dispatch))


def _calls_entry(analysis: Analysis, function: Function, i: int, offset: int) -> bool:
    """Whether an instruction calls or jumps through a table entry, and not its bytes by chance."""
    if function.flows[i] not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
        return False
    operand = analysis.arch.indirect_operand(function, i)
    if not isinstance(operand, Load) or operand.memory.base != IMAGE_BASE:
        return False
    known = analysis.flow.globals
    return known.known.get(operand.memory.displacement) == known.framework_routine(offset)


def _is_load(analysis: Analysis, function: Function, i: int, register: int) -> bool:
    """Whether an instruction loads what lies at the place it names, not the address of it."""
    if analysis.image.machine is Machine.ARM64:
        word = function.instructions[i]
        if word & 0xFFC00000 == LOAD or word & ACCESS_MASK != ACCESS:
            return bool(word & 0xFFC00000 == LOAD)
    return isinstance(analysis.arch.define(function, i, register), Load)
