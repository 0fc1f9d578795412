"""How many bytes of arguments the callees of x86 code remove from the stack.

Documented for imports; for internal functions what their `ret n` says, wherever control finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic, OpKind

from hvci.binary.arch.x86.lift import NONE, only_fills
from hvci.binary.form.code import Flow, Function
from hvci.binary.pe.image import PeImage
from hvci.catalog.prototypes import x86_bytes

_READS_FS_0 = (b"\x64\xa1", b"\x64\xff")
MAX_CALLEE = 8192
"""Instructions of a callee that are searched for its `ret n`."""
MAX_SEARCHED = 2_000_000
"""Instructions of all callees that are searched."""
KEPT = 128
"""Instructions before a call in which its register is looked for."""
_ENDS = frozenset(
    (
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.INDIRECT_BRANCH,
        FlowControl.INTERRUPT,
        FlowControl.EXCEPTION,
    )
)
_KEEPS = (Mnemonic.PUSH, Mnemonic.CMP, Mnemonic.TEST, Mnemonic.CALL, Mnemonic.JMP)
SEH_PROLOG = "SEH prologue helper"


class PopsX86:
    """Answers for the callees of one image."""

    def __init__(self, image: PeImage, thunk_name: Callable[[int], str | None]) -> None:
        self.image = image
        self.thunk_name = thunk_name
        """Name of the import that the jump at an RVA leads to."""
        self._pops: dict[int, int | str | None] = {}
        self._searched = 0

    def popped(self, function: Function, i: int) -> int | str | None:
        """Bytes of arguments that the callee removes; `SEH_PROLOG` for the frame helper."""
        instruction = function.instructions[i]
        if function.flows[i] == Flow.CALL:
            return self._popped_by(instruction.near_branch_target & 0xFFFFFFFF)
        return 0 if self.is_guard_check(instruction) else self._pops_of_import(instruction)

    def popped_through(self, function: Function, i: int) -> int | None:
        """What the import pops that a called register was loaded with last, in code order.

        Branches may lead to the call as well: this is likely, and not sure.
        """
        if function.instructions[i].op0_kind != OpKind.REGISTER:
            return None
        register = function.instructions[i].op0_register
        for k in range(i - 1, max(-1, i - 1 - KEPT), -1):
            instruction = function.instructions[k]
            if not instruction.op_count or instruction.op0_register != register:
                continue
            if instruction.mnemonic in _KEEPS or only_fills(instruction):
                continue
            is_load = instruction.mnemonic == Mnemonic.MOV and instruction.op1_kind == OpKind.MEMORY
            return self._pops_of_slot(instruction) if is_load else None
        return None

    def is_guard_check(self, instruction: Instruction) -> bool:
        """Whether a call only lets Control Flow Guard look at the target."""
        if instruction.op0_kind != OpKind.MEMORY or instruction.memory_base != NONE:
            return False
        slot = (instruction.memory_displacement - self.image.base) & 0xFFFFFFFF
        return slot == self.image.guard_check

    def _popped_by(self, target: int) -> int | str | None:
        if target not in self._pops:
            self._pops[target] = None  # a recursive call learns nothing from itself
            self._pops[target] = self._learn(target)
        return self._pops[target]

    def _learn(self, target: int) -> int | str | None:
        memory = self.image.memory
        name = self.thunk_name(target)
        if name is not None:
            return x86_bytes(name)
        if not self.image.is_code(target):
            return None
        opening = bytes(memory[target : target + 7])
        if opening[:1] == b"\x68" and opening[5:] in _READS_FS_0:
            return SEH_PROLOG
        if opening[:3] == b"\x8b\x4d\xf0":  # SEH epilogue helper
            return None
        return self._pops_at_return(target)

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(32, self.image.memory)

    def _pops_at_return(self, start: int) -> int | None:
        """What the first return pops that control comes to from an RVA; tail calls are followed.

        What they end in pops the same.
        """
        work, seen, left = [start], {start}, MAX_CALLEE
        while work:
            at = work.pop()
            self._decoder.position = self._decoder.ip = at
            for instruction in self._decoder:
                flow = instruction.flow_control
                self._searched, left = self._searched + 1, left - 1
                if self._searched > MAX_SEARCHED or left < 0:
                    return None
                if flow == FlowControl.NEXT and instruction.code:
                    continue
                if flow == FlowControl.RETURN:
                    return int(instruction.immediate(0)) if instruction.op_count else 0
                if flow == FlowControl.INDIRECT_BRANCH:
                    popped = self._pops_of_import(instruction)
                    if popped is not None:
                        return popped
                elif flow in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH):
                    target = instruction.near_branch_target & 0xFFFFFFFF
                    if target not in seen and self.image.is_code(target):
                        seen.add(target)
                        work.append(target)
                if flow in _ENDS or not instruction.code:
                    break
        return None

    def _pops_of_import(self, instruction: Instruction) -> int | None:
        """What a call or jump through the slot of an import pops; None for all others."""
        return self._pops_of_slot(instruction) if instruction.op0_kind == OpKind.MEMORY else None

    def _pops_of_slot(self, instruction: Instruction) -> int | None:
        """What the import pops whose slot a memory operand is; None for all others."""
        if instruction.memory_base != NONE or instruction.memory_index != NONE:
            return None
        slot = (instruction.memory_displacement - self.image.base) & 0xFFFFFFFF
        item = self.image.imports.get(slot)
        return x86_bytes(item.name) if item else None
