"""Which routine a driver looks up by its name: strings in parts, and names that no string says."""

import pytest

from sources import bad, entry, one_file, value_of

POOL = "execute-pool-type"
HEAD = "#include <ntddk.h>\ntypedef PVOID (*F)(POOL_TYPE, SIZE_T, ULONG);\n"
CALL = "F f = (F)MmGetSystemRoutineAddress(&n); f({}, 8, 'a');"
PARTS = {
    "two parts": ("", 'RtlInitUnicodeString(&n, L"ExAllocate" L"PoolWithTag");'),
    "a part without a sign": ("", 'RtlInitUnicodeString(&n, L"ExAllocate" "PoolWithTag");'),
    "over two lines": ("", 'RtlInitUnicodeString(&n, L"ExAllocate"\n    L"PoolWithTag");'),
    "a constant": ("", 'n = RTL_CONSTANT_STRING(L"Ex" L"AllocatePool" L"WithTag");'),
    "a macro before": (
        '#define EX L"Ex"\n',
        'RtlInitUnicodeString(&n, EX L"AllocatePoolWithTag");',
    ),
    "a macro behind": ('#define T L"Tag"\n', 'RtlInitUnicodeString(&n, L"ExAllocatePoolWith" T);'),
    "a macro between": (
        '#define POOL L"Pool"\n',
        'RtlInitUnicodeString(&n, L"ExAllocate" POOL L"WithTag");',
    ),
}


@pytest.mark.parametrize(("before", "named"), PARTS.values(), ids=PARTS.keys())
def test_a_name_in_parts(tmp_path, before, named):
    for kind, expected in (("NonPagedPool", {POOL}), ("NonPagedPoolNx", set())):
        text = HEAD + before + entry("UNICODE_STRING n; " + named + CALL.format(kind))
        evidence = one_file(tmp_path, text)
        assert bad(evidence) == expected
        assert value_of(evidence, "ExAllocatePoolWithTag")[1]


def limits(evidence):
    return [one for one in evidence.limits if POOL in one.rules and "look" in one.reason]


def test_a_name_in_parts_that_somebody_takes(tmp_path):
    text = HEAD + "PVOID Get(PCWSTR s) { UNICODE_STRING n; RtlInitUnicodeString(&n, s);\n"
    text += "return MmGetSystemRoutineAddress(&n); }\n"
    (limit,) = limits(one_file(tmp_path, text + entry('f = Get(L"ExAllocate" L"Pool");')))
    assert "ExAllocatePool is named in a string" in limit.reason
    assert limits(one_file(tmp_path, text + entry('f = Get(L"ZwQuery" L"SystemTime");'))) == []


def test_parts_of_a_narrow_name(tmp_path):
    text = HEAD + entry('F f = FltGetRoutineAddress("ExAllocate" "PoolWithTag"); f(0, 8, 1);')
    assert bad(one_file(tmp_path, text)) == {POOL}


UNKNOWN = {
    "a function of somebody": "UNICODE_STRING n; GetName(&n); f = MmGetSystemRoutineAddress(&n);",
    "single characters": "static WCHAR s[] = {'E', 'x', 0}; UNICODE_STRING n; "
    "RtlInitUnicodeString(&n, s); f = MmGetSystemRoutineAddress(&n);",
    "a buffer": "WCHAR s[40]; Decode(s); UNICODE_STRING n; RtlInitUnicodeString(&n, s); "
    "f = MmGetSystemRoutineAddress(&n);",
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_name_that_no_string_says(tmp_path, body):
    (limit,) = limits(one_file(tmp_path, HEAD + entry(body)))
    assert "which routine MmGetSystemRoutineAddress looks up here is not known" in limit.reason
    assert limit.site.line == 7


ASK = "UNICODE_STRING n; {} f = MmGetSystemRoutineAddress(&n);"
KNOWN = {
    "in the function": ("", ASK.format('RtlInitUnicodeString(&n, L"ZwOpenKey");')),
    "a parameter": (
        "PVOID Get(PUNICODE_STRING s) { return MmGetSystemRoutineAddress(s); }\n",
        'UNICODE_STRING n = RTL_CONSTANT_STRING(L"ZwOpenKey"); Get(&n);',
    ),
    "a variable of the file": (
        'UNICODE_STRING name = RTL_CONSTANT_STRING(L"ZwOpenKey");\n',
        "f = MmGetSystemRoutineAddress(&name);",
    ),
    "a constant of the kit's macro": (
        'DECLARE_CONST_UNICODE_STRING(name, L"ZwOpenKey");\n',
        "f = MmGetSystemRoutineAddress((PUNICODE_STRING)&name);",
    ),
    "a table": (
        'static const struct { PCWSTR Name; PVOID *p; } T[] = { {L"ZwA", 0}, {L"ZwB", 0} };\n',
        ASK.format("RtlInitUnicodeString(&n, T[i].Name);"),
    ),
    "a macro": ('#define NAME L"ZwOpenKey"\n', ASK.format("RtlInitUnicodeString(&n, NAME);")),
    "a declaration only": ("PVOID MmGetSystemRoutineAddress(PUNICODE_STRING Name);\n", ""),
}


@pytest.mark.parametrize(("before", "body"), KNOWN.values(), ids=KNOWN.keys())
def test_a_name_that_a_string_says(tmp_path, before, body):
    assert limits(one_file(tmp_path, HEAD + before + entry(body))) == []


@pytest.mark.parametrize(
    "call",
    ["MmGetSystemRoutineAddressEx(&module, {})", "RtlFindExportedRoutineByName(base, {})"],
)
def test_a_name_that_is_the_second_argument(tmp_path, call):
    text = "UNICODE_STRING module; F f = (F)" + call.format('"ExAllocatePoolWithTag"')
    for kind, expected in (("NonPagedPool", {POOL}), ("NonPagedPoolNx", set())):
        evidence = one_file(tmp_path, HEAD + entry(f"{text}; f({kind}, 8, 'a');"))
        assert bad(evidence) == expected
        assert limits(evidence) == []
    unknown = entry(f"F f = (F){call.format('name')}; f(NonPagedPoolNx, 8, 'a');")
    assert limits(one_file(tmp_path, HEAD + "char name[40];\n" + unknown))


def test_a_routine_that_finds_others_and_is_found_itself(tmp_path):
    text = HEAD + "typedef PVOID (*G)(PUNICODE_STRING, PSTR);\n"
    named = 'UNICODE_STRING n, m; RtlInitUnicodeString(&n, L"{}");'
    named += "G g = (G)MmGetSystemRoutineAddress(&n); F f = (F)g(&m, Name());"
    found = limits(one_file(tmp_path, text + entry(named.format("MmGetSystemRoutineAddressEx"))))
    assert any("MmGetSystemRoutineAddressEx is named in a string" in one.reason for one in found)
    assert limits(one_file(tmp_path, text + entry(named.format("ZwQuerySystemTime")))) == []


VIDEO = """#include <ntddk.h>
#include <video.h>
typedef PVOID (*ALLOC)(PVOID, VP_POOL_TYPE, SIZE_T, ULONG);
ALLOC Kept;
VP_STATUS Find(PVOID Extension, PVIDEO_PORT_CONFIG_INFO Info)
{
    %s
    return NO_ERROR;
}
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            'ALLOC a = (ALLOC)Info->VideoPortGetProcAddress(Extension, (PUCHAR)"{}");'
            "a(Extension, VpNonPagedPool, 8, 1);",
            {"execute-pool-type"},
        ),
        (
            'Kept = (ALLOC)(Info->VideoPortGetProcAddress)(Extension, "{}");'
            "Kept(Extension, VpNonPagedPool, 8, 1);",
            {"execute-pool-type"},
        ),
        ('Use(Info->VideoPortGetProcAddress(Extension, "{}"));', None),
    ],
)
def test_routines_of_a_port(tmp_path, body, expected):
    evidence = one_file(tmp_path, VIDEO % body.format("VideoPortAllocatePool"))
    if expected is None:
        assert any("VideoPortAllocatePool is named" in one.reason for one in evidence.limits)
    else:
        assert bad(evidence) == expected
    other = one_file(tmp_path, VIDEO % body.format("VideoPortStallExecution"), "other.c")
    assert bad(other) == set()
    assert not any("is named" in one.reason for one in other.limits)


STRING = 'UNICODE_STRING n; RtlInitUnicodeString(&n, L"ExAllocatePoolWithTag"); '
FOUND = "MmGetSystemRoutineAddress(&n);"
THROUGH = [
    (
        'static F g; static struct { PCWSTR n; F *f; } t[] = {{L"ExAllocatePoolWithTag", &g}};\n',
        "UNICODE_STRING n; RtlInitUnicodeString(&n, t[0].n); *t[0].f = (F)" + FOUND,
    ),
    ("VOID get(F *o) { " + STRING + "*o = (F)" + FOUND + " }\n", "F g; get(&g);"),
    ("VOID get(F *o) { " + STRING + "if (o) *o = (F)" + FOUND + " }\n", "F g; get(&g);"),
]


@pytest.mark.parametrize(("outside", "body"), THROUGH)
def test_a_routine_that_goes_to_where_something_points(tmp_path, outside, body):
    text = HEAD + outside + entry(body + " g(NonPagedPool, 8, 'a');")
    assert any(
        "ExAllocatePoolWithTag is named" in one.reason for one in one_file(tmp_path, text).limits
    )


def test_a_routine_that_a_variable_gets_is_followed(tmp_path):
    text = HEAD + entry(STRING + "F g = (F)" + FOUND + " g(NonPagedPoolNx, 8, 'a');")
    evidence = one_file(tmp_path, text)
    assert bad(evidence) == set()
    assert not any("is named" in one.reason for one in evidence.limits)
