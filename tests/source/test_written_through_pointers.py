"""A record is written as a whole through pointers to it: in functions that get it, by macros."""

import pytest

from sources import bad, entry, one_file

RECORD = "typedef struct { ULONG n; POOL_TYPE t; } R;\n"
GLOBAL = RECORD + "static R r = {1, NonPagedPoolNx};\n"
ARRAY = RECORD + "static R r[2] = {{1, NonPagedPoolNx}, {2, NonPagedPoolNx}};\n"
LOCAL = "R r = {1, NonPagedPoolNx};"
USE = " ExAllocatePoolWithTag(r.t, 8, 'x');"
ELEMENT = " ExAllocatePoolWithTag(r[0].t, 8, 'x');"
CLEAR = "#define CLEAR(x) RtlZeroMemory(&(x), sizeof(x))\n#define WIPE(x) memset((x), 0, 4)\n"
WRITING = [
    "RtlZeroMemory(p, sizeof *p);",
    "RtlCopyMemory(p, SystemBuffer, sizeof *p);",
    "*p = *(R *)SystemBuffer;",
    "R *q = p; RtlCopyMemory(q, SystemBuffer, sizeof *q);",
    "WIPE(p);",
]
READING = [
    "DbgPrint(text, p->n);",
    "RtlCopyMemory(SystemBuffer, p, sizeof *p);",
    "R other = *p; use(&other);",
    "RtlZeroMemory(p, sizeof *p); p->t = NonPagedPoolNx;",
    "KeInitializeEvent(&p->n, 0, 0);",
]


def found(tmp_path, outside, body):
    """The rules that are not satisfied."""
    return bad(one_file(tmp_path, CLEAR + outside + entry(body)))


@pytest.mark.parametrize("body", WRITING)
def test_a_function_that_writes_all_of_it(tmp_path, body):
    load = "VOID load(R *p) { " + body + " }\n"
    inner = load + "VOID outer(R *o) { load(o); }\n"
    for call in ("load(&r);", "outer(&r);"):
        assert "execute-pool-type" in found(tmp_path, GLOBAL + inner, call + USE)
        assert "execute-pool-type" in found(tmp_path, RECORD + inner, LOCAL + call + USE)
    elsewhere = inner + "VOID start(VOID) { load(&r); }\n"
    assert "execute-pool-type" in found(tmp_path, GLOBAL + elsewhere, "start();" + USE)
    for call in ("load(r);", "load(&r[0]);"):
        assert "execute-pool-type" in found(tmp_path, ARRAY + inner, call + ELEMENT)


@pytest.mark.parametrize("body", READING)
def test_a_function_that_reads_it_or_sets_the_field(tmp_path, body):
    load = "VOID load(R *p) { " + body + " }\n"
    assert found(tmp_path, GLOBAL + load, "load(&r);" + USE) == set()
    assert found(tmp_path, RECORD + load, LOCAL + "load(&r);" + USE) == set()
    assert found(tmp_path, ARRAY + load, "load(r);" + ELEMENT) == set()


def test_a_pointer_in_the_same_function(tmp_path):
    body = "R *p = &r; *p = *(R *)SystemBuffer;"
    assert "execute-pool-type" in found(tmp_path, GLOBAL, body + USE)
    assert "execute-pool-type" in found(tmp_path, RECORD, LOCAL + body + USE)
    body = "R *p = &r; use(p->n);"
    assert found(tmp_path, GLOBAL, body + USE) == set()
    assert found(tmp_path, RECORD, LOCAL + body + USE) == set()


def test_an_array_of_records_that_is_written_elsewhere(tmp_path):
    start = "VOID start(VOID) { RtlZeroMemory(r, sizeof r); }\n"
    assert "execute-pool-type" in found(tmp_path, ARRAY + start, "start();" + ELEMENT)
    start = "VOID start(VOID) { R r[1]; RtlZeroMemory(r, sizeof r); show(sizeof r); }\n"
    assert found(tmp_path, ARRAY + start, "start();" + ELEMENT) == set()


def test_a_macro_that_writes_all_of_it(tmp_path):
    for call in ("CLEAR(r);", "WIPE(&r);"):
        assert "execute-pool-type" in found(tmp_path, GLOBAL, call + USE)
        assert "execute-pool-type" in found(tmp_path, RECORD, LOCAL + call + USE)
        start = "VOID start(VOID) { " + call + " }\n"
        assert "execute-pool-type" in found(tmp_path, GLOBAL + start, "start();" + USE)
    show = "#define SHOW(x) use((x).n)\n"
    assert found(tmp_path, GLOBAL + show, "SHOW(r);" + USE) == set()
    assert found(tmp_path, RECORD + show, LOCAL + "SHOW(r);" + USE) == set()
