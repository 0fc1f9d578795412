"""Shapes of code that are hard to find or to follow, one in each driver.

The drivers are assembled from tests/fixtures/code. The clean twin differs in one value, and nothing
is said of it: neither a finding nor a limit.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "code"
RULE = "execute-pool-type"
SHAPES = sorted(path.stem for path in FOLDER.glob("*.s"))
UNDECIDED = frozenset(
    (
        "padding.x86",
        "sum_store.x86",
        "lea_base.x86",
        "lea_store.x86",
        "lea_sum.x86",
        "no_unwind_part.x64",
        "pops_in_loop.x86",
        "push_ret.x64",
        "table_rva.x64",
        "table_distance.x64",
        "guard_thunk.arm64",
        "jump_on.arm64",
        "adr_leaf.arm64",
        "table_rva.arm64",
        "table_distance.arm64",
        "routine_twice.x64",
        "stack_argument.x64",
        "stack_argument.x86",
    )
)
"""Where the value comes from outside the function or the image; all others are a failure."""

OPEN = frozenset(
    (
        "sum_store.x86",
        "lea_base.x86",
        "lea_store.x86",
        "lea_sum.x86",
        "pops_in_loop.x86",
        "uneven_join.x86",
        "push_ret.x64",
        "table_rva.x64",
        "table_distance.x64",
        "guard_thunk.arm64",
        "jump_on.arm64",
        "adr_leaf.arm64",
        "table_rva.arm64",
        "table_distance.arm64",
        "routine_twice.x64",
    )
)
"""Where it is not known for the clean twin either: any element of a table, or any caller."""


def outcome(name: str) -> Outcome:
    report = evaluate((FOLDER / name).read_bytes())
    return next(each.outcome for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("shape", SHAPES)
def test_executable_memory_is_seen(shape: str) -> None:
    expected = Outcome.UNDECIDED if shape in UNDECIDED else Outcome.FAIL
    assert outcome(f"{shape}.bad.sys") is expected


@pytest.mark.parametrize("shape", sorted(OPEN))
def test_the_clean_twin_is_open_too(shape: str) -> None:
    assert outcome(f"{shape}.clean.sys") is Outcome.UNDECIDED


@pytest.mark.parametrize("shape", [each for each in SHAPES if each not in OPEN])
def test_the_clean_twin_is_silent(shape: str) -> None:
    report = evaluate((FOLDER / f"{shape}.clean.sys").read_bytes())
    assert outcome(f"{shape}.clean.sys") is Outcome.PASS
    assert not [limit for limit in report.limits if RULE in limit.rules]
