"""Variables that a callee of C++, or assembly, may change out of sight."""

import pytest

from sources import bad, one_file

POOL = "execute-pool-type"
TEXT = """#include <ntddk.h>
{}
void f(Other &o)
{{
    POOL_TYPE k = NonPagedPoolNx;
    {}
    ExAllocatePoolWithTag(k, 8, 'aaaa');
}}
"""
OPEN = {
    "prototype": ("void Choose(POOL_TYPE &k);", "Choose(k);"),
    "second parameter": ("void Choose(int n, POOL_TYPE &k);", "Choose(1, k);"),
    "not declared here": ('#include "lost.h"', "Choose(k);"),
    "method": ("struct Other { void Choose(POOL_TYPE &k); };", "o.Choose(k);"),
    "method of a lost class": ('#include "lost.h"', "o.Choose(k);"),
    "lambda": ("", "auto c = [](POOL_TYPE &x) { x = NonPagedPool; }; c(k);"),
    "object": ("struct R { R(POOL_TYPE &k); };", "R r(k);"),
    "object in braces": (
        "struct R { R(int n, POOL_TYPE &k) { k = NonPagedPool; } };",
        "R r{1, k};",
    ),
    "object by name": ("struct R { R(POOL_TYPE &k); };", "Use(R{k});"),
    "new object": ("struct R { R(POOL_TYPE &k); };", "R *r = new (1) R(k);"),
    "operator": ("struct R { }; R &operator>>(R &r, POOL_TYPE &k);", "R r; r >> k;"),
    "operator in a chain": ("", "o >> k >> *p;"),
    "operator with a result": (
        "struct R { }; bool operator==(R &r, POOL_TYPE &k) { k = NonPagedPool; return true; }",
        "R r; if (r == k) return;",
    ),
    "method operator": (
        "struct R { bool operator<(POOL_TYPE &k) { return 0; } };",
        "int i = o < k;",
    ),
    "assembly": ("", "__asm { mov k, 0 }"),
    "operand": ("", '__asm__("mov $0, %0" : "=r"(k));'),
}
SURE = {
    "by value": ("void Choose(POOL_TYPE k);", "Choose(k);"),
    "constant": ("void Choose(const POOL_TYPE &k);", "Choose(k);"),
    "method": ("struct Other { void Choose(POOL_TYPE k); };", "o.Choose(k);"),
    "defined": ("void Choose(POOL_TYPE k) { }", "Choose(k);"),
    "routine of the kernel": ("", 'DbgPrint("%d", k); WdfTraceIt(k); ASSERT(k);'),
    "cast": ("", "ULONG u = static_cast<ULONG>(k); uint32_t(k);"),
    "lambda": ("", "auto c = [](POOL_TYPE x) { Use(x); }; c(k);"),
    "object": ("struct R { R(POOL_TYPE k); };", "R r(k);"),
    "object that keeps a constant": ("struct R { R(const POOL_TYPE &k); };", "R r{k};"),
    "list": ("struct R { POOL_TYPE k; };", "R r = { k };"),
    "number": ("", "ULONG n(k); ULONG m{k};"),
    "operator": ("", "int i = 8 >> k; if (i << k) Use(2);"),
    "other operator": (
        "struct R { }; R operator+(R &r, POOL_TYPE &k);",
        "R r; if (r == k) return;",
    ),
    "assembly of others": ("", "__asm { mov eax, 0 }"),
}


@pytest.mark.parametrize("shape", OPEN)
def test_the_value_is_open(tmp_path, shape):
    assert bad(one_file(tmp_path, TEXT.format(*OPEN[shape]), "d.cpp")) == {POOL}


@pytest.mark.parametrize("shape", SURE)
def test_the_value_stays(tmp_path, shape):
    assert bad(one_file(tmp_path, TEXT.format(*SURE[shape]), "d.cpp")) == set()


def test_c_takes_nothing_by_reference(tmp_path):
    text = TEXT.format("", "Choose(k);").replace("Other &o", "void")
    assert bad(one_file(tmp_path, text)) == set()


GLOBAL = """#include <ntddk.h>
POOL_TYPE K = NonPagedPoolNx;
struct S {{ POOL_TYPE k; }} s = {{ NonPagedPoolNx }};
{}
void f(void)
{{
    {};
    ExAllocatePoolWithTag({}, 8, 'aaaa');
}}
"""


@pytest.mark.parametrize(
    ("before", "call", "asked", "expected"),
    [
        ("void Set(POOL_TYPE &k) { k = NonPagedPool; }", "Set(K)", "K", True),
        ("void Set(POOL_TYPE &k);", "Set(K)", "K", True),
        ("void Set(POOL_TYPE &k);", "Set(s.k)", "s.k", True),
        ("struct R { R(POOL_TYPE &k); };", "R r(K)", "K", True),
        ("struct R { }; R &operator>>(R &r, POOL_TYPE &k);", "R r; r >> K", "K", True),
        ("void Set(POOL_TYPE k);", "Set(K)", "K", False),
        ("void Set(const POOL_TYPE &k);", "Set(K); Set(s.k)", "s.k", False),
        ("void Set(POOL_TYPE &k);", "POOL_TYPE K = NonPagedPool; Set(K)", "::K", False),
        ('#include "lost.h"', "Other(K)", "K", False),
    ],
)
def test_variables_outside_of_functions(tmp_path, before, call, asked, expected):
    found = bad(one_file(tmp_path, GLOBAL.format(before, call, asked), "d.cpp"))
    assert (POOL in found) is expected
