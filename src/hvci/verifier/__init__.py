"""The emulated Driver Verifier: runs a driver under W^X and counts. Judges nothing.

`run` does it in a child process with limits; a crash or a hang becomes a `Limit`.
"""

from __future__ import annotations

from hvci.verifier.child import run
from hvci.verifier.outcome import (
    Coverage,
    Effort,
    Ending,
    EntryResult,
    VerifierOptions,
    VerifierRun,
)

__all__ = [
    "Coverage",
    "Effort",
    "Ending",
    "EntryResult",
    "VerifierOptions",
    "VerifierRun",
    "run",
]
