"""Macros that files which are included define anew: the last definition before a place stands."""

import pytest

from sources import entry, lay, read, value_of

USE = "void F(void) { ExAllocatePoolWithTag(P, 8, 'a'); }\n"
HEAD = "#include <ntddk.h>\n"
OLD, NEW = "#define P NonPagedPool\n", "#define P NonPagedPoolNx\n"
GONE = "#undef P\n"
NX, EXECUTABLE = 0x200, 0


def asked(folder, first, **files):
    """What the call in the second file that the driver includes asks for."""
    tail = entry("F();").replace("#include <ntddk.h>\n", "")
    lay(folder, driver__c=HEAD + first + tail, **files)
    lay(folder, sources="TARGETNAME=a\nTARGETTYPE=DRIVER\nSOURCES=driver.c\n")
    return value_of(read(folder), "ExAllocatePoolWithTag")[0]


A, B = '#include "a.c"\n', '#include "b.c"\n'


@pytest.mark.parametrize(
    ("first", "a", "b", "expected"),
    [
        (A + B, OLD + GONE, NEW + USE, {NX}),
        (A + B, NEW + GONE, OLD + USE, {EXECUTABLE}),
        (OLD + A + GONE + NEW + B, "", USE, {NX}),
        (NEW + A + GONE + OLD + B, "", USE, {EXECUTABLE}),
        (OLD + A + B, GONE + NEW, USE, {NX}),
        (OLD + GONE + A + B, NEW, USE, {NX}),
        (OLD + GONE + B + A, NEW, NEW + USE, {NX}),
        (OLD + '#include "c.h"\n' + B, "", USE, {NX}),
        (OLD + GONE + NEW + '#include "d.h"\n' + B, "", USE, {NX, EXECUTABLE}),
        ("#if 0\n" + OLD + "#endif\n" + NEW + B, "", USE, {NX}),
        (OLD + "#ifdef NOBODY\n#undef P\n#endif\n" + B, "", GONE + NEW + USE, {NX}),
        (OLD + GONE + "#define P R\n#define R NonPagedPoolNx\n" + B, "", USE, {NX}),
        (OLD + B.replace("b.c", "e.h"), "", USE, {NX}),
    ],
)
def test_the_definition_that_stands(tmp_path, first, a, b, expected):
    files = {"c__h": GONE + NEW, "d__h": "#pragma once\n" + GONE + OLD, "e__h": GONE + NEW + B}
    assert asked(tmp_path, first, a__c=a, b__c=b, **files) == expected


def test_a_file_that_is_included_twice_has_both(tmp_path):
    both = OLD + B.replace("b.c", "x.c") + GONE + NEW + B.replace("b.c", "x.c")
    assert asked(tmp_path, both, x__c=USE) == {NX, EXECUTABLE}


def test_files_that_are_compiled_by_themselves_share_nothing(tmp_path):
    lay(tmp_path, a__c=HEAD + OLD, b__c=HEAD + NEW + entry("F();") + USE)
    lay(tmp_path, sources="TARGETNAME=a\nTARGETTYPE=DRIVER\nSOURCES=a.c b.c\n")
    assert value_of(read(tmp_path), "ExAllocatePoolWithTag")[0] == {NX}
