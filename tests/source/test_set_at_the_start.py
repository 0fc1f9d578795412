"""A variable that the driver sets to the NX value at its start: what leads around that counts."""

import pytest

from sources import bad, entry, one_file

KIND = """POOL_TYPE Kind = NonPagedPool; extern ULONG enabled; NTSTATUS f(VOID);
VOID *al(SIZE_T n) { return ExAllocatePoolWithTag(Kind, n, 'x'); }
"""
SET = "Kind = NonPagedPoolNx; "
AROUND = [
    "if (!enabled) goto skip; ",
    "if (!enabled) return STATUS_SUCCESS; ",
    "NTSTATUS s = STATUS_SUCCESS; if (!enabled) return s; ",
]
NOT_AROUND = [
    "",
    "if (!enabled) return STATUS_UNSUCCESSFUL; ",
    "NTSTATUS s = f(); if (!NT_SUCCESS(s)) return s; ",
    "NTSTATUS s = 0; if (s) return s; ",
    "NTSTATUS s = 0; s = f(); if (s != STATUS_SUCCESS) { return s; } ",
    "NTSTATUS s = STATUS_NO_MEMORY; if (!enabled) goto out; ",
]
END = " skip: al(8); return STATUS_SUCCESS; out: return s;"


@pytest.mark.parametrize("before", AROUND)
def test_what_leads_around_it(tmp_path, before):
    text = KIND + entry(before + SET + END)
    assert bad(one_file(tmp_path, text)) == {"execute-pool-type"}


@pytest.mark.parametrize("before", NOT_AROUND)
def test_what_says_that_something_failed(tmp_path, before):
    assert bad(one_file(tmp_path, KIND + entry(before + SET + END))) == set()


@pytest.mark.parametrize("leaves", ["goto out;", "return;"])
def test_in_a_function_of_its_own(tmp_path, leaves):
    text = KIND + "VOID start(VOID) { %s" + SET + "out: ; }\n" + entry("start(); al(8);")
    found = bad(one_file(tmp_path, text % f"if (!enabled) {leaves} "))
    assert found == {"execute-pool-type"}
    assert bad(one_file(tmp_path, text % "")) == set()


def test_in_a_loop_that_is_left_before(tmp_path):
    text = KIND + entry("do { %s" + SET + "} while (0); al(8);")
    assert bad(one_file(tmp_path, text % "if (!enabled) break; ")) == {"execute-pool-type"}
    assert bad(one_file(tmp_path, text % "")) == set()
