"""Where a text stands whose value is asked, and what evaluates the expressions that it leads to.

Knows functions, macros and nodes; looks nothing up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hvci.source.preprocess.tree import Function
from hvci.source.program.program import Macro, Use
from hvci.source.values.comparing import Given
from hvci.source.values.guess import Guess

if TYPE_CHECKING:
    from tree_sitter import Node

    from hvci.source.values.versions.kernels import Versions


@dataclass(frozen=True)
class Place:
    """Where a text stands."""

    function: Function | None = None
    offset: int = 0
    macro: Macro | None = None
    """The macro whose body the text is from."""
    path: str = ""
    """The file that the nodes are in; empty for text that stands in no file."""
    shift: int = 0
    """What to add to a node's offset to have an offset in the file."""
    home: str = ""
    """The file whose macros count, where it is not that of the text."""
    given: Given = field(default_factory=dict)
    """Parameters of the function that the call which is followed gives as constants."""
    anchor: Node | None = field(default=None, compare=False)
    """Outside of functions: a node in the template that the text may be in."""

    def holds(self, node: Node) -> bool:
        """Whether a node is of the function's own text, and not of a macro's."""
        if self.function is None or self.shift or self.macro is not None or not self.path:
            return False
        start, end = self.function.node.byte_range
        return start <= node.start_byte < end


class Evaluator(Protocol):
    """What evaluates the expressions that a name leads to."""

    def value(self, node: Node | None, place: Place, depth: int) -> Guess:
        """The value of an expression."""

    def text(self, text: bytes, place: Place, depth: int) -> Guess:
        """The value of an expression given as text."""

    def chosen(self, condition: Node, place: Place, depth: int) -> bool | None:
        """Which way a condition goes, by constants that are passed or by the version."""

    def label(self, switch: Node, place: Place, depth: int) -> int | None:
        """The position of the label that a `switch` leads to."""

    def index_of(self, node: Node | None, place: Place, depth: int) -> int | None:
        """The number of an element; None where it is not one constant."""

    def runs(self, use: Use) -> bool:
        """Whether a use may run: no constant condition keeps it out, and somebody uses it."""

    @property
    def versions(self) -> Versions:
        """What checks of the Windows version say."""


@dataclass(frozen=True)
class Ways:
    """Which way conditions of the function go that a place is in."""

    evaluator: Evaluator
    place: Place
    depth: int

    def truth(self, condition: Node) -> bool | None:
        """Which way a condition goes."""
        return self.evaluator.chosen(condition, self._at(condition), self.depth)

    def label(self, switch: Node) -> int | None:
        """The position of the label that a `switch` leads to."""
        return self.evaluator.label(switch, self._at(switch), self.depth)

    def _at(self, node: Node) -> Place:
        function = self.place.function
        assert function is not None
        path = function.file.source.path
        return Place(function, node.start_byte, path=path, given=self.place.given)


def shown(name: bytes) -> str:
    """A name for a message."""
    return name.decode("utf-8", "replace")
