"""Rules that only source text can answer."""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.model import (
    BehaviourFact,
    Confidence,
    DdiCall,
    Evidence,
    Executable,
    Finding,
    Origin,
    Outcome,
    Site,
)
from hvci.rules.calls import executable
from hvci.rules.rule import rule

ANY = frozenset(Origin)
SOURCE = frozenset((Origin.SOURCE,))
BINARY = frozenset((Origin.CALLSITE, Origin.VERIFIER))


def _needs_source(evidence: Evidence) -> str:
    return "" if Origin.SOURCE in evidence.origins else "only source text can show this"


@rule(number=2012, sees=ANY, not_applicable=_needs_source)
def wrong_pool_enum(evidence: Evidence) -> Iterator[Finding]:
    """The call is given a POOL_TYPE where it takes POOL_FLAGS, or the reverse.

    Why: the two families share numbers but not meanings: POOL_FLAG_NON_PAGED (0x40) is an
        executable POOL_TYPE, and NonPagedPoolNx (0x200) is a reserved flag for ExAllocatePool2,
        whose request then fails. A wrong request that is not executable is a note.
    Bad: `ExAllocatePoolWithTag(POOL_FLAG_NON_PAGED, size, tag)`
    Good: `ExAllocatePool2(POOL_FLAG_NON_PAGED, size, tag)`
    Fix: write the constant of the family that the DDI takes.
    """
    bad = {call.site for call in evidence.calls if executable(call) is Executable.YES}
    for fact in _facts(evidence, "wrong-pool-enum"):
        outcome = Outcome.FAIL if fact.site in bad else Outcome.NOTE
        yield Finding(
            outcome, f"{fact.what}: {fact.why}", fact.site, fact.origin, fact.confidence, fact.fix
        )


def _facts(evidence: Evidence, rule_id: str) -> Iterator[BehaviourFact]:
    return (fact for fact in evidence.behaviours if fact.rule == rule_id)


def _needs_both(evidence: Evidence) -> str:
    both = Origin.SOURCE in evidence.origins and evidence.origins & BINARY
    return "" if both else "needs a source and the image that was built from it"


@rule(number=2013, sees=ANY, not_applicable=_needs_both)
def source_image_mismatch(evidence: Evidence) -> Iterator[Finding]:
    """The image asks for executable memory where its source does not, or the reverse.

    Why: a difference says that the image was not built from these sources as they are: a static
        library, an old object file or another configuration has a say.
    Bad: a source with NonPagedPoolNx only, an image with a call that passes 0
    Good: source and image name the same calls with the same values.
    Fix: rebuild everything, then look at the libraries that the image links.
    """
    in_source, in_image = _asking(evidence, SOURCE), _asking(evidence, BINARY)
    for ddi in sorted(in_image.keys() - in_source.keys()):
        yield _mismatch(
            in_image[ddi], f"{ddi}: the image asks for executable memory, the source does not"
        )
    for ddi in sorted(in_source.keys() - in_image.keys()):
        yield _mismatch(
            in_source[ddi], f"{ddi}: the source asks for executable memory, the image does not"
        )


def _asking(evidence: Evidence, origins: frozenset[Origin]) -> dict[str, DdiCall]:
    """The first call of each export that asks for executable memory, by the export's name."""
    found: dict[str, DdiCall] = {}
    for call in evidence.calls:
        if call.origin in origins and executable(call) is Executable.YES:
            found.setdefault(export_of(call), call)
    return found


_COMPILED = {
    "operator new": "ExAllocatePoolWithTag",
    "MmGetSystemAddressForMdlSafe": "MmMapLockedPagesSpecifyCache",
    "MmGetSystemAddressForMdl": "MmMapLockedPages",
}


def export_of(call: DdiCall) -> str:
    """The export that a call of an inline routine or macro compiles to."""
    ddi = catalog.ddis().get(call.ddi)
    if call.ddi in _COMPILED:
        return _COMPILED[call.ddi]
    first = ddi.compiles_to.partition("(")[0].strip() if ddi is not None else ""
    return first if first in catalog.ddis() else call.ddi


def _mismatch(call: DdiCall, message: str) -> Finding:
    site: Site = call.site
    return Finding(Outcome.NOTE, message, site, call.origin, Confidence.INFERRED, ddi=call.ddi)
