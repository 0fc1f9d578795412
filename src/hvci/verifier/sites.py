"""Which instruction called: the call itself, or the tail jump, behind thunks and dispatchers.

Knows the blocks that ran last; knows nothing of DDIs.
"""

from __future__ import annotations

from hvci.verifier.arch import Ending
from hvci.verifier.machine import Machine


def calling_instruction(machine: Machine, return_address: int) -> int:
    """Address of the call or tail-jump instruction behind the stand-in that was just entered."""
    last, before = machine.current, machine.previous
    if last is None:
        return return_address
    if last.ending is Ending.CALL and last.end == return_address:
        return last.last
    if last.is_thunk and before is not None:
        if before.ending is Ending.CALL and before.end == return_address:
            return before.last
        if before.ending is Ending.JUMP:
            return before.last
    if last.ending in (Ending.JUMP, Ending.BRANCH):
        return last.last
    return return_address
