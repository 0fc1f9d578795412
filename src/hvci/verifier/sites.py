"""Which instruction called: the call itself, or the tail jump, behind thunks and dispatchers.

Knows the blocks that ran last; knows nothing of DDIs.
"""

from __future__ import annotations

from hvci.verifier.arch import Ending
from hvci.verifier.machine import Machine

_TRANSFERS = frozenset((Ending.CALL, Ending.JUMP, Ending.BRANCH))


def calling_instruction(machine: Machine, return_address: int) -> int:
    """Address of the call or tail-jump instruction behind the stand-in that was just entered."""
    last = machine.current
    for before in machine.previous:
        if last is None or not last.is_thunk or before is None:
            break
        if before.ending not in (Ending.CALL, Ending.JUMP):
            break
        last = before
    if last is None or (last.ending is Ending.CALL and last.end != return_address):
        return return_address
    return last.last if last.ending in _TRANSFERS else return_address
