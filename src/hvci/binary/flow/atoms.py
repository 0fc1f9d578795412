"""Abstract values inside one image: sets of atoms, and arithmetic on them.

An atom is one thing that a register or stack slot can hold. A set of atoms says "one of these".
Knows nothing of instructions, functions or DDIs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple

MAX_ATOMS = 24
"""A larger set is cut down to "too many values"."""
MAX_OPERATIONS = 8
"""Longest chain of arithmetic kept on a parameter."""
FRAME_ALIGNMENT = 16
"""To what frames are aligned on x64 and ARM64: so far an OR adds to the address of a variable."""
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1


class Kind(IntEnum):
    """What an atom stands for."""

    CONST = 0
    ADDRESS = 1
    """An address inside the image; `value` is the RVA."""
    STACK = 2
    """An address in the frame; `value` is the offset from the stack pointer at entry, in bytes."""
    PARAMETER = 3
    """What the caller put at `place` of the function that starts at `value`, after `ops`.

    `why` is `KEPT` where a global kept it since: then any caller may have put it there.
    """
    IMPORT = 4
    """The address of an imported function; `value` is the RVA of its slot."""
    RESULT = 5
    """What a call returned; `value` is the RVA of the call instruction, `why` names the callee."""
    BEFORE_OPT_IN = 6
    """A constant that holds only until the image opts in to NX."""
    FIELD = 7
    """A field, `value` bytes into what `of` points to; `why` says it in words."""
    UNSET = 8
    """A constant read from a variable at RVA `place` that starts as 0 and that nothing sets."""
    TABLE = 9
    """The KMDF function table, `value` bytes in."""
    ROUTINE = 10
    """The address of the routine that `why` names; `value` is a `Lookup`."""
    LEAKED = 11
    """What the call at RVA `value` may have put at offset `place` of the frame."""
    UNKNOWN = 12
    """Anything; where it is an address in the frame, `of` is where that began. `place` is `BELOW`
    where something is taken away from that, or from nothing."""


class Lookup(IntEnum):
    """How the address of a routine was had without an import."""

    KMDF = 1
    BY_NAME = 2
    CALLBACK = 3


NUMERIC = frozenset((Kind.CONST, Kind.BEFORE_OPT_IN, Kind.UNSET))
"""Kinds whose `value` is the number itself."""
BELOW = -1
KEPT = "kept in a global"
_ROUTINES = frozenset((Kind.IMPORT, Kind.ROUTINE))
_MARKED = NUMERIC - {Kind.CONST}


class Operation(NamedTuple):
    """One step of arithmetic with a constant on the right, in a width in bits."""

    name: str
    constant: int
    width: int


class Atom(NamedTuple):
    """One possibility."""

    kind: Kind
    value: int = 0
    place: int = 0
    ops: tuple[Operation, ...] = ()
    """What was done since; of what is unknown the last steps that treat each bit for itself."""
    why: str = ""
    of: Atom | None = None

    def __lt__(self, other: tuple[object, ...]) -> bool:
        """Any two have an order, so that sorting them gives the same answer every time."""
        assert isinstance(other, Atom)
        if self[:-1] != other[:-1] or self.of is None or other.of is None:
            return (*self[:-1], self.of is not None) < (*other[:-1], other.of is not None)
        return self.of < other.of


Atoms = frozenset[Atom]
NOTHING: Atoms = frozenset()


DISPATCH = Atom(Kind.ROUTINE, why="the dispatch function of Control Flow Guard")
"""What goes on to where a register points."""


def const(*values: int) -> Atoms:
    """One of these constants."""
    return frozenset(Atom(Kind.CONST, value) for value in values)


_ZERO = Atom(Kind.CONST)


def unknown(why: str) -> Atoms:
    """Nothing is known, and why."""
    return frozenset((Atom(Kind.UNKNOWN, why=why),))


def address(rva: int) -> Atoms:
    """An address inside the image."""
    return frozenset((Atom(Kind.ADDRESS, rva),))


def stack(offset: int) -> Atoms:
    """An address in the frame."""
    return frozenset((Atom(Kind.STACK, offset),))


def is_handed(atom: Atom, start: int) -> bool:
    """Whether an atom is what the call at hand of the function at `start` put there."""
    return atom.kind is Kind.PARAMETER and atom.value == start and atom.why != KEPT


def kept(atoms: Iterable[Atom]) -> Atoms:
    """What a global that gets these values holds later, when other calls may be under way."""
    return frozenset(
        atom._replace(why=KEPT) if atom.kind is Kind.PARAMETER else atom for atom in atoms
    )


def single(atoms: Atoms) -> Atom | None:
    """The atom when there is exactly one."""
    return next(iter(atoms)) if len(atoms) == 1 else None


def signed(value: int, bits: int) -> int:
    """The low `bits` of a value as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def truncate(atoms: Atoms, size: int, shift: int = 0) -> Atoms:
    """The low `size` bytes, after a shift to the right by `shift` bits.

    What is no number passes unchanged, but for parameters of which less than 32 bits are left:
    what the callers pass is cut then.
    """
    if size >= 8 and not shift:
        return atoms
    mask = (1 << 8 * size) - 1
    if not shift and all(_fits(atom, mask) for atom in atoms):
        return atoms
    return frozenset(_cut(atom, mask, shift) for atom in atoms)


def _fits(atom: Atom, mask: int) -> bool:
    """Whether cutting an atom changes nothing."""
    if atom.kind in NUMERIC:
        return atom.value & mask == atom.value
    return atom.kind is not Kind.PARAMETER or mask >= MASK32


def _cut(atom: Atom, mask: int, shift: int) -> Atom:
    if atom.kind in NUMERIC:
        return atom._replace(value=(atom.value >> shift) & mask)
    if atom.kind is not Kind.PARAMETER or (mask >= MASK32 and not shift):
        return atom
    ops = atom.ops
    if shift:
        ops += (Operation("shr", shift, 64),)
    if mask < MASK32 and ops[-1:] != (Operation("and", mask, 64),):
        ops += (Operation("and", mask, 64),)
    if len(ops) > MAX_OPERATIONS:
        return _opaque(atom, Atom(Kind.CONST, mask))
    return atom._replace(ops=ops)


def part(atoms: Atoms, size: int, shift: int) -> Atoms:
    """`size` bytes of a wider value, `shift` bits up; only those of numbers are known."""
    if shift and any(atom.kind not in NUMERIC for atom in atoms):
        return unknown("part of a wider value")
    return truncate(atoms, size, shift)


def extend(atoms: Atoms, from_size: int, to_size: int) -> Atoms:
    """Sign-extend numbers, and parameters of less than 32 bits, between sizes in bytes."""
    return frozenset(_extended(atom, 8 * from_size, 8 * to_size) for atom in atoms)


def _extended(atom: Atom, bits: int, width: int) -> Atom:
    if atom.kind in NUMERIC:
        return atom._replace(value=signed(atom.value, bits) & ((1 << width) - 1))
    if atom.kind is not Kind.PARAMETER or bits >= 32:
        return atom
    sign = 1 << (bits - 1)
    ops = (*atom.ops, Operation("xor", sign, width), Operation("sub", sign, width))
    return atom._replace(ops=ops) if len(ops) <= MAX_OPERATIONS else _opaque(atom, atom)


def insert(old: Atoms, new: Atoms, size: int, shift: int) -> Atoms:
    """Replace `size` bytes of `old`, `shift` bits up, by `new`."""
    mask = ((1 << 8 * size) - 1) << shift
    out: set[Atom] = set()
    for fresh in new:
        for base in old:
            if fresh.kind is Kind.CONST and base.kind is Kind.CONST:
                merged = (base.value & ~mask) | ((fresh.value << shift) & mask)
                out.add(Atom(Kind.CONST, merged))
            else:
                odd = fresh if fresh.kind is not Kind.CONST else base
                why = f"part of a register that holds {describe(odd)}"
                (new_set, new_open), (old_set, old_open) = _bits(fresh), _bits(base)
                set_ = (old_set & ~mask) | ((new_set << shift) & mask)
                ops = _knowing(set_, (old_open & ~mask) | ((new_open << shift) & mask))
                out.add(Atom(Kind.UNKNOWN, ops=ops, why=why))
    return bounded(out)


LOOPED = "a value that a loop changes"


def looped(first: Atoms) -> Atoms:
    """What rounds of a loop make of the first value; of an address in the frame, where it began."""
    starts = {_within_frame(atom) for atom in first} - {None}
    return frozenset(Atom(Kind.UNKNOWN, why=LOOPED, of=start) for start in starts or (None,))


def is_stepped(atom: Atom) -> bool:
    """Whether an address may have been moved on by a loop."""
    return atom.kind is Kind.UNKNOWN and (atom.of is None or atom.why == LOOPED)


IN_PARTS = "a local variable that is written in parts"


def laid_over(rest: Atoms, first: Atoms, size: int) -> Atoms:
    """A value of which the first `size` bytes were written anew; only numbers are known."""
    if any(atom.kind not in NUMERIC for atom in rest | first):
        return unknown(IN_PARTS)
    mask = (1 << 8 * size) - 1
    return bounded(
        old._replace(value=old.value & ~mask | new.value & mask) for old in rest for new in first
    )


def joined(lower: Atoms, upper: Atoms) -> Atoms:
    """64 bits from two halves; only those of numbers are known."""
    if any(atom.kind not in NUMERIC for atom in upper):
        return unknown(IN_PARTS)
    return bounded(
        low._replace(value=low.value | high.value << 32) for low in lower for high in upper
    )


def bounded(atoms: Iterable[Atom]) -> Atoms:
    """The set, cut down when it grew too large; a routine that it may lead to is not lost so."""
    found = frozenset(atoms)
    if len(found) <= MAX_ATOMS:
        return found
    routines = frozenset(atom for atom in found if atom.kind in _ROUTINES)
    return unknown("more than 24 different values") | (
        routines if len(routines) < MAX_ATOMS else NOTHING
    )


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "mul": lambda a, b: a * b,
    "shl": lambda a, b: a << (b & 63),
    "shr": lambda a, b: a >> (b & 63),
    "bts": lambda a, b: a | 1 << (b & 63),
    "btr": lambda a, b: a & ~(1 << (b & 63)),
    "bic": lambda a, b: a & ~b,
    "orn": lambda a, b: a | ~b,
}
_COMMUTES = frozenset(("add", "and", "or", "xor", "mul"))
_BITWISE = frozenset(("and", "or", "xor", "bic", "orn"))
"""What treats each bit for itself."""
_SMALL_MASK_BITS = 3


def combine(name: str, left: Atoms, right: Atoms, width: int) -> Atoms:
    """Arithmetic on every pair, in a width in bits."""
    out: set[Atom] = set()
    for a in left:
        for b in right:
            out |= _pair(name, a, b, width)
            if len(out) > MAX_ATOMS:
                return unknown("more than 24 different values")
    return frozenset(out)


def _pair(name: str, a: Atom, b: Atom, width: int) -> Atoms:
    mask = (1 << width) - 1
    if b.kind is not Kind.CONST and a.kind is Kind.CONST and name in _COMMUTES:
        a, b = b, a
    if a.kind is Kind.CONST and b.kind is Kind.CONST:
        return _constants(name, a.value & mask, b.value & mask, mask)
    if a.kind in _MARKED or b.kind in _MARKED:
        return _marked(name, a, b, mask)
    if b.kind is Kind.CONST:
        return _with_constant(name, a, b.value & mask, width)
    lost, is_negated = _opaque(a, b), name == "sub" and (a.kind is Kind.STACK or a == _ZERO)
    return frozenset((lost._replace(place=BELOW) if is_negated else lost,))


def _constants(name: str, a: int, b: int, mask: int) -> Atoms:
    if name in ("sbb", "adc"):  # the carry is not tracked: both outcomes
        exact = a - b if name == "sbb" else a + b
        other = exact - 1 if name == "sbb" else exact + 1
        return const(exact & mask, other & mask)
    if name == "sar":
        return const((signed(a, mask.bit_length()) >> (b & 63)) & mask)
    operation = _ARITHMETIC.get(name)
    return const(operation(a, b) & mask) if operation else unknown(f"{name} is not followed")


def _marked(name: str, a: Atom, b: Atom, mask: int) -> Atoms:
    """A marked number combined with a constant keeps its mark."""
    operation = _ARITHMETIC.get(name)
    if a.kind not in NUMERIC or b.kind not in NUMERIC or operation is None:
        return frozenset((_opaque(a, b),))
    mark = a if a.kind in _MARKED else b
    return frozenset((mark._replace(value=operation(a.value, b.value) & mask),))


def marked_like(mark: Atom, values: Atoms) -> Atoms:
    """Constants that were chosen by a number take over its mark."""
    if mark.kind not in _MARKED:
        return values
    return frozenset(
        mark._replace(value=atom.value) if atom.kind is Kind.CONST else atom for atom in values
    )


def _with_constant(name: str, a: Atom, b: int, width: int) -> Atoms:
    """Arithmetic of something that is no constant with a constant."""
    set_, open_ = _bits(a)
    is_small = (b & open_).bit_count() <= _SMALL_MASK_BITS
    if name == "and" and is_small and a.kind is not Kind.STACK:
        return const(*(b & set_ | subset for subset in _subsets(b & open_, width)))
    if a.kind in (Kind.ADDRESS, Kind.STACK, Kind.TABLE) and name in ("add", "sub"):
        delta = signed(b, width)
        return frozenset((a._replace(value=a.value + (delta if name == "add" else -delta)),))
    if a.kind is Kind.STACK and name == "or" and b < FRAME_ALIGNMENT:
        return frozenset((a._replace(value=a.value + b),))  # a compiler knows those bits to be 0
    if a.kind is Kind.STACK and name == "and":
        return frozenset((a,))  # aligning a frame keeps it a frame address
    if name == "add" and b and not b & (set_ | open_):
        name = "or"  # no bit is carried
    if a.kind is Kind.PARAMETER and len(a.ops) < MAX_OPERATIONS and name in _ARITHMETIC:
        return frozenset((a._replace(ops=(*a.ops, Operation(name, b, width))),))
    lost = _opaque(a, Atom(Kind.CONST, b))
    if name in _BITWISE:
        lost = lost._replace(
            ops=_knowing(*_bits(a._replace(ops=(*a.ops, Operation(name, b, width)))))
        )
    return frozenset((lost,))


def _bits(atom: Atom) -> tuple[int, int]:
    """The bits of an atom that are set, and those that are not known."""
    if atom.kind in NUMERIC:
        return atom.value, 0
    if any(operation.name not in _BITWISE for operation in atom.ops):
        return 0, MASK64
    none, all_ = 0, MASK64
    for name, constant, width in atom.ops:
        mask, operate = (1 << width) - 1, _ARITHMETIC[name]
        none, all_ = operate(none, constant) & mask, operate(all_, constant) & mask
    return none & all_, none ^ all_


def _knowing(set_: int, open_: int) -> tuple[Operation, ...]:
    """What makes of anything a number with some bits set and some not known."""
    if open_ == MASK64:
        return ()
    return Operation("and", set_ | open_, 64), Operation("or", set_, 64)


def _subsets(mask: int, width: int) -> list[int]:
    """All values that an AND with a mask of few bits can leave."""
    values = [0]
    for bit in range(width):
        if mask >> bit & 1:
            values += [value | 1 << bit for value in values]
    return values


def _opaque(a: Atom, b: Atom) -> Atom:
    """What is left when two atoms cannot be combined: the better reason of the two."""
    frame = _within_frame(a) or _within_frame(b)
    below = BELOW if is_below(a) or is_below(b) else 0
    for atom in (a, b):
        if atom.kind in (Kind.UNKNOWN, Kind.LEAKED):
            return Atom(Kind.UNKNOWN, place=below, why=describe(atom), of=frame)
    source = a if a.kind is not Kind.CONST else b
    return Atom(Kind.UNKNOWN, place=below, why=f"arithmetic on {describe(source)}", of=frame)


def is_below(atom: Atom) -> bool:
    """Whether something is taken away, from an address or in an index."""
    return atom.kind is Kind.UNKNOWN and atom.place == BELOW


def _within_frame(atom: Atom) -> Atom | None:
    """Where in the frame an address began; None for what is no address in the frame."""
    if atom.kind is Kind.STACK:
        return atom
    return atom.of if atom.kind is Kind.UNKNOWN else None


def describe(atom: Atom) -> str:
    """What an atom is, in words for a person."""
    match atom.kind:
        case Kind.CONST | Kind.BEFORE_OPT_IN | Kind.UNSET:
            return f"the number {atom.value:#x}"
        case Kind.PARAMETER:
            return f"a parameter of sub_{atom.value:x}"
        case Kind.RESULT:
            return f"the return value of {atom.why}"
        case Kind.IMPORT | Kind.ADDRESS:
            return f"the address {atom.value:#x}"
        case Kind.STACK:
            return "the address of a local variable"
        case Kind.LEAKED:
            return "a local variable whose address is passed to a call"
        case Kind.TABLE:
            return "the KMDF function table"
        case Kind.ROUTINE:
            return f"the address of {atom.why}"
    return atom.why


def apply(atoms: Atoms, ops: tuple[Operation, ...]) -> Atoms:
    """Run a chain of arithmetic on a set."""
    for name, constant, width in ops:
        atoms = combine(name, truncate(atoms, width // 8), const(constant), width)
    return atoms


def first_index(index: Atoms) -> int:
    """Where a loop starts to count, as a signed number; 0 when that is not seen."""
    constants = {atom.value for atom in index if atom.kind is Kind.CONST}
    return signed(constants.pop(), 32) if len(constants) == 1 else 0
