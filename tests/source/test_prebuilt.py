"""Libraries that are linked as they are: named, where they hold code that nobody examined."""

import pytest

from hvci.evaluate import evaluate
from hvci.model import Verdict
from sources import definitions, entry, lay, vcxproj

NX = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")


def member(data, name=b"a.obj/"):
    """One member of an archive."""
    header = name.ljust(16) + b"0".ljust(12) + b"".ljust(12) + b"0".ljust(8)
    padded = data + b"\n" * (len(data) % 2)
    return header + str(len(data)).encode().ljust(10) + b"`\n" + padded


def coff(flags, name=b".text\0\0\0"):
    """An object with one section of four bytes."""
    header = (0x8664).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(16)
    sizes = (4).to_bytes(4, "little") + (60).to_bytes(4, "little")
    return header + name + bytes(8) + sizes + bytes(12) + flags.to_bytes(4, "little") + b"\xc3" * 4


CODE = coff(0x60000020)
IMPORT = b"\0\0\xff\xff\0\0\x64\x86" + bytes(40)
BIG = b"\0\0\xff\xff\x02\0\x64\x86" + bytes(60)


def archive(*members):
    return b"!<arch>\n" + member(b"\0\0\0\0", b"/") + b"".join(map(member, members))


def linked(folder, name, data=None, place=None):
    """The report of a driver that links a library."""
    extra = definitions(name, element="AdditionalDependencies", item="Link")
    lay(folder, drv__vcxproj=vcxproj("drv.c", extra=extra), drv__c=NX)
    if data is not None:
        path = folder / (place or name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return evaluate(folder)


def named(report, name):
    return [one for one in report.limits if name in one.reason]


@pytest.mark.parametrize(
    "data", [archive(CODE), archive(IMPORT, CODE), archive(BIG), CODE, b"!<arch>\n??" * 9]
)
def test_a_library_with_code_is_named(tmp_path, data):
    report = linked(tmp_path, "engine.lib", data)
    assert report.verdict is Verdict.UNDECIDED
    (limit,) = named(report, "engine.lib")
    assert "execute-pool-type" in limit.rules


@pytest.mark.parametrize("data", [archive(IMPORT), archive(IMPORT, coff(0x40000040, b".idata$2"))])
def test_a_library_of_imports_has_no_code(tmp_path, data):
    assert linked(tmp_path, "engine.lib", data).verdict is Verdict.COMPATIBLE


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("lib\\engine.lib;%(AdditionalDependencies)", "lib/engine.lib"),
        ("$(ProjectDir)lib\\engine.lib", "lib/engine.lib"),
        ("ENGINE.LIB", "engine.lib"),
        ("..\\engine.lib", "../engine.lib"),
    ],
)
def test_a_library_is_found_where_the_project_says(tmp_path, name, place):
    (tmp_path / "d").mkdir()
    report = linked(tmp_path / "d", name, archive(CODE), place)
    assert named(report, "ngine.lib")
    assert report.verdict is Verdict.UNDECIDED


def test_a_library_that_is_not_here_is_named(tmp_path):
    report = linked(tmp_path, "engine.lib")
    assert "which is not here" in named(report, "engine.lib")[0].reason


@pytest.mark.parametrize(
    "name",
    ["fltmgr.lib", "$(DDK_LIB_PATH)\\ntstrsafe.lib", "%(AdditionalDependencies)", "Wdmsec.lib;"],
)
def test_libraries_of_the_kit_are_known(tmp_path, name):
    assert linked(tmp_path, name).verdict is Verdict.COMPATIBLE


def test_a_library_that_the_text_names(tmp_path):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), drv__c='#pragma comment(lib, "engine")\n' + NX)
    (tmp_path / "engine.lib").write_bytes(archive(CODE))
    assert named(evaluate(tmp_path), "engine.lib")


def test_a_library_that_a_list_of_cmake_names(tmp_path):
    text = "wdk_add_driver(drv drv.c)\n"
    text += "target_link_libraries(drv ${CMAKE_SOURCE_DIR}/engine.lib WDK::FLTMGR)"
    lay(tmp_path, CMakeLists__txt=text, drv__c=NX)
    (tmp_path / "engine.lib").write_bytes(archive(CODE))
    assert named(evaluate(tmp_path), "engine.lib")
    assert evaluate(tmp_path).verdict is Verdict.UNDECIDED


def test_a_library_that_the_target_builds_is_no_unknown_one(tmp_path):
    project = vcxproj("e.c", type="StaticLibrary", driver="WDM")
    lay(tmp_path, engine__vcxproj=project, e__c="#include <ntddk.h>\nint e;\n")
    assert not named(linked(tmp_path, "engine.lib"), "engine.lib")
