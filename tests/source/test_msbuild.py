"""MSBuild: property sheets wherever they are, however they are named, from wherever one asks."""

import json

import pytest

from hvci.evaluate import evaluate
from hvci.report.document import Document
from hvci.report.encode import to_json
from sources import bad, definitions, entry, lay, read, vcxproj

PLAIN = entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
SHEET = f"<Project>{definitions('POOL_NX_OPTIN_AUTO=1')}</Project>"
PATHS = [
    "$(ProjectDir)..\\props\\nx.props",
    "$(SolutionDir)props\\nx.props",
    "$(MSBuildThisFileDirectory)..\\props\\nx.props",
    "$(MSBuildProjectDirectory)\\..\\props\\nx.props",
    "..\\props\\nx.props",
    "..\\PROPS\\NX.props",
    "$(Sheets)\\nx.props",
    "..\\props\\*.props",
    "$([MSBuild]::GetDirectoryNameOfFileAbove($(ProjectDir), all.sln))\\props\\nx.props",
    "$([MSBuild]::GetPathOfFileAbove('mark.props', '$(MSBuildThisFileDirectory)'))",
    "$([System.IO.Path]::Combine('$(ProjectDir)', '..', 'props', 'nx.props'))",
    "$(SolutionDir.TrimEnd('\\'))\\props\\$(MSBuildProjectName).props",
]


def tree(folder, path, **more):
    """A driver whose project imports a property sheet."""
    extra = "<PropertyGroup><Sheets>$(ProjectDir)..\\props</Sheets></PropertyGroup>"
    project = vcxproj("drv.c", extra=f'{extra}<Import Project="{path}" />')
    lay(folder, drv___nx__vcxproj=project, drv___drv__c=PLAIN, props___nx__props=SHEET, all__sln="")
    return lay(folder, mark__props=SHEET, **more)


@pytest.mark.parametrize("path", PATHS)
def test_imports_over_well_known_properties(tmp_path, monkeypatch, path):
    tree(tmp_path / "t", path)
    monkeypatch.chdir(tmp_path)
    for target in ("t", tmp_path / "t", "t/drv/nx.vcxproj", tmp_path / "t" / "drv" / "nx.vcxproj"):
        assert not bad(read(target)), target
    monkeypatch.chdir(tmp_path / "t" / "drv")
    for target in (".", "nx.vcxproj", "..", "drv.c"):
        assert not bad(read(target)), target


def output(target):
    """The JSON report of a target, without the time it took."""
    document = json.loads(to_json(Document((evaluate(target),))))
    document["reports"][0].pop("seconds")
    return json.dumps(document, indent=1)


@pytest.mark.parametrize("path", [PATHS[0], "lost.props", "$(Unknown)\\lost.props"])
def test_a_relative_and_an_absolute_target_give_the_same(tmp_path, monkeypatch, path):
    tree(tmp_path / "t", path)
    monkeypatch.chdir(tmp_path)
    assert output("t") == output(tmp_path / "t").replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    "path", ["lost.props", "$(Unknown)\\lost.props", "$(ProjectDir)lost.props"]
)
def test_an_import_that_is_not_found_is_named(tmp_path, path):
    evidence = read(tree(tmp_path, path))
    (limit,) = [one for one in evidence.limits if "lost.props" in one.reason]
    assert path in limit.reason
    assert limit.rules


@pytest.mark.parametrize(
    "path",
    [
        "$(VCTargetsPath)\\Microsoft.Cpp.props",
        "$(UserRootDir)\\Microsoft.Cpp.$(Platform).user.props",
        "$(MSBuildExtensionsPath32)\\x.targets",
    ],
)
def test_imports_of_the_toolset_are_not_missed(tmp_path, path):
    assert not any(path in one.reason for one in read(tree(tmp_path, path)).limits)


def test_an_import_under_a_condition_that_fails(tmp_path):
    evidence = read(tree(tmp_path, "lost.props\" Condition=\"Exists('lost.props')"))
    assert not any("lost" in one.reason for one in evidence.limits)


@pytest.mark.parametrize("name", ["Directory.Build.props", "Directory.Build.targets"])
@pytest.mark.parametrize("level", ["", "a/", "a/b/"])
def test_shared_files_upwards(tmp_path, monkeypatch, name, level):
    lay(tmp_path, a___b___drv__vcxproj=vcxproj("drv.c"), a___b___drv__c=PLAIN)
    (tmp_path / f"{level}{name}").write_text(SHEET)
    assert not bad(read(tmp_path))
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert not bad(read("drv.vcxproj"))


def test_a_chain_of_sheets(tmp_path):
    first = '<Project><Import Project="$(MSBuildThisFileDirectory)inner\\two.props" /></Project>'
    second = '<Project><Import Project="..\\nx.props" /></Project>'
    tree(
        tmp_path,
        "..\\props\\one.props",
        props___one__props=first,
        props___inner___two__props=second,
    )
    assert not bad(read(tmp_path))
