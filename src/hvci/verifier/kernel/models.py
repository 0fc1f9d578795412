"""The register of stand-ins: which function answers which DDI. Knows no DDI itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from hvci.catalog.prototypes import Returns, prototype

if TYPE_CHECKING:
    from hvci.verifier.kernel.call import Call


class Enter(NamedTuple):
    """A stand-in wants the driver's function called before it answers."""

    function: int
    arguments: tuple[int, ...]
    then: Callable[[int], Answer] | None = None
    """Turns the function's result into the DDI's, or enters another one; None hands it through."""


Answer = int | Enter | None
Model = Callable[["Call"], Answer]


@dataclass(frozen=True, slots=True)
class StandIn:
    """One DDI as the emulated kernel answers it."""

    model: Model
    wide: frozenset[int]
    """Parameters of eight bytes: they take two stack slots on x86."""


STAND_INS: dict[str, StandIn] = {}


def stands_in(*names: str, wide: tuple[int, ...] = ()) -> Callable[[Model], Model]:
    """Register a function as the answer to these DDIs."""

    def register(model: Model) -> Model:
        for name in names:
            assert name not in STAND_INS, f"{name} has two stand-ins"
            STAND_INS[name] = StandIn(model, frozenset(wide))
        return model

    return register


def stand_in(name: str) -> StandIn | None:
    """The stand-in of a DDI; the Nt form shares that of the Zw form."""
    found = STAND_INS.get(name)
    if found is None and name.startswith("Nt"):
        found = STAND_INS.get("Zw" + name[2:])
    return found


_RUN_TIME = re.compile(r"_*[a-z][a-z0-9_]*")
"""Names of the C run-time; all others of the kernel have capitals."""


@cache
def computes(name: str) -> bool:
    """Whether all that a routine does is compute, so that an answer that is made up is wrong.

    The C run-time does, and routines of the run-time library that return no status. Others hand
    the driver an object, or do something of which it sees no more than whether it went well.
    """
    if _RUN_TIME.fullmatch(name):
        return True
    if not name.startswith("Rtl"):
        return False
    shape = prototype(name)
    if shape is None:
        return True
    returns_nothing = shape.returns is Returns.NOTHING and not shape.outputs
    return shape.returns is not Returns.STATUS and not returns_nothing
