"""Values that are made of themselves: they are asked again with what was found, until that is all.

Knows guesses; knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Callable

from hvci.source.values.guess import NOTHING, Guess, unknown

MAX_ROUNDS = 3


class Rounds:
    """What is being looked up, so that nothing is looked up inside itself without an end."""

    def __init__(self) -> None:
        self.busy: set[object] = set()
        self._again: set[object] = set()
        """What was asked for inside itself."""
        self._found: dict[object, Guess] = {}

    def of(self, key: object, ask: Callable[[], Guess], shown: str) -> Guess:
        """What is found, given that it may be made of itself: `x = x + 1`."""
        if key in self.busy:
            self._again.add(key)
            return self._found.get(key, NOTHING)
        self.busy.add(key)
        try:
            for _ in range(MAX_ROUNDS):
                self._again.discard(key)
                found = ask()
                before = self._found.get(key, NOTHING)
                is_all = found.atoms <= before.atoms or not found.complete
                if key not in self._again or is_all:
                    return found
                self._found[key] = found
            return found.join(unknown(f"{shown} is made of what it was before"))
        finally:
            self.busy.discard(key)
            self._again.discard(key)
            self._found.pop(key, None)
