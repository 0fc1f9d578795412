"""Values that cross calls: parameters through callers, results of callees, recursion, limits."""

from itertools import pairwise

import pytest

from flowtext import WRITABLE, Text, told
from hvci.binary.flow.interprocedural import MAX_CALLER_DEPTH

WRAPPER = "wrapper:\ncall import Asked\nret"


def asked(program, **options):
    return told(Text(program, **options).before("call import Asked", 0))


CALLERS = {
    "one caller": ("entry:\nx0 = 0x200\ncall wrapper\nret", {0x200}),
    "two callers": ("entry:\nx0 = 0x200\ncall wrapper\nx0 = 0\ncall wrapper\nret", {0, 0x200}),
    "a tail jump": ("entry:\nx0 = 0x200\ngoto wrapper", {0x200}),
    "through another wrapper": (
        "entry:\nx0 = 0x200\ncall outer\nret\nouter:\ncall wrapper\nret",
        {0x200},
    ),
    "with a bit added on the way": (
        "entry:\nx0 = 0x200\ncall outer\nret\nouter:\nx0 = x0 | 4\ncall wrapper\nret",
        {0x204},
    ),
    "a caller that passes anything": (
        "entry:\nx0 = ?\ncall wrapper\nret",
        {"something that is not followed"},
    ),
    "a parameter of the entry point": (
        "entry:\ncall wrapper\nret",
        {"a parameter of the entry point"},
    ),
    "a call that a branch skips": (
        "entry:\nx0 = 0x200\nif ? goto .end\ncall wrapper\n.end:\nret",
        {0x200},
    ),
}


@pytest.mark.parametrize("name", CALLERS)
def test_parameters_come_from_callers(name):
    program, expected = CALLERS[name]
    assert asked(f"{program}\n{WRAPPER}") == expected


def test_what_nothing_calls_is_not_known():
    (reason,) = asked(f"entry:\nret\n{WRAPPER}")
    assert "which nothing calls directly" in reason


@pytest.mark.parametrize("options", [{"exports": ["wrapper"]}, {"taken": ["wrapper"]}])
def test_a_caller_that_is_not_seen_is_named(options):
    held = asked(f"entry:\nx0 = 0x200\ncall wrapper\nret\n{WRAPPER}", **options)
    assert 0x200 in held and any("indirect caller" in str(each) for each in held)


def test_the_address_made_by_an_instruction_is_an_unseen_caller():
    program = f"entry:\nx9 = function wrapper\nx0 = 0x200\ncall wrapper\nret\n{WRAPPER}"
    assert any("indirect caller" in str(each) for each in asked(program))


def test_a_recursion_that_passes_its_parameter_on_adds_nothing():
    recursion = """
        entry:
            x0 = 0x200
            call again
            ret
        again:
            x8 = x0
            x0 = x8
            call again
            x0 = x8
            call import Asked
            ret
    """
    assert asked(recursion) == {0x200}


def test_a_recursion_that_changes_its_parameter_is_not_known():
    recursion = """
        entry:
            x0 = 0x200
            call again
            ret
        again:
            x8 = x0
            x0 = x8 + 1
            call again
            x0 = x8
            call import Asked
            ret
    """
    assert asked(recursion) == {0x200, "a parameter that a recursion changes"}


def test_callers_are_followed_so_deep():
    names = [f"f{n}" for n in range(MAX_CALLER_DEPTH + 2)]
    chain = "\n".join(f"{a}:\ncall {b}\nret" for a, b in pairwise(names))
    program = f"entry:\nx0 = 0x200\ncall f0\nret\n{chain}\n{names[-1]}:\ncall import Asked\nret"
    (reason,) = asked(program)
    assert f"more than {MAX_CALLER_DEPTH} callers" in reason


RESULTS = {
    "a constant": ("x0 = 0x200\nret", {0x200}),
    "one of two": ("x0 = 0\nif ? goto .end\nx0 = 0x200\n.end:\nret", {0, 0x200}),
    "two returns": ("if ? goto .other\nx0 = 0\nret\n.other:\nx0 = 0x200\nret", {0, 0x200}),
    "its parameter": ("x0 = x1\nret", {7}),
    "its parameter changed": ("x0 = x1 | 8\nret", {15}),
    "what another returns": ("call inner\nret\ninner:\nx0 = 0x200\nret", {0x200}),
    "a tail call": ("goto inner\ninner:\nx0 = 0x200\nret", {0x200}),
    "a tail call that gets its parameter": ("goto inner\ninner:\nx0 = x1\nret", {7}),
    "a tail call with a parameter of its own": ("x1 = 8\ngoto inner\ninner:\nx0 = x1\nret", {8}),
    "a tail call on some paths": (
        "x0 = 4\nif ? goto inner\nret\ninner:\nx0 = 0x200\nret",
        {4, 0x200},
    ),
    "a tail call of itself": (
        "x0 = 4\nif ? goto .end\ngoto helper\n.end:\nret",
        {4},
    ),
    "two that call each other at their ends": (
        "x0 = 4\nif ? goto inner\nret\ninner:\nx0 = 5\nif ? goto helper\nret",
        {4, 5, "the result of a tail call in sub_101c"},
    ),
    "nothing that returns": ("stop", {"the return value of sub_1010"}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_come_from_callees(name):
    program, expected = RESULTS[name]
    text = Text(f"entry:\nx1 = 7\ncall helper\ncall import Asked\nret\nhelper:\n{program}")
    assert told(text.before("call import Asked", 0)) == expected


TABLE = 0x2800
POINTED = {
    "one": (f"x9 = load [image+{TABLE:#x}]", {7}),
    "one of two": (
        f"x9 = load [image+{TABLE:#x}]\nif ? goto .call\nx9 = load [image+{TABLE + 8:#x}]\n.call:",
        {7, 0x200},
    ),
    "one or anything": (
        f"x9 = load [image+{TABLE:#x}]\nif ? goto .call\nx9 = ?\n.call:",
        {"the return value of an indirect call"},
    ),
}


@pytest.mark.parametrize("name", POINTED)
def test_results_come_from_where_a_pointer_leads(name):
    program, expected = POINTED[name]
    text = Text(
        f"entry:\nx1 = 7\n{program}\ncall x9\ncall import Asked\nret\n"
        "first:\nx0 = x1\nret\nsecond:\nx0 = 0x200\nret",
        {TABLE: "first", TABLE + 8: "second"},
    )
    assert told(text.before("call import Asked", 0)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [("x0 = x0 + 1", {"a value that a loop changes"}), ("x0 = x0", {0})],
)
def test_a_loop_through_a_callee(body, expected):
    loop = "x8 = 0\n.again:\nx0 = x8\ncall step\nx8 = x0\nif ? goto .again\nx0 = x8"
    assert asked(f"entry:\n{loop}\ncall import Asked\nret\nstep:\n{body}\nret") == expected


def test_a_size_cuts_an_argument():
    text = Text("entry:\nx0 = 0x1234_5678_9ABC_DEF0\ncall import Asked\nret")
    assert told(text.argument("call import Asked", 0, 1)) == {0xF0}
    assert told(text.argument("call import Asked", 0, 4)) == {0x9ABC_DEF0}


def test_a_kept_import_is_called_by_its_name():
    text = Text("entry:\nx8 = import Alloc\ncall x8\nx0 = x0\ncall import Asked\nret")
    assert told(text.before("call import Asked", 0)) == {"the return value of Alloc"}


def test_what_a_caller_said_is_asked_anew_when_more_is_learnt():
    text = Text(f"entry:\nx0 = load [image+0x3000]:4\ncall wrapper\nret\n{WRAPPER}")
    assert told(text.before("call import Asked", 0)) == {"0x0 that nothing sets"}
    text.flow.globals.written[0x3000] = {*text.flow.value(*text.where("ret"), 8)}
    text.flow.forget()
    held = told(text.before("call import Asked", 0))
    assert "a register that the caller must preserve" in held


def test_a_budget_of_the_image_ends_all_questions():
    text = Text("entry:\nx0 = 0x200\ncall import Asked\nret")
    text.flow.spend()
    (reason,) = told(text.before("call import Asked", 0))
    assert "budget" in reason


def test_a_variable_returns_what_any_call_kept_there():
    program = f"""
        entry:
            x0 = 0x200
            call keep
            x0 = 4
            call keep
            call import Asked
            ret
        keep:
            [image+{WRITABLE:#x}]:4 = x0
            x0 = load [image+{WRITABLE:#x}]:4
            ret
    """
    assert asked(program) == {0, 4, 0x200}


def test_a_variable_changed_by_a_parameter_returns_what_any_call_made_of_it():
    program = f"""
        entry:
            x0 = 0x200
            call keep
            x0 = 4
            call keep
            call import Asked
            ret
        keep:
            x0 = x0 | 1
            [image+{WRITABLE:#x}]:4 = x0
            x0 = load [image+{WRITABLE:#x}]:4
            ret
    """
    assert asked(program) == {0, 5, 0x201}
