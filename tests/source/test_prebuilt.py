"""Libraries that are linked as they are: named, where they hold code that nobody examined."""

import struct

import pytest

import build
from hvci.cli.gather import gather
from hvci.evaluate import Options, evaluate
from hvci.model import Verdict
from sources import definitions, entry, lay, vcxproj

NX = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")


def member(data, name=b"a.obj/"):
    """One member of an archive."""
    header = name.ljust(16) + b"0".ljust(12) + b"".ljust(12) + b"0".ljust(8)
    padded = data + b"\n" * (len(data) % 2)
    return header + str(len(data)).encode().ljust(10) + b"`\n" + padded


def coff(flags, name=b".text\0\0\0", code=b"\xc3" * 4, machine=0x8664, symbols=(), moved=()):
    """An object with one section; symbols are (name, section, kind), relocations (at, n, type)."""
    table = 60 + len(code) + 10 * len(moved)
    head = struct.pack("<HHIIIHH", machine, 1, 0, table, len(symbols), 0, 0)
    head += struct.pack(
        "<8s6IHHI", name, 0, 0, len(code), 60, 60 + len(code), 0, len(moved), 0, flags
    )
    rows, strings = b"", b""
    for word, section, kind in symbols:
        rows += struct.pack("<IIIhHBB", 0, 4 + len(strings), 0, section, 0x20, kind, 0)
        strings += word.encode() + b"\0"
    relocations = b"".join(struct.pack("<IIH", *one) for one in moved)
    return head + code + relocations + rows + struct.pack("<I", 4 + len(strings)) + strings


def asking(pool_type, name="EngineStart", wanted="__imp_ExAllocatePoolWithTag", tail=()):
    """An object whose function asks for pool: mov ecx, type; jmp [import] or jmp routine."""
    call = b"\x48\xff\x25" if wanted.startswith("__imp_") else b"\xe9"
    code = b"\xb9" + struct.pack("<I", pool_type) + call
    symbols = ((name, 1, 2), (wanted, 0, 2), *tail)
    return coff(CODE_FLAGS, code=code + bytes(4), symbols=symbols, moved=[(len(code), 1, 4)])


CODE_FLAGS = 0x60500020
CODE = asking(0)
IMPORT = b"\0\0\xff\xff\0\0\x64\x86" + bytes(40)
LATER = b"\0\0\xff\xff\x02\0\x64\x86" + bytes(60)


def archive(*members):
    return b"!<arch>\n" + member(b"\0\0\0\0", b"/") + b"".join(map(member, members))


def linked(folder, name, data=None, place=None, text=NX):
    """The report of a driver that links a library."""
    extra = definitions(name, element="AdditionalDependencies", item="Link")
    lay(folder, drv__vcxproj=vcxproj("drv.c", extra=extra), drv__c=text)
    if data is not None:
        path = folder / (place or name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return evaluate(folder)


def named(report, name):
    return [one for one in report.limits if name in one.reason]


def found(report, name):
    """The calls in a library."""
    return [one for one in report.calls if one.call.site.path.endswith(name)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (archive(IMPORT, LATER), "a.obj: it is compiled for link-time code generation (/GL)"),
        (archive(coff(CODE_FLAGS, b".cil$fg\0")), "link-time code generation"),
        (b"!<arch>\n??" * 9, "it is damaged"),
        (b"!<arch>\n??", "it is damaged"),
        (b"", "it is damaged"),
        (archive(IMPORT, IMPORT)[:-70], "it is damaged"),
        (b"MZ", "it is damaged"),
        (archive(coff(CODE_FLAGS, machine=0x1C4)), "for the machine 0x01c4"),
        (archive(CODE[:80]), "it is damaged"),
    ],
)
def test_a_library_that_cannot_be_examined_is_named(tmp_path, data, why):
    report = linked(tmp_path, "engine.lib", data)
    assert report.verdict is Verdict.UNDECIDED
    (limit,) = named(report, "engine.lib")
    assert "execute-pool-type" in limit.rules
    assert why in limit.reason


USES = "EngineStart(); " + "ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');"


@pytest.mark.parametrize(
    ("members", "verdict"),
    [
        ([asking(0)], Verdict.INCOMPATIBLE),
        ([asking(0x200)], Verdict.COMPATIBLE),
        ([asking(0, "Other")], Verdict.UNDECIDED),
        ([asking(0, "Other"), asking(0x200, tail=[("Other", 0, 2)])], Verdict.INCOMPATIBLE),
        ([asking(0, wanted="ExAllocatePoolWithTag")], Verdict.INCOMPATIBLE),
        ([asking(0, "?EngineStart@@YAXXZ")], Verdict.INCOMPATIBLE),
        ([IMPORT, asking(0)], Verdict.INCOMPATIBLE),
    ],
)
def test_calls_of_a_library_are_judged(tmp_path, members, verdict):
    lay(tmp_path, drv__c=entry(USES))
    report = linked(tmp_path, "engine.lib", archive(*members), text=entry(USES))
    assert report.verdict is verdict
    assert not named(report, "engine.lib")
    calls = [one.call for one in report.calls if one.call.site.path.endswith("engine.lib")]
    assert {call.ddi for call in calls} == {"ExAllocatePoolWithTag"}
    assert all("in a.obj of the library" in call.note for call in calls)


def test_an_object_that_nobody_names_may_not_be_linked(tmp_path):
    report = linked(tmp_path, "engine.lib", archive(asking(0)))
    assert report.verdict is Verdict.UNDECIDED
    (finding,) = [one for one in report.findings if one.ddi]
    assert "nothing here names what a.obj defines, so it may not be linked" in finding.message
    assert "NonPagedPool (0x0)" in finding.message
    assert finding.site.function == "EngineStart+0x5"


def test_an_image_tells_what_its_libraries_do(tmp_path):
    linked(tmp_path, "engine.lib", archive(asking(0)), text=entry(USES))
    (tmp_path / "drv.sys").write_bytes(build.driver())
    (report,) = gather([str(tmp_path)], Options()).reports[:1]
    assert not [one for one in report.calls if getattr(one.call.site, "path", "").endswith(".lib")]


def test_code_that_calls_the_framework_is_named(tmp_path):
    data = archive(asking(0x200, tail=[("WdfFunctions_01033", 0, 2)], wanted="WdfFunctions_01033"))
    report = linked(tmp_path, "engine.lib", data)
    assert "calls of the framework (KMDF)" in named(report, "engine.lib")[0].reason


def test_an_excerpt_shows_no_bytes_of_a_library(tmp_path):
    linked(tmp_path, "engine.lib", archive(CODE))
    report = evaluate(tmp_path, Options(excerpts=True))
    assert [one.excerpt for one in report.findings if one.ddi] == [()]


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
    assert found(report, "ngine.lib")
    assert report.verdict is Verdict.UNDECIDED


def test_a_library_that_is_not_here_is_named(tmp_path):
    report = linked(tmp_path, "engine.lib")
    assert "which is not here" in named(report, "engine.lib")[0].reason


def test_a_library_that_each_configuration_has_elsewhere_is_named_once(tmp_path, monkeypatch):
    link = "<AdditionalDependencies>$(ProjectDir)..\\out\\$(Platform)\\engine.lib"
    extra = (
        f"<ItemDefinitionGroup><Link>{link}</AdditionalDependencies></Link></ItemDefinitionGroup>"
    )
    project = vcxproj("drv.c", platforms=("x64", "ARM64"), extra=extra)
    lay(tmp_path, d___drv__vcxproj=project, d___drv__c=NX)
    whole = named(evaluate(tmp_path), "engine.lib")
    monkeypatch.chdir(tmp_path)
    assert len(whole) == len(named(evaluate("."), "engine.lib")) == 1


@pytest.mark.parametrize(
    "name",
    ["fltmgr.lib", "$(DDK_LIB_PATH)\\ntstrsafe.lib", "%(AdditionalDependencies)", "Wdmsec.lib;"],
)
def test_libraries_of_the_kit_are_known(tmp_path, name):
    assert linked(tmp_path, name).verdict is Verdict.COMPATIBLE


def test_a_library_that_the_text_names(tmp_path):
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c"), drv__c='#pragma comment(lib, "engine")\n' + NX)
    (tmp_path / "engine.lib").write_bytes(archive(CODE))
    assert found(evaluate(tmp_path), "engine.lib")


def test_a_library_that_a_list_of_cmake_names(tmp_path):
    text = "wdk_add_driver(drv drv.c)\n"
    text += "target_link_libraries(drv ${CMAKE_SOURCE_DIR}/engine.lib WDK::FLTMGR)"
    lay(tmp_path, CMakeLists__txt=text, drv__c=NX)
    (tmp_path / "engine.lib").write_bytes(archive(CODE))
    assert found(evaluate(tmp_path), "engine.lib")
    assert evaluate(tmp_path).verdict is Verdict.UNDECIDED


def test_a_library_that_a_list_of_cmake_names_and_is_not_here(tmp_path):
    text = "wdk_add_driver(drv drv.c)\n"
    text += "target_link_libraries(drv ${CMAKE_SOURCE_DIR}/lib/engine.lib)"
    lay(tmp_path, CMakeLists__txt=text, drv__c=NX)
    assert "which is not here" in named(evaluate(tmp_path), "engine.lib")[0].reason


MAKEFILE = """LIBS = {}
drv.sys: drv.o
\tld -o $@ $^ -Wl,--out-implib,libdrv.a -lntoskrnl -lhal libmade.a $(LIBS)
libmade.a: made.o
\tar rc $@ $^
"""


@pytest.mark.parametrize("name", ["engine.a", "lib/engine.lib", "-lengine", "-Llib -lengine"])
@pytest.mark.parametrize("is_here", [False, True])
def test_a_library_that_a_makefile_names(tmp_path, name, is_here):
    lay(tmp_path, Makefile=MAKEFILE.format(name), drv__c=NX)
    if is_here and not name.startswith("-le"):
        path = name if name[0] != "-" else "lib/libengine.a"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(archive(CODE))
        assert found(evaluate(tmp_path), path)
    else:
        assert "which is not here" in named(evaluate(tmp_path), "engine.")[0].reason
    assert not named(evaluate(tmp_path), "libmade") and not named(evaluate(tmp_path), "libdrv")


def test_a_library_that_the_target_builds_is_no_unknown_one(tmp_path):
    project = vcxproj("e.c", type="StaticLibrary", driver="WDM")
    lay(tmp_path, engine__vcxproj=project, e__c="#include <ntddk.h>\nint e;\n")
    assert not named(linked(tmp_path, "engine.lib"), "engine.lib")


X86 = archive(coff(CODE_FLAGS, machine=0x14C))


@pytest.mark.parametrize(
    ("platforms", "data", "lacking"),
    [
        (("x64",), X86, "x64"),
        (("x64", "Win32"), X86, "x64"),
        (("Win32",), X86, ""),
        (("x64", "ARM64"), archive(asking(0x200)), "arm64"),
        (("x64",), archive(asking(0x200)), ""),
        (("x64", "ARM64"), archive(IMPORT), ""),
    ],
)
def test_a_library_of_another_machine_is_not_examined(tmp_path, platforms, data, lacking):
    extra = definitions("engine.lib", element="AdditionalDependencies", item="Link")
    lay(tmp_path, drv__vcxproj=vcxproj("drv.c", platforms=platforms, extra=extra))
    report = evaluate(lay(tmp_path, drv__c=NX, engine__lib=data))
    told = [one.reason for one in named(report, "engine.lib") if one.rules]
    assert [f"it holds no code for {lacking}" in one for one in told] == [True] * bool(lacking)


def test_a_library_for_one_of_the_machines_of_a_list(tmp_path):
    """Lists and makefiles do not say for which machines they are."""
    lay(tmp_path, drv__c=NX, engine__lib=archive(asking(0x200, "EngineStart")))
    text = "add_executable(drv drv.c)\ntarget_link_options(drv PRIVATE /DRIVER)\n"
    lay(
        tmp_path,
        CMakeLists__txt=text + "target_link_libraries(drv ${CMAKE_SOURCE_DIR}/engine.lib)\n",
    )
    assert evaluate(tmp_path).verdict is Verdict.COMPATIBLE
    lay(tmp_path, engine__lib=archive(coff(CODE_FLAGS, machine=0xAA64)))
    assert evaluate(tmp_path).verdict is Verdict.UNDECIDED


LISTS = "project(p C)\n{}add_executable(drv drv.c)\ntarget_link_options(drv PRIVATE /DRIVER {})\n{}"
LISTS += "target_link_libraries(drv engine)\n"
MESON = "project('p', 'c')\n{}\nshared_library('drv', 'drv.c', name_suffix: 'sys', {})\n"
FIND = "e = meson.get_compiler('c').find_library('engine', dirs: meson.current_source_dir() / '{}')"
PLACES = {
    "folder": {"CMakeLists__txt": LISTS.format("link_directories(lib)\n", "", "")},
    "target": {
        "CMakeLists__txt": LISTS.format("", "", "target_link_directories(drv PRIVATE lib)\n")
    },
    "option": {"CMakeLists__txt": LISTS.format("", "/LIBPATH:lib", "")},
    "project": {
        "drv__vcxproj": vcxproj(
            "drv.c", extra=definitions("/LIBPATH:lib engine.lib", "", "AdditionalOptions", "Link")
        )
    },
    "meson": {"meson__build": MESON.format(FIND.format("lib"), "dependencies: e")},
    "sources": {
        "sources": "TARGETNAME=drv\nTARGETTYPE=DRIVER\nSOURCES=drv.c\n"
        "TARGETLIBS=lib\\*\\engine.lib\n"
    },
}


@pytest.mark.parametrize("build", PLACES)
@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (archive(asking(0)), Verdict.INCOMPATIBLE),
        (archive(asking(0x200)), Verdict.COMPATIBLE),
        (None, Verdict.UNDECIDED),
    ],
)
def test_the_folders_in_which_a_linker_looks(tmp_path, build, data, verdict):
    lay(tmp_path, drv__c=entry(USES), other___engine__lib=archive(asking(0x200)), **PLACES[build])
    if data is not None:
        place = "lib/amd64" if build == "sources" else "lib"
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "engine.lib").write_bytes(data)
        if build == "sources":
            lay(tmp_path, lib___i386___engine__lib=X86)
    assert evaluate(tmp_path).verdict is verdict


@pytest.mark.parametrize("used", [True, False])
def test_what_meson_finds_elsewhere_is_named(tmp_path, used):
    text = MESON.format("e = dependency('engine')", "dependencies: e" if used else "")
    report = evaluate(lay(tmp_path, drv__c=NX, meson__build=text))
    assert bool(named(report, "dependency('engine')")) is used
    assert report.verdict is (Verdict.UNDECIDED if used else Verdict.COMPATIBLE)
