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
