"""What the page of a rule shows as bad is found in sources, and what it shows as good is not."""

import re

import pytest

from hvci.evaluate import evaluate
from hvci.model import Outcome
from hvci.rules import RULES

TEXT = """#include <ntddk.h>
typedef VOID (*ROUTINE)(VOID);
typedef ROUTINE INNER;
static VOID Stub(VOID) {{ }}
NTSTATUS Use(HANDLE process, HANDLE file, SIZE_T size, ULONG tag, PMDL mdl,
             PHYSICAL_ADDRESS address)
{{
    PVOID base = NULL, pool = ExAllocatePool2(POOL_FLAG_NON_PAGED, size, tag);
    const VOID *stub = (PVOID)Stub;
    HANDLE section;
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"SeFilterToken");
    PUCHAR at = MmGetSystemRoutineAddress(&name);
    INNER inner;
    ULONG i = 0, access = SECTION_ALL_ACCESS;
    {}
    return STATUS_SUCCESS;
}}
"""
SHOWN = [
    "data-file-as-executable",
    "dynamic-code",
    "executable-by-default",
    "execute-page-mapping",
    "execute-page-protection",
    "execute-pool-type",
    "unexported-call",
    "writes-executable-memory",
    "wrong-pool-enum",
]
"""Those that show code which lies in one function."""


def example(rule, word):
    """The first code behind a word of the rule's page."""
    match = re.search(rf"{word}: `([^`]*)`", " ".join(RULES[rule].explanation.split()))
    return match[1] if match else ""


def outcome(tmp_path, rule, code):
    source = tmp_path / "driver.c"
    source.write_text(TEXT.format(code if code.endswith(";") else f"{code};"))
    return {one.rule: one.outcome for one in evaluate(source).results}[rule]


@pytest.mark.parametrize("rule", SHOWN)
def test_the_bad_example_is_found(tmp_path, rule):
    assert outcome(tmp_path, rule, example(rule, "Bad")) in (Outcome.FAIL, Outcome.NOTE)


@pytest.mark.parametrize("rule", SHOWN)
def test_the_good_example_passes(tmp_path, rule):
    code = example(rule, "Good")
    assert outcome(tmp_path, rule, code or ";") is Outcome.PASS
