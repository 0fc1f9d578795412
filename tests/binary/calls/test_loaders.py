"""Imports that load code: each use that is no plain call weakens the rule that they decide."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

CODE = FIXTURES / "code"
RULE = "data-file-as-executable"


def renamed(driver: str, name: str) -> bytes:
    """A driver whose one allocation routine is called otherwise."""
    data = (CODE / driver).read_bytes()
    old = b"ExAllocatePoolWithTag\0"
    assert data.count(old) == 1
    return data.replace(old, name.encode().ljust(len(old), b"\0"))


def reasons(image: bytes) -> list[str]:
    return [each.reason for each in evaluate(image).limits if RULE in each.rules]


@pytest.mark.parametrize("machine", ["x64", "x86"])
def test_a_loader_whose_address_is_passed_on_is_a_limit(machine: str) -> None:
    image = renamed(f"stack_argument.{machine}.bad.sys", "ZwLoadDriver")
    assert reasons(image) == ["the address of ZwLoadDriver is stored or passed on"]
    result = next(each for each in evaluate(image).results if each.rule == RULE)
    assert result.outcome is not Outcome.PASS


@pytest.mark.parametrize("machine", ["x64", "x86"])
def test_another_routine_is_not(machine: str) -> None:
    assert reasons(renamed(f"stack_argument.{machine}.bad.sys", "NtClose")) == []


def test_a_loader_that_is_only_called_is_a_finding_and_no_limit() -> None:
    image = renamed("large_argument.x64.bad.sys", "ZwLoadDriver")
    assert reasons(image) == []
    result = next(each for each in evaluate(image).results if each.rule == RULE)
    assert any("ZwLoadDriver" in each.message for each in result.findings)
