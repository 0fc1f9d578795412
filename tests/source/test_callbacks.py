"""Functions that are called through pointers only: what such calls pass as a pool."""

import pytest

from sources import bad, entry, one_file, value_of

MAKE = """
#include <ntddk.h>
typedef NTSTATUS MAKER(PVOID *out, POOL_TYPE pool);
NTSTATUS Make(PVOID *out, POOL_TYPE pool) {
    *out = ExAllocatePoolWithTag(pool, 8, 'a');
    return STATUS_SUCCESS;
}
"""
TABLE = "struct { int id; MAKER *make; } Rows[] = { { 1, Make } };\n"
CALL = "Rows[0].make(&p, NonPagedPoolNx);"
INSTALL = "static void Install(MAKER *made) { PVOID p; made(&p, NonPagedPoolNx); }\n"
FOUND = {
    "field": TABLE + entry(CALL),
    "arrow": TABLE + entry("Device->make(&p, (POOL_TYPE)NonPagedPoolNx);"),
    "parenthesised": TABLE + entry("(*Rows[0].make)(&p, NonPagedPoolNx);"),
    "given to our own": INSTALL + entry("Install(Make);"),
    "stored": INSTALL + entry("Device->make = Make; Device->make(&p, NonPagedPoolNx);"),
}


@pytest.mark.parametrize("kind", FOUND)
def test_a_call_through_a_pointer_is_followed(tmp_path, kind):
    evidence = one_file(tmp_path, MAKE + FOUND[kind])
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({0x200}, True)


def test_all_such_calls_count(tmp_path):
    text = MAKE + TABLE + entry(CALL + "Rows[0].make(&p, NonPagedPool);" + CALL)
    assert value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag") == ({0, 0x200}, True)


OPEN = {
    "given to the kit": entry("Register(Make); " + CALL),
    "given by a cast": entry("ExInitializeLookasideListEx(&l, (PVOID)Make, 0, 0, 0, 8, 0, 0);"),
    "never kept": entry(CALL),
    "other count": TABLE + entry("Rows[0].make(&p, 1, NonPagedPoolNx);"),
    "other place": TABLE + entry("Rows[0].make(NonPagedPoolNx, 5);"),
    "no pool": TABLE + entry("Rows[0].make(&p, Kind());"),
    "a function": "void Use(PVOID *p, POOL_TYPE t) { }\n"
    + TABLE
    + entry("Use(&p, NonPagedPoolNx);"),
    "a macro": "#define USE(p, t) (t)\n" + TABLE + entry("x = USE(&p, NonPagedPoolNx);"),
    "not compiled": TABLE + "#if 0\nvoid F(void) { Rows[0].make(&p, NonPagedPoolNx); }\n#endif\n"
    "#define GO Rows[0].make(&p, NonPagedPoolNx)\n" + entry("POOL_TYPE t = NonPagedPoolNx;"),
}


@pytest.mark.parametrize("kind", OPEN)
def test_what_may_come_from_elsewhere_stays_open(tmp_path, kind):
    evidence = one_file(tmp_path, MAKE + OPEN[kind])
    calls = [one for one in evidence.calls if one.ddi == "ExAllocatePoolWithTag"]
    assert not calls[0].arguments["PoolType"].complete


def test_a_parameter_of_another_type_is_not_followed(tmp_path):
    text = MAKE.replace("POOL_TYPE pool", "int pool") + TABLE + entry(CALL)
    assert not value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag")[1]


def test_more_calls_through_pointers_than_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.source.program.callbacks.MAX_CALLS", 2)
    text = "#include <ntddk.h>\nPVOID Get(POOL_TYPE t) { return ExAllocatePoolWithTag(t, 8, 1); }\n"
    text += "OPS Ops = { .Get = Get };\nvoid f(void) {\n"
    text += "Ops.Get(NonPagedPoolNx); Ops.Get(NonPagedPoolNx); Ops.Get(NonPagedPool); }\n"
    assert bad(one_file(tmp_path, text)) == {"execute-pool-type"}
