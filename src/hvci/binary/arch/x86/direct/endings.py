"""Where x64 and x86 code ends without a return: traps, and calls that never come back.

A breakpoint is no end, as a debugger lets it go on; but `int 3` fills space as well, and stands
behind calls that never return.
"""

from __future__ import annotations

from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic

from hvci.binary.form.code import CALLS, NO_FALL_THROUGH, Flow, Function, any_of
from hvci.binary.pe.image import PeImage
from hvci.catalog.prototypes import NEVER_RETURN

_STOP = any_of(Flow.STOP)
_FAST_FAIL = 0x29
_THUNK = b"\xff\x25"
_TRAPS = (b"\x0f\x0b", b"\xcd\x29", b"\xeb\xfe")
MAX_STRAIGHT = 16
"""Bytes at the start of a callee that are looked at."""


def let_breakpoints_go_on(image: PeImage, function: Function) -> None:
    """Correct the flow of a decoded function whose jumps are known."""
    found = []
    first = last = -1
    for i in function.where(_STOP):
        if not _follows_int3(function, i):
            first = i
        elif i - 1 != last:  # a run is walked once, however long a gap it fills
            first = _start_of_run(function, i)
        last = i
        if _goes_on(image, function, i, first):
            found.append(i)
    if found:
        flows = bytearray(function.flows)
        for i in found:
            flows[i] = Flow.NEXT
        function.flows = bytes(flows)


def _start_of_run(function: Function, i: int) -> int:
    while _follows_int3(function, i):
        i -= 1
    return i


def _goes_on(image: PeImage, function: Function, i: int, first: int) -> bool:
    """Whether the breakpoint `i`, in a run of `int 3` from `first` on, goes on."""
    instructions = function.instructions
    if not _is_breakpoint(instructions[i]) or i in function.ends:
        return False
    if first in function.sources or first == function.entry:
        return True
    before = function.flows[first - 1]
    if first - 1 in function.ends or before in NO_FALL_THROUGH:
        return False
    if before not in CALLS:
        return True
    fills = first != i or instructions[i + 1].mnemonic == Mnemonic.INT3
    return not fills and _callee(image, instructions[first - 1]) not in NEVER_RETURN


def _follows_int3(function: Function, i: int) -> bool:
    """Whether an instruction stands right behind an `int 3` that only leads here."""
    if not i or i in function.sources or i == function.entry or i - 1 in function.ends:
        return False
    return bool(function.instructions[i - 1].mnemonic == Mnemonic.INT3)


def never_returns(image: PeImage, call: Instruction) -> bool:
    """Whether a call goes to what its bytes show never to return."""
    at = call.near_branch_target
    if at and _runs_into_trap(image, at):
        return True
    return _callee(image, call) in NEVER_RETURN


def _runs_into_trap(image: PeImage, start: int) -> bool:
    """Whether code runs straight into an invalid instruction, a fast failure or itself."""
    code = bytes(image.memory[start : start + MAX_STRAIGHT])
    if not any(trap in code for trap in _TRAPS):
        return False
    for instruction in Decoder(image.bits, code, ip=start):
        if instruction.flow_control == FlowControl.NEXT:
            continue
        if instruction.flow_control == FlowControl.UNCONDITIONAL_BRANCH:
            return bool(instruction.near_branch_target == instruction.ip)
        is_stop = instruction.flow_control in (FlowControl.EXCEPTION, FlowControl.INTERRUPT)
        return is_stop and not _is_breakpoint(instruction)
    return False


def _is_breakpoint(instruction: Instruction) -> bool:
    """Whether an instruction asks a debugger: `int 3`, an assertion, a message."""
    mnemonic = instruction.mnemonic
    return mnemonic in (Mnemonic.INT1, Mnemonic.INT3, Mnemonic.INTO) or (
        mnemonic == Mnemonic.INT and instruction.immediate(0) != _FAST_FAIL
    )


def _callee(image: PeImage, call: Instruction) -> str | None:
    """Name of the import that a call names, or the thunk that it calls."""
    at = call.near_branch_target
    if at:
        if image.memory[at : at + 2] != _THUNK:
            return None
        raw = int.from_bytes(image.memory[at + 2 : at + 6], "little", signed=image.bits == 64)
        slot = at + 6 + raw if image.bits == 64 else raw - image.base
    elif image.bits == 64:
        slot = call.ip_rel_memory_address if call.is_ip_rel_memory_operand else 0
    else:
        slot = call.memory_displacement - image.base
    item = image.imports.get(slot) if image.imports else None
    return item.name if item is not None else None
