"""What a register can hold behind branches, joins and loops."""

import pytest

from flowtext import Text, told
from hvci.binary.flow.reaching import BUDGET

CASES = {
    "a constant": ("x0 = 0x200", {0x200}),
    "a copy": ("x9 = 0x200\nx0 = x9", {0x200}),
    "the last of two": ("x0 = 0\nx0 = 0x200", {0x200}),
    "the low half alone": ("x0 = 0x1_0000_0200\nx0 = x0:4", {0x200}),
    "a byte put into a number": ("x0 = 0x0100\nx0:1 = 0x33", {0x133}),
    "sign extension": ("x9 = 0x80\nx0 = signed x9:1", {0xFFFF_FFFF_FFFF_FF80}),
    "arithmetic": ("x9 = 0x180\nx0 = x9 + 0x80", {0x200}),
    "what AND leaves of anything": ("x9 = ?\nx0 = x9 & 0x200", {0, 0x200}),
    "one of two by a condition": ("x0 = either 0 or 0x200", {0, 0x200}),
    "both arms": (
        """
        if ? goto .other
        x0 = 0
        goto .end
        .other:
        x0 = 0x200
        .end:
        """,
        {0, 0x200},
    ),
    "an arm that leaves": (
        """
        x0 = 0x200
        if ? goto .end
        x0 = 0
        ret
        .end:
        """,
        {0x200},
    ),
    "an arm that does not return": ("x0 = 0x200\nif ? goto .end\nstop\n.end:", {0x200}),
    "an edge that fixes it": (
        "x0 = ?\nif x0 == 0x200 goto .end\nret\n.end:",
        {0x200},
    ),
    "an edge that fixes the copy": (
        "x0 = ?\nx9 = x0\nif x9 == 0x200 goto .end\nret\n.end:",
        {0x200},
    ),
    "the edge of an unequal comparison": (
        "x0 = ?\nif x0 != 0x200 goto .out\ngoto .end\n.out:\nret\n.end:",
        {0x200},
    ),
    "a fixed value that is changed": (
        "x0 = ?\nif x0 == 0 goto .next\nret\n.next:\nx0 = x0 + 0x200\n.end:",
        {0x200},
    ),
    "a fixed copy that was overwritten": (
        "x0 = ?\nx9 = x0\nx0 = 1\nif x9 == 0x200 goto .end\nret\n.end:",
        {1},
    ),
    "a loop that keeps it": (
        "x0 = 0x200\n.again:\nx9 = ?\nif ? goto .again",
        {0x200},
    ),
    "a loop that replaces it": (
        "x0 = 0\n.again:\nx1 = x0\nx0 = 0x200\nif ? goto .again\nx0 = x1",
        {0, 0x200},
    ),
    "a loop that counts": (
        "x0 = 0\n.again:\nx0 = x0 + 1\nif ? goto .again",
        {"a value that a loop changes"},
    ),
    "a loop that counts by an address": (
        "x0 = 0\n.again:\nx0 = address [x0+1]\nif ? goto .again",
        {"a value that a loop changes"},
    ),
    "a loop that counts in a byte": (
        "x0 = 0\n.again:\nx0:1 = x0 + 1\nif ? goto .again",
        {"a value that a loop changes"},
    ),
    "a loop that puts bytes together": (
        "x0 = 0x1234\n.again:\nif ? goto .b\nx0:1 = 5\ngoto .c\n.b:\nx0 = x0 | 0x200\n.c:\n"
        "if ? goto .again",
        {"a value that a loop changes"},
    ),
    "a loop that collects another loop's values": (
        "x0 = 0\nx1 = 0x10\n.again:\nx0 = either x0 or x1\nx1 = x1 + 0x10\nif ? goto .again",
        {0, 0x10, "a value that a loop changes"},
    ),
    "a loop that walks through a table": (
        "x0 = 0\n.again:\nx0 = load [image+x0*4+0x2800]:4\nif ? goto .again",
        {"an element of a table whose index is not known", "a value that a loop changes"},
    ),
    "a loop that may take a constant": (
        "x0 = 0\n.again:\nx0 = either x0 or 5\nif ? goto .again",
        {0, 5},
    ),
    "two registers that change places": (
        "x0 = 1\nx1 = 2\n.again:\nx9 = x0\nx0 = x1\nx1 = x9\nif ? goto .again",
        {1, 2},
    ),
    "a choice by a constant": ("x9 = 5\nx0 = choose x9 == 5 then 0x200 else 0", {0x200}),
    "a choice by another constant": ("x9 = 4\nx0 = choose x9 == 5 then 0x200 else 0", {0}),
    "a choice by anything": ("x9 = ?\nx0 = choose x9 == 5 then 0x200 else 0", {0, 0x200}),
    "kept across a call": ("x8 = 0x200\ncall import Other\nx0 = x8", {0x200}),
    "lost in a call": (
        "x1 = 0x200\ncall import Other\nx0 = x1",
        {"a register that a call does not preserve"},
    ),
    "the result of an import": ("call import Other\nx0 = x0", {"the return value of Other"}),
    "a register of the caller": ("x0 = x8", {"a register that the caller must preserve"}),
    "nothing that is followed": ("x0 = ?", {"something that is not followed"}),
    "a field of the thread": (
        "x0 = load [gs+0x10]",
        {"a field of the processor's or thread's own data"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_register_can_hold(name):
    program, expected = CASES[name]
    text = Text(f"entry:\n{program}\ncall import Asked\nret")
    assert told(text.before("call import Asked", 0)) == expected


def test_code_that_nothing_leads_to_is_not_known():
    text = Text("entry:\nx0 = 1\nret\nx1 = 2\ncall import Asked\nret")
    (reason,) = told(text.before("call import Asked", 0))
    assert "exception handler" in reason


def test_an_indirect_jump_may_lead_to_what_nothing_else_leads_to():
    text = Text("entry:\nx0 = 1\njump x9\nx1 = 2\ncall import Asked\nret")
    assert told(text.before("call import Asked", 0)) == {1}


@pytest.mark.parametrize(("end", "expected"), [("stop", {0x200}), ("ret", {0, 0x200})])
def test_a_callee_that_never_returns_is_no_way(end, expected):
    lines = "x9 = 0x200", "if ? goto .end", "x9 = 0", "call own", ".end:", "x0 = x9"
    text = Text("\n".join(("entry:", *lines, "call import Asked", "ret", "own:", end)))
    assert told(text.before("call import Asked", 0)) == expected


def test_padding_is_no_way():
    text = Text("entry:\nx0 = 1\ngoto .end\nnop\n.end:\ncall import Asked\nret")
    assert told(text.before("call import Asked", 0)) == {1}


@pytest.mark.parametrize("count", [23, 26])
def test_more_values_than_are_kept_are_unknown(count):
    arms = "\n".join(f"if ? goto .n{n}\nx0 = {n}\ngoto .end\n.n{n}:" for n in range(count))
    held = told(
        Text(f"entry:\n{arms}\nx0 = 99\n.end:\ncall import Asked\nret").before("call import", 0)
    )
    assert held == ({*range(count), 99} if count < 24 else {"more than 24 different values"})


def test_a_question_has_a_budget():
    program = "\n".join(f".n{n}:\nif ? goto .n{n}" for n in range(30_000))
    text = Text(f"entry:\nx0 = 1\n{program}\ncall import Asked\nret")
    assert told(text.before("call import Asked", 0)) == {BUDGET}


def test_a_budget_is_not_larger_for_what_was_asked_before():
    program = "\n".join(f".n{n}:\nif ? goto .n{n}" for n in range(9_000))
    text = Text(f"entry:\nx0 = 1\n{program}\ncall import Asked\nret")
    text.before("call import Asked", 0)
    first = text.flow.steps
    text.flow.forget()
    assert told(text.before("call import Asked", 0)) == {1}
    assert text.flow.steps == first


def test_straight_code_is_walked_once_for_a_register():
    program = "\n".join("x9 = ?" for _ in range(500))
    text = Text(f"entry:\nx8 = 1\n{program}\n.end:\ncall import Asked\nif ? goto .end\nret")
    asked, effect = [], text.effect
    text.effect = lambda function, i: asked.append(i) or effect(function, i)
    for _ in range(20):
        text.flow.forget()
        assert told(text.before("call import Asked", 8)) == {1}
    assert len(asked) < 2 * 510


def test_a_list_is_walked_to_more_than_its_second_member():
    records = {0x2800: 1, 0x2810: 2, 0x2820: 3}
    text = Text(
        """
        entry:
            x9 = address [image+0x2800]
        .again:
            x9 = load [x9+8]
            if ? goto .again
            x0 = load [x9]:4
            call import Asked
            ret
        """,
        records | {0x2808: -0x2810, 0x2818: -0x2820, 0x2828: -0x2800},
    )
    assert any(isinstance(each, str) for each in told(text.before("call import Asked", 0)))
