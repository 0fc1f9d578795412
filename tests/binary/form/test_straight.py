"""The walk forward over steps, without a machine: each step is written down as what it does."""

import pytest

from hvci.binary.form.code import Flow
from hvci.binary.form.step import Move, Moved, Step, Steps
from hvci.binary.form.straight import Held, last_write, next_call, uses

STEPS = Steps(lambda step: -1 if step.flow else step.named, lambda step: step)
VOLATILE = 0xFF


def names(*registers):
    return sum(1 << each for each in set(registers))


def load(target, base, offset=0):
    moved = (Moved(target, base, offset),)
    return Step(written=names(target), named=names(target, base), bases=names(base), loads=moved)


def store(register, base, offset=0):
    moved = (Moved(register, base, offset),)
    both = names(register, base)
    return Step(named=both, bases=names(base), sources=names(register), stores=moved)


def copy(target, source, amount=0):
    moves = (Move(target, source, amount),)
    return Step(
        written=names(target), named=names(target, source), sources=names(source), moves=moves
    )


def compute(target, *sources):
    every = names(target, *sources)
    return Step(written=names(target), named=every, sources=names(*sources))


def through(register, flow=Flow.INDIRECT_CALL):
    return Step(flow, through=register)


CALL, BRANCH, JUMP = Step(Flow.CALL), Step(Flow.BRANCH), Step(Flow.JUMP)


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ([load(9, 8, 24), through(9)], (2, 24, False)),
        ([load(9, 8, 24), through(9, Flow.INDIRECT_JUMP)], (2, 24, False)),
        ([load(9, 8, 24), compute(1, 2), through(9)], (3, 24, False)),
        ([load(8, 8, 24), through(8)], (2, 24, False)),
        ([copy(9, 8, 16), load(9, 9, 8), through(9)], (3, 24, False)),
        ([load(9, 8, 24), copy(15, 9), through(9)], (3, 24, False)),
        ([load(9, 8, 24), copy(15, 9), compute(9), through(15)], (4, 24, False)),
        ([load(9, 8, 24), CALL, through(9)], (3, 24, True)),
        ([load(9, 8, 24), through(1), through(9)], (3, 24, True)),
    ],
)
def test_the_call_of_an_entry_is_found(code, call):
    n, offset, step, passed = next_call(code, STEPS, Held((8,)))
    assert (n, offset, passed) == call
    assert step is code[n - 1]


@pytest.mark.parametrize(
    "code",
    [
        [],
        [load(9, 8, 24)],
        [compute(8)],  # the table is lost
        [load(9, 8, 24), BRANCH, through(9)],
        [load(9, 8, 24), JUMP],
        [load(9, 8, 24), store(9, 31, 8), through(9)],  # it is called from elsewhere as well
        [store(8, 31, 8), load(9, 8, 24), through(9)],
        [store(1, 8, 8), load(9, 8, 24), through(9)],  # something is put into the table
        [compute(8, 8, 1), load(9, 8, 24), through(9)],  # an offset that is not known
        [load(9, 8, 24), compute(9), compute(8), through(9)],
        [load(9, 8, 24), copy(9, 9, 8), through(9)],
        [Step(written=1 << 9, named=names(9, 8), bases=1 << 8), through(9)],  # half an entry
    ],
)
def test_what_is_less_plain_is_left_to_others(code):
    assert next_call(code, STEPS, Held((8,))) is None


def found(code, lost_by_calls=VOLATILE):
    return [(n, held) for n, _, held in uses(code, STEPS, 1 << 1, lost_by_calls)]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ([compute(3, 4), store(4, 1)], [(2, 2)]),
        ([copy(3, 1), compute(1), store(4, 3)], [(1, 2), (2, 10), (3, 8)]),
        ([compute(3, 1, 4), store(4, 3)], [(1, 2), (2, 10)]),  # a sum with it
        ([compute(1, 4), store(4, 1)], [(1, 2)]),  # overwritten
        ([load(3, 1), store(4, 3)], [(1, 2)]),  # what it points to is something else
        ([load(1, 1), store(4, 1)], [(1, 2)]),
        ([CALL, store(4, 1)], [(1, 2)]),  # a call destroys it
        ([copy(9, 1), CALL, store(4, 9)], [(1, 2), (2, 514), (3, 512)]),
        ([BRANCH, store(4, 1)], [(1, 2), (2, 2)]),
    ],
)
def test_a_pointer_is_followed_through_copies_and_sums(code, wanted):
    assert found(code) == wanted


def test_a_base_that_moves_is_still_a_pointer():
    pop = load(4, 1)._replace(written=names(4, 1), moves=(Move(1, 1, 8),))
    assert found([pop, store(4, 1)]) == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("first", "made"), [(0, 1), (1, 1), (2, -1), (3, -1)])
def test_the_last_write_before_a_place(first, made):
    code = [0b01, 0b11, 0b10, 0b100, 0b01]
    assert last_write(code, lambda written: written, 4, 0b01, first) == made
    assert last_write(code, lambda written: written, 4, 0b1000, 0) == -1
