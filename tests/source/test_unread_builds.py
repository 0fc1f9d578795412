"""Build files of kinds that are not read: never a guess of their options in silence."""

import json

import pytest

from hvci.model.judged import LINK_RULES, TEXT_RULES
from sources import entry, lay, read, vcxproj

GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
FILES = {
    "build.ninja": "build driver.obj: cc driver.c\n",
    "xmake.lua": 'target("drv")\n add_files("*.c")\n',
    "premake5.lua": 'project "drv"\n files { "driver.c" }\n',
    "BUILD.bazel": 'cc_binary(name = "drv.sys", srcs = ["driver.c"])\n',
    "BUILD": 'cc_binary(name = "drv.sys", srcs = glob(["*.c"]))\n',
    "BUILD.gn": 'shared_library("drv") { sources = [ "driver.c" ] }\n',
    "drv.mak": "driver.obj: driver.c\n\tcl /c driver.c\n",
    "drv.pro": "SOURCES += driver.c\n",
    "SConstruct": 'Program("driver.sys", ["driver.c"])\n',
    "build.bat": "cl /c /kernel driver.c\n",
    "drv.cbp": '<Project><Unit filename="driver.c" /></Project>\n',
    "build.py": 'run(["clang", "--target=x86_64-windows", "-c", "driver.c"])\n',
    "rules.mk": "driver.o: driver.c\n\t$(CC) -c driver.c\n",
    "Makefile.gcc": "driver.o: driver.c\n\t$(CC) -c driver.c\n",
    "build.sh": "x86_64-w64-mingw32-gcc -c driver.c\n",
}


def limits(evidence, name):
    """The limits of a build file that leave everything open."""
    every = {*TEXT_RULES, *LINK_RULES}
    found = [one for one in evidence.limits if every <= set(one.rules)]
    return [one for one in found if one.site.path.endswith(name)]


@pytest.mark.parametrize("name", [*FILES])
def test_it_is_named_where_nothing_else_builds(tmp_path, name):
    lay(tmp_path, driver__c=GOOD)
    (tmp_path / name).write_text(FILES[name])
    (one,) = limits(read(tmp_path), name)
    assert "driver.c" in one.reason and "compile_commands.json" in one.reason


@pytest.mark.parametrize("name", [*FILES])
def test_it_is_named_beside_the_project_of_another_driver(tmp_path, name):
    lay(tmp_path, other___other__c=GOOD, other___other__vcxproj=vcxproj("other.c"))
    lay(tmp_path, drv___driver__c=GOOD)
    (tmp_path / "drv" / name).write_text(FILES[name])
    assert limits(read(tmp_path), name)


OF_FILES = {
    "compile_flags.txt": "-DDRIVER=1\n",
    "compile_commands.json": '[{"directory": ".", "file": "driver.c", "command": "cl driver.c"}]',
}
"""What tells of files, and of no driver."""


@pytest.mark.parametrize("name", [*OF_FILES])
def test_what_tells_of_files_is_named_beside_the_project_of_another_driver(tmp_path, name):
    lay(tmp_path, other___other__c=GOOD, other___other__vcxproj=vcxproj("other.c"))
    lay(tmp_path, drv___driver__c=GOOD)
    (tmp_path / "drv" / name).write_text(OF_FILES[name])
    assert limits(read(tmp_path), name)


def test_flags_for_editors_make_no_driver_of_a_file_that_nothing_builds(tmp_path):
    text = GOOD.replace("DriverEntry", "Old")
    lay(tmp_path, other__c=GOOD, other__vcxproj=vcxproj("other.c"), old__c=text)
    (tmp_path / "compile_flags.txt").write_text("-DDRIVER=1\n")
    assert not limits(read(tmp_path), "compile_flags.txt")


@pytest.mark.parametrize("name", [*FILES])
def test_what_a_project_compiles_as_well_is_known(tmp_path, name):
    lay(tmp_path, driver__c=GOOD, driver__vcxproj=vcxproj("driver.c"))
    (tmp_path / name).write_text(FILES[name])
    assert not limits(read(tmp_path), name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("build.ninja", "build tool.obj: cc tool.c\n"),
        ("build.bat", "msbuild driver.vcxproj\nrem driver.c\n"),
        ("build.ninja", "build other.obj: cc other.c\n"),
    ],
)
def test_what_names_no_kernel_code_or_calls_no_compiler(tmp_path, name, text):
    lay(tmp_path, driver__c=GOOD, tool__c="#include <stdio.h>\nint main(void) { return 0; }\n")
    (tmp_path / name).write_text(text)
    assert not limits(read(tmp_path), name)


def test_commands_say_how_it_is_compiled(tmp_path):
    lay(tmp_path, driver__c=GOOD)
    (tmp_path / "build.ninja").write_text(FILES["build.ninja"])
    rows = [{"directory": str(tmp_path), "command": "cl /c driver.c", "file": "driver.c"}]
    (tmp_path / "compile_commands.json").write_text(json.dumps(rows))
    assert not limits(read(tmp_path), "build.ninja")
