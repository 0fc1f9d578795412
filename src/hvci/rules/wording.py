"""How a finding about a call is worded: what was asked for, how sure that is, what to write.

Knows the catalogue's rows and values; decides nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hvci.catalog import Ddi, Family, Library, VerifierEffect, libraries
from hvci.model import Confidence, DdiCall, Executable, Value, WindowsVersion

SHOWN_VALUES = 4
"""More possible values than this are counted, not listed."""

_NOT_RECOVERED = Value.unknown("the argument was not recovered")
MINGW_LACKS = {
    "ExAllocatePool2": "",
    "ExAllocatePool3": "",
    "MmAllocateContiguousMemoryEx": "",
    "MmAllocateContiguousNodeMemory": "",
    "MmMapIoSpaceEx": "",
    "MdlMappingNoExecute": "0x40000000",
    "POOL_NX_ALLOCATION": "0x200",
}
"""Names that the driver headers of MinGW-w64 10 do not declare, with the numbers of constants."""
_MINGW_HAS = {"NonPagedPoolNx": "0x200", "NonPagedPoolNxCacheAligned": "0x204"}
_KEEP_CODE = (
    "keep the code in the driver image; memory without execution stops this driver with bug check "
    "0xFC, and memory with it is not to be had under memory integrity"
)


def deciding_value(call: DdiCall, ddi: Ddi) -> Value:
    """The value that decides, or one that says it was not recovered."""
    return call.arguments.get(ddi.deciding, _NOT_RECOVERED)


def bad_values(call: DdiCall, ddi: Ddi) -> list[int]:
    """The possible values that ask for executable memory, in order."""
    return sorted(v for v in deciding_value(call, ddi).lasting if ddi.rule.executable.holds(v))


def request(call: DdiCall, ddi: Ddi, answer: Executable) -> str:
    """Say what a call asks for, such as "ExAllocatePool: PoolType is NonPagedPool (0x0)"."""
    value = deciding_value(call, ddi)
    if call.doubt:
        what = f"{call.doubt}; {ddi.deciding} is {_possibly(ddi, value)}"
    elif answer is Executable.UNDECIDED:
        what = f"{ddi.deciding} is not known: {value.why}"
    elif call.builds:
        what = f"{ddi.deciding} is {_by_build(call, ddi)}"
    else:
        bad = bad_values(call, ddi)
        others = sorted(value.possible.difference(bad))
        what = f"{ddi.deciding} is {spell(ddi, bad)}"
        elsewhere = "in other configurations" if _SPLIT in call.note else "on other paths"
        what += f", or {spell(ddi, others)} {elsewhere}" if others else ""
    code = f"code runs in this memory: {call.runs_code}" if call.runs_code else ""
    notes = "; ".join(note for note in (call.note, library_note(call), code) if note)
    note = f" ({notes})" if notes else ""
    return f"{call.ddi}: {what}{_tag(call, ddi)}{note}{_doubt(ddi)}"


_MOST_BUILDS = 4
_SPLIT = "NX on "
"""How sources note that an opt-in holds in some configurations only."""


def _by_build(call: DdiCall, ddi: Ddi) -> str:
    """Spell the values of each configuration, those that ask for executable memory first."""
    holds = ddi.rule.executable.holds
    labels: dict[tuple[bool, str], list[str]] = {}
    for label, value in call.builds:
        is_good = not any(map(holds, value.lasting))
        labels.setdefault((is_good, _possibly(ddi, value)), []).append(label)
    return ", ".join(
        f"{values} in {_listed(names)}" for (_, values), names in sorted(labels.items())
    )


def _listed(labels: list[str]) -> str:
    """Configurations by name; many are counted."""
    rest = len(labels) - _MOST_BUILDS
    more = f" and {rest} more" if rest > 0 else ""
    configurations = "configuration" if len(labels) == 1 else "configurations"
    return f"{configurations} {', '.join(labels[:_MOST_BUILDS])}{more}"


def _library(call: DdiCall) -> tuple[Library | None, bool]:
    """The row of the library that a call came from, and whether that is certain."""
    if call.library is None:
        return None, False
    return libraries().get(call.library.name), call.library.confidence is Confidence.PROVEN


def library_note(call: DdiCall) -> str:
    """Say which library a call came from and how sure that is; may be empty."""
    row, certain = _library(call)
    if row is None:
        return ""
    return row.note if certain else f"likely {row.note}"


def _possibly(ddi: Ddi, value: Value) -> str:
    """Spell what is known of a value."""
    known = spell(ddi, sorted(value.possible))
    return known if value.complete else f"{known or 'not known'} ({value.why})"


def by_default(call: DdiCall, ddi: Ddi) -> str:
    """Say that a DDI gives executable memory by itself, and for which argument."""
    if ddi.rule.executable.kind == "always":
        which = "whatever the arguments"
    elif bad := bad_values(call, ddi):
        which = f"for {ddi.deciding} {spell(ddi, bad)}"
    else:
        reason = deciding_value(call, ddi).why
        which = f"for some values of {ddi.deciding}, which is not known: {reason}"
    effect = "no counter moves"
    if ddi.verifier is VerifierEffect.SILENT_NX:
        effect = "Driver Verifier makes it non-executable without a report and " + effect
    ordinary = of_ordinary_memory(call)
    return f"{call.ddi} gives executable memory {which}; {effect}{ordinary and '; '}{ordinary}"


def of_ordinary_memory(call: DdiCall) -> str:
    """What it means to map ordinary memory by its physical address; empty for anything else."""
    if not call.ordinary:
        return ""
    return (
        f"this maps ordinary memory ({call.ordinary}); pages of it that the hypervisor keeps when "
        "memory integrity is on cannot be read: the access faults or hangs"
    )


def spell(ddi: Ddi, values: list[int]) -> str:
    """Spell values as the source would, the first few of them."""
    words = [ddi.rule.spell(value) for value in values[:SHOWN_VALUES]]
    if len(values) > SHOWN_VALUES:
        words.append(f"one of {len(values) - SHOWN_VALUES} further values")
    return " or ".join(words)


def confidence(ddi: Ddi) -> Confidence:
    """How sure it is that such a call counts: no more than inferred where no check was seen."""
    if ddi.seed or ddi.verifier in (VerifierEffect.REPORT, VerifierEffect.SILENT_NX):
        return ddi.confidence
    return Confidence.INFERRED


def fix(call: DdiCall, ddi: Ddi, target: WindowsVersion, gnu: bool = False) -> str:
    """What to write instead when the driver must run on `target`; may be empty.

    `gnu`: it is built with MinGW-w64, whose headers lack some of it.
    """
    if call.runs_code:
        return _KEEP_CODE
    use = ddi.replacement_for(target, MINGW_LACKS if gnu else ())
    use = _with_counterpart(use, bad_values(call, ddi), ddi)
    use = ddi.advice_for(target, use, opt_in=not gnu)
    if gnu:
        use += _headers(use, ddi.replacement_for(target))
    return _or_relink(call, use)


def _headers(use: str, usual: str) -> str:
    """What to know of MinGW-w64's headers beside an advice."""
    words = re.findall(r"\w+", use)
    has = [f"{name} ({_MINGW_HAS[name]})" for name in words if name in _MINGW_HAS]
    lacks = [name for name in re.findall(r"\w+", f"{use} {usual}") if name in MINGW_LACKS]
    shown = [f"{name} ({MINGW_LACKS[name]})" if MINGW_LACKS[name] else name for name in lacks]
    says = [f"have {' and '.join(dict.fromkeys(has))}"] if has else []
    says += [f"lack {' and '.join(dict.fromkeys(shown))}"] if lacks else []
    return f"; MinGW-w64's headers {' and '.join(says)}" if says else ""


def _or_relink(call: DdiCall, use: str) -> str:
    """What to do about a call of a library, else what to write instead of it."""
    row, certain = _library(call)
    if row is None:
        return use
    return row.fix if certain else f"{row.fix}; if the call is the driver's own: {use}"


def _with_counterpart(use: str, bad: list[int], ddi: Ddi) -> str:
    """Put the counterpart of the bad value where the text has the usual one."""
    family = ddi.rule.family
    return use if family is None else _in_family(use, tuple(bad), family)


@lru_cache(maxsize=1024)
def _in_family(use: str, bad: tuple[int, ...], family: Family) -> str:
    counterparts = {family.safer_for(value) for value in bad} - {""}
    if len(counterparts) != 1:
        return use
    usual = "|".join(sorted(set(family.safer.values())))
    return re.sub(rf"\b({usual})\b", counterparts.pop(), use)


def _doubt(ddi: Ddi) -> str:
    match ddi.verifier:
        case VerifierEffect.COMPONENT:
            return f"; {ddi.module} makes the allocation"
        case VerifierEffect.NONE | VerifierEffect.UNKNOWN:
            return "; Driver Verifier was not seen to count this DDI"
    return ""


def _tag(call: DdiCall, ddi: Ddi) -> str:
    value = call.arguments.get(ddi.tag)
    if value is None or not value.complete or len(value.possible) != 1:
        return ""
    tag = (min(value.possible) & 0xFFFF_FFFF).to_bytes(4, "little").rstrip(b"\0")
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in tag)
    return f", tag '{text}'" if text else ""
