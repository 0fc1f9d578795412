"""A violation of a verifier run in the form of a WinDbg bug-check analysis.

Knows the run's result and the image's bytes; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.binary.listing import listing
from hvci.binary.pe.image import PeImage
from hvci.model import PageEvent, Tier, WindowsVersion
from hvci.report.bugchecks import BUGCHECKS, decode_bugcheck
from hvci.report.safe import safe
from hvci.rules.image import APART, IMPORTS_APART, ON_PAGES
from hvci.rules.wording import MINGW_LACKS
from hvci.verifier import VerifierRun

RULE = "*" * 79
_FIXES = {
    0xBE: "Keep code as the linker made it, and data out of executable sections.",
    0xFC: "Compile the code into the driver image; no memory that a driver gets is executable.",
}
_PATHS = {
    Tier.NATURAL: "natural: the driver came here by itself",
    Tier.FORCED: "forced: a branch was turned to come here",
}
_LINKING = {0x2003: APART, 0x2004: ON_PAGES, 0x2005: IMPORTS_APART}


def analyses(data: bytes, name: str, run: VerifierRun, version: WindowsVersion) -> Iterator[str]:
    """One analysis for each violation, natural ones first."""
    image = PeImage(data)
    for event in sorted(run.events, key=lambda event: event.tier != "natural"):
        yield "\n".join(_lines(event, image, data, name, run, version))


def _lines(
    event: PageEvent,
    image: PeImage,
    data: bytes,
    name: str,
    run: VerifierRun,
    version: WindowsVersion,
) -> Iterator[str]:
    module = safe(name.rpartition(".")[0] or name)
    yield from (RULE, f"*{'Bugcheck Analysis':^77}*", RULE, "")
    yield f"{BUGCHECKS[event.bugcheck]} ({event.bugcheck:x})"
    yield safe(event.message[:1].upper() + event.message[1:])
    yield from _arguments(event)
    yield ""
    yield f"IMAGE_NAME:  {safe(name)}"
    yield f"MODULE_NAME: {module}"
    yield f"SYMBOL_NAME: {module}+{event.site.rva:x}"
    is_of_code = event.subcode not in _LINKING
    if event.site.function and is_of_code:
        yield f"FUNCTION:    {safe(event.site.function)}"
    if event.site.file and is_of_code:
        yield f"FAULTING_SOURCE_FILE:  {safe(event.site.file, 1000)}"
        yield f"FAULTING_SOURCE_LINE_NUMBER:  {event.site.line}"
    if event.site.section:
        yield f"SECTION:     {safe(event.site.section)}"
    ddi = _ddi(event, run)
    yield from _instruction(event, image, data, module, run.base)
    if ddi:
        yield f"DDI:         {ddi}"
    if is_of_code:
        yield f"PATH:        {_PATHS[event.tier]}"
    if fix := _fix(event, ddi, version, image.facts.linked_by_gnu):
        yield f"FIX:         {safe(fix)}"


def _arguments(event: PageEvent) -> Iterator[str]:
    decoded = decode_bugcheck(event.bugcheck, event.parameters)
    facts = [text for label, text in decoded.facts if label not in ("Why", "Note")]
    labels = [label for label, _ in decoded.facts if label not in ("Why", "Note")]
    if event.subcode is not None:
        labels, facts = ["Sub-code", *labels], [decoded.title.rpartition(": ")[2], *facts]
    yield "Arguments:"
    for number, value in enumerate(event.parameters):
        known = f", {labels[number]}: {facts[number]}" if number < len(labels) else ", reserved"
        yield f"Arg{number + 1}: {value:016x}{known}"


def _instruction(
    event: PageEvent, image: PeImage, data: bytes, module: str, base: int
) -> Iterator[str]:
    """The faulting or calling instruction with its address and bytes; the layout has none."""
    shown = listing(data, image.facts, event.site) if event.subcode not in _LINKING else None
    if not shown:
        return
    _, _, text = shown[-1].partition(": ")
    address = f"{base + event.site.rva:016x}"
    yield "FAULTING_IP: "
    yield f"{module}+{event.site.rva:x}"
    yield f"{address[:8]}`{address[8:]} {text}"


def _ddi(event: PageEvent, run: VerifierRun) -> str:
    if event.bugcheck != 0xC4:
        return ""
    at = {call.ddi for call in run.calls if call.site == event.site}
    return next((name for name in sorted(at) if event.message.startswith(f"{name}:")), "")


def _fix(event: PageEvent, ddi: str, version: WindowsVersion, gnu: bool) -> str:
    row = catalog.ddis().get(ddi)
    if row is not None:
        use = row.replacement_for(version, MINGW_LACKS if gnu else ())
        return row.advice_for(version, use, opt_in=not gnu)
    if event.subcode in _LINKING:
        return _LINKING[event.subcode][gnu]
    return _FIXES.get(event.subcode or event.bugcheck, "")
