"""Routines that a driver finds in the export table of a module by itself, by names or hashes."""

import pytest

from hvci.model.judged import CALL_RULES
from sources import one_file

FIND = """#include <ntddk.h>
typedef PVOID (*ALLOC)(POOL_TYPE, SIZE_T, ULONG);
PVOID Find(PUCHAR base, ULONG hash)
{{
    PIMAGE_EXPORT_DIRECTORY e = Exports(base);
    PULONG names = (PULONG)(base + e->AddressOfNames);
    PUSHORT ordinals = (PUSHORT)(base + e->AddressOfNameOrdinals);
    for (ULONG i = 0; i < e->NumberOfNames; i++)
        if (Hash(base + names[i]) == hash)
            return base + {};
    return NULL;
}}
void f(PUCHAR kernel)
{{ ALLOC a = (ALLOC)Find(kernel, 0x12345678); a(NonPagedPool, 8, 'aaaa'); }}
"""


@pytest.mark.parametrize(
    ("result", "is_open"),
    [("((PULONG)(base + e->AddressOfFunctions))[ordinals[i]]", True), ("names[i]", False)],
)
def test_a_walk_through_exports_is_open(tmp_path, result, is_open):
    limits = one_file(tmp_path, FIND.format(result)).limits
    found = [one for one in limits if "exports of a module" in one.reason]
    assert [set(one.rules) for one in found] == [set(CALL_RULES)] * is_open


def test_a_structure_that_names_the_fields_reads_none(tmp_path):
    text = "typedef struct { ULONG AddressOfFunctions; ULONG AddressOfNames; } T;\n"
    limits = one_file(tmp_path, text + FIND.format("names[i]")).limits
    assert not any("exports of a module" in one.reason for one in limits)
