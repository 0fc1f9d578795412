"""What a variable of the image can hold: its file value, all writes, and the NX opt-in."""

import pytest

from flowtext import WRITABLE, Text, told
from hvci.binary.flow import written
from hvci.binary.flow.atoms import Kind

VARIABLE = WRITABLE + 0x10
READ = f"x0 = load [image+{VARIABLE:#x}]:4\ncall import Asked\nret"
CONSTANT = 0x2800


def asked(program, data=None, **options):
    text = Text(f"entry:\n{program}", data, **options)
    return told(text.before("call import Asked", 0))


def store(value, size=4, at=VARIABLE):
    return f"[image+{at:#x}]:{size} = {value}"


def test_a_constant_of_the_file():
    program = f"x0 = load [image+{CONSTANT:#x}]:4\ncall import Asked\nret"
    assert asked(program, {CONSTANT: 0x200}) == {0x200}


def test_a_variable_that_nothing_writes():
    assert asked(READ, {VARIABLE: 0x40}) == {0x40}


def test_a_variable_that_starts_as_0_and_that_nothing_sets():
    assert asked(READ) == {"0x0 that nothing sets"}


WRITES = {
    "a constant": (store(5), {0x40, 5}),
    "the value that it has": (store(0x40), {0x40}),
    "anything": (f"x9 = ?\n{store('x9')}", {0x40, "something that is not followed"}),
    "more than its four bytes": (store("0x7_0000_0005", 8), {0x40, 5}),
    "from four bytes before it": (store("0x7_0000_0005", 8, VARIABLE - 4), {0x40, 7}),
    "two of its bytes": (
        store(5, 2),
        {0x40, f"only a part of the global at {VARIABLE:#x} is written"},
    ),
    "its upper bytes": (
        store(5, 2, VARIABLE + 2),
        {0x40, f"only a part of the global at {VARIABLE:#x} is written"},
    ),
    "its neighbour": (store(5, 4, VARIABLE + 4), {0x40}),
    "an element of a table that it may lie in": (
        f"x9 = ?\n[image+x9*4+{VARIABLE:#x}]:4 = 5",
        {0x40, f"an element of a table at {VARIABLE:#x} is written"},
    ),
    "an address that stays here": (
        f"x9 = address [image+{VARIABLE:#x}]\ncall other",
        {0x40},
    ),
    "through its address": (
        f"x9 = address [image+{VARIABLE:#x}]\n[x9]:4 = 0x1\n[x9+4]:4 = 0x2",
        {0x40, 1},
    ),
    "what a caller passes, and through its address": (
        f"{store('x3')}\nx9 = address [image+{VARIABLE:#x}]\n[x9]:4 = 0x1",
        {0x40, 1, "a parameter of the entry point"},
    ),
    "an address that is kept": (
        f"x9 = address [image+{VARIABLE:#x}]\n[x5]:8 = x9",
        {0x40, f"the address of the global at {VARIABLE:#x} is passed on"},
    ),
    "one bit more, in one instruction": (
        f"[image+{VARIABLE:#x}]:4 = load [image+{VARIABLE:#x}]:4 |:4 0x200",
        {0x40, 0x240},
    ),
    "one bit more, through a register": (
        f"x9 = load [image+{VARIABLE:#x}]:4\n[image+{VARIABLE:#x}]:4 = x9 |:4 0x200",
        {0x40, f"the global at {VARIABLE:#x} depends on itself"},
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_counts(name):
    program, expected = WRITES[name]
    assert asked(f"{program}\n{READ}\nother:\nret", {VARIABLE: 0x40}) == expected


def test_a_pointer_in_data_may_change_it():
    assert asked(READ, {VARIABLE: 0x40, WRITABLE + 0x40: -VARIABLE}) == {
        0x40,
        f"the address of the global at {VARIABLE:#x} is stored in data",
    }


OPT_INS = {
    "set to NX at the start": (store(0x200), {"0x0 before the opt-in", 0x200}),
    "set to MdlMappingNoExecute": (store(0x4000_0000), {"0x0 before the opt-in", 0x4000_0000}),
    "set to NX on one way": (
        f"if ? goto .end\n{store(0x200)}\n.end:",
        {"0x0 before the opt-in", 0x200},
    ),
    "set to what it was, then to NX": (
        f"{store(0)}\n{store(0x200)}",
        {"0x0 before the opt-in", 0x200},
    ),
    "set to NX or to what it was": (
        f"if ? goto .old\n{store(0x200)}\ngoto .end\n.old:\n{store(0)}\n.end:",
        {"0x0 before the opt-in", 0x200},
    ),
    "set to NX and back": (f"{store(0x200)}\n{store(0)}", {0, 0x200}),
    "set to something else too": (f"{store(0x200)}\n{store(1)}", {0, 1, 0x200}),
    "set to anything too": (
        f"x9 = ?\n{store(0x200)}\n{store('x9')}",
        {0, 0x200, "something that is not followed"},
    ),
    "set to another constant": (store(4), {0, 4}),
}


@pytest.mark.parametrize("name", OPT_INS)
def test_an_opt_in_is_told_from_other_writes(name):
    program, expected = OPT_INS[name]
    assert asked(f"{program}\n{READ}") == expected


def test_a_variable_that_starts_executable_is_no_opt_in():
    assert asked(f"{store(0x200)}\n{READ}", {VARIABLE: 1}) == {1, 0x200}


def test_an_opt_in_that_the_entry_point_never_reaches_does_not_count():
    assert asked(f"{READ}\nnever:\n{store(0x200)}\nret") == {0, 0x200}


def test_an_opt_in_behind_calls_counts():
    program = f"call first\n{READ}\nfirst:\ncall second\nret\nsecond:\n{store(0x200)}\nret"
    assert asked(program) == {"0x0 before the opt-in", 0x200}


def test_two_flags_side_by_side_are_the_opt_in_of_link_time_optimisation():
    flag = f"x9 = load [image+{VARIABLE:#x}]:1\ncall import Other\nret"
    two = f"{store(1, 1)}\n{store(1, 1, VARIABLE + 1)}\n{flag}"
    one = f"{store(1, 1)}\n{flag}"
    assert told(Text(f"entry:\n{two}").before("call import Other", 9)) == {
        "0x0 before the opt-in",
        1,
    }
    assert told(Text(f"entry:\n{one}").before("call import Other", 9)) == {0, 1}


def test_an_element_of_a_table_of_constants():
    program = f"x9 = either 1 or 2\nx0 = load [image+x9*4+{CONSTANT:#x}]:4\ncall import Asked\nret"
    assert asked(program, {CONSTANT: 7, CONSTANT + 4: 8, CONSTANT + 8: 9}) == {8, 9}


def test_an_element_of_a_table_by_anything():
    program = f"x9 = ?\nx0 = load [image+x9*4+{CONSTANT:#x}]:4\ncall import Asked\nret"
    assert asked(program) == {"an element of a table whose index is not known"}


def test_globals_that_are_copied_around_come_to_an_end():
    other = VARIABLE + 0x10
    program = (
        f"x9 = load [image+{other:#x}]:4\n{store('x9')}\n"
        f"x9 = load [image+{VARIABLE:#x}]:4\n{store('x9', 4, other)}\n{READ}"
    )
    held = asked(program, {VARIABLE: 1, other: 2})
    assert {1, 2} <= held and all(isinstance(each, int) or "depends" in each for each in held)


KINDS = {
    "a constant": (store(5, 8), Kind.CONST),
    "what a routine returns": (f"call import Made\n{store('x0', 8)}", Kind.RESULT),
    "the same, through its address": (
        f"x19 = address [image+{VARIABLE:#x}]\ncall import Made\n[x19]:8 = x0",
        Kind.RESULT,
    ),
    "a parameter": (store("x1", 8), Kind.PARAMETER),
    "a place of the frame, which means nothing to others": (
        f"x9 = address [sp+8]\n{store('x9', 8)}",
        Kind.UNKNOWN,
    ),
}


@pytest.mark.parametrize(("stores", "kind"), KINDS.values(), ids=KINDS)
def test_the_kinds_of_what_is_stored_are_those_of_its_values(stores, kind):
    text = Text(f"entry:\n{stores}\n{READ}")
    may_hold, all_kinds = text.flow.globals.may_hold, (kind, Kind.RESULT, Kind.LEAKED)
    asked_first = {each: may_hold(VARIABLE, 8, each) for each in all_kinds}
    held = {atom.kind for atom in text.flow.globals.value(VARIABLE, 8, 0)}
    assert kind in held
    known = {each: may_hold(VARIABLE, 8, each) for each in all_kinds}
    assert known == {each: each in held for each in all_kinds}
    assert kind is Kind.UNKNOWN or known == asked_first


@pytest.mark.parametrize(("starts_as", "is_told"), [(0, False), (0x40, True)])
def test_who_follows_pointers_takes_what_is_as_large_as_one_and_empty_for_one(
    monkeypatch, starts_as, is_told
):
    monkeypatch.setattr(written, "OPTION", 8)  # as where pointers are no larger than options
    text = Text(
        f"entry:\nx9 = address [image+{VARIABLE - 8:#x}]\n[x9+8]:8 = 5\n"
        f"x0 = load [image+{VARIABLE:#x}]:8\ncall import Asked\nret",
        {VARIABLE: starts_as},
    )

    def held():
        text.flow.forget()
        return told(text.before("call import Asked", 0))

    assert 5 in held()
    text.flow.globals.writes.of_pointers = True
    assert (5 in held()) is is_told
