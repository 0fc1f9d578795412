"""Values that cross files, pointers and structures, as the comments in the sources have them.

`41410002: 0x0 0x200` says what the call with that tag can receive, all of it; `?` that more may be
possible; `opt-in` that the first value holds before the opt-in only; `|` stands between answers
that are both right. `limit: stored` says that a routine's address goes where it is not followed.
None of the drivers forgets to opt in.
"""

import re
from pathlib import Path

import pytest

from hvci.evaluate import evaluate
from hvci.model.findings import Outcome

FOLDER = Path(__file__).parent.parent / "fixtures" / "flow"
_MARK = re.compile(r"/\* ([0-9A-F]{8}): (.*?) \*/")
DRIVERS = sorted(FOLDER.glob("*.sys"))


def _text(driver: Path) -> str:
    name = driver.name.partition(".")[0]
    return "".join(path.read_text() for path in sorted(FOLDER.glob(f"{name}.*c")))


def _expected(driver: Path) -> dict[int, str]:
    return {int(tag, 16): words for tag, words in _MARK.findall(_text(driver))}


def _said(value) -> str:
    words = ["opt-in"] if value.opt_in else []
    words += [hex(each) for each in sorted(value.possible)]
    return " ".join(words if value.complete else [*words, "?"])


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.name for path in DRIVERS])
def test_pool_types(driver):
    found = {}
    for judged in evaluate(driver).calls:
        if "PoolType" in judged.call.arguments:
            (tag,) = judged.call.arguments["Tag"].possible
            found.setdefault(tag, []).append(_said(judged.call.arguments["PoolType"]))
    expected = _expected(driver)
    assert expected
    wrong = {
        f"{tag:#x}": (words, expected[tag])
        for tag, words in found.items()
        if not set(words) <= set(expected[tag].split(" | "))
    }
    assert not wrong
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.name for path in DRIVERS])
def test_no_opt_in_is_forgotten(driver):
    outcomes = {each.rule: each.outcome for each in evaluate(driver).results}
    assert outcomes["nx-opt-in"] is not Outcome.FAIL


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.name for path in DRIVERS])
def test_limits(driver):
    limits = [each.reason for each in evaluate(driver).limits if "execute-pool-type" in each.rules]
    assert any("stored" in reason for reason in limits) is ("limit: stored" in _text(driver))
