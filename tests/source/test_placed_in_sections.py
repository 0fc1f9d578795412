"""Variables and functions in sections by name: attributes, pragmas, and what merges join."""

import pytest

from sources import bad, definitions, entry, lay, read, vcxproj

WRITES, IMPORTS = "execute-write-section", "iat-in-executable-section"
GCC = (
    "CC=x86_64-w64-mingw32-gcc\nd.sys: a.o\n\t$(CC) -nostdlib -Wl,--subsystem,native -o d.sys a.o\n"
    "a.o: a.c\n\t$(CC) -c a.c\n"
)


def of_text(tmp_path, text, name="a.c", options="", makefile=""):
    """The rules that say something about a driver with a text before its entry."""
    (tmp_path / name).write_text("#include <ntddk.h>\n" + text + entry(""))
    if makefile:
        return bad(read(lay(tmp_path, Makefile=makefile)))
    extra = definitions(options, element="AdditionalOptions", item="Link")
    return bad(read(lay(tmp_path, d__vcxproj=vcxproj(name, extra=extra))))


@pytest.mark.parametrize(
    "text",
    [
        '__declspec(allocate(".text")) int g = 1;\n',
        '__declspec(allocate(".text$z")) int g = 1;\n',
        '__declspec(allocate(".text")) const char *g;\n',
        '__attribute__((section(".text"))) int g;\n',
        'static int g __attribute__ ((used, __section__ ("PAGE")));\n',
        '#define IN(s) __declspec(allocate(s))\nIN(".text") int g = 1;\n',
        '#define NAME ".text"\n__declspec(allocate(NAME)) int g = 1;\n',
        '#pragma section(".text", read, write)\n',
        '#pragma data_seg(push, one, ".text")\n',
        '#pragma data_seg(".m")\n#pragma code_seg(".m")\nvoid f(void) {}\n',
        '#pragma data_seg("MINE")\n#pragma alloc_text(MINE, f)\nvoid f(void) {}\n',
        '#pragma alloc_text(".data", f)\nvoid f(void) {}\n',
        '__declspec(code_seg(".data")) void f(void) {}\n',
        '__declspec(code_seg("M")) void f(void) {}\n__declspec(allocate("M")) int g;\n',
    ],
)
def test_data_beside_code(tmp_path, text):
    assert of_text(tmp_path, text) == {WRITES}


@pytest.mark.parametrize(
    "text",
    [
        '__declspec(allocate(".text")) const int g = 1;\n',
        '__attribute__((section(".text"))) void f(void);\n',
        '__attribute__((section(".text"))) void (*const f)(void) = 0;\n',
        '#pragma data_seg("PAGEDATA")\n#pragma data_seg()\n#pragma code_seg("PAGE")\n'
        "#pragma code_seg()\n",
        '__declspec(allocate("INIT")) int g;\n#pragma alloc_text(INIT, DriverEntry)\n',
        '#pragma const_seg(".text")\n',
        '#pragma code_seg(push, one, "PAGE")\n#pragma code_seg(pop, one)\n',
        '#pragma section(".text", read, execute)\n',
    ],
)
def test_what_is_apart_or_constant(tmp_path, text):
    assert of_text(tmp_path, text) == set()


def test_an_attribute_of_cplusplus(tmp_path):
    assert of_text(tmp_path, '[[gnu::section(".text")]] int g = 1;\n', "a.cpp") == {WRITES}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('int g __attribute__((section(".text"))) = 1;\n', {WRITES}),
        ('#pragma data_seg(".text")\nint g = 1;\n', set()),
        ('#pragma comment(linker, "/section:.text,ERW")\n', set()),
    ],
)
def test_gcc_passes_over_pragmas(tmp_path, text, expected):
    assert of_text(tmp_path, text, makefile=GCC) == expected


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ("/MERGE:.data=.a /MERGE:.a=.text", "", {WRITES}),
        ("/MERGE:.rdata=.a /MERGE:.a=.text", "", {IMPORTS}),
        ("/MERGE:.data=.m", '#pragma code_seg(".m")\nvoid f(void) {}\n', {WRITES}),
        ("/MERGE:.m=.text", '#pragma data_seg(".m")\nint g = 1;\n', {WRITES}),
        ("", '#pragma code_seg(".rdata")\nvoid f(void) {}\n', {IMPORTS}),
    ],
)
def test_merges_of_merges_and_of_own_sections(tmp_path, options, text, expected):
    assert of_text(tmp_path, text, options=options) == expected
