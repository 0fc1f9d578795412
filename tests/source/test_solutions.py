"""Which configurations of its projects a solution builds, and builds together."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Verdict
from sources import definitions, entry, lay, read, vcxproj

POOL = "execute-pool-type"
KIND = """#include <ntddk.h>
#ifdef LEGACY
#define KIND NonPagedPool
#else
#define KIND NonPagedPoolNx
#endif
"""
HELPER = KIND + "PVOID Helper(VOID) { return ExAllocatePoolWithTag(KIND, 8, 'a'); }\n"
CALLS = entry("Helper();")
BAD = entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
GOOD = BAD.replace("NonPagedPool", "NonPagedPoolNx")
RELEASE, LEGACY = "Release|x64", "Legacy|x64"
OLD = definitions("LEGACY", "'$(Configuration)'=='Legacy'")
UIDS = {"drv": "{A0000000-0000-0000-0000-000000000001}", "lib": "{b}", "old": "{C}"}


def project(*files, configurations=(RELEASE,), extra="", **rest):
    """A project with some configurations."""
    text = vcxproj(*files, extra=extra, **rest)
    found = "".join(f'<ProjectConfiguration Include="{one}" />' for one in configurations)
    return text.replace('<ProjectConfiguration Include="Release|x64" />', found)


def refers(inner=""):
    """A reference to the library."""
    item = f'<ProjectReference Include="..\\lib\\lib.vcxproj">{inner}</ProjectReference>'
    return f"<ItemGroup>{item}</ItemGroup>"


def sln(maps, *also):
    """A solution; `maps` tell for each of its configurations what is built of a project."""
    names = {name: None for way in maps.values() for name in way} | dict.fromkeys(also)
    lines = [
        f'Project("{{8}}") = "{name}", "{name}\\{name}.vcxproj", "{UIDS[name]}"\nEndProject'
        for name in names
    ]
    for configuration, way in maps.items():
        for name, label in way.items():
            key = f"\t\t{UIDS[name].upper()}.{configuration}"
            lines += [f"{key}.ActiveCfg = {label.removeprefix('-')}"]
            lines += [] if label[:1] == "-" else [f"{key}.Build.0 = {label}"]
    return "\n".join(lines)


def slnx(*rules, platform="x64"):
    """A solution in XML, with what it says of the library."""
    configurations = (
        f'<BuildType Name="Release" /><BuildType Name="Ship" /><Platform Name="{platform}" />'
    )
    drv = '<BuildType Solution="Ship|*" Project="Release" />'
    return (
        f"<Solution><Configurations>{configurations}</Configurations>"
        f'<Folder Name="/a/"><Project Path="drv\\drv.vcxproj">{drv}</Project></Folder>'
        f'<Project Path="lib/lib.vcxproj">{"".join(rules)}</Project></Solution>'
    )


def laid(folder, reference="", driver=(RELEASE,), library=(RELEASE, LEGACY), helper=OLD):
    """A driver that links a library which asks for other memory in another configuration."""
    lay(folder, drv___drv__c=CALLS, lib___lib__c=HELPER)
    lay(folder, drv___drv__vcxproj=project("drv.c", configurations=driver, extra=refers(reference)))
    made = project("lib.c", configurations=library, type="StaticLibrary", extra=helper)
    return lay(folder, lib___lib__vcxproj=made)


def verdicts(path):
    """The verdict on each driver of a target, and the limits with the rules that they weaken."""
    reports = evaluate_drivers(path, Options())
    told = {one.reason: one.rules for report in reports for one in report.limits}
    return [report.verdict for report in reports], told


TARGETS = ("", "all.sln", "drv/drv.vcxproj")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("label", [RELEASE, LEGACY])
def test_a_library_is_linked_as_the_solution_builds_it(tmp_path, target, label):
    laid(tmp_path)
    lay(tmp_path, all__sln=sln({RELEASE: {"drv": RELEASE, "lib": label}}))
    found, _ = verdicts(tmp_path / target)
    assert found == [Verdict.INCOMPATIBLE if label == LEGACY else Verdict.COMPATIBLE]


@pytest.mark.parametrize("target", TARGETS)
def test_the_configuration_of_the_same_name_is_not_linked_then(tmp_path, target):
    laid(tmp_path, helper=OLD.replace("Legacy", "Release"))
    lay(tmp_path, all__sln=sln({RELEASE: {"drv": RELEASE, "lib": LEGACY}}))
    assert verdicts(tmp_path / target)[0] == [Verdict.COMPATIBLE]


@pytest.mark.parametrize("target", TARGETS)
def test_every_way_in_which_a_solution_builds_a_driver(tmp_path, target):
    laid(tmp_path)
    ways = {RELEASE: {"drv": RELEASE, "lib": RELEASE}, "Ship|x64": {"drv": RELEASE, "lib": LEGACY}}
    lay(tmp_path, all__sln=sln(ways))
    assert verdicts(tmp_path / target)[0] == [Verdict.INCOMPATIBLE]


def test_every_solution_of_a_folder(tmp_path):
    laid(tmp_path)
    lay(tmp_path, a__sln=sln({RELEASE: {"drv": RELEASE, "lib": RELEASE}}))
    lay(tmp_path, b__sln=sln({RELEASE: {"drv": RELEASE, "lib": LEGACY}}))
    found = {name: verdicts(tmp_path / name)[0][0] for name in ("", "a.sln", "b.sln", *TARGETS[2:])}
    assert [name for name, one in found.items() if one is Verdict.COMPATIBLE] == ["a.sln"]


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        (['<BuildType Solution="Ship|*" Project="Legacy" />'], Verdict.INCOMPATIBLE),
        (['<BuildType Solution="Ship" Project="Legacy" />'], Verdict.INCOMPATIBLE),
        (['<BuildType Project="Legacy" />'], Verdict.INCOMPATIBLE),
        (['<BuildType Project="Legacy" />', '<BuildType Project="Release" />'], Verdict.COMPATIBLE),
        (['<BuildType Solution="*|x86" Project="Legacy" />'], Verdict.COMPATIBLE),
    ],
)
def test_a_solution_in_xml(tmp_path, rules, verdict):
    laid(tmp_path)
    lay(tmp_path, all__slnx=slnx(*rules))
    assert {verdicts(tmp_path / name)[0][0] for name in ("", "all.slnx")} == {verdict}


def test_a_platform_of_a_solution_in_xml(tmp_path):
    laid(tmp_path, driver=("Release|Win32",), library=("Release|Win32", "Legacy|Win32"))
    lay(tmp_path, all__slnx=slnx('<BuildType Project="Legacy" />', platform="x86"))
    assert verdicts(tmp_path / "all.slnx")[0] == [Verdict.INCOMPATIBLE]


def test_a_filter_has_the_configurations_of_its_solution(tmp_path):
    laid(tmp_path)
    lay(tmp_path, all__sln=sln({RELEASE: {"drv": RELEASE, "lib": LEGACY}}))
    text = '{"solution": {"path": "all.sln", "projects": ["drv\\\\drv.vcxproj"]}}'
    lay(tmp_path, f__slnf=text)
    assert verdicts(tmp_path / "f.slnf")[0] == [Verdict.INCOMPATIBLE]


# ---- what a solution does not build


@pytest.mark.parametrize("label", [f"-{RELEASE}", RELEASE])
def test_a_project_that_the_solution_does_not_build(tmp_path, label):
    lay(tmp_path, drv___drv__c=GOOD, drv___drv__vcxproj=project("drv.c"))
    lay(tmp_path, old___old__c=BAD, old___old__vcxproj=project("old.c"))
    lay(tmp_path, all__sln=sln({RELEASE: {"drv": RELEASE, "old": label}}))
    found, told = verdicts(tmp_path / "all.sln")
    assert (Verdict.INCOMPATIBLE in found) is (label == RELEASE)
    assert any("is not built by it for Release|x64" in one for one in told) is (label != RELEASE)
    assert Verdict.INCOMPATIBLE in verdicts(tmp_path)[0]
    assert verdicts(tmp_path / "old" / "old.vcxproj")[0] == [Verdict.INCOMPATIBLE]


def test_a_configuration_that_the_solution_does_not_build(tmp_path):
    text = HELPER + CALLS
    made = project("drv.c", configurations=(RELEASE, LEGACY), extra=OLD)
    lay(tmp_path, drv___drv__c=text, drv___drv__vcxproj=made)
    lay(tmp_path, all__sln=sln({RELEASE: {"drv": RELEASE}}))
    found, told = verdicts(tmp_path / "all.sln")
    assert found == [Verdict.COMPATIBLE]
    (reason,) = (
        one for one in told if "is not built by it for Legacy|x64, and was not judged" in one
    )
    assert not told[reason]
    assert verdicts(tmp_path)[0] == [Verdict.INCOMPATIBLE]


@pytest.mark.parametrize("label", [RELEASE, f"-{RELEASE}"])
def test_a_project_that_states_no_configuration(tmp_path, label):
    lay(tmp_path, old___old__c=BAD, old___old__vcxproj=project("old.c", configurations=()))
    lay(tmp_path, all__sln=sln({RELEASE: {"old": label}}))
    expected = Verdict.INCOMPATIBLE if label == RELEASE else Verdict.UNDECIDED
    assert verdicts(tmp_path / "all.sln")[0] == [expected]


def test_a_solution_that_builds_no_driver_says_nothing_of_them(tmp_path):
    lay(tmp_path, old___old__c=BAD, old___old__vcxproj=project("old.c"))
    lay(tmp_path, all__sln=sln({RELEASE: {"old": f"-{RELEASE}"}}))
    assert verdicts(tmp_path / "all.sln")[0] == [Verdict.UNDECIDED]


def test_a_solution_that_does_not_say_what_it_builds(tmp_path):
    lay(tmp_path, old___old__c=BAD, old___old__vcxproj=project("old.c"))
    lay(tmp_path, all__sln=sln({}, "old"))
    assert verdicts(tmp_path / "all.sln")[0] == [Verdict.INCOMPATIBLE]


# ---- what a reference says


@pytest.mark.parametrize(
    "said",
    [
        "<SetConfiguration>Configuration={}</SetConfiguration>",
        "<AdditionalProperties>Configuration={};Platform=x64</AdditionalProperties>",
        "<Properties>configuration = {}</Properties><SetPlatform>Platform=x64</SetPlatform>",
    ],
)
@pytest.mark.parametrize("name", ["Legacy", "Release"])
def test_a_reference_that_names_a_configuration(tmp_path, said, name):
    laid(tmp_path, said.format(name))
    expected = Verdict.INCOMPATIBLE if name == "Legacy" else Verdict.COMPATIBLE
    assert verdicts(tmp_path)[0] == [expected]


def test_a_reference_that_sets_another_property(tmp_path):
    laid(tmp_path, "<AdditionalProperties>Old=1</AdditionalProperties>")
    found, told = verdicts(tmp_path)
    assert found == [Verdict.UNDECIDED]
    assert any("sets Old there, which was not followed" in reason for reason in told)


@pytest.mark.parametrize("macro", ["LEGACY", "OTHER"])
def test_a_driver_whose_configuration_has_a_name_of_its_own(tmp_path, macro):
    helper = OLD.replace("LEGACY", macro)
    laid(tmp_path, driver=("Win8 Release|x64",), helper=helper)
    found, told = verdicts(tmp_path)
    assert found == [Verdict.UNDECIDED if macro == "LEGACY" else Verdict.COMPATIBLE]
    assert any("nothing says which configuration" in one for one in told) is (macro == "LEGACY")


BY_NAME = "<ItemDefinitionGroup><Link><AdditionalDependencies>{}</AdditionalDependencies>{}</Link>"
FOLDERS = "<AdditionalLibraryDirectories>{}</AdditionalLibraryDirectories>"


@pytest.mark.parametrize(
    ("name", "folders", "is_old"),
    [
        ("..\\lib\\x64\\Legacy\\lib.lib", "", True),
        ("lib.lib", "..\\lib\\x64\\legacy", True),
        ("lib.lib", "$(DDK);..\\lib\\x64\\Legacy\\", True),
        ("..\\lib\\x64\\$(Configuration)\\lib.lib", "", False),
        ("..\\lib\\x64\\Release\\lib.lib", "..\\Legacy", False),
        ("lib.lib", "..\\lib\\Release;..\\lib\\Legacy", False),
        ("lib.lib", "", False),
    ],
)
def test_the_folder_of_a_library_tells_its_configuration(tmp_path, name, folders, is_old):
    laid(tmp_path)
    link = BY_NAME.format(name, FOLDERS.format(folders)) + "</ItemDefinitionGroup>"
    lay(tmp_path, drv___drv__vcxproj=project("drv.c", extra=link))
    found, told = verdicts(tmp_path)
    assert found == [Verdict.INCOMPATIBLE if is_old else Verdict.COMPATIBLE]
    assert not any("nothing says which configuration" in one for one in told)


# ---- properties of other configurations


@pytest.mark.parametrize(
    "said",
    [
        '<PropertyGroup Condition="{}"><Old>LEGACY</Old></PropertyGroup>',
        '<PropertyGroup><Old Condition="{}">LEGACY</Old></PropertyGroup>',
        '<Choose><When Condition="{}"><PropertyGroup><Old>LEGACY</Old></PropertyGroup></When>'
        "</Choose>",
    ],
)
@pytest.mark.parametrize("name", ["Legacy", "Release", "Other"])
def test_a_property_that_only_another_configuration_sets(tmp_path, said, name):
    extra = said.format(f"'$(Configuration)'=='{name}'") + definitions("$(Old)")
    lay(tmp_path, d__c=HELPER + CALLS, d__vcxproj=project("d.c", extra=extra))
    found, _ = verdicts(tmp_path)
    assert found == [Verdict.INCOMPATIBLE if name == "Release" else Verdict.COMPATIBLE]


def test_a_property_that_nobody_sets_is_open(tmp_path):
    lay(tmp_path, d__c=HELPER + CALLS, d__vcxproj=project("d.c", extra=definitions("$(Old)")))
    assert any("$(Old) may hold" in limit.reason for limit in read(tmp_path).limits)
