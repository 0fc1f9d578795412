"""Constants of the wrong family: a POOL_TYPE where POOL_FLAGS is wanted, and the reverse.

Knows the families of constants; says what was written, not whether it is bad.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.model import BehaviourFact, Confidence, Origin
from hvci.source.judge.facts import Resolved

RULE = "wrong-pool-enum"
_TYPES = frozenset(("pool_type", "vp_pool_type"))
_FLAGS = frozenset(("pool_flags",))
_SWAPPED = {"pool_type": (_FLAGS, "POOL_TYPE"), "pool_flags": (_TYPES, "POOL_FLAGS")}


def wrong_family(resolved: Resolved) -> Iterator[BehaviourFact]:
    """What a call is given that its parameter does not take."""
    ddi, guess = resolved.call.ddi, resolved.guess
    swapped = _SWAPPED.get(ddi.rule.name)
    if swapped is None or guess is None or resolved.fact.dead:
        return
    wrong, wanted = swapped
    if not guess.families & wrong or "name" not in guess.origins:
        return
    argument = resolved.call.argument(ddi.deciding)
    text = " ".join(argument.text.decode("utf-8", "replace").split()) if argument else ""
    yield BehaviourFact(
        RULE,
        f"{ddi.name} takes {wanted}, and is given {text[:60]}",
        resolved.fact.site,
        Origin.SOURCE,
        Confidence.PROVEN,
        f"a constant of {' and '.join(sorted(guess.families & wrong))} where {wanted} is wanted",
        f"Write the {wanted} constant that means the same.",
    )
