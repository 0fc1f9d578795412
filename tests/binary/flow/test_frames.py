"""What a local variable can hold: stores, objects whose address is passed on, arrays, fills."""

import pytest

from flowtext import Text, told
from hvci.binary.flow.reaching import ARRAY, OBJECT, PART

OTHERS = "\nother:\n[x0+16]:4 = 4\nret\nreads:\nx1 = load [x0+16]:4\nret"
"""Routines of the driver that get the address of an object."""
IN_PARTS = "a local variable that is written in parts"
LEAKED = "a local variable whose address is passed to a call"
CASES = {
    "stored and loaded": ("[sp-8]:4 = 0x200\nx0 = load [sp-8]:4", {0x200}),
    "the last of two stores": ("[sp-8]:4 = 0\n[sp-8]:4 = 0x200\nx0 = load [sp-8]:4", {0x200}),
    "the neighbour is another": ("[sp-8]:4 = 0x200\n[sp-12]:4 = 0\nx0 = load [sp-8]:4", {0x200}),
    "the upper half of a wider store": (
        "[sp-8] = 0x200_0000_0001\nx0 = load [sp-4]:4",
        {0x200},
    ),
    "through a copy of the stack pointer": (
        "x9 = address [sp-16]\n[x9+8]:4 = 0x200\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "on two ways": (
        "[sp-8]:4 = 0\nif ? goto .end\n[sp-8]:4 = 0x200\n.end:\nx0 = load [sp-8]:4",
        {0, 0x200},
    ),
    "on one way only": (
        "if ? goto .end\n[sp-8]:4 = 0x200\n.end:\nx0 = load [sp-8]:4",
        {0x200, "a local variable that is not initialised on some path"},
    ),
    "kept across a call that does not know it": (
        "[sp-8]:4 = 0x200\ncall import Other\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "its own address passed on": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-8]\ncall import Other\nx0 = load [sp-8]:4",
        {LEAKED},
    ),
    "part of an object whose address goes to a routine of the driver": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-24]\ncall other\nx0 = load [sp-8]:4",
        {0x200, OBJECT},
    ),
    "part of an object that a routine of the driver only reads": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-24]\ncall reads\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "its own address goes to what only reads": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-8]\ncall reads\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "part of an object whose address goes to Windows": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-24]\ncall import ZwClose\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "part of an object whose address goes to a routine that nobody documents": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-24]\ncall import Other\nx0 = load [sp-8]:4",
        {0x200, OBJECT},
    ),
    "part of an object that a text is written to": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-24]\ncall import strcpy\nx0 = load [sp-8]:4",
        {0x200, OBJECT},
    ),
    "an object that ends before it": (
        "[sp-8]:4 = 0x200\nx0 = address [sp-4]\ncall other\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "a store with an index behind a start": (
        "[sp-8]:4 = 0x200\nx9 = address [sp-24]\nx10 = ?\n[x9+x10*4]:4 = 0\nx0 = load [sp-8]:4",
        {0x200, ARRAY},
    ),
    "a store with an index behind it": (
        "[sp-8]:4 = 0x200\nx9 = address [sp-4]\nx10 = ?\n[x9+x10*4]:4 = 0\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "a byte of it changed": (
        "[sp-8]:4 = 0x200\n[sp-7]:1 = 0\nx0 = load [sp-8]:4",
        {0x200, PART},
    ),
    "its first byte changed": (
        "[sp-8]:4 = 0x204\n[sp-8]:1 = 8\nx0 = load [sp-8]:4",
        {0x208},
    ),
    "its first two bytes changed on one way": (
        "[sp-8]:4 = 0x10200\nif ? goto .end\n[sp-8]:2 = 8\n.end:\nx0 = load [sp-8]:4",
        {0x10200, 0x10008},
    ),
    "its first byte changed by what it was": (
        "[sp-8]:4 = 0x204\nx9 = load [sp-8]:1\nx9 = x9 | 8\n[sp-8]:1 = x9\nx0 = load [sp-8]:4",
        {0x20C},
    ),
    "its first byte changed, and one behind it": (
        "[sp-8]:4 = 0x204\n[sp-8]:1 = 8\n[sp-7]:1 = 0\nx0 = load [sp-8]:4",
        {IN_PARTS},
    ),
    "its first byte changed in a loop": (
        "[sp-8]:4 = 0x204\n.again:\nx9 = load [sp-8]:1\nx9 = x9 + 1\n[sp-8]:1 = x9\n"
        "if ? goto .again\nx0 = load [sp-8]:4",
        {IN_PARTS},
    ),
    "a first byte that nothing else goes before": (
        "[sp-8]:1 = 8\nx0 = load [sp-8]:4",
        {IN_PARTS},
    ),
    "the upper half of eight bytes, written in parts": (
        "[sp-16]:4 = 0x200\n[sp-12]:1 = 5\n[sp-10]:2 = 1\nx0 = load [sp-16]\nx0 = x0 >> 32",
        {IN_PARTS},
    ),
    "a byte, and a byte of it": ("[sp-8]:1 = 8\n[sp-7]:1 = 9\nx0 = load [sp-8]:1", {8}),
    "an element that a masked index chooses": (
        "[sp-16]:4 = 0x200\n[sp-12]:4 = 0x204\nx9 = ?\nx9 = x9 &:4 1\nx0 = load [sp+x9*4-16]:4",
        {0x200, 0x204},
    ),
    "an element behind the array that a masked index chooses": (
        "[sp-16]:4 = 0x200\nx9 = ?\nx9 = x9 &:4 1\nx0 = load [sp+x9*4-16]:4",
        {0x200, "a local variable that is not initialised on some path"},
    ),
    "an element that anything chooses": (
        "[sp-16]:4 = 0x200\nx9 = ?\nx0 = load [sp+x9*4-16]:4",
        {"an element of a table whose index is not known"},
    ),
    "an element that a masked index may have written": (
        "[sp-16]:4 = 0x200\n[sp-12]:4 = 0x204\nx9 = ?\nx9 = x9 &:4 1\n[sp+x9*4-16]:4 = 5\n"
        "x0 = load [sp-12]:4",
        {0x204, 5},
    ),
    "an element that no masked index has written": (
        "[sp-16]:4 = 0x200\n[sp-8]:4 = 0x204\nx9 = ?\nx9 = x9 &:4 1\n[sp+x9*4-16]:4 = 5\n"
        "x0 = load [sp-8]:4",
        {0x204},
    ),
    "an element of which a masked index may have written a part": (
        "[sp-8]:4 = 0x204\nx9 = ?\nx9 = x9 &:4 3\n[sp+x9*2-10]:2 = 5\nx0 = load [sp-8]:4",
        {0x204, "an element of an array on the stack that is written"},
    ),
    "an element that anything may have written": (
        "[sp-8]:4 = 0x204\nx9 = ?\n[sp+x9*4-16]:4 = 5\nx0 = load [sp-8]:4",
        {0x204, "an element of an array on the stack that is written"},
    ),
    "an element whose index an element may have been": (
        "[sp-16]:4 = 1\n[sp-12]:4 = 0\n[sp-8]:4 = 0x204\n.again:\nx9 = load [sp-16]:4\n"
        "x9 = x9 &:4 1\n[sp+x9*4-16]:4 = 2\nif ? goto .again\nx0 = load [sp-8]:4",
        {0x204, "an element of an array on the stack that is written"},
    ),
    "a block fill over it": (
        "[sp-8]:4 = 0x200\nfill [sp-24]\nx0 = load [sp-8]:4",
        {"a local variable that a block copy or fill writes"},
    ),
    "a block fill behind it": (
        "[sp-8]:4 = 0x200\nfill [sp-4]\nx0 = load [sp-8]:4",
        {0x200},
    ),
    "a pointer kept": (
        "x9 = import Alloc\n[sp-8] = x9\ncall import Other\nx0 = load [sp-8]",
        {"an import"},
    ),
    "a pointer is no option that a callee changes": (
        "x9 = import Alloc\n[sp-8] = x9\nx0 = address [sp-24]\ncall other\nx0 = load [sp-8]",
        {"an import"},
    ),
    "counted up in a loop by one instruction": (
        "[sp-8]:4 = 0\n.again:\n[sp-8]:4 = load [sp-8]:4 + 1\nif ? goto .again\nx0 = load [sp-8]:4",
        {"a value that a loop changes"},
    ),
    "kept in a loop": (
        "[sp-8]:4 = 0x200\n.again:\nx9 = load [sp-8]:4\n[sp-8]:4 = x9\nif ? goto .again\n"
        "x0 = load [sp-8]:4",
        {0x200},
    ),
    "changed in a loop": (
        "[sp-8]:4 = 0\n.again:\nx9 = load [sp-8]:4\n[sp-8]:4 = x9 + 1\nif ? goto .again\n"
        "x0 = load [sp-8]:4",
        {"a value that a loop changes"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_local_variable_can_hold(name):
    program, expected = CASES[name]
    text = Text(f"entry:\n{program}\ncall import Asked\nret{OTHERS}")
    assert told(text.before("call import Asked", 0)) == expected


def test_an_argument_on_the_stack():
    text = Text("entry:\n[sp+8]:4 = 0x200\ncall import Asked\nret")
    assert told(text.argument("call import Asked", 5)) == {0x200}


def test_a_parameter_on_the_stack_comes_from_the_caller():
    text = Text(
        """
        entry:
            [sp+8]:4 = 0x200
            call wrapper
            ret
        wrapper:
            x0 = load [sp+16]:4
            call import Asked
            ret
        """
    )
    assert told(text.before("call import Asked", 0)) == {0x200}


OBJECT = "a local variable that may be part of an object whose address is passed to a call"
CALLED = 0x2800


@pytest.mark.parametrize(
    "way", ["call other", f"x9 = load [image+{CALLED:#x}]\ncall x9"], ids=["direct", "by pointer"]
)
def test_own_code_may_change_an_object_however_it_is_called(way):
    program = f"[sp-8]:4 = 0x200\nx0 = address [sp-24]\n{way}\nx0 = load [sp-8]:4"
    text = Text(f"entry:\n{program}\ncall import Asked\nret{OTHERS}", {CALLED: "other"})
    assert told(text.before("call import Asked", 0)) == {0x200, OBJECT}


def test_windows_changes_only_what_it_is_given():
    program = "[sp-8]:4 = 0x200\nx0 = address [sp-24]\ncall import ZwClose\nx0 = load [sp-8]:4"
    text = Text(f"entry:\n{program}\ncall import Asked\nret")
    assert told(text.before("call import Asked", 0)) == {0x200}
