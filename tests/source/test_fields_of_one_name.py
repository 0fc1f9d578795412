"""Memory that is called through a field, where several structures have a field of that name."""

import pytest

from hvci.model import Outcome
from hvci.rules import judge
from sources import entry, one_file

ALLOCATED = "ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'x')"
HEAD = """typedef VOID (*FN)(VOID);
typedef struct { FN fn; PVOID p; } S;
typedef struct { ULONG k; FN fn; PVOID p; } N;
static UCHAR code[64];
VOID Real(VOID) { }
"""


def outcome(tmp_path, outside, body):
    """What `dynamic-code` says of a driver."""
    evidence = one_file(tmp_path, HEAD + outside + entry(body))
    found = next(each for each in judge(evidence) if each.rule == "dynamic-code")
    is_open = any("several structures have" in one.reason for one in evidence.limits)
    return found.outcome, is_open


SAME = [
    ("", "N z; z.fn = (FN)@; z.fn();"),
    ("", "N *z = Get(); z->fn = (FN)@; z->fn();"),
    ("VOID run(N *z) { z->fn(); }", "N z; z.fn = (FN)@; run(&z);"),
    ("static N z;", "PVOID q = @; z.fn = (FN)q; z.fn();"),
    ("", "N z; z.fn = (FN)@; PsCreateSystemThread(&h, 0, 0, 0, 0, z.fn, 0);"),
    ("", "N z; z.p = @; DriverObject->DriverUnload = (PDRIVER_UNLOAD)z.p;"),
]


@pytest.mark.parametrize(("outside", "body"), SAME)
def test_of_the_same_structure(tmp_path, outside, body):
    assert outcome(tmp_path, outside, body.replace("@", ALLOCATED))[0] is Outcome.FAIL
    assert outcome(tmp_path, outside, body.replace("@", "(PVOID)Real")) == (Outcome.PASS, False)


@pytest.mark.parametrize("body", ["N z; z.fn = (FN)code; z.fn();", "S s = {(FN)code}; s.fn();"])
def test_data_of_the_driver(tmp_path, body):
    assert outcome(tmp_path, "", body)[0] is Outcome.FAIL
    assert outcome(tmp_path, "", body.replace("code", "Real")) == (Outcome.PASS, False)


APART = "VOID run(N *z) { z->fn(); }\n"


def test_of_another_structure(tmp_path):
    body = f"S s; s.fn = (FN){ALLOCATED}; N z; z.fn = Real; run(&z);"
    assert outcome(tmp_path, APART, body) == (Outcome.PASS, False)


OPEN = [
    ("VOID run(PVOID z) { FN f = ((N *)z)->fn; f(); }", "N z; z.fn = (FN)@; run(&z);"),
    ("struct { N *in; } o; VOID run(VOID) { o.in->fn(); }", "N z; z.fn = (FN)@; o.in = &z; run();"),
]


@pytest.mark.parametrize(("outside", "body"), OPEN)
def test_of_a_structure_that_is_not_told(tmp_path, outside, body):
    found = outcome(tmp_path, outside, body.replace("@", ALLOCATED))
    assert found == (Outcome.UNDECIDED, True)
    assert outcome(tmp_path, outside, body.replace("@", "Real")) == (Outcome.PASS, False)
