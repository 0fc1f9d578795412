"""Writes to functions of the driver and of the kernel whose addresses are taken for data."""

import pytest

from sources import WRITING, entry, one_file

WRITES = {
    "plain": ("", "*(ULONG*)VALUE = 0;"),
    "paren": ("", "*(ULONG*)(VALUE) = 0;"),
    "index paren": ("", "((UCHAR*)(VALUE))[3] = 0;"),
    "index": ("", "((UCHAR*)VALUE)[3] = 0;"),
    "incr": ("", "(*(ULONG*)VALUE)++;"),
    "pre incr": ("", "++*(ULONG*)VALUE;"),
    "incr idx": ("", "((UCHAR*)VALUE)[1]--;"),
    "p++ var": ("", "ULONG *p = (ULONG*)VALUE; (*p)++;"),
    "p idx++": ("", "UCHAR *p = (UCHAR*)VALUE; p[2]++;"),
    "++*p": ("", "UCHAR *p = (UCHAR*)VALUE; ++*p;"),
    "or": ("", "UCHAR *p = (UCHAR*)VALUE; *p |= 1;"),
    "copy paren": ("", "memcpy((VALUE), buffer, 5);"),
    "copy": ("", "memcpy(VALUE, buffer, 5);"),
    "fill paren": ("", "RtlZeroMemory((VALUE), 8);"),
    "interlocked paren": ("", "InterlockedExchange((LONG*)(VALUE), 0);"),
    "interlocked": ("", "InterlockedExchange((LONG*)VALUE, 0);"),
    "tight": ("", "UCHAR*p=(UCHAR*)VALUE;*p=0;"),
    "local": ("", "ULONG *q = (ULONG*)(VALUE); *q = 0;"),
    "arrow": ("struct J { UCHAR op; LONG d; };", "((struct J*)(VALUE))->op = 0xE9;"),
    "arrow2": ("struct J { UCHAR op; LONG d; };", "struct J *j = (struct J*)VALUE; j->op = 0xE9;"),
    "arrow3": (
        "struct J { UCHAR op; LONG d; };",
        "struct J *j = (struct J*)(VALUE); j->op = 0xE9;",
    ),
    "volatile": ("", "*(volatile ULONG *)(VALUE) = 1;"),
    "own type": ("typedef struct { ULONG a; } PATCH, *PPATCH;", "((PPATCH)VALUE)->a = 1;"),
    "own type paren": ("typedef struct { ULONG a; } PATCH, *PPATCH;", "((PPATCH)(VALUE))->a = 1;"),
    "own type star": (
        "typedef struct { ULONG a; } PATCH, *PPATCH;",
        "PATCH z = {1}; *(PPATCH)(VALUE) = z;",
    ),
    "own type var": (
        "typedef struct { ULONG a; } PATCH, *PPATCH;",
        "PPATCH z = (PPATCH)(VALUE); z->a = 3;",
    ),
    "own typedef'd bytes": (
        "typedef unsigned char *MEMPTR;",
        "MEMPTR z = (MEMPTR)(VALUE); *z = 3;",
    ),
    "sum": ("", "*((UCHAR*)VALUE + 2) = 3;"),
    "sum paren": ("", "*((UCHAR*)(VALUE) + 2) = 3;"),
    "ulong_ptr": ("", "ULONG_PTR a = (ULONG_PTR)VALUE; *(ULONG*)(a + 4) = 3;"),
    "ulong_ptr paren": ("", "ULONG_PTR a = (ULONG_PTR)(VALUE); *(ULONG*)(a + 4) = 3;"),
    "func": ("void w(PVOID p) { *(ULONG*)p = 3; }", "w(VALUE);"),
    "func paren": ("void w(PVOID p) { *(ULONG*)p = 3; }", "w((VALUE));"),
    "global": ("PVOID g; void w(void) { *(ULONG*)g = 3; }", "g = VALUE; w();"),
    "global paren": ("PVOID g; void w(void) { *(ULONG*)g = 3; }", "g = (VALUE); w();"),
    "field": (
        "struct T { ULONG a; UCHAR *t; }; void w(struct T *t) { t->t[0] = 3; }",
        "struct T t; t.t = (UCHAR*)VALUE; w(&t);",
    ),
    "list": (
        "struct T { ULONG a; UCHAR *t; }; void w(struct T *t) { t->t[0] = 3; }",
        "struct T t = { 1, (UCHAR*)VALUE }; w(&t);",
    ),
    "static list": (
        "struct T { ULONG a; UCHAR *t; }; static struct T t = { 1, (UCHAR*)VALUE };"
        "void w(struct T *t) { t->t[0] = 3; }",
        "w(&t);",
    ),
    "table": (
        "static PVOID t[2] = { VALUE, 0 };",
        "for (int i = 0; i < 2; i++) *(ULONG*)t[i] = 3;",
    ),
    "result": ("static PVOID get(void) { return VALUE; }", "*(ULONG*)get() = 3;"),
    "result paren": ("static PVOID get(void) { return (VALUE); }", "*(ULONG*)get() = 3;"),
    "ternary": ("", "UCHAR *p = RegistryPath ? (UCHAR*)VALUE : buffer; *p = 1;"),
    "move": ("", "RtlMoveMemory((PVOID)(VALUE), buffer, 4);"),
    "strcpy": ("", 'strcpy((char*)VALUE, "a");'),
    "writereg": ("", "WRITE_REGISTER_ULONG((PULONG)VALUE, 3);"),
    "for ptr": ("", "for (UCHAR *p = (UCHAR*)VALUE; p < buffer; p++) *p = 0x90;"),
    "while ptr": ("", "UCHAR *p = (UCHAR*)VALUE; int n = 5; while (n--) *p++ = 0x90;"),
}


def writes(tmp_path, name, value):
    """Whether a driver writes to code."""
    pre, body = (part.replace("VALUE", value) for part in WRITES[name])
    facts = one_file(tmp_path, WRITING % (pre, body)).behaviours
    return any(fact.rule == "writes-executable-memory" for fact in facts)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("code", ["(PVOID)Real", "Real", "MmGetSystemRoutineAddress(&Name)"])
def test_code_is_written(tmp_path, name, code):
    assert writes(tmp_path, name, code)


@pytest.mark.parametrize("name", WRITES)
def test_code_of_the_kernel_is_written(tmp_path, name):
    assert writes(tmp_path, name, "(PVOID)KeBugCheckEx")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("data", ["(PVOID)buffer", "buffer"])
def test_data_is_written(tmp_path, name, data):
    assert not writes(tmp_path, name, data)


CALLBACKS = {
    "context": (
        "",
        "PsCreateSystemThread(&h, 0, 0, 0, 0, Worker, (PVOID)Real); *(ULONG *)buffer = 1;",
    ),
    "compared": ("", "UCHAR *p = buffer; if ((PVOID)p != (PVOID)Real) *p = 1;"),
    "local of a name of the kernel": (
        "",
        "UCHAR *KeBugCheckEx = buffer; *(ULONG *)KeBugCheckEx = 1;",
    ),
    "printed": ("", 'DbgPrint("%p", (PVOID)Real); buffer[1] = 2;'),
    "registered": (
        "typedef VOID (*CB)(VOID); static CB cb; void r(CB c) { cb = c; }",
        "r(Real); buffer[0] = 1;",
    ),
    "table": (
        "static PVOID t[2] = { (PVOID)Real, 0 };",
        "t[1] = (PVOID)Real; *(ULONG *)buffer = 1;",
    ),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_function_that_goes_for_data_and_is_left_alone(tmp_path, name):
    facts = one_file(tmp_path, WRITING % CALLBACKS[name]).behaviours
    assert not [fact for fact in facts if fact.rule == "writes-executable-memory"]


STORES = [
    "*(ULONG *)(PVOID)KeBugCheckEx = 0;",
    "*(PUCHAR)KeBugCheckEx = 0xE9;",
    "*(volatile ULONG *)(PVOID)KeBugCheckEx = 0;",
    "*(ULONG *)(void *)&KeBugCheckEx = 0;",
    "(*(PULONG)KeBugCheckEx)++;",
    "*(PULONG)KeBugCheckEx |= 1;",
    "(*(PULONG)(KeBugCheckEx)) = 1;",
    "((PUCHAR)&KeBugCheckEx)[1] = 1;",
]
OTHERS = [
    "*given = 5;",
    "*(PULONG)given = 5;",
    "*(PULONG)Mine = 5;",
    "*(PULONG)NobodyKnowsThis = 5;",
    "PULONG KeBugCheckEx = (PULONG)buffer; *(PUCHAR)KeBugCheckEx = 5;",
    "*(PULONG)NtBuildNumber = 5;",
]


@pytest.mark.parametrize("store", STORES)
def test_a_store_through_a_routine_gives_its_name_no_value(tmp_path, store):
    facts = one_file(tmp_path, "#include <ntddk.h>\n" + entry(store)).behaviours
    assert "writes-executable-memory" in {fact.rule for fact in facts}


@pytest.mark.parametrize("store", OTHERS)
def test_a_store_through_a_variable_writes_no_code(tmp_path, store):
    text = "#include <ntddk.h>\nextern PULONG given; PULONG Mine; UCHAR buffer[8];\n"
    assert not one_file(tmp_path, text + entry(store)).behaviours
