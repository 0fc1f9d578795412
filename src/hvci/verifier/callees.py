"""What an x86 callee that nobody knows takes off the stack: what its caller needs to come out even.

Theory of operation. An x86 callee removes its own arguments, and how many it had stands only in
its own code. A stand-in without prototype, or a call through an unset pointer, has none. The
caller's code knows: at its return the stack pointer must stand at the caller's return address.

1. Walk from the return address along the fall-through path, then along branches, adding up what
   instructions and known callees do to the stack, until the function leaves.
2. The argument bytes are those with which the stack pointer then shows a return address: a place
   behind a call in the image, or one of the two return addresses that only the system gives.
3. A caller that finds the stack through a frame pointer comes out even whatever was removed. There,
   and among several answers, the pushes before the call decide; where the arguments were stored
   and not pushed, the room that the caller makes anew behind the call.

Blind spots: a frame helper (SEH prologue) ends the walk. Knows stacks; knows nothing of DDIs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

from hvci.verifier.arch import Block, Ending
from hvci.verifier.machine import Machine

LARGEST = 0x80
"""Bytes of arguments that are tried."""
MAX_STEPS = 600
MAX_WAYS = 24
MAX_CALLEE = 0x2000
MAX_JUMPS = 8
LONGEST = 15
_CALLS = (FlowControl.CALL, FlowControl.INDIRECT_CALL)
_KEPT: tuple[int, ...] = (Register.EBP, Register.EBX, Register.ESI, Register.EDI)
"""Registers that a function saves before it uses them."""

Known = Callable[[int], int | None]
"""Bytes that the stand-in at an address removes; None when that is not known or none is there."""


class Callees:
    """Answers for one machine."""

    def __init__(self, machine: Machine, known: Known) -> None:
        self._machine = machine
        self._memory = machine.memory
        self._known = known
        self._own: dict[int, int | None] = {}
        self._after: dict[int, int | None] = {}
        """By return address: what the caller adds to the stack pointer before it leaves."""

    def removed(self, return_to: int, sp: int) -> int:
        """Argument bytes of the call that returns to `return_to`; `sp` as the callee leaves it.

        That is: with the return address taken off and the arguments still there.
        """
        if self._caller_cleans(return_to):
            return 0
        pushed = self._pushed() or self._made_anew(return_to)
        if return_to not in self._after:
            self._after[return_to] = next(self._walk(return_to), None)
        after = self._after[return_to]
        if after is None:
            return pushed
        fitting = [size for size in range(0, LARGEST + 4, 4) if self._leaves(sp + size + after)]
        if pushed in fitting or not fitting:
            return pushed
        return fitting[0]

    # ---- forward

    def _decode(self, address: int) -> Instruction | None:
        if not self._machine.in_image(address):
            return None
        code = self._memory.read(address, min(LONGEST, self._machine.image_end - address))
        for instruction in Decoder(32, code, ip=address):
            return None if instruction.is_invalid else instruction
        return None

    def _caller_cleans(self, return_to: int) -> bool:
        """Whether the code behind the call removes the arguments itself."""
        after = self._decode(return_to)
        if after is None:
            return False
        if after.mnemonic == Mnemonic.POP:
            return bool(after.op0_register == Register.ECX)
        return bool(after.mnemonic == Mnemonic.ADD and after.op0_register == Register.ESP)

    def _made_anew(self, return_to: int) -> int:
        """Bytes that the code behind the call takes from the stack at once."""
        after = self._decode(return_to)
        if after is None or after.mnemonic != Mnemonic.SUB or _forgets(after):
            return 0
        return max(0, -_change(after)) & ~3

    def _walk(self, start: int) -> Iterator[int]:
        """What each way from `start` adds to the stack pointer before the function leaves."""
        ways, seen, steps = [(start, 0, 0)], set[int](), 0
        while ways and steps < MAX_STEPS and len(seen) < MAX_STEPS:
            address, depth, pushed = ways.pop()
            while address not in seen and steps < MAX_STEPS:
                seen.add(address)
                steps += 1
                instruction = self._decode(address)
                if instruction is None or _forgets(instruction):
                    break
                flow = instruction.flow_control
                if flow == FlowControl.RETURN or self._is_tail_call(instruction):
                    yield depth
                    break
                if flow == FlowControl.CONDITIONAL_BRANCH and len(ways) < MAX_WAYS:
                    ways.append((instruction.near_branch_target, depth, pushed))
                if flow == FlowControl.UNCONDITIONAL_BRANCH:
                    address = instruction.near_branch_target
                    continue
                if flow in _CALLS:
                    removed = self._removed_by(instruction)
                    if removed is None:
                        removed = pushed or self._made_anew(instruction.next_ip)
                    depth, pushed = depth + removed, 0
                else:
                    depth += _change(instruction)
                    pushed += 4 * (instruction.mnemonic == Mnemonic.PUSH)
                address = instruction.next_ip

    def _is_tail_call(self, instruction: Instruction) -> bool:
        """A jump out of the function through a pointer leaves the stack as a return finds it."""
        if instruction.flow_control != FlowControl.INDIRECT_BRANCH:
            return False
        return bool(
            instruction.op0_kind == OpKind.REGISTER or instruction.memory_index == Register.NONE
        )

    def _removed_by(self, call: Instruction) -> int | None:
        """Argument bytes of a callee, when they are known."""
        if self._caller_cleans(call.next_ip):
            return 0
        is_direct = call.flow_control == FlowControl.CALL
        target = call.near_branch_target if is_direct else self._slot(call)
        return None if target is None else self._removed_at(target)

    def _removed_at(self, target: int) -> int | None:
        """What the function at an address removes, behind the jumps that it may begin with."""
        for _ in range(MAX_JUMPS):
            if not self._machine.in_image(target):
                return self._known(target)
            first = self._decode(target)
            if first is None or first.flow_control != FlowControl.UNCONDITIONAL_BRANCH:
                break
            target = first.near_branch_target
        if target not in self._own:
            self._own[target] = self._read_callee(target)
        return self._own[target]

    def _read_callee(self, target: int) -> int | None:
        """What the first return of a function of the image removes; a thunk is its import."""
        size = min(MAX_CALLEE, self._machine.image_end - target)
        for instruction in Decoder(32, self._memory.read(target, size), ip=target):
            flow = instruction.flow_control
            if instruction.is_invalid:
                return None
            if flow == FlowControl.RETURN:
                return int(instruction.immediate(0)) if instruction.op_count else 0
            if instruction.ip == target and flow == FlowControl.INDIRECT_BRANCH:
                slot = self._slot(instruction)
                return None if slot is None else self._known(slot)
        return None

    def _slot(self, transfer: Instruction) -> int | None:
        """Where a call or jump through a variable of the image leads."""
        is_variable = transfer.op0_kind == OpKind.MEMORY and transfer.memory_base == Register.NONE
        if not is_variable or transfer.memory_index != Register.NONE:
            return None
        place = transfer.memory_displacement & self._memory.mask
        if self._memory.find(place) is None or self._memory.find(place + 3) is None:
            return None
        return self._memory.u32(place)

    def _leaves(self, slot: int) -> bool:
        """Whether a stack slot holds a return address."""
        if self._memory.find(slot) is None or self._memory.find(slot + 3) is None:
            return False
        value, place = self._memory.u32(slot), self._machine.layout
        if value in (place.exit, place.resume):
            return True
        return self._machine.in_image(value) and any(
            self._is_call(value - size, value) for size in (2, 3, 5, 6, 7)
        )

    def _is_call(self, address: int, end: int) -> bool:
        instruction = self._decode(address)
        return (
            instruction is not None
            and instruction.next_ip == end
            and instruction.flow_control in _CALLS
        )

    # ---- backward

    def _pushed(self) -> int:
        """Bytes pushed in the blocks that led to the call."""
        block, past = self._machine.current, self._machine.previous
        if block is None:
            return 0
        check, before = past[0], past[1]
        # Control Flow Guard's check, an empty function, may stand between pushes and call.
        pushed = self._pushed_in(block)
        if pushed or check is None or before is None or before.end != block.start:
            return pushed
        is_empty = check.start == check.last and check.ending is Ending.RETURN
        return self._pushed_in(before) if is_empty else 0

    def _pushed_in(self, block: Block) -> int:
        """Bytes of arguments that a block pushes; what a prologue saves is none."""
        code = self._memory.read(block.start, block.end - block.start)
        instructions = list(Decoder(32, code, ip=block.start))
        saves = bool(instructions) and _is_push(instructions[0], Register.EBP)
        unchanged = set[int](_KEPT if saves else ())
        pushed = 0
        for instruction in instructions:
            first = instruction.op0_register if instruction.op_count else Register.NONE
            if instruction.mnemonic != Mnemonic.PUSH:
                unchanged.discard(first)
            elif first not in unchanged:
                pushed += 4
        return pushed


def _is_push(instruction: Instruction, register: int) -> bool:
    return (instruction.mnemonic, instruction.op0_register) == (Mnemonic.PUSH, register)


def _change(instruction: Instruction) -> int:
    """What an instruction other than a call adds to the stack pointer."""
    is_stack = instruction.op_count == 2 and instruction.op0_register == Register.ESP
    if is_stack and instruction.mnemonic in (Mnemonic.ADD, Mnemonic.SUB):
        amount = instruction.immediate(1) & 0xFFFF_FFFF
        amount -= (amount & 0x8000_0000) << 1
        return amount if instruction.mnemonic == Mnemonic.ADD else -amount
    if is_stack and instruction.mnemonic == Mnemonic.LEA:
        displacement = instruction.memory_displacement & 0xFFFF_FFFF
        return displacement - ((displacement & 0x8000_0000) << 1)
    if instruction.flow_control in _CALLS:
        return 0
    change: int = instruction.stack_pointer_increment
    return change


def _forgets(instruction: Instruction) -> bool:
    """Whether the stack pointer is set anew, from a frame pointer or a variable."""
    if instruction.mnemonic in (Mnemonic.LEAVE, Mnemonic.ENTER):
        return True
    if instruction.op_count != 2 or instruction.op0_register != Register.ESP:
        return False
    match instruction.mnemonic:
        case Mnemonic.ADD | Mnemonic.SUB:
            return bool(instruction.op1_kind in (OpKind.REGISTER, OpKind.MEMORY))
        case Mnemonic.LEA:
            base, index = instruction.memory_base, instruction.memory_index
            return (base, index) != (Register.ESP, Register.NONE)
        case Mnemonic.CMP | Mnemonic.TEST:
            return False
    return True
