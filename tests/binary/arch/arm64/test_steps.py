"""Steps of ARM64 words: what the encoding table and the data flow say of the same words."""

from hypothesis import given, settings
from hypothesis import strategies as st

import build
from hvci.binary.arch.arm64.architecture import Arm64
from hvci.binary.arch.arm64.encoding import flow_of, named_registers, written_registers
from hvci.binary.arch.arm64.steps import step, touched
from hvci.binary.form.code import Binary, Const, Flow, Load, Reg
from hvci.binary.form.step import Move, Moved
from hvci.binary.pe.image import PeImage

START = 0x1000
words = st.integers(0, (1 << 32) - 1)


def function_of(word):
    image = PeImage(build.driver("arm64"))
    image.memory[START : START + 4] = word.to_bytes(4, "little")
    arch = Arm64(image)
    return arch, arch.function(START, [(START, START + 4)], "unwind")


@settings(max_examples=400, deadline=None)
@given(words)
def test_a_step_says_what_the_data_flow_says(word):
    made = step(word)
    assert made.flow == flow_of(word)
    if made.flow:
        return
    assert touched(word) == made.named == named_registers(word)
    assert made.written == written_registers(word)
    assert not (made.written | made.bases | made.sources) & ~made.named
    arch, function = function_of(word)
    effect = arch.effect(function, 0)
    assert [each.base for each in made.stores] == [each.base for each in effect.stores]
    for register, base, offset in made.loads:
        expr = arch.define(function, 0, register)
        assert isinstance(expr, Load)
        assert (expr.memory.base, expr.memory.displacement, expr.memory.size) == (base, offset, 8)
    for target, source, amount in made.moves:
        assert made.written >> target & 1
        expr = arch.define(function, 0, target)
        if not amount and not made.bases:
            assert expr in (Reg(source), Binary("add", Reg(source), Const(0), 8))


def test_the_commonest_words():
    assert step(0xF9400D09).loads == (Moved(9, 8, 24),)  # ldr x9, [x8, #24]
    assert step(0xA94103E8).loads == (Moved(8, 31, 16), Moved(0, 31, 24))  # ldp x8, x0
    assert step(0xF9000BE9).stores == (Moved(9, 31, 16),)  # str x9, [sp, #16]
    assert step(0xAA0803EA).moves == (Move(10, 8, 0),)  # mov x10, x8
    assert step(0x91006109).moves == (Move(9, 8, 24),)  # add x9, x8, #24
    assert step(0xD1006109).moves == (Move(9, 8, -24),)  # sub x9, x8, #24
    assert step(0xD63F0100).through == 8  # blr x8
    assert step(0x94000002).flow == Flow.CALL  # bl
