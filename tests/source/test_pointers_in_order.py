"""Pointers that lead to code and to data: what was written last, in which object, by whom."""

import pytest

from sources import bad, one_file

MEMORY = "ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'aaaa')"
TEXT = """#include <ntddk.h>
typedef ULONG ROUTINE(ULONG);
struct S { ULONG n; PVOID c; USHORT m; PVOID d; };
static UCHAR buffer[64];
static ULONG Real(ULONG n) { return n; }
static PVOID g = (PVOID)Real, d = buffer;
static struct S gs = { 1, (PVOID)Real, 2, buffer }, gz = { 1, (PVOID)Real, 2, buffer };
static struct S *gr = &gz;
%s
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    struct S s = { 1, (PVOID)Real, 2, %s };
    PVOID v = (PVOID)Real;
    %s
    return STATUS_SUCCESS;
}
"""
CALLS = "(PVOID)(ULONG_PTR)((ROUTINE *)%s)(1);"
CALLED = {
    "local variable": ("", "v = VALUE;", "v"),
    "global variable": ("", "g = VALUE;", "g"),
    "field": ("", "s.c = VALUE;", "s.c"),
    "field of a global": ("", "gs.c = VALUE;", "gs.c"),
    "field through a pointer": ("", "gr->c = VALUE;", "gr->c"),
    "parameter": ("static PVOID f(PVOID p) { return p; }", "v = f(VALUE);", "v"),
    "parameter that is given to itself": (
        "static void f(PVOID p) { PVOID w = (PVOID)Real; p = p; "
        "for (int i = 0; i < 3; i++) { g = w; w = p; } }",
        "f(VALUE);",
        "g",
    ),
    "out parameter": ("static void f(PVOID *out) { *out = VALUE; }", "f(&v);", "v"),
    "out parameter that is handed on": (
        "static void e(PVOID *o) { *o = VALUE; } static void f(PVOID *out) { e(out); }",
        "f(&v);",
        "v",
    ),
    "field in a function": ("static void f(struct S *q) { q->c = VALUE; }", "f(&s);", "s.c"),
    "element": ("", "PVOID a[2] = { (PVOID)Real, VALUE };", "a[1]"),
    "result of a table": (
        "static PVOID t(PVOID p) { return VALUE; } static PVOID (*const Table[1])(PVOID) = { t };",
        "v = Table[0](v);",
        "v",
    ),
    "allocated record": (
        "",
        f"struct S *h = {MEMORY}; h->c = VALUE; h->d = buffer;",
        "h->c",
    ),
}


def call(tmp_path, shape, value):
    before, body, pointer = CALLED[shape]
    text = TEXT % (before, MEMORY, f"{body} g = {CALLS % pointer}")
    return one_file(tmp_path, text.replace("VALUE", value), "driver.c")


@pytest.mark.parametrize("shape", CALLED)
@pytest.mark.parametrize("value", [MEMORY, "(PVOID)buffer"])
def test_memory_and_data_that_are_called(tmp_path, shape, value):
    assert bad(call(tmp_path, shape, value)) == {"dynamic-code"}


@pytest.mark.parametrize("shape", CALLED)
def test_functions_that_are_called(tmp_path, shape):
    evidence = call(tmp_path, shape, "(PVOID)Real")
    assert bad(evidence) == set()
    assert not any("holds code and data" in limit.reason for limit in evidence.limits)


WRITTEN = {
    "other field of a list": ("", "((ULONG *)s.d)[0] = 1;"),
    "other field of a record": (
        "",
        f"struct S *h = {MEMORY}; h->c = (PVOID)Real; h->d = {MEMORY}; ((ULONG *)h->d)[0] = 1;",
    ),
    "what was there before": ("", f"v = {MEMORY}; ((ULONG *)v)[0] = 1;"),
    "what was there before in a global": ("", "d = (PVOID)Real; d = buffer; ((ULONG *)d)[0] = 1;"),
    "another call of the function": (
        "static PVOID f(PVOID p) { return p; }",
        f"g = f((PVOID)Real); v = f({MEMORY}); ((ULONG *)v)[0] = 1;",
    ),
    "function that nothing calls": (
        "static void f(void) { PVOID w = (PVOID)Real; ((ULONG *)w)[0] = 1; }",
        "",
    ),
    "table that nothing names": (
        "static void t(void) { PVOID w = (PVOID)Real; ((ULONG *)w)[0] = 1; } "
        "static void (*const Table[1])(void) = { t };",
        "",
    ),
    "array of pointers": ("", "PVOID a[2] = { (PVOID)Real, v }; a[0] = v;"),
}


@pytest.mark.parametrize("shape", WRITTEN)
def test_code_that_is_not_written(tmp_path, shape):
    before, body = WRITTEN[shape]
    assert bad(one_file(tmp_path, TEXT % (before, MEMORY, body), "driver.c")) == set()


@pytest.mark.parametrize(
    "body",
    [
        "s.d = s.c; ((ULONG *)s.d)[0] = 1;",
        "d = g; ((ULONG *)d)[0] = 1;",
        "gr->d = v; ((ULONG *)gr->d)[0] = 1;",
        "PVOID a[2] = { (PVOID)Real, v }; ((ULONG *)a[0])[0] = 1;",
    ],
)
def test_code_that_is_written(tmp_path, body):
    assert bad(one_file(tmp_path, TEXT % ("", MEMORY, body), "driver.c")) == {
        "writes-executable-memory"
    }


def test_a_place_that_holds_both_is_left_open(tmp_path):
    before = "static void f(void) { gr->c = VALUE; }\nstatic void e(void) { gr->c = (PVOID)Real; }"
    before += "\nNTSTATUS D(PVOID a, PVOID b) { e(); f(); return 0; }"
    before += f"\nNTSTATUS E(PVOID a, PVOID b) {{ g = {CALLS % 'gr->c'} return 0; }}"
    body = "DriverObject->MajorFunction[0] = D; DriverObject->MajorFunction[1] = E;"
    open_ = one_file(tmp_path, TEXT % (before.replace("VALUE", MEMORY), MEMORY, body), "driver.c")
    (limit,) = [one for one in open_.limits if "holds code and data" in one.reason]
    assert limit.rules == ("dynamic-code",)
    clean = one_file(tmp_path, TEXT % (before.replace("VALUE", "v_"), MEMORY, body), "driver.c")
    assert not any("holds code and data" in one.reason for one in clean.limits)
