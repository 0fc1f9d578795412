"""A bound that was reached is said in the report, and weakens what it concerns."""

import pytest

from hvci.verifier import checks, processor_state, results, survey, tracer
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import Session, run_here
from patched import BUILT, starts_with


def image(name):
    return (BUILT / name).read_bytes()


def reasons(name, **options):
    run = run_here(image(name), VerifierOptions(force=False, **options))
    return {limit.reason: limit.rules for limit in run.limits}


def test_a_run_within_its_bounds_has_no_limit():
    assert reasons("write_protect_clean.x64.o2.sys", trace=True) == {}


def test_instructions_beyond_the_bound_weaken_the_behaviours(monkeypatch):
    assert reasons("processor_state_bad.x64.o2.sys") == {}
    monkeypatch.setattr(processor_state, "MAX_WATCHED", 1)
    (found,) = reasons("processor_state_bad.x64.o2.sys").items()
    assert "processor's state" in found[0]
    assert found[1] == results.RUN_RULES


def test_bug_checks_beyond_the_bound_are_counted(monkeypatch):
    everything = len(run_here(image("calls_bad.x64.o2.sys"), VerifierOptions()).events)
    monkeypatch.setattr(checks, "MAX_EVENTS", 3)
    session = Session(image("calls_bad.x64.o2.sys"), VerifierOptions(force=False))
    run = session.run()
    assert len(run.events) == 3 < everything
    assert any("more bug checks" in limit.reason for limit in run.limits)


def test_a_trace_that_ends_early_says_so(monkeypatch):
    monkeypatch.setattr(tracer, "MAX_LINES", 5)
    (reason,) = reasons("calls_clean.x64.o2.sys", trace=True)
    assert "trace" in reason


@pytest.mark.parametrize(
    ("machine", "code"),
    [
        ("x64", "3d03202200 3d07202200 c3"),
        ("x86", "3d03202200 3d07202200 c20800"),
        ("arm64", "60008452 4004a072 e0008452 4004a072 c0035fd6"),
    ],
)
def test_control_codes_beyond_the_bound_are_counted(monkeypatch, machine, code):
    data = starts_with(f"calls_clean.{machine}.o2.sys", bytes.fromhex(code))
    options = VerifierOptions(force=False)
    assert run_here(data, options).limits == ()
    monkeypatch.setattr(survey, "MAX_CODES", 1)
    (limit,) = run_here(data, options).limits
    count, _, rest = limit.reason.partition(" ")
    assert int(count) >= 1
    assert rest == "I/O control codes of the code were not sent"
