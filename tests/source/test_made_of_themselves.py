"""Variables, fields and parameters whose values are made of what they were before."""

import pytest

from sources import entry, one_file, value_of

CALL = "ExAllocatePoolWithTag({}, 8, 'a');"
HEAD = """#include <ntddk.h>
struct S {{ ULONG Size; ULONG Kept; }};
static ULONG Kind = 0x200, Other = 0x200;
static struct S Held = {{ 1, 0x200 }};
VOID Change(PDRIVER_OBJECT Driver) {{ {} }}
"""
OPEN = [
    ("Kind = Kind + 1;", "Kind"),
    ("Kind = (Kind << 1) | 4;", "Kind"),
    ("Other = Kind + 1; Kind = Other;", "Kind"),
    ("Held.Kept = Held.Kept + 1;", "Held.Kept"),
]
ALL = [
    ("Kind = Kind;", "Kind", {0x200}),
    ("Kind = Kind & 0x1FF;", "Kind", {0x200, 0}),
    ("Kind = Driver ? Kind : 1;", "Kind", {0x200, 1}),
    ("Held.Kept = Held.Kept & ~0x200;", "Held.Kept", {0x200, 0}),
]


def found(tmp_path, change, read, before=""):
    text = (
        HEAD.format(change)
        + before
        + entry("DriverObject->DriverUnload = Change; " + CALL.format(read)).partition("\n")[2]
    )
    return value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag")


@pytest.mark.parametrize(("change", "read"), OPEN)
def test_what_goes_on_and_on_is_not_all(tmp_path, change, read):
    possible, complete = found(tmp_path, change, read)
    assert not complete
    assert 0x200 in possible


@pytest.mark.parametrize(("change", "read", "values"), ALL)
def test_what_comes_to_an_end_is_followed(tmp_path, change, read, values):
    assert found(tmp_path, change, read) == (values, True)


def test_a_function_that_calls_itself(tmp_path):
    own = "VOID F(int n, POOL_TYPE t) { if (n) { F(n - 1, t + 1); return; } %s }\n"
    text = (
        "#include <ntddk.h>\n"
        + own % CALL.format("t")
        + entry("F(3, NonPagedPoolNx);").partition("\n")[2]
    )
    assert not value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag")[1]


def test_a_variable_that_a_loop_counts_up(tmp_path):
    body = "ULONG t = 0x200; for (ULONG n = 0; n < 9; n++) { " + CALL.format("t") + " t = t + 1; }"
    result = value_of(one_file(tmp_path, entry(body)), "ExAllocatePoolWithTag")
    assert not result[1]
