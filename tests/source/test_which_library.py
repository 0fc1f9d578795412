"""Which project makes a library that is linked, and what attributes and conditions say of files."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Answer, Question
from hvci.model.judged import TEXT_RULES
from sources import bad, definitions, entry, lay, read, vcxproj

GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
PART = "#include <ntddk.h>\nPVOID F(void) {{ return ExAllocatePoolWithTag({}, 8, 'b'); }}\n"
UTIL = vcxproj("u.c", type="StaticLibrary")
KINDS = {"a": "NonPagedPool", "b": "NonPagedPoolNx"}


def links(name):
    return definitions(name, element="AdditionalDependencies", item="Link")


def answers(folder):
    """What each driver would do in the readiness test."""
    reports = evaluate_drivers(folder, Options())
    return {one.target.path.rpartition("/")[2]: one.answers[Question.READINESS] for one in reports}


@pytest.mark.parametrize(
    ("written", "places", "expected"),
    [
        ("util.lib", "{}/lib", (Answer.NO, Answer.YES)),
        ("util.lib", "lib{}", (Answer.UNDECIDED, Answer.UNDECIDED)),
        ("..\\lib{}\\x64\\util.lib", "lib{}", (Answer.NO, Answer.YES)),
        ("..\\out\\util.lib", "lib{}", (Answer.UNDECIDED, Answer.UNDECIDED)),
    ],
)
def test_libraries_of_one_name(tmp_path, written, places, expected):
    for of, kind in KINDS.items():
        place, extra = places.format(of), links(written.format(of))
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / of).mkdir(exist_ok=True)
        (tmp_path / place / "util.vcxproj").write_text(UTIL)
        (tmp_path / place / "u.c").write_text(PART.format(kind))
        (tmp_path / of / f"{of}.vcxproj").write_text(vcxproj("d.c", extra=extra))
        (tmp_path / of / "d.c").write_text(GOOD)
    found = answers(tmp_path)
    assert (found["a.vcxproj"], found["b.vcxproj"]) == expected


def test_one_library_of_a_name_is_linked_from_wherever_it_is(tmp_path):
    lay(tmp_path, a___a__vcxproj=vcxproj("d.c", extra=links("util.lib")), a___d__c=GOOD)
    lay(tmp_path, x___y___util__vcxproj=UTIL, x___y___u__c=PART.format("NonPagedPool"))
    assert answers(tmp_path) == {tmp_path.name: Answer.NO}


REFERENCE = (
    '<ItemGroup><ProjectReference Include="..\\l\\util.vcxproj">{}</ProjectReference></ItemGroup>'
)


@pytest.mark.parametrize(("said", "expected"), [("true", True), ("", True), ("false", False)])
def test_a_reference_that_links_nothing(tmp_path, said, expected):
    said = f"<LinkLibraryDependencies>{said}</LinkLibraryDependencies>"
    lay(tmp_path, a___a__vcxproj=vcxproj("d.c", extra=REFERENCE.format(said)), a___d__c=GOOD)
    lay(tmp_path, l___util__vcxproj=UTIL, l___u__c=PART.format("NonPagedPool"))
    assert ("execute-pool-type" in bad(read(tmp_path / "a/a.vcxproj"))) is expected


CHOSEN = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
DRIVER = CHOSEN + entry("ExAllocatePoolWithTag(P, 8, 'a');")
ITEM = '<ItemGroup><ClCompile Include="d.c" {} /></ItemGroup>'
OF_ALL = "<ItemDefinitionGroup><ClCompile {} /></ItemDefinitionGroup>"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (ITEM.format('PreprocessorDefinitions="BAD;%(PreprocessorDefinitions)"'), True),
        (ITEM.format('AdditionalOptions="/DBAD"'), True),
        (ITEM.format('PreprocessorDefinitions="OTHER"'), False),
        (ITEM.format("Label=\"BAD\" KeepDuplicates='false'"), False),
        (OF_ALL.format('PreprocessorDefinitions="BAD"') + ITEM.format(""), True),
        (OF_ALL.format('PreprocessorDefinitions="OTHER"') + ITEM.format(""), False),
    ],
)
def test_metadata_in_attributes(tmp_path, extra, expected):
    lay(tmp_path, d__vcxproj=vcxproj(extra=extra), d__c=DRIVER)
    assert ("execute-pool-type" in bad(read(tmp_path))) is expected


def test_a_file_that_an_attribute_leaves_out(tmp_path):
    extra = ITEM.format("") + ITEM.replace("d.c", "u.c").format('ExcludedFromBuild="true"')
    lay(tmp_path, d__vcxproj=vcxproj(extra=extra), d__c=GOOD, u__c=PART.format("NonPagedPool"))
    assert "execute-pool-type" not in bad(read(tmp_path))


ASKS = "'$(KIND)'=='1'"
CHILD = f'<PreprocessorDefinitions Condition="{ASKS}">BAD</PreprocessorDefinitions>'
SETS = "<PropertyGroup><D Condition=\"'$(D)'==''\">X</D></PropertyGroup>" + definitions("$(D)")
OF_FILE = f'<ItemGroup><ClCompile Include="d.c">{CHILD}</ClCompile></ItemGroup>'
DEFAULT = "<PropertyGroup><KIND Condition=\"'$(KIND)'==''\">0</KIND></PropertyGroup>"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (definitions("BAD", ASKS), True),
        (definitions("BAD", "'$(KIND)'!='' and '$(Platform)'=='x64'"), True),
        (definitions("OTHER", ASKS), False),
        (definitions("BAD", "'$(WDKContentRoot)'=='1'"), False),
        (definitions("BAD", "'$(Configuration)'=='Debug'"), False),
        (DEFAULT + definitions("BAD", ASKS), False),
        (f"<ItemDefinitionGroup><ClCompile>{CHILD}</ClCompile></ItemDefinitionGroup>", True),
        (
            f'<ItemDefinitionGroup><ClCompile Condition="{ASKS}"><PreprocessorDefinitions>BAD'
            "</PreprocessorDefinitions></ClCompile></ItemDefinitionGroup>",
            True,
        ),
        (definitions("4", ASKS, element="WarningLevel"), False),
        (definitions("/DBAD", ASKS, element="AdditionalOptions"), True),
        (definitions("/O2", ASKS, element="AdditionalOptions"), False),
        (f'<Import Project="bad.props" Condition="{ASKS}" />', True),
        (f'<ImportGroup Condition="{ASKS}"><Import Project="bad.props" /></ImportGroup>', True),
        (f'<Import Project="gone.props" Condition="{ASKS}" />', False),
        (f'<PropertyGroup Condition="{ASKS}"><D>BAD</D></PropertyGroup>' + SETS, True),
        (f'<PropertyGroup><D Condition="{ASKS}">BAD</D></PropertyGroup>' + SETS, True),
        (f'<PropertyGroup><D Condition="{ASKS}">BAD</D></PropertyGroup>', False),
    ],
)
def test_conditions_that_only_the_environment_decides(tmp_path, extra, told):
    sheet = f"<Project>{definitions('BAD')}</Project>"
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra), d__c=DRIVER, bad__props=sheet)
    every = (one for one in read(tmp_path).limits if set(TEXT_RULES) <= set(one.rules))
    assert ["$(KIND) may hold the value of BAD" in one.reason for one in every] == [True] * told


def test_a_condition_of_one_file(tmp_path):
    lay(tmp_path, d__vcxproj=vcxproj(extra=OF_FILE), d__c=DRIVER)
    reasons = [one.reason for one in read(tmp_path).limits]
    assert any("$(KIND) may hold the value of BAD" in one for one in reasons)


@pytest.mark.parametrize("text", ["{", "[]", '{"solution": {}}', '{"solution": {"path": "a.sln"}}'])
def test_a_filter_that_is_none(tmp_path, text):
    (tmp_path / "f.slnf").write_text(text)
    lay(tmp_path, d__vcxproj=vcxproj("d.c"), d__c=GOOD)
    assert any("no filter" in one.reason for one in read(tmp_path).limits)


@pytest.mark.parametrize(
    ("item", "element", "value", "told"),
    [
        ("Link", "AdditionalOptions", "$(MINE) %(AdditionalOptions)", True),
        ("Link", "AdditionalOptions", "/NODEFAULTLIB %(AdditionalOptions)", False),
        ("Link", "AdditionalOptions", "/LIBPATH:$(WDKContentRoot)lib", False),
        ("Link", "AdditionalOptions", "/LIBPATH:$(MINE)", False),
        ("Lib", "AdditionalOptions", "$(MINE)", False),
    ],
)
def test_options_of_the_linker_that_only_the_environment_sets(tmp_path, item, element, value, told):
    extra = definitions(value, element=element, item=item)
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra), d__c=GOOD)
    reasons = [one.reason for one in read(tmp_path).limits]
    assert any("$(MINE), which nothing here sets" in one for one in reasons) is told


def test_a_forced_header_that_the_environment_decides_about(tmp_path):
    extra = definitions("f.h", ASKS, element="ForcedIncludeFiles")
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra), d__c=DRIVER, f__h="#define BAD\n")
    reasons = [one.reason for one in read(tmp_path).limits]
    assert any("$(KIND) may hold definitions" in one for one in reasons)
