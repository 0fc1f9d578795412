"""Headers that are found by their name alone: never those of another driver's folder."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Answer, Question
from sources import definitions, entry, lay, vcxproj

CODE = '#include "k.h"\n' + entry("ExAllocatePoolWithTag(POOL, 8, 'a');")
GOOD = "#define POOL NonPagedPoolNx\n"
MAKE = "d.sys: d.o\n\tgcc -shared -Wl,--subsystem,native -o $@ $^ -lntoskrnl\n"
MAKE += "d.o: d.c\n\tgcc -c $<\n"
BUILDS = {
    "Makefile": MAKE,
    "GNUmakefile": MAKE,
    "sources": "TARGETNAME=d\nTARGETTYPE=DRIVER\nSOURCES=d.c\n",
    "meson.build": "project('d', 'c')\nshared_library('d', 'd.c', name_suffix: 'sys')\n",
    "CMakeLists.txt": "add_executable(d d.c)\ntarget_link_options(d PRIVATE /DRIVER)\n",
    "d.vcxproj": vcxproj("d.c"),
}


def answers(folder):
    """What the drivers of a folder would do in the readiness test, by their folders."""
    reports = evaluate_drivers(folder, Options())
    named = ((one.target.path.partition("#")[0], one) for one in reports)
    return {path.split("/")[-2]: one.answers[Question.READINESS] for path, one in named}


@pytest.mark.parametrize("build", BUILDS)
def test_the_header_of_another_driver(tmp_path, build):
    lay(tmp_path, a___d__c=CODE, b___d__c=CODE, b___k__h=GOOD)
    for folder in "ab":
        (tmp_path / folder / build).write_text(BUILDS[build])
    found = answers(tmp_path)
    assert found["a"] is Answer.UNDECIDED
    assert found["b"] is not Answer.NO


@pytest.mark.parametrize("place", ["k.h", "include/k.h", "a/inc/k.h"])
def test_a_header_of_its_own_or_of_the_whole(tmp_path, place):
    lay(tmp_path, a___d__c=CODE, a___CMakeLists__txt=BUILDS["CMakeLists.txt"])
    lay(tmp_path, CMakeLists__txt="project(p C)\nadd_subdirectory(a)\n")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(GOOD)
    assert [*answers(tmp_path).values()] == [Answer.YES]


COMMON = '#include "k.h"\n'
THROUGH = '#include "../common/c.h"\n' + entry("ExAllocatePoolWithTag(POOL, 8, 'a');")


@pytest.mark.parametrize("build", BUILDS)
def test_a_header_of_the_common_part_names_one_of_the_driver(tmp_path, build):
    """It lies beside the file that is compiled, not beside the header that names it."""
    lay(tmp_path, a___d__c=THROUGH, a___k__h=GOOD, common___c__h=COMMON)
    lay(tmp_path, b___d__c=THROUGH, b___k__h=GOOD.replace("Nx", ""))
    for folder in "ab":
        (tmp_path / folder / build).write_text(BUILDS[build])
    assert answers(tmp_path) == {"a": Answer.YES, "b": Answer.NO}


@pytest.mark.parametrize("build", ["d.vcxproj", "sources"])
def test_folders_of_includers_come_before_those_of_options(tmp_path, build):
    """So Microsoft's compiler does, with names in quotes alone."""
    lay(tmp_path, d__c='#include "c/c.h"\n' + THROUGH.partition("\n")[2], k__h=GOOD)
    lay(tmp_path, c___c__h=COMMON, inc___k__h=GOOD.replace("Nx", ""))
    project = vcxproj("d.c", extra=definitions("inc", element="AdditionalIncludeDirectories"))
    text = {"d.vcxproj": project, "sources": BUILDS["sources"] + "INCLUDES=inc\n"}[build]
    (tmp_path / build).write_text(text)
    assert [*answers(tmp_path).values()] == [Answer.YES]
    (tmp_path / "c/c.h").write_text("#include <k.h>\n")
    assert [*answers(tmp_path).values()] == [Answer.NO]


# ---- headers that the build makes are no others of that name

CONFIGURED = "configure_file(k.h.in {})\ninclude_directories(${{CMAKE_CURRENT_BINARY_DIR}})\n"
STEP = (
    '<ItemGroup><CustomBuild Include="k.in"><Command>gen k.in $(IntDir){0}</Command>'
    "<Outputs>$(IntDir){0}</Outputs></CustomBuild></ItemGroup>"
)
MESON = "project('d', 'c')\n{}shared_library('d', 'd.c', name_suffix: 'sys')\n"
MADE = {
    "cmake": {"CMakeLists__txt": "project(p C)\n" + CONFIGURED + BUILDS["CMakeLists.txt"]},
    "project": {"d__vcxproj": vcxproj("d.c", extra=STEP)},
    "makefile": {"Makefile": MAKE + "gen/{0}: k.in\n\tgen k.in > gen/{0}\n"},
    "sources": {"sources": BUILDS["sources"], "makefile__inc": "o\\{0}: k.in\n\tgen > o\\{0}\n"},
    "meson": {"meson__build": MESON.format("configure_file(input: 'k.in', output: '{}')\n")},
    "meson target": {"meson__build": MESON.format("custom_target('k', output: ['a.h', '{}'])\n")},
}


@pytest.mark.parametrize("build", MADE)
@pytest.mark.parametrize("name", ["k.h", "other.h"])
def test_a_header_that_the_build_makes(tmp_path, build, name):
    lay(tmp_path, d__c=CODE, old___k__h=GOOD)
    lay(tmp_path, **{file: text.format(name) for file, text in MADE[build].items()})
    (report,) = evaluate_drivers(tmp_path, Options())
    expected = Answer.UNDECIDED if name == "k.h" else Answer.YES
    assert report.answers[Question.READINESS] is expected


@pytest.mark.parametrize(
    ("folder", "platforms", "place", "answer"),
    [
        ("inc\\$(Platform)", ("x64", "ARM64"), "inc/x64", Answer.UNDECIDED),
        ("inc\\$(Platform)", ("x64", "ARM64"), "inc", Answer.YES),
        ("inc\\$(Platform)", ("x64",), "inc/x64", Answer.YES),
        ("inc\\x64", ("x64", "ARM64"), "inc/x64", Answer.YES),
        ("inc\\$(Platform)", ("x64", "ARM64"), "inc/x86", Answer.YES),
    ],
)
def test_a_header_of_another_configuration(tmp_path, folder, platforms, place, answer):
    extra = definitions(folder, element="AdditionalIncludeDirectories")
    lay(tmp_path, d__c=CODE, d__vcxproj=vcxproj("d.c", platforms=platforms, extra=extra))
    for name in ("inc/x64", place):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "k.h").write_text(GOOD)
    (report,) = evaluate_drivers(tmp_path, Options())
    assert report.answers[Question.READINESS] is answer


@pytest.mark.parametrize("kind", ["NonPagedPool", "NonPagedPoolNx"])
def test_each_configuration_has_the_header_of_its_folder(tmp_path, kind):
    extra = definitions("inc\\$(Platform)", element="AdditionalIncludeDirectories")
    lay(tmp_path, d__c=CODE, d__vcxproj=vcxproj("d.c", platforms=("x64", "Win32"), extra=extra))
    lay(tmp_path, inc___x64___k__h=GOOD, inc___Win32___k__h=f"#define POOL {kind}\n")
    (report,) = evaluate_drivers(tmp_path, Options())
    expected = Answer.YES if kind == "NonPagedPoolNx" else Answer.NO
    assert report.answers[Question.READINESS] is expected
