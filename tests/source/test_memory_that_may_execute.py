"""Memory that is called is found whatever it was asked for: executable as well as not."""

import pytest

from hvci.evaluate import evaluate
from hvci.model import Outcome

TEXT = """#include <ntddk.h>
typedef VOID (*ROUTINE)(VOID);
static ROUTINE kept, table[4];
static struct {{ ROUTINE run; ULONG number; }} record;
typedef union {{ PVOID memory; ROUTINE go; }} BOTH;
static VOID Own(VOID) {{ }}
NTSTATUS DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{{
    PVOID p = {};
    {}
    return STATUS_SUCCESS;
}}
"""
MEMORY = {
    "executable": "ExAllocatePoolWithTag(NonPagedPool, 64, 'abcd')",
    "executable by name": "ExAllocatePoolWithTag(NonPagedPoolExecute, 64, 'abcd')",
    "executable by a flag": "ExAllocatePool2(POOL_FLAG_NON_PAGED_EXECUTE, 64, 'abcd')",
    "not executable": "ExAllocatePoolWithTag(NonPagedPoolNx, 64, 'abcd')",
}
CALLS = {
    "cast": "((ROUTINE)p)();",
    "variable": "ROUTINE r = (ROUTINE)p; r();",
    "global": "kept = (ROUTINE)p; kept();",
    "field": "record.run = (ROUTINE)p; record.run();",
    "element": "table[1] = (ROUTINE)p; table[1]();",
    "elements in a loop": "for (int i = 0; i < 4; i++) table[i] = (ROUTINE)p; table[2]();",
    "member of a union": "BOTH u; u.memory = p; u.go();",
    "copied": "ROUTINE r; RtlCopyMemory(&r, &p, sizeof(p)); r();",
    "copied with room": "ROUTINE r; memcpy_s(&r, sizeof(r), &p, sizeof(p)); r();",
    "through an address": "ROUTINE r = NULL; *(PVOID *)&r = p; r();",
}
CLEAN = {
    "variable": "ROUTINE r = Own; r(); ExFreePool(p);",
    "global": "kept = Own; kept(); ExFreePool(p);",
    "element": "table[1] = Own; table[1](); ExFreePool(p);",
    "member of a union": "BOTH u; u.go = Own; u.go(); ExFreePool(p);",
    "copied": "ROUTINE r, own = Own; RtlCopyMemory(&r, &own, sizeof(own)); r(); ExFreePool(p);",
}


def outcome(tmp_path, memory, code):
    source = tmp_path / "driver.c"
    source.write_text(TEXT.format(MEMORY[memory], code))
    return {one.rule: one.outcome for one in evaluate(source).results}["dynamic-code"]


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("call", CALLS)
def test_memory_is_called(tmp_path, memory, call):
    assert outcome(tmp_path, memory, CALLS[call]) is Outcome.FAIL


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("call", CLEAN)
def test_code_is_called(tmp_path, memory, call):
    assert outcome(tmp_path, memory, CLEAN[call]) is Outcome.PASS
