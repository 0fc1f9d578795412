"""A driver's source and its built image: the same calls, the same values, one report for both."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

import build
from hvci import catalog
from hvci.cli.gather import gather
from hvci.evaluate import Options, Sources, evaluate
from hvci.model import Answer, Origin, Outcome, Question, SourceSite
from sources import entry, lay, read, vcxproj

FIXTURES = Path(__file__).parent.parent / "fixtures"
ARCHITECTURES = ["x64", "x86", "arm64"]
PLATFORMS = {"x64": "x64", "x86": "Win32", "arm64": "ARM64"}
OWN_OPT_IN = re.compile(r"^optin_")
"""Shapes that spell out what the opt-in headers hide; sources do not look like that."""
BY_OTHER_MEANS = {"field_from_outside"}
"""What reaches a structure from outside is seen in code only."""


def driver(folder, name, clean):
    """The sources of a built fixture, with the choice of its build made."""
    for header in (FIXTURES / "src").glob("*.h"):
        shutil.copy(header, folder)
    shutil.copy(FIXTURES / "src" / f"{name}.c", folder)
    kernel = folder / "kernel.h"
    text = kernel.read_text().replace("#if defined(FIXTURE_CLEAN)", f"#if {int(clean)}")
    kernel.write_text(text)
    source = folder / f"{name}.c"
    source.write_text(source.read_text().replace("!defined(FIXTURE_CLEAN)", str(int(not clean))))
    return folder


def expected(name, architecture):
    """The marked calls of a built fixture."""
    path = FIXTURES / "built" / f"{name}.{architecture}.o2.expected.json"
    return json.loads(path.read_text())["sites"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["bad", "clean"])
def test_source_and_code_name_the_same_calls_with_the_same_values(tmp_path, architecture, kind):
    driver(tmp_path, "calls", kind == "clean")
    project = vcxproj("calls.c", platforms=("x64",))
    lay(tmp_path, calls__vcxproj=project)
    seen = {(call.site.line, call.ddi): call for call in read(tmp_path).calls}
    compared = 0
    for site in expected(f"calls_{kind}", architecture):
        if OWN_OPT_IN.match(site["id"]) or site["id"] in BY_OTHER_MEANS:
            continue
        call = seen[(site["line"], site["api"])]
        deciding = catalog.ddis()[site["api"]].deciding
        if deciding:
            value = call.arguments[deciding]
            assert (site["id"], sorted(value.possible), value.complete) == (
                site["id"],
                site["values"],
                site["complete"],
            )
            compared += 1
    assert compared > 40


def built(name, architecture):
    """A built fixture."""
    return FIXTURES / "built" / f"{name}.{architecture}.o2.sys"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_report_for_source_and_image(tmp_path, architecture):
    sources = tmp_path / "src"
    sources.mkdir()
    driver(sources, "calls", clean=False)
    platform = PLATFORMS[architecture]
    (sources / "calls.vcxproj").write_text(vcxproj("calls.c", platforms=(platform,)))
    image = tmp_path / "calls.sys"
    shutil.copy(built("calls_bad", architecture), image)
    report = evaluate(image, Options(sources=Sources([str(sources)])))
    origins = {finding.origin for finding in report.findings}
    assert {Origin.SOURCE, Origin.CALLSITE} <= origins
    assert any(isinstance(finding.site, SourceSite) for finding in report.findings)
    assert not any("no project" in limit.reason for limit in report.limits)
    assert report.counters == evaluate(image).counters


def mismatches(tmp_path, image_kind, clean_source):
    """What the mismatch rule says about an image and a source."""
    sources = tmp_path / "src"
    sources.mkdir()
    driver(sources, "calls", clean_source)
    (sources / "calls.vcxproj").write_text(vcxproj("calls.c"))
    image = tmp_path / "calls.sys"
    shutil.copy(built(f"calls_{image_kind}", "x64"), image)
    report = evaluate(image, Options(sources=Sources([str(sources)])))
    return next(one for one in report.results if one.rule == "source-image-mismatch")


def test_an_old_image_differs_from_its_source(tmp_path):
    result = mismatches(tmp_path, "bad", clean_source=True)
    assert result.outcome is Outcome.NOTE
    said = " ".join(finding.message for finding in result.findings)
    assert "ExAllocatePool: the image asks for executable memory, the source does not" in said


def test_other_images_stay_alone(tmp_path):
    result = mismatches(tmp_path, "clean", clean_source=False)
    assert result.outcome is Outcome.NOTE
    report = evaluate(
        built("calls_clean", "x64"), Options(sources=Sources([str(tmp_path / "src")]))
    )
    assert {finding.origin for finding in report.findings} <= {Origin.IMAGE, Origin.CALLSITE}


def test_what_is_not_read_of_sources_leaves_the_image_as_it_is(tmp_path):
    image = tmp_path / "driver.sys"
    image.write_bytes(build.driver())
    text = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
    lay(tmp_path, driver__c=text, driver__vcxproj=vcxproj("driver.c", "gone.c"))
    assert answers(tmp_path) == {"driver.sys": Answer.YES, ".": Answer.UNDECIDED}
    (tmp_path / "gone.c").write_text("int gone;\n")
    assert answers(tmp_path) == {"driver.sys": Answer.YES}


def answers(folder):
    """Whether each target of a folder passes the readiness test."""
    gathered = gather([str(folder)], Options())
    return {
        os.path.relpath(one.target.path, folder): one.answers[Question.READINESS]
        for one in gathered.reports
    }


@pytest.mark.parametrize("targets", [["."], ["v1", "v2"], ["v2", "v1"], ["v2/drv.vcxproj", "v1"]])
def test_an_image_belongs_to_the_nearest_of_all_sources_that_are_given(
    tmp_path, monkeypatch, targets
):
    for folder, kind, pool in (("v1", "NonPagedPool", 0), ("v2", "NonPagedPoolNx", 0x200)):
        text = entry(f"ExAllocatePoolWithTag({kind}, 8, 'a');")
        lay(tmp_path / folder, drv__vcxproj=vcxproj("drv.c"), drv__c=text)
        lay(tmp_path / folder, drv__sys=build.driver(pool_type=pool))
    monkeypatch.chdir(tmp_path)
    images = ["v1/drv.sys", "v2/drv.sys"] if targets != ["."] else []
    found = gather([*targets, *images], Options()).reports
    told = {one.target.path: one.answers[Question.READINESS] for one in found}
    assert told == {"v1/drv.sys": Answer.NO, "v2/drv.sys": Answer.YES}


def test_an_image_that_may_be_of_either_source_that_is_given(tmp_path):
    for folder in ("v1", "v2"):
        text = entry(f"ExAllocatePoolWithTag(NonPagedPoolNx, 8, '{folder}');")
        lay(tmp_path / folder, drv__vcxproj=vcxproj("drv.c"), drv__c=text)
    (tmp_path / "drv.sys").write_bytes(build.driver())
    names = ("v1", "v2", "drv.sys")
    found = gather([str(tmp_path / name) for name in names], Options()).reports
    (image,) = (one for one in found if one.target.path.endswith("drv.sys"))
    (told,) = (one.reason for one in image.limits if "several drivers" in one.reason)
    assert told.index("v1") < told.index("v2")
    assert len(found) == 3
