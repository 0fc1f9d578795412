"""The driver image and its machine code: bytes in, evidence out. Judges nothing."""

from __future__ import annotations

import time

from hvci.binary.image import PeImage
from hvci.model import Evidence, Limit, Origin, WindowsVersion


def read(data: bytes, target_os: WindowsVersion) -> Evidence:
    """Gather all facts about a driver image; raise `InputError` when it is none."""
    begin = time.perf_counter()
    image = PeImage(data)
    facts, imports = image.facts, image.imports
    parsed = time.perf_counter()
    evidence = Evidence(
        frozenset({Origin.IMAGE}),
        target_os,
        facts,
        seconds={"image": parsed - begin},
    )
    if imports is not None:
        evidence = evidence.merged([_calls(image, target_os)])
    limits = tuple(Limit(Origin.IMAGE, rules, reason) for reason, rules in image.problems)
    return evidence.merged([Evidence(frozenset(), target_os, limits=limits)])


def _calls(image: PeImage, target_os: WindowsVersion) -> Evidence:
    """What the machine code shows."""
    from hvci.binary.analysis import Analysis
    from hvci.binary.callsites import CallSites

    begin = time.perf_counter()
    sites = CallSites(Analysis(image))
    calls = sites.find()
    return Evidence(
        frozenset({Origin.CALLSITE}),
        target_os,
        calls=tuple(calls),
        behaviours=tuple(sites.behaviours),
        limits=tuple(sites.limits),
        seconds={"callsites": time.perf_counter() - begin},
    )


__all__ = ["PeImage", "read"]
