"""The table of what compilers define: its form, and that it is what a compiler here says."""

import shutil
import subprocess

import pytest

from hvci.catalog import compiler_macros, parse_compilers
from hvci.errors import CatalogError


def test_the_shipped_table():
    known = compiler_macros()
    assert known["gcc"]["x64"]["__MINGW64__"] == 1
    assert "__MINGW64__" not in known["gcc"]["x86"]
    assert "__GNUC__" not in known["clang-msvc"]["x64"]
    assert {name for name, machines in known.items() if "__clang__" in machines["x64"]} == {
        "clang-gnu",
        "clang-msvc",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a.every]\nX = 1\n", "source is missing"),
        ("[a]\nsource = 's'\n[a.every]\nX = 'no'\n", "every: X must be a number"),
        ("[a]\nsource = 's'\n[a.x64]\nX = true\n", "x64: X must be a number"),
        ("[a]\nsource = 's'\n[a.ia64]\nX = 1\n", "unknown field ia64"),
        ("a = 1\n", "want a table"),
    ],
)
def test_a_bad_row_is_named(text, message):
    with pytest.raises(CatalogError, match=message):
        parse_compilers(text)


@pytest.mark.parametrize(
    ("row", "machine", "command"),
    [
        ("gcc", "x64", ["x86_64-w64-mingw32-gcc"]),
        ("gcc", "x86", ["i686-w64-mingw32-gcc"]),
        ("clang-gnu", "x64", ["clang", "--target=x86_64-w64-mingw32"]),
        ("clang-gnu", "arm64", ["clang", "--target=aarch64-w64-mingw32"]),
        ("clang-msvc", "x86", ["clang", "--target=i686-pc-windows-msvc"]),
    ],
)
def test_the_table_against_a_compiler(row, machine, command):
    """Every name of the table is defined by the compiler, where there is one."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    said = subprocess.run(
        [*command, "-dM", "-E", "-x", "c", "-"],
        input="",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    defined = {line.split()[1] for line in said.splitlines()}
    of_version = {"__STDC_NO_THREADS__"}
    assert not set(compiler_macros()[row][machine]) - defined - of_version
