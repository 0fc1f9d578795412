"""What Windows prints, as people write it, and how a sign is found by it."""

import pytest

from hvci.model import Confidence
from hvci.model.gates import Effect, Gate, Gates, Kind, Sign, same_provider


def sign(kind, id_, provider=""):
    evidence = frozenset({Confidence.OBSERVED})
    return Sign(kind, id_, Gate.IMAGE, Effect.REFUSED, "t", "m", evidence, "s", provider)


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (sign(Kind.EVENT, 3087, "Microsoft-Windows-CodeIntegrity"), "event 3087 of Microsoft-"),
        (sign(Kind.CODE, 39), "Device Manager code 39"),
        (sign(Kind.ERROR, 577), "Windows error 577"),
        (sign(Kind.ERROR, 0x800B0109), "Windows error 0x800B0109"),
        (sign(Kind.POLICY, "d2bda982-ccf6-4344"), "policy {D2BDA982-CCF6-4344}"),
        (sign(Kind.STATUS, 0xC0000428), "status 0xC0000428"),
        (sign(Kind.BUGCHECK, 0xC4), "bug check 0xC4"),
    ],
    ids=lambda one: one.kind if isinstance(one, Sign) else "",
)
def test_a_sign_is_called_what_people_write(one, name):
    assert one.name.startswith(name)


def test_a_sign_is_found_by_kind_and_id_and_by_its_provider_if_one_is_given():
    first, second = sign(Kind.EVENT, 7, "Microsoft-Windows-One"), sign(Kind.EVENT, 7, "Two")
    known = Gates({}, (sign(Kind.CODE, 7), first, second), {})
    assert known.find(Kind.EVENT, 7) is first
    assert known.find(Kind.EVENT, 7, "two") is second
    assert known.find(Kind.EVENT, 7, "Three") is None
    assert known.find(Kind.STATUS, 7) is None


def test_event_viewer_may_leave_the_prefix_of_a_provider_out():
    assert same_provider("Microsoft-Windows-CodeIntegrity", " codeintegrity ")
    assert same_provider("Microsoft-Windows-WER-SystemErrorReporting", "BugCheck")
    assert not same_provider("CodeIntegrity", "Kernel-PnP")
