"""An opt-in to NX counts where the driver makes it on every Windows that is aimed at."""

import pytest

from hvci.model import Outcome
from hvci.rules import judge
from sources import entry, one_file

OPT_IN = "#define POOL_NX_OPTIN 1\n"
NOW = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"
PLAIN = "p = ExAllocatePoolWithTag(NonPagedPool, 8, 't');"
VERSION = "RTL_OSVERSIONINFOW v; v.dwOSVersionInfoSize = sizeof v; RtlGetVersion(&v);"
NEVER = [
    "if (0)",
    VERSION + "if (v.dwBuildNumber >= 30000)",
    VERSION + "if (v.dwMajorVersion >= 11)",
    VERSION + "if (v.dwMajorVersion < 6)",
    VERSION + "if (v.dwMajorVersion >= 10) { } else",
]
ALWAYS = [
    "",
    "if (1)",
    VERSION + "if (v.dwMajorVersion > 6 || (v.dwMajorVersion == 6 && v.dwMinorVersion >= 2))",
    VERSION + "if (v.dwBuildNumber >= 9200)",
    "ULONG major, minor; PsGetVersion(&major, &minor, NULL, NULL); if (major >= 10)",
    "if (RtlIsNtDdiVersionAvailable(NTDDI_WIN8))",
    VERSION + "if (v.dwMajorVersion >= 10 || enabled)",
    "NTSTATUS status = f(); if (NT_SUCCESS(status))",
    "NTSTATUS status = f(); if (status == STATUS_SUCCESS)",
    "VOID *made = h(); if (made != NULL)",
    "do",
]
OPEN = [
    "if (enabled == 1)",
    "if (KeGetCurrentIrql() == PASSIVE_LEVEL)",
    "if (!enabled) { } else",
    VERSION + "if (v.dwMajorVersion >= 10) if (enabled)",
    VERSION + "if (v.dwMajorVersion >= 10 && enabled)",
    "NTSTATUS status = f(); if (NT_SUCCESS(status) && enabled)",
    "if (config.status == 1)",
    "while (enabled)",
    "for (ULONG i = 0; i < enabled; i++)",
]
GIVEN = (
    "struct { ULONG status; } config; ULONG enabled; VOID *p;\nVOID *h(VOID); NTSTATUS f(VOID);\n"
    "VOID g(VOID) { f2(&enabled, &config); }\n"
)
ORDERS = [*((each, Outcome.FAIL) for each in NEVER), *((each, Outcome.PASS) for each in ALWAYS)]
ORDERS += [(each, Outcome.UNDECIDED) for each in OPEN]


def result(tmp_path, text):
    """What the rule on pool types says of a file."""
    evidence = one_file(tmp_path, text)
    return next(each for each in judge(evidence) if each.rule == "execute-pool-type")


def closed(condition):
    """What ends a statement."""
    return "while (0);" if condition == "do" else ""


@pytest.mark.parametrize(("condition", "expected"), ORDERS)
def test_under_a_condition(tmp_path, condition, expected):
    text = OPT_IN + GIVEN + entry(condition + " { " + NOW + " } " + closed(condition) + PLAIN)
    assert result(tmp_path, text).outcome is expected


@pytest.mark.parametrize(("condition", "expected"), ORDERS)
def test_on_the_way_to_it(tmp_path, condition, expected):
    before = OPT_IN + GIVEN + "static VOID start(VOID) { " + NOW + " }\n"
    text = before + entry(condition + " { start(); } " + closed(condition) + PLAIN)
    assert result(tmp_path, text).outcome is expected


def test_one_that_surely_runs_is_enough(tmp_path):
    text = OPT_IN + GIVEN + entry("if (enabled) { " + NOW + " } " + NOW + PLAIN)
    assert result(tmp_path, text).outcome is Outcome.PASS


def test_the_condition_is_named(tmp_path):
    text = OPT_IN + GIVEN + entry("if (enabled == 1) { " + NOW + " } " + PLAIN)
    assert "is called only where `(enabled == 1)`" in repr(result(tmp_path, text))


def test_behind_a_sign_that_joins(tmp_path):
    made = NOW.replace(";", "")
    text = OPT_IN + GIVEN + entry(f"enabled && ({made}, 1); " + PLAIN)
    assert result(tmp_path, text).outcome is Outcome.UNDECIDED


def test_in_a_switch(tmp_path):
    text = OPT_IN + GIVEN + entry("switch (enabled) { case 1: " + NOW + " break; } " + PLAIN)
    assert result(tmp_path, text).outcome is Outcome.UNDECIDED
