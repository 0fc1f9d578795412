"""A header in quotes that nobody has leaves open what it may change, and nothing else."""

import pytest

from clock import Clock
from hvci.model import Outcome
from hvci.rules import judge
from sources import definitions, entry, lay, read, vcxproj

POOL, MAPPING, PROTECTION = "execute-pool-type", "execute-page-mapping", "execute-page-protection"
HEADER = '#include "notthere.h"\n'
GOOD = "p = ExAllocatePool2(POOL_FLAG_NON_PAGED, 16, 'abcd');\n"
BAD = "p = ExAllocatePool(NonPagedPool, 1);\n"


def driver(tmp_path, body, before=HEADER, extra="", **files):
    """The evidence of a driver of one file."""
    project = vcxproj("w.c", extra=extra)
    return read(lay(tmp_path, w__c=before + entry(body), w__vcxproj=project, **files))


def outcome(evidence, rule=POOL):
    return next(one for one in judge(evidence) if one.rule == rule).outcome


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("OUR_ALLOC(NonPagedPool, 1);", POOL),
        ("#ifdef A\n#endif\nOUR_ALLOC(NonPagedPool, 1);", POOL),
        ("if (p)\nOUR_ALLOC(NonPagedPool, 1);\nelse\nOUR_ALLOC(PagedPool, 1);", POOL),
        ("p = OurAlloc(sizeof(int) * (2), (POOL_TYPE)(NonPagedPool));", POOL),
        ("p = OUR_ALLOC(NonPagedPoolCacheAligned | POOL_COLD_ALLOCATION, 1);", POOL),
        ("p = OUR_ALLOC(POOL_FLAG_NON_PAGED_EXECUTE, 1);", POOL),
        ("OUR_PROTECT(p, PAGE_EXECUTE_READWRITE);", PROTECTION),
        ("p = OUR_MAP(mdl, NormalPagePriority);", MAPPING),
        ("p = OUR_MAP(mdl, HighPagePriority | MdlMappingNoWrite);", MAPPING),
    ],
)
def test_a_constant_that_asks_is_given_to_what_nobody_declares(tmp_path, statement, rule):
    evidence = driver(tmp_path, statement)
    assert outcome(evidence, rule) is Outcome.UNDECIDED
    (reason,) = [one.reason for one in evidence.limits if "notthere.h, which" in one.reason]
    assert reason.startswith(f"{tmp_path.as_posix()}/w.c:") and "nothing here declares" in reason
    assert reason.endswith("put it into the tree, or name its folder in the project")
    others = {POOL, PROTECTION, MAPPING} - {rule}
    assert {outcome(evidence, one) for one in others} == {Outcome.PASS}


@pytest.mark.parametrize(
    "statement",
    [
        "OUR_ALLOC(NonPagedPoolNx, 1);",
        "OUR_ALLOC(PagedPool, 1);",
        "OUR_ALLOC(POOL_FLAG_NON_PAGED, 1);",
        "OUR_PROTECT(p, PAGE_READWRITE);",
        "OUR_MAP(mdl, NormalPagePriority | MdlMappingNoExecute);",
        "if (type == NonPagedPool) { OUR_LOG(type); }",
        "x->Alloc(NonPagedPool, 1);",
        "OUR_CHECK(type == NonPagedPool);",
        "OUR_CHECK(type & NonPagedPoolMustSucceed, 1);",
        "_Our_annotation_(NonPagedPool);",
        "/* OUR_ALLOC(NonPagedPool, 1) */",
        "DECLARED(NonPagedPool, 1);",
        "KeFooBar(NonPagedPool, 1);",
        GOOD,
    ],
)
def test_what_asks_for_nothing_stays_as_it_is(tmp_path, statement):
    before = HEADER + "void DECLARED(int type, int size);\n"
    assert outcome(driver(tmp_path, statement, before)) is Outcome.PASS


@pytest.mark.parametrize(
    "before",
    [
        "",
        '#include "w.tmh"\n',
        '#if 0\n#include "notthere.h"\n#endif\n',
        "#include <notthere.h>\n",
        '#include "there.h"\n',
        '#include "ntddk.h"\n',
    ],
)
def test_without_a_missing_header_nothing_is_open(tmp_path, before):
    body = "OUR_ALLOC(NonPagedPool, 1);\n#if UNKNOWN_FLAG\n" + BAD + "#endif\n"
    assert outcome(driver(tmp_path, body, before, there__h="\n")) is Outcome.PASS


def test_a_header_that_a_header_misses_counts(tmp_path):
    body, before = "OUR_ALLOC(NonPagedPool, 1);", '#include "there.h"\n'
    assert outcome(driver(tmp_path, body, before, there__h=HEADER)) is Outcome.UNDECIDED
    known = HEADER + "#define OUR_ALLOC(t, n) ((void)0)\n"
    assert outcome(driver(tmp_path, body, before, there__h=known)) is Outcome.PASS


def test_the_opt_in_makes_the_constant_harmless(tmp_path):
    extra = definitions("POOL_NX_OPTIN_AUTO=1")
    evidence = driver(tmp_path, "OUR_ALLOC(NonPagedPool, 1);", extra=extra)
    assert outcome(evidence) is Outcome.PASS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"#if UNKNOWN_FLAG\n{BAD}#endif\n", Outcome.UNDECIDED),
        (f"#ifdef UNKNOWN_FLAG\n{BAD}#endif\n", Outcome.UNDECIDED),
        (f"#ifndef UNKNOWN_FLAG\n{GOOD}#else\n{BAD}#endif\n", Outcome.UNDECIDED),
        (f"#if 0\n{GOOD}#elif UNKNOWN_FLAG > 2\n{BAD}#endif\n", Outcome.UNDECIDED),
        (f"#if UNKNOWN_FLAG\n#if OTHER\n{BAD}#endif\n#endif\n", Outcome.UNDECIDED),
        (f"#if UNKNOWN_FLAG\n{GOOD}#endif\n", Outcome.PASS),
        (f"#if 0\n{BAD}#endif\n", Outcome.PASS),
        (f"#ifdef __linux__\n{BAD}#endif\n", Outcome.PASS),
        (f"#if _WIN32_WINNT < 0x600\n{BAD}#endif\n", Outcome.PASS),
        (f"#define KNOWN 0\n#if KNOWN\n{BAD}#endif\n", Outcome.PASS),
    ],
)
def test_calls_in_branches_on_names_that_nothing_defines(tmp_path, text, expected):
    evidence = driver(tmp_path, text)
    assert outcome(evidence) is expected
    told = [one.reason for one in evidence.limits if "if UNKNOWN_FLAG is defined" in one.reason]
    assert len(told) == (expected is Outcome.UNDECIDED)


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("__writecr0(__readcr0() & ~0x10000);", "writes-executable-memory"),
        ("*(PUCHAR)DriverEntry = 0xC3;", "writes-executable-memory"),
    ],
)
def test_what_code_does_in_branches_on_names_that_nothing_defines(tmp_path, statement, rule):
    text = f"#if UNKNOWN_FLAG\n{statement}\n#endif\n"
    assert outcome(driver(tmp_path, text), rule) is Outcome.UNDECIDED
    assert outcome(driver(tmp_path, text, before=""), rule) is Outcome.PASS
    assert outcome(driver(tmp_path, text.replace("UNKNOWN_FLAG", "0")), rule) is Outcome.PASS


def test_many_places_cost_as_much_as_the_text_is_long(tmp_path):
    """With the square of it, four thousand took 40 seconds."""
    text = "".join(f"#if F{i}\n#define P{i} NonPagedPool\n#endif\n" for i in range(4000))
    body = "".join(f"OUR_ALLOC(NonPagedPool, P{i});\n" for i in range(4000))
    with Clock() as clock:
        evidence = driver(tmp_path, body, HEADER + text)
    assert len(evidence.limits) > 8000
    assert clock.seconds < 8


def test_definitions_in_branches_on_names_that_nothing_defines(tmp_path):
    chosen = "#ifdef UNKNOWN_FLAG\n#define POOL {}\n#else\n#define POOL NonPagedPoolNx\n#endif\n"
    body = "p = ExAllocatePoolWithTag(POOL, 1, 'abcd');"
    bad, good = HEADER + chosen.format("NonPagedPool"), HEADER + chosen.format("PagedPool")
    assert outcome(driver(tmp_path, body, bad)) is Outcome.UNDECIDED
    assert outcome(driver(tmp_path, body, good)) is Outcome.PASS
    assert outcome(driver(tmp_path, GOOD, bad)) is Outcome.PASS
    assert outcome(driver(tmp_path, body, bad.replace(HEADER, ""))) is Outcome.PASS


OPTS = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"


@pytest.mark.parametrize(
    ("head", "statement", "is_open"),
    [
        ('#include "gone.h"\n#include <ntddk.h>\n', OPTS, True),
        ('#include "gone.h"\n', OPTS, True),
        ('#include "here.h"\n', OPTS, True),
        ('#include <ntddk.h>\n#include "gone.h"\n', OPTS, False),
        ('#include "trace.tmh"\n#include <ntddk.h>\n', OPTS, False),
        ('#if 0\n#include "gone.h"\n#endif\n#include <ntddk.h>\n', OPTS, False),
        ('#include "gone.h"\n#include <ntddk.h>\n', "", False),
    ],
)
def test_a_header_that_may_opt_in(tmp_path, head, statement, is_open):
    """A driver that makes the runtime call defines POOL_NX_OPTIN somewhere."""
    body = f"{statement} ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
    text = head + entry(body).replace("#include <ntddk.h>\n", "")
    other = '#include "here.h"\nint x;\n'
    lay(tmp_path, a__c=text, b__c=other, here__h='#pragma once\n#include "gone.h"\n')
    lay(tmp_path, d__vcxproj=vcxproj("b.c", "a.c"))
    evidence = read(tmp_path)
    assert outcome(evidence) is (Outcome.UNDECIDED if is_open else Outcome.FAIL)
    reasons = " ".join(
        call.arguments["PoolType"].reason for call in evidence.calls if call.arguments
    )
    assert ("may be defined in gone.h" in reasons) is is_open


DEFAULTS = [
    "#ifndef KIND\n#define KIND NonPagedPoolNx\n#endif\n",
    "#if !defined(KIND)\n#define KIND NonPagedPoolNx\n#endif\n",
    "#ifndef INNER\n#define INNER NonPagedPoolNx\n#endif\n#define KIND INNER\n",
]
USE = "PVOID p = ExAllocatePoolWithTag(KIND, 1, 'abcd');\n"


@pytest.mark.parametrize("text", DEFAULTS)
def test_a_value_that_a_header_may_give_before(tmp_path, text):
    evidence = driver(tmp_path, USE, HEADER + text)
    assert outcome(evidence) is Outcome.UNDECIDED
    (reason,) = [one.reason for one in evidence.limits if "notthere.h, which" in one.reason]
    assert "is defined here only where nothing defined it before" in reason


@pytest.mark.parametrize(
    "before",
    [
        *DEFAULTS,  # every header is here
        HEADER + "#define KIND NonPagedPoolNx\n",
        HEADER + "#ifndef OTHER\n#define OTHER NonPagedPool\n#endif\n#define KIND PagedPool\n",
        '#ifndef _W_H\n#define _W_H\n#include "notthere.h"\n#define KIND NonPagedPoolNx\n#endif\n',
    ],
)
def test_a_value_that_no_header_gives(tmp_path, before):
    assert outcome(driver(tmp_path, USE, before)) is Outcome.PASS


def test_a_default_that_asks_for_executable_memory_fails_as_ever(tmp_path):
    text = HEADER + DEFAULTS[0].replace("NonPagedPoolNx", "NonPagedPool")
    assert outcome(driver(tmp_path, USE, text)) is Outcome.FAIL
