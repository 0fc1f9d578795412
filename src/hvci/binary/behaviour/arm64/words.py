"""Cheap tests on ARM64 words that decide whether a place is worth decoding a function for.

The counterpart of nearby.py, and of the scan in processor.py: an instruction is one word, so a mask
finds it. A place that passes is decoded and judged by the data flow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.scene import Scene
from hvci.binary.pe.sets import among
from hvci.model import Behaviour, Confidence

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64
    from hvci.binary.behaviour.arm64.fieldwords import FieldWords
    from hvci.binary.behaviour.arm64.near import Nearby
    from hvci.binary.behaviour.called.fieldbytes import Fields

Words = npt.NDArray[np.uint32]
Rvas = npt.NDArray[np.int64]
WINDOW = 24
"""Words behind an address in which a store through it, or a copy, is looked for."""
MAX_MATCHES = 64
_FP = 29
"""The frame pointer; the stack pointer has a higher number."""
PAIR_WINDOW = 4
"""Words between an ADRP and its ADD."""
CALLED_SOON = 16
"""Words behind such a pair in which the call is looked for that gets the address."""
DESTINATIONS = 3
"""How many of the first arguments may be where a callee writes."""
PARAMETERS = 8
"""Registers with arguments."""
LOADED_WITHIN = 9
"""Words from a call back to what may load its register from a variable, and one."""
MADE_WITHIN = 64
"""The same of what makes an address in the frame."""
_GUARDED = (
    "memory integrity itself does not forbid it; PatchGuard and, where virtualization-based "
    "security runs, HyperGuard stop the machine for a value that is not the system's own"
)
_REGISTERS = {0xD518_1000: "SCTLR_EL1, the system control register", 0xD518_C000: "VBAR_EL1, the "
              "exception vector table"}  # fmt: skip


def processor_state(scene: Scene) -> None:
    """Writes to the system control register and the vector table."""
    words, rvas = _code(scene)
    fields = words & 0xFFFF_FFE0
    for pattern, name in _REGISTERS.items():
        for rva in rvas[fields == pattern].tolist():
            found = scene.analysis.functions.instruction_at(rva)
            if found is not None:
                scene.add(
                    "writes-executable-memory",
                    Behaviour.PROCESSOR_STATE,
                    f"writes {name}",
                    found,
                    Confidence.PROVEN,
                    _GUARDED,
                )


def code_addresses(scene: Scene, copies: frozenset[int]) -> list[int]:
    """RVAs of instructions that complete an address of code, where a store or copy follows."""
    references = _references(scene)
    words, (targets, pages) = references.words, references.adrps
    pages = np.sort(pages[references.in_code(targets)])
    pages = pages[pages + PAIR_WINDOW < len(words)]
    after = words[pages + np.arange(1, PAIR_WINDOW + 1)[:, None]]
    adds = ((after & 0xFF80_0000) == 0x9100_0000) & ((after >> 5 & 31) == (words[pages] & 31))
    steps, rows = adds.nonzero()
    places = np.concatenate((pages, pages[rows] + steps + 1))
    is_whole = np.arange(len(places)) >= len(pages)
    return _section_order(scene, _kept(scene, places, is_whole, copies, anywhere=False))


Handed = tuple[int, int, int, int]
"""(RVA, register, RVA of the direct call or jump, its target) of an address right before one."""


def handed(scene: Scene) -> Iterator[Handed]:
    """Addresses of code that are completed, and imports that are loaded, right before a call."""
    references = _references(scene)
    words, (targets, pages) = references.words, references.adrps
    pages = np.sort(pages[references.in_code(targets)])
    last = len(words) - 1
    after = words[np.minimum(pages + np.arange(1, PAIR_WINDOW + 1)[:, None], last)]
    adds = (after & 0xFF80_0000) == 0x9100_0000
    adds &= ((after >> 5 & 31) == (words[pages] & 31)) & ((after & 31) < PARAMETERS)
    steps, rows = adds.nonzero()
    imports = np.array(scene.analysis.import_places, np.int64)
    made = np.minimum(pages[rows] + steps + 1, last)
    return _called_soon(scene, np.concatenate((made, _loads_among(scene, imports))))


def loaded(scene: Scene, places: Rvas) -> Iterator[Handed]:
    """What is loaded by the instructions at some RVAs right before a call."""
    return _called_soon(scene, _loads_among(scene, places))


def _loads_among(scene: Scene, places: Rvas) -> Rvas:
    """The words, by their index, that load an argument from a variable."""
    words, rvas = _code(scene)
    at = rvas.searchsorted(places)
    at = at[at < len(words)]
    found = (words[at] & 0xFFC0_0000 == 0xF940_0000) & (words[at] & 31 < PARAMETERS)
    return np.asarray(at[found])


def _called_soon(scene: Scene, made: Rvas) -> Iterator[Handed]:
    """The words, by their index, that have a direct call behind them."""
    from hvci.binary.arch.arm64.words import branch_target

    words, rvas = _code(scene)
    behind = np.minimum(made[:, None] + np.arange(1, CALLED_SOON), len(words) - 1)
    calls = words[behind] & 0x7C00_0000 == 0x1400_0000
    has_call = calls.any(axis=1)
    places = behind[has_call, calls[has_call].argmax(axis=1)].tolist()
    for at, place in sorted(zip(made[has_call].tolist(), places, strict=True)):
        call = int(rvas[place])
        yield int(rvas[at]), int(words[at]) & 31, call, branch_target(int(words[place]), call)


def handing(scene: Scene, rows: Iterable[tuple[int, int, int, int]]) -> Iterator[int]:
    """RVAs of calls of own functions that get an address of code early, and may write there."""
    thunks, near, seen = scene.flow.interprocedural.thunks, _nearby(scene), set[int]()
    writers: dict[tuple[int, int], bool] = {}
    early = (row for row in rows if row[1] < DESTINATIONS)
    for _, register, call, target in sorted(early, key=lambda row: (row[2], row[1])):
        key = target, register
        if key not in writers:
            is_own = scene.image.is_code(target) and target not in thunks
            writers[key] = is_own and near.writes_argument(target, register)
        if writers[key] and call not in seen:
            seen.add(call)
            yield call


def loads(scene: Scene, places: set[int], copies: frozenset[int]) -> list[int]:
    """Those of the loads of a variable that a store through the loaded register follows."""
    wanted = np.array(sorted(places), np.int64)
    words, rvas = _code(scene)
    at = rvas.searchsorted(wanted)
    at = at[at < len(words)]
    at = at[among(rvas[at], wanted)]
    soon = words[np.minimum(at[:, None] + np.arange(1, 4), len(words) - 1)]
    is_called = soon & 0xFFDF_FFFF == (0xD61F_0000 | (words[at] & 31) << 5)[:, None]
    at = at[~is_called.any(axis=1)]
    return written_through(scene, at, copies)


def written_through(scene: Scene, at: Rvas, copies: frozenset[int]) -> list[int]:
    """RVAs of those words, by their index, through whose register a store or copy goes soon."""
    return _kept(scene, at, np.ones(len(at), bool), copies, anywhere=True)


def stored_soon(scene: Scene, at: Rvas, copies: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Which words, by their index, have a store or copy behind them that may go through theirs."""
    return _kept_soon(scene, at, np.ones(len(at), bool), copies, anywhere=True)


def code_pages(scene: Scene) -> Rvas:
    """RVAs of instructions that make the page of an address of code, sorted."""
    references = _references(scene)
    targets, pages = references.adrps
    return np.sort(references.rvas[pages[references.in_code(targets)]])


def are_loads(scene: Scene, places: Rvas) -> npt.NDArray[np.bool_]:
    """Which words, by RVA, load 64 bits into a register."""
    return np.asarray(_words_at(scene, places) & 0xFFC0_0000 == 0xF940_0000)


def are_stores(scene: Scene, places: Rvas) -> npt.NDArray[np.bool_]:
    """Which words, by RVA, store a register of 64 bits."""
    return np.asarray(_words_at(scene, places) & 0xFFC0_0000 == 0xF900_0000)


def _words_at(scene: Scene, places: Rvas) -> Words:
    words, rvas = _code(scene)
    at = np.minimum(rvas.searchsorted(places), len(rvas) - 1)
    return np.where(rvas[at] == places, words[at], np.uint32(0))


def may_be_written(scene: Scene, place: int) -> bool:
    """Whether anything may be written through the address that the word at an RVA makes."""
    return _nearby(scene).may_be_written(place, scene.copy_sites)


def indirect(scene: Scene, around: Around) -> list[int]:
    """RVAs of the calls and jumps through a register that may go to memory, sorted.

    The usual ones go through what was just loaded from an import or from a field of a structure.
    """
    words, rvas = _code(scene)
    places = ((words & 0xFFDF_FC1F) == 0xD61F_0000).nonzero()[0]
    calls = rvas[places]
    loads = np.array(scene.analysis.import_places, np.int64)
    others = ~among(calls - 4, loads) & ~among(calls - 8, loads)
    places, calls = places[others], calls[others]
    chosen = around.hold(calls) | _through_variables(words, places)
    wanted, nearby = places[chosen], _nearby(scene, around)
    found: list[int] = rvas[wanted[~nearby.are_method_calls(wanted)]].tolist()
    is_usual = nearby.is_method_call
    return [place for place in found if not is_usual(place) and not _is_known(scene, place)]


def _through_variables(words: Words, places: Rvas) -> npt.NDArray[np.bool_]:
    """Which calls have their register loaded from a variable, or get an address, right before."""
    registers = (words[places] >> 5 & 31)[:, None]
    behind = words[np.maximum(places[:, None] - np.arange(1, LOADED_WITHIN), 0)]
    is_named = behind & 31 == registers
    is_load = is_named & (behind & 0xFFC0_0000 == 0xF940_0000)
    base = behind >> 5 & 31
    in_frame = is_load & (base >= _FP)
    bases = base[np.arange(len(places)), is_load.argmax(axis=1)][:, None]
    from_page = is_load.any(axis=1) & ((behind & 0x9F00_001F) == (0x9000_0000 | bases)).any(axis=1)
    is_sum = is_named & (behind & 0xFF80_0000 == 0x9100_0000)
    far = words[np.maximum(places[:, None] - np.arange(1, MADE_WITHIN), 0)]
    is_frame = far & 0xFFC0_03FF == (0x9100_03E0 | registers)
    found = in_frame.any(axis=1) | from_page | is_sum.any(axis=1) | is_frame.any(axis=1)
    return np.asarray(found)


def matching(scene: Scene, mask: int, pattern: int) -> set[int]:
    """Starts of the functions that hold a word of a pattern."""
    found = set()
    words, rvas = _code(scene)
    hits = rvas[(words & mask) == pattern]
    for start, end in scene.image.code_ranges if len(hits) else ():
        for rva in hits[(hits >= start) & (hits < end)].tolist()[:MAX_MATCHES]:
            function = scene.analysis.functions.at(rva)
            if function is not None:
                found.add(function.start)
    return found


def _is_known(scene: Scene, place: int) -> bool:
    """Whether the call at an RVA surely goes to a routine of others."""
    from hvci.binary.calls.framework.words import surely_loads

    if place in scene.analysis.known_calls:
        return True
    load = scene.analysis.table_loads.get(place)
    return load is not None and surely_loads(scene.analysis, *load)


def _copied_soon(rvas: Rvas, copies: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Which instructions have a call of a copy behind them."""
    if not copies:
        return np.zeros(len(rvas), bool)
    calls = np.array(sorted(copies), np.int64)
    following = calls.searchsorted(rvas)
    distance = calls[np.minimum(following, len(calls) - 1)] - rvas
    return np.asarray((distance > 0) & (distance < 4 * WINDOW))


def _kept(
    scene: Scene,
    places: Rvas,
    is_passed: npt.NDArray[np.bool_],
    copies: frozenset[int],
    anywhere: bool,
) -> list[int]:
    """RVAs of the instructions behind which their register is stored through, or a copy called.

    The instructions are given by the index of their word; `is_passed` says where the copy counts.
    Of a register that is loaded from a variable it counts `anywhere` that it is stored.
    """
    kept, rvas = _kept_soon(scene, places, is_passed, copies, anywhere), _code(scene)[1]
    near = _nearby(scene)
    return [rva for rva in rvas[places[kept]].tolist() if near.is_kept(rva, copies, anywhere)]


def _kept_soon(
    scene: Scene,
    places: Rvas,
    is_passed: npt.NDArray[np.bool_],
    copies: frozenset[int],
    anywhere: bool,
) -> npt.NDArray[np.bool_]:
    """Which instructions have right behind them what may be such."""
    words, rvas = _code(scene)
    is_copied = _copied_soon(rvas[places], copies)
    behind = words[np.minimum(places[:, None] + np.arange(1, WINDOW), len(words) - 1)]
    return _are_stored_through(words[places], behind, anywhere) | is_copied & is_passed


def _are_stored_through(made: Words, behind: Words, anywhere: bool) -> npt.NDArray[np.bool_]:
    """Behind which words a store goes through their register, or `anywhere` but to the frame.

    One row each, with a column for each word behind.
    """
    base = behind >> 5 & 31
    through = base == (made & 31)[:, None]
    if anywhere:
        through |= base < _FP
    single, pair = behind & 0x3A400000 == 0x38000000, behind & 0x3A400000 == 0x28000000
    return np.asarray(((single | pair) & through).any(axis=1))


def _code(scene: Scene) -> tuple[Words, Rvas]:
    """The words of all executable sections with their RVAs."""
    references = _references(scene)
    return references.words, references.rvas


# The parts for ARM64 are imported where an ARM64 image is looked at: they cost start-up time.


def _references(scene: Scene) -> ReferencesArm64:
    return cast("ReferencesArm64", scene.analysis.references)


def object_loads(scene: Scene) -> Fields:
    """The loads of a pointer from a field into a register."""
    from hvci.binary.behaviour.arm64 import fieldwords

    return fieldwords.object_loads(scene)


def fields(scene: Scene, around: Around) -> FieldWords:
    """The fields of an ARM64 image."""
    from hvci.binary.behaviour.arm64.fieldwords import FieldWords

    return FieldWords(scene, around)


def _nearby(scene: Scene, around: Around | None = None) -> Nearby:
    from hvci.binary.behaviour.arm64.near import Nearby

    return Nearby(scene, around)


def _section_order(scene: Scene, places: list[int]) -> list[int]:
    """Places section by section, and in the given order within each."""
    starts = [start for start, _ in scene.image.code_ranges]
    return sorted(places, key=lambda place: bisect_right(starts, place))
