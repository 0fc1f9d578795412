"""Writes a run's trace: one JSON object a line, and a coverage file for Lighthouse-style viewers.

Knows the run's result; runs nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path

from hvci.errors import UsageError
from hvci.verifier.outcome import VerifierRun

MAX_BLOCK = 0xFFFF
SUFFIX = ".drcov"


def write_trace(path: Path, name: str, size: int, run: VerifierRun) -> Path:
    """Write FILE and FILE.drcov; return the latter. `size` is the image's, in bytes."""
    coverage = path.with_name(path.name + SUFFIX)
    try:
        path.write_text("".join(f"{line}\n" for line in run.trace), encoding="utf-8")
        coverage.write_bytes(to_drcov(name, size, run))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    return coverage


def to_drcov(name: str, size: int, run: VerifierRun) -> bytes:
    """The blocks that ran in DynamoRIO's drcov format, version 2."""
    blocks = [(rva, length) for rva, length in run.executed if 0 < length <= MAX_BLOCK]
    header = (
        "DRCOV VERSION: 2\n"
        "DRCOV FLAVOR: hvci\n"
        "Module Table: version 2, count 1\n"
        "Columns: id, base, end, entry, checksum, timestamp, path\n"
        f" 0, {run.base:#018x}, {run.base + size:#018x}, 0x0000000000000000, 0x00000000, "
        f"0x00000000, {name}\n"
        f"BB Table: {len(blocks)} bbs\n"
    )
    body = b"".join(struct.pack("<IHH", rva, length, 0) for rva, length in blocks)
    return header.encode("utf-8") + body
