"""Everything that Windows prints when it refuses a driver is explained, never as another gate."""

import pytest

from hvci.catalog import families
from hvci.catalog.gates import gates
from hvci.errors import UsageError
from hvci.model.gates import Effect, Gate, Kind, same_provider
from hvci.report.glossary import TERMS
from hvci.report.pages import explain

SIGNS = gates().signs


def facts(*words):
    return dict(explain(words).facts)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.kind}-{sign.id}")
def test_every_sign_has_a_page_that_names_its_gate(sign):
    if sign.kind is Kind.BUGCHECK:
        assert explain((f"{sign.id:#x}",)).title.startswith(f"bug check 0x{sign.id:X} ")
        return
    word = f"{sign.id:#x}" if sign.kind is Kind.STATUS else str(sign.id)
    page = explain((sign.kind.value, word))
    assert page.title == f"{sign.name}: {sign.title}"
    title = gates().gates[sign.gate].title if sign.gate else "several, or none"
    assert dict(page.facts)["Gate"].startswith(title)


@pytest.mark.parametrize(
    ("words", "gate"),
    [
        (("3111",), "memory integrity"),
        (("3087",), "memory integrity"),
        (("3072",), "memory integrity"),
        (("3077",), "several"),
        (("Event ID 3111",), "memory integrity"),
        (("3004",), "code signing"),
        (("code", "48"), "driver compatibility database"),
        (("Code", "(52)"), "code signing"),
        (("48",), "driver compatibility database"),
        (("0xC000036B",), "driver compatibility database"),
        (("0xc000036c",), "driver compatibility database"),
        (("-1073740760",), "several"),
        (("0xC0000428",), "code signing"),
        (("STATUS_DRIVER_BLOCKED",), "driver compatibility database"),
        (("CM_PROB_UNSIGNED_DRIVER",), "code signing"),
        (("577",), "code signing"),
        (("{8F9CB695-5D48-48D6-A329-7202B44607E3}",), "Windows Driver Policy"),
        (("policy", "784C4414-79F4-4C32-A6A5-F0FB42A51D0D"), "Windows Driver Policy"),
        (("d2bda982-ccf6-4344-ac5b-0b44427b6816",), "vulnerable driver block list"),
    ],
)
def test_what_people_type_leads_to_the_gate(words, gate):
    if words[0].startswith("-"):
        # A signed status, as PowerShell prints it.
        words = ("status", words[0])
        gate = "code signing"
    assert facts(*words)["Gate"].startswith(gate)


def test_3087_is_no_refusal_and_3111_is():
    assert "loaded" in facts("3087")["Effect"]
    assert facts("3111")["Effect"] == "the driver did not load"


@pytest.mark.parametrize("gate", Gate)
def test_every_gate_has_a_page_with_its_signs(gate):
    page = explain((gate.value,))
    assert page == explain(("gate", gate.value))
    assert all(dict(page.facts)[part] for part in ("Means", "Do", "Shows as", "Evidence", "Page"))
    assert gate.value in dict(explain(("gates",)).facts)


def test_only_policies_and_their_events_speak_of_the_driver_policy():
    policy = [sign for sign in SIGNS if sign.gate is Gate.DRIVER_POLICY]
    assert {sign.kind for sign in policy} == {Kind.POLICY}
    events = [sign.id for sign in SIGNS if sign.kind is Kind.EVENT and sign.gate is Gate.IMAGE]
    assert events == [3072, 3073, 3074, 3087, 3111]
    audits = {sign.id for sign in SIGNS if sign.effect is Effect.AUDIT}
    assert {3072, 3073, 3076, 3087} <= audits
    assert not {3077, 3111} & audits


@pytest.mark.parametrize("name", TERMS)
def test_every_term_has_a_page(name):
    assert all(facts(name)[part] for part in ("Means", "Do", "Page"))


@pytest.mark.parametrize(
    "name", [name for family in families().values() for name in family.constants]
)
def test_every_constant_has_a_page(name):
    page = dict(explain((name.lower(),)).facts)
    assert page["Executable"] in ("yes", "no", "depends on the routine")


def test_constants_say_whether_they_execute_and_what_replaces_them():
    assert facts("NonPagedPoolNx")["Executable"] == "no"
    assert facts("NonPagedPool")["Executable"] == "yes"
    assert facts("NonPagedPool")["Instead"] == "NonPagedPoolNx"
    assert "ExAllocatePoolWithTag" in facts("NonPagedPool")["Used by"]


def test_providers_are_written_in_several_ways():
    assert same_provider("CodeIntegrity", "Microsoft-Windows-CodeIntegrity")
    assert same_provider("BugCheck", "Microsoft-Windows-WER-SystemErrorReporting")
    assert not same_provider("Kernel-PnP", "Microsoft-Windows-CodeIntegrity")
    assert gates().find(Kind.EVENT, 219, "Kernel-PnP") is not None
    assert gates().find(Kind.EVENT, 219, "Tcpip") is None


@pytest.mark.parametrize("words", [("event", "what"), ("code", "4711"), ("policy", "x")])
def test_what_is_not_known_is_said(words):
    with pytest.raises(UsageError, match="hvci knows"):
        explain(words)


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (("Windows", "Driver", "Policy"), "gate driver-policy"),
        (("Driver Policy",), "gate driver-policy"),
        (("drvmain.sdb",), "gate compat-db"),
        (("compatibility-database",), "gate compat-db"),
        (("blocklist",), "gate block-list"),
        (("smart", "app", "control"), "gate app-control"),
        (("memory-integrity",), "memory integrity"),
        (("failure", "bitmap"), "failure bitmap"),
        (("strict", "mode"), "strict mode"),
        (("WHQL",), "WHCP"),
        (("bug", "check", "0x50"), "bug check 0x50"),
        (("ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",), "bug check 0xFC"),
        (("DRIVER_VERIFIER_DETECTED_VIOLATION", "0x2000"), "bug check 0xC4"),
    ],
)
def test_other_words_for_the_same(words, title):
    assert explain(words).title.startswith(title)
