"""Lists of files in Visual Studio projects, what decides about them, and headers made before."""

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, definitions, entry, lay, read, vcxproj

CODE = "#ifdef NX\n#define P NonPagedPoolNx\n#else\n#define P NonPagedPool\n#endif\n"
CODE = "#include <ntddk.h>\n" + CODE + entry("p = ExAllocatePoolWithTag(P, 8, 'a');")
GOOD = entry("p = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
MORE = "#include <ntddk.h>\nVOID *f(VOID) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
NX = "<PreprocessorDefinitions>NX</PreprocessorDefinitions>"
END = "</ItemGroup>\n</Project>"
SRC = '<Src Include="more.c" />'


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


def of_items(folder, items, code=GOOD):
    """The evidence of a project that has a good file and some items."""
    project = vcxproj("d.c", extra="").replace(
        "</ItemGroup>\n</Project>", f"{items}</ItemGroup></Project>"
    )
    return read(lay(folder, d__c=code, more__c=MORE, d__vcxproj=project))


@pytest.mark.parametrize(
    ("items", "is_compiled"),
    [
        (SRC + '<ClCompile Include="@(Src)" />', True),
        ('<Src Include="more" /><ClCompile Include="@(Src->\'%(Identity).c\')" />', True),
        (
            "<Src Include=\"x/more.h\" /><ClCompile Include=\"@(Src->'%(Filename).c', ';')\" />",
            True,
        ),
        ('<ClCompile Include="more.c" /><ClCompile Remove="@(Src)" />', True),
        (SRC + '<ClCompile Include="more.c" /><ClCompile Remove="@(Src)" />', False),
        (SRC + '<ClCompile Include="*.c" Exclude="d.c;@(Src)" />', False),
        (SRC + '<ClCompile Include="more.c" /><ClCompile Remove="@( Src )" />', False),
    ],
)
def test_what_is_made_of_other_lists(tmp_path, items, is_compiled):
    evidence = of_items(tmp_path, items)
    assert bool(bad(evidence)) is is_compiled
    assert not weighing(evidence)


@pytest.mark.parametrize("word", ["Include", "Remove", "Update"])
def test_a_list_that_is_not_followed_is_named(tmp_path, word):
    made = SRC + f"<ClCompile {word}=\"@(Src->WithMetadataValue('Kind', 'a;b'))\">{NX}</ClCompile>"
    (reason,) = weighing(of_items(tmp_path, made))
    assert "WithMetadataValue" in reason and "could not be followed" in reason


def test_what_a_list_says_of_its_files_goes_with_them(tmp_path):
    items = f'<Src Include="more.c">{NX}</Src><ClCompile Include="@(Src)" />'
    evidence = of_items(tmp_path, items)
    assert bad(evidence)
    (tmp_path / "more.c").write_text(CODE.replace("DriverEntry", "f"))
    assert not bad(read(tmp_path))


CHOSEN = "<Choose><When Condition=\"'$(Kind)' == '1'\">{}</When><Otherwise>{}</Otherwise></Choose>"


@pytest.mark.parametrize(
    "kept", [definitions("NX"), "<PropertyGroup><Defs>NX</Defs></PropertyGroup>"]
)
def test_what_the_environment_chooses_is_named(tmp_path, kept):
    extra = "<PropertyGroup><Defs>X</Defs></PropertyGroup>"
    extra += definitions("$(Defs)") + CHOSEN.format(kept, definitions("OTHER"))
    evidence = read(lay(tmp_path, d__c=CODE, d__vcxproj=vcxproj("d.c", extra=extra)))
    assert any("$(Kind) may hold the value of NX" in one for one in weighing(evidence))
    extra = "<PropertyGroup><Kind>1</Kind></PropertyGroup>" + extra
    evidence = read(lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra)))
    assert not weighing(evidence)


@pytest.mark.parametrize("name", ["Directory.Build.props", "directory.build.PROPS"])
def test_a_shared_sheet_in_any_case(tmp_path, name):
    lay(tmp_path, a___d__c=CODE, a___d__vcxproj=vcxproj("d.c"))
    assert bad(read(tmp_path))
    (tmp_path / name).write_text(f"<Project>{definitions('NX')}</Project>")
    assert not bad(read(tmp_path))


def test_a_forced_header_by_its_whole_path(tmp_path):
    extra = definitions("/FI&quot;$(ProjectDir)nx.h&quot;", element="AdditionalOptions")
    lay(tmp_path, d__c=CODE, nx__h="#define NX\n", d__vcxproj=vcxproj("d.c", extra=extra))
    evidence = read(tmp_path)
    assert not bad(evidence)
    assert not any("missing" in one.reason for one in evidence.limits)


MADE = '<ClCompile Include="pch.c"><PrecompiledHeader>Create</PrecompiledHeader>{}</ClCompile>'


@pytest.mark.parametrize(
    ("made", "header", "is_open"),
    [
        ("<PreprocessorDefinitions>OLD</PreprocessorDefinitions>", "#ifdef OLD\n#endif\n", True),
        ("<PreprocessorDefinitions>OLD</PreprocessorDefinitions>", "", False),
        ("<PreprocessorDefinitions>NX</PreprocessorDefinitions>", "", True),
        ("<AdditionalOptions>/DOLD /Ycpch.h</AdditionalOptions>", "#ifdef OLD\n#endif\n", True),
        ("", "#ifdef OLD\n#endif\n", False),
    ],
)
def test_a_precompiled_header_that_is_made_with_other_macros(tmp_path, made, header, is_open):
    extra = definitions("Use", element="PrecompiledHeader")
    extra += definitions("pch.h", element="PrecompiledHeaderFile")
    project = vcxproj("d.c", extra=extra).replace(
        "</ItemGroup>\n</Project>", f"{MADE.format(made)}</ItemGroup></Project>"
    )
    code = CODE.replace("<ntddk.h>", '"pch.h"')
    lay(tmp_path, d__c=code, pch__c='#include "pch.h"\n', pch__h="#include <ntddk.h>\n" + header)
    evidence = read(lay(tmp_path, d__vcxproj=project))
    assert any("compiles pch.h before" in one for one in weighing(evidence)) is is_open
