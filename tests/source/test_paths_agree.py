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
