"""What all tests share: how fast a law is tried says nothing of it; which cases follow lines."""

from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

HERE = Path(__file__).parent
MOST = 8
"""Cases of one test in which lines are followed: the others say the same of other data."""
VERDICT = ("rules", "catalog", "model")
"""Where every branch is tested, so that every case counts."""
DRIVERS = ("agreement", "evidence", "fuzz", "golden", "property", "verifier/test_marks.py")
"""What runs whole drivers: it goes through every room and shows of none that it is tested."""


def pytest_addoption(parser):
    parser.addoption(
        "--cases",
        choices=("followed", "others"),
        help="only those cases in which coverage follows lines, or only the others",
    )


def pytest_collection_modifyitems(config, items):
    asked = config.getoption("--cases")
    if asked is None:
        return
    counts = Counter(map(test_of, items))
    seen = Counter()
    kept, left = [], []
    for item in items:
        test = test_of(item)
        is_asked = is_followed(item, seen[test], counts[test]) is (asked == "followed")
        (kept if is_asked else left).append(item)
        seen[test] += 1
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def test_of(item):
    return item.nodeid.partition("[")[0]


def is_followed(item, number, count):
    """Whether a case is one of the MOST of its test, which are spread over all of them."""
    path = item.path.relative_to(HERE).as_posix()
    if path.startswith(DRIVERS):
        return False
    spread = number * MOST // count != (number - 1) * MOST // count
    return path.startswith(VERDICT) or count <= MOST or spread
