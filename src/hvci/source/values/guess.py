"""What an expression in source text can be: sets of bits, with the names' families kept.

Knows values and how they join; knows nothing of syntax trees or files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_ATOMS = 64
_TOO_MANY = f"it has more than {MAX_ATOMS} possible values"
EVERYTHING = (1 << 64) - 1


@dataclass(frozen=True, slots=True, order=True)
class Atom:
    """One possible value."""

    bits: int
    opted: int = 0
    """Bits that the NX opt-in adds because of the name that was written; 0: it changes nothing."""
    floor: bool = False
    """More bits than these may be set."""


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """Where a constant is written in a file."""

    path: str
    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Guess:
    """All values that were found, and whether there can be others."""

    atoms: frozenset[Atom] = frozenset()
    complete: bool = True
    reason: str = ""
    families: frozenset[str] = frozenset()
    """Names of the constant families that the text used."""
    origins: frozenset[str] = frozenset()
    """How it is known: "name", "number", "or", "macro", "local", "caller", "field", "check"."""
    dropped: str = ""
    """A run-time check of the Windows version that other values depend on."""
    spots: frozenset[Spot] = frozenset()
    """Where the constants are written."""
    early: frozenset[Atom] = frozenset()
    """Values that hold only until the driver, at its start, replaces them."""

    def join(self, other: Guess) -> Guess:
        """What holds when either may hold."""
        atoms = self.atoms | other.atoms
        left_out = len(atoms) > MAX_ATOMS
        return Guess(
            _bounded(atoms),
            self.complete and other.complete and not left_out,
            self.reason or other.reason or (_TOO_MANY if left_out else ""),
            self.families | other.families,
            self.origins | other.origins,
            self.dropped or other.dropped,
            self.spots | other.spots,
            self.early | other.early,
        )

    def known_by(self, *origins: str) -> Guess:
        """The same, with more said about how it is known."""
        return replace(self, origins=self.origins | set(origins))

    def combined(self, other: Guess, operator: str) -> Guess:
        """The value of `self operator other`."""
        if operator not in OPERATORS:
            return unknown(f"the operator {operator} is not followed").mixed(self, other)
        pairs = {
            _apply(left, right, operator)
            for left in _parts(self, operator)
            for right in _parts(other, operator)
        }
        atoms = frozenset(atom for atom in pairs if atom is not None)
        left_out = len(atoms) > MAX_ATOMS
        complete = operator == "|" or (self.complete and other.complete)
        complete = complete and None not in pairs and not left_out
        reason = self.reason or other.reason or (_TOO_MANY if left_out else "")
        atoms = _bounded(atoms)
        early = self._early_with(other, operator) - atoms
        return replace(
            Guess(atoms, complete, reason).mixed(self, other).known_by("or"), early=early
        )

    def _early_with(self, other: Guess, operator: str) -> frozenset[Atom]:
        """The results that only values from before the start can give."""
        if not self.early and not other.early:
            return frozenset()
        pairs = {
            _apply(left, right, operator)
            for left in self.atoms | self.early
            for right in other.atoms | other.early
        }
        return _bounded(frozenset(atom for atom in pairs if atom is not None))

    def mixed(self, *others: Guess) -> Guess:
        """The same value with the families and origins of its parts."""
        families = frozenset().union(self.families, *(other.families for other in others))
        origins = frozenset().union(self.origins, *(other.origins for other in others))
        spots = frozenset().union(self.spots, *(other.spots for other in others))
        dropped = next((other.dropped for other in (self, *others) if other.dropped), "")
        return replace(self, families=families, origins=origins, dropped=dropped, spots=spots)

    def cut(self, bits: int) -> Guess:
        """What is left of the value, and of what the opt-in adds to it, in so many bits.

        Fewer than none: the uppermost of them is a sign.
        """
        mask, sign = (1 << abs(bits)) - 1, 1 << -bits >> 1 if bits < 0 else 0
        least = sign - 1 if sign else mask
        if all(atom.bits | atom.opted <= least for atom in self.atoms | self.early):
            return self
        return replace(self, atoms=_cut(self.atoms, mask, sign), early=_cut(self.early, mask, sign))

    def inverted(self) -> Guess:
        """The value of `~self`, of 32 bits."""
        exact = [atom for atom in self.atoms if not atom.floor]
        atoms = frozenset(Atom(~atom.bits & 0xFFFFFFFF) for atom in exact)
        whole = self.complete and len(exact) == len(self.atoms)
        return replace(self, atoms=atoms, complete=whole)


OPERATORS = ("|", "+", "&", "^", "<<", "-", "*", ">>")


_POSITIVE = 0x7FFF_FFFF
"""The largest number that is positive in every type."""


def exactly(bits: int, *origins: str, opted: int = 0, family: str = "") -> Guess:
    """One known value."""
    families = frozenset((family,)) if family else frozenset()
    atom = Atom(bits & EVERYTHING, opted)
    return Guess(frozenset((atom,)), True, "", families, frozenset(origins))


def unknown(reason: str) -> Guess:
    """Nothing is known, and why."""
    return Guess(complete=False, reason=reason)


NOTHING = Guess()
"""No value at all: the neutral element of `join`."""


def _bounded(atoms: frozenset[Atom]) -> frozenset[Atom]:
    return atoms if len(atoms) <= MAX_ATOMS else frozenset(sorted(atoms)[:MAX_ATOMS])


def _cut(atoms: frozenset[Atom], mask: int, sign: int) -> frozenset[Atom]:
    return frozenset(
        replace(atom, bits=_signed(atom.bits & mask, sign), opted=atom.opted & mask)
        for atom in atoms
    )


def _signed(bits: int, sign: int) -> int:
    return (bits - 2 * sign if bits & sign else bits) & EVERYTHING


def _parts(guess: Guess, operator: str) -> list[Atom]:
    """The operands; in an OR, something unknown is a value with more bits, maybe, than none."""
    parts = sorted(guess.atoms)
    if not guess.complete and operator == "|":
        parts.append(Atom(0, 0, floor=True))
    return parts


def _apply(left: Atom, right: Atom, operator: str) -> Atom | None:
    """One result; None when it cannot be told."""
    if operator == "|":
        floor = left.floor or right.floor
        return Atom(left.bits | right.bits, left.opted | right.opted, floor)
    if left.floor or right.floor:
        return None
    if operator in ("*", ">>") and (left.opted or right.opted):
        return None
    if operator == ">>" and left.bits > _POSITIVE:
        return None  # whether a sign is shifted in depends on the type
    results = {
        "+": left.bits + right.bits,
        "&": left.bits & right.bits,
        "^": left.bits ^ right.bits,
        "<<": left.bits << min(right.bits, 63),
        "-": left.bits - right.bits,
        "*": left.bits * right.bits,
        ">>": left.bits >> min(right.bits, 63),
    }
    opted = left.opted & right.bits if operator == "&" else left.opted | right.opted
    return Atom(results[operator] & EVERYTHING, opted)
