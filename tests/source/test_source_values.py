"""How the value of an argument is found: names, macros, variables, callers, conditions, checks."""

import pytest

from hvci.model import WindowsVersion
from sources import bad, entry, lay, one_file, read, value_of, values, vcxproj

POOL = "ExAllocatePoolWithTag"
CALL = "p = ExAllocatePoolWithTag({}, 8, 'a');"


def function(body, before="", signature="VOID F(VOID)"):
    return f"{before}\n{signature}\n{{\n{body}\n}}\n"


EXPRESSIONS = [
    ("NonPagedPool", {0}),
    ("NonPagedPoolNx", {0x200}),
    ("PagedPool | POOL_ZERO_ALLOCATION", {0x401}),
    ("(POOL_TYPE)(NonPagedPool | POOL_NX_ALLOCATION)", {0x200}),
    ("static_cast<POOL_TYPE>(512)", {512}),
    ("POOL_TYPE(0x200)", {512}),
    ("01000", {512}),
    ("paged ? PagedPool : NonPagedPoolNx", {1, 0x200}),
    ("(0, PagedPool)", {1}),
    ("~0 & 0x200", {0x200}),
    ("1 << 9", {0x200}),
]


@pytest.mark.parametrize(("text", "expected"), EXPRESSIONS)
def test_expressions(tmp_path, text, expected):
    evidence = one_file(tmp_path, function(CALL.format(text)), "a.cpp")
    assert value_of(evidence, POOL) == (expected, True)


PROGRAMS = [
    ("a macro", "#define KIND NonPagedPool", CALL.format("KIND"), {0}),
    ("a macro of a macro", "#define A B\n#define B (PagedPool)", CALL.format("A"), {1}),
    (
        "a macro with arguments",
        "#define OR(x) ((x) | 0x200)",
        CALL.format("OR(NonPagedPool)"),
        {512},
    ),
    ("an enumerator", "enum { MINE = PagedPool };", CALL.format("MINE"), {1}),
    ("a constant", "static const POOL_TYPE Mine = NonPagedPoolNx;", CALL.format("Mine"), {512}),
    ("constexpr", "constexpr POOL_TYPE Mine = PagedPool;", CALL.format("Mine"), {1}),
    ("a field", "", "q->Kind = PagedPool;" + CALL.format("q->Kind"), {1}),
    (
        "an element",
        "POOL_TYPE Kinds[] = { PagedPool, NonPagedPoolNx };",
        CALL.format("Kinds[i]"),
        {1, 512},
    ),
    ("a designated field", "CONFIG c = { .Kind = PagedPool };", CALL.format("c.Kind"), {1}),
    ("a local", "", "POOL_TYPE k = PagedPool;" + CALL.format("k"), {1}),
    ("the last of two", "", "POOL_TYPE k = NonPagedPool; k = PagedPool;" + CALL.format("k"), {1}),
    (
        "either",
        "",
        "POOL_TYPE k = PagedPool; if (x) k = NonPagedPoolNx;" + CALL.format("k"),
        {1, 512},
    ),
    ("a bit added", "", "POOL_TYPE k = NonPagedPool; k |= 0x200;" + CALL.format("k"), {512}),
    (
        "a loop",
        "",
        "k = PagedPool; while (x) { " + CALL.format("k") + " k = NonPagedPoolNx; }",
        None,
    ),
    ("what a function returns", "POOL_TYPE K(void) { return PagedPool; }", CALL.format("K()"), {1}),
]


@pytest.mark.parametrize(
    ("what", "before", "body", "expected"), PROGRAMS, ids=[p[0] for p in PROGRAMS]
)
def test_programs(tmp_path, what, before, body, expected):
    declared = "POOL_TYPE k;" if what == "a loop" else ""
    evidence = one_file(tmp_path, function(declared + body, before), "a.cpp")
    assert value_of(evidence, POOL) == (expected or {1, 512}, True)


def test_a_bit_decides_whatever_else_is_set(tmp_path):
    text = function("p = MmGetSystemAddressForMdlSafe(m, what | MdlMappingNoExecute);")
    assert value_of(one_file(tmp_path, text), "MmGetSystemAddressForMdlSafe") == (
        {0x40000000},
        True,
    )


def test_what_is_not_known_says_why(tmp_path):
    (call,) = one_file(tmp_path, function(CALL.format("Elsewhere()"))).calls
    value = call.arguments["PoolType"]
    assert not value.complete
    assert "Elsewhere()" in value.reason


def test_a_variable_whose_address_is_given_away_is_not_known(tmp_path):
    body = "POOL_TYPE k = PagedPool; Ask(&k);" + CALL.format("k")
    assert value_of(one_file(tmp_path, function(body)), POOL) == ({1}, False)


def test_parameters_come_from_callers_in_other_files(tmp_path):
    wrapper = function(CALL.format("Kind"), signature="PVOID Take(POOL_TYPE Kind, SIZE_T n)")
    lay(tmp_path, wrap__c=wrapper, one__c=function("Take(PagedPool, 1);"))
    lay(
        tmp_path,
        two__c=function("Take(NonPagedPool, 2);"),
        p__vcxproj=vcxproj("wrap.c", "one.c", "two.c"),
    )
    assert value_of(read(tmp_path), POOL) == ({0, 1, 0x200} - {0x200}, True)


def test_callers_of_another_driver_do_not_count(tmp_path):
    wrapper = function(CALL.format("Kind"), signature="PVOID Take(POOL_TYPE Kind)")
    lay(
        tmp_path,
        a___wrap__c=wrapper + function("Take(PagedPool);"),
        a___a__vcxproj=vcxproj("wrap.c"),
    )
    lay(tmp_path, b___b__c=function("Take(NonPagedPool);"), b___b__vcxproj=vcxproj("b.c"))
    assert value_of(read(tmp_path), POOL) == ({1}, True)


def test_macros_in_headers_of_the_tree(tmp_path):
    lay(
        tmp_path,
        inc___kinds__h="#define KIND PagedPool\n",
        d__c='#include "inc/kinds.h"\n' + function(CALL.format("KIND")),
    )
    assert value_of(read(tmp_path), POOL) == ({1}, True)
    assert value_of(read(tmp_path / "d.c"), POOL) == ({1}, True)


def test_a_call_in_a_macro_is_judged_by_its_uses(tmp_path):
    text = "#define TAKE(kind, n) ExAllocatePoolWithTag((kind), n, 'a')\n"
    text += function("TAKE(PagedPool, 1); TAKE(NonPagedPoolNx, 2);")
    assert value_of(one_file(tmp_path, text), POOL) == ({1, 512}, True)


def test_a_macro_that_nobody_uses_is_not_judged(tmp_path):
    text = "#define TAKE(n) ExAllocatePoolWithTag(NonPagedPool, n, 'a')\n" + function("")
    (call,) = one_file(tmp_path, text).calls
    assert call.dead == "the macro is never used"
    assert not bad(one_file(tmp_path, text))


OPERATORS = """
void *operator new(size_t n, POOL_TYPE kind, ULONG tag)
{
    return ExAllocatePoolWithTag(kind, n, tag);
}
"""


@pytest.mark.parametrize(("kind", "expected"), [("NonPagedPool", {0}), ("PagedPool", {1})])
def test_operator_new(tmp_path, kind, expected):
    text = OPERATORS + function(f"CThing *t = new ({kind}, 'a') CThing;")
    evidence = one_file(tmp_path, text, "a.cpp")
    assert value_of(evidence, "operator new") == (expected, True)
    assert value_of(evidence, POOL) == (expected, True)


def test_a_forwarding_operator_new_and_its_use_are_one_request(tmp_path):
    text = OPERATORS + function("CThing *t = new (NonPagedPool, 'a') CThing;")
    found = {call.ddi: call.dead for call in one_file(tmp_path, text, "a.cpp").calls}
    assert found == {POOL: "counted at each `new` that uses this operator", "operator new": ""}


@pytest.mark.parametrize(
    ("operator", "use"),
    [
        (OPERATORS.replace("(kind,", "(NonPagedPool,"), "new (PagedPool, 'a')"),
        (OPERATORS.replace("(kind,", "((POOL_TYPE)(kind | 4),"), "new (PagedPool, 'a')"),
        (OPERATORS.replace("POOL_TYPE kind", "EKind kind"), "new (PagedPool, 'a')"),
        (OPERATORS, "new (PagedPool, 'a') CThing; u = new (kind, 'a')"),
    ],
    ids=["own choice", "more bits", "unknown type", "a use that is not seen"],
)
def test_an_operator_new_that_may_ask_for_more_is_counted(tmp_path, operator, use):
    text = operator + function(f"CThing *t = {use} CThing;")
    (call,) = (each for each in one_file(tmp_path, text, "a.cpp").calls if each.ddi == POOL)
    assert not call.dead


def test_operator_new_with_flags_is_a_pool2_call(tmp_path):
    evidence = one_file(tmp_path, function("t = new (POOL_FLAG_NON_PAGED, 'a') CThing;"), "a.cpp")
    assert value_of(evidence, "ExAllocatePool2") == ({0x40}, True)
    assert not bad(evidence)


def test_placement_new_is_no_call(tmp_path):
    evidence = one_file(tmp_path, function("t = new (buffer) CThing; u = new (&pool) X;"), "a.cpp")
    assert evidence.calls == ()


@pytest.mark.parametrize(
    "text",
    [
        "PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T n, ULONG tag);",
        "/* ExAllocatePoolWithTag(NonPagedPool, 1, 'a') */",
        'char *s = "ExAllocatePoolWithTag(NonPagedPool, 1, 1)";',
        "#define ExAllocatePoolWithTag(a, b, c) Mine(a, b, c)",
        "PFN p = ExAllocatePoolWithTag;",
    ],
)
def test_what_is_no_call(tmp_path, text):
    assert one_file(tmp_path, text).calls == ()


def test_calls_in_text_that_does_not_parse_are_found(tmp_path):
    text = "BEGIN_MAGIC(\n" + function("MACRO_WITHOUT_END { " + CALL.format("NonPagedPool"))
    assert value_of(one_file(tmp_path, text), POOL) == ({0}, True)


METHOD = """
class CCopy {
public:
    bool Create(SIZE_T n, POOL_TYPE kind);
};
bool CCopy::Create(SIZE_T n, POOL_TYPE kind)
{
    m_Data = ExAllocatePoolWithTag(kind, n, 'a');
    return m_Data != nullptr;
}
"""


@pytest.mark.parametrize(("kind", "expected"), [("NonPagedPool", {0}), ("NonPagedPoolNx", {512})])
def test_methods_that_wrap_an_allocation(tmp_path, kind, expected):
    text = METHOD + function(f"m_Copy.Create(9, {kind}); window->Create(9, 78);")
    assert value_of(one_file(tmp_path, text, "a.cpp"), POOL) == (expected, True)


# ---- conditions and checks

CONDITIONS = [
    ("#if NTDDI_VERSION >= NTDDI_WIN8", "NonPagedPoolNx", "NonPagedPool", set()),
    ("#if (NTDDI_VERSION < NTDDI_WIN8)", "NonPagedPool", "NonPagedPoolNx", set()),
    ("#if _WIN32_WINNT >= 0x0602 && defined(NTDDI_VERSION)", "PagedPool", "NonPagedPool", set()),
    ("#ifdef _MSC_VER", "PagedPool", "NonPagedPool", set()),
    ("#ifndef __linux__", "PagedPool", "NonPagedPool", set()),
    ("#ifdef MAYBE", "PagedPool", "NonPagedPool", {"execute-pool-type"}),
    ("#if 0", "NonPagedPool", "PagedPool", set()),
    ("#if !defined(MAYBE) || 1", "PagedPool", "NonPagedPool", set()),
]


@pytest.mark.parametrize(("line", "first", "second", "rules"), CONDITIONS)
def test_conditional_compilation(tmp_path, line, first, second, rules):
    body = f"\n{line}\n{CALL.format(first)}\n#else\n{CALL.format(second)}\n#endif\n"
    evidence = one_file(tmp_path, function(body))
    assert len(evidence.calls) == 2
    assert bad(evidence) == rules


def test_macros_in_dead_branches_do_not_count(tmp_path):
    text = "#if NTDDI_VERSION < NTDDI_WIN8\n#define NonPagedPoolNx NonPagedPool\n#endif\n"
    assert value_of(one_file(tmp_path, text + function(CALL.format("NonPagedPoolNx"))), POOL) == (
        {512},
        True,
    )


def test_a_build_for_an_old_windows_keeps_the_old_branch(tmp_path):
    body = "\n#if NTDDI_VERSION >= NTDDI_WIN8\n{}\n#else\n{}\n#endif\n".format(
        CALL.format("NonPagedPoolNx"), CALL.format("NonPagedPool")
    )
    project = vcxproj("a.c").replace("Windows10", "Windows7")
    assert bad(read(lay(tmp_path, a__c=function(body), a__vcxproj=project))) == {
        "execute-pool-type"
    }


@pytest.mark.parametrize(
    ("condition", "complete"),
    [
        ("RtlIsNtDdiVersionAvailable(NTDDI_WIN8)", True),
        ("osvi.dwMajorVersion > 6 || (osvi.dwMajorVersion == 6 && osvi.dwMinorVersion >= 2)", True),
        ("IsWindows8OrGreater", False),
    ],
)
def test_run_time_checks_choose(tmp_path, condition, complete):
    text = function(CALL.format(f"({condition}) ? NonPagedPoolNx : NonPagedPool"))
    evidence = one_file(tmp_path, text)
    assert value_of(evidence, POOL) == ({0x200}, complete)
    if not complete:
        assert "run-time check" in evidence.calls[0].arguments["PoolType"].reason


FALLBACK = """
static MAP_EX MapEx;
VOID Find(VOID) {{ UNICODE_STRING n; RtlInitUnicodeString(&n, L"MmMapIoSpaceEx");
    MapEx = (MAP_EX)MmGetSystemRoutineAddress(&n); }}
PVOID Map(PHYSICAL_ADDRESS a, SIZE_T n)
{{
    {body}
}}
"""


@pytest.mark.parametrize(
    "body",
    [
        "if (MapEx) return MapEx(a, n, PAGE_READWRITE); return MmMapIoSpace(a, n, MmNonCached);",
        "if (MapEx != NULL) { p = MapEx(a, n, 4); } else { p = MmMapIoSpace(a, n, MmNonCached); }",
        "if (!MapEx) { p = MmMapIoSpace(a, n, MmNonCached); } return p;",
        "return MapEx ? MapEx(a, n, 4) : MmMapIoSpace(a, n, MmNonCached);",
    ],
)
def test_fallbacks_for_old_windows_are_dead(tmp_path, body):
    evidence = one_file(tmp_path, FALLBACK.format(body=body))
    (old,) = (call for call in evidence.calls if call.ddi == "MmMapIoSpace")
    assert "MmMapIoSpaceEx is always found" in old.dead
    if "MapEx(" in body:
        assert [call.via for call in evidence.calls if call.ddi == "MmMapIoSpaceEx"] == ["by-name"]


def test_a_fallback_that_may_run_is_judged(tmp_path):
    body = "if (Slow) return MmMapIoSpace(a, n, MmNonCached); return MapEx(a, n, 4);"
    evidence = one_file(tmp_path, FALLBACK.format(body=body))
    (old,) = (call for call in evidence.calls if call.ddi == "MmMapIoSpace")
    assert old.dead == ""


def test_user_mode_mappings_are_not_executable(tmp_path):
    text = function(
        "p = MmMapLockedPagesSpecifyCache(m, UserMode, MmCached, 0, 0, NormalPagePriority);"
    )
    assert not bad(one_file(tmp_path, text))


# ---- builds


def test_one_build_executable_and_one_not(tmp_path):
    project = vcxproj("a.c", platforms=("x64", "ARM64"))
    (call,) = read(lay(tmp_path, a__c=entry(CALL.format("NonPagedPool")), a__vcxproj=project)).calls
    assert call.arguments["PoolType"].possible == {0, 0x200}
    assert call.note == "NX on Release|ARM64, executable on Release|x64"


def test_an_effective_opt_in_keeps_both_values(tmp_path):
    body = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);" + CALL.format("NonPagedPool")
    text = "#define POOL_NX_OPTIN 1\n" + entry(body)
    (call,) = (one for one in one_file(tmp_path, text).calls if one.ddi == POOL)
    value = call.arguments["PoolType"]
    assert (value.possible, value.opt_in) == ({0, 0x200}, {0})


@pytest.mark.parametrize("kind", ["NonPagedPoolExecute", "0"])
def test_the_opt_in_does_not_reach_other_spellings(tmp_path, kind):
    text = "#define POOL_NX_OPTIN_AUTO 1\n" + entry(CALL.format(kind))
    assert bad(one_file(tmp_path, text)) == {"execute-pool-type"}


def test_user_mode_projects_are_listed_and_not_judged(tmp_path):
    project = vcxproj("a.c", type="Application", driver="")
    evidence = read(lay(tmp_path, a__c=function(CALL.format("NonPagedPool")), a__vcxproj=project))
    assert len(values(evidence)) == 1
    assert not bad(evidence)


def test_older_targets_keep_older_ways(tmp_path):
    lay(
        tmp_path,
        a__c=function(
            CALL.format("RtlIsNtDdiVersionAvailable(NTDDI_WIN10_VB) ? PagedPool : NonPagedPool")
        ),
    )
    assert not bad(read(tmp_path))
    assert bad(read(tmp_path, WindowsVersion.WINDOWS_10_1607)) == {"execute-pool-type"}
