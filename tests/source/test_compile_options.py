"""Options that change what a compiler reads: whatever the build, none is passed over."""

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, definitions, lay, read, vcxproj

KINDS = """#include <ntddk.h>
{0}
#ifndef KIND
#define KIND NonPagedPoolNx
#endif
NTSTATUS DriverEntry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{{
    return ExAllocatePoolWithTag(KIND, 8, 'abcd') ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}}
"""
HEADER = "#define KIND NonPagedPool\n"
FILES = {"bad__h": HEADER, "inc___deep__h": HEADER, "flags__txt": "-DKIND=NonPagedPool\n"}


def fails(folder, include="", **files):
    """Whether the pool type of the options is seen, and what is left open."""
    evidence = read(lay(folder, a__c=KINDS.format(include), **FILES, **files))
    open_ = [one.reason for one in evidence.limits if set(TEXT_RULES) <= set(one.rules)]
    return "execute-pool-type" in bad(evidence), open_


GNU = """CFLAGS = {0}
d.sys: a.o
\tgcc -shared -Wl,--subsystem,native -o d.sys a.o -lntoskrnl
a.o: a.c
\tgcc $(CFLAGS) -c a.c
"""
FORCED = ["-include bad.h", "-imacros bad.h", "/FIbad.h", "/FI bad.h", "-include inc/deep.h"]
GIVEN = ["-DKIND=NonPagedPool", "-D KIND=NonPagedPool", "'-DKIND=NonPagedPool'", "@flags.txt"]
FOLDERS = ["-isystem inc", "-iquote inc", "-idirafter inc", "-Iinc", "/external:I inc"]


@pytest.mark.parametrize("flags", FORCED + GIVEN)
def test_a_makefile(tmp_path, flags):
    assert fails(tmp_path, Makefile=GNU.format(flags)) == (True, [])


@pytest.mark.parametrize("flags", FOLDERS)
def test_folders_of_a_makefile(tmp_path, flags):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "deep.h").write_text("")  # the only one of its name would do anyway
    assert fails(tmp_path, "#include <deep.h>", Makefile=GNU.format(flags)) == (True, [])


@pytest.mark.parametrize("how", ["define FLAGS", "define FLAGS =", "override define FLAGS :="])
def test_a_variable_of_several_lines(tmp_path, how):
    makefile = f"{how}\n-Wall\n-DKIND=NonPagedPool\nendef\n" + GNU.format("$(FLAGS)")
    assert fails(tmp_path, Makefile=makefile) == (True, [])


@pytest.mark.parametrize("flags", ["-DKIND=NonPagedPoolNx", "-DOTHER=NonPagedPool", "-I."])
def test_a_makefile_that_is_harmless(tmp_path, flags):
    assert fails(tmp_path, Makefile=GNU.format(flags)) == (False, [])


def test_a_forced_header_that_is_missing_is_told(tmp_path):
    seen, reasons = fails(tmp_path, Makefile=GNU.format("-include gone.h"))
    assert not seen
    assert len(reasons) == 1
    assert "gone.h" in reasons[0]


MESON = """project('d', 'c')
shared_library('d', 'a.c', name_prefix: '', name_suffix: 'sys', c_args: [{0}],
  link_args: ['-Wl,--subsystem,native', '-lntoskrnl'])
"""


@pytest.mark.parametrize(
    "arguments", ["'-include', 'bad.h'", "'/FIbad.h'", "'-DKIND=NonPagedPool'"]
)
def test_a_meson_file(tmp_path, arguments):
    assert fails(tmp_path, meson__build=MESON.format(arguments)) == (True, [])


CMAKE = "project(d C)\nfind_package(WDK REQUIRED)\nwdk_add_driver(d a.c)\n{0}\n"


@pytest.mark.parametrize(
    "command",
    [
        'target_compile_options(d PRIVATE "SHELL:-D KIND=NonPagedPool")',
        "target_compile_options(d PRIVATE @${CMAKE_CURRENT_SOURCE_DIR}/flags.txt)",
        "target_compile_options(d PRIVATE @flags.txt)",
        "target_compile_options(d PRIVATE -imacros ${CMAKE_CURRENT_SOURCE_DIR}/bad.h)",
        "set(K NonPagedPool)\ntarget_compile_definitions(d PRIVATE KIND=${K})",
    ],
)
def test_a_cmake_list(tmp_path, command):
    assert fails(tmp_path, CMakeLists__txt=CMAKE.format(command)) == (True, [])


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("target_compile_options(d PRIVATE @gone.txt)", "@gone.txt"),
        ("target_compile_definitions(d PRIVATE KIND=${GIVEN})", "KIND=${GIVEN}"),
        ("add_compile_definitions(KIND=${GIVEN})", "KIND=${GIVEN}"),
    ],
)
def test_what_a_cmake_list_leaves_to_others(tmp_path, command, named):
    seen, reasons = fails(tmp_path, CMakeLists__txt=CMAKE.format(command))
    assert not seen
    assert len(reasons) == 1
    assert named in reasons[0]


@pytest.mark.parametrize(
    "option", ["/clang:-DKIND=NonPagedPool", "/FIbad.h", "-imacros bad.h", "@flags.txt"]
)
def test_a_project(tmp_path, option):
    project = vcxproj("a.c", extra=definitions(option, element="AdditionalOptions"))
    assert fails(tmp_path, a__vcxproj=project) == (True, [])


@pytest.mark.parametrize("name", ["CL", "_CL_", "_LINK_"])
def test_a_task_that_sets_what_the_compiler_reads(tmp_path, name):
    task = f'<SetEnv Name="{name}" Value="/DKIND=NonPagedPool" />'
    extra = f'<Target Name="T" BeforeTargets="ClCompile">{task}</Target>'
    seen, reasons = fails(tmp_path, a__vcxproj=vcxproj("a.c", extra=extra))
    assert not seen
    assert len(reasons) == 1
    assert name in reasons[0]


def test_a_task_that_sets_something_else(tmp_path):
    extra = '<Target Name="T"><SetEnv Name="PATH" Value="x" /></Target>'
    assert fails(tmp_path, a__vcxproj=vcxproj("a.c", extra=extra)) == (False, [])
