"""A call of a known library: the same outcome, its origin in the message, its own remedy."""

from dataclasses import replace

import pytest

from facts import call, evidence, moved, results
from hvci.model import Confidence, FromLibrary, Outcome

POOL = "execute-pool-type"
LIKELY = FromLibrary("wdmsec.lib", Confidence.LIKELY, "its tag")
PROVEN = FromLibrary("wdmsec.lib", Confidence.PROVEN, "symbols")
STRANGE = FromLibrary("unknown.lib", Confidence.LIKELY, "read from another version's report")


def pool(pool_type, library=None, **change):
    one = call("ExAllocatePoolWithTag", PoolType=pool_type, Tag=0x62527050)
    return replace(one, library=library, **change)


def only(one):
    (finding,) = results(evidence(calls=(one,)))[POOL].findings
    return finding


@pytest.mark.parametrize("library", [LIKELY, PROVEN, STRANGE])
def test_a_library_that_asks_for_no_execution_is_silent(library):
    assert moved(evidence(calls=(pool(0x200, library),))) == {}


@pytest.mark.parametrize("library", [None, LIKELY, PROVEN, STRANGE])
def test_the_library_changes_no_outcome_and_no_count(library):
    one = pool(0, library)
    assert moved(evidence(calls=(one,))) == {POOL: Outcome.FAIL}
    assert only(one).count == 1
    assert only(one).confidence is only(pool(0)).confidence


@pytest.mark.parametrize("library", [None, STRANGE])
def test_without_a_known_library_nothing_is_said_of_one(library):
    assert only(pool(0, library)).message.endswith("tag 'PpRb'")
    assert only(pool(0, library)).fix == "ExAllocatePool2(POOL_FLAG_NON_PAGED, ...)"


def test_a_likely_library_leaves_room_for_the_drivers_own_call():
    finding = only(pool(0, LIKELY))
    assert finding.message.endswith(
        "tag 'PpRb' (likely from wdmsec.lib of the Windows 7 kit or an older one)"
    )
    assert finding.fix.startswith("link wdmsec.lib of a current WDK")
    assert finding.fix.endswith(
        "; if the call is the driver's own: ExAllocatePool2(POOL_FLAG_NON_PAGED, ...)"
    )


def test_a_certain_library_is_stated():
    finding = only(pool(0, PROVEN))
    assert "(from wdmsec.lib of the Windows 7 kit or an older one)" in finding.message
    assert "link wdmsec.lib of a current WDK" in finding.fix
    assert "ExAllocatePool2" not in finding.fix


def test_other_notes_about_the_call_stay():
    finding = only(pool(0, PROVEN, note="in the release build"))
    assert "(in the release build; from wdmsec.lib of the" in finding.message
