"""Macros that take the place of routines of the kernel: what they call is what is called."""

import pytest

from sources import bad, entry, one_file

POOL = "execute-pool-type"
OWN = "static PVOID My(POOL_TYPE t, SIZE_T n) { return ExAllocatePoolWithTag(t, n, 1); }\n"
CASES = [
    ("#define ExAllocatePoolWithTag(t, n, g) ExAllocatePool2(POOL_FLAG_NON_PAGED, n, g)\n", False),
    ("#define ExAllocatePoolWithTag(t, n, g) ExAllocatePoolWithTag(NonPagedPoolNx, n, g)\n", False),
    ("#define ExAllocatePoolWithTag(t, n, g) ExAllocatePoolZero((t) | 512, n, g)\n", False),
    ("PVOID My(SIZE_T n);\n#define ExAllocatePoolWithTag(t, n, g) My(n)\n", False),
    ("#define ExAllocatePoolWithTag(t, n, g) ExAllocatePoolZero(t, n, g)\n", True),
    (
        "#define A(t, n) ExAllocatePoolZero(t, n, 1)\n"
        "#define ExAllocatePoolWithTag(t, n, g) A(t, n)\n",
        True,
    ),
    (OWN + "#define ExAllocatePoolWithTag(t, n, g) My(t, n)\n", True),
    ("#define ExAllocatePoolWithTag ExAllocatePoolZero\n", True),
    ("#define ExAllocatePoolWithTag(t, n, g) My(n)\n#undef ExAllocatePoolWithTag\n", True),
    ("#ifdef HERE\n#define ExAllocatePoolWithTag(t, n, g) My(n)\n#endif\n", True),
]


@pytest.mark.parametrize(("before", "fails"), CASES)
def test_a_macro_with_the_name_of_a_routine(tmp_path, before, fails):
    body = entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'a');").partition("\n")[2]
    text = "#include <ntddk.h>\n" + before + body
    assert (POOL in bad(one_file(tmp_path, text))) is fails


def test_a_macro_that_stands_behind_the_call_changes_nothing(tmp_path):
    text = "#include <ntddk.h>\nVOID F(VOID) { ExAllocatePoolWithTag(NonPagedPool, 8, 'a'); }\n"
    text += "#define ExAllocatePoolWithTag(t, n, g) My(n)\n" + entry("F();").partition("\n")[2]
    assert POOL in bad(one_file(tmp_path, text))


@pytest.mark.parametrize(("kind", "fails"), [("NonPagedPoolNx", False), ("NonPagedPool", True)])
def test_a_list_in_a_list_that_names_its_fields(tmp_path, kind, fails):
    text = "#include <ntddk.h>\nstruct I { POOL_TYPE t; }; struct C { int a; struct I i; };\n"
    text += f"static const struct C c = {{ .i = {{ .t = {kind} }} }};\n"
    text += entry("ExAllocatePoolWithTag(c.i.t, 8, 'a');").partition("\n")[2]
    assert (POOL in bad(one_file(tmp_path, text))) is fails
