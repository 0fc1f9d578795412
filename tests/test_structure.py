"""The house itself: imports in no circle, rooms and files of a size that one can read."""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "src" / "hvci"
MOST_FILES = 16
"""Files in one room of binary/."""
MOST_LINES = 500
LONGEST_FUNCTION = 60
MUTUAL = {
    frozenset({"facts", "library"}),
    frozenset({"directories", "image", "linking"}),
    frozenset({"call", "kernel", "models"}),
    frozenset(
        (
            *("dataflow", "frames", "globals", "interprocedural", "made_addresses"),
            *("loops", "makers", "pointees", "reaching", "readers", "written"),
            *("bounds", "data", "elsewhere", "locals", "names", "nearest", "opting"),
            *("deciding", "loading", "parts", "unrelated"),
        )
    ),
}
"""Files that name each other's types: one recursion of several parts, tied together at run time."""


def _name(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(("hvci", *(parts[:-1] if parts[-1] == "__init__" else parts)))


FILES = {_name(path): path for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def imports(name: str, with_types: bool) -> set[str]:
    """What a file imports of the house; what only type checkers see is left out or not."""
    unseen: set[int] = set()
    if not with_types:
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                unseen |= {id(each) for each in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & FILES.keys()) - {name}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of files that reach each other."""
    reached = {name: _reach(graph, name) for name in graph}
    return {
        frozenset({name, *(each for each in reach if name in reached[each])})
        for name, reach in reached.items()
        if name in reach
    }


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    work = [*graph[start]]
    while work:
        name = work.pop()
        if name not in seen:
            seen.add(name)
            work += graph[name]
    return seen


def test_a_circle_would_be_told() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert circles(graph) == {frozenset({"b", "c"})}


def test_no_file_imports_itself_through_others() -> None:
    assert circles({name: imports(name, with_types=False) for name in FILES}) == set()


def test_only_parts_of_one_recursion_name_each_others_types() -> None:
    found = circles({name: imports(name, with_types=True) for name in FILES})
    assert {frozenset(name.rpartition(".")[2] for name in each) for each in found} == MUTUAL


ROOMS = [path for path in sorted((HOUSE / "binary").rglob("*")) if (path / "__init__.py").exists()]


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_room_of_the_analysis_can_be_looked_over(room: Path) -> None:
    assert len([*room.glob("*.py")]) <= MOST_FILES


def test_files_and_functions_can_be_read() -> None:
    long = {name for name, path in FILES.items() if len(path.read_text().splitlines()) > MOST_LINES}
    assert long == set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, (name, node.name)


def test_each_file_has_a_sentence_on_its_door() -> None:
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(HOUSE)))
def test_the_tests_of_a_room_stand_in_a_room_of_that_name(room: Path) -> None:
    """The folders of tests/binary mirror those of binary/, so that one can guess."""
    mirror = HOUSE.parent.parent / "tests" / room.relative_to(HOUSE)
    files = [path for path in room.glob("*.py") if path.name != "__init__.py"]
    while not mirror.exists() and mirror.parent.name != "binary":
        mirror = mirror.parent  # what is inside a room may be tested with it
    assert not files or list(mirror.rglob("test_*.py")), f"{mirror} holds no test"
