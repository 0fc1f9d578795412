"""Where no code was looked at nothing is known: such a driver is never called compatible."""

import pytest

from hvci.evaluate import evaluate
from hvci.model import Answer, Question, Verdict
from sources import entry, lay, read, vcxproj

SOURCES = "TARGETNAME=a\nTARGETTYPE=DRIVER\nSOURCES={}\n"
CMAKE = "add_library(a MODULE {})\ntarget_link_options(a PRIVATE /DRIVER)\n"
RESOURCE = '<ItemGroup><ResourceCompile Include="a.rc" /></ItemGroup>'
EXCLUDED = (
    '<ItemGroup><ClCompile Include="a.c"><ExcludedFromBuild>true</ExcludedFromBuild></ClCompile>'
    "</ItemGroup>"
)
EMPTY = {
    "no items": {"a__vcxproj": vcxproj()},
    "no project at all": {"a__vcxproj": "<Project></Project>"},
    "a pattern that nothing matches": {"a__vcxproj": vcxproj("*.c")},
    "a resource": {"a__vcxproj": vcxproj(extra=RESOURCE), "a__rc": "1 ICON a.ico\n"},
    "what is no code": {"a__vcxproj": vcxproj("a.rc", "a.txt")},
    "only files that are left out": {"a__vcxproj": vcxproj(extra=EXCLUDED), "a__c": entry("")},
    "an empty file": {"a__vcxproj": vcxproj("a.c"), "a__c": ""},
    "a file of comments": {"a__vcxproj": vcxproj("a.c"), "a__c": "// nothing yet\n"},
    "a sources file": {"sources": SOURCES.format("")},
    "a sources file with a resource": {"sources": SOURCES.format("a.rc")},
}


@pytest.mark.parametrize("files", EMPTY.values(), ids=EMPTY.keys())
def test_a_driver_without_code_is_undecided(tmp_path, files):
    report = evaluate(lay(tmp_path, **files))
    assert report.verdict is Verdict.UNDECIDED
    assert report.answers[Question.READINESS] is Answer.UNDECIDED
    assert report.answers[Question.RUNS] is Answer.UNDECIDED
    assert any("none was looked at" in limit.reason for limit in report.limits)


@pytest.mark.parametrize(
    "files",
    [
        {"a__vcxproj": vcxproj("a.c"), "a__c": entry("")},
        {"sources": SOURCES.format("a.c"), "a__c": entry("")},
        {"CMakeLists__txt": CMAKE.format("a.c"), "a__c": entry("")},
    ],
)
def test_one_with_code_is_not(tmp_path, files):
    report = evaluate(lay(tmp_path, **files))
    assert report.verdict is Verdict.COMPATIBLE
    assert not any("none was looked at" in limit.reason for limit in report.limits)


@pytest.mark.parametrize(
    "files",
    [
        {"a__h": "#define X ExAllocatePool(NonPagedPool, 1)\n"},
        {"a__h": "static void g(void) { f(); }\n", "b__hpp": "int b;\n"},
        {"a__c": "// nothing yet\n", "a__h": "int a;\n"},
    ],
)
def test_files_without_a_project_that_no_compiler_makes_code_of(tmp_path, files):
    report = evaluate(lay(tmp_path, **files))
    assert report.answers[Question.READINESS] is Answer.UNDECIDED
    assert report.answers[Question.RUNS] is Answer.UNDECIDED


def test_a_finding_in_a_header_alone_stays_one(tmp_path):
    text = entry("p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
    report = evaluate(lay(tmp_path, a__h=text))
    assert report.answers[Question.READINESS] is Answer.NO
    assert evaluate(lay(tmp_path, a__c=text)).answers[Question.RUNS] is Answer.YES


def test_a_library_of_headers_adds_nothing(tmp_path):
    report = evaluate(lay(tmp_path, a__vcxproj=vcxproj(type="StaticLibrary"), a__h="int a;\n"))
    assert not any("none was looked at" in limit.reason for limit in report.limits)


def test_what_is_said_of_a_list_already_is_said_once(tmp_path):
    report = evaluate(lay(tmp_path, CMakeLists__txt=CMAKE.format("")))
    assert report.answers[Question.READINESS] is Answer.UNDECIDED
    assert report.answers[Question.RUNS] is Answer.UNDECIDED
    assert len([limit for limit in report.limits if "dynamic-code" in limit.rules]) == 1


def test_code_that_is_not_there_leaves_open_what_it_does(tmp_path):
    lay(tmp_path, a__vcxproj=vcxproj("a.c", "gone.c"), a__c=entry(""))
    report = evaluate(tmp_path)
    assert report.answers[Question.READINESS] is Answer.UNDECIDED
    assert report.answers[Question.RUNS] is Answer.UNDECIDED


def test_a_file_that_only_includes_others_holds_their_code(tmp_path):
    lay(tmp_path, all__c='#include "one.c"\n', driver__vcxproj=vcxproj("all.c"))
    lay(tmp_path, one__c=entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');"))
    assert not [one for one in read(tmp_path).limits if "holds code" in one.reason]
    lay(tmp_path, one__c="#define NOTHING\n")
    assert [one for one in read(tmp_path).limits if "holds code" in one.reason]
