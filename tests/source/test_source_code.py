"""What sources show of code that is not in the image, and of code that is written over."""

import pytest

from hvci.evaluate import Options, evaluate
from hvci.model import Answer, Behaviour, Confidence, Question
from hvci.report import Document, Format, render
from sources import bad, entry, lay, one_file, vcxproj

FN = "typedef NTSTATUS (*FN)(PVOID);\n"
ALLOCATE = "ExAllocatePoolWithTag(NonPagedPool, 64, 'a')"
WRITES = "writes-executable-memory"
LIKELY, POSSIBLE = Confidence.LIKELY, Confidence.POSSIBLE


def behaviours(tmp_path, text, rule="dynamic-code", name="driver.c"):
    """(line, confidence) of what a file does."""
    facts = one_file(tmp_path, text, name).behaviours
    return [(fact.site.line, fact.confidence) for fact in facts if fact.rule == rule]


CALLED = [
    "PVOID p = {};\n((FN)p)(p);",
    "PVOID p = {};\n((FN)(p + 0x40))(p);",
    "PUCHAR p = (PUCHAR){};\n((FN)&p[8])(p);",
    "PVOID p;\np = {};\nif (!p) return 1;\nFN f = (FN)p;\nf(p);",
    "FN f = (FN){};\n(*f)(0);",
    "PVOID p = {};\nNTSTATUS (*f)(PVOID) = (NTSTATUS (*)(PVOID))p;\nf(p);",
    "NTSTATUS (*f)(PVOID) = {};\nf(0);",
    "PUCHAR p = {};\n((NTSTATUS (*)(PVOID))(p + 16))(p);",
    "FN f = (FN){};\nf(0);",
    "PVOID p = {};\n(*(FN)p)(p);",
    "PVOID p = {};\n((NTSTATUS (*)(PVOID))p)(p);",
    "PVOID p = {};\nreinterpret_cast<FN>(p)(p);",
    "PVOID p = {};\nPVOID q = p;\nULONG_PTR r = (ULONG_PTR)q + 4;\n((FN)r)(p);",
    "PVOID p = {};\nPsCreateSystemThread(&h, 0, 0, 0, 0, (PKSTART_ROUTINE)p, 0);",
]


@pytest.mark.parametrize("text", CALLED)
@pytest.mark.parametrize("made", [ALLOCATE, "MmMapIoSpace(a, 64, 0)", "MmMapLockedPages(m, 0)"])
def test_a_call_into_memory_that_was_allocated(tmp_path, text, made):
    found = behaviours(tmp_path, FN + entry(text.format(made)), name="driver.cpp")
    assert [sure for _, sure in found] == [LIKELY]


NOT_CALLED = [
    "Context p = {};\np->Routine(p);",
    "FN *p = {};\np[0](1);",
    "FN *p = {};\n(*(FN *)p)(1);",
    "PVOID p = {};\np = Known;\n((FN)p)(1);",
    "PVOID p = {};\nKnown(p);",
    "PVOID p = {};\nRtlZeroMemory(p, 64);",
    "PVOID *p = {};\n((FN)*p)(1);",
    "FN f = Known; PVOID p = {};\nf(p);",
]


@pytest.mark.parametrize("text", NOT_CALLED)
def test_what_memory_holds_is_not_the_memory(tmp_path, text):
    known = FN + "NTSTATUS Known(PVOID p) { return 0; }\n"
    assert behaviours(tmp_path, known + entry(text.format(ALLOCATE))) == []


def test_a_function_type_has_no_pointer_of_its_own(tmp_path):
    text = "typedef NTSTATUS STUB(PVOID p);\n"
    text += entry(f"PVOID p = {ALLOCATE};\n(*(STUB *)p)(p);")
    assert behaviours(tmp_path, text) == [(7, LIKELY)]


RECORD = FN + "typedef struct {{ FN Run; ULONG Size; }} RECORD;\n{more}"
MAKE = f"FN Make(void) {{ PUCHAR p = {ALLOCATE}; p[0] = 0xC3; return (FN)p; }}\n"


def test_a_call_through_a_record(tmp_path):
    text = RECORD.format(more=MAKE + "NTSTATUS Use(RECORD *r) { return r->Run(0); }\n")
    text += entry("RECORD *r = Get();\nr->Run = Make();")
    assert behaviours(tmp_path, text) == [(4, LIKELY)]


def test_a_field_that_several_structures_have_is_possible_only(tmp_path):
    more = "typedef struct { FN Run; } OTHER;\n" + MAKE
    more += "NTSTATUS Use(OTHER *r) { return r->Run(0); }\n"
    text = RECORD.format(more=more) + entry("RECORD *r = Get();\nr->Run = Make();")
    assert behaviours(tmp_path, text) == [(5, POSSIBLE)]


def test_a_record_of_routines_of_the_driver_is_silent(tmp_path):
    more = "NTSTATUS Known(PVOID p) { return 0; }\nNTSTATUS Use(RECORD *r) { return r->Run(0); }\n"
    text = RECORD.format(more=more) + entry(f"RECORD *r = {ALLOCATE};\nr->Run = Known;")
    assert behaviours(tmp_path, text) == []


def test_across_files_wrappers_and_out_parameters(tmp_path):
    lay(
        tmp_path,
        a__c=f"PVOID Get(void) {{ return {ALLOCATE}; }}\n"
        "NTSTATUS Fill(PVOID *out) { *out = Get(); return 0; }\n",
        b__c=FN + entry("PVOID p = NULL;\nFill(&p);\nRun((FN)p);"),
        c__c=FN + "VOID Run(FN f) { f(0); }\n",
        d__vcxproj=vcxproj("a.c", "b.c", "c.c"),
    )
    report = evaluate(tmp_path, Options())
    assert report.answers[Question.RUNS] is Answer.NO
    (finding,) = (
        one
        for result in report.results
        for one in result.findings
        if one.origin and result.rule == "dynamic-code"
    )
    assert finding.site.path.endswith("c.c")


@pytest.mark.parametrize(
    "call",
    [
        "MmMapViewInSystemSpace(s, &v, &n)",
        "MmAllocateContiguousMemoryEx(&n, a, b, c, 0, PAGE_READWRITE, 0, 'a', 0, &v)",
    ],
)
def test_memory_that_a_routine_writes_the_address_of(tmp_path, call):
    text = FN + entry(f"PVOID v = NULL;\n{call};\n((FN)v)(0);")
    assert behaviours(tmp_path, text) == [(8, LIKELY)]


def test_macros_around_allocation(tmp_path):
    text = "#define GET(n) ExAllocatePoolWithTag(NonPagedPool, n, 'a')\n" + FN
    text += entry("PVOID p = GET(64);\n((FN)p)(p);")
    assert behaviours(tmp_path, text) == [(8, LIKELY)]


COPIED = [
    ("memcpy(p, (PVOID)Known, 64);", True),
    ("RtlCopyMemory(p, &Known, 64);", True),
    ("RtlCopyMemory((PUCHAR)p + 8, Known, 64);", True),
    ("PUCHAR s = (PUCHAR)Known; memcpy(p, s, 64);", True),
    ("memcpy(p, Table, 64);", False),
    ("memcpy(Table, Known, 64);", False),
]


@pytest.mark.parametrize(("copy", "is_found"), COPIED)
def test_a_function_that_is_copied_into_memory(tmp_path, copy, is_found):
    text = "UCHAR Table[64];\nNTSTATUS Known(PVOID p) { return 0; }\n"
    text += entry(f"PVOID p = {ALLOCATE};\n{copy}")
    facts = one_file(tmp_path, text).behaviours
    kinds = [fact.kind for fact in facts if fact.rule == "dynamic-code"]
    assert kinds == ([Behaviour.COPIED_CODE] if is_found else [])


LOOK = 'UNICODE_STRING n = RTL_CONSTANT_STRING(L"{}");\nPUCHAR p = MmGetSystemRoutineAddress(&n);\n'
STORES = [
    ("p[0] = 0xC3;", LIKELY),
    ("*p = 0xC3;", LIKELY),
    ("*(PULONG)(p + 1) = 5;", LIKELY),
    ("RtlCopyMemory(p, Patch, 5);", LIKELY),
    ("InterlockedExchange64((PLONG64)p, 5);", LIKELY),
    ("x = p[0];", None),
    ("x = *p;", None),
    ("RtlCopyMemory(x, p, 5);", None),
    ("p = 0; Save[0] = 5;", None),
]


@pytest.mark.parametrize(("store", "sure"), STORES)
def test_a_write_over_what_was_found_by_name(tmp_path, store, sure):
    text = entry(LOOK.format("KeBugCheckEx") + store)
    found = behaviours(tmp_path, text, "writes-executable-memory")
    assert [one for _, one in found] == ([sure] if sure else [])


PUT = "static void Put(UCHAR *to) { to[1] = 0x90; }"
LOOP = "static void Put(UCHAR *to, int n) { while (n--) *to++ = 0x90; }"
EITHER = "static void Put(UCHAR *to) { if (to) *(to + 1) = 0x90; else *to = 1; }"
READ = "static int Put(UCHAR *of) { Seen = of[1]; return 0; }"
KEEP = "static void Put(PVOID one, PVOID *to) { *to = one; }"
HELPERS = [
    (PUT, "Put((UCHAR *)Own);", True),
    (LOOP, "Put((PVOID)Own, 4);", True),
    (EITHER, "Put((PUCHAR)&Own);", True),
    (PUT, "Put((UCHAR *)Table);", False),
    (READ, "Put((UCHAR *)Own);", False),
    (KEEP, "Put((PVOID)Own, &Kept);", False),
]


@pytest.mark.parametrize(("helper", "call", "is_found"), HELPERS)
def test_a_helper_that_gets_the_address_of_code(tmp_path, helper, call, is_found):
    own = "static UCHAR Table[8], Seen; static PVOID Kept; static ULONG Own(ULONG n) { return n; }"
    text = f"{own}\n{helper}\n{entry(call)}"
    found = behaviours(tmp_path, text, "writes-executable-memory")
    assert {one for _, one in found} == ({LIKELY} if is_found else set())


def test_a_variable_of_the_kernel_may_be_written(tmp_path):
    text = entry(LOOK.format("NtGlobalFlag") + "p[0] = 1;")
    assert behaviours(tmp_path, text, "writes-executable-memory") == []


def test_sources_alone_never_speak_for_the_image(tmp_path):
    lay(tmp_path, a__c=entry("p = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'a');"))
    lay(tmp_path, a__vcxproj=vcxproj("a.c"))
    report = evaluate(tmp_path, Options())
    text = render(Document((report,)), Format.TEXT)
    assert "accepts this image" not in text
    assert "compatible with memory integrity" not in text
    assert "check the built .sys for the rest" in text
    assert report.answers[Question.RUNS] is Answer.YES


def test_a_bit_that_is_taken_out_of_cr0_before(tmp_path):
    body = "ULONG_PTR x = __readcr0(); x &= 0xfffffffffffeffff; __writecr0(x);"
    assert "writes-executable-memory" in bad(one_file(tmp_path, entry(body)))


FIND = "static PVOID Find(PUNICODE_STRING n) {{ return {found}; }}\n"
PATCH = "PUCHAR p = (PUCHAR)Find(RegistryPath);\nif (p) p[0] = 0xE9;"


@pytest.mark.parametrize(
    ("found", "is_open"), [("MmGetSystemRoutineAddress(n)", True), (ALLOCATE, False)]
)
def test_a_write_to_what_is_looked_up_by_an_unknown_name_is_open(tmp_path, found, is_open):
    evidence = one_file(tmp_path, FN + FIND.format(found=found) + entry(PATCH))
    reasons = [limit.reason for limit in evidence.limits if WRITES in limit.rules]
    assert any("by a name that is not known here" in reason for reason in reasons) is is_open
    assert not evidence.behaviours
