"""Files that a driver has mapped or loaded as code, as its calls show it.

The same rules and degrees as for machine code (`binary/behaviour/files.py`). Knows resolved calls;
says what is asked for, not whether it is bad.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hvci.model import Behaviour, BehaviourFact, Confidence, Origin, Value
from hvci.source.judge.facts import Resolved

RULE = "data-file-as-executable"
SEC_IMAGE, SEC_IMAGE_NO_EXECUTE = 0x0100_0000, 0x1100_0000
EXECUTE = 0xF0
"""PAGE_EXECUTE, _READ, _READWRITE and _WRITECOPY."""
_SPELLED = {0x10: "PAGE_EXECUTE", 0x20: "PAGE_EXECUTE_READ", 0x40: "PAGE_EXECUTE_READWRITE"}
_CLASSES = {
    26: "SystemLoadGdiDriverInformation",
    38: "SystemExtendServiceTableInformation",
    54: "SystemLoadGdiDriverInSystemSpaceInformation",
}
_OPENERS = re.compile(rb"\b(?:(?:Zw|Nt)(?:Create|Open)File|IoCreateFile\w*|FltCreateFile\w*)\s*\(")
_NOTHING = re.compile(rb"(?:\(\s*\w+\s*\*?\s*\)\s*)*(?:NULL|nullptr|0)")
_DATA = "Use SEC_IMAGE_NO_EXECUTE to look at an image; load code with ZwLoadDriver."


def executable_files(calls: Iterable[Resolved]) -> Iterator[BehaviourFact]:
    """What calls have the system map or load as code."""
    for one in calls:
        name = one.call.ddi.name
        if one.fact.dead:
            continue
        if name in ("ZwCreateSection", "NtCreateSection"):
            yield from _section(one)
        elif name in ("ZwSetSystemInformation", "NtSetSystemInformation"):
            yield from _class(one)
        elif name in ("ZwLoadDriver", "NtLoadDriver"):
            why = "the system checks the other driver when it loads; check that file as well"
            what = f"loads another driver ({name})"
            yield _fact(one, what, Confidence.PROVEN, why, "", Behaviour.DRIVER_LOAD)


def _fact(
    one: Resolved, what: str, sure: Confidence, why: str, fix: str, kind: Behaviour
) -> BehaviourFact:
    return BehaviourFact(RULE, what, one.fact.site, Origin.SOURCE, sure, why, fix, kind)


def _possible(one: Resolved, name: str) -> frozenset[int]:
    return frozenset(one.fact.arguments.get(name, Value.unknown("")).possible)


def _class(one: Resolved) -> Iterator[BehaviourFact]:
    for number in sorted(_possible(one, "SystemInformationClass") & set(_CLASSES)):
        name = one.call.ddi.name
        what = (
            f"has the system load an image as kernel code ({name}, class {number}, "
            f"{_CLASSES[number]})"
        )
        why = "the class is undocumented, and Windows refuses it to third-party drivers"
        yield _fact(one, what, Confidence.PROVEN, why, "", Behaviour.EXECUTABLE_FILE)


def _section(one: Resolved) -> Iterator[BehaviourFact]:
    """A section object: executable, and over a file?"""
    attributes = _possible(one, "AllocationAttributes")
    protection = _possible(one, "SectionPageProtection")
    image = any(value & SEC_IMAGE_NO_EXECUTE == SEC_IMAGE for value in attributes)
    executes = sorted(value & EXECUTE for value in protection if value & EXECUTE)
    plain = any(value & SEC_IMAGE_NO_EXECUTE == SEC_IMAGE_NO_EXECUTE for value in attributes)
    handle = one.call.argument("FileHandle")
    is_file = handle is not None and _NOTHING.fullmatch(handle.text.strip()) is None
    if plain or not (image or executes) or not is_file:
        return
    spelled = _SPELLED.get(executes[0], "PAGE_EXECUTE_WRITECOPY") if executes else ""
    how = "as an image (SEC_IMAGE)" if image else f"with {spelled}"
    what = f"maps a file {how} ({one.call.ddi.name})"
    yield _fact(one, what, *_opened(one), _DATA, Behaviour.EXECUTABLE_FILE)


def _opened(one: Resolved) -> tuple[Confidence, str]:
    """How sure it is that the handle is of a file, and why."""
    code, call = one.call.unit.source.code, one.call
    function = call.file.function_at(call.start)
    if function is not None and (
        match := _OPENERS.search(code, function.node.start_byte, call.start)
    ):
        name = match[0].rstrip(b"( \t\r\n").decode()
        return Confidence.PROVEN, f"the file handle comes from {name}"
    paths = one.context.program.paths
    every = (one.context.program.space.source(path) for path in paths)
    opens = any(source is not None and _OPENERS.search(source.code) for source in every)
    sure = Confidence.LIKELY if opens else Confidence.POSSIBLE
    return sure, "the driver gives a file handle"
