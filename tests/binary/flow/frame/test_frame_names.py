"""What a walk with a pointer need not look at: instructions that name nothing of it."""

import pytest

from flowtext import SP, Text
from hvci.binary.flow.frame.names import Names
from hvci.binary.form.code import Location, slot

HELD = slot(-16)
ROWS = {
    "x1 = 0x200": True,
    "x2 = x1 + 4": True,
    "[x2+8] = x1": True,
    "[sp-32] = x1": True,
    "x1 = load [sp-32]": True,
    "x1 = load [sp-16]:4": True,
    "x1 = load [image+0x3000]": True,
    "[sp-16] = x1": False,
    "x1 = load [sp-16]": False,
    "x1 = load [sp+x2*8-64]": False,
    "[sp-32] = load [sp-16]": False,
    "x1 = x5": False,
    "x5 = 1": False,
    "[x5+8] = x1": False,
}


class Frame(Text):
    """No register but the stack pointer holds an address in the frame."""

    def may_hold_stack_address(self, function, number):
        return number == SP


@pytest.mark.parametrize("row", ROWS)
def test_what_an_instruction_leaves_alone(row):
    program = Frame(f"entry:\n{row}\nret")
    function, i = program.where(row)
    names = Names(program.flow, function)
    for _ in range(2):  # the second answer is remembered
        assert names.is_untouched(i, 1 << 5, frozenset((HELD,))) is ROWS[row]


def test_slots_do_not_matter_where_none_is_held():
    program = Frame("entry:\n[sp-16] = x1\nret")
    function, i = program.where("[sp-16]")
    assert Names(program.flow, function).is_untouched(i, 1 << 5, frozenset())
    assert not Names(program.flow, function).is_untouched(i, 1 << 1, frozenset())


def test_slots_that_the_frame_pointer_names_are_noted():
    program = Frame("entry:\n[fp-32] = x1\nret")
    program.flow.depth.frame_pointer = lambda function, i: -8
    function, i = program.where("[fp-32]")
    names = Names(program.flow, function)
    assert names.is_untouched(i, 0, frozenset((HELD,)))
    assert names.locals == {slot(-40)}


def test_a_place_that_is_being_asked_for_is_not_remembered():
    program = Text("entry:\n[x9+8] = x1\nret")
    function, i = program.where("[x9+8]")
    function.cache["asked bases"] = {(i, 9)}
    names = Names(program.flow, function)
    assert not names.is_untouched(i, 0, frozenset((HELD,)))
    function.cache["asked bases"].clear()
    assert names.is_untouched(i, 0, frozenset((HELD,)))
    assert Location(HELD) not in names.locals
