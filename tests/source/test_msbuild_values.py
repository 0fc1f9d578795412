"""What decides in Visual Studio projects what is compiled: properties, targets, options."""

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, definitions, entry, lay, read, vcxproj

POOL = "execute-pool-type"
GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
BAD = "#include <ntddk.h>\nPVOID F(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
CHOSEN = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")
PROJECT = '<Project xmlns="http://schemas.microsoft.com/developer/msbuild/2003">{}</Project>'


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


def items(text):
    return f"<ItemGroup>{text}</ItemGroup>"


def properties(text):
    return f"<PropertyGroup>{text}</PropertyGroup>"


def more(condition):
    """A file that is compiled under a condition."""
    return items(f'<ClCompile Include="more.c" Condition="{condition}" />')


# ---- drivers that the toolset of applications builds

LINKED = [
    definitions("Driver", element="Driver", item="Link"),
    definitions("/DRIVER /NODEFAULTLIB", element="AdditionalOptions", item="Link"),
    definitions("/ENTRY:&quot;DriverEntry&quot;", element="AdditionalOptions", item="Link"),
    definitions("DriverEntry", element="EntryPointSymbol", item="Link"),
    properties("<TargetExt>.sys</TargetExt>"),
    definitions("Native", element="SubSystem", item="Link")
    + definitions("ntoskrnl.lib;hal.lib", element="AdditionalDependencies", item="Link"),
]


@pytest.mark.parametrize("kind", ["Application", "DynamicLibrary"])
@pytest.mark.parametrize("extra", LINKED)
def test_a_driver_that_is_called_a_program(tmp_path, kind, extra):
    lay(tmp_path, d__c=BAD, d__vcxproj=vcxproj("d.c", type=kind, driver="", extra=extra))
    assert POOL in bad(read(tmp_path))


@pytest.mark.parametrize(
    "extra",
    [
        "",
        definitions("NotSet", element="Driver", item="Link"),
        definitions("Native", element="SubSystem", item="Link"),
        definitions("wmain", element="EntryPointSymbol", item="Link"),
    ],
)
def test_a_program_is_no_driver(tmp_path, extra):
    lay(tmp_path, d__c=BAD, d__vcxproj=vcxproj("d.c", type="Application", driver="", extra=extra))
    assert POOL not in bad(read(tmp_path))


@pytest.mark.parametrize("driver", ["KMDF", "WDM"])
def test_versions_of_all_frameworks_in_one_sheet(tmp_path, driver):
    both = properties("<UMDF_VERSION_MAJOR>2</UMDF_VERSION_MAJOR>")
    lay(tmp_path, d__c=BAD, d__vcxproj=vcxproj("d.c", driver=driver, extra=both))
    assert POOL in bad(read(tmp_path))


# ---- what conditions ask


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("'$(PlatformTarget)' == 'x64'", True),
        ("'$(PlatformShortName)' == 'x64'", True),
        ("'$(PlatformArchitecture)' == '64'", True),
        ("'$(DDKPlatform)' == 'x64'", True),
        ("'$(DDKPlatform)' == 'arm64'", False),
        ("'$(TargetName)' == 'd'", True),
        ("$(Configuration.Contains('Release'))", True),
        ("$(Configuration.Contains('release'))", False),
        ("$([System.String]::Copy('$(Configuration)').Contains('Rel'))", True),
        ("'$([System.String]::Copy($(Configuration)).ToLower())' == 'release'", True),
        ("'$([System.String]::Concat('a', $(Platform)))' == 'ax64'", True),
        ("'$([System.String]::Copy('a').Nothing())' == 'a'", None),
        ("'$(WindowsTargetPlatformVersion)' != ''", None),
        ("'$(VCToolsVersion)' &gt;= '14.3'", None),
        ("'$(Made)' == 'x'", None),
    ],
)
def test_a_condition_of_a_file(tmp_path, condition, expected):
    made = properties("<Made>$([System.Guid]::NewGuid())</Made>")
    lay(tmp_path, d__c=GOOD, more__c=BAD)
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=made + more(condition)))
    evidence = read(tmp_path)
    assert (POOL in bad(evidence)) is (expected is True)
    assert bool(weighing(evidence)) is (expected is None)


def test_what_is_made_by_a_function_and_said_anew_is_clear(tmp_path):
    made = properties("<Made>$([System.Guid]::NewGuid())</Made><Made>x</Made>")
    lay(tmp_path, d__c=GOOD, more__c=BAD)
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=made + more("'$(Made)' == 'x'")))
    assert POOL in bad(read(tmp_path))


@pytest.mark.parametrize("name", ["Filename)' == 'd'", "Extension)' == '.c'", "Identity)' != ''"])
def test_a_condition_on_the_file_itself(tmp_path, name):
    text = f'<PreprocessorDefinitions Condition="\'%({name}">BAD</PreprocessorDefinitions>'
    item = items(f'<ClCompile Include="d.c">{text}</ClCompile>')
    lay(tmp_path, d__c=CHOSEN, d__vcxproj=vcxproj(extra=item))
    assert POOL in bad(read(tmp_path))
    group = f"<ItemDefinitionGroup><ClCompile>{text}</ClCompile></ItemDefinitionGroup>"
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=group))
    assert ["could not be followed" in one for one in weighing(read(tmp_path))] == [True]


@pytest.mark.parametrize("value", ["[System.Environment]::GetEnvironmentVariable('X')", "Made"])
@pytest.mark.parametrize(
    "element", ["PreprocessorDefinitions", "AdditionalOptions", "ForcedIncludeFiles"]
)
def test_a_function_in_what_the_compiler_is_told(tmp_path, value, element):
    made = properties("<Made>$([System.Guid]::NewGuid())</Made>")
    option = made + definitions(f"$({value})", element=element)
    lay(tmp_path, d__c=CHOSEN, d__vcxproj=vcxproj("d.c", extra=option))
    assert ["could not be followed" in one for one in weighing(read(tmp_path))] == [True]


def test_a_function_in_the_names_of_files(tmp_path):
    item = items('<ClCompile Include="$([System.Guid]::NewGuid()).c" />')
    lay(tmp_path, d__c=GOOD, d__vcxproj=vcxproj("d.c", extra=item))
    assert any("could not be followed" in one for one in weighing(read(tmp_path)))


# ---- targets

CHANGE = "<PreprocessorDefinitions>BAD;%(ClCompile.PreprocessorDefinitions)"
CHANGE = f"<ItemGroup><ClCompile{{}}>{CHANGE}</PreprocessorDefinitions></ClCompile></ItemGroup>"


@pytest.mark.parametrize("condition", ["", " Condition=\"'%(Filename)' == 'd'\""])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_target_that_changes_how_files_are_compiled(tmp_path, condition, place):
    target = f'<Target Name="T" BeforeTargets="ClCompile">{CHANGE.format(condition)}</Target>'
    project = vcxproj("d.c", extra=target if place == "before" else "")
    if place == "behind":
        project = project.replace("</Project>", f"{target}</Project>")
    lay(tmp_path, d__c=CHOSEN, d__vcxproj=project)
    evidence = read(tmp_path)
    assert POOL in bad(evidence)
    assert not weighing(evidence)


def test_a_target_that_changes_other_files(tmp_path):
    change = CHANGE.format(" Condition=\"'%(Filename)' == 'other'\"")
    target = f'<Target Name="T" BeforeTargets="ClCompile">{change}</Target>'
    lay(tmp_path, d__c=CHOSEN, d__vcxproj=vcxproj("d.c", extra=target))
    assert not bad(read(tmp_path))


def test_a_target_that_nothing_runs_may_change_something(tmp_path):
    target = f'<Target Name="T">{CHANGE.format("")}</Target>'
    lay(tmp_path, d__c=CHOSEN, d__vcxproj=vcxproj("d.c", extra=target))
    assert ["if anything runs it" in one for one in weighing(read(tmp_path))] == [True]


def test_properties_of_a_target_hold_for_its_items(tmp_path):
    inner = properties("<Name>more</Name>") + items('<ClCompile Include="$(Name).c" />')
    target = f'<Target Name="T" BeforeTargets="ClCompile">{inner}</Target>'
    lay(tmp_path, d__c=GOOD, more__c=BAD, d__vcxproj=vcxproj("d.c", extra=target))
    assert POOL in bad(read(tmp_path))


@pytest.mark.parametrize(
    "task",
    [
        '<CreateItem Include="more.c"><Output TaskParameter="Include" ItemName="ClCompile" />'
        "</CreateItem>",
        '<CL Sources="more.c" />',
    ],
)
def test_a_task_that_says_what_is_compiled(tmp_path, task):
    target = f'<Target Name="T" BeforeTargets="ClCompile">{task}</Target>'
    lay(tmp_path, d__c=GOOD, d__vcxproj=vcxproj("d.c", extra=target))
    assert ["a task of the target T" in one for one in weighing(read(tmp_path))] == [True]


@pytest.mark.parametrize("item", ["Link", "Lib", "Object", "Library"])
def test_an_object_that_a_target_links(tmp_path, item):
    inner = f'<Exec Command="ml64 /c low.asm" />{items(f"""<{item} Include="low.obj" />""")}'
    target = f'<Target Name="T" BeforeTargets="Link">{inner}</Target>'
    lay(tmp_path, d__c=GOOD, d__vcxproj=vcxproj("d.c", extra=target))
    assert any("low.obj" in one for one in weighing(read(tmp_path)))


# ---- files


@pytest.mark.parametrize("is_first", [True, False])
def test_a_file_that_is_compiled_twice(tmp_path, is_first):
    item = '<ClCompile Include="d.c"><ObjectFileName>x.obj</ObjectFileName>'
    item += "<PreprocessorDefinitions>BAD</PreprocessorDefinitions></ClCompile>"
    plain = '<ClCompile Include="d.c" />'
    every = items(item + plain if is_first else plain + item)
    lay(tmp_path, d__c=CHOSEN, d__vcxproj=vcxproj(extra=every))
    assert POOL in bad(read(tmp_path))


@pytest.mark.parametrize("way", ["item", "property"])
def test_a_long_list_of_files(tmp_path, way):
    names = [f"{'f' * 60}{at}.c" for at in range(400)]
    lay(tmp_path, **{name.replace(".", "__"): "int x;" for name in names}, d__c=GOOD, more__c=BAD)
    text = ";".join((*names, "more.c"))
    made = properties(f"<Names>{text}</Names>") if way == "property" else ""
    item = items(f'<ClCompile Include="{"$(Names)" if made else text}" />')
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=made + item))
    evidence = read(tmp_path)
    assert POOL in bad(evidence)
    assert not weighing(evidence)


def test_a_text_without_end(tmp_path):
    grown = "".join(f"<A{at}>$(A{at - 1})$(A{at - 1})</A{at}>" for at in range(1, 30))
    made = properties(f"<A0>ab.c;</A0>{grown}") + definitions("$(A29)")
    lay(tmp_path, d__c=GOOD, d__vcxproj=vcxproj("d.c", extra=made))
    assert any("[a text of more than" in one for one in weighing(read(tmp_path)))


def test_more_imports_than_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.source.builds.msbuild.projects.MAX_IMPORTS", 3)
    lay(tmp_path, d__c=GOOD, more__c=BAD, z__props=PROJECT.format(more("true")))
    lay(tmp_path, **{f"p{at}__props": PROJECT.format("") for at in range(3)})
    names = [*(f"p{at}" for at in range(3)), "z"]
    imports = "".join(f'<Import Project="{name}.props" />' for name in names)
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=imports))
    assert ["imports more than 3 files" in one for one in weighing(read(tmp_path))] == [True]


def test_a_sheet_that_cannot_be_read_may_say_what_is_compiled(tmp_path):
    lay(tmp_path, d__c=GOOD, broken__props="<Project>")
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra='<Import Project="broken.props" />'))
    assert ["not well-formed" in one for one in weighing(read(tmp_path))] == [True]


def test_folders_of_headers_in_a_property(tmp_path):
    text = "#include <ntddk.h>\n#include <cfg.h>\n" + GOOD.replace("NonPagedPoolNx", "P")
    lay(tmp_path, one___cfg__h="#define P NonPagedPool\n", z___z___cfg__h="#define P PagedPool\n")
    path = properties("<IncludePath>$(ProjectDir)one;$(IncludePath)</IncludePath>")
    lay(tmp_path, d__c=text, d__vcxproj=vcxproj("d.c", extra=path))
    assert POOL in bad(read(tmp_path))


DEFAULTS = '<Import Project="$(VCTargetsPath)\\Microsoft.Cpp.Default.props" />'


@pytest.mark.parametrize(
    ("before", "expected"),
    [("", True), ("<ImportDirectoryBuildProps>false</ImportDirectoryBuildProps>", False)],
)
def test_a_shared_sheet_that_a_project_does_not_want(tmp_path, before, expected):
    project = vcxproj("d.c", extra=properties(before) + DEFAULTS)
    shared = PROJECT.format(definitions("BAD"))
    lay(tmp_path, Directory__Build__props=shared, d___d__c=CHOSEN, d___d__vcxproj=project)
    assert (POOL in bad(read(tmp_path))) is expected


# ---- solutions

SLNF = '{"solution": {"path": "sub\\\\a.sln", "projects": ["..\\\\d\\\\d.vcxproj", "x.wixproj"]}}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.slnx", "<Solution><Project Path='d/d.vcxproj' /></Solution>"),
        ("a.sln", '\tProject("{8}") = "d", "d\\d.VCXPROJ", "{1}"\nEndProject\n'),
        ("f.slnf", SLNF),
    ],
)
def test_a_project_of_a_solution(tmp_path, name, text):
    lay(tmp_path, d___d__c=BAD, d___d__vcxproj=vcxproj("d.c"))
    (tmp_path / name).write_text(text)
    assert POOL in bad(read(tmp_path / name))


OLD = '<VisualStudioProject><Tool Name="VCLinkerTool" OutputFile="d.sys" /></VisualStudioProject>'


@pytest.mark.parametrize("target", [".", "a.sln", "old/d.vcproj"])
def test_a_project_of_before_2010_is_named(tmp_path, target):
    solution = 'Project("{8}") = "d", "old\\d.vcproj", "{1}"\nEndProject\n'
    solution += 'Project("{8}") = "n", "new\\n.vcxproj", "{2}"\nEndProject\n'
    lay(tmp_path, a__sln=solution, old___d__c=BAD, old___d__vcproj=OLD)
    lay(tmp_path, new___n__c=GOOD, new___n__vcxproj=vcxproj("n.c"))
    assert ["before 2010" in one for one in weighing(read(tmp_path / target))] == [True]
    lay(tmp_path, old___d__vcxproj=vcxproj("d.c"))
    if target == ".":
        assert not weighing(read(tmp_path))


CHOICE = "#ifdef OLD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOOSING = CHOICE + entry("ExAllocatePoolWithTag(P, 8, 'a');")


def open_reasons(folder, text=CHOOSING, extra=""):
    """Why a project leaves everything open."""
    lay(folder, d__c=text, d__vcxproj=vcxproj("d.c", extra=extra))
    found = [one for one in read(folder).limits if set(TEXT_RULES) <= set(one.rules)]
    return [one.reason for one in found]


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("PreprocessorDefinitions", "$(MY_DEFINES);%(PreprocessorDefinitions)"),
        ("PreprocessorDefinitions", "A;$(MY_DEFINES)"),
        ("UndefinePreprocessorDefinitions", "$(MY_DEFINES)"),
        ("AdditionalOptions", "/W4 $(MY_DEFINES) %(AdditionalOptions)"),
        ("PreprocessorDefinitions", "OLD=$(MY_DEFINES)"),
    ],
)
def test_what_only_the_environment_sets(tmp_path, element, value):
    (reason,) = open_reasons(tmp_path, extra=definitions(value, element=element))
    assert "$(MY_DEFINES)" in reason


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("PreprocessorDefinitions", "$(PreprocessorDefinitions);A"),
        ("PreprocessorDefinitions", "BUILD_NUMBER=$(MY_DEFINES)"),
        ("PreprocessorDefinitions", "KMDF_VERSION_MINOR=$(KMDF_VERSION_MINOR)"),
        ("AdditionalIncludeDirectories", "$(MY_DEFINES)"),
    ],
)
def test_what_is_known_or_does_not_matter(tmp_path, element, value):
    assert not open_reasons(tmp_path, extra=definitions(value, element=element))


def test_a_property_that_the_tree_sets(tmp_path):
    extra = "<PropertyGroup><MY_DEFINES>NEW</MY_DEFINES></PropertyGroup>"
    extra += definitions("$(MY_DEFINES)")
    assert not open_reasons(tmp_path, extra=extra)


def test_the_compilers_own_macros_taken_away(tmp_path):
    extra = definitions("true", element="UndefineAllPreprocessorDefinitions")
    assert open_reasons(tmp_path, extra=extra)
    extra = definitions("/u", element="AdditionalOptions")
    assert open_reasons(tmp_path, extra=extra)


def test_a_unity_build_of_a_project(tmp_path):
    extra = "<PropertyGroup><EnableUnitySupport>true</EnableUnitySupport></PropertyGroup>"
    lay(tmp_path, a__c="#define OLD 1\n", d__c=CHOOSING)
    lay(tmp_path, d__vcxproj=vcxproj("a.c", "d.c", extra=extra))
    assert any("OLD" in one.reason for one in read(tmp_path).limits)


def test_what_only_the_environment_sets_for_a_sources_file(tmp_path):
    text = "TARGETNAME=d\nTARGETTYPE=DRIVER\nC_DEFINES=$(C_DEFINES) {}\nSOURCES=d.c\n"
    lay(tmp_path, d__c=CHOOSING, sources=text.format("$(MY_DEFINES)"))
    assert any("$(MY_DEFINES)" in one.reason for one in read(tmp_path).limits)
    lay(tmp_path, sources=text.format("-DX=1"))
    assert not any("may hold" in one.reason for one in read(tmp_path).limits)


@pytest.mark.parametrize(
    ("value", "element"),
    [
        ("Get(n)=ExAllocatePoolWithTag(NonPagedPool,n,1)", "PreprocessorDefinitions"),
        (
            "/D&quot;Get(n)=ExAllocatePoolWithTag(NonPagedPool,n,1)&quot;",
            "AdditionalOptions",
        ),
    ],
)
def test_a_macro_with_parameters_that_a_project_defines(tmp_path, value, element):
    (tmp_path / "d.c").write_text(entry("Get(8);"))
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=definitions(value, element=element)))
    assert any("ExAllocatePoolWithTag" in one.reason for one in read(tmp_path).limits)


def test_a_value_of_a_macro_with_parameters(tmp_path):
    extra = definitions("KIND(x)=NonPagedPool")
    (tmp_path / "d.c").write_text(entry("ExAllocatePoolWithTag(KIND(1), 8, 'a');"))
    assert POOL in bad(read(lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra))))
