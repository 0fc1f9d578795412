"""The driver image and its machine code: bytes in, evidence out. Judges nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hvci.binary.pe.doubts import doubts
from hvci.binary.pe.headers import MACHINES
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.keyboards import is_keyboard_layout
from hvci.model import DdiCall, Evidence, Limit, Machine, Origin, WindowsVersion
from hvci.model.judged import CODE_RULES
from hvci.pause import no_collection


def machine_of(data: bytes) -> Machine | None:
    """The machine that the headers name; None where there is none to read."""
    start = int.from_bytes(data[0x3C:0x40], "little")
    signature, machine = data[start : start + 4], data[start + 4 : start + 6]
    return MACHINES.get(int.from_bytes(machine, "little")) if signature == b"PE\0\0" else None


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
    if is_keyboard_layout(image):
        evidence = evidence.merged([Evidence(frozenset({Origin.CALLSITE}), target_os)])
    elif imports is not None:
        with no_collection():
            found = _calls(image, target_os)
            evidence = replace(evidence, image=found.image).merged([found])
    problems = [*image.problems, *doubts(image), *_hybrid(image)]
    limits = tuple(Limit(Origin.IMAGE, rules, reason) for reason, rules in problems)
    return evidence.merged([Evidence(frozenset(), target_os, limits=limits)])


def _hybrid(image: PeImage) -> list[tuple[str, tuple[str, ...]]]:
    """Which code of a hybrid image is not examined."""
    if image.facts.hybrid is None:
        return []
    other = "ARM64EC code" if image.machine is Machine.X64 else "ARM64EC and x64 code"
    reason = f"a hybrid image ({image.facts.hybrid}): only its {image.machine} code was examined"
    return [(f"{reason}, its {other} was not", CODE_RULES)]


def _calls(image: PeImage, target_os: WindowsVersion) -> Evidence:
    """What the machine code shows."""
    from hvci.binary import behaviour
    from hvci.binary.analysis.wiring import Analysis
    from hvci.binary.calls.callsites import CallSites
    from hvci.binary.calls.entry import with_entry_names
    from hvci.binary.calls.libraries import recognise

    begin = time.perf_counter()
    analysis: Analysis | None = None
    try:
        analysis = Analysis(image)
        sites = CallSites(analysis, target_os)
        calls = recognise(analysis, sites.find())
        found = time.perf_counter()
        behaviours, limits = behaviour.find(analysis)
        evidence = Evidence(
            frozenset({Origin.CALLSITE}),
            target_os,
            replace(image.facts, kmdf_version=sites.kmdf_version),
            calls=tuple(_of_ordinary_memory(image, calls)),
            behaviours=(*sites.behaviours, *behaviours),
            limits=(*sites.limits, *limits),
            seconds={"callsites": found - begin, "behaviour": time.perf_counter() - found},
        )
        return with_entry_names(analysis, evidence)
    except RecursionError:
        limit = Limit(Origin.CALLSITE, CODE_RULES, TOO_DEEP)
        return Evidence(frozenset(), target_os, image.facts, limits=(limit,))
    finally:
        if analysis is not None:
            analysis.release()


def _of_ordinary_memory(image: PeImage, calls: Iterable[DdiCall]) -> Iterator[DdiCall]:
    """Registers are not cached: who asks for the ranges of memory and maps cached maps memory."""
    asks = "MmGetPhysicalMemoryRanges" in image.import_slots
    for call in calls:
        kind = call.arguments.get("CacheType") if asks and call.ddi == "MmMapIoSpace" else None
        is_cached = kind is not None and MM_CACHED in kind.possible
        yield replace(call, ordinary=_ASKS) if is_cached else call


TOO_DEEP = "the code refers to itself deeper than is followed; it was not examined"
MM_CACHED = 1
_ASKS = "the driver asks for MmGetPhysicalMemoryRanges, and this mapping is cached"

__all__ = ["PeImage", "machine_of", "read"]
