"""Where code refers to what: one vectorised scan instead of a disassembly.

Candidates only: whoever asks decodes the instruction around a hit and checks it. Here is what all
architectures share; the architectures know the encodings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hvci.binary.form.code import Function
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import distinct, order_of

Rvas = npt.NDArray[np.int64]
NO_RVAS = np.empty(0, np.int64)
MAX_HITS = 1 << 17
"""Operands that name import slots; real drivers have some thousand for each MB."""
MAX_SCANS = 4
"""Questions for one address that are answered by a scan; then an index is worth its cost."""


class References(ABC):
    """References from the code of one image."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self._asked_names = 0

    @abstractmethod
    def to_slots(self, slots: Iterable[int]) -> list[tuple[int, int]]:
        """(RVA inside the instruction, slot) of every candidate that names a slot exactly.

        No more than `MAX_HITS` and one.
        """

    @abstractmethod
    def to_data(self, rva: int, count: int = 1) -> list[int]:
        """RVAs inside every candidate instruction that names one of some RVAs in a row."""

    @abstractmethod
    def naming(self, low: int, high: int) -> tuple[Rvas, Rvas]:
        """(target, RVA inside the instruction) of every candidate that names one of many RVAs."""

    def to_executable(self) -> Rvas:
        """RVAs inside every candidate instruction that names an executable section."""
        return NO_RVAS

    @property
    def operand_targets(self) -> Rvas:
        """Every RVA that an operand names, sorted; where pointers tell where functions start."""
        return NO_RVAS

    @property
    def taken(self) -> Rvas:
        """Every RVA of which LEA on x64, or ADR on ARM64, makes the address; sorted."""
        return NO_RVAS

    @property
    def jump_tables(self) -> tuple[Rvas, Rvas]:
        """(first RVA, RVA before which it ends) of tables of addresses that code jumps by.

        Sorted; only where pointers tell where functions start.
        """
        return NO_RVAS, NO_RVAS

    def named_tables(self, wanted: Rvas) -> tuple[Rvas, Rvas, Rvas]:
        """(first RVA, end, operand) of what may be such tables; sorted, some more than once."""
        return NO_RVAS, NO_RVAS, NO_RVAS

    def only_reads(self, place: int) -> bool:
        """Whether what an operand at an RVA names is certainly read and nothing else."""
        return False

    def may_make(self, place: int) -> bool:
        """Whether the candidate at a place may make an address, and not only use memory there."""
        return not self.only_reads(place)

    def may_take(self, place: int, rva: int) -> bool:
        """Whether the candidate at a place may put the address of an RVA somewhere."""
        return self.may_make(place)

    @abstractmethod
    def takes_address(self, rva: int) -> bool:
        """Whether a pointer in data or an instruction makes the address of an RVA."""

    @cached_property
    def named(self) -> dict[int, list[int]]:
        """RVAs in all instructions that put an address of code into a register, by that address.

        Only where a call through such a register may follow.
        """
        return {}

    @abstractmethod
    def thunk(self, place: int) -> int | None:
        """Start of the import thunk whose reference to its slot is at an RVA."""

    def thunks(self, places: Sequence[int]) -> dict[int, int]:
        """The starts of the import thunks among references to slots, by their RVAs."""
        found = ((place, self.thunk(place)) for place in places)
        return {place: start for place, start in found if start is not None}

    @abstractmethod
    def jumps_on(self, rva: int) -> bool:
        """Whether the bytes at an RVA are an indirect jump."""

    @abstractmethod
    def method_loads(self, displacement: int) -> list[int]:
        """RVAs in candidate instructions that load, call or jump through a pointer so far in.

        Loads that no call can follow may be left out; `may_be_called` tells more.
        """

    def may_be_called(self, place: int) -> bool:
        """Whether a call may follow the load of a pointer, for a place that `method_loads` gave."""
        return True

    @abstractmethod
    def field_loads(self, offset: int) -> Rvas:
        """RVAs in candidates that load 32 bits so far behind a register, sorted; 4, 8 ... 252."""

    @abstractmethod
    def constants(self, value: int) -> list[int]:
        """RVAs in candidate instructions that hold a 32-bit constant, in order."""

    def call_starts(self, place: int) -> tuple[int, ...]:
        """Where a call or jump through the operand at an RVA can begin, by its bytes."""
        return ()

    @property
    def import_branches(self) -> Rvas:
        """RVAs of calls and jumps through an operand that a relocation proves, sorted."""
        return NO_RVAS

    @abstractmethod
    def find_branches(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every candidate direct call and jump, in any order."""

    def strays(self) -> list[tuple[int, int]]:
        """(RVA in the instruction, target) of direct branches into the image, but to no code."""
        return []

    def leaving(self, functions: list[Function]) -> list[Function]:
        """Those of some decoded functions that may call or jump out of the image directly."""
        return functions

    @abstractmethod
    def are_calls(self, sites: Rvas) -> npt.NDArray[np.bool_]:
        """Which of the sites of direct calls and jumps are calls."""

    def in_code(self, rvas: Rvas) -> npt.NDArray[np.bool_]:
        """Which RVAs lie in executable sections."""
        ranges = self.image.code_ranges
        if len(ranges) == 1:
            ((start, end),) = ranges
            return np.asarray((rvas >= start) & (rvas < end))
        return np.asarray(self._edges.searchsorted(rvas, "right") & 1, bool)

    @cached_property
    def _edges(self) -> Rvas:
        """Where executable sections start and end, in order."""
        return np.array(self.image.code_ranges, np.int64).ravel()

    # ---- direct calls and jumps

    @cached_property
    def branches(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every candidate direct call and jump, sorted by target."""
        targets, sites = self.find_branches()
        order = order_of(targets)
        return targets[order], sites[order]

    def to_code(self, rva: int) -> list[int]:
        """RVAs of every candidate direct call and jump to an RVA."""
        targets, sites = self.branches
        low, high = targets.searchsorted((rva, rva + 1))
        return [int(site) for site in sites[low:high]]

    def short_branches(self, rva: int) -> list[int]:
        """RVAs of candidate jumps to an RVA that `to_code` leaves out."""
        return []

    @property
    def short_jumps(self) -> tuple[Rvas, Rvas]:
        """(target, site) of candidate jumps to code that `branches` leaves out, in any order."""
        return NO_RVAS, NO_RVAS

    def has_several(self, rvas: Rvas) -> npt.NDArray[np.bool_]:
        """Which RVAs more than one candidate direct call or jump leads to."""
        targets = self.branches[0]
        counts = targets.searchsorted(rvas + 1) - targets.searchsorted(rvas)
        return np.asarray(counts > 1)

    @cached_property
    def branch_targets(self) -> Rvas:
        """Every RVA that a candidate direct call or jump leads to, sorted, each once."""
        return distinct(self.branches[0])

    @cached_property
    def call_targets(self) -> Rvas:
        """Every RVA that a candidate direct call leads to, sorted, each once."""
        targets, sites = self.branches
        return distinct(targets[self.are_calls(sites)])

    @property
    def jumps(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every candidate direct jump, sorted by target."""
        targets, sites = self.branches
        chosen = ~self.are_calls(sites)
        return targets[chosen], sites[chosen]

    # ---- pointers

    @cached_property
    def pointers(self) -> tuple[Rvas, Rvas]:
        """(target RVA, RVA of the pointer) of every relocated pointer, sorted by target."""
        image = self.image
        rvas = image.relocations.rvas
        rvas = rvas[(rvas >= 0) & (rvas + image.pointer_size <= image.size)]
        kind = "<u8" if image.bits == 64 else "<u4"
        count = image.size - image.pointer_size + 1
        words = np.ndarray((count,), kind, image.memory, 0, (1,))[rvas]
        targets = (words - np.array(image.base, words.dtype)).astype(np.int64)
        order = np.argsort(targets, kind="stable")
        return targets[order], rvas[order]

    def is_named(self, rva: int) -> bool:
        """Whether any four bytes of the image are an RVA of code.

        The first questions are answered by a scan, and later ones from an index.
        """
        self._asked_names += 1
        if self._asked_names <= MAX_SCANS:
            return self.image.memory.find(rva.to_bytes(4, "little")) >= 0
        i = int(self._named_code.searchsorted(rva))
        return i < len(self._named_code) and int(self._named_code[i]) == rva

    @cached_property
    def _named_code(self) -> npt.NDArray[np.uint32]:
        """Every RVA of code that four bytes of the image are, sorted."""
        words = np.ndarray((max(self.image.size - 3, 0),), "<u4", self.image.memory, 0, (1,))
        spans = self.image.code_ranges
        found = [words[(words >= start) & (words < end)] for start, end in spans]
        return distinct(np.concatenate(found)) if found else np.empty(0, np.uint32)

    def pointers_to(self, rva: int) -> list[int]:
        """RVAs of the relocated pointers to an RVA."""
        targets, places = self.pointers
        low, high = targets.searchsorted((rva, rva + 1))
        return [int(place) for place in places[low:high]]
