"""From what a text says to the value that a call passes, under the opt-in of each build.

Knows guesses, catalogue rows and opt-in states; knows nothing of syntax trees.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvci.catalog import Ddi, OptIn
from hvci.model import Value
from hvci.source.judge.optin import Nx, State
from hvci.source.values.guess import Atom, Guess

SHOWN_BUILDS = 4
AT_START = "a variable that the driver sets to the NX value at its start"


def plain_value(guess: Guess) -> Value:
    """The value of an argument that no opt-in touches."""
    exact = frozenset(atom.bits for atom in guess.atoms if not atom.floor)
    if guess.complete and exact and len(exact) == len(guess.atoms):
        return Value(exact, complete=True)
    return Value(exact, complete=False, reason=guess.reason or "further bits are not known")


def deciding_value(guess: Guess, ddi: Ddi, states: Iterable[tuple[Nx, str]]) -> Value:
    """The value of a deciding argument in all builds together."""
    guess = _without_old_windows(guess, ddi)
    value: Value | None = None
    for nx, why in states:
        one = _in_build(guess, ddi, nx, why)
        value = one if value is None else value.join(one)
    return value if value is not None else _in_build(guess, ddi, Nx.NONE, "")


def _without_old_windows(guess: Guess, ddi: Ddi) -> Guess:
    """Set aside executable values that depend on a run-time check of the Windows version."""
    if not guess.dropped:
        return guess
    good = frozenset(atom for atom in guess.atoms if not ddi.rule.executable.holds(atom.bits))
    if not good or good == guess.atoms:
        return guess
    reason = f"it depends on a run-time check of the Windows version: {guess.dropped}"
    return Guess(good, False, reason, guess.families, guess.origins, early=guess.early)


def _in_build(guess: Guess, ddi: Ddi, nx: Nx, why: str) -> Value:
    possible: set[int] = set()
    replaced: set[int] = set()
    complete, reason = guess.complete, guess.reason
    for atom in sorted(guess.atoms):
        added = _added(atom, ddi)
        if added and nx is Nx.OPEN:
            complete, reason = False, why or nx.value
            continue
        bits = atom.bits | added if nx.is_nx else atom.bits
        if atom.floor and not _decided(bits, ddi):
            complete, reason = False, guess.reason or "further bits are not known"
            continue
        possible.add(bits)
        if added and nx is Nx.OPTED and bits != atom.bits:
            replaced.add(atom.bits)
    replaced |= {atom.bits for atom in guess.early if not atom.floor}
    complete = complete and bool(possible)
    # a value that is also given as a number stays, whatever the opt-in does
    early = frozenset(replaced - possible)
    how = (
        (AT_START if guess.early else nx.value)
        if early
        else ("" if complete else reason or "its value was not found")
    )
    return Value(frozenset(possible | early), complete, how, early)


def _added(atom: Atom, ddi: Ddi) -> int:
    """The bits that the opt-in adds to a value."""
    if ddi.opt_in is OptIn.HEADER_WRAPPER:
        return ddi.rule.executable.mask & ~atom.bits
    if ddi.opt_in is OptIn.CONSTANT_RENAME:
        return atom.opted & ~atom.bits
    return 0


def _decided(bits: int, ddi: Ddi) -> bool:
    """Whether further bits could change nothing."""
    test = ddi.rule.executable
    return test.kind in ("always", "never") or (
        test.kind in ("clear", "set") and bool(bits & test.mask)
    )


def shown(states: Iterable[State]) -> str:
    """Say in which builds the opt-in holds, when it does not hold in all of them."""
    good: list[str] = []
    bad: list[str] = []
    for state in states:
        label = state.build.label if state.build else "the sources"
        (good if state.nx.is_nx else bad).append(label)
    good = [label for label in good if label not in bad]
    if not good or not bad:
        return ""
    return f"NX on {listed(good)}, executable on {listed(bad)}"


def listed(labels: list[str]) -> str:
    """Labels, or only their platforms when all configurations of a platform are named."""
    unique = list(dict.fromkeys(labels))
    platforms = list(dict.fromkeys(label.rpartition("|")[2] for label in unique))
    chosen = platforms if len(unique) > len(platforms) else unique
    more = f" and {len(chosen) - SHOWN_BUILDS} more" if len(chosen) > SHOWN_BUILDS else ""
    return ", ".join(chosen[:SHOWN_BUILDS]) + more
