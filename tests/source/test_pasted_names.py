"""Names of routines that macros paste together: calls by them are never passed in silence."""

import pytest

from hvci.evaluate import evaluate
from hvci.model import Answer, Question
from sources import entry, lay, vcxproj

CALL = "p = {}(NonPagedPool, 8, 'a');"
PASTED = {
    "the first part is there": ("#define EX(x) Ex##x", "EX(AllocatePoolWithTag)"),
    "the last part is there": ("#define WITH(x) x##WithTag", "WITH(ExAllocatePool)"),
    "two parameters": ("#define JOIN(a, b) a ## b", "JOIN(ExAllocate, PoolWithTag)"),
    "three parts": ("#define JOIN(a, b, c) a##b##c", "JOIN(Ex, AllocatePool, WithTag)"),
    "parts around one": ("#define EX(x) Ex##x##WithTag", "EX(AllocatePool)"),
    "what is pasted twice": (
        "#define CAT2(a, b) a##b\n#define CAT(a, b) CAT2(a, b)",
        "CAT(CAT(Ex, Allocate), PoolWithTag)",
    ),
    "both parts are there": ("#define ASK ExAllocate ## PoolWithTag", "ASK"),
    "with a line that goes on": ("#define EX(x) \\\n    Ex##x", "EX(AllocatePoolWithTag)"),
}
OTHER = {
    "a name of its own": ("#define MY(x) My##x", "MY(AllocatePoolWithTag)"),
    "the other part is not there": ("#define EX(x) Ex##x", "EX(FreePoolWithTag)"),
    "strings": (
        '#define SAY(s, ...) DbgPrint("a: "##s"\\n", ##__VA_ARGS__)',
        'SAY("ExAllocatePoolWithTag"); ExAllocatePoolWithTag',
    ),
    "a number": ("#define WIDE(x) L##x", "f"),
    "what is never compiled": ("#if 0\n#define EX(x) Ex##x\n#endif", "EX(AllocatePoolWithTag)"),
    "no pasting": ("#define SAME(x) x", "f"),
}


def judged(tmp_path, define, name):
    text = define + "\n" + entry(CALL.format(name))
    lay(tmp_path, a__vcxproj=vcxproj("a.c"), a__c=text)
    return evaluate(tmp_path)


def limits(report):
    return [one for one in report.limits if "may make the name" in one.reason]


@pytest.mark.parametrize(("define", "name"), PASTED.values(), ids=PASTED.keys())
def test_it_is_undecided_and_named(tmp_path, define, name):
    report = judged(tmp_path, define, name)
    (limit,) = limits(report)
    assert "ExAllocatePoolWithTag" in limit.reason
    assert "execute-pool-type" in limit.rules
    assert limit.site.line == 1
    assert report.answers[Question.READINESS] is Answer.UNDECIDED


@pytest.mark.parametrize(("define", "name"), OTHER.values(), ids=OTHER.keys())
def test_of_other_names_nothing_is_said(tmp_path, define, name):
    assert not limits(judged(tmp_path, define, name))
