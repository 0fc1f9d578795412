"""What global variables are before the driver sets them, and macros that `#undef` takes away."""

import pytest

from sources import bad, entry, one_file

POOL = "void F(void) { ExAllocatePoolWithTag(Kind, 8, 'a'); }\n"
SET = "void Set(void) { Kind = NonPagedPoolNx; }\n"
BODIES = [
    ("Kind = NonPagedPoolNx; F();", False),
    ("Set(); F();", False),
    ("F(); Kind = NonPagedPoolNx;", True),
    ("F(); Set();", True),
    ("if (RegistryPath) Kind = NonPagedPoolNx; F();", True),
    ("if (!RegistryPath) return STATUS_UNSUCCESSFUL; Kind = NonPagedPoolNx; F();", False),
    ("if (!RegistryPath) return STATUS_SUCCESS; Kind = NonPagedPoolNx; F();", True),
    ("F();", True),
    ("Kind = NonPagedPool; F(); Kind = NonPagedPoolNx;", True),
]


@pytest.mark.parametrize(("body", "fails"), BODIES)
@pytest.mark.parametrize(
    "declared",
    ["POOL_TYPE Kind", "static ULONG Kind", "POOL_TYPE Kind = NonPagedPool", "POOL_TYPE Kind = 0"],
)
def test_a_variable_is_zero_until_it_is_set(tmp_path, declared, body, fails):
    text = "#include <ntddk.h>\n" + f"{declared};\n" + POOL + SET + entry(body)
    assert ("execute-pool-type" in bad(one_file(tmp_path, text))) is fails


@pytest.mark.parametrize(("body", "is_open"), BODIES)
@pytest.mark.parametrize(
    ("declared", "field"),
    [
        ("static struct { ULONG Size; POOL_TYPE Kind; } G", "G.Kind"),
        ("struct S { ULONG Size; POOL_TYPE Kind; } G = { 1 }", "G.Kind"),
        ("struct { ULONG Size; struct { POOL_TYPE Kind; } Inner; } G", "G.Inner.Kind"),
    ],
)
def test_a_field_is_zero_until_it_is_set(tmp_path, declared, field, body, is_open):
    text = (
        "#include <ntddk.h>\n"
        + f"{declared};\n"
        + (POOL + SET + entry(body)).replace("Kind", field).replace("#include <ntddk.h>", "")
    )
    assert ("execute-pool-type" in bad(one_file(tmp_path, text))) is is_open


def test_a_field_of_another_record_is_set(tmp_path):
    text = "#include <ntddk.h>\nstruct S { ULONG Size; POOL_TYPE Kind; };\nstatic struct S G;\n"
    text += (POOL + SET).replace("Kind", "G.Kind")
    text += entry("struct S s = { 1, NonPagedPoolNx }; s.Kind = PagedPool; F(); Set();")
    assert "execute-pool-type" in bad(one_file(tmp_path, text))


@pytest.mark.parametrize(
    "declared",
    [
        "extern struct S G",
        "static struct S G = { 1, PagedPool }",
        "static struct S G = { .Kind = NonPagedPoolNx }",
    ],
)
def test_a_field_that_begins_well_is_not_zero(tmp_path, declared):
    text = "#include <ntddk.h>\nstruct S { ULONG Size; POOL_TYPE Kind; };\n" + declared + ";\n"
    text += (POOL + SET).replace("Kind", "G.Kind") + entry("F();")
    assert "execute-pool-type" not in bad(one_file(tmp_path, text))


@pytest.mark.parametrize(
    "declared",
    ["extern POOL_TYPE Kind", "POOL_TYPE Kind = PagedPool", "extern POOL_TYPE Kind, Two"],
)
def test_what_is_declared_elsewhere_or_begins_well_is_not_zero(tmp_path, declared):
    text = "#include <ntddk.h>\n" + f"{declared};\n" + POOL + SET + entry("F();")
    assert "execute-pool-type" not in bad(one_file(tmp_path, text))


UNDONE = "#define NonPagedPool NonPagedPoolNx\n{}\n"


@pytest.mark.parametrize(
    ("line", "fails"),
    [
        ("#undef NonPagedPool", True),
        ("#undef NonPagedPoolBase", False),
        ("#ifdef NonPagedPool\n#undef NonPagedPool\n#endif", True),
        ("#ifdef _NEVER_\n#undef NonPagedPool\n#endif", False),
        ("#undef NonPagedPool\n#define NonPagedPool NonPagedPoolNx", False),
        ("", False),
    ],
)
def test_a_macro_that_is_taken_away_again(tmp_path, line, fails):
    (tmp_path / "driver.vcxproj").write_text(PROJECT)
    text = "#include <ntddk.h>\n" + UNDONE.format(line)
    text += entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
    assert ("execute-pool-type" in bad(one_file(tmp_path, text))) is fails


PROJECT = """<Project><ItemGroup><ProjectConfiguration Include="Release|x64" />
<ClCompile Include="driver.c" /></ItemGroup><PropertyGroup>
<ConfigurationType>Driver</ConfigurationType></PropertyGroup></Project>"""
