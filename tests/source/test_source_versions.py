"""The Windows version as a value: what a driver does per Windows, judged for the target."""

import pytest

from hvci.model import NEWEST, WindowsVersion
from sources import bad, entry, lay, one_file, read, vcxproj

CALL = "p = ExAllocatePoolWithTag({}, 8, 'a');"
CHECKS = [
    "RtlIsNtDdiVersionAvailable(NTDDI_WIN8)",
    "RtlIsNtDdiVersionAvailable(0x06020000)",
    "IoIsWdmVersionAvailable(6, 0)",
    "info.dwMajorVersion > 6 || (info.dwMajorVersion == 6 && info.dwMinorVersion >= 2)",
    "info.dwMajorVersion >= 10",
    "info.dwBuildNumber >= 9200",
    "!(info.dwMajorVersion < 6)",
    "(major << 8 | minor) >= 0x602",
    "build > 9000",
    "IsEight()",
    "IsEightOrLater",
    "Extension->Eight",
    "eight",
    "RtlVerifyVersionInfo(&wanted, mask, conditions) == STATUS_SUCCESS",
    "NT_SUCCESS(RtlVerifyVersionInfo(&wanted, mask, conditions))",
]
HELPERS = """
static BOOLEAN IsEightOrLater = FALSE;
BOOLEAN IsEight(VOID)
{
    RTL_OSVERSIONINFOW own;
    RtlGetVersion(&own);
    if (own.dwMajorVersion > 6) return TRUE;
    return own.dwMajorVersion == 6 && own.dwMinorVersion >= 2;
}
VOID Start(PEXTENSION Extension)
{
    IsEightOrLater = RtlIsNtDdiVersionAvailable(NTDDI_WIN8);
    Extension->Eight = FALSE;
    if (IsEight())
        Extension->Eight = TRUE;
}
"""
BEFORE = """Start(Extension);
    PsGetVersion(&major, &minor, &build, NULL);
    BOOLEAN eight = FALSE; if (IsEight()) eight = TRUE;
    wanted.dwMajorVersion = 6; wanted.dwMinorVersion = 2;
    VER_SET_CONDITION(conditions, VER_MAJORVERSION, VER_GREATER_EQUAL);
    ULONG major, minor, build;
    """


def driver(statements):
    return HELPERS + entry(
        "ULONG major, minor, build;\n"
        + BEFORE.replace("    ULONG major, minor, build;\n", "")
        + statements
    )


USES = [
    "POOL_TYPE t = NonPagedPool;\nif ({check}) t = NonPagedPoolNx;\n" + CALL.format("t"),
    "POOL_TYPE t;\nif ({check}) {{ t = NonPagedPoolNx; }} else {{ t = NonPagedPool; }}\n"
    + CALL.format("t"),
    CALL.format("({check}) ? NonPagedPoolNx : NonPagedPool"),
    "if (!({check})) {{ " + CALL.format("NonPagedPool") + " }}",
    "if ({check}) {{ p = 0; }} else {{ " + CALL.format("NonPagedPool") + " }}",
    "if ({check}) return 1;\n" + CALL.format("NonPagedPool"),
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("target", [WindowsVersion.WINDOWS_7, NEWEST])
def test_a_check_that_every_kernel_passes(tmp_path, check, use, target):
    lay(tmp_path, a__c=driver(use.format(check=check)))
    assert bad(read(tmp_path, target)) == set()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "check", ["x > 6", "RtlIsNtDdiVersionAvailable(Unknown)", "Extension->Old"]
)
def test_what_is_no_check_of_the_version(tmp_path, use, check):
    lay(tmp_path, a__c=driver(use.format(check=check)))
    assert "execute-pool-type" in bad(read(tmp_path))


def test_a_check_that_only_some_kernels_pass(tmp_path):
    check = "info.dwBuildNumber >= 22000"
    text = driver(
        "if (!({check})) {{ {call} }}".format(check=check, call=CALL.format("NonPagedPool"))
    )
    lay(tmp_path, a__c=text)
    assert "execute-pool-type" in bad(read(tmp_path, WindowsVersion.WINDOWS_10_1507))
    assert bad(read(tmp_path, WindowsVersion.WINDOWS_11_21H2)) == set()


GLOBAL = """
static POOL_TYPE Kind = NonPagedPool;
static ULONG Flag = 0;
VOID Use(PMDL m) {{ PVOID p = ExAllocatePoolWithTag(Kind, 8, 'a');
p = MmGetSystemAddressForMdlSafe(m, NormalPagePriority | Flag); }}
VOID Choose(VOID) {{ {choose} }}
"""
SET = """if (RtlIsNtDdiVersionAvailable(NTDDI_WIN8))
{ Kind = NonPagedPoolNx; Flag = MdlMappingNoExecute; }"""


@pytest.mark.parametrize(
    "start", [SET, "Choose();", "NTSTATUS s = 0;\nif (s) return s;\nChoose();"]
)
def test_a_variable_that_the_driver_sets_at_its_start(tmp_path, start):
    evidence = read(lay(tmp_path, a__c=GLOBAL.format(choose=SET) + entry(start)))
    assert bad(evidence) == set()
    value = next(
        call.arguments["PoolType"] for call in evidence.calls if "PoolType" in call.arguments
    )
    assert (value.possible, value.opt_in) == ({0, 0x200}, {0})


@pytest.mark.parametrize(
    "start",
    [
        "if (x) Choose();",
        "if (x) return STATUS_SUCCESS;\nChoose();",
        "for (i = 0; i < n; i++) Choose();",
        "p = ExAllocatePoolWithTag(Kind, 8, 'b');\n" + SET,
        "",
    ],
)
def test_a_variable_that_may_keep_what_it_starts_with(tmp_path, start):
    evidence = read(lay(tmp_path, a__c=GLOBAL.format(choose=SET) + entry(start)))
    assert "execute-pool-type" in bad(evidence)


def test_across_files(tmp_path):
    lay(
        tmp_path,
        a__c="POOL_TYPE Kind = NonPagedPool;\n" + entry(SET.replace("Flag = ", "Flags = ")),
        b__c="extern POOL_TYPE Kind;\nPVOID Get(VOID) { return ExAllocatePool(Kind, 8); }\n",
        p__vcxproj=vcxproj("a.c", "b.c"),
    )
    assert "execute-pool-type" not in bad(read(tmp_path))


def test_a_fallback_for_a_routine_that_every_kernel_has(tmp_path):
    text = entry(
        'UNICODE_STRING n = RTL_CONSTANT_STRING(L"MmMapIoSpaceEx");\n'
        "pEx = MmGetSystemRoutineAddress(&n);\n"
        "if (pEx) p = pEx(a, 8, PAGE_READWRITE); else p = MmMapIoSpace(a, 8, MmNonCached);"
    )
    for target in (WindowsVersion.WINDOWS_7, NEWEST):
        evidence = read(lay(tmp_path, a__c=text), target)
        (call,) = (call for call in evidence.calls if call.ddi == "MmMapIoSpace")
        assert "MmMapIoSpaceEx is always found" in call.dead


def test_fields_that_decide_over_each_other(tmp_path):
    fields = [f"f{i}" for i in range(60)]
    stores = "".join(
        f"if (d->{b} > 1) d->{a} = d->{b} + 1;\n"
        for a, b in zip(fields, [*fields[1:], fields[0]], strict=True)
    )
    text = f"#include <ntddk.h>\nVOID f(D *d)\n{{\n    RtlGetVersion(&d->v);\n    {stores}\n"
    text += "    if (d->f0 == 1)\n        ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');\n}\n"
    (tmp_path / "d.c").write_text(text)
    (call,) = read(tmp_path / "d.c").calls
    assert not call.dead


def test_a_switch_over_the_result_of_a_check(tmp_path):
    text = """
    struct { BOOLEAN IsNew; } Global;
    NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path)
    {
        NTSTATUS status = STATUS_UNSUCCESSFUL; RTL_OSVERSIONINFOEXW info; ULONGLONG mask = 0;
        do {
            info.dwMajorVersion = 6; info.dwMinorVersion = 2;
            VER_SET_CONDITION(mask, VER_MAJORVERSION, VER_GREATER_EQUAL);
            status = RtlVerifyVersionInfo(&info, VER_MAJORVERSION | VER_MINORVERSION, mask);
            switch (status) {
            case STATUS_SUCCESS: Global.IsNew = TRUE; status = 0; break;
            case STATUS_REVISION_MISMATCH: Global.IsNew = FALSE; status = 0; break;
            default: break;
            }
            if (status != 0) break;
        } while (FALSE);
        return status;
    }
    PVOID Map(PMDL mdl)
    {
        ULONG priority = NormalPagePriority;
        if (Global.IsNew != FALSE) { priority |= MdlMappingNoExecute; }
        return MmGetSystemAddressForMdlSafe(mdl, priority);
    }
    """
    assert not bad(one_file(tmp_path, text))
    swapped = text.replace("IsNew = TRUE", "IsNew = 2").replace("IsNew = FALSE", "IsNew = TRUE")
    swapped = swapped.replace("IsNew = 2", "IsNew = FALSE")
    assert bad(one_file(tmp_path, swapped)) == {"execute-page-mapping"}


SWITCH = """
VOID f(VOID)
{
    RTL_OSVERSIONINFOW v; POOL_TYPE kind = PagedPool;
    RtlGetVersion(&v);
    switch (v.dwMajorVersion) {
    case 5: kind = %s; break;
    case 10: kind = %s; break;
    default: kind = %s; break;
    }
    ExAllocatePoolWithTag(kind, 8, 'a');
}
"""


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("NonPagedPool", "NonPagedPoolNx", "NonPagedPool"), set()),
        (("NonPagedPoolNx", "NonPagedPool", "NonPagedPoolNx"), {"execute-pool-type"}),
    ],
)
def test_a_value_that_a_switch_over_the_version_gives(tmp_path, kinds, expected):
    assert bad(one_file(tmp_path, SWITCH % kinds)) == expected
    other = SWITCH.replace("v.dwMajorVersion", "Other()") % kinds
    assert bad(one_file(tmp_path, other)) == {"execute-pool-type"}


OBJECTS = """static struct S { POOL_TYPE Type; ULONG Other; } first = { NonPagedPool, 0 }, second;
void f(void) { x = RtlIsNtDdiVersionAvailable(NTDDI_WIN10); }
"""
REPLACED = [
    ("first.Type = NonPagedPoolNx;", "first", {0, 0x200}, {0}),
    ("second.Type = NonPagedPoolNx;", "first", {0, 0x200}, set()),
    ("struct S first; first.Type = NonPagedPoolNx;", "first", {0, 0x200}, set()),
    ("struct S *p = Get(); p->Type = NonPagedPoolNx;", "first", {0, 0x200}, set()),
]


@pytest.mark.parametrize(("body", "read", "possible", "early"), REPLACED)
def test_a_field_is_replaced_in_its_own_object_only(tmp_path, body, read, possible, early):
    text = f"""{OBJECTS}
        void g(void) {{ ExAllocatePoolWithTag({read}.Type, 8, 'a'); }}
        NTSTATUS DriverEntry(void) {{ {body} g(); return 0; }}"""
    evidence = one_file(tmp_path, text)
    call = next(one for one in evidence.calls if one.ddi == "ExAllocatePoolWithTag")
    value = call.arguments["PoolType"]
    assert (value.possible, value.opt_in) == (possible, early)


STORES = [
    ("s.Type = NonPagedPool; s.Type = NonPagedPoolNx;", "s.Type", {0x200}),
    ("s.Type = NonPagedPool; t.Type = NonPagedPoolNx;", "s.Type", {0, 0x200}),
    ("p->Type = NonPagedPool; p->Type = NonPagedPoolNx;", "p->Type", {0x200}),
    ("p->Type = NonPagedPool; p = q; p->Type = NonPagedPoolNx;", "q->Type", {0, 0x200}),
    ("p->Type = NonPagedPool; p++; p->Type = NonPagedPoolNx;", "q->Type", {0, 0x200}),
    ("v[0] = NonPagedPool; v[1] = NonPagedPoolNx;", "v[i]", {0, 0x200}),
    ("v[0] = NonPagedPool; v[0] = NonPagedPoolNx;", "v[i]", {0, 0x200}),
]


@pytest.mark.parametrize(("body", "read", "possible"), STORES)
def test_a_store_replaces_an_earlier_one_of_the_same_object(tmp_path, body, read, possible):
    text = f"""typedef struct {{ ULONG Other; POOL_TYPE Type; }} S;
        S s, t, *p, *q; POOL_TYPE v[4];
        void f(void) {{ x = RtlIsNtDdiVersionAvailable(NTDDI_WIN10); }}
        NTSTATUS DriverEntry(int i) {{ {body} ExAllocatePoolWithTag({read}, 8, 'a'); return 0; }}"""
    evidence = one_file(tmp_path, text)
    call = next(one for one in evidence.calls if one.ddi == "ExAllocatePoolWithTag")
    assert call.arguments["PoolType"].possible == possible


BETWEEN = [
    ("v = NonPagedPool; {} v = NonPagedPoolNx;", "v", {0, 0x200}),
    ("s.Type = NonPagedPool; {} s.Type = NonPagedPoolNx;", "s.Type", {0, 0x200}),
]


@pytest.mark.parametrize(("body", "read", "possible"), BETWEEN)
def test_a_value_that_is_read_before_it_is_replaced(tmp_path, body, read, possible):
    call = f"ExAllocatePoolWithTag({read}, 8, 'a');"
    text = f"""typedef struct {{ ULONG Other; POOL_TYPE Type; }} S;
        static S s = {{ 0, NonPagedPoolNx }}; static POOL_TYPE v = NonPagedPoolNx;
        void f(void) {{ x = RtlIsNtDdiVersionAvailable(NTDDI_WIN10); }}
        NTSTATUS DriverEntry(int i) {{ {body.format(call)} return 0; }}"""
    evidence = one_file(tmp_path, text)
    found = next(one for one in evidence.calls if one.ddi == "ExAllocatePoolWithTag")
    assert found.arguments["PoolType"].possible == possible
