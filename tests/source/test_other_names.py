"""Names that several files use for different things, and routines under other names."""

import pytest

from hvci.source.program.moves import MAX_NAMES
from sources import bad, definitions, lay, one_file, read, values, vcxproj

POOL, MAPPING = "execute-pool-type", "execute-page-mapping"
NX, PLAIN = 512, 0


def test_variables_of_one_file_are_not_those_of_another(tmp_path):
    text = "#include <ntddk.h>\nstatic const POOL_TYPE Kind = {};\n"
    text += "PVOID {}(void) {{ return ExAllocatePool(Kind, 8); }}"
    lay(tmp_path, a__c=text.format("NonPagedPoolNx", "A"), b__c=text.format("NonPagedPool", "B"))
    lay(tmp_path, d__vcxproj=vcxproj("a.c", "b.c"))
    assert [found for _, _, found, _ in values(read(tmp_path))] == [{NX}, {PLAIN}]


@pytest.mark.parametrize("word", ["static", ""])
def test_functions_of_one_file_are_not_those_of_another(tmp_path, word):
    text = "#include <ntddk.h>\n%s PVOID New(POOL_TYPE t) { return ExAllocatePool(t, 8); }\n"
    text = text.replace("%s", word)
    own = text + "PVOID A(void) { return New(NonPagedPoolNx); }"
    lay(tmp_path, a__c=own, b__c=own.replace("Nx", "").replace("A(", "B("))
    lay(tmp_path, d__vcxproj=vcxproj("a.c", "b.c"))
    found = [found for _, _, found, _ in values(read(tmp_path))]
    assert found == ([{NX}, {PLAIN}] if word else [{NX, PLAIN}] * 2)


def test_a_file_that_another_includes_shares_its_names(tmp_path):
    lay(
        tmp_path,
        a__c='static POOL_TYPE Kind;\n#include "b.c"\nvoid f(void) { Kind = NonPagedPool; }',
    )
    lay(tmp_path, b__c="PVOID B(void) { return ExAllocatePool(Kind, 8); }")
    lay(tmp_path, d__vcxproj=vcxproj("a.c"))
    assert bad(read(tmp_path)) == {POOL}


NAMED = {
    "macro": "#define New ExAllocatePoolWithTag\nPVOID f(void) { return New(NonPagedPool, 8, 1); }",
    "macro of a macro": "#define A (ExAllocatePoolWithTag)\n#define B A\n"
    "PVOID f(void) { return B(NonPagedPool, 8, 1); }",
    "macro that calls one": "#define A ExAllocatePoolWithTag\n"
    "#define New(n) A(NonPagedPool, n, 'a')\nPVOID f(void) { return New(8); }",
    "variable": "static ALLOCATE New = ExAllocatePoolWithTag;\n"
    "PVOID f(void) { return New(NonPagedPool, 8, 1); }",
    "declarator": "static PVOID (*New)(POOL_TYPE, SIZE_T, ULONG) = &ExAllocatePoolWithTag;\n"
    "PVOID f(void) { return (*New)(NonPagedPool, 8, 1); }",
    "assignment": "ALLOCATE New; void g(void) { New = (ALLOCATE)ExAllocatePoolWithTag; }\n"
    "PVOID f(void) { return New(NonPagedPool, 8, 1); }",
    "field": "OPS Ops = { .New = ExAllocatePoolWithTag };\n"
    "PVOID f(OPS *o) { return o->New(NonPagedPool, 8, 1); }",
    "parameter": "static PVOID g(ALLOCATE New) { return New(NonPagedPool, 8, 1); }\n"
    "PVOID f(void) { return g(ExAllocatePoolWithTag); }",
}


@pytest.mark.parametrize("kind", NAMED)
def test_a_routine_by_another_name(tmp_path, kind):
    assert bad(one_file(tmp_path, NAMED[kind])) == {POOL}
    text = NAMED[kind].replace("NonPagedPool,", "NonPagedPoolNx,")
    evidence = one_file(tmp_path, text)
    assert not bad(evidence)
    assert values(evidence)
    assert not any("value" in one.reason for one in evidence.limits)


@pytest.mark.parametrize("name", ["variable", "found by name"])
def test_a_routine_by_another_name_in_another_file(tmp_path, name):
    text = NAMED["variable"].replace("static", "").partition("\n")[0]
    if name != "variable":
        text = "ALLOCATE New; void g(void) { UNICODE_STRING n;\n"
        text += 'RtlInitUnicodeString(&n, L"ExAllocatePoolWithTag");'
        text += "New = (ALLOCATE)MmGetSystemRoutineAddress(&n); }"
    lay(tmp_path, a__c=text, b__c="PVOID f(void) { return New(NonPagedPool, 8, 1); }")
    lay(tmp_path, d__vcxproj=vcxproj("a.c", "b.c"))
    assert bad(read(tmp_path)) == {POOL}


@pytest.mark.parametrize(
    "text",
    [
        "void f(void) { Other((PVOID)ExAllocatePoolWithTag); }",
        "static PVOID Table[] = { ExFreePool, ExAllocatePoolWithTag };",
        "#define PICK(x) (x ? ExAllocatePoolWithTag : 0)\nvoid f(void) { PICK(1); }",
        "PVOID f(void) { return ExAllocatePoolWithTag; }",
    ],
)
def test_a_routine_that_is_handed_on_is_a_limit(tmp_path, text):
    limits = [one for one in one_file(tmp_path, text).limits if "handed on" in one.reason]
    assert [one.rules for one in limits] == [(POOL, "nx-opt-in")]
    assert "driver.c:1: ExAllocatePoolWithTag" in limits[0].reason


@pytest.mark.parametrize(
    "text",
    [
        "#ifdef ExAllocatePool2\n#undef ExAllocatePool2\n#endif",
        "#pragma alloc_text(PAGE, ExAllocatePool2)",
        "int f(void) { return &ExAllocatePool2 != NULL; }",
        "int f(void) { if (ExAllocatePool2) return 1; return sizeof(ExAllocatePool2); }",
        "#define UNUSED ExAllocatePool2 + 1",
        '// ExAllocatePool2\nchar *s = "ExAllocatePool2";',
    ],
)
def test_a_routine_that_is_only_named_is_none(tmp_path, text):
    assert not any("handed on" in one.reason for one in one_file(tmp_path, text).limits)


GIVEN = {
    "its address": ("POOL_TYPE k = NonPagedPoolNx; void g(void) { Ask(&k); }", "k", {NX}, False),
    "its address in a field": (
        "POOL_TYPE k = NonPagedPoolNx; void g(T *t) { t->Context = &k; }",
        "k",
        {NX},
        False,
    ),
    "the address of a field": (
        'void g(E *e) { e->Kind = NonPagedPoolNx; Ask(L"Kind", &e->Kind); }',
        "e->Kind",
        {NX},
        False,
    ),
    "the address of another field": (
        "void g(E *e) { e->Kind = NonPagedPoolNx; Ask(&e->Kind.Other, a & b); }",
        "e->Kind",
        {NX},
        True,
    ),
    "a list": (
        "typedef struct { ULONG Tag; POOL_TYPE Kind; } E; static E x = { 1, NonPagedPool };",
        "x.Kind",
        {PLAIN},
        True,
    ),
    "a list that names fields": (
        "struct E { ULONG Tag; POOL_TYPE Kind; }; struct E x = { .Kind = NonPagedPoolNx };",
        "x.Kind",
        {NX},
        True,
    ),
    "a list of lists": (
        "typedef struct { POOL_TYPE Kind, Other; } E; E x[] = { { NonPagedPool, 1 }, { 1, 0 } };",
        "x[i].Kind",
        {PLAIN, 1},
        True,
    ),
    "a list in a list": (
        "typedef struct { POOL_TYPE Kind; } E; void g(void) { Set((E){ NonPagedPool }); }",
        "e->Kind",
        {PLAIN},
        True,
    ),
    "a list that makes all zero": (
        "typedef struct { POOL_TYPE Kind; } E;\n"
        "void g(void) { E x = { 0 }; x.Kind = NonPagedPoolNx; }",
        "e->Kind",
        {NX},
        True,
    ),
    "an operator": ("ULONG k = 0x1ff; void g(void) { k += 1; }", "k", {0x1FF}, False),
    "an element by its number": (
        "enum { A, B = 2 }; POOL_TYPE k[] = { [B] = NonPagedPool, [A] = NonPagedPoolNx };",
        "k[A]",
        {NX},
        True,
    ),
    "an element that is not listed": (
        "enum { A, B = 2 }; POOL_TYPE k[] = { [B] = PagedPool, [A] = NonPagedPoolNx };",
        "k[1]",
        {PLAIN},
        True,
    ),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_gives_values(tmp_path, kind):
    before, asked, possible, complete = GIVEN[kind]
    text = f"{before}\nPVOID f(E *e, int i) {{ return ExAllocatePool({asked}, 8); }}"
    ((_, _, found, whole),) = values(one_file(tmp_path, text))
    assert (found, whole) == (possible, complete)


MADE = {
    "default value": "POOL_TYPE k = NonPagedPool;",
    "braces": "POOL_TYPE k{NonPagedPool};",
    "constructor": "POOL_TYPE k; C() : k(NonPagedPool), n{0} {} int n;",
}


@pytest.mark.parametrize("kind", MADE)
def test_members_of_classes(tmp_path, kind):
    text = f"class C {{ {MADE[kind]} void *f() {{ return ExAllocatePool(k, 8); }} }};"
    assert bad(one_file(tmp_path, text, "driver.cpp")) == {POOL}
    text = text.replace("NonPagedPool", "NonPagedPoolNx")
    assert not bad(one_file(tmp_path, text, "driver.cpp"))


def test_a_default_argument_in_a_header(tmp_path):
    lay(tmp_path, a__h="void *New(SIZE_T n, POOL_TYPE t = NonPagedPool);")
    text = '#include "a.h"\nvoid *New(SIZE_T n, POOL_TYPE t) { return ExAllocatePool(t, n); }\n'
    lay(tmp_path, a__cpp=text + "void *f() { New(8, NonPagedPoolNx); return New(8); }")
    ((_, _, found, whole),) = values(read(tmp_path))
    assert (found, whole) == ({NX, PLAIN}, True)


TEMPLATE = (
    "template <class T, POOL_TYPE P> struct V { void *f() { return ExAllocatePool(P, 8); } };\n"
)


@pytest.mark.parametrize(
    "use",
    [
        "template <class T> using W = V<T, NonPagedPool>; W<int> w;",
        "template <class T, POOL_TYPE P> struct W : V<T, P> {}; W<int, NonPagedPool> w;",
        "template <POOL_TYPE P> struct W { V<int, P> v; }; W<NonPagedPool> w;",
    ],
)
def test_a_template_that_another_one_uses(tmp_path, use):
    assert bad(one_file(tmp_path, TEMPLATE + use, "driver.cpp")) == {POOL}
    use = use.replace("NonPagedPool", "NonPagedPoolNx")
    evidence = one_file(tmp_path, TEMPLATE + use, "driver.cpp")
    assert [found for _, _, found, _ in values(evidence)][:1] == [{NX}]


def test_constants_of_constants(tmp_path):
    text = """
    enum Kind : unsigned { Plain = 4, Code = 9 };
    constexpr bool IsCode(Kind k) { return k == Code; }
    constexpr POOL_TYPE Of(Kind k) { return IsCode(k) ? NonPagedPool : NonPagedPoolNx; }
    void *f() { constexpr auto kind = Plain; return ExAllocatePool(Of(kind), 8); }
    void *g() { return ExAllocatePool(Of(Code), 8); }
    void *h() { return ExAllocatePool2(UINT64_C(0x40), 8, 1); }
    """
    found = [found for _, _, found, _ in values(one_file(tmp_path, text, "driver.cpp"))]
    assert found == [{NX}, {PLAIN}, {64}]


def test_a_library_that_only_programs_link_is_no_driver(tmp_path):
    text = "project(d C)\nwdk_add_driver(d d.c)\nadd_library(mock STATIC mock.c gone.c)\n"
    text += "add_executable(t t.c)\ntarget_link_libraries(t mock)\n"
    lay(tmp_path, CMakeLists__txt=text, d__c="int DriverEntry(void) { return 0; }")
    lay(tmp_path, t__c="int main(void) { return 0; }")
    lay(tmp_path, mock__c="PVOID f(void) { return ExAllocatePool(NonPagedPool, 8); }")
    evidence = read(tmp_path)
    assert not bad(evidence)
    assert all(not one.rules for one in evidence.limits if "gone.c" in one.reason)
    lay(tmp_path, CMakeLists__txt=text + "target_link_libraries(d mock)\n")
    assert bad(read(tmp_path)) == {POOL}


def test_a_header_that_no_unit_includes_in_the_end_is_named(tmp_path):
    lay(tmp_path, d__vcxproj=vcxproj("d.c"), d__c='#if 0\n#include "old.h"\n#endif\nint x;')
    lay(tmp_path, old__h="PVOID f(void) { return ExAllocatePool(NonPagedPool, 8); }")
    evidence = read(tmp_path)
    assert not bad(evidence)
    assert any("old.h: not compiled by any build here" in one.reason for one in evidence.limits)


def test_libraries_whose_paths_have_blanks(tmp_path):
    named = r"C:\Program Files (x86)\Windows Kits\10\Lib\km\x86\*.lib;D:\My Own\a.lib;b.lib c.lib"
    extra = f"<ItemDefinitionGroup><Link><AdditionalDependencies>{named}</AdditionalDependencies>"
    extra += "</Link></ItemDefinitionGroup>"
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra), d__c="int x;")
    said = " ".join(one.reason for one in read(tmp_path).limits)
    assert "Kits" not in said
    for name in "D:/My Own/a.lib", "links b.lib", "links c.lib":
        assert name in said


AGAIN = "#define KIND {}\nPVOID f(void) {{ return ExAllocatePool(KIND, 8); }}\n#undef KIND\n"


def test_a_macro_that_is_defined_anew(tmp_path):
    text = AGAIN.format("NonPagedPool") + AGAIN.format("NonPagedPoolNx").replace("f(", "g(")
    assert [found for _, _, found, _ in values(one_file(tmp_path, text))] == [{PLAIN}, {NX}]


def test_a_macro_that_one_branch_defines_anew(tmp_path):
    text = AGAIN.format("NonPagedPool") + "#define KIND NonPagedPool\n#ifdef SOMETHING\n"
    text += AGAIN.format("NonPagedPoolNx").partition("\n")[0] + "\n#endif\n"
    text += "PVOID g(void) { return ExAllocatePool(KIND, 8); }"
    assert [PLAIN in found for _, _, found, _ in values(one_file(tmp_path, text))] == [True, True]


def test_a_macro_that_a_header_defines_anew(tmp_path):
    lay(tmp_path, a__h="#undef KIND\n#define KIND NonPagedPool")
    text = "#define KIND PagedPool\n#undef KIND\n#define KIND NonPagedPoolNx\n"
    lay(tmp_path, a__c=f'{text}#include "a.h"\nPVOID f(void) {{ return ExAllocatePool(KIND, 8); }}')
    assert bad(read(tmp_path)) == {POOL}


NEW = "UNICODE_STRING n; PVOID (*New)(POOL_TYPE, SIZE_T, ULONG);"
FOUND = 'RtlInitUnicodeString(&n, L"ExAllocatePoolWithTag");'
LOOK_UP = {
    "declarator": 'UNICODE_STRING n = RTL_CONSTANT_STRING(L"ExAllocatePoolWithTag");\n'
    + "PVOID (*New)(POOL_TYPE, SIZE_T, ULONG) = (PVOID)MmGetSystemRoutineAddress(&n);",
    "cast of C++": NEW + FOUND + "New = reinterpret_cast<ALLOCATE>(MmGetSystemRoutineAddress(&n));",
    "parentheses": NEW + FOUND + "New = (ALLOCATE)(MmGetSystemRoutineAddress(&n));",
    "element": "ALLOCATE New[2]; UNICODE_STRING n;"
    + FOUND
    + "New[1] = (ALLOCATE)NdisGetRoutineAddress(&n); ALLOCATE Old = New[1];",
    "filter manager": NEW + 'New = (ALLOCATE)FltGetRoutineAddress("ExAllocatePoolWithTag");',
}


@pytest.mark.parametrize("kind", LOOK_UP)
def test_a_routine_that_is_looked_up(tmp_path, kind):
    call = "New[1](NonPagedPool, 8, 1);" if kind == "element" else "New(NonPagedPool, 8, 1);"
    text = f"void f(void) {{ {LOOK_UP[kind]} {call} }}"
    assert bad(one_file(tmp_path, text, "driver.cpp")) == {POOL}
    text = text.replace("NonPagedPool,", "NonPagedPoolNx,")
    assert not bad(one_file(tmp_path, text, "driver.cpp"))


@pytest.mark.parametrize(
    "text",
    [
        "PVOID Find(PCWSTR s) { UNICODE_STRING n; RtlInitUnicodeString(&n, s);\n"
        "return MmGetSystemRoutineAddress(&n); }\n"
        'void f(void) { ((ALLOCATE)Find(L"ExAllocatePoolWithTag"))(NonPagedPool, 8, 1); }',
        "static struct { PCWSTR Name; PVOID *To; } All[] =\n"
        ' { { L"ExAllocatePoolWithTag", &New } };\n'
        "void f(void) { MmGetSystemRoutineAddress(&All[0].Name); }",
    ],
)
def test_a_name_that_somebody_looks_up_is_a_limit(tmp_path, text):
    limits = [one for one in one_file(tmp_path, text).limits if "named in a string" in one.reason]
    assert [one.rules for one in limits] == [(POOL, "nx-opt-in")]
    without = text.replace("MmGetSystemRoutineAddress", "Other")
    assert not [one for one in one_file(tmp_path, without).limits if "string" in one.reason]


@pytest.mark.parametrize("body", ["ExAllocatePoolWithTag", "(ExAllocatePoolWithTag)"])
def test_a_name_that_the_command_line_gives_to_a_routine(tmp_path, body):
    text = "PVOID f(void) {{ return New({0}, 8, 1); }}"
    project = vcxproj("a.c", extra=definitions(f"New={body}"))
    lay(tmp_path, a__c=text.format("NonPagedPool"), d__vcxproj=project)
    assert bad(read(tmp_path)) == {POOL}
    lay(tmp_path, a__c=text.format("NonPagedPoolNx"))
    evidence = read(tmp_path)
    assert not bad(evidence)
    assert values(evidence)


def test_a_macro_of_the_command_line_that_calls_a_routine_is_a_limit(tmp_path):
    option = definitions("New=ExAllocatePoolWithTag(NonPagedPool, 8, 1)")
    lay(tmp_path, a__c="PVOID f(void) { return New; }", d__vcxproj=vcxproj("a.c", extra=option))
    told = [one for one in read(tmp_path).limits if "the build defines New" in one.reason]
    assert [one.rules for one in told] == [(POOL, "nx-opt-in")]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ("#define LIST NonPagedPool, 8, 'a'\n", {POOL}),
        ("#define LIST NonPagedPoolNx, 8, 'a'\n", set()),
        ("#if X\n#define LIST NonPagedPoolNx, 8, 1\n#else\n#define LIST 1, 8, 2\n#endif\n", {POOL}),
        ("#define LIST NonPagedPoolNx, 8\n", {POOL}),
    ],
)
def test_a_macro_that_gives_all_arguments(tmp_path, lists, expected):
    text = lists + "PVOID f(void) { return ExAllocatePoolWithTag(LIST); }"
    assert bad(one_file(tmp_path, text)) == expected


def test_a_function_that_is_called_by_its_name_and_through_a_table(tmp_path):
    text = "PVOID Get(POOL_TYPE t) { return ExAllocatePoolWithTag(t, 8, 1); }\n"
    text += "PVOID f(void) { return Get(NonPagedPoolNx); }\n"
    assert not bad(one_file(tmp_path, text))
    text += "OPS Ops = { .Get = Get };\nPVOID g(void) { return Ops.Get(Other()); }\n"
    assert bad(one_file(tmp_path, text)) == {POOL}


WRAPPER = "PVOID Get(POOL_TYPE t) { return ExAllocatePoolWithTag(t, 8, 1); }\n"
WRAPPER += "PVOID f(void) { return Get(NonPagedPoolNx); }\n"


@pytest.mark.parametrize(
    "macros", ["#define Other Get\n", "#define Other (Next)\n#define Next Get\n", ""]
)
def test_a_function_that_a_macro_renames(tmp_path, macros):
    text = f"{WRAPPER}{macros}PVOID g(void) {{ return Other({{0}}); }}\n"
    extra = "" if macros else definitions("Other=Get")
    lay(tmp_path, a__c=text.replace("{0}", "NonPagedPool"), d__vcxproj=vcxproj("a.c", extra=extra))
    assert bad(read(tmp_path)) == {POOL}
    lay(tmp_path, a__c=text.replace("{0}", "NonPagedPoolNx"))
    assert not bad(read(tmp_path))


@pytest.mark.parametrize(
    ("macro", "expected"),
    [
        ("#define CALL(a) (a ? Get : 0)(Other())\nvoid g(void) { CALL(1); }\n", {POOL}),
        ("#define Other Get\nOPS Ops = { Other };\n", {POOL}),
        ("#define UNUSED (1 ? Get : 0)\n", set()),
        ("#pragma alloc_text(PAGE, Get)\n", set()),
    ],
)
def test_a_function_that_a_macro_hands_on(tmp_path, macro, expected):
    assert bad(one_file(tmp_path, WRAPPER + macro)) == expected


def test_a_function_that_another_driver_calls(tmp_path):
    assert not bad(one_file(tmp_path, WRAPPER))
    assert bad(one_file(tmp_path, f"__declspec(dllexport) {WRAPPER}")) == {POOL}


@pytest.mark.parametrize("name", ["Get", "_Get@4"])
def test_a_function_that_assembly_calls(tmp_path, name):
    project = vcxproj("a.c", extra='<ItemGroup><MASM Include="low.asm" /></ItemGroup>')
    low = f".code\nF PROC\n call {name}\n ret\nF ENDP\nEND\n"
    lay(tmp_path, a__c=WRAPPER, low__asm=low, d__vcxproj=project)
    assert bad(read(tmp_path)) == {POOL}
    lay(tmp_path, low__asm=low.replace(name, "Another"))
    assert not bad(read(tmp_path))


def test_a_parameter_of_a_macro_that_is_named_as_a_constant(tmp_path):
    text = "#define NEW(NonPagedPoolNx) ExAllocatePoolWithTag(NonPagedPoolNx, 8, 1)\n"
    assert bad(one_file(tmp_path, text + "void f(void) { NEW(NonPagedPool); }\n")) == {POOL}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("(UCHAR)NonPagedPoolNx", {POOL}),
        ("(unsigned  char)512", {POOL}),
        ("(USHORT)0x10200", set()),
        ("(USHORT)0x10000", {POOL}),
        ("(POOL_TYPE)NonPagedPoolNx", set()),
        ("(UCHAR)1", set()),
    ],
)
def test_a_cast_to_a_type_that_does_not_hold_the_number(tmp_path, argument, expected):
    text = f"void f(void) {{ ExAllocatePoolWithTag({argument}, 8, 1); }}\n"
    assert bad(one_file(tmp_path, text)) == expected


@pytest.mark.parametrize("string", ['R"(" )"', 'R"x( )" /* )x"', 'u8R"(//)"', 'LR"-(\\)-"', 'R""'])
def test_strings_of_cpp_in_which_nothing_is_escaped(tmp_path, string):
    text = f"void f() {{ auto s = {string}; ExAllocatePoolWithTag(NonPagedPool, 8, 1); }}\n"
    assert bad(one_file(tmp_path, text, "driver.cpp")) == {POOL}


def test_more_variables_that_hand_routines_on_than_are_followed(tmp_path):
    declared = "".join(f"static A a{n};" for n in range(MAX_NAMES + 60))
    handed = "".join(f"a{n} = a0;" for n in range(1, MAX_NAMES + 60))
    text = f"""#include <ntddk.h>
        typedef PVOID (*A)(POOL_TYPE, SIZE_T, ULONG);
        {declared} static A last;
        void f(void) {{ a0 = ExAllocatePoolWithTag; {handed} last = a1; last(NonPagedPool, 8, 1); }}
        """
    evidence = one_file(tmp_path, text)
    assert any("variables hand routines on" in one.reason for one in evidence.limits)
