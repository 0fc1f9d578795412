"""One instruction without a function: what it does to registers and memory on any machine.

The tier before effects and expressions, which need a decoded function: cheap enough to be worked
out for the code around a place. The architectures fill it in; the walks of straight.py read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hvci.binary.form.code import Flow

NOT_FOLLOWED = -1
"""In place of the register whose content is stored, and of the one that is called."""


class Move(NamedTuple):
    """A copy of a whole register, or its sum with a constant of so many bytes."""

    target: int
    source: int
    amount: int


class Moved(NamedTuple):
    """A load or store of a whole register at a base and an offset in bytes, without an index."""

    register: int
    """`NOT_FOLLOWED` for a store of something else."""
    base: int
    offset: int


class Step(NamedTuple):
    """What one instruction does; registers are numbers, and masks have a bit for each."""

    flow: Flow = Flow.NEXT
    written: int = 0
    """Mask of the registers that it changes, calls apart."""
    named: int = 0
    """Mask of those that it may read, store or change."""
    bases: int = 0
    """Mask of those at which it loads or stores."""
    sources: int = 0
    """Mask of those that it reads for anything else, and that what it writes is made of."""
    moves: tuple[Move, ...] = ()
    loads: tuple[Moved, ...] = ()
    """The loads that move whole registers; there are others where `bases` says so."""
    stores: tuple[Moved, ...] = ()
    """Every store that has a base."""
    through: int = NOT_FOLLOWED
    """The register that an indirect call or jump goes through."""


class Steps(NamedTuple):
    """How the instructions of one machine become steps."""

    touched: Callable[[Any], int]
    """Mask of the registers that an instruction names; all of them where it changes the flow."""
    of: Callable[[Any], Step]
    """What an instruction does; asked only where it touches what is followed."""
