"""Which text belongs to which driver: products, configurations, units and the files left over."""

import re
import shutil

import pytest

from hvci.evaluate import Options, Sources, evaluate
from hvci.model import Outcome, Verdict
from hvci.model.judged import TEXT_RULES
from hvci.report.sentence import summary
from sources import bad, definitions, entry, lay, read, value_of, values, vcxproj

NX = "ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');"
PLAIN = "ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
CLEAN = entry(NX)
RUNTIME = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"
OPTED = RUNTIME + PLAIN
POOL = "execute-pool-type"


def reasons(evidence):
    """The reasons of all limits, as one text."""
    return "\n".join(limit.reason for limit in evidence.limits)


def dead(evidence):
    """Why each call cannot run, by line."""
    return {call.site.line: call.dead for call in evidence.calls}


def solution(*projects):
    """A solution that names projects."""
    return "".join(f'Project("{{8}}") = "p", "{name}", "{{1}}"\nEndProject\n' for name in projects)


def reference(*projects):
    """References to other projects."""
    items = "".join(f'<ProjectReference Include="{name}" />' for name in projects)
    return f"<ItemGroup>{items}</ItemGroup>"


def library(*files, extra="", toolset="WindowsKernelModeDriver10.0"):
    """A project of a static library."""
    tool = f"<PropertyGroup><PlatformToolset>{toolset}</PlatformToolset></PropertyGroup>"
    return vcxproj(*files, type="StaticLibrary", driver="", extra=tool + extra)


# ---- headers and included sources take the state of the unit that includes them


@pytest.mark.parametrize("target", ["", "drv.vcxproj", "drv.c", "all.sln"])
def test_an_opt_in_in_a_header(tmp_path, target):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), all__sln=solution("drv.vcxproj"))
    lay(tmp_path, drv__h="#define POOL_NX_OPTIN 1\n#include <ntddk.h>\n")
    lay(tmp_path, drv__c=entry(OPTED).replace("<ntddk.h>", '"drv.h"'))
    assert not bad(read(tmp_path / target))


def test_an_opt_in_through_two_headers(tmp_path):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), a__h='#include "b.h"\n#include <wdm.h>\n')
    lay(tmp_path, b__h="#define POOL_NX_OPTIN_AUTO 1\n")
    lay(tmp_path, drv__c=entry(PLAIN).replace("<ntddk.h>", '"a.h"'))
    assert not bad(read(tmp_path))


def test_an_opt_in_behind_the_headers_of_the_kit_does_nothing(tmp_path):
    text = "#include <ntddk.h>\n#define POOL_NX_OPTIN_AUTO 1\n" + entry(PLAIN)
    evidence = read(lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), drv__c=text))
    assert bad(evidence) == {POOL}
    assert "only after the headers of the kit" in evidence.calls[0].note


def test_a_forced_header(tmp_path):
    lay(tmp_path, inc___force__h="#define POOL_NX_OPTIN_AUTO 1\n", drv__c=entry(PLAIN))
    extra = definitions("force.h", element="ForcedIncludeFiles")
    extra += definitions("inc", element="AdditionalIncludeDirectories")
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c", extra=extra))
    assert not bad(read(tmp_path))
    option = definitions("/FI inc\\force.h", element="AdditionalOptions")
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c", extra=option))
    assert not bad(read(tmp_path))


def test_a_header_that_two_units_compile_differently(tmp_path):
    header = f"#ifdef FAST\nstatic VOID a(VOID) {{ {PLAIN} }}\n#else\n"
    header += f"static VOID b(VOID) {{ {NX} }}\n#endif\n"
    lay(tmp_path, drv__vcxproj=vcxproj("one.c", "two.c"), both__h=header)
    lay(tmp_path, one__c='#include <ntddk.h>\n#include "both.h"\n')
    lay(tmp_path, two__c='#include <ntddk.h>\n#include "both.h"\n')
    assert dead(read(tmp_path)) == {2: "no build keeps this branch", 4: ""}
    lay(tmp_path, two__c='#include <ntddk.h>\n#define FAST\n#include "both.h"\n')
    assert dead(read(tmp_path)) == {2: "", 4: ""}


@pytest.mark.parametrize("kind", ["NonPagedPool", "NonPagedPoolNx"])
def test_a_source_that_is_included_sees_the_macros_before_it(tmp_path, kind):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"))
    lay(tmp_path, part__c="VOID f(VOID) { ExAllocatePoolWithTag(KIND, 8, 'a'); }\n")
    lay(tmp_path, drv__c=f'#include <ntddk.h>\n#define KIND {kind}\n#include "part.c"\n')
    expected = {0} if kind == "NonPagedPool" else {0x200}
    assert value_of(read(tmp_path), "ExAllocatePoolWithTag") == (expected, True)


def test_a_macro_that_each_unit_defines_anew(tmp_path):
    text = (
        "#include <ntddk.h>\n#define KIND %s\nVOID f(VOID) { ExAllocatePoolWithTag(KIND, 8, 'a'); }"
    )
    lay(tmp_path, drv__vcxproj=vcxproj("a.c", "b.c"))
    lay(tmp_path, a__c=text % "NonPagedPoolNx", b__c=text % "PagedPool")
    found = sorted(one[2:] for one in values(read(tmp_path)))
    assert sorted(map(str, found)) == sorted(map(str, [({0x200}, True), ({1}, True)]))


CHOOSING = "#ifdef PLAIN\n#define KIND NonPagedPool\n#else\n#define KIND NonPagedPoolNx\n#endif\n"


@pytest.mark.parametrize("first", ["#define PLAIN\n", ""])
def test_a_header_whose_macro_two_units_define_differently(tmp_path, first):
    """The last definition in its text is not that of every unit."""
    header = CHOOSING + "static VOID a(VOID) { ExAllocatePoolWithTag(KIND, 8, 'a'); }\n"
    text = '#include <ntddk.h>\n#include "both.h"\n'
    lay(tmp_path, drv__vcxproj=vcxproj("one.c", "two.c"), both__h=header)
    lay(tmp_path, one__c=first + text, two__c=("" if first else "#define PLAIN\n") + text)
    assert bad(read(tmp_path)) == {POOL}
    lay(tmp_path, one__c=text, two__c=text)
    assert not bad(read(tmp_path))


def test_a_file_that_one_unit_includes_twice_in_different_ways(tmp_path):
    part = CHOOSING + "VOID NAME(VOID) { ExAllocatePoolWithTag(KIND, 8, 'a'); }\n"
    text = '#include <ntddk.h>\n{}#define NAME a\n#include "part.c"\n#undef NAME\n#undef PLAIN\n'
    text += '#undef KIND\n#define NAME b\n#include "part.c"\n'
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), part__c=part)
    lay(tmp_path, drv__c=text.format("#define PLAIN\n"))
    assert bad(read(tmp_path)) == {POOL}
    lay(tmp_path, drv__c=text.format(""))
    assert not bad(read(tmp_path))


@pytest.mark.parametrize("name", ["part.inc", "part.c", "part.h"])
@pytest.mark.parametrize("way", ["in the file", "in a branch", "by the command line"])
def test_a_file_that_a_macro_names(tmp_path, name, way):
    option = definitions(f"PART=&quot;{name}&quot;;OTHER") if way == "by the command line" else ""
    lay(tmp_path, **{name.replace(".", "__"): f"static VOID f(VOID) {{ {PLAIN} }}\n"})
    lines = {"in the file": f'#define PART "{name}"\n'}
    lines["in a branch"] = f'#if 1\n#define PART "{name}"\n#else\n#define PART "gone.h"\n#endif\n'
    text = f"#include <ntddk.h>\n{lines.get(way, '')}#include PART\n"
    lay(tmp_path, drv__c=text, drv__vcxproj=vcxproj("drv.c", extra=option))
    assert bad(read(tmp_path)) == {POOL}


@pytest.mark.parametrize("macro", ["", "#define PART NAMED(x)\n#define NAMED(n) #n\n"])
def test_a_file_that_no_macro_names_is_a_limit(tmp_path, macro):
    text = f"#include <ntddk.h>\n{macro}#include PART\n{CLEAN}"
    lay(tmp_path, drv__c=text, drv__vcxproj=vcxproj("drv.c"))
    told = [one for one in read(tmp_path).limits if "`#include PART` means" in one.reason]
    assert [set(TEXT_RULES) <= set(one.rules) for one in told] == [True]


def test_more_files_than_are_read_are_one_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.source.preprocess.units.MAX_CLOSURE", 3)
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), a__h='#include "b.h"\n', b__h='#include "c.h"\n')
    lay(tmp_path, drv__c='#include <ntddk.h>\n#include "a.h"\n' + CLEAN, c__h="int c;")
    told = [one for one in read(tmp_path).limits if "includes more than 3 files" in one.reason]
    assert [set(TEXT_RULES) <= set(one.rules) for one in told] == [True]


# ---- what no build compiles


def test_a_file_that_no_build_compiles_is_named_and_not_judged(tmp_path):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), drv__c=CLEAN)
    lay(tmp_path, old__c=entry(PLAIN), unused__h=f"VOID f(VOID) {{ {PLAIN} }}", notes__h="int x;")
    evidence = read(tmp_path)
    assert not bad(evidence)
    assert "old.c: not compiled by any build here" in reasons(evidence)
    assert "unused.h: not compiled by any build here" in reasons(evidence)
    assert "notes.h" in reasons(evidence)
    assert evaluate(tmp_path).verdict is Verdict.COMPATIBLE
    # who asks for that file gets an answer about it
    assert bad(read(tmp_path / "old.c")) == {POOL}


def test_a_header_in_a_branch_that_is_never_compiled(tmp_path):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), old__h=f"VOID f(VOID) {{ {PLAIN} }}")
    lay(tmp_path, drv__c='#if OLD\n#include "old.h"\n#endif\n' + CLEAN)
    assert not bad(read(tmp_path))


def test_a_tree_of_programs_for_user_mode_says_so(tmp_path):
    project = vcxproj("drv.c", type="DynamicLibrary", driver="UMDF")
    evidence = read(lay(tmp_path, drv__vcxproj=project, drv__c=entry(PLAIN)))
    assert not bad(evidence)
    assert "only programs for user mode are built here" in reasons(evidence)
    assert summary(evaluate(tmp_path)).startswith("builds no kernel driver")


def test_a_driver_that_no_project_builds_beside_a_tool_is_judged(tmp_path):
    lay(tmp_path, tool___t__vcxproj=vcxproj("t.c", type="Application", driver=""))
    lay(tmp_path, tool___t__c="int main(void) { return 0; }", sys___drv__c=entry(PLAIN))
    assert bad(read(tmp_path)) == {POOL}


def test_sources_of_a_program_do_not_weigh(tmp_path):
    lay(tmp_path, tool__vcxproj=vcxproj("tool.c", "lost.c", type="Application", driver=""))
    lay(
        tmp_path,
        tool__c=entry(PLAIN).replace("ntddk", "windows"),
        drv__vcxproj=vcxproj("drv.c"),
        drv__c=CLEAN,
    )
    assert evaluate(tmp_path).verdict is Verdict.COMPATIBLE


# ---- products: what is joined, and what is not


@pytest.mark.parametrize("joined", ["package", "solution", "folder"])
def test_drivers_that_are_packed_together_keep_their_own_opt_in(tmp_path, joined):
    extra = definitions("POOL_NX_OPTIN=1")
    lay(tmp_path, a___a__vcxproj=vcxproj("a.c", extra=extra), a___a__c=entry(PLAIN))
    lay(tmp_path, b___b__vcxproj=vcxproj("b.c", extra=extra), b___b__c=entry(RUNTIME))
    if joined == "package":
        both = reference("..\\a\\a.vcxproj", "..\\b\\b.vcxproj")
        lay(tmp_path, p___p__vcxproj=vcxproj(type="Utility", driver="Package", extra=both))
    if joined == "solution":
        lay(tmp_path, all__sln=solution("a\\a.vcxproj", "b\\b.vcxproj"))
    assert bad(read(tmp_path)) == {POOL, "nx-opt-in"}


def test_a_library_is_part_of_each_driver_that_links_it(tmp_path):
    opted = definitions("POOL_NX_OPTIN=1")
    lay(tmp_path, lib___lib__vcxproj=library("lib.c", extra=opted))
    lay(tmp_path, lib___lib__c=f"#include <ntddk.h>\nVOID get(VOID) {{ {PLAIN} }}\n")
    project = vcxproj("drv.c", extra=opted + reference("..\\lib\\lib.vcxproj"))
    for name, body in (("a", RUNTIME + "get();"), ("b", "get();")):
        folder = lay(tmp_path / name, drv__vcxproj=project, drv__c=entry(body))
        expected = set() if name == "a" else {POOL, "nx-opt-in"}
        assert bad(read(folder / "drv.vcxproj")) == expected
    both = read(tmp_path)
    assert bad(both) == {POOL, "nx-opt-in"}
    # in the driver that opts in the call stays non-executable
    assert values(both, "ExAllocatePoolWithTag")[0][2] == {0, 0x200}


def test_a_library_that_no_driver_links_is_judged_alone(tmp_path):
    lay(tmp_path, lib__vcxproj=library("lib.c"))
    lay(tmp_path, lib__c=f"#include <ntddk.h>\nVOID get(VOID) {{ {PLAIN} }}\n")
    assert bad(read(tmp_path)) == {POOL}


def test_a_library_without_the_opt_in_says_nothing_of_the_driver(tmp_path):
    text = "#include <ntddk.h>\nvoid *get(PMDL m) { return MmGetSystemAddressForMdlSafe(m, 0); }\n"
    lay(tmp_path, lib___lib__vcxproj=library("lib.c", toolset="v143"), lib___lib__c=text)
    lay(tmp_path, u___u__vcxproj=library("..\\lib\\lib.c", toolset="v143"))
    extra = definitions("POOL_NX_OPTIN_AUTO=1") + reference("..\\lib\\lib.vcxproj")
    lay(tmp_path, d___d__vcxproj=vcxproj("d.c", extra=extra), d___d__c=entry(RUNTIME))
    assert "nx-opt-in" not in bad(read(tmp_path))


# ---- an image and the sources of other drivers


def test_an_image_is_joined_with_its_own_driver_only(tmp_path, clean_image):
    both = reference("..\\src\\drv.vcxproj", "..\\redist\\helper.vcxproj")
    lay(tmp_path, pkg___p__vcxproj=vcxproj(type="Utility", driver="Package", extra=both))
    lay(tmp_path, src___drv__vcxproj=vcxproj("drv.c"), src___drv__c=entry(PLAIN))
    lay(tmp_path, redist___helper__vcxproj=vcxproj("helper.c"), redist___helper__c=entry(""))
    image = tmp_path / "redist" / "helper.sys"
    shutil.copy(clean_image, image)
    report = evaluate(image, Options(sources=Sources([str(tmp_path)])))
    assert not [one for one in report.findings if one.outcome is Outcome.FAIL]


@pytest.fixture
def clean_image():
    """A built driver that asks for nothing."""
    from pathlib import Path

    return Path(__file__).parent.parent / "fixtures" / "built" / "calls_clean.x64.o2.sys"


# ---- items of other kinds


def test_an_assembler_item_changes_no_definition_of_c(tmp_path):
    masm = '<ItemGroup><MASM Include="a.asm" /></ItemGroup>'
    extra = definitions("POOL_NX_OPTIN=1") + masm
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra), a__asm="f PROC\n ret\nf ENDP\nEND\n")
    lay(tmp_path, mem__h=f"static VOID get(VOID) {{ {PLAIN} }}\n")
    lay(tmp_path, d__c='#include <ntddk.h>\n#include "mem.h"\n' + entry(RUNTIME + "get();"))
    assert not bad(read(tmp_path))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('<ItemGroup><ClCompile Remove="b.c" /></ItemGroup>', set()),
        (
            '<ItemGroup><ClCompile Update="b.c"><ExcludedFromBuild>true</ExcludedFromBuild>'
            "</ClCompile></ItemGroup>",
            set(),
        ),
        ('<ItemGroup><ClCompile Include="more\\*.c" /></ItemGroup>', {POOL}),
    ],
)
def test_items_that_are_removed_changed_or_named_by_a_pattern(tmp_path, change, expected):
    project = vcxproj("d.c", "b.c").replace("</Project>", change + "</Project>")
    lay(tmp_path, d__vcxproj=project, d__c=CLEAN)
    lay(tmp_path, more___b__c=entry(PLAIN), b__c=entry(NX if expected else PLAIN))
    assert bad(read(tmp_path)) == expected


# ---- definitions of configurations


def test_a_branch_that_only_one_configuration_compiles(tmp_path):
    release = '<ProjectConfiguration Include="Release|x64" />'
    both = release + release.replace("Release", "Debug")
    project = vcxproj("d.c").replace(release, both)
    text = (
        f"#if DBG\nVOID f(VOID) {{ {PLAIN} }}\n#endif\n#ifdef NEVER\nVOID g(VOID) {{ {PLAIN} }}\n"
    )
    lay(tmp_path, d__vcxproj=project, d__c="#include <ntddk.h>\n" + text + "#endif\n")
    assert dead(read(tmp_path)) == {3: "", 6: "no build keeps this branch"}


def test_a_pool_type_that_the_command_line_gives(tmp_path):
    text = entry("ExAllocatePoolWithTag(KIND, 8, 'a');")
    for kind, expected in (("NonPagedPool", {POOL}), ("NonPagedPoolNx", set())):
        project = vcxproj("d.c", extra=definitions(f"KIND={kind}"))
        assert bad(read(lay(tmp_path, d__vcxproj=project, d__c=text))) == expected


TWO = (
    "<ItemDefinitionGroup Condition=\"'$(Platform)'=='{}'\"><ClCompile><PreprocessorDefinitions>"
    "KIND={}</PreprocessorDefinitions></ClCompile></ItemDefinitionGroup>"
)


def test_values_that_differ_by_configuration_name_the_configurations(tmp_path):
    kinds = {"x64": "NonPagedPool", "ARM64": "NonPagedPoolNx"}
    extra = "".join(TWO.format(platform, kind) for platform, kind in kinds.items())
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c", platforms=tuple(kinds), extra=extra))
    lay(tmp_path, drv__c=entry("ExAllocatePoolWithTag(KIND, 8, 'a');"))
    (message,) = {one.message for one in evaluate(tmp_path).findings if "PoolType" in one.message}
    assert re.search(r"NonPagedPool \(0x0\) in configuration \w+\|x64, NonPagedPoolNx", message)
    assert re.search(r"\(0x200\) in configuration \w+\|ARM64", message)
    assert "path" not in message


def test_a_value_that_is_the_same_in_all_configurations_names_none(tmp_path):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c", platforms=("x64", "Win32")))
    lay(tmp_path, drv__c=entry(PLAIN))
    (message,) = {one.message for one in evaluate(tmp_path).findings if "PoolType" in one.message}
    assert "configuration" not in message


def test_many_configurations_are_counted(tmp_path):
    platforms = ("x64", "ARM64", "Win32", "ARM", "a", "b")
    kinds = dict.fromkeys(platforms, "NonPagedPool") | {"ARM64": "NonPagedPoolNx"}
    extra = "".join(TWO.format(platform, kind) for platform, kind in kinds.items())
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c", platforms=platforms, extra=extra))
    lay(tmp_path, drv__c=entry("ExAllocatePoolWithTag(KIND, 8, 'a');"))
    (message,) = {one.message for one in evaluate(tmp_path).findings if "PoolType" in one.message}
    assert "and 1 more, NonPagedPoolNx (0x200) in configuration " in message


# ---- several kinds of one project


@pytest.mark.parametrize("other", ["Utility", "Application", "StaticLibrary"])
def test_configurations_of_one_project_that_build_something_else(tmp_path, other):
    project = vcxproj("drv.c", platforms=("ARM", "x64"), driver="")
    one = f"<ConfigurationType Condition=\"'$(Platform)'=='ARM'\">{other}</ConfigurationType>"
    rest = "<ConfigurationType Condition=\"'$(Platform)'=='x64'\">Driver</ConfigurationType>"
    project = project.replace("<ConfigurationType>Driver</ConfigurationType>", one + rest)
    lay(tmp_path, drv__c=entry(PLAIN), drv__vcxproj=project)
    assert bad(read(tmp_path)) == {POOL}


def test_a_library_whose_name_differs_by_configuration(tmp_path):
    names = "<PropertyGroup><TargetName>lib_$(Platform)</TargetName></PropertyGroup>"
    project = vcxproj("l.c", platforms=("Win32", "x64"), type="StaticLibrary", extra=names)
    link = definitions("lib_x64.lib", element="AdditionalDependencies", item="Link")
    lay(tmp_path, l___l__vcxproj=project, l___l__c=entry(PLAIN).replace("DriverEntry", "Other"))
    lay(tmp_path, drv__c=CLEAN, drv__vcxproj=vcxproj("drv.c", extra=link))
    evidence = read(tmp_path / "drv.vcxproj")
    assert "lib_x64.lib" in reasons(evidence)
    evidence = read(tmp_path)
    assert "lib_x64.lib" not in reasons(evidence)
    assert bad(evidence) == {POOL}
