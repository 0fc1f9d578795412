"""The driver image and its machine code: bytes in, evidence out. Judges nothing."""

from __future__ import annotations

import time

from hvci.binary.image import PeImage
from hvci.model import Evidence, Limit, Origin, WindowsVersion


def read(data: bytes, target_os: WindowsVersion) -> Evidence:
    """Gather all facts about a driver image; raise `InputError` when it is none."""
    begin = time.perf_counter()
    image = PeImage(data)
    facts = image.facts
    seconds = {"image": time.perf_counter() - begin}
    return Evidence(
        frozenset({Origin.IMAGE}),
        target_os,
        facts,
        limits=tuple(Limit(Origin.IMAGE, rules, reason) for reason, rules in image.problems),
        seconds=seconds,
    )


__all__ = ["PeImage", "read"]
