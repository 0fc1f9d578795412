"""Lays objects out as a linker does, so that their code is analysed as an image's is.

Theory of operation: sections of a kind stand behind each other, names that nobody defines are
imports of the kernel, public functions are exports, so that nothing is assumed of their callers.
The result is an image in memory that nobody loads. Knows objects; analyses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hvci.binary.objects import relocate
from hvci.binary.objects.coff import ASSOCIATIVE, COMDAT, WEAK, Object, Part, Symbol
from hvci.binary.objects.image import Bucket, write
from hvci.errors import InputError

BASE = 0x1_8000_0000
BASE_X86 = 0x40_0000
MAX_BYTES = 32 << 20
"""Code and data of one library that are laid out."""
MAX_EXPORTS = 0xFFFF
"""Public functions that the table of an image can number."""
_CODE, _WRITE, _DISCARDED = 0x2000_0020, 0x8000_0000, 0x0200_0A00
TEXT, CONSTANT, DATA, UNWIND = 0, 1, 2, 3
THUNKS = {"x64": 6, "x86": 6, "arm64": 12}
"""Bytes of a jump through the address table."""


class TooLarge(Exception):
    """More code than is examined."""


@dataclass
class Layout:
    """Objects as one image."""

    data: bytes
    """The image."""
    starts: list[tuple[int, str, str]]
    """RVA, function and member, in order of place."""
    wanted: set[str]
    """What the kernel, or another library, is to give."""


@dataclass
class _Placed:
    part: Part
    owner: Object
    bucket: int
    offset: int


@dataclass
class Linker:
    """Links objects of one machine."""

    machine: str
    objects: list[Object]
    buckets: list[bytearray] = field(default_factory=lambda: [bytearray() for _ in range(4)])
    placed: dict[int, _Placed] = field(default_factory=dict)
    """By identity of the section."""
    public: dict[str, tuple[_Placed, int]] = field(default_factory=dict)
    imports: dict[str, int] = field(default_factory=dict)
    """Imported names, by their position in the address table."""
    thunks: dict[str, int] = field(default_factory=dict)
    """Offsets in the code of jumps through the address table."""
    pointers: list[int] = field(default_factory=list)
    """RVAs that hold addresses."""

    def link(self) -> Layout:
        """Lay everything out."""
        self._place()
        self._name()
        for placed in list(self.placed.values()):
            for moved in placed.part.relocations:
                symbol = placed.owner.symbols.get(moved.symbol)
                if symbol is not None:
                    self._want(placed.owner, symbol)
        self._make_thunks()
        self.image = Bucket(self.machine, self.base, self.buckets, list(self.imports))
        for placed in self.placed.values():
            self._relocate(placed)
        starts = sorted(self._starts())
        self._sort_unwind()
        exports = self._exports()
        if len(exports) > MAX_EXPORTS:
            raise TooLarge
        data = write(self.image, exports, self._thunked())
        return Layout(data, starts, set(self.imports))

    @property
    def base(self) -> int:
        """Where the image would be loaded."""
        return BASE_X86 if self.machine == "x86" else BASE

    # ------------------------------------------------------------ layout

    def _place(self) -> None:
        leaders: set[str] = set()
        total = 0
        for owner in self.objects:
            named = _leaders(owner)
            dropped = set()
            for number, part in enumerate(owner.sections, 1):
                name = named.get(number, "")
                if part.comdat and part.comdat != ASSOCIATIVE and name:
                    if name in leaders:
                        dropped.add(number)
                    leaders.add(name)
            for number, part in enumerate(owner.sections, 1):
                bucket = _bucket(part)
                if number in dropped or part.associated in dropped or bucket is None:
                    continue
                held = self.buckets[bucket]
                align = 1 << max((part.flags >> 20 & 15) - 1, 0) if bucket != UNWIND else 4
                held += (b"\xcc" if bucket == TEXT else b"\0") * (-len(held) % align)
                self.placed[id(part)] = _Placed(part, owner, bucket, len(held))
                held += part.data
                total += len(part.data)
                if total > MAX_BYTES:
                    raise TooLarge

    def _name(self) -> None:
        for owner in self.objects:
            for symbol in owner.defined():
                if symbol.section > 0:
                    placed = self._placed_at(owner, symbol)
                    if placed is not None:
                        self.public.setdefault(symbol.name, (placed, symbol.value))
                elif symbol.name not in self.public:
                    self.public[symbol.name] = self._common(owner, symbol)

    def _common(self, owner: Object, symbol: Symbol) -> tuple[_Placed, int]:
        """Room for a variable that several objects declare."""
        size = min(symbol.value, 1 << 16)
        held = self.buckets[DATA]
        held += bytes(-len(held) % 16)
        placed = _Placed(Part("", 0, b""), owner, DATA, len(held))
        held += bytes(size)
        return placed, 0

    def _placed_at(self, owner: Object, symbol: Symbol) -> _Placed | None:
        """The section that holds a symbol; raises `InputError` for code that ends before it."""
        if not 0 < symbol.section <= len(owner.sections):
            return None
        placed = self.placed.get(id(owner.sections[symbol.section - 1]))
        if placed is None or placed.bucket != TEXT:
            return placed
        if symbol.value > len(placed.part.data):
            raise InputError(
                f"a function lies behind the end of its section in {placed.part.member}"
            )
        return placed

    def _want(self, owner: Object, symbol: Symbol) -> None:
        """Make an import of a name that nobody defines."""
        if symbol.section or self._defined(owner, symbol) is not None:
            return
        name = symbol.name
        is_slot = name.startswith("__imp_")
        bare = plain(name.removeprefix("__imp_"), self.machine)
        if is_slot and self.public.get(name.removeprefix("__imp_")) is not None:
            return
        self.imports.setdefault(bare, len(self.imports))
        if not is_slot:
            self.thunks.setdefault(bare, -1)

    def _make_thunks(self) -> None:
        held = self.buckets[TEXT]
        held += b"\xcc" * (-len(held) % 16)
        for name in self.thunks:
            self.thunks[name] = len(held)
            held += bytes(THUNKS[self.machine]) + b"\xcc" * (16 - THUNKS[self.machine])

    def _thunked(self) -> dict[int, str]:
        """The imports that jumps in the code lead to, by the jumps' RVAs."""
        return {self.image.rva(TEXT, at): name for name, at in self.thunks.items()}

    # ------------------------------------------------------------ addresses

    def _defined(self, owner: Object, symbol: Symbol, depth: int = 0) -> tuple[_Placed, int] | None:
        """The section and offset that a name stands for."""
        if symbol.section > 0:
            placed = self._placed_at(owner, symbol)
            if placed is not None:
                return placed, symbol.value
        found = self.public.get(symbol.name)
        if found is None and symbol.kind == WEAK and depth < 8:
            other = owner.symbols.get(symbol.other)
            found = self._defined(owner, other, depth + 1) if other is not None else None
        return found

    def _target(self, owner: Object, symbol: Symbol) -> int | None:
        found = self._defined(owner, symbol)
        if found is not None:
            placed, value = found
            return self.image.rva(placed.bucket, placed.offset + value)
        name = plain(symbol.name.removeprefix("__imp_"), self.machine)
        if symbol.name.startswith("__imp_"):
            return self.image.slot(self.imports[name]) if name in self.imports else None
        return self.image.rva(TEXT, self.thunks[name]) if name in self.thunks else None

    def _relocate(self, placed: _Placed) -> None:
        held = self.buckets[placed.bucket]
        for moved in placed.part.relocations:
            symbol = placed.owner.symbols.get(moved.symbol)
            if symbol is None or moved.at + 8 > len(placed.part.data) + 4:
                continue
            target = self._target(placed.owner, symbol)
            if target is None:
                continue
            at = placed.offset + moved.at
            place = self.image.rva(placed.bucket, at)
            if relocate.apply(self.machine, moved.kind, held, at, place, target, self.base):
                self.pointers.append(place)
        self.image.pointers = self.pointers

    def _sort_unwind(self) -> None:
        size = 8 if self.machine == "arm64" else 12
        held = self.buckets[UNWIND]
        rows = [bytes(held[at : at + size]) for at in range(0, len(held) - size + 1, size)]
        rows.sort(key=lambda row: int.from_bytes(row[:4], "little"))
        held[:] = b"".join(row for row in rows if row[:4] != bytes(4))

    # ------------------------------------------------------------ names

    def _starts(self) -> Iterable[tuple[int, str, str]]:
        """Every function, and the begin of every section of code."""
        for placed in self.placed.values():
            if placed.bucket == TEXT:
                start = self.image.rva(TEXT, placed.offset)
                yield start, "", placed.part.member
        for owner in self.objects:
            for symbol in owner.symbols.values():
                inner = self._placed_at(owner, symbol)
                if inner is not None and inner.bucket == TEXT and _is_function(symbol):
                    start = self.image.rva(TEXT, inner.offset + symbol.value)
                    yield start, plain(symbol.name, self.machine), inner.part.member

    def _exports(self) -> list[tuple[int, str]]:
        found = {
            self.image.rva(TEXT, placed.offset + value): name
            for name, (placed, value) in sorted(self.public.items())
            if placed.bucket == TEXT
        }
        return sorted((rva, name) for rva, name in found.items())


def plain(name: str, machine: str) -> str:
    """The name of a function without what x86 puts around it."""
    if machine != "x86" or name.startswith("?"):
        return name
    head, at, count = name.rpartition("@")
    if at and count.isdigit() and head:
        name = head
    return name[1:] if name[:1] in ("_", "@") else name


def _is_function(symbol: Symbol) -> bool:
    return symbol.is_function or (symbol.kind == 2 and not symbol.name.startswith("."))


def _leaders(owner: Object) -> dict[int, str]:
    """For each section that may have duplicates, the name that tells them."""
    found: dict[int, str] = {}
    for symbol in owner.symbols.values():
        if symbol.section > 0 and symbol.kind in (2, WEAK):
            found.setdefault(symbol.section, symbol.name)
    return {
        number: name
        for number, name in found.items()
        if number <= len(owner.sections) and owner.sections[number - 1].flags & COMDAT
    }


def _bucket(part: Part) -> int | None:
    """Where a section of that kind stands; None for what no image holds."""
    if (part.flags & _DISCARDED and not part.flags & 0x20) or part.name.startswith(".debug"):
        return None
    if part.flags & _CODE:
        return TEXT
    if part.name.startswith(".pdata"):
        return UNWIND
    return DATA if part.flags & _WRITE else CONSTANT
