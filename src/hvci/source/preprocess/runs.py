"""What a preprocessor is given for one translation unit, and what it leaves.

Knows names only; the work is done in `preprocess`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.directives import Included, Macro

Taken = int | tuple[int, ...] | None
"""The branch of a group that is compiled; several: any of them may be; None: none is."""
UNTAKEN = -1
"""Stands among several where it may be that none is."""
Choice = tuple[Taken, ...]
"""What is taken of each group of a file."""
Find = Callable[[str, Included], str | None]
"""The file that an `#include` of a file leads to."""


@dataclass(frozen=True)
class Given:
    """What a compiler is told before the first line of a unit."""

    known: Mapping[bytes, int | None]
    """Macros of compiler and kit."""
    defines: tuple[Macro, ...] = ()
    removed: frozenset[bytes] = frozenset()
    forced: tuple[str, ...] = ()
    """Files that are included first."""
    precompiled: str = ""
    """The header, in lower case, up to which MSVC passes a unit over: `/Yu`."""
    closed: bool = True
    """All definitions are known: what nobody defines is 0."""
    absent: frozenset[bytes] = frozenset()
    """What is certainly not defined, even when not all definitions are known."""
    compiler: Compiler = Compiler.MSVC


Definitions = dict[bytes, Sequence[tuple[Macro, bool]]]
"""Definitions that were met, and whether each surely was."""


@dataclass
class Run:
    """What the walk through one translation unit left."""

    path: str
    files: dict[str, frozenset[Choice]] = field(default_factory=dict)
    """Every file that was read, with what was taken of it."""
    layers: list[Definitions] = field(default_factory=list)
    opt_in: dict[bytes, Macro] = field(default_factory=dict)
    """The opt-in macros as the kit's headers found them."""
    doubtful: bool = False
    """Whether an opt-in macro is defined there depends on something unknown."""
    late: Macro | None = None
    """An opt-in macro that is defined when those headers were read already."""
    lost: str = ""
    """A header that is not here and may have defined something before the kit's were read."""
    compiler: Compiler = Compiler.MSVC
    gave_up: str = ""
    unnamed: dict[tuple[str, bytes], None] = field(default_factory=dict)
    """Files, and the macros of their `#include` lines that stand for no known header."""
    _known: dict[bytes, tuple[tuple[Macro, bool], ...]] = field(default_factory=dict)

    def definitions(self, name: bytes) -> tuple[tuple[Macro, bool], ...]:
        """Every definition of a name that was met."""
        if name not in self._known:
            found = (one for layer in self.layers if name in layer for one in layer[name])
            self._known[name] = tuple(found)
        return self._known[name]
