"""Configurations of a driver are looked at in one first: no answer may depend on that."""

import pytest

from hvci.source.pointers import executed
from sources import definitions, entry, lay, one_file, read, vcxproj

HEAD = """#include <ntddk.h>
typedef VOID (*ROUTINE)(VOID);
static VOID Own(VOID) { }
static ROUTINE f = Own;
"""
MEMORY = "(ROUTINE)ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'aaaa')"


def both(folder, text):
    """The rules that behaviours break, of a driver for two platforms: K is 1 and 2."""
    extra = "".join(
        definitions(f"K={number}", f"'$(Platform)'=='{platform}'")
        for number, platform in enumerate(("x64", "ARM64"), 1)
    )
    project = vcxproj("d.c", platforms=("x64", "ARM64"), extra=extra)
    lay(folder, d__vcxproj=project, d__c=text)
    return {one.rule for one in read(folder).behaviours}


def body(statements, before=""):
    return HEAD + before + entry(statements).partition("\n")[2]


FOUND = {
    "in one": body(f"\n#if K == 2\nf = {MEMORY};\n#endif\nf();"),
    "in both": body(f"\n#if K == 2\nULONG n = 0;\n#endif\nf = {MEMORY}; f();"),
    "call by a macro of one": body(
        f"f = {MEMORY};\nULONG n = CALL(f);",
        "#if K == 1\n#define CALL(p) ((p)(), 0)\n#else\n#define CALL(p) 0\n#endif\n",
    ),
    "routine behind a macro of one": body(
        "f = (ROUTINE)GET(POOL_FLAG_NON_PAGED, 64, 'aaaa'); f();",
        "#if K == 1\n#define GET Other\n#else\n#define GET ExAllocatePool2\n#endif\n",
    ),
    "macro behind a directive": body(
        f"f = {MEMORY};\n#if K == 1\nULONG n = 0;\n#endif\nCALL(f);",
        "#if K == 1\n#define CALL(p)\n#else\n#define CALL(p) do { p(); } while (0)\n#endif\n",
    ),
}
SILENT = {
    "memory in one, the call in the other": body(
        f"\n#if K == 2\nf = {MEMORY};\n#else\nf();\n#endif"
    ),
    "the macro that calls is of the other": body(
        f"\n#if K == 1\nf = {MEMORY};\n#endif\nCALL(f);",
        "#if K == 1\n#define CALL(p)\n#else\n#define CALL(p) do { p(); } while (0)\n#endif\n",
    ),
    "a function in both": body("\n#if K == 2\nf = Own;\n#endif\nf();"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_one_configuration_does_is_found(tmp_path, name):
    assert both(tmp_path, FOUND[name]) == {"dynamic-code"}


@pytest.mark.parametrize("name", SILENT)
def test_what_no_configuration_does_is_not_found(tmp_path, name):
    assert both(tmp_path, SILENT[name]) == set()


@pytest.mark.parametrize(("name", "count"), [("a function in both", 1), (None, 3)])
def test_each_configuration_is_asked_only_where_all_together_show_something(
    tmp_path, monkeypatch, name, count
):
    asked = []
    monkeypatch.setattr(executed, "written_out", lambda program: asked.append(1) or program)
    both(tmp_path, SILENT[name] if name else FOUND["in one"])
    assert len(asked) == count


def test_the_same_text_is_read_anew(tmp_path):
    text = body(
        f"SET({MEMORY}); f();",
        "struct S { ROUTINE g; } s;\n#define SET(p) s.g = (p)\n",
    ).replace("f();", "s.g();")
    first, second = (one_file(tmp_path, text) for _ in range(2))
    assert first.behaviours
    assert first.behaviours == second.behaviours
