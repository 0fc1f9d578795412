"""Macros that store, call and give values: what they do is seen where they are used."""

import pytest

from sources import WRITING, one_file

MEMORY = "ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'aaaa')"
LOOKED_UP = "MmGetSystemRoutineAddress(&Name)"
WRITES = {
    "do while": ("#define PUT(p) do { *(ULONG*)(p) = 0; } while (0)", "PUT(VALUE);"),
    "expression": ("#define PUT(p) (*(ULONG*)(p) = 0)", "PUT(VALUE);"),
    "plain block": ("#define PUT(p) { *(ULONG*)(p) = 0; }", "PUT(VALUE)"),
    "value too": ("#define PUT(p, v) do { *(ULONG*)(p) = (v); } while (0)", "PUT(VALUE, 3);"),
    "index": ("#define PUT(p, i) do { ((UCHAR*)(p))[i] = 0; } while (0)", "PUT(VALUE, 3);"),
    "local in macro": (
        "#define PUT(p) do { ULONG *q_ = (ULONG*)(p); *q_ = 0; } while (0)",
        "PUT(VALUE);",
    ),
    "copy in macro": ("#define PUT(p) do { memcpy((p), buffer, 5); } while (0)", "PUT(VALUE);"),
    "copy expression": ("#define PUT(p, n) RtlCopyMemory((PVOID)(p), buffer, n)", "PUT(VALUE, 5);"),
    "fill": ("#define CLEAR(p) RtlZeroMemory((p), 8)", "CLEAR(VALUE);"),
    "nested": (
        "#define PUT1(p) *(ULONG*)(p) = 0\n#define PUT(p) do { PUT1(p); } while (0)",
        "PUT(VALUE);",
    ),
    "named inside": ("#define PUT() do { *(ULONG*)(VALUE) = 0; } while (0)", "PUT();"),
    "object-like": ("#define PUT *(ULONG*)(VALUE) = 0", "PUT;"),
    "variable": ("#define PUT(p) do { *(ULONG*)(p) = 0; } while (0)", "PVOID p = VALUE; PUT(p);"),
    "variable deref": (
        "#define PUT(p) do { *(p) = 0; } while (0)",
        "ULONG *p = (ULONG*)VALUE; PUT(p);",
    ),
    "in function": (
        "#define PUT(p) do { *(ULONG*)(p) = 0; } while (0)\nvoid patch(PVOID p) { PUT(p); }",
        "patch(VALUE);",
    ),
    "uses local name": (
        "#define PUT() do { *(ULONG*)(p) = 0; } while (0)",
        "PVOID p = VALUE; PUT();",
    ),
    "interlocked": ("#define PUT(p) InterlockedExchange((LONG*)(p), 0)", "PUT(VALUE);"),
    "arrow": (
        "struct J { UCHAR op; LONG d; };\n"
        "#define PUT(p) do { ((struct J*)(p))->op = 0xE9; } while (0)",
        "PUT(VALUE);",
    ),
    "or assign": ("#define PUT(p) do { *(ULONG*)(p) |= 1; } while (0)", "PUT(VALUE);"),
    "incr": ("#define PUT(p) do { (*(ULONG*)(p))++; } while (0)", "PUT(VALUE);"),
    "if": ("#define PUT(c, p) if (c) { *(ULONG*)(p) = 0; }", "PUT(1, VALUE)"),
    "WRITE_ULONG like": (
        "#define POKE(a, v) (*(volatile ULONG *)(a) = (v))",
        "POKE(VALUE, 0x90909090);",
    ),
}
CALLS = {
    "call do": ("#define CALL(p) do { ((ROUTINE)(p))(); } while (0)", "CALL(VALUE);"),
    "call expr": ("#define CALL(p) ((ROUTINE)(p))()", "CALL(VALUE);"),
    "call plain": (
        "#define CALL(p) do { (p)(); } while (0)",
        "ROUTINE f = (ROUTINE)VALUE; CALL(f);",
    ),
    "call bare": ("#define CALL(p) do { p(); } while (0)", "ROUTINE f = (ROUTINE)VALUE; CALL(f);"),
    "local in macro": (
        "#define CALL(p) do { ROUTINE q_ = (ROUTINE)(p); q_(); } while (0)",
        "CALL(VALUE);",
    ),
    "nested": (
        "#define CALL1(p) ((ROUTINE)(p))()\n#define CALL(p) do { CALL1(p); } while (0)",
        "CALL(VALUE);",
    ),
    "object": ("#define CALL ((ROUTINE)(VALUE))()", "CALL;"),
    "no params": ("#define CALL() ((ROUTINE)(VALUE))()", "CALL();"),
    "uses local": ("#define CALL() ((ROUTINE)(p))()", "PVOID p = VALUE; CALL();"),
    "field": (
        "#define CALL(x) do { (x)->fn(); } while (0)",
        "struct S s; s.fn = (ROUTINE)VALUE; CALL(&s);",
    ),
    "field dot": ("#define CALL(x) (x).fn()", "struct S s; s.fn = (ROUTINE)VALUE; CALL(s);"),
    "field named": (
        "#define CALL(x, f) (x)->f()",
        "struct S s; s.fn = (ROUTINE)VALUE; CALL(&s, fn);",
    ),
    "field data cast": (
        "#define CALL(x) ((ROUTINE)(x)->data)()",
        "struct S s; s.data = VALUE; CALL(&s);",
    ),
    "global": (
        "static ROUTINE g;\n#define CALL() do { if (g) g(); } while (0)",
        "g = (ROUTINE)VALUE; CALL();",
    ),
    "global bare": ("static ROUTINE g;\n#define CALL g()", "g = (ROUTINE)VALUE; CALL;"),
    "thread": (
        "#define START(p) do { HANDLE h_; "
        "PsCreateSystemThread(&h_, 0, 0, 0, 0, (PKSTART_ROUTINE)(p), 0); } while (0)",
        "START(VALUE);",
    ),
    "dpc": (
        "static KDPC Dpc;\n#define START(p) KeInitializeDpc(&Dpc, (PKDEFERRED_ROUTINE)(p), 0)",
        "START(VALUE);",
    ),
    "unload": (
        "#define SET(p) do { DriverObject->DriverUnload = (PDRIVER_UNLOAD)(p); } while (0)",
        "SET(VALUE);",
    ),
    "call in function": (
        "#define CALL(p) do { ((ROUTINE)(p))(); } while (0)\nvoid run(PVOID p) { CALL(p); }",
        "run(VALUE);",
    ),
    "assign and call": (
        "#define SET(v, p) do { (v) = (ROUTINE)(p); } while (0)",
        "ROUTINE f; SET(f, VALUE); f();",
    ),
    "assign global": ("static ROUTINE g;\n#define SET(p) g = (ROUTINE)(p)", "SET(VALUE); g();"),
    "assign expr": ("#define SET(v, p) ((v) = (p))", "ROUTINE f; SET(f, (ROUTINE)VALUE); f();"),
    "assign field of global": (
        "static struct S gs;\n#define SET(p) do { gs.fn = (ROUTINE)(p); } while (0)",
        "SET(VALUE); gs.fn();",
    ),
    "assign local by name": ("#define SET(p) f = (ROUTINE)(p)", "ROUTINE f; SET(VALUE); f();"),
    "alloc in macro": (
        "#define NEW(v) do { (v) = (ROUTINE)VALUE; } while (0)",
        "ROUTINE f; NEW(f); f();",
    ),
    "alloc value": ("#define NEW(n) (VALUE)", "ROUTINE f = (ROUTINE)NEW(3); f();"),
    "address of": (
        "#define SET(v, p) do { *(PVOID*)&(v) = (p); } while (0)",
        "ROUTINE f; SET(f, VALUE); f();",
    ),
    "exchange": (
        "#define SET(v, p) InterlockedExchangePointer((PVOID*)&(v), (p))",
        "ROUTINE f; SET(f, VALUE); f();",
    ),
    "copy": (
        "#define SET(v, p) memcpy(&(v), &(p), sizeof(p))",
        "ROUTINE f; PVOID p = VALUE; SET(f, p); f();",
    ),
}


def found(tmp_path, shape, value, rule):
    """The lines of what a driver does against a rule."""
    pre, body = (part.replace("VALUE", value) for part in shape)
    facts = one_file(tmp_path, WRITING % (pre, body))
    return [fact.site.line for fact in facts.behaviours if fact.rule == rule]


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("code", ["(PVOID)Real", LOOKED_UP])
def test_a_write_to_code_by_a_macro(tmp_path, name, code):
    assert found(tmp_path, WRITES[name], code, "writes-executable-memory")


@pytest.mark.parametrize("name", WRITES)
def test_a_write_to_data_by_a_macro(tmp_path, name):
    assert not found(tmp_path, WRITES[name], "(PVOID)buffer", "writes-executable-memory")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_memory_by_a_macro(tmp_path, name):
    assert found(tmp_path, CALLS[name], MEMORY, "dynamic-code")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_a_function_by_a_macro(tmp_path, name):
    assert not found(tmp_path, CALLS[name], "(PVOID)Real", "dynamic-code")


def test_the_place_is_that_of_the_use(tmp_path):
    shape = (
        "#define CALL(p) do { \\\n ((ROUTINE)(p))(); \\\n } while (0)",
        "PVOID a = VALUE, b = 0;\n CALL(b);\n CALL(\n a);\n b = a;",
    )
    assert found(tmp_path, shape, MEMORY, "dynamic-code") == [14]


def test_a_macro_with_two_definitions(tmp_path):
    shape = (
        "#if X\n#define CALL(p) Real()\n#else\n#define CALL(p) ((ROUTINE)(p))()\n#endif",
        "PVOID p = VALUE; CALL(p);",
    )
    assert found(tmp_path, shape, MEMORY, "dynamic-code")
    assert not found(tmp_path, shape, "(PVOID)Real", "dynamic-code")


def test_macros_that_name_themselves_or_each_other(tmp_path):
    pre = "#define A(p) B(p); (p)()\n#define B(p) A(p); *(p) = 0"
    assert found(tmp_path, (pre, "ROUTINE f = (ROUTINE)VALUE; A(f);"), MEMORY, "dynamic-code")


def test_memory_in_which_a_macro_runs_code_gets_no_edit(tmp_path):
    pre = (
        "#define ALLOC(n) ExAllocatePoolWithTag(NonPagedPool, n, 'a')\n"
        "#define NEW(v, n) do { (v) = ALLOC(n); } while (0)\n#define CALL(p) ((ROUTINE)(p))()"
    )
    body = "PVOID p; NEW(p, 64); CALL(p); PVOID q = ExAllocatePoolWithTag(NonPagedPool, 9, 'b');"
    calls = one_file(tmp_path, WRITING % (pre, body)).calls
    assert sorted((bool(one.runs_code), bool(one.edits)) for one in calls) == [
        (False, True),
        (True, False),
    ]
