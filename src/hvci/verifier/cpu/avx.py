"""Executes one vector instruction that the engine computes wrongly: finds operands, stores results.

Knows instructions and operands; `vex.py` and `wide.py` compute.
"""

from __future__ import annotations

from iced_x86 import Instruction, Mnemonic, OpKind, Register, RegisterInfo

from hvci.verifier.cpu import vex, wide
from hvci.verifier.cpu.operands import IMMEDIATES, Operands

Raw = bytes
_GROUPS = frozenset((0x71, 0x72, 0x73))
"""Shifts by an immediate: the register field is part of the opcode, VEX.vvvv the result."""
_PSEUDO = frozenset((Mnemonic.PSHUFB, Mnemonic.MPSADBW))
_MMX = range(Register.MM0, Register.MM7 + 1)


class Vectors:
    """Executes vector instructions on one processor."""

    def __init__(self, operands: Operands) -> None:
        self._operands = operands
        self._twin: vex.Twin | None = None

    def execute(self, instruction: Instruction, raw: Raw) -> bool:
        """Whether the instruction was executed."""
        mnemonic = instruction.mnemonic
        if mnemonic in (Mnemonic.VZEROUPPER, Mnemonic.VZEROALL):
            return self._zero(all_bits=mnemonic == Mnemonic.VZEROALL)
        model = self._model(instruction)
        if model is not None:
            return self._by_model(instruction, model)
        found = vex.fields(raw)
        if found is None:
            return False
        if found.long and mnemonic == Mnemonic.VPTEST:
            return self._test(instruction)
        if found.long and mnemonic in wide.MASKS:
            source = self._operands.value(instruction, 1)
            bits = wide.signs(source, wide.MASKS[mnemonic], 256)
            self._operands.put(instruction.op0_register, bits)
            return True
        if not vex.is_lanewise(instruction, bool(found.long)):
            return False
        return self._by_lanes(instruction, found)

    def _zero(self, all_bits: bool) -> bool:
        count = 16 if self._operands.mask >> 32 else 8
        for number in range(Register.YMM0, Register.YMM0 + count):
            value = 0 if all_bits else self._operands.register(number) & vex.LOW
            self._operands.put_vector(number, value)
        return True

    def _test(self, instruction: Instruction) -> bool:
        one, other = (self._operands.value(instruction, index) for index in (0, 1))
        zero, carry = 0x40 * (not one & other), int(not ~one & other)
        self._operands.flags = self._operands.flags & ~vex.STATUS | zero | carry
        return True

    def _model(self, instruction: Instruction) -> wide.Model | None:
        mnemonic = instruction.mnemonic
        has_immediate = instruction.op_count and (
            instruction.op_kind(instruction.op_count - 1) in IMMEDIATES
        )
        if mnemonic in wide.PERMUTE_IN_LANE:
            return wide.PERMUTE_IN_LANE[mnemonic] if has_immediate else None
        if mnemonic in (Mnemonic.VPERMPD, Mnemonic.VPERMQ) and not has_immediate:
            return None
        if any(instruction.op_register(at) in _MMX for at in range(instruction.op_count)):
            return None
        return wide.MODELS.get(mnemonic)

    def _by_model(self, instruction: Instruction, model: wide.Model) -> bool:
        operands, count = self._operands, instruction.op_count
        immediate = 0
        if instruction.op_kind(count - 1) in IMMEDIATES:
            immediate, count = instruction.immediate(count - 1) & 0xFF, count - 1
        last = operands.value(instruction, count - 1)
        is_legacy = instruction.mnemonic in _PSEUDO
        first = operands.value(instruction, 0 if is_legacy else 1) if count > 2 or is_legacy else 0
        if instruction.op0_kind == OpKind.MEMORY:
            size = operands.size(instruction)
            operands.store(
                instruction, model(0, last, immediate, 8 * size).to_bytes(size, "little")
            )
            return True
        target = instruction.op0_register
        width = 8 * RegisterInfo(target).size
        source_width = max(width, 256 if model is wide.MODELS[Mnemonic.VEXTRACTI128] else 0)
        result = model(first, last, immediate, source_width)
        if is_legacy:
            result |= operands.register(target - Register.XMM0 + Register.YMM0) >> 128 << 128
        operands.put_vector(target, result)
        return True

    # ---- by way of the SSE form

    def _by_lanes(self, instruction: Instruction, found: vex.Fields) -> bool:
        is_group = found.table == 1 and found.opcode in _GROUPS
        count = instruction.op_count
        immediate = b""
        if count and instruction.op_kind(count - 1) in IMMEDIATES:
            immediate = bytes([instruction.immediate(count - 1) & 0xFF])
        code = vex.legacy(found, immediate, is_group)
        if code is None:
            return False
        self._twin = self._twin or vex.Twin()
        roles = _Roles(instruction, found, is_group)
        flags, results = self._operands.flags, []
        for lane in range(1 + found.long):
            result = self._twin.run(code, *roles.lane(self._operands, lane), flags)
            if result is None:
                return False
            results.append(result)
        self._operands.flags = flags & ~vex.STATUS | results[0].flags
        roles.store(self._operands, results)
        return True


class _Roles:
    """Which operand of a VEX instruction stands in which field of its SSE form."""

    def __init__(self, instruction: Instruction, found: vex.Fields, is_group: bool) -> None:
        self._instruction = instruction
        self._is_group = is_group
        self._is_store = _stores(found)
        kinds = [instruction.op_kind(index) for index in range(instruction.op_count)]
        plain = [index for index, kind in enumerate(kinds) if kind not in IMMEDIATES]
        middle = 1 if len(plain) == 3 else 0
        """What the SSE form overwrites: VEX has it in a field of its own."""
        self._memory = next((index for index in plain if kinds[index] == OpKind.MEMORY), -1)
        self._field, self._other = (plain[-1], middle) if self._is_store else (middle, plain[-1])
        self._has_count = instruction.mnemonic in _COUNTED and not is_group
        """Both lanes are shifted by one count, in an XMM register or in memory."""

    def lane(self, operands: Operands, lane: int) -> tuple[vex.Operands, bytes]:
        """What one lane of 128 bits gets."""
        field, other = (self._register(operands, at) for at in (self._field, self._other))
        memory = operands.memory(self._instruction) if self._memory >= 0 else b""
        shift = 128 * lane
        if len(memory) > 16 and not self._has_count:
            memory = memory[16 * lane : 16 * lane + 16]
        second = other if self._has_count else other >> shift
        given = vex.Operands(field >> shift & vex.LOW, second & vex.LOW, (field, other))
        return given, memory

    def _register(self, operands: Operands, index: int) -> int:
        if self._instruction.op_kind(index) != OpKind.REGISTER:
            return 0
        number = self._instruction.op_register(index)
        is_vector = vex.is_vector(number)
        return operands.register(number) if is_vector else operands.whole(number)

    def store(self, operands: Operands, results: list[vex.Result]) -> None:
        """Put the results where the instruction puts them."""
        instruction = self._instruction
        if instruction.op0_kind == OpKind.MEMORY:
            operands.store(instruction, b"".join(result.memory for result in results))
        elif not vex.is_vector(instruction.op0_register):
            operands.put(instruction.op0_register, results[0].general[int(self._is_store)])
        elif instruction.mnemonic not in _NO_RESULT:
            is_second = self._is_group or self._is_store
            parts = [each.second if is_second else each.first for each in results]
            whole = wide.join(parts, 128)
            operands.put_vector(instruction.op0_register, whole)


_COUNTED = frozenset(
    getattr(Mnemonic, name)
    for name in ("VPSLLW", "VPSLLD", "VPSLLQ", "VPSRLW", "VPSRLD", "VPSRLQ", "VPSRAW", "VPSRAD")
)
_NO_RESULT = frozenset(
    getattr(Mnemonic, name) for name in ("VUCOMISS", "VUCOMISD", "VCOMISS", "VCOMISD", "VPTEST")
)
_STORE_OPCODES = {
    1: frozenset((0x11, 0x13, 0x17, 0x29, 0x2B, 0x7E, 0x7F, 0xD6, 0xE7)),
    3: frozenset((0x14, 0x15, 0x16, 0x17)),
}


def _stores(found: vex.Fields) -> bool:
    """Whether the result stands in the register-or-memory field."""
    if found.table == 1 and found.opcode == 0x7E:
        return found.prefix == 1
    return found.opcode in _STORE_OPCODES.get(found.table, ())
