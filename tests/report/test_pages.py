"""Reference pages and decoded bug checks."""

import re

import pytest

from hvci.catalog import ddis, libraries
from hvci.errors import UsageError
from hvci.model import Counter
from hvci.report.bugchecks import decode_bugcheck, number, tag_text
from hvci.report.pages import Page, explain
from hvci.report.warnings import WARNINGS
from hvci.rules import RULES


def said(*words):
    return " ".join(explain(words).text().split())


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_page(rule):
    page = explain((rule,))
    assert page.title.startswith(f"{rule}: ")
    facts = dict(page.facts)
    assert all(facts[part] for part in ("Why", "Bad", "Good", "Fix", "Decides", "Seen in"))


@pytest.mark.parametrize("name", ddis())
def test_every_ddi_has_a_page(name):
    page = explain((name.upper(),))
    assert page.title.startswith(name)
    assert dict(page.facts)["Declaration"].startswith(f"{name}(")


@pytest.mark.parametrize("name", libraries())
def test_every_library_has_a_page(name):
    page = explain((name.upper(),))
    facts = dict(page.facts)
    assert page.title.startswith(name)
    assert all(facts[part] for part in ("Gives", "Known", "Fix", "Likely by", "Page"))
    assert ("Certain by" in facts) == bool(libraries()[name].functions)
    assert explain((name.partition(".")[0],)) == page


def test_the_rule_names_the_libraries_that_break_it():
    assert "wdmsec.lib" in dict(explain(("execute-pool-type",)).facts)["Libraries"]
    assert "Libraries" not in dict(explain(("execute-page-mapping",)).facts)


@pytest.mark.parametrize("warning", WARNINGS)
def test_every_warning_has_a_page(warning):
    assert explain((warning.lower(),)).title.startswith(f"warning {warning}: ")
    assert explain((warning[1:],)) == explain((warning,))


@pytest.mark.parametrize("counter", Counter)
def test_every_counter_leads_to_its_rule(counter):
    page = explain((f"{counter.hlk_name} Count:",))
    assert page.title.startswith(counter.rule)
    assert page == explain(tuple(counter.hlk_name.split()))


def test_seed_ddis_and_bare_ones():
    assert "listed by Microsoft" in said("ExAllocatePoolWithTag")
    assert "Bug check 0xC4 0x2000" in said("ExAllocatePoolWithTag")


def test_pool_arguments_are_decoded():
    page = said("0xC4", "0x2000", "fffff801`12345678", "0x400", "0x64636261")
    assert "0x2000: the driver asks for executable pool memory" in page
    assert "Called from 0xfffff80112345678" in page
    assert "Pool type NonPagedPool | POOL_ZERO_ALLOCATION (0x400)" in page
    assert "Pool tag 'abcd' (0x64636261)" in page
    assert "Pool tag none (0x0)" in said("C4", "2000", "1", "0", "0")


def test_protection_and_priority_are_decoded():
    assert "PAGE_EXECUTE_READWRITE (0x40)" in said("c4", "0x2001", "1", "0x40", "0")
    assert "NormalPagePriority (0x10)" in said("c4", "0x2002", "1", "0x10")
    assert "Protection 0x800000" in said("c4", "0x2001", "1", "800000")


@pytest.mark.parametrize(
    ("subcode", "rule"),
    [
        ("0x2003", "execute-write-section"),
        ("0x2004", "section-alignment"),
        ("0x2005", "iat-in-executable-section"),
        ("0x2006", "iat-in-executable-section"),
    ],
)
def test_image_checks(subcode, rule):
    page = said("0xC4", subcode, "1", "2", "3")
    assert "dS 0x1" in page
    assert "da 0x3" in page
    assert decode_bugcheck(0xC4, (int(subcode, 16),)).rule == rule
    assert said(subcode) == said("0xC4", subcode)


def test_old_kernels_are_mentioned_where_they_differ():
    assert "early Windows 10 kernels" in said("0x2005")
    assert "early Windows 10 kernels" in said("0x2006")
    assert "0x2006: the import address table" in said("0x2006")
    assert "early Windows 10 kernels" not in said("0x2004")


def test_verifier_without_or_with_another_subcode():
    assert "0x2003 the image has a section" in said("DRIVER_VERIFIER_DETECTED_VIOLATION")
    assert "0x91 is not one of the memory integrity checks" in said("0xC4", "0x91")


def test_access_faults():
    write = said("0xBE", "fffff80112345678", "8A00000012345021")
    assert "ATTEMPTED_WRITE_TO_READONLY_MEMORY: code wrote to memory" in write
    assert "valid, not writable, not executable" in write
    execute = said("0xFC", "1", "63")
    assert "code ran from memory that is not executable" in execute
    assert "valid, writable, executable" in execute
    assert "not a valid entry" in said("fc", "1", "0")
    assert "0xFC" in said("fc")


def test_too_many_parameters():
    with pytest.raises(UsageError, match="four parameters"):
        explain(("0xC4", "1", "2", "3", "4", "5"))


@pytest.mark.parametrize("word", ["nonsense", "0x9F", "event 9", "code what"])
def test_unknown_words(word):
    with pytest.raises(UsageError, match="hvci"):
        explain(tuple(word.split()))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("0xC4", "foo"), "'foo' is no number"),
        (("2000", "0x1", "foo"), "'foo' is no number"),
        (("MmMapIoSpace", "foo"), "'foo' behind MmMapIoSpace is not understood"),
        (("execute-pool-type", "a", "b"), "'a b' behind execute-pool-type"),
        (("C30030", "foo"), "'foo' behind C30030"),
        (("wdmsec.lib", "foo"), "'foo' behind wdmsec.lib"),
    ],
)
def test_what_is_not_understood_is_named(words, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        explain(words)


@pytest.mark.parametrize(
    "word", ["loads", "readiness", "runs", "undecided", "compatible", "incompatible"]
)
def test_the_words_of_a_report_are_explained(word):
    assert explain((word,)).title.lower().startswith(word.lower())


def test_close_names_are_offered():
    with pytest.raises(UsageError, match="did you mean execute-pool-type"):
        explain(("execute-pool-typ",))


def test_numbers_and_tags():
    assert number("fffff801`00000000") == 0xFFFFF80100000000
    assert number("attempted_execute_of_noexecute_memory") == 0xFC
    assert tag_text(0x00626101) == ".ab"


def test_pages_wrap_at_blanks_only():
    page = Page("T", (("Label", "word " * 30 + "https://a-b-c"), ("Empty", "")))
    lines = page.text(40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[-1] == "Empty"
