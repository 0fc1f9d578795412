"""Calls and values that the text of a driver shows only to who knows MSVC and the kit."""

import pytest

from sources import bad, entry, lay, one_file, read, value_of, values, vcxproj

POOL = "execute-pool-type"

# ---- macros of stdunk.h


CLASS = "class A : public CUnknown { public: DECLARE_STD_UNKNOWN(); };\n"
BODIES = [
    "STD_CREATE_BODY_(A, Unknown, Outer, %s, PUNKNOWN);",
    "STD_CREATE_BODY(A, Unknown, Outer, %s);",
    "STD_CREATE_BODY_WITH_TAG(A, Unknown, Outer, %s, 'abcd');",
    "STD_CREATE_BODY_WITH_TAG_(A, Unknown, Outer, %s, MINIPORT_TAG, PUNKNOWN);",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NonPagedPool", {POOL}),
        ("NonPagedPoolNx", set()),
        ("PagedPool", set()),
        ("POOL_FLAG_NON_PAGED", set()),
        ("POOL_FLAG_NON_PAGED_EXECUTE", {POOL}),
    ],
)
def test_a_body_that_creates_an_object(tmp_path, body, kind, expected):
    text = "#include <portcls.h>\n#include <stdunk.h>\n" + CLASS
    text += f"NTSTATUS New(PUNKNOWN *Unknown, PUNKNOWN Outer)\n{{\n    {body % kind}\n}}\n"
    evidence = read(lay(tmp_path, d__vcxproj=vcxproj("d.cpp"), d__cpp=text))
    assert bad(evidence) == expected
    assert evidence.calls[0].site.line == 6


def test_the_pool_type_of_the_callers(tmp_path):
    text = "#include <stdunk.h>\n" + CLASS
    text += "NTSTATUS New(PUNKNOWN *U, PUNKNOWN O, POOL_TYPE Kind)\n"
    text += "{ STD_CREATE_BODY_(A, U, O, Kind, PUNKNOWN); }\n"
    text += "NTSTATUS Use(VOID) { return New(&p, NULL, %s); }\n"
    for kind, expected in (("NonPagedPool", ({0}, True)), ("NonPagedPoolNx", ({0x200}, True))):
        assert value_of(one_file(tmp_path, text % kind, "d.cpp"), "operator new") == expected


def test_an_operator_that_only_such_bodies_use_is_not_unused(tmp_path):
    text = "#include <stdunk.h>\nPVOID operator new(size_t n, POOL_TYPE kind, ULONG tag)\n"
    text += "{ return ExAllocatePoolWithTag(kind, n, tag); }\n" + CLASS
    text += "NTSTATUS New(PUNKNOWN *U) { STD_CREATE_BODY(A, U, NULL, NonPagedPool); }\n"
    evidence = one_file(tmp_path, text, "d.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({0}, True)
    assert not any(call.dead for call in evidence.calls)


@pytest.mark.parametrize(("kind", "expected"), [("NonPagedPool", {POOL}), ("PagedPool", set())])
def test_a_new_in_a_macro_of_the_driver(tmp_path, kind, expected):
    text = "#include <wdm.h>\n#define MAKE(C, Kind) new(Kind, 'gaT1') C\n"
    text += f"A *f() {{ return MAKE(A, {kind}); }}\n"
    assert bad(one_file(tmp_path, text, "d.cpp")) == expected


def test_a_new_whose_first_argument_has_any_name(tmp_path):
    text = (
        "#include <wdm.h>\nconst POOL_TYPE k = NonPagedPool;\nA *f() { return new (k, 'gaT1') A; }"
    )
    assert bad(one_file(tmp_path, text, "d.cpp")) == {POOL}
    text = "#include <wdm.h>\nA *f(void *place) { return new (place) A; }"
    assert one_file(tmp_path, text, "d.cpp").calls == ()


# ---- integers as MSVC spells them


@pytest.mark.parametrize("name", ["d.c", "d.cpp"])
@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("0x0000000000000042UI64", 0x42),
        ("0x80ui64", 0x80),
        ("0x40i64", 0x40),
        ("0x40ULL", 0x40),
        ("66UI64", 66),
        ("66ui32", 66),
        ("0x40I32", 0x40),
        ("0x40ui16", 0x40),
        ("64i8", 64),
        ("0x40LLU", 0x40),
        ("0100", 64),
        ("0x40Ui64", 0x40),
        ("(0x4000 >> 8)", 0x40),
        ("(8 * 8)", 64),
        ("'\\x40'", 0x40),
        ("'@'", 64),
    ],
)
def test_suffixes_of_integers(tmp_path, name, number, value):
    direct = entry(f"ExAllocatePool2({number}, 8, 'a');")
    assert value_of(one_file(tmp_path, direct, name), "ExAllocatePool2") == ({value}, True)
    macro = f"#define KIND {number}\n" + entry("ExAllocatePool2(KIND | 0, 8, 'a');")
    assert value_of(one_file(tmp_path, macro, name), "ExAllocatePool2") == ({value}, True)


# ---- a switch over a constant

SWITCH = """#include <ntddk.h>
enum class Kind { Plain, Paged, Code };
enum { One = 1, Two };
POOL_TYPE ToPool(Kind kind)
{
    switch (kind)
    {
    case Kind::Plain: return NonPagedPoolNx;
    case Kind::Paged: { return PagedPool; }
    case Kind::Code:  return NonPagedPoolExecute;
    default:          return NonPagedPoolNxCacheAligned;
    }
}
POOL_TYPE ByNumber(int n)
{
    POOL_TYPE found = PagedPool;
    switch (n) { case One: case 7: return NonPagedPoolNx; case 2: break; default: return found; }
    return NonPagedPoolExecute;
}
POOL_TYPE ByIf(Kind kind)
{
    if (kind == Kind::Code) { return NonPagedPoolExecute; }
    else if (Kind::Paged != kind) return NonPagedPoolNx;
    return PagedPool;
}
VOID f(Kind any) { ExAllocatePoolWithTag(%s, 64, 'dniK'); }
"""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("ToPool(Kind::Plain)", {0x200}),
        ("ToPool(Kind::Paged)", {1}),
        ("ToPool(Kind::Code)", {0}),
        ("ToPool(Kind::Other)", {0x204}),
        ("ByNumber(One)", {0x200}),
        ("ByNumber(7)", {0x200}),
        ("ByNumber(2)", {0}),
        ("ByNumber(9)", {1}),
        ("ByIf(Kind::Code)", {0}),
        ("ByIf(Kind::Paged)", {1}),
        ("ByIf(Kind::Plain)", {0x200}),
    ],
)
def test_a_function_that_chooses_by_a_constant(tmp_path, call, expected):
    evidence = one_file(tmp_path, SWITCH % call, "kinds.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag")[0] == expected


def test_a_function_that_chooses_by_something_unknown(tmp_path):
    evidence = one_file(tmp_path, SWITCH % "ToPool(any)", "kinds.cpp")
    assert 0 in value_of(evidence, "ExAllocatePoolWithTag")[0]


def test_a_parameter_that_is_changed_is_no_constant(tmp_path):
    text = SWITCH.replace("    switch (kind)", "    kind = Kind::Code;\n    switch (kind)", 1)
    evidence = one_file(tmp_path, text % "ToPool(Kind::Plain)", "kinds.cpp")
    assert 0 in value_of(evidence, "ExAllocatePoolWithTag")[0]


# ---- templates

TEMPLATE = """#include <wdm.h>
template <POOL_TYPE Kind = %s, ULONG Tag = 'abcd'> class Box
{
public:
    PVOID get(SIZE_T n) { return ExAllocatePoolWithTag(Kind, n, Tag); }
};
%s
"""


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("Box<> box;", ({0}, True)),
        ("Box<NonPagedPoolNx> box;", ({0x200}, True)),
        ("Box<NonPagedPoolNx, 'efgh'> a; Box<PagedPool> b;", ({1, 0x200}, True)),
        ("Box<NonPagedPoolNx> a; Box<> b;", ({0, 0x200}, True)),
    ],
)
def test_default_arguments_of_templates(tmp_path, use, expected):
    evidence = one_file(tmp_path, TEMPLATE % ("NonPagedPool", use), "d.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag") == expected


def test_a_function_template_with_a_default(tmp_path):
    text = "#include <wdm.h>\ntemplate <POOL_TYPE Kind = NonPagedPool, class T> T *get(T *)\n"
    text += "{ return (T *)ExAllocatePoolWithTag(Kind, sizeof(T), 'a'); }\n"
    text += "int *f(int *x) { return get(x); }"
    assert value_of(one_file(tmp_path, text, "d.cpp"), "ExAllocatePoolWithTag") == ({0}, True)


@pytest.mark.parametrize("text", [
    TEMPLATE % ("NonPagedPool", ""),
    "#include <wdm.h>\ntemplate <class T> T *get()\n"
    "{ return (T *)ExAllocatePoolWithTag(NonPagedPool, sizeof(T), 'a'); }\n",
    "#include <wdm.h>\ntemplate <class T> class Box { PVOID get(SIZE_T n); };\n"
    "template <class T> PVOID Box<T>::get(SIZE_T n)\n"
    "{ return ExAllocatePoolWithTag(NonPagedPool, n, 'a'); }\n",
], ids=["class", "function", "member"])  # fmt: skip
def test_a_template_that_is_never_used_has_no_code(tmp_path, text):
    evidence = one_file(tmp_path, text, "d.cpp")
    assert not bad(evidence)
    assert [call.dead for call in evidence.calls] == ["the template is never used"]


def test_a_template_that_is_used_has_code(tmp_path):
    text = "#include <wdm.h>\ntemplate <class T> class Box { PVOID get(SIZE_T n); };\n"
    text += "template <class T> PVOID Box<T>::get(SIZE_T n)\n"
    text += "{ return ExAllocatePoolWithTag(NonPagedPool, n, 'a'); }\n"
    for use in ("Box<int> box;", "typedef Box<int> IntBox;", "class D : Box<int> {};"):
        assert bad(one_file(tmp_path, text + use, "d.cpp")) == {POOL}


# ---- exception handlers of excpt.h


@pytest.mark.parametrize(
    "words", [("try", "except (1)"), ("__try", "__except (1)"), ("try", "finally")]
)
def test_functions_behind_handlers_keep_their_names(tmp_path, words):
    first, second = words
    body = f"{first} {{ {{ x = *p; }} }} {second} {{ return 1; }}\n" * 40
    text = f"#include <ntddk.h>\nint g(int *p)\n{{\n int x;\n{body} return x;\n}}\n"
    text += "VOID After(VOID)\n{\n ExAllocatePoolWithTag(NonPagedPool, 8, 'a');\n}\n"
    (call,) = one_file(tmp_path, text).calls
    assert call.site.function == "After"


def test_known_macros_around_a_call_change_nothing(tmp_path):
    text = "#include <ntddk.h>\n_IRQL_requires_max_(DISPATCH_LEVEL)\n"
    text += "_IRQL_saves_ _Must_inspect_result_\n"
    text += "PVOID f(_In_ _IRQL_restores_ SIZE_T n)\n{\n PAGED_CODE();\n PAGED_CODE_LOCKED()\n"
    text += " return ExAllocatePoolWithTag(NonPagedPoolNx, n, 'a');\n}\n"
    (call,) = one_file(tmp_path, text).calls
    assert call.site.function == "f"
    assert values(one_file(tmp_path, text))[0][2:] == ({0x200}, True)


# ---- what stands between a name and its arguments


@pytest.mark.parametrize(
    "call",
    [
        "ExAllocatePoolWithTag/* pool */({}, 8, 'a');",
        "ExAllocatePoolWithTag // pool\n({}, 8, 'a');",
        "ExAllocatePoolWithTag /* a * b ** / */ ({}, 8, 'a');",
        "ExAllocatePoolWithTag \\\n({}, 8, 'a');",
    ],
)
def test_a_comment_behind_the_name(tmp_path, call):
    for kind, expected in (("NonPagedPool", {POOL}), ("NonPagedPoolNx", set())):
        assert bad(one_file(tmp_path, entry(call.format(kind)))) == expected


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("#define ARGUMENTS (NonPagedPool, 8, 'a')\n", "ExAllocatePoolWithTag ARGUMENTS;"),
        ("#define LEFT (\n", "ExAllocatePoolWithTag LEFT NonPagedPool, 8, 'a');"),
        (
            "template <auto F> void Go() { F(NonPagedPool, 8, 'a'); }\n",
            "Go<ExAllocatePoolWithTag>();",
        ),
    ],
)
def test_a_name_without_its_arguments(tmp_path, before, call):
    evidence = one_file(tmp_path, before + entry(call), "d.cpp")
    (limit,) = [one for one in evidence.limits if "is handed on as a value" in one.reason]
    assert POOL in limit.rules
