"""Names the places of a run after the PDB of its driver, as every other reader does.

Knows where PDBs lie; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hvci.binary import PeImage
from hvci.model import Evidence, Origin
from hvci.verifier.outcome import VerifierRun


def with_names(
    run: VerifierRun, data: bytes, path: str, folders: Sequence[str] = ()
) -> VerifierRun:
    """The run with functions, files and lines, where there is a PDB of this very build."""
    from hvci.binary.symbols import with_symbols

    evidence = Evidence(
        frozenset({Origin.VERIFIER}),
        image=PeImage(data).facts,
        calls=run.calls,
        events=run.events,
        limits=run.limits,
    )
    place = Path(path)
    named = with_symbols(
        evidence, (str(place.parent), *folders), bool(folders), f"{place.stem}.pdb"
    )
    return replace(run, calls=named.calls, events=named.events, limits=named.limits)
