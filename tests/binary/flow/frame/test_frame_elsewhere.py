"""What single instructions show to be no frame address, and what they leave to the data flow."""

import pytest

from flowtext import SP, Text
from hvci.binary.flow.frame.elsewhere import OFTEN, is_elsewhere

PLACED = "x9 = address [sp-64]\n"
"""Lets register 9 hold an address in the frame, as far as the function's instructions tell."""

ELSEWHERE = {
    "a variable of the image": "x9 = load [image+0x3000]",
    "an address of data": "x9 = address [image+0x3000]",
    "a number": "x9 = 0x40",
    "a parameter": "x9 = x1",
    "a field of an object": "x9 = load [x2+8]",
    "what a routine of others returns": "call import Alloc\nx9 = x0",
    "what is not followed": "x9 = ?",
    "a copy of a copy": "x8 = load [image+0x3000]\nx10 = x8\nx9 = x10",
    "a sum with a number": "x8 = load [image+0x3000]\nx9 = x8 + 16",
    "the address of a field": "x8 = load [image+0x3000]\nx9 = address [x8+16]",
    "what was put aside": "[sp-8] = x1\nx9 = load [sp-8]",
    "one of two ways": "if ? goto .on\nx9 = load [image+0x3000]\n.on:",
    "a place beside that of an address": "[sp-8] = x1\n[sp-16] = x9\nx9 = load [sp-8]",
    "beside half of an address": "[x9+8]:4 = x9\n[sp-8] = x1\nx9 = load [sp-8]",
    "a field of what was put aside": "[sp-8] = x1\nx9 = load [sp-8]\nx9 = load [x9+8]",
}
CLOSELY = {
    "beside where another object's field is put": (
        "x10 = load [image+0x3000]\n[x10+8] = x8\n[sp-8] = x1\nx9 = load [sp-8]"
    ),
    "beside where a number is put into an array": (
        "x8 = load [image+0x3000]\n[x9+8] = x8\n[sp-8] = x1\nx9 = load [sp-8]"
    ),
    "beside where a copy of the stack pointer is stored through": (
        "x10 = sp\n[x10-16] = x9\n[sp-8] = x1\nx9 = load [sp-8]"
    ),
}
"""What takes a close look at the stores of the function."""
OPEN = {
    "the address of a local variable": "",
    "a copy of it": "x8 = x9\nx9 = x8",
    "a field behind it": "x8 = x9\nx9 = x8 + 8",
    "what was put aside": "[sp-8] = x9\nx9 = load [sp-8]",
    "what was put aside anywhere": "x10 = x9 + x1\n[x10+8] = x9\nx9 = load [sp-8]",
    "what was put aside as an element": "[sp+x1*8-32] = x9\nx9 = load [sp-8]",
    "what a function of the image returns": "x0 = x9\ncall own\nx9 = x0",
    "an element": "x9 = load [image+x1*8+0x3000]",
    "the sum of two": "x9 = x9 + x1",
    "what was put where a copy of the stack pointer leads": (
        "x10 = sp\n[x10-8] = x9\nx9 = load [sp-8]"
    ),
    "what was put aside twice": ("[sp-16] = x9\nx8 = load [sp-16]\n[sp-8] = x8\nx9 = load [sp-8]"),
    "what was put through what was put aside": (
        "[sp-16] = x9\nx8 = load [sp-16]\n[x8+8] = x8\nx9 = load [sp-8]"
    ),
    "what an address of the frame is read through": "[sp-8] = x9\nx9 = load [x9+8]",
    "a loop that nothing else leads into": ".on:\nx9 = x9 + 8\nif ? goto .on",
}


class Frame(Text):
    """Registers 0 and 8 to 10 may hold addresses in the frame, as one pass over code would tell."""

    def may_hold_stack_address(self, function, number):
        return number in (0, 8, 9, 10, SP)


def asked(lines, times=OFTEN):
    program = Frame(f"entry:\n{PLACED}{lines}\n[x9]:4 = 0x200\nret\nown:\nret")
    function, i = program.where("[x9]:4 = 0x200")
    return [is_elsewhere(program.flow, function, i, 9) for _ in range(times)]


@pytest.mark.parametrize("lines", ELSEWHERE.values(), ids=ELSEWHERE)
def test_one_instruction_tells_that_it_is_no_frame_address(lines):
    assert all(asked(lines))


@pytest.mark.parametrize("lines", CLOSELY.values(), ids=CLOSELY)
def test_what_is_asked_often_gets_a_close_look(lines):
    assert asked(lines) == [False] * (OFTEN - 1) + [True]


@pytest.mark.parametrize("lines", OPEN.values(), ids=OPEN)
def test_what_may_be_a_frame_address_is_left_to_the_data_flow(lines):
    assert not any(asked(lines))


def test_a_frame_address_that_was_put_aside_is_still_found():
    lines = "[sp-8] = x9\nx9 = load [sp-8]\n[x9+8]:4 = 0x200\nx0 = load [sp-56]:4\nret"
    program = Frame(f"entry:\n{PLACED}{lines}")
    assert {atom.value for atom in program.before("ret", 0)} == {0x200}


def test_the_walk_costs_the_question_nothing():
    program = Frame(f"entry:\n{PLACED}x9 = load [image+0x3000]\n[x9]:4 = 1\nret")
    program.flow.begin()
    before = program.flow.steps
    assert is_elsewhere(program.flow, *program.where("[x9]:4 = 1"), 9)
    assert program.flow.steps == before
