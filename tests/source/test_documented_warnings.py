"""The examples of the pages of warnings C30029 to C30035, in our own words."""

import pytest

from sources import entry, lay, one_file, read, shown, vcxproj

POOL, MAPPING, PROTECTION = "execute-pool-type", "execute-page-mapping", "execute-page-protection"
BY_DEFAULT, OPT_IN = "executable-by-default", "nx-opt-in"

VIEW = (
    "Status = ZwMapViewOfSection(Section, ZwCurrentProcess(), &Base, 0, 0, &Offset, &Size, "
    "ViewUnmap, 0, {});"
)
SECTION = (
    "Status = ZwCreateSection(&Section, SECTION_ALL_ACCESS, NULL, &Size, {}, SEC_COMMIT, NULL);"
)
LOOKASIDE = "ExInitializeNPagedLookasideList(&List, {}, {}, {}, sizeof(ITEM), 'metI', 0);"
CONTIGUOUS = "Base = MmAllocateContiguousMemorySpecifyCache(Bytes, Low, High, Boundary, {});"
CONTIGUOUS_NODE = (
    "Base = MmAllocateContiguousMemorySpecifyCacheNode(Bytes, Low, High, Boundary, {}, Node);"
)
NODE = "Base = MmAllocateContiguousNodeMemory(Bytes, Low, High, Boundary, {}, Node);"

CALLS = [
    # C30029: DDIs without a choice
    ("Base = MmMapIoSpace(Bar, Bytes, MmNonCached);", {BY_DEFAULT}),
    ("Base = MmMapIoSpaceEx(Bar, Bytes, PAGE_NOCACHE | PAGE_READWRITE);", set()),
    ("Base = MmMapIoSpace(Bar, Bytes, MmCached);", {BY_DEFAULT}),
    ("Base = MmMapIoSpaceEx(Bar, Bytes, PAGE_READWRITE);", set()),
    ("Base = MmAllocateContiguousMemory(Bytes, High);", {BY_DEFAULT}),
    (NODE.format("PAGE_READWRITE"), set()),
    # C30030: mapping priorities and pool types
    ("Base = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);", {MAPPING}),
    (
        "Base = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute);",
        set(),
    ),
    ("Buffer = ExAllocatePoolWithTag(NonPagedPool, Bytes, 'fuBx');", {POOL}),
    ("Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, Bytes, 'fuBx');", set()),
    ("Buffer = ExAllocatePool2(POOL_FLAG_NON_PAGED, Bytes, 'fuBx');", set()),
    ("Buffer = ExAllocatePool2(POOL_FLAG_NON_PAGED_EXECUTE, Bytes, 'fuBx');", {POOL}),
    (LOOKASIDE.format("NULL", "NULL", "0"), {POOL}),
    (LOOKASIDE.format("NULL", "NULL", "POOL_NX_ALLOCATION"), set()),
    # C30030: page protections
    (VIEW.format("PAGE_EXECUTE_READWRITE"), {PROTECTION}),
    (VIEW.format("PAGE_READWRITE"), set()),
    (VIEW.format("PAGE_EXECUTE_READ"), {PROTECTION}),
    (VIEW.format("PAGE_READONLY"), set()),
    (SECTION.format("PAGE_EXECUTE_WRITECOPY"), {PROTECTION}),
    (SECTION.format("PAGE_WRITECOPY"), set()),
    (SECTION.format("PAGE_EXECUTE"), {PROTECTION}),
    (SECTION.format("PAGE_NOACCESS"), set()),
    # C30030: cache types
    (CONTIGUOUS.format("MmCached"), {BY_DEFAULT}),
    (CONTIGUOUS.format("MmNonCached"), set()),
    (CONTIGUOUS_NODE.format("MmCached"), {BY_DEFAULT}),
    (NODE.format("PAGE_READWRITE | PAGE_NOCACHE"), set()),
    # C30034: a callback that allocates
    (LOOKASIDE.format("TakeItem", "GiveItem", "0"), {POOL}),
    (LOOKASIDE.format("TakeItem", "GiveItem", "POOL_NX_ALLOCATION"), set()),
]


@pytest.mark.parametrize(("statement", "rules"), CALLS)
def test_calls(tmp_path, statement, rules):
    assert shown(one_file(tmp_path, entry(statement))) == rules


ALLOCATE = "Buffer = ExAllocatePoolWithTag(NonPagedPool, Bytes, 'fuBx');"
MAP = "Base = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);"
CALL = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"
HELPER = f"static VOID BecomeSafe(VOID) {{ {CALL} }}\n"

NONE, AUTO = "", "-DPOOL_NX_OPTIN_AUTO=1"
OPTIN, OPTOUT = "-DPOOL_NX_OPTIN=1", "-DUNICODE -DPOOL_NX_OPTOUT=1"

OPT_INS = [
    # C30030: the opt-ins as a way out
    (NONE, entry(ALLOCATE), {POOL}),
    (AUTO, entry(ALLOCATE), set()),
    (NONE, entry(MAP), {MAPPING}),
    (AUTO, entry(MAP), set()),
    (OPTIN, entry(CALL + ALLOCATE), set()),
    (NONE, entry(CALL + ALLOCATE), {POOL, OPT_IN}),
    # C30031 and C30035: the runtime call is made by a helper of the entry routine, which is enough
    (OPTIN, HELPER + entry("BecomeSafe();" + ALLOCATE), set()),
    (OPTIN, entry("BecomeSafe();" + ALLOCATE) + HELPER, set()),
    # and by a helper that nobody calls, or too late, which is not
    (OPTIN, HELPER + entry(ALLOCATE), {POOL}),
    (OPTIN, entry(ALLOCATE + CALL), {POOL}),
    # C30032: opted out on purpose
    (OPTOUT, entry(MAP), {MAPPING}),
    # C30033: the loading driver must make the call
    (OPTIN, entry(ALLOCATE), {POOL, OPT_IN}),
    (OPTIN, entry(ALLOCATE.replace("NonPagedPool", "NonPagedPoolNx")), set()),
]


@pytest.mark.parametrize(("flags", "text", "rules"), OPT_INS)
def test_opt_ins(tmp_path, flags, text, rules):
    makefile = f"TARGETNAME=a\nTARGETTYPE=DRIVER\nC_DEFINES=$(C_DEFINES) {flags}\nSOURCES=a.c\n"
    lay(tmp_path, a__c=text, sources=makefile)
    assert shown(read(tmp_path)) == rules


def test_a_library_depends_on_the_driver_that_loads_it(tmp_path):
    makefile = f"TARGETTYPE=DRIVER_LIBRARY\nC_DEFINES={OPTIN}\nSOURCES=a.c\n"
    lay(tmp_path, a__c="PVOID Take(VOID) { " + ALLOCATE + " return Buffer; }", sources=makefile)
    (call,) = read(tmp_path).calls
    value = call.arguments["PoolType"]
    assert not value.possible
    assert not value.complete
    assert "the driver that loads" in value.reason


def test_arm64_builds_always_opt_in(tmp_path):
    lay(tmp_path, a__c=entry(ALLOCATE), a__vcxproj=vcxproj("a.c", platforms=("ARM64",)))
    assert shown(read(tmp_path)) == set()
