"""Data of the driver that is called: arrays and strings with machine code in them."""

import pytest

from sources import bad, entry, lay, one_file, read

HEAD = "#include <ntddk.h>\ntypedef void (*FN)(void);\n"
CODE = "static unsigned char Code[] = { 0xc3 };\n"
CALLED = {
    "cast": (CODE, "((FN)Code)();"),
    "address": (CODE, "((FN)&Code)();"),
    "address of an element": (CODE, "((FN)&Code[0])();"),
    "twice cast": (CODE, "((FN)(ULONG_PTR)(PVOID)Code)();"),
    "with a type of its own": (CODE, "(*(int (*)(int))Code)(1);"),
    "variable": (CODE, "FN g = (FN)Code; g();"),
    "pointer to bytes": (CODE, "UCHAR *q = Code; FN g = (FN)q; g();"),
    "pointer that is cast": (CODE, "UCHAR *q = &Code[0]; ((FN)q)();"),
    "list": (CODE + "static FN t[2] = { (FN)Code, F };\n", "t[0]();"),
    "list of a record": (CODE + "static struct { FN run; } s = { (FN)Code };\n", "s.run();"),
    "list by name": (CODE + "static struct { FN run; } s = { .run = (FN)Code };\n", "s.run();"),
    "offset": ("UCHAR Code[64];\n", "((FN)(Code + 16))();"),
    "constant": ("static const ULONG Code[] = { 0xc3c3c3c3 };\n", "((FN)Code)();"),
    "field": ("static struct { int a; UCHAR Code[16]; } s;\n", "((FN)s.Code)();"),
    "local": ("", "UCHAR Code[] = { 0xc3 }; ((FN)Code)();"),
    "static local": ("", "static UCHAR Code[] = { 0xc3 }; ((FN)Code)();"),
    "handed on": (CODE + "void Run(FN g) { g(); }\n", "Run((FN)Code);"),
    "macro": ("#define RUN(x) ((FN)(x))()\n" + CODE, "RUN(Code);"),
    "string": ("", '((FN)"\\xc3")();'),
    "pointer to a string": ('static const char *Code = "\\xc3";\n', "((FN)Code)();"),
    "macro of a string": ('#define CODE "\\xc3"\n', "FN g = (FN)CODE; g();"),
    "thread": (CODE, "HANDLE h; PsCreateSystemThread(&h, 0, 0, 0, 0, (PKSTART_ROUTINE)Code, 0);"),
    "DPC": (CODE + "KDPC d;\n", "KeInitializeDpc(&d, (PKDEFERRED_ROUTINE)Code, 0);"),
    "notification": (CODE, "PsSetLoadImageNotifyRoutine((PLOAD_IMAGE_NOTIFY_ROUTINE)Code);"),
}


@pytest.mark.parametrize("way", [*CALLED])
@pytest.mark.parametrize("name", ["driver.c", "driver.cpp"])
def test_data_that_is_called(tmp_path, way, name):
    before, body = CALLED[way]
    evidence = one_file(tmp_path, HEAD + before + entry(body), name)
    assert "dynamic-code" in bad(evidence)


def test_casts_of_cplusplus_and_other_files(tmp_path):
    body = "reinterpret_cast<FN>(const_cast<unsigned char *>(Code))();"
    assert "dynamic-code" in bad(one_file(tmp_path, HEAD + CODE + entry(body), "driver.cpp"))
    text = HEAD + "struct S { static inline unsigned char Code[] = { 0xc3 }; };\n"
    text += entry("((FN)S::Code)();")
    assert "dynamic-code" in bad(one_file(tmp_path, text, "driver.cpp"))
    lay(tmp_path, driver__cpp=HEAD + "extern UCHAR Code[];\n" + entry("((FN)Code)();"))
    lay(tmp_path, code__c="unsigned char Code[] = { 0xc3 };\n")
    assert "dynamic-code" in bad(read(tmp_path))


NEVER = [
    (
        "static void F(void) {}\nstatic FN Table[] = { F };\n",
        "Table[0](); (*Table)(); ((FN)Table[0])();",
    ),
    ("static UCHAR Code[4];\nvoid F(UCHAR Code) {}\n", "F(Code[0]);"),
    ("static PVOID Code[4];\nstatic void F(void) {}\n", "Code[0] = (PVOID)F; ((FN)Code[0])();"),
    ("static ULONG_PTR Code[4];\n", "(*(FN *)Code)();"),
    ("struct S { UCHAR Code[4]; };\nvoid Run(FN Code) { Code(); }\nvoid F(void) {}\n", "Run(F);"),
    (
        CODE + "static void F(void) {}\nstatic FN t[2] = { F };\n",
        "UCHAR *q = Code; q[0] = 0; t[0]();",
    ),
    (CODE + "void F(void) {}\nstatic struct { PVOID p; FN f; } s = { Code, F };\n", "s.f();"),
    ("static void F(void) {}\n", 'PCSTR n = "F"; FN g = F; g(); DbgPrint("%s", n);'),
    (
        "static void F(PVOID c) {}\nstatic UCHAR Code[8];\n",
        "HANDLE h; PsCreateSystemThread(&h, 0, 0, 0, 0, F, Code);",
    ),
]


@pytest.mark.parametrize(("before", "body"), NEVER)
def test_data_that_is_not_called(tmp_path, before, body):
    assert "dynamic-code" not in bad(one_file(tmp_path, HEAD + before + entry(body)))


def test_data_in_a_section_by_its_name_may_execute(tmp_path):
    text = '#pragma section(".text")\n__declspec(allocate(".text")) ' + CODE
    evidence = one_file(tmp_path, HEAD + text + entry("((FN)Code)();"))
    (fact,) = [one for one in evidence.behaviours if one.rule == "dynamic-code"]
    assert fact.confidence == "possible"


@pytest.mark.parametrize(
    "call",
    [
        "KeInitializeDpc(&d, (PKDEFERRED_ROUTINE)p, 0);",
        "PsSetCreateProcessNotifyRoutineEx((PCREATE_PROCESS_NOTIFY_ROUTINE_EX)p, FALSE);",
    ],
)
def test_memory_that_the_kernel_is_given_to_call(tmp_path, call):
    body = "KDPC d; PVOID p = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'a'); " + call
    assert "dynamic-code" in bad(one_file(tmp_path, entry(body)))


def test_a_store_into_a_function_as_into_an_array(tmp_path):
    text = HEAD + "void F(void) {}\n" + entry("((PUCHAR)F)[1] = 0xc3;")
    assert "writes-executable-memory" in bad(one_file(tmp_path, text))


WORKER = "static void Worker(void) {}\nstruct H { int n; PVOID Code; };\nstatic struct H h;\n"


def test_a_field_named_like_an_array_elsewhere_is_no_data(tmp_path):
    text = HEAD + CODE + WORKER + entry("h.Code = (PVOID)Worker; ((FN)h.Code)();")
    assert "dynamic-code" not in bad(one_file(tmp_path, text))


def test_an_array_in_a_structure_behind_a_block_is_data(tmp_path):
    inner = "struct X { struct { int a; } in; UCHAR Code[16]; };\nstatic struct X x;\n"
    text = HEAD + "static void F(void) { if (1) { } }\n" + inner + entry("((FN)x.Code)();")
    assert "dynamic-code" in bad(one_file(tmp_path, text))
