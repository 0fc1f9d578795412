"""Records outside of functions that are written as a whole: here, in other functions, by others."""

import pytest

from hvci.evaluate import evaluate
from hvci.model import Outcome

HEAD = """#include <ntddk.h>
struct S { ULONG a; POOL_TYPE type; };
static const ULONG init[2] = {1, 0}; HANDLE h; IO_STATUS_BLOCK io;
extern void VendorFill(struct S *); extern struct S GetConfig(void);
struct S cfg = {1, NonPagedPoolNx};
struct S other = {1, NonPagedPoolNx};
PVOID g;
static void Own(struct S *s) { s->a = 5; }
static struct S OwnConfig(void) { return other; }
"""
WRITES = {
    "copied with room": "memcpy_s(&cfg, sizeof cfg, init, sizeof init)",
    "copied": "RtlCopyMemory(&cfg, init, sizeof init)",
    "copied in another order": "RtlCopyVolatileMemory(&cfg, init, sizeof init)",
    "made zero": "RtlZeroMemory(&cfg, sizeof(cfg))",
    "filled": "RtlFillMemory(&cfg, sizeof cfg, 0)",
    "a text": "strncpy((char *)&cfg, (char *)init, 8)",
    "printed": 'sprintf((char *)&cfg, "text")',
    "safe string": "RtlStringCbCopyA((char *)&cfg, 8, (char *)init)",
    "read from a file": "ZwQueryInformationFile(h, &io, &cfg, sizeof cfg, 5)",
    "given to a routine that nobody documents": "VendorFill(&cfg)",
    "assigned from memory of another type": "cfg = *(struct S *)init",
    "assigned through its address": "*(&cfg) = *(struct S *)init",
    "assigned from a request": "cfg = *(struct S *)irp->AssociatedIrp.SystemBuffer",
    "what a routine of others returns": "cfg = GetConfig()",
}
CLEAN = {
    "copied from": "memcpy_s(&other, 8, &cfg, 8)",
    "another one": "RtlFillMemory(&other, 8, 1)",
    "compared": "memcmp(&cfg, init, 8)",
    "written to a file": "ZwWriteFile(h, 0, 0, 0, &io, &cfg, sizeof cfg, 0, 0)",
    "of its own type": "cfg = other",
    "copied from its own type": "RtlCopyMemory(&cfg, &other, sizeof cfg)",
    "given to an own function": "Own(&cfg)",
    "what an own function returns": "cfg = OwnConfig()",
    "another field": "RtlZeroMemory(&cfg.a, sizeof cfg.a)",
    "a variable of that name": "struct S cfg; VendorFill(&cfg)",
    "stored behind": "VendorFill(&cfg); cfg.type = NonPagedPoolNx",
    "never compiled": "\n#if 0\nVendorFill(&cfg);\n#endif\n",
}
SHAPES = {
    "in another function": """
static NTSTATUS Control(PDEVICE_OBJECT device, PIRP irp) {{ {}; return 0; }}
NTSTATUS DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{{
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    g = ExAllocatePoolWithTag(cfg.type, 64, 'abcd');
    return 0;
}}
""",
    "in the same function": """
NTSTATUS Control(PDEVICE_OBJECT device, PIRP irp)
{{
    {};
    g = ExAllocatePoolWithTag(cfg.type, 64, 'abcd');
    return 0;
}}
""",
}


def outcome(tmp_path, shape, write):
    source = tmp_path / "driver.c"
    source.write_text(HEAD + SHAPES[shape].format(write))
    results = {one.rule: one.outcome for one in evaluate(source).results}
    return results["execute-pool-type"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", WRITES)
def test_what_writes_the_record_is_seen(tmp_path, shape, name):
    assert outcome(tmp_path, shape, WRITES[name]) in (Outcome.UNDECIDED, Outcome.FAIL)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CLEAN)
def test_what_does_not_is_none(tmp_path, shape, name):
    if (shape, name) == ("in the same function", "a variable of that name"):
        pytest.skip("then it is that variable which is asked for")
    assert outcome(tmp_path, shape, CLEAN[name]) is Outcome.PASS


def test_who_wrote_it_is_named(tmp_path):
    source = tmp_path / "driver.c"
    source.write_text(HEAD + SHAPES["in another function"].format("VendorFill(&cfg)"))
    messages = [one.message for one in evaluate(source).findings]
    assert any("cfg is given to VendorFill, which may write there" in one for one in messages)
