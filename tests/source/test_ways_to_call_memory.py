"""Ways in which text calls memory that never executes, and the same ways to call a function."""

import pytest

from sources import bad, one_file

RULE = "dynamic-code"
MEMORY = "ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'aaaa')"
TEXT = """#include <ntddk.h>
typedef VOID (*ROUTINE)(VOID);
VOID Real(VOID) { }
struct S { ULONG n; ROUTINE fn; PVOID data; };
void use(struct S *x) { x->fn(); }
void call(ROUTINE routine) { routine(); }
%s
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    struct S x;
    PVOID other = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'aaaa');
    PVOID p = VALUE;
    x.data = other;
    %s
    return STATUS_SUCCESS;
}
"""
UNION = "typedef union { PVOID p; ROUTINE member; } U;"
FIELDS = (
    "struct T { union { PVOID p; ROUTINE member; } u; }; void go(struct T *t) { t->u.member(); }"
)
IN_C = {
    "assigned": ("", "ROUTINE fn; fn = p; fn();"),
    "function type": ("typedef VOID FN(VOID);", "FN *fn = (FN *)p; fn();"),
    "pointer to a function type": (
        "typedef VOID FN(VOID);\ntypedef FN *PFN2;",
        "PFN2 fn = (PFN2)p; fn();",
    ),
    "type of the kit": ("", "PIO_WORKITEM_ROUTINE fn = (PIO_WORKITEM_ROUTINE)p; fn(NULL, NULL);"),
    "field": ("", "x.fn = p; use(&x);"),
    "list": ("", "struct S y = { 1, (ROUTINE)p }; use(&y);"),
    "parameter": ("", "call(p);"),
    "cast for a parameter": ("", "call((ROUTINE)p);"),
    "parameter of no named type": ("void go(VOID (*f)(VOID)) { f(); }", "go((VOID (*)(VOID))p);"),
    "global as an argument": ("PVOID g;\nvoid later(void) { call((ROUTINE)g); }", "g = p;"),
    "element": ("ROUTINE table[4];", "table[1] = p; table[1]();"),
    "result": ("PVOID g; ROUTINE make(void) { return (ROUTINE)g; }", "g = p; make()();"),
    "assignment that is called": ("", "ROUTINE fn; (fn = (ROUTINE)p)();"),
    "pointer that a callee fills": (
        "PVOID g; void make(PVOID *out) { *out = g; }",
        "ROUTINE fn; g = p; make((PVOID *)&fn); fn();",
    ),
    "union": (UNION, "U u; u.p = p; u.member();"),
    "list of a union": (UNION, "U u = { p }; u.member();"),
    "named in the list of a union": (UNION, "U u = { .p = p }; u.member();"),
    "union in a structure": (FIELDS, "struct T t; t.u.p = p; go(&t);"),
    "copy": ("", "ROUTINE fn; memcpy(&fn, &p, sizeof fn); fn();"),
    "copy to a field": ("", "RtlCopyMemory(&x.fn, &p, sizeof(p)); use(&x);"),
    "copy to a global": ("ROUTINE g;", "memcpy(&g, &p, 8); g();"),
    "copy to an element": ("ROUTINE table[4];", "RtlCopyMemory(&table[1], &p, 8); table[1]();"),
    "store through the address": ("", "ROUTINE fn; *(PVOID *)&fn = p; fn();"),
    "store through that of a field": ("", "*(PVOID *)&x.fn = p; use(&x);"),
    "exchange": ("ROUTINE g;", "InterlockedExchangePointer((PVOID *)&g, p); g();"),
    "exchange if equal": (
        "",
        "InterlockedCompareExchangePointer((PVOID *)&x.fn, p, NULL); use(&x);",
    ),
    "macro that stores": ("#define SET(o, r) (o)->fn = (r)", "SET(&x, (ROUTINE)p); use(&x);"),
    "macro that stores in a field by name": (
        "#define SET(o, f, r) do { (o)->f = (r); } while (0)",
        "SET(&x, fn, p); use(&x);",
    ),
    "macro for the driver object": (
        "#define SET(o, i, r) (o)->MajorFunction[i] = (r)",
        "SET(DriverObject, 3, (PDRIVER_DISPATCH)p);",
    ),
    "macro that casts": ("#define AS(x) ((ROUTINE)(x))", "AS(p)();"),
    "choice by type": ("", "_Generic(p, PVOID: (ROUTINE)p, default: Real)();"),
    "pointer to the pointer": ("", "PVOID *pp = &p; ((ROUTINE)*pp)();"),
    "its address as that of a routine": ("", "(*(ROUTINE *)&p)();"),
    "its address as a list of routines": ("", "((ROUTINE *)&p)[0]();"),
    "address of a field as a list": ("", "x.fn = p; ((ROUTINE *)&x.fn)[0]();"),
    "chosen": ("", "(DriverObject ? (ROUTINE)p : Real)();"),
    "behind a comma": ("", "(0, (ROUTINE)p)();"),
    "list of a local table": ("", "ROUTINE t[] = { Real, (ROUTINE)p }; t[1]();"),
    "given to a function with the address of a field": (
        "void put(PVOID *to, PVOID what) { *to = what; }",
        "put((PVOID *)&DriverObject->DriverUnload, p);",
    ),
    "cast to what a function is": ("", "((__typeof__(&Real))p)();"),
    "copy to a field of Windows": (
        "",
        "memcpy(&DriverObject->DriverUnload, &p, sizeof p);",
    ),
    "copy to an element of Windows": (
        "",
        "RtlCopyMemory(&DriverObject->MajorFunction[3], &p, sizeof(PVOID));",
    ),
    "exchange with a field of Windows": (
        "",
        "InterlockedExchangePointer((PVOID *)&DriverObject->DriverUnload, p);",
    ),
    "pointer to a field of Windows": (
        "",
        "PVOID *q = (PVOID *)&DriverObject->DriverUnload; *q = p;",
    ),
    "pointer to a list of Windows": (
        "",
        "PVOID *q = (PVOID *)&DriverObject->MajorFunction[3]; q[0] = p;",
    ),
    "store through the address in parentheses": ("", "ROUTINE fn; *(PVOID *)&(fn) = p; fn();"),
    "store through that of a field of Windows in parentheses": (
        "",
        "*(PVOID *)&(DriverObject->DriverUnload) = p;",
    ),
    "exchange of a field in parentheses": (
        "",
        "InterlockedExchangePointer((PVOID *)&(x.fn), p); use(&x);",
    ),
    "star before parentheses": ("", "ROUTINE fn = (ROUTINE)p; (*(fn))();"),
    "bounded copy": ("", "ROUTINE fn; memcpy_s(&fn, 8, &p, 8); fn();"),
    "copy of a structure": (
        "",
        "struct S y; x.fn = (ROUTINE)p; memcpy(&y, &x, sizeof x); use(&y);",
    ),
    "written with a barrier": ("ROUTINE g;", "WritePointerRelease((PVOID *)&g, p); g();"),
    "read with a barrier": (
        "PVOID g;",
        "g = p; ROUTINE fn = (ROUTINE)ReadPointerAcquire(&g); fn();",
    ),
    "what an exchange gives back": (
        "PVOID g;",
        "g = p; ROUTINE fn = (ROUTINE)InterlockedExchangePointer(&g, NULL); fn();",
    ),
    "member of a union in a structure of it": (
        "union V { ROUTINE run; struct { PVOID held; ULONG n; } part; };",
        "union V u; u.part.held = p; u.run();",
    ),
    "pointer to it as a pointer to routines": ("", "ROUTINE *pf = (ROUTINE *)&p; (*pf)();"),
}
IN_CPLUSPLUS = {
    "template": ("template <typename F> void run(F f) { f(); }", "run((ROUTINE)p);"),
    "member that a constructor sets": (
        "class C { ROUTINE m; public: C(PVOID a) : m((ROUTINE)a) {} void run() { m(); } };",
        "C c(p); c.run();",
    ),
    "parameter of a lambda": ("", "auto f = [](PVOID q) { ((ROUTINE)q)(); }; f(p);"),
    "kept by a lambda": ("", "auto f = [q = p]() { ((ROUTINE)q)(); }; f();"),
    "lambda in a lambda": (
        "",
        "auto f = [](PVOID q) { auto g = [](PVOID r) { ((ROUTINE)r)(); }; g(q); }; f(p);",
    ),
    "reference": (
        "PVOID g; void make(ROUTINE &f) { f = (ROUTINE)g; }",
        "ROUTINE fn; g = p; make(fn); fn();",
    ),
}


@pytest.mark.parametrize("shape", [*IN_C, *IN_CPLUSPLUS])
def test_memory_that_is_called(tmp_path, shape):
    text, name = written(shape)
    assert bad(one_file(tmp_path, text.replace("VALUE", MEMORY), name)) == {RULE}


@pytest.mark.parametrize("shape", [*IN_C, *IN_CPLUSPLUS])
def test_a_function_that_is_called(tmp_path, shape):
    text, name = written(shape)
    assert bad(one_file(tmp_path, text.replace("VALUE", "(PVOID)Real"), name)) == set()


def written(shape):
    every = {**IN_C, **IN_CPLUSPLUS}
    return TEXT % every[shape], "d.c" if shape in IN_C else "d.cpp"


@pytest.mark.parametrize(("more", "sure"), [("", "likely"), ("t.u.member = Real;", "possible")])
def test_a_union_that_holds_functions_as_well(tmp_path, more, sure):
    before, body = IN_C["union in a structure"]
    text = (TEXT % (before, f"{body} {more}")).replace("VALUE", MEMORY)
    (fact,) = one_file(tmp_path, text).behaviours
    assert fact.confidence.value == sure


def test_memory_in_the_member_itself_is_not_only_possible(tmp_path):
    text = TEXT % (UNION, "U u; u.member = Real; u.member = (ROUTINE)p; u.member();")
    assert bad(one_file(tmp_path, text.replace("VALUE", MEMORY))) == {RULE}


def test_the_last_field_that_a_constructor_sets_is_no_function(tmp_path):
    fields = "class C { ULONG a; ROUTINE m; public: %s };"
    for made in (
        "C(PVOID p) noexcept : a(1), m((ROUTINE)p) { } void run() { m(); }",
        "C(PVOID p) : a{1}, m((ROUTINE)p) { } void run() { m(); }",
        "C(PVOID p) { m = (ROUTINE)p; } void run() { m(); }",
    ):
        text = TEXT % (fields % made, "C c(p); c.run();")
        assert bad(one_file(tmp_path, text.replace("VALUE", MEMORY), "d.cpp")) == {RULE}


MACROS = {
    "without parameters": ("#define GET() GIVEN", "GET()"),
    "with a parameter": ("#define GET(n) GIVEN", "GET(8)"),
    "of a macro": ("#define INNER(n) GIVEN\n#define GET(n) INNER(n)", "GET(8)"),
}


@pytest.mark.parametrize("macro", [*MACROS])
@pytest.mark.parametrize(("given", "found"), [(MEMORY, {RULE}), ("((PVOID)Real)", set())])
def test_a_macro_that_gives_what_is_called(tmp_path, macro, given, found):
    before, value = MACROS[macro]
    text = (TEXT % (before, "call((ROUTINE)p);")).replace("GIVEN", given)
    assert bad(one_file(tmp_path, text.replace("VALUE", value))) == found


def test_a_macro_that_is_another_name_of_an_allocation(tmp_path):
    before = "#define GET FIRST\n#define FIRST ExAllocatePool2"
    text = TEXT % (before, "call((ROUTINE)p);")
    value = "GET(POOL_FLAG_NON_PAGED, 8, 'aaaa')"
    assert bad(one_file(tmp_path, text.replace("VALUE", value))) == {RULE}
