"""Fields that decide: unions, writes of whole records, casts, lists that leave a field out."""

import pytest

from sources import bad, entry, one_file, value_of

TYPES = """
typedef union { POOL_TYPE Type; ULONG Raw; UCHAR Bytes[4]; struct { ULONG Low : 9; } Bits; } U;
typedef union { struct { ULONG Begin, End; } Half; ULONGLONG All; } V;
typedef struct { ULONG Size; POOL_TYPE Type; } R;
typedef struct { ULONG First; ULONG Second; } OTHER;
typedef struct { int Kind; union { POOL_TYPE Type; ULONG Raw; }; } A;
"""
NX, NO, OPEN = ({0x200}, True), ({0}, True), ({0x200}, False)
NOTHING = (set(), False)
CALL = "ExAllocatePoolWithTag({}, 8, 'a');"


def found(tmp_path, body, types=TYPES, name="driver.c"):
    """The pool types that a call passes, and whether these are all."""
    return value_of(one_file(tmp_path, types + entry(body), name), "ExAllocatePoolWithTag")


UNIONS = [
    ("V v; v.Half.Begin = NonPagedPoolNx; v.All = 1;", "v.Half.Begin", OPEN),
    ("V v; v.Half.Begin = NonPagedPoolNx; x = v.All;", "v.Half.Begin", NX),
    ("U u; u.Type = NonPagedPoolNx;", "u.Type", NX),
    ("U u; u.Type = NonPagedPoolNx; x = u.Raw;", "u.Type", NX),
    ("U u; u.Type = NonPagedPoolNx; u.Raw = 0;", "u.Type", OPEN),
    ("U u; u.Type = NonPagedPoolNx; u.Raw &= 0xFF;", "u.Type", OPEN),
    ("U u; u.Type = NonPagedPoolNx; u.Bytes[1] = 0;", "u.Type", OPEN),
    ("U u; u.Type = NonPagedPoolNx; RtlZeroMemory(u.Bytes, 4);", "u.Type", OPEN),
    ("U u; u.Type = NonPagedPoolNx; u.Bits.Low = 1;", "u.Type", OPEN),
    ("U u; u.Type = NonPagedPoolNx; Get(&u.Raw);", "u.Type", OPEN),
    ("U u; u.Type = NonPagedPoolNx; U v = { .Raw = 0 };", "u.Type", OPEN),
    ("A a; a.Type = NonPagedPoolNx; a.Kind = 0;", "a.Type", NX),
    ("A a; a.Type = NonPagedPoolNx; a.Raw++;", "a.Type", OPEN),
    ("RtlZeroMemory(&u, 4); U u; u.Raw = 0x200;", "u.Type", ({0x200}, False)),
]


@pytest.mark.parametrize(("body", "read", "value"), UNIONS)
def test_another_member_of_a_union_has_the_same_memory(tmp_path, body, read, value):
    types = TYPES if "U v =" not in body else TYPES.replace("Raw; };", "More; };")
    result = found(tmp_path, body + CALL.format(read), types)
    assert result[1] == value[1]
    assert result[0] <= value[0] if not value[1] else result[0] == value[0]


def test_a_field_of_few_bits_keeps_those(tmp_path):
    types = "typedef struct { ULONG Type : 8; } S;\n"
    body = "S s; s.Type = NonPagedPoolNx; " + CALL.format("s.Type")
    assert found(tmp_path, body, types) == NO
    assert found(tmp_path, body, types.replace("8", "WIDTH")) == OPEN
    assert found(tmp_path, body, types.replace("8", "12")) == NX


SET = "R r; r.Type = NonPagedPoolNx; "
WHOLE = [
    ("R r; RtlZeroMemory(&r, sizeof(r)); r.Type = NonPagedPoolNx;", NX),
    ("R r; memset(&r, 0, sizeof r); r.Size = 1; r.Type = NonPagedPoolNx;", NX),
    ("R r = {0}; r.Type = NonPagedPoolNx;", NX),
    ("R r = { 1 }; r.Type = NonPagedPoolNx;", NX),
    (SET + "RtlZeroMemory(&r, sizeof(r));", NO),
    (SET + "RtlZeroMemory((PVOID)&r, sizeof(r));", NO),
    (SET + "memset(&r, 0, sizeof r);", NO),
    (SET + "memset(&r, fill, sizeof r);", NOTHING),
    (SET + "if (x) RtlZeroMemory(&r, sizeof(r));", ({0, 0x200}, True)),
    (SET + "RtlZeroMemory(&r.Size, 4);", NX),
    (SET + "R q; RtlZeroMemory(&q, sizeof(q));", NX),
    (SET + "RtlCopyMemory(&r, buffer, sizeof(r));", NOTHING),
    (SET + "if (x) RtlCopyMemory(&r, buffer, sizeof(r));", OPEN),
    (SET + "RtlCopyMemory(buffer, &r, sizeof(r));", NX),
    (SET + "R q; RtlCopyMemory(&r, &q, sizeof(r));", NX),
    (SET + "R q; r = q;", NX),
    (SET + "ZwReadFile(h, 0, 0, 0, &io, &r, sizeof(r), 0, 0);", OPEN),
    (SET + "((ULONG *)&r)[1] = 0;", OPEN),
    (SET + "*(ULONG *)((PUCHAR)&r + 4) = 0;", OPEN),
    (SET + "OTHER *o = (OTHER *)&r; o->Second = 0;", OPEN),
    (SET + "OTHER *o = (OTHER *)&r; x = o->Second;", NX),
    (SET + "PUCHAR b = (PUCHAR)&r; b[5] = 0;", OPEN),
    ("R r = { .Size = 1 };", NO),
    ("R r = { 1 };", NO),
    ("R r = { 1, NonPagedPoolNx };", NX),
    ("R r = { .Size = 1, NonPagedPoolNx };", NX),
    ("R q; q.Type = NonPagedPoolNx; R r = { .Size = 1 };", NO),
]


@pytest.mark.parametrize(("body", "value"), WHOLE)
def test_a_write_of_the_whole_record(tmp_path, body, value):
    assert found(tmp_path, body + CALL.format("r.Type")) == value


POINTERS = [
    ("p->Type = NonPagedPoolNx; RtlZeroMemory(p, sizeof(*p));", NO),
    ("RtlZeroMemory(p, sizeof(*p)); p->Type = NonPagedPoolNx;", NX),
    ("RtlZeroMemory(p, sizeof(*p)); Init(p);", NX),
    ("RtlZeroMemory(p, sizeof(*p)); Init(Device);", NX),
    ("RtlZeroMemory(p, sizeof(*p)); Start(Device);", OPEN),
]
INIT = "void Init(R *q) { q->Type = NonPagedPoolNx; }\nvoid Start(PVOID d) { Init(d); }\n"


@pytest.mark.parametrize(("body", "value"), POINTERS)
def test_a_record_behind_a_pointer(tmp_path, body, value):
    types = TYPES + (INIT if "I" in body or "S" in body else "")
    result = found(tmp_path, "R *p = Get(); " + body + CALL.format("p->Type"), types)
    assert result[1] == value[1]
    assert result[0] <= value[0]


OUTSIDE = [
    "R *r = Irp->AssociatedIrp.SystemBuffer; {}",
    "R *r = (R *)stack->Parameters.DeviceIoControl.Type3InputBuffer; {}",
    "R *r; r = MmGetSystemAddressForMdlSafe(mdl, 16); {}",
    "PVOID b = Irp->AssociatedIrp.SystemBuffer; R *r = (R *)b; {}",
    "R *r; WdfRequestRetrieveInputBuffer(q, 8, &r, 0); {}",
]


@pytest.mark.parametrize("body", OUTSIDE)
def test_what_a_request_brings_is_not_known(tmp_path, body):
    text = TYPES + "void Set(R *q) { q->Type = NonPagedPoolNx; }\n"
    assert found(tmp_path, body.format(CALL.format("r->Type")), text) == OPEN
    use = "void Use(R *r) { " + CALL.format("r->Type") + " }\n"
    assert found(tmp_path, body.format("Use(r);"), text + use) == OPEN


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("R Defaults;", NX),
        ("static R Defaults = { 1, NonPagedPoolNx };", NX),
        ("OTHER Defaults;", NOTHING),
    ],
)
def test_a_copy_of_a_record_that_is_global(tmp_path, declared, value):
    text = TYPES + declared + "\nvoid Set(R *q) { q->Type = NonPagedPoolNx; }\n"
    body = "R r; RtlCopyMemory(&r, &Defaults, sizeof(r)); " + CALL.format("r.Type")
    assert found(tmp_path, body, text) == value


def test_what_the_driver_allocates_is_its_own(tmp_path):
    text = TYPES + "void Set(R *q) { q->Type = NonPagedPoolNx; }\n"
    body = "R *r = (R *)ExAllocatePool2(64, sizeof(*r), 'b'); " + CALL.format("r->Type")
    assert found(tmp_path, body, text) == NX


LISTS = [
    ("POOL_TYPE t[4] = { NonPagedPoolNx };", "t[0]", NX),
    ("POOL_TYPE t[4] = { NonPagedPoolNx };", "t[2]", NO),
    ("POOL_TYPE t[4] = { NonPagedPoolNx };", "t[i]", OPEN),
    ("POOL_TYPE t[1] = { NonPagedPoolNx };", "t[i]", NX),
    ("POOL_TYPE t[] = { NonPagedPoolNx, PagedPool };", "t[i]", ({1, 0x200}, True)),
    ("POOL_TYPE t[] = { [1] = NonPagedPoolNx };", "t[i]", OPEN),
    ("R t[2] = { { 1, NonPagedPoolNx }, { 2, NonPagedPoolNx } };", "t[i].Type", NX),
    ("R t[3] = { { 1, NonPagedPoolNx }, { 2, NonPagedPoolNx } };", "t[i].Type", OPEN),
    ("R t[] = { { 1, NonPagedPoolNx }, { 2, NonPagedPoolNx } };", "t[i].Type", NX),
    ("R t[] = { { 1, NonPagedPoolNx }, { 0 } };", "t[i].Type", NX),
    ("R t[] = { 1, NonPagedPool };", "t[i].Type", ({0, 1}, True)),
    ("const R t[] = { { 1, NonPagedPoolNx }, { 2 } };", "t[i].Type", ({0, 0x200}, True)),
    (
        "const R t[] = { { .Type = NonPagedPoolNx }, { .Size = 2 } };",
        "t[i].Type",
        ({0, 0x200}, True),
    ),
    ("R t[] = { { 1, NonPagedPoolNx }, { 2 } };", "t[i].Type", OPEN),
    ("R g = { 1 }; R h = { 1, NonPagedPoolNx };", "g.Type", OPEN),
    ("const R g = { 1 }; R h = { 1, NonPagedPoolNx };", "g.Type", ({0, 0x200}, True)),
    ("R *t[] = { &a, &b }; R a = { 1, NonPagedPoolNx };", "t[i]->Type", NX),
]


@pytest.mark.parametrize(("globals_", "read", "value"), LISTS)
def test_what_a_list_leaves_out_is_zero(tmp_path, globals_, read, value):
    types = TYPES + "".join(f"static {one.strip()};\n" for one in globals_.split(";") if one)
    assert found(tmp_path, CALL.format(read), types) == value


NESTED = "typedef struct {{ {} POOL_TYPE Type; }} N;\n"


@pytest.mark.parametrize(
    ("before", "listed"),
    [
        ("union { int A; int B; };", "{ 1, NonPagedPool }"),
        ("struct { int A; int B; };", "{ 1, 2, NonPagedPool }"),
        ("struct { int A; int B; } In;", "{ { 1, 2 }, NonPagedPool }"),
        ("int A, B;", "{ 1, 2, NonPagedPool }"),
        ("int A[2];", "{ { 1, 2 }, NonPagedPool }"),
        ("int A; int B;", "{ .B = 3, NonPagedPool }"),
    ],
)
def test_the_place_of_a_field_behind_others(tmp_path, before, listed):
    types = NESTED.format(before) + f"static N n = {listed};\n"
    assert found(tmp_path, CALL.format("n.Type"), types) == NO


DEPTHS = range(1, 7)
OTHER_LIST = "static struct S other = { PagedPool };\n"


def around(depth):
    """A structure in so many others, the path to its field from the outermost, and its list."""
    path = "".join(f".m{at}" for at in reversed(range(depth)))
    return f"g{path}.k", "{ 1, " * depth + "{ NonPagedPool }" + " }" * depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_structures_around_structures(tmp_path, depth):
    read, listed = around(depth)
    inner = "struct S { POOL_TYPE k; }"
    for at in range(depth):
        inner = f"struct T{at} {{ int n{at}; {inner} m{at}; }}"
    types = f"{inner};\n{OTHER_LIST}static {inner.split(' {')[0]} g = {listed};\n"
    assert found(tmp_path, CALL.format(read), types) == ({0, 1}, True)


@pytest.mark.parametrize("depth", DEPTHS)
def test_structures_around_structures_in_headers(tmp_path, depth):
    read, listed = around(depth)
    (tmp_path / "s.h").write_text("struct S { POOL_TYPE k; };\n")
    for at in range(depth):
        held, file = (f"T{at - 1}", f"t{at - 1}.h") if at else ("struct S", "s.h")
        text = f'#include "{file}"\ntypedef struct {{ int n{at}; {held} m{at}; }} T{at};\n'
        (tmp_path / f"t{at}.h").write_text(text)
    top = f'#include "t{depth - 1}.h"\n{OTHER_LIST}static T{depth - 1} g = {listed};\n'
    assert found(tmp_path, CALL.format(read), top) == ({0, 1}, True)


ALIASES = [
    ("POOL_TYPE t = NonPagedPoolNx; POOL_TYPE &r = t; r = NonPagedPool; ", OPEN),
    ("POOL_TYPE t; POOL_TYPE &r = t; t = NonPagedPoolNx; r = NonPagedPool; ", OPEN),
    ("POOL_TYPE t; POOL_TYPE *r = &t; t = NonPagedPoolNx; *r = NonPagedPool; ", OPEN),
    ("POOL_TYPE t, *r; r = &t; t = NonPagedPoolNx; *r = NonPagedPool; ", OPEN),
    ("POOL_TYPE t; POOL_TYPE &r = t; r = NonPagedPool; t = NonPagedPoolNx; ", NX),
    ("POOL_TYPE t = NonPagedPoolNx; const POOL_TYPE &r = t; ", NX),
]


@pytest.mark.parametrize(("body", "value"), ALIASES)
def test_a_variable_that_a_reference_or_pointer_changes(tmp_path, body, value):
    assert found(tmp_path, body + CALL.format("t"), "", "driver.cpp") == value


def test_more_values_than_are_kept_are_not_all(tmp_path):
    cases = "".join(f"case {n}: t = {0x200 + n}; break;\n" for n in range(70))
    body = f"int t; switch (x) {{ {cases} default: t = 0x4000; }}\n" + CALL.format("t")
    assert found(tmp_path, body, "")[1] is False


DECLARED = [
    ("static struct S { ULONG Other; POOL_TYPE Type; } v = { 0, NonPagedPool };", "v.Type"),
    ("static struct { ULONG Other; POOL_TYPE Type; } v = { 0, NonPagedPool };", "v.Type"),
    ("static struct S { POOL_TYPE Type; } v[2] = { { NonPagedPool }, { 0 } };", "v[i].Type"),
    ("static struct { POOL_TYPE Type; } w, v = { NonPagedPool };", "v.Type"),
]


@pytest.mark.parametrize(("declared", "read"), DECLARED)
def test_a_list_of_what_is_declared_with_its_structure(tmp_path, declared, read):
    body = f"w.Type = NonPagedPoolNx; {CALL.format(read)}"
    assert found(tmp_path, body, declared) == ({0, 0x200}, True)


NARROW = [
    ("UCHAR Type;", "0x204", {4}),
    ("USHORT Type;", "0x10200", {0x200}),
    ("unsigned  char Type;", "0x204", {4}),
    ("ULONG Type;", "0x204", {0x204}),
    ("UCHAR *Type;", "0x204", {0x204}),
]


@pytest.mark.parametrize(("declared", "stored", "value"), NARROW)
def test_a_field_of_a_narrow_type_keeps_what_fits(tmp_path, declared, stored, value):
    body = f"S s; s.Type = {stored}; {CALL.format('s.Type')}"
    types = f"typedef struct {{ ULONG Other; {declared} }} S;"
    assert found(tmp_path, body, types) == (value, True)


@pytest.mark.parametrize(
    ("text", "value"), [("0u - 0x1ffu", 0xFFFF_FE01), ("0x208u - 0xffffffffu", 0x209)]
)
def test_a_parameter_of_four_bytes_gets_no_more(tmp_path, text, value):
    assert found(tmp_path, CALL.format(text)) == ({value}, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(ULONG)(UCHAR)(0x204)", 4),
        ("(ULONG)(USHORT)(0x10200)", 0x200),
        ("(POOL_TYPE)(ULONG)(0x204)", 0x204),
        ("(ULONG)(unsigned char)(0x204)", 4),
    ],
)
def test_a_cast_that_reads_like_a_call(tmp_path, text, value):
    assert found(tmp_path, CALL.format(text)) == ({value}, True)


@pytest.mark.parametrize(("type_", "value"), [("UCHAR", {0}), ("USHORT", {0x200})])
def test_what_the_opt_in_adds_may_not_fit_either(tmp_path, type_, value):
    types = f"#define POOL_NX_OPTIN_AUTO 1\n#include <ntddk.h>\nstruct S {{ {type_} Type; }};"
    body = f"struct S s; s.Type = NonPagedPool; {CALL.format('s.Type')}"
    call = next(iter(one_file(tmp_path, types + entry(body)).calls))
    assert call.arguments["PoolType"].lasting == value


ELEMENTS = """typedef struct { ULONG n; POOL_TYPE t; } R;
static R r[] = {{1, NonPagedPoolNx}, {2, NonPagedPool}};
"""


@pytest.mark.parametrize(
    ("read", "rules"),
    [("r[0].t", set()), ("r[1].t", {"execute-pool-type"}), ("r[i].t", {"execute-pool-type"})],
)
def test_an_element_of_an_array_of_records_is_that_of_its_list(tmp_path, read, rules):
    text = ELEMENTS + entry(f"ExAllocatePoolWithTag({read}, 8, 'x');")
    assert bad(one_file(tmp_path, text)) == rules
    text = text.replace("{1, NonPagedPoolNx}, {2, NonPagedPool}", "1, 0x200, 2, 0")
    assert bad(one_file(tmp_path, text)) == {"execute-pool-type"}


def test_a_later_store_in_such_an_element_counts(tmp_path):
    text = ELEMENTS + entry("r[0].t = NonPagedPool; ExAllocatePoolWithTag(r[0].t, 8, 'x');")
    assert bad(one_file(tmp_path, text)) == {"execute-pool-type"}
