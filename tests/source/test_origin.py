"""Which driver of a tree an image was built from: files of different drivers are never mixed up."""

import pytest

import build
from hvci.cli.gather import gather
from hvci.evaluate import Options
from hvci.model import Verdict
from hvci.source.builds.origin import Built, origins
from sources import definitions, entry, lay, vcxproj

ASK = entry("p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
CLEAN = entry("p = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
NOTHING = entry("")


def reports(target="."):
    document = gather([str(target)], Options())
    assert not document.errors
    return {report.target.path: report for report in document.reports}


def verdicts(target="."):
    return {path: report.verdict for path, report in reports(target).items()}


def two_of_one_name(folder):
    """Two drivers that are both called driver, one of which asks for executable memory."""
    return lay(
        folder,
        a___driver__vcxproj=vcxproj("driver.c"),
        a___driver__c=ASK,
        b___driver__vcxproj=vcxproj("driver.c"),
        b___driver__c=CLEAN,
    )


def test_two_drivers_of_one_name_have_their_own_images(tmp_path, monkeypatch):
    two_of_one_name(tmp_path)
    lay(tmp_path, a___x64___driver__sys=build.driver(pool_type=0))
    lay(tmp_path, b___x64___driver__sys=build.driver(pool_type=0x200))
    monkeypatch.chdir(tmp_path)
    assert verdicts() == {
        "a/x64/driver.sys": Verdict.INCOMPATIBLE,
        "b/x64/driver.sys": Verdict.COMPATIBLE,
    }
    assert verdicts(tmp_path) == {
        str(tmp_path / "a/x64/driver.sys"): Verdict.INCOMPATIBLE,
        str(tmp_path / "b/x64/driver.sys"): Verdict.COMPATIBLE,
    }


def test_an_image_that_may_be_either_is_judged_alone_and_says_so(tmp_path, monkeypatch):
    two_of_one_name(tmp_path)
    lay(tmp_path, out___driver__sys=build.driver(pool_type=0x200))
    monkeypatch.chdir(tmp_path)
    found = reports()
    assert {path: one.verdict for path, one in found.items()} == {
        "a/driver.vcxproj": Verdict.INCOMPATIBLE,
        "b/driver.vcxproj": Verdict.COMPATIBLE,
        "out/driver.sys": Verdict.COMPATIBLE,
    }
    (limit,) = [one for one in found["out/driver.sys"].limits if "several drivers" in one.reason]
    assert "a/driver.vcxproj, b/driver.vcxproj" in limit.reason


def test_an_image_does_not_speak_for_another_driver_that_says_nothing(tmp_path, monkeypatch):
    lay(tmp_path, a__c=NOTHING, a__vcxproj=vcxproj("a.c"), a__sys=build.driver(pool_type=0x200))
    lay(tmp_path, b__c=NOTHING, b__vcxproj=vcxproj("b.c", "gone.c"))
    monkeypatch.chdir(tmp_path)
    found = reports()
    assert set(found) == {"a.sys", "b.vcxproj"}
    assert any("gone.c" in limit.reason for limit in found["b.vcxproj"].limits)


def test_an_image_does_not_speak_for_another_driver_of_the_same_text(tmp_path, monkeypatch):
    lay(tmp_path, s__c=ASK, a___a__vcxproj=vcxproj("..\\s.c"), b___b__vcxproj=vcxproj("..\\s.c"))
    lay(tmp_path, a___a__sys=build.driver(pool_type=0))
    monkeypatch.chdir(tmp_path)
    assert verdicts() == {
        "a/a.sys": Verdict.INCOMPATIBLE,
        "b/b.vcxproj": Verdict.INCOMPATIBLE,
    }


def test_two_kinds_of_projects_of_one_driver_are_one_driver(tmp_path, monkeypatch):
    sources = "TARGETNAME=driver\nTARGETTYPE=DRIVER\nSOURCES=driver.c\n"
    lay(tmp_path, src___driver__c=ASK, src___sources=sources)
    lay(tmp_path, vs___driver__vcxproj=vcxproj("..\\src\\driver.c"))
    lay(tmp_path, out___driver__sys=build.driver(pool_type=0))
    monkeypatch.chdir(tmp_path)
    assert verdicts() == {"out/driver.sys": Verdict.INCOMPATIBLE}


def built(project, *files, name="driver"):
    return Built(f"/w/{project}", frozenset({name}), frozenset(files))


A = built("a/driver.vcxproj", "/w/a/d.c")
B = built("b/driver.vcxproj", "/w/b/d.c")
DEEP = built("b/kernel/driver.vcxproj", "/w/b/kernel/d.c")
OTHER = built("c/other.vcxproj", "/w/c/o.c", name="other")


@pytest.mark.parametrize(
    ("image", "debug", "candidates", "chosen", "is_certain"),
    [
        ("/w/a/x64/driver.sys", "", [A, B], [0], True),
        ("/w/b/x64/DRIVER.SYS", "", [A, B], [1], True),
        ("/w/b/x64/driver.sys", "", [A, DEEP], [1], True),
        ("/elsewhere/driver.sys", "", [A, B], [0, 1], False),
        ("/elsewhere/driver.sys", "c:\\build\\b\\x64\\driver.pdb", [A, B], [1], True),
        ("/elsewhere/driver.sys", "c:\\build\\x64\\driver.pdb", [A, B], [0, 1], False),
        ("/elsewhere/driver.sys", "driver.pdb", [A, B], [0, 1], False),
        ("/w/a/renamed.sys", "driver.pdb", [A, OTHER], [0], True),
        ("/w/a/driver.sys", "d:\\other.pdb", [A, OTHER], [1], True),
        ("/w/a/driver.sys", "d:\\unknown.pdb", [A, OTHER], [0], True),
        ("/w/a/unknown.sys", "", [A, OTHER], [], True),
        ("/w/a/driver.sys", "", [], [], True),
        ("/elsewhere/driver.sys", "", [A, built("x/sources", "/w/a/d.c")], [0, 1], True),
        ("/elsewhere/driver.sys", "", [built("x/p"), built("y/p")], [0, 1], False),
    ],
)
def test_the_driver_is_told_by_name_place_and_path_of_its_pdb(
    image, debug, candidates, chosen, is_certain
):
    assert origins(image, debug, candidates) == (chosen, is_certain)


def test_where_the_image_lies_counts_before_where_it_was_linked():
    assert origins("/w/a/driver.sys", "c:\\w\\b\\driver.pdb", [A, B]) == ([0], True)


GCC = "\tgcc -shared -Wl,--subsystem,native {} $^ -lntoskrnl\n"
NAMED = {
    "d.vcxproj": vcxproj(
        "d.c", extra=definitions("$(OutDir)$(Kind)mine.sys", element="OutputFile", item="Link")
    ),
    "Makefile": "mine.sys: d.o\n" + GCC.format("-o $@"),
    "GNUmakefile": "all: d.o\n" + GCC.format("-o out/mine.sys"),
    "meson.build": "project('p', 'c')\nshared_library('mine', 'd.c', name_suffix: 'sys')\n",
}


@pytest.mark.parametrize("build_file", NAMED)
def test_the_only_driver_of_a_build_file_has_the_name_of_its_image(
    tmp_path, monkeypatch, build_file
):
    lay(tmp_path, d__c=ASK, out___mine__sys=build.driver(pool_type=0))
    lay(tmp_path, out___d__sys=build.driver(pool_type=0x200))
    (tmp_path / build_file).write_text(NAMED[build_file])
    monkeypatch.chdir(tmp_path)
    assert verdicts() == {
        "out/d.sys": Verdict.COMPATIBLE,
        "out/mine.sys": Verdict.INCOMPATIBLE,
    }


def test_drivers_of_one_meson_file_have_their_own_images(tmp_path, monkeypatch):
    line = "shared_library('{0}', '{0}.c', name_suffix: 'sys')\n"
    lay(tmp_path, meson__build="project('p', 'c')\n" + line.format("a") + line.format("b"))
    lay(tmp_path, a__c=ASK, b__c=CLEAN, out___a__sys=build.driver(pool_type=0))
    lay(tmp_path, out___b__sys=build.driver(pool_type=0x200))
    monkeypatch.chdir(tmp_path)
    assert verdicts() == {
        "out/a.sys": Verdict.INCOMPATIBLE,
        "out/b.sys": Verdict.COMPATIBLE,
    }
