"""One tree named in every way: a folder, a solution, a project, a file; from anywhere."""

import os
from pathlib import Path

import pytest

from hvci.rules import executable
from sources import definitions, lay, read, vcxproj

ALLOCATE = """#include <ntddk.h>
#include "kind.h"
PVOID {0}(VOID) {{ return ExAllocatePoolWithTag(KIND, 8, 'a'); }}
"""
SLN = 'Project("{{1}}") = "{0}", "{0}\\{0}.vcxproj", "{{2}}"\nEndProject\n'
WAYS = {
    ".": {"one", "two", "shared"},
    "all.sln": {"one", "two", "shared"},
    "one": {"one", "shared"},
    "one/one.vcxproj": {"one", "shared"},
    "two/two.vcxproj": {"two"},
    "one/one.c": {"one"},
    "shared/shared.c": {"shared"},
    "two/two.c": {"two"},
}
"""Ways to name the tree or a part, and the files whose calls each must show."""


@pytest.fixture
def tree(tmp_path):
    for name in ("one", "two", "shared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.c").write_text(ALLOCATE.format(name.title()))
    lay(tmp_path, all__sln="".join(SLN.format(name) for name in ("one", "two")))
    lay(tmp_path, kind__h="#ifdef NX\n#define KIND NonPagedPoolNx\n#else\n#define KIND 0\n#endif\n")
    folders = definitions("$(SolutionDir);..", element="AdditionalIncludeDirectories")
    nx = definitions("NX") + folders
    lay(tmp_path / "one", one__vcxproj=vcxproj("one.c", "..\\shared\\shared.c", extra=folders))
    lay(tmp_path / "two", two__vcxproj=vcxproj("two.c", extra=nx))
    return tmp_path


def told(path):
    """What is said of each call, by the file and the line it really stands in."""
    return {
        (str(Path(call.site.path).resolve()), call.site.line, call.ddi): (
            executable(call),
            call.dead,
            {name: (value.possible, value.complete) for name, value in call.arguments.items()},
        )
        for call in read(path).calls
    }


@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_way_to_name_a_unit_says_the_same_of_it(tree, way):
    whole, part = told(tree), told(tree / way)
    assert {Path(path).stem for path, _, _ in part} == WAYS[way]
    assert part == {key: value for key, value in whole.items() if key in part}
    values = {Path(path).name: one[2]["PoolType"] for (path, _, _), one in whole.items()}
    assert values == {"one.c": ({0}, True), "shared.c": ({0}, True), "two.c": ({512}, True)}


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("start", [".", "one", "two/.."])
def test_where_it_is_named_from_makes_no_difference(tree, way, start, monkeypatch):
    absolute = told(tree / way)
    monkeypatch.chdir(tree / start)
    assert told(os.path.relpath(tree / way)) == absolute


@pytest.mark.parametrize(
    ("folder", "weighs"), [("one", True), ("two", False), ("three", False), ("three/in", False)]
)
def test_what_is_not_known_of_other_projects_says_nothing_of_a_file(tree, folder, weighs):
    """Each of them names the letters of the file somewhere, and compiles another one."""
    lay(tree / "three", CMakeLists__txt="add_executable(o ${NOWHERE})\nset(X one)\n")
    lay(tree / "three" / "in", o__vcxproj=vcxproj("other.c", extra="<!-- one.c -->"))
    project = next(p for p in sorted((tree / folder).iterdir()) if p.suffix in (".vcxproj", ".txt"))
    unclear = '<Import Project="nowhere.props" /></Project>'
    text = project.read_text().replace("</Project>", unclear)
    project.write_text(text if project.suffix == ".vcxproj" else text + "include(${NOWHERE})\n")
    told = [one for one in read(tree / "one" / "one.c").limits if "execute-pool-type" in one.rules]
    assert bool(told) is weighs


def test_what_is_not_known_of_a_project_that_may_compile_a_file(tree):
    lay(
        tree / "two",
        two__vcxproj='<Project><!-- "alone.c" --><Import Project="gone.props" /></Project>',
    )
    lay(tree / "two", alone__c=ALLOCATE.format("Alone").replace("KIND", "NonPagedPoolNx"))
    told = [one.reason for one in read(tree / "two" / "alone.c").limits if one.rules]
    assert any("gone.props is missing" in one for one in told)
