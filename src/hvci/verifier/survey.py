"""What a run should reach: call sites of catalogued DDIs, their functions, all blocks, IOCTL codes.

Read from the image before it runs, so that coverage has a denominator and forcing a direction.
Addresses are RVAs. Executes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from iced_x86 import Decoder, FlowControl

from hvci.binary import PeImage, read
from hvci.binary.analysis.wiring import Analysis
from hvci.model import NEWEST, ImageSite, Machine
from hvci.verifier.checks import watched_ddis
from hvci.verifier.survey_arm64 import survey_arm64

Rvas = npt.NDArray[np.int64]
DEVICE_TYPES = frozenset((*range(1, 0x60), *range(0x8000, 0xFFFF)))
"""High halves that a control code can have."""
MAX_CODES = 96
MAX_SWEPT = 0x80_0000
"""Bytes of code to look at for blocks and control codes."""
_SPLITS = frozenset(
    (
        FlowControl.CALL,
        FlowControl.INDIRECT_CALL,
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.INDIRECT_BRANCH,
        FlowControl.CONDITIONAL_BRANCH,
        FlowControl.RETURN,
        FlowControl.INTERRUPT,
    )
)
_DIRECT = frozenset(
    (FlowControl.CALL, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.CONDITIONAL_BRANCH)
)
_COMPARES = re.compile(
    rb"(?:\x3d|\x2d|\x48\x3d|\x48\x2d|\x81[\xe8-\xef\xf8-\xff])(....)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the image holds."""

    leaders: Rvas
    """First instruction of every basic block, sorted."""
    goals: dict[int, int]
    """Call sites of catalogued DDIs -> start of the function that holds them."""
    codes: tuple[int, ...]
    """I/O control codes that the code compares with."""
    codes_left_out: int = 0
    """How many more there are."""


def survey(image: PeImage, data: bytes) -> Survey:
    """Look at an image."""
    analysis = Analysis(image)
    wanted = watched_ddis()
    goals: dict[int, int] = {}
    for call in read(data, NEWEST).calls:
        if isinstance(call.site, ImageSite) and call.ddi in wanted:
            function = analysis.functions.at(call.site.rva)
            goals[call.site.rva] = function.start if function else call.site.rva
    goals = dict(sorted(goals.items()))
    if image.machine is Machine.ARM64:
        leaders, codes = survey_arm64(image)
    else:
        ranges = _ranges(image, analysis)
        leaders, codes = _leaders(image, ranges), _codes(image, ranges)
    return Survey(leaders, goals, codes[:MAX_CODES], max(0, len(codes) - MAX_CODES))


def _ranges(image: PeImage, analysis: Analysis) -> list[tuple[int, int]]:
    """Stretches of code: unwind entries where there are any, else the executable sections."""
    if image.bits == 64 and analysis.functions.unwind.starts:
        table = analysis.functions.unwind
        found = list(zip(table.starts, table.ends, strict=True))
    else:
        found = list(image.code_ranges)
    kept, total = [], 0
    for start, end in found:
        total += end - start
        if total > MAX_SWEPT:
            break
        kept.append((start, end))
    return kept


def _leaders(image: PeImage, ranges: list[tuple[int, int]]) -> Rvas:
    """Block starts by a linear sweep."""
    found: set[int] = set()
    for start, end in ranges:
        found.update(_sweep(image, start, end))
    leaders = np.fromiter(found, np.int64, len(found))
    leaders.sort()
    inside = np.zeros(len(leaders), bool)
    for start, end in ranges:
        low, high = np.searchsorted(leaders, (start, end))
        inside[low:high] = True
    return leaders[inside]


def _sweep(image: PeImage, start: int, end: int) -> Iterator[int]:
    yield start
    for instruction in Decoder(image.bits, bytes(image.memory[start:end]), ip=start):
        flow = instruction.flow_control
        if flow in _SPLITS:
            yield instruction.next_ip
            if flow in _DIRECT:
                yield instruction.near_branch_target & 0x7FFF_FFFF


def _codes(image: PeImage, ranges: list[tuple[int, int]]) -> tuple[int, ...]:
    """Control codes: 32-bit constants that a compare or subtract names."""
    found: set[int] = set()
    for start, end in ranges:
        code = bytes(image.memory[start:end])
        for match in _COMPARES.finditer(code):
            value = int.from_bytes(match[1], "little")
            if value >= 0x10000 and value >> 16 in DEVICE_TYPES:
                found.add(value)
    return tuple(sorted(found))
