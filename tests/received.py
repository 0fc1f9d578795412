"""Whether what is said of a driver allows what its calls received when its program was run.

The drivers come from bench/random_drivers.py; each of their calls has a pool tag of its own.
"""

from collections.abc import Iterator, Mapping, Set

from hvci import catalog
from hvci.evaluate import evaluate
from hvci.model import DdiCall, Outcome

ROUTINES = ("ExAllocatePoolWithTag", "ExAllocatePoolWithQuotaTag")
RULE = "execute-pool-type"


def contradictions(image: bytes, received: Mapping[int, Set[int]]) -> Iterator[str]:
    """What was received, by tag, and is said to be impossible, in words."""
    report = evaluate(image)
    if any(RULE in limit.rules for limit in report.limits):
        return  # nothing is said for sure
    calls = [judged.call for judged in report.calls if judged.call.ddi in ROUTINES]
    for tag, values in sorted(received.items()):
        at = [call for call in calls if _allows(call, "Tag", tag)]
        if not at:
            yield f"no call with the tag {tag:#x} was found"
        for value in sorted(values):
            if at and not any(_allows(call, "PoolType", value) for call in at):
                yield f"{value:#x} with the tag {tag:#x} at {at[0].site.rva:#x}"
    is_executable = catalog.ddis()[ROUTINES[0]].rule.executable.holds
    result = next(each for each in report.results if each.rule == RULE)
    everything = {value for values in received.values() for value in values}
    if result.outcome is Outcome.PASS and any(map(is_executable, everything)):
        yield "the rule passes, and executable memory is allocated"


def _allows(call: DdiCall, name: str, value: int) -> bool:
    """Whether an argument may have a value."""
    argument = call.arguments[name]
    return not argument.complete or value in argument.possible
