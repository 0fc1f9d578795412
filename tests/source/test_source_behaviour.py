"""The small drivers of behaviours as sources: the same rules answer as for their images."""

import json
import shutil
from pathlib import Path

import pytest

from hvci.model import Outcome
from hvci.rules import judge
from sources import entry, lay, one_file, read, vcxproj

FIXTURES = Path(__file__).parent.parent / "fixtures"
RULES = ("writes-executable-memory", "dynamic-code", "data-file-as-executable")
NOT_IN_TEXT = {
    ("data_execution", "dynamic-code"),
    ("manual_map", "data-file-as-executable"),
    ("processor_state", "writes-executable-memory"),
}
"""What only machine code shows so far: an image laid out by hand, descriptor
tables, and a call of the driver's own data."""


def outcomes(evidence):
    """The rules about code that say something."""
    found = {one.rule: one.outcome for one in judge(evidence)}
    return {rule: found[rule].value for rule in RULES if found[rule] is not Outcome.PASS}


def as_source(folder, name, clean):
    """A fixture with the choice of its build made."""
    for path in [*(FIXTURES / "src").glob("*.h"), *(FIXTURES / "src/behaviour").glob("*.h")]:
        shutil.copy(path, folder)
    shutil.copy(FIXTURES / "src/behaviour" / f"{name}.c", folder)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("defined(FIXTURE_CLEAN)", str(int(clean))))
    return lay(folder, a__vcxproj=vcxproj(f"{name}.c"))


def of_image(name, kind):
    """What the rules say about the image that is built from it."""
    (path, *_) = sorted((FIXTURES / "built").glob(f"{name}_{kind}.x64.*.expected.json"))
    rules = json.loads(path.read_text())["rules"]
    return {rule: rules[rule] for rule in RULES if rules.get(rule, "pass") != "pass"}


NAMES = sorted(
    path.stem
    for path in (FIXTURES / "src/behaviour").glob("*.c")
    if any((FIXTURES / "built").glob(f"{path.stem}_bad.x64.*.expected.json"))
)


@pytest.mark.parametrize("name", NAMES)
def test_bad_code_is_found_as_in_the_image(tmp_path, name):
    expected = of_image(name, "bad")
    expected = {rule: one for rule, one in expected.items() if (name, rule) not in NOT_IN_TEXT}
    assert outcomes(read(as_source(tmp_path, name, clean=False))) == expected


@pytest.mark.parametrize("name", [one for one in NAMES if one != "load_driver"])
def test_clean_code_is_silent(tmp_path, name):
    assert outcomes(read(as_source(tmp_path, name, clean=True))) == {}


TARGET = "#include <ntddk.h>\nstatic ULONG Target(ULONG n) { return n * 7; }\nUCHAR Table[64];\n"
ADDRESS = "PUCHAR at = (PUCHAR)%s; "
MDL = "PMDL m = IoAllocateMdl(%s, 16, FALSE, FALSE, NULL); "
WRITES = {
    "index": (ADDRESS % "Target" + "at[0] = 0xC3;", "fail"),
    "star": (ADDRESS % "(ULONG_PTR)Target" + "*at = 0xC3;", "fail"),
    "copy": ("RtlCopyMemory((PVOID)Target, Table, 4);", "fail"),
    "copy through": (ADDRESS % "&Target" + "RtlCopyMemory(at, Table, 4);", "fail"),
    "kernel routine": (ADDRESS % "KeQueryTimeIncrement" + "at[0] = 0xC3;", "fail"),
    "data": (ADDRESS % "Table" + "at[0] = 0xC3;", ""),
    "reading": (ADDRESS % "Target" + "Table[0] = at[0];", ""),
    "from code": ("RtlCopyMemory(Table, (PVOID)Target, 4);", ""),
    "result": ("RtlCopyMemory((PVOID)Target(1), Table, 4);", ""),
    "mapped": (
        MDL
        % "(PVOID)Target"
        + "PUCHAR a = MmMapLockedPagesSpecifyCache(m, KernelMode, MmCached, NULL, FALSE, "
        "NormalPagePriority | MdlMappingNoExecute); a[0] = 0xC3;",
        "fail",
    ),
    "protected": (MDL % "Target" + "MmProtectMdlSystemAddress(m, PAGE_READWRITE);", "fail"),
    "described only": (MDL % "Target" + "MmBuildMdlForNonPagedPool(m);", ""),
    "mapped data": (
        MDL % "Table" + "PUCHAR a = MmGetSystemAddressForMdlSafe(m, MdlMappingNoExecute | 32); "
        "a[0] = 0xC3;",
        "",
    ),
}


@pytest.mark.parametrize("kind", WRITES)
def test_writes_over_code(tmp_path, kind):
    body, expected = WRITES[kind]
    found = outcomes(one_file(tmp_path, TARGET + entry(body)))
    assert found.get("writes-executable-memory", "") == expected


def test_a_copy_through_a_helper(tmp_path):
    helper = (
        "static void Patch(PVOID to, PVOID from, ULONG n) { "
        + MDL % "to"
        + "PVOID a = MmMapLockedPagesSpecifyCache(m, KernelMode, MmCached, NULL, FALSE, "
        "NormalPagePriority | MdlMappingNoExecute); RtlCopyMemory(a, from, n); }\n"
    )
    bad = one_file(tmp_path, TARGET + helper + entry("Patch((PVOID)Target, Table, 4);"))
    assert outcomes(bad) == {"writes-executable-memory": "fail"}
    good = one_file(tmp_path, TARGET + helper + entry("Patch(Table, Table, 4);"))
    assert outcomes(good) == {}


NAME = 'UNICODE_STRING Name = RTL_CONSTANT_STRING(L"%s");\n'
HOOK = "PUCHAR at = MmGetSystemRoutineAddress(&Name); at[0] = 0xE9;"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([NAME % "KeBugCheckEx"], "fail"),
        ([NAME % "PsLoadedModuleList"], ""),
        ([NAME % "KeBugCheckEx", "extern " + NAME % "KeBugCheck"], "undecided"),
        ([""], "undecided"),
    ],
)
def test_a_name_that_stands_elsewhere(tmp_path, names, expected):
    found = outcomes(one_file(tmp_path, "".join(names) + entry(HOOK)))
    assert found.get("writes-executable-memory", "") == expected


SECTION = "ZwCreateSection(&s, SECTION_ALL_ACCESS, NULL, NULL, %s, %s, %s);"
OPEN = "ZwOpenFile(&f, GENERIC_READ, &a, &io, 1, 0); "
SECTIONS = {
    "image": (OPEN + SECTION % ("PAGE_READONLY", "SEC_IMAGE", "f"), "fail"),
    "executable": (OPEN + SECTION % ("PAGE_EXECUTE_READ", "SEC_COMMIT", "f"), "fail"),
    "written": (OPEN + SECTION % ("PAGE_EXECUTE_WRITECOPY", "SEC_COMMIT", "f"), "fail"),
    "native": (OPEN + SECTION.replace("Zw", "Nt") % ("PAGE_READONLY", "SEC_IMAGE", "f"), "fail"),
    "given": (SECTION % ("PAGE_READONLY", "SEC_IMAGE", "DriverObject->File"), "note"),
    "looked at": (OPEN + SECTION % ("PAGE_READONLY", "SEC_IMAGE_NO_EXECUTE", "f"), ""),
    "data": (OPEN + SECTION % ("PAGE_READONLY", "SEC_COMMIT", "f"), ""),
    "no file": (SECTION % ("PAGE_EXECUTE_READ", "SEC_COMMIT", "NULL"), ""),
    "cast": (SECTION % ("PAGE_EXECUTE_READ", "SEC_COMMIT", "(HANDLE)0"), ""),
    "class": ("ZwSetSystemInformation(38, &r, sizeof(r));", "fail"),
    "another class": ("ZwSetSystemInformation(81, &r, sizeof(r));", ""),
    "driver": ("ZwLoadDriver(&name);", "note"),
    "dead": ("if (0) { }\n#if 0\nZwLoadDriver(&name);\n#endif", ""),
}


@pytest.mark.parametrize("kind", SECTIONS)
def test_files_as_code(tmp_path, kind):
    body, expected = SECTIONS[kind]
    found = outcomes(one_file(tmp_path, entry(body)))
    assert found.get("data-file-as-executable", "") == expected


def test_a_file_that_is_opened_elsewhere(tmp_path):
    section = SECTION % ("PAGE_READONLY", "SEC_IMAGE", "DriverObject->File")
    text = "void Open(void) { " + OPEN + "}\n" + entry(section)
    assert outcomes(one_file(tmp_path, text)) == {"data-file-as-executable": "fail"}


RUNS = "p = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 'a'); RUN(%s);"


@pytest.mark.parametrize(
    ("macro", "given", "expected"),
    [
        ("RUN(m) (((ROUTINE *)(PVOID)(m))())", "p", "fail"),
        ("RUN(m) ((*(m))(1))", "p", "fail"),
        ("RUN(m) (((ROUTINE *)(m))())", "Target", ""),
        ("RUN(m) (((ROUTINE *)(m))())", "Table", "fail"),
        ("RUN(m) (Use(m), (1))", "p", ""),
        ("RUN(m, n) (((ROUTINE *)(n))())", "p", ""),
    ],
)
def test_a_macro_that_calls_its_argument(tmp_path, macro, given, expected):
    text = f"#define {macro}\n" + TARGET + entry("PVOID p; " + RUNS % given)
    assert outcomes(one_file(tmp_path, text)).get("dynamic-code", "") == expected


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("d->run = p;", {"dynamic-code": "fail"}),
        ("d -> /* here */ run = p;", {"dynamic-code": "fail"}),
        ("void *run = p; use(run);", {}),
    ],
)
def test_a_field_gets_nothing_from_variables_of_its_name(tmp_path, stored, expected):
    # more variables of that name than values of one name are followed
    others = "".join(f"void g{n}(void *q) {{ void *run = q; use(run); }}\n" for n in range(300))
    text = others + (
        "typedef void (*RUN)(void);\ntypedef struct { RUN run; } D;\n"
        "void fill(D *d) { void *p = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 'a'); "
        f"{stored} }}\nvoid call(D *d) {{ (*d->run)(); }}\n"
    )
    assert outcomes(read(lay(tmp_path, a__c=text, d__vcxproj=vcxproj("a.c")))) == expected


@pytest.mark.parametrize(
    ("macro", "rule"),
    [
        ("#define DO() __writecr0(__readcr0() & ~0x10000)\n", "writes-executable-memory"),
        ("#define DO() __asm { mov cr0, eax }\n", "writes-executable-memory"),
        ("#define DO() *(PUCHAR)Target = 0xCC\nvoid Target(void) {}\n", "writes-executable-memory"),
        (
            "#define DO() MyCreateSection(&h, 0, 0, 0, 2, SEC_IMAGE, f)\n",
            "data-file-as-executable",
        ),
    ],
)
def test_a_macro_does_what_its_body_says_where_it_is_used(tmp_path, macro, rule):
    assert list(outcomes(one_file(tmp_path, macro + entry("DO();")))) == [rule]
    assert not outcomes(one_file(tmp_path, macro + entry("")))
