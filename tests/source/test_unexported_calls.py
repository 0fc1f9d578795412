"""Calls of what the kernel does not export, found by its bytes: a remark, and for nothing else."""

from dataclasses import replace

import pytest

from hvci.model import Outcome
from hvci.rules import judge
from reports import image
from sources import entry, one_file

HEAD = "#include <ntddk.h>\ntypedef NTSTATUS (*INNER)(PVOID);\n"
LOOK_UP = (
    'UNICODE_STRING n = RTL_CONSTANT_STRING(L"SeFilterToken"); '
    "PUCHAR at = (PUCHAR)MmGetSystemRoutineAddress(&n);"
)
FOUND = f"""{HEAD}
static INNER Find(void)
{{
    {LOOK_UP}
    for (ULONG i = 0; at && i < 256; i++)
        if (at[i] == 0xE8) return (INNER)(at + i + 5 + *(INT32 *)(at + i + 1));
    return NULL;
}}
"""
CALLS = {
    "global": "static INNER gInner;\n" + FOUND + entry("gInner = Find(); return gInner(0);"),
    "local": FOUND + entry("INNER inner = Find(); return inner(0);"),
    "field": "struct S { INNER inner; } s;\n" + FOUND + entry("s.inner = Find(); s.inner(0);"),
    "offset": HEAD + entry(f"{LOOK_UP} INNER inner = (INNER)(at + 0x120); return inner(0);"),
    "cast": HEAD + entry(f"{LOOK_UP} ((INNER)(at + 0x120))(0);"),
}
SILENT = {
    "exported": HEAD + entry(f"{LOOK_UP} INNER inner = (INNER)at; return inner(0);"),
    "bytes only": HEAD + entry(f"{LOOK_UP} for (int i = 0; i < 9; i++) if (at[i] == 0xE8) break;"),
    "data": HEAD
    + entry(LOOK_UP.replace("SeFilterToken", "PsInitialSystemProcess") + " int x = at[4];"),
    "own table": HEAD + entry("INNER table[2] = { One, Two }; table[1](0);"),
}


def remarks(evidence):
    return next(one for one in judge(evidence) if one.rule == "unexported-call")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_what_was_searched_for_is_a_remark(tmp_path, name):
    result = remarks(one_file(tmp_path, CALLS[name]))
    assert result.outcome is Outcome.NOTE
    (finding,) = result.findings
    assert "computed from SeFilterToken" in finding.message
    assert "0x139" in finding.message


@pytest.mark.parametrize("name", SILENT)
def test_nothing_else_is(tmp_path, name):
    assert remarks(one_file(tmp_path, SILENT[name])).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("flags", "outcome"), [(0x4000, Outcome.NOTE), (0x160, Outcome.NOT_APPLICABLE)]
)
def test_an_image_without_the_check_is_not_concerned(tmp_path, flags, outcome):
    evidence = one_file(tmp_path, CALLS["global"])
    built = replace(evidence, image=image(dll_characteristics=flags))
    assert remarks(built).outcome is outcome
