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


LED_AROUND = [
    "if (!enabled) goto skip;",
    "if (!enabled) { goto skip; }",
    "if (!enabled) return STATUS_SUCCESS;",
    "if (enabled) p = NULL; else return 0;",
    "NTSTATUS made = STATUS_SUCCESS; if (!enabled) return made;",
    "NTSTATUS made = STATUS_NO_MEMORY; made = f(); if (!enabled) return made;",
    "switch (enabled) { case 1: return STATUS_SUCCESS; }",
    "if (NT_SUCCESS(f())) return STATUS_SUCCESS;",
    "if (NT_SUCCESS(f()) && !enabled) return STATUS_SUCCESS;",
]
NOT_AROUND = [
    "if (!enabled) return STATUS_UNSUCCESSFUL;",
    "NTSTATUS made = f(); if (!NT_SUCCESS(made)) return made;",
    "NTSTATUS made = f(); if (!NT_SUCCESS(made)) goto skip;",
    "NTSTATUS made = f(); if (!NT_SUCCESS(made) && enabled) goto skip;",
    "NTSTATUS made = STATUS_UNSUCCESSFUL; if (!enabled) return made;",
    "NTSTATUS made = 0; if (!enabled) { made = STATUS_NO_MEMORY; return made; }",
    "p = h(); if (p == NULL) goto skip;",
    "if (0) return STATUS_SUCCESS;",
    VERSION + "if (v.dwMajorVersion < 6) return STATUS_SUCCESS;",
    "again: if (!enabled) goto again;",
    "while (enabled) { if (enabled == 2) break; enabled = 0; }",
    "if (enabled) { p = NULL; } else { return STATUS_UNSUCCESSFUL; }",
    "if (Interlocked) return STATUS_SUCCESS; Interlocked = TRUE;",
    "if (InterlockedExchange(&enabled, 1)) return STATUS_SUCCESS;",
]
AROUND = [*((each, Outcome.UNDECIDED) for each in LED_AROUND)]
AROUND += [(each, Outcome.PASS) for each in NOT_AROUND]


@pytest.mark.parametrize(("before", "expected"), AROUND)
def test_behind_what_leads_around_it(tmp_path, before, expected):
    text = OPT_IN + GIVEN + "BOOLEAN Interlocked;" + entry(before + NOW + " skip: ;" + PLAIN)
    assert result(tmp_path, text).outcome is expected


def test_behind_a_version_that_leads_around_it(tmp_path):
    before = VERSION + "if (v.dwMajorVersion >= 10) return; "
    text = (
        OPT_IN + "static VOID start(VOID) { " + before + NOW + " }\n" + entry("start(); " + PLAIN)
    )
    assert result(tmp_path, text).outcome is Outcome.FAIL


def test_what_leads_around_it_is_named(tmp_path):
    text = OPT_IN + GIVEN + entry("if (!enabled) return 0; " + NOW + PLAIN)
    assert "is called only where `not (!enabled)`" in repr(result(tmp_path, text))


@pytest.mark.parametrize("leaves", ["if (!enabled) break;", "if (!enabled) continue;"])
def test_in_a_loop_that_is_left_before(tmp_path, leaves):
    text = OPT_IN + GIVEN + entry("do { " + leaves + NOW + " } while (0);" + PLAIN)
    assert result(tmp_path, text).outcome is Outcome.UNDECIDED


def test_in_a_try_that_is_left_before(tmp_path):
    body = "__try { %s" + NOW + " } __finally { }" + PLAIN
    text = OPT_IN + GIVEN + entry(body % "if (!enabled) __leave; ")
    assert result(tmp_path, text).outcome is Outcome.UNDECIDED
    assert result(tmp_path, OPT_IN + GIVEN + entry(body % "")).outcome is Outcome.PASS


def test_a_return_of_a_lambda_leads_around_nothing(tmp_path):
    body = "auto each = [](int a) { if (!a) return 0; return 1; }; each(1); " + NOW + PLAIN
    evidence = one_file(tmp_path, OPT_IN + GIVEN + entry(body), "driver.cpp")
    found = next(each for each in judge(evidence) if each.rule == "execute-pool-type")
    assert found.outcome is Outcome.PASS


def test_the_way_that_surely_leads_to_it_counts(tmp_path):
    before = OPT_IN + GIVEN + "static VOID start(VOID) { " + NOW + " }\n"
    other = "static VOID other(VOID) { if (enabled) start(); }\n"
    text = before + other + entry("other(); start(); " + PLAIN)
    assert result(tmp_path, text).outcome is Outcome.PASS
    text = before + other + entry("other(); " + PLAIN)
    assert result(tmp_path, text).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(
    ("macro", "use", "expected"),
    [
        ("START() do { " + NOW + " } while (0)", "START();", Outcome.PASS),
        ("START " + NOW, "START", Outcome.PASS),
        ("START " + NOW, "if (enabled) { START }", Outcome.UNDECIDED),
        ("START(a) if (a) " + NOW, "START(enabled);", Outcome.UNDECIDED),
        ("START " + NOW, "", Outcome.FAIL),
    ],
)
def test_in_a_macro(tmp_path, macro, use, expected):
    text = OPT_IN + GIVEN + f"#define {macro}\n" + entry(use + " " + PLAIN)
    assert result(tmp_path, text).outcome is expected
