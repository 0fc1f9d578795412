"""Pool types that depend on the Windows version, asked for in the ways of drivers.

The bad twins ask for executable memory on the Windows that is aimed at, or may.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import Options, evaluate
from hvci.model import Outcome, WindowsVersion

FOLDER = FIXTURES / "versions"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "execute-pool-type"


def _report(name: str, target: WindowsVersion | None = None):
    return evaluate((FOLDER / name).read_bytes(), Options(target_os=target))


def _outcome(name: str, target: WindowsVersion | None = None) -> Outcome:
    report = _report(name, target)
    return next(each.outcome for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_what_old_windows_alone_gets_is_not_counted(build: str) -> None:
    # the 0 of a routine that was not found is passed on as the pool type
    is_open = build == "versions.arm64.Os.routine"
    assert _outcome(f"{build}.clean.sys") is (Outcome.UNDECIDED if is_open else Outcome.PASS)


@pytest.mark.parametrize("build", BUILDS)
def test_what_the_windows_aimed_at_may_get_is_counted(build: str) -> None:
    assert _outcome(f"{build}.bad.sys") is Outcome.FAIL


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_call_for_old_windows_only_is_told_so(machine: str) -> None:
    report = _report(f"versions.{machine}.O0.function.clean.sys")
    dead = [each.call.dead for each in report.calls if each.call.ddi == "ExAllocatePoolWithTag"]
    why = "the check of the Windows version goes the other way on "
    assert [each.startswith(why) for each in sorted(dead)] == [False, True]


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_an_older_target_meets_older_kernels(machine: str) -> None:
    name = f"versions.{machine}.O0.routine.clean.sys"
    assert _outcome(name, WindowsVersion.WINDOWS_10_1607) is Outcome.FAIL
    assert _outcome(f"versions.{machine}.Os.flag.clean.sys", WindowsVersion.WINDOWS_7) is (
        Outcome.PASS
    )


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}
