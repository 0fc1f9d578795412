"""Shapes of Visual Studio projects that must leave nothing out without a word."""

import pytest

from hvci.model.judged import TEXT_RULES
from hvci.source.builds.boolean import MAX_DEPTH
from hvci.source.builds.model import option_defines, options_of, words_of
from hvci.source.builds.msbuild.condition import condition_holds
from sources import bad, definitions, entry, lay, read, vcxproj

GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
BAD = "#include <ntddk.h>\nPVOID F(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
CHOSEN = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


def items(text):
    return f"<ItemGroup>{text}</ItemGroup>"


GENERATED = '<Target Name="Gen" BeforeTargets="ClCompile">{}</Target>'


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (GENERATED.format(items('<ClCompile Include="more.c" />')), "more.c"),
        (items('<ClCompile Include="more.c++" />'), "more.c++"),
        (items('<ClCompile Include="more.inc" />'), "more.inc"),
        (items('<ClCompile Include="more" />'), "more"),
    ],
)
def test_everything_that_is_compiled_is_judged(tmp_path, extra, name):
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c", extra=extra))
    (tmp_path / name).write_text(BAD)
    evidence = read(tmp_path)
    assert name in {call.site.path.rpartition("/")[2] for call in evidence.calls}
    assert "execute-pool-type" in bad(evidence)


STEP = '<CustomBuild Include="{}"><Command>make</Command><Outputs>{}</Outputs></CustomBuild>'


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (STEP.format("more.c", "$(IntDir)more.obj"), "more.c, which was not examined"),
        (STEP.format("more.rs", "more.lib"), "more.rs, which was not examined"),
        (STEP.format("more.mc", "more.h;more.rc"), ""),
        ('<Object Include="gone.obj" />', "gone.obj, which is not here"),
        ('<ProjectReference Include="..\\lib\\lib.vcxproj" />', "which it refers to, is missing"),
    ],
)
def test_what_is_linked_and_not_examined_is_named(tmp_path, item, told):
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c", extra=items(item)))
    reasons = weighing(read(tmp_path))
    assert [told in reason for reason in reasons] == ([True] if told else [])


def test_a_missing_project_weighs_on_no_package(tmp_path):
    extra = items('<ProjectReference Include="..\\lib\\lib.vcxproj" />')
    package = vcxproj(type="Utility", driver="Package", extra=extra)
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c"), pack__vcxproj=package)
    evidence = read(tmp_path)
    assert weighing(evidence) == []
    assert any("is missing" in limit.reason for limit in evidence.limits)


CALLING = "EXTERN {0}:PROC\n.code\nF PROC\n xor ecx, ecx\n call {0}\nF ENDP\nEND\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CALLING.format("ExAllocatePoolWithTag"), True),
        (CALLING.format("__imp_ExAllocatePoolWithTag"), True),
        (CALLING.format("MmGetSystemRoutineAddress"), True),
        (CALLING.format("DbgPrint"), False),
        (".code\nF PROC\n ret ; as ExAllocatePoolWithTag does\nF ENDP\nEND\n", False),
    ],
)
@pytest.mark.parametrize("item", ["MASM", "NASM", "CustomBuild", "MARMASM"])
def test_routines_that_assembly_uses_are_named(tmp_path, item, text, told):
    extra = items(f'<{item} Include="low.s"><Outputs>low.obj</Outputs></{item}>')
    lay(tmp_path, driver__c=GOOD, low__s=text, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert [("low.s: assembly uses" in one) for one in weighing(read(tmp_path))] == [True] * told


@pytest.mark.parametrize("item", ["MASM", "NASM", "CustomBuild", "MARMASM"])
def test_assembly_is_read_whatever_assembles_it(tmp_path, item):
    extra = items(f'<{item} Include="low.ASM"><Outputs>low.obj</Outputs></{item}>')
    text = CALLING.format("ExAllocatePoolWithTag")
    lay(tmp_path, driver__c=GOOD, low__ASM=text, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert "execute-pool-type" in bad(read(tmp_path))


LINKED = "<ItemDefinitionGroup><Link><AdditionalDependencies>{}</AdditionalDependencies></Link>"
LINKED += "</ItemDefinitionGroup>"


@pytest.mark.parametrize(
    ("library", "told"),
    [
        ("$(Nobody)\\engine.lib", "driver links engine.lib, which is not here"),
        ("$(DDK_LIB_PATH)\\wdmsec.lib", ""),
    ],
)
def test_a_library_in_a_folder_that_is_not_known(tmp_path, library, told):
    extra = LINKED.format(library)
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert [told in reason for reason in weighing(read(tmp_path))] == ([True] if told else [])


def test_a_library_and_a_program_of_one_name(tmp_path):
    program = vcxproj("main.c", type="Application", driver="")
    extra = LINKED.format("engine.lib")
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c", extra=extra))
    lay(
        tmp_path,
        engine__lib=b"!<arch>\n" + b"X" * 80,
        app___engine__vcxproj=program,
        app___main__c="int main(){}",
    )
    assert ["engine.lib: not all of its code" in one for one in weighing(read(tmp_path))] == [True]


def test_a_library_of_the_target_that_only_a_pragma_links(tmp_path):
    text = '#pragma comment(lib, "mylib")\n' + GOOD
    lay(tmp_path, a___driver__c=text, a___driver__vcxproj=vcxproj("driver.c"))
    lay(tmp_path, l___l__c=BAD, l___mylib__vcxproj=vcxproj("l.c", type="StaticLibrary"))
    told = "driver links mylib.lib, and not by a reference to "
    assert [reason.startswith(told) for reason in weighing(read(tmp_path))] == [True]


OPTIONS = ['/D "BAD=1"', '"/DBAD"', '/D"BAD"', "-DBAD", "/D BAD", "/DBAD#1", "@more.rsp"]


@pytest.mark.parametrize("option", OPTIONS)
def test_definitions_in_options(tmp_path, option):
    text = option.replace('"', "&quot;")
    extra = definitions(text, element="AdditionalOptions")
    lay(tmp_path, driver__c=CHOSEN, more__rsp="/nologo /DBAD\n")
    lay(tmp_path, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert "execute-pool-type" in bad(read(tmp_path))


def test_options_in_a_file_that_is_missing(tmp_path):
    extra = definitions("@gone.rsp", element="AdditionalOptions")
    lay(tmp_path, driver__c=CHOSEN, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert ["gone.rsp could not be read" in one for one in weighing(read(tmp_path))] == [True]


def test_words_of_a_command_line():
    text = r'/D "A=1 2" /DB=\"x\" -I"c d/e" /FIf.h -U G'
    assert words_of(text) == ["/D", "A=1 2", '/DB="x"', "-Ic d/e", "/FIf.h", "-U", "G"]
    assert option_defines(text) == {"A": "1 2", "B": '"x"'}
    assert (options_of("I", text), options_of("U", text)) == (["c d/e"], ["G"])


CONDITIONS = [
    ("'10.0.22000.0' >= '10.0.17763.0'", True),
    ("'10.0' > '10.0.1'", False),
    ("'x' > '1'", False),
    ("0x10 == 16", True),
    ("0x10 > 15 and '1.0' == '1'", True),
    ("'a' == 'A' And ('b' != 'b' Or !('c' == 'd'))", True),
    ("on", True),
    ("'$(X", None),
    ("'a' == 'a' 'b'", None),
    ("'a' ~ 'b'", None),
    (" or ".join(["'a' == 'b'"] * 90 + ["'c' == 'c'"]), True),
    ("!" * (MAX_DEPTH + 2) + "true", None),
]


@pytest.mark.parametrize(("text", "holds"), CONDITIONS)
def test_conditions(text, holds):
    assert condition_holds(text, lambda path: False) is holds


POOL = entry("ExAllocatePoolWithTag(P, 8, 'a');")
EVALUATED = [
    "$([MSBuild]::VersionGreaterThanOrEquals('10.0.22', '10.0.17'))",
    "$([MSBuild]::VersionLessThan($(VisualStudioVersion), '18'))",
    "$(Platform.Contains('64')) and $(Platform) == x64",
    "$([System.Convert]::ToInt32('10')) &gt; 5",
    "$([MSBuild]::Add(1, 2)) == 3",
    "'$([System.Text.RegularExpressions.Regex]::IsMatch($(Platform), `x.*`))' == 'True'",
    "Exists('$(ProjectDir)driver.c') and Exists($(ProjectPath)) and !Exists('gone.c')",
]


@pytest.mark.parametrize("condition", EVALUATED)
def test_conditions_with_functions(tmp_path, condition):
    extra = definitions("P=NonPagedPoolNx") + definitions("P=NonPagedPool", condition=condition)
    lay(tmp_path, driver__c=POOL, driver__vcxproj=vcxproj("driver.c", extra=extra))
    evidence = read(tmp_path)
    assert "execute-pool-type" in bad(evidence)
    assert weighing(evidence) == []


@pytest.mark.parametrize("condition", ["$([Company.Build]::Asks('a'))", "'$(X' == 'a' b"])
def test_a_condition_that_is_not_followed_is_named(tmp_path, condition):
    extra = definitions("P=NonPagedPoolNx") + definitions("P=NonPagedPool", condition=condition)
    lay(tmp_path, driver__c=POOL, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert ["could not be followed" in one for one in weighing(read(tmp_path))] == [True]


BEFORE = '#define BAD\n#include "pch.h"\n' + CHOSEN.replace("#include <ntddk.h>\n", "")
USED = definitions("Use", element="PrecompiledHeader")
USED += definitions("inc\\PCH.h", element="PrecompiledHeaderFile")


@pytest.mark.parametrize(
    ("extra", "text", "fails"),
    [
        ("", BEFORE, True),
        (USED, BEFORE, False),
        (definitions("/Yupch.h", element="AdditionalOptions"), BEFORE, False),
        (USED.replace("Use", "Create"), BEFORE, True),
        (USED, BEFORE.replace("#define BAD\n", "") + "", False),
        (USED, BEFORE.replace('"pch.h"', '"pch.h"\n#define BAD'), True),
        (USED, BEFORE.replace('"pch.h"', '"other.h"'), True),
        (USED, BEFORE.replace("#define BAD", "#if 1\n#define BAD\n#endif"), False),
        (USED, BEFORE.replace('#include "pch.h"', '#if 1\n#include "pch.h"\n#endif'), True),
    ],
)
def test_what_stands_before_a_precompiled_header_is_passed_over(tmp_path, extra, text, fails):
    lay(tmp_path, driver__c=text, pch__h="#include <ntddk.h>\n", other__h="#include <ntddk.h>\n")
    lay(tmp_path, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert ("execute-pool-type" in bad(read(tmp_path))) is fails


def test_a_list_of_sources_that_nothing_fills(tmp_path):
    extra = items('<ClCompile Include="@(ClSourceFiles)" /><ClCompile Include="@(Mine)" />')
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert ["the list @(Mine)" in reason for reason in weighing(read(tmp_path))] == [True]
    filled = items('<Mine Include="more.c" />') + extra
    lay(tmp_path, more__c=BAD, driver__vcxproj=vcxproj("driver.c", extra=filled))
    evidence = read(tmp_path)
    assert "execute-pool-type" in bad(evidence)
    assert weighing(evidence) == []
