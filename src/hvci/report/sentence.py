"""The one sentence that says what happens to a driver with memory integrity on.

Made of the three answers, the number of places that the readiness test would count, and whether the
file carries a signature; the same for every output and every policy. Knows no layout.
"""

from __future__ import annotations

from hvci.model import Answer, Confidence, Outcome, Question, Report, Signed
from hvci.model.judged import USER_ONLY
from hvci.model.record import record

NOTHING_ASKED = "undecided: nothing was examined that could answer"
NOTHING_IN_SOURCES = (
    "nothing in the sources speaks against memory integrity; check the built .sys for the rest"
)
NO_DRIVER_IN_SOURCES = (
    "builds no kernel driver: programs for user mode only, of which memory integrity asks nothing"
)
_TEST = "the readiness test"


@record
class Fate:
    """What a sentence depends on."""

    loads: Answer | None
    readiness: Answer | None
    runs: Answer | None
    places: int = 0
    """Places that the readiness test counts when they run."""
    is_source: bool = False
    if_signed: bool = False
    """The file carries no signature, without which nothing loads with memory integrity on."""
    is_inferred: bool = False
    """That it does not load follows from what is known, and was not observed."""
    fails_unloaded: bool = True
    """The readiness test fails for more than what keeps it from loading."""
    is_user_only: bool = False
    """The sources build programs for user mode only."""


def summary(report: Report) -> str:
    """The sentence for one report; what a policy accepts changes nothing in it."""
    answers = report.answers
    return sentence(
        Fate(
            answers[Question.LOADS],
            answers[Question.READINESS],
            answers[Question.RUNS],
            places(report),
            report.target.kind == "source",
            is_unsigned(report),
            _is_inferred(report),
            _fails_unloaded(report),
            any(limit.reason == USER_ONLY for limit in report.limits),
        )
    )


def places(report: Report) -> int:
    """How many places the readiness test counts; findings that move no counter when none does."""
    if counted := sum(report.counters.values()):
        return counted
    return sum(
        finding.outcome is Outcome.FAIL
        for result in report.results
        if Question.READINESS in result.questions
        for finding in result.findings
    )


def is_unsigned(report: Report) -> bool:
    """Whether the file carries no intact signature and no catalog that was given covers it."""
    if report.trust is not None:
        return report.trust.signed in (Signed.NONE, Signed.DAMAGED)
    return report.image is not None and not report.image.signed


def told_answers(report: Report) -> dict[str, Answer | None]:
    """The answers as machines read them, by name; `image_check` is what `loads` rests on.

    Nothing unsigned loads with memory integrity on, so that "yes" of the image check alone leaves
    open whether such a file loads.
    """
    answers = report.answers
    checked = answers[Question.LOADS]
    is_open = checked is Answer.YES and is_unsigned(report)
    return {
        **{str(question): answer for question, answer in answers.items()},
        str(Question.LOADS): Answer.UNDECIDED if is_open else checked,
        "image_check": None if report.image is None else checked,
    }


def _is_inferred(report: Report) -> bool:
    """Whether all that keeps it from loading is inferred."""
    return not any(
        finding.outcome is Outcome.FAIL and finding.confidence is not Confidence.INFERRED
        for result in report.results
        if Question.LOADS in result.questions
        for finding in result.findings
    )


def _fails_unloaded(report: Report) -> bool:
    """Whether a rule fails that decides the readiness test and not whether it loads."""
    return any(
        result.outcome is Outcome.FAIL
        and Question.READINESS in result.questions
        and Question.LOADS not in result.questions
        for result in report.results
    )


def sentence(fate: Fate) -> str:
    """The sentence for any answers."""
    if not {fate.loads, fate.readiness, fate.runs} - {None}:
        return NOTHING_ASKED
    if fate.is_user_only:
        return NO_DRIVER_IN_SOURCES
    if fate.is_source:
        return _of_sources(fate)
    if fate.loads is Answer.NO:
        return _refused(fate)
    condition = "if signed: " if fate.if_signed else ""
    return f"{condition}{_loads_and_runs(fate)}, {_readiness(fate)}"


def _of_sources(fate: Fate) -> str:
    """Sources speak of what they show, never for the image that a build makes."""
    parts = []
    if fate.loads is Answer.NO:
        parts.append("the image that they build will not load")
    if fate.runs is Answer.NO:
        parts.append("breaks when it runs")
    if fate.readiness is Answer.NO:
        parts.append(_readiness(fate))
    asked = (("loads", fate.loads), ("runs", fate.runs), (f"passes {_TEST}", fate.readiness))
    open_ones = [word for word, answer in asked if answer is Answer.UNDECIDED]
    if open_ones:
        parts.append(f"undecided whether it {_listed(open_ones)}")
    return f"from the sources: {', '.join(parts)}" if parts else NOTHING_IN_SOURCES


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _refused(fate: Fate) -> str:
    """It does not load; what else would be wrong once that is mended."""
    more = []
    if fate.runs is Answer.NO:
        more.append("would break when it runs")
    if fate.runs is Answer.UNDECIDED:
        more.append("may break when it runs")
    if fate.readiness is Answer.NO and fate.fails_unloaded:
        more.append(f"would fail {_TEST} ({_count(fate.places)})")
    if fate.readiness is Answer.UNDECIDED:
        more.append(f"may fail {_TEST}")
    sure = "will not load (inferred)" if fate.is_inferred else "will not load"
    return f"{sure}; if it did, it {_listed(more)}" if more else sure


_LOADS_AND_RUNS = {
    (Answer.YES, Answer.YES): "loads and runs",
    (Answer.YES, Answer.NO): "loads, breaks when it runs",
    (Answer.YES, Answer.UNDECIDED): "loads, undecided whether it runs",
    (Answer.YES, None): "loads, not asked whether it runs",
    (Answer.UNDECIDED, Answer.YES): "undecided whether it loads, runs if it does",
    (Answer.UNDECIDED, Answer.NO): "undecided whether it loads, breaks when it runs",
    (Answer.UNDECIDED, Answer.UNDECIDED): "undecided whether it loads and runs",
    (Answer.UNDECIDED, None): "undecided whether it loads, not asked whether it runs",
    (None, Answer.YES): "not asked whether it loads, runs if it does",
    (None, Answer.NO): "not asked whether it loads, breaks when it runs",
    (None, Answer.UNDECIDED): "not asked whether it loads, undecided whether it runs",
    (None, None): "not asked whether it loads and runs",
}


def _loads_and_runs(fate: Fate) -> str:
    return _LOADS_AND_RUNS[fate.loads, fate.runs]


def _readiness(fate: Fate) -> str:
    match fate.readiness:
        case Answer.YES:
            return f"passes {_TEST}"
        case Answer.NO:
            return f"fails {_TEST} ({_count(fate.places)})"
        case Answer.UNDECIDED:
            return f"undecided whether it passes {_TEST}"
    return f"not asked whether it passes {_TEST}"


def _count(places: int) -> str:
    return "1 place" if places == 1 else f"{places} places"
