"""Calls that ask an older Windows for what only a newer one has.

Knows resolved calls and the checks around them; says what the target lacks, not whether it is bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hvci.model import BehaviourFact, Confidence, Origin, Via, WindowsVersion
from hvci.source.judge.facts import Resolved
from hvci.source.program.program import Program
from hvci.source.values.versions.kernels import Versions

RULE = "newer-than-target"
_PLAIN = frozenset(("name", "number", "or", "macro"))
_NX = {
    "pool_type": (0x200, "NonPagedPoolNx"),
    "mdl_priority": (0x4000_0000, "MdlMappingNoExecute"),
    "lookaside_flags": (0x200, "POOL_NX_ALLOCATION"),
}
"""Bits that Windows 8 brought, by value rule."""
_FIX = (
    "Choose at run time, or opt in with POOL_NX_OPTIN and "
    "ExInitializeDriverRuntime(DrvRtPoolNxOptIn)."
)


def too_new(calls: Iterable[Resolved], target: WindowsVersion) -> Iterator[BehaviourFact]:
    """What calls ask for that the oldest Windows aimed at does not have."""
    if target >= WindowsVersion.WINDOWS_8:
        return
    known: dict[Program, Versions] = {}
    for one in calls:
        name, node = _lacking(one), one.call.node
        if not name or one.fact.dead or one.fact.via is Via.BY_NAME or node is None:
            continue
        program, call = one.context.program, one.call
        versions = known.setdefault(program, Versions(program, (target,)))
        function = call.file.function_at(call.start)
        if versions.fate(node, call.file, function) is not False:
            what = f"{name} came with Windows 8, and the driver is for {target.label}"
            sure = Confidence.DOCUMENTED
            yield BehaviourFact(RULE, what, one.fact.site, Origin.SOURCE, sure, "", _FIX)


def _lacking(one: Resolved) -> str:
    """What stands in the call itself and came with Windows 8."""
    bit, name = _NX.get(one.call.ddi.rule.name, (0, ""))
    guess = one.guess
    if not bit or guess is None or not guess.complete or guess.early or guess.origins - _PLAIN:
        return ""
    return name if guess.atoms and all(atom.bits & bit for atom in guess.atoms) else ""
