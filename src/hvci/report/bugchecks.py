"""Bug checks 0xC4, 0xBE and 0xFC put into words: what each parameter says and which rule it is.

Knows the catalogue's constants; knows nothing of dumps, logs or output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hvci.catalog import families
from hvci.errors import UsageError
from hvci.model import Counter

VERIFIER, WRITE, EXECUTE = 0xC4, 0xBE, 0xFC
BUGCHECKS: Mapping[int, str] = MappingProxyType(
    {
        VERIFIER: "DRIVER_VERIFIER_DETECTED_VIOLATION",
        WRITE: "ATTEMPTED_WRITE_TO_READONLY_MEMORY",
        EXECUTE: "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
    }
)
_BY_NAME = {name: code for code, name in BUGCHECKS.items()}


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a bug check says; `rule` is the id of the rule that finds the cause."""

    title: str
    facts: tuple[tuple[str, str], ...]
    rule: str = ""


def number(word: str) -> int:
    """Read a number as WinDbg prints it: hexadecimal, with or without 0x and backquote."""
    if word.upper() in _BY_NAME:
        return _BY_NAME[word.upper()]
    return int(word.replace("`", ""), 16)


def tag_text(value: int) -> str:
    """A pool tag as the four characters that a pool listing shows."""
    tag = (value & 0xFFFF_FFFF).to_bytes(4, "little").rstrip(b"\0")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in tag)


def _tag(value: int) -> str:
    return f"'{tag_text(value)}' ({value:#x})" if value else "none (0x0)"


def _spelled(family: str) -> Callable[[int], str]:
    def spell(value: int) -> str:
        words = families()[family].spell(value)
        return words if words == f"{value:#x}" else f"{words} ({value:#x})"

    return spell


def _hex(value: int) -> str:
    return f"{value:#x}"


def _pte(value: int) -> str:
    """The rights that an x64 page table entry gives."""
    if not value & 1:
        return f"{value:#x}: not a valid entry, so its rights cannot be read from it"
    written = "writable" if value & 2 else "not writable"
    executed = "not executable" if value >> 63 & 1 else "executable"
    return f"{value:#x}: valid, {written}, {executed} (as x64 page table entry)"


Parameter = tuple[str, Callable[[int], str]]

_CALLER: Parameter = ("Called from", _hex)
_NAMED: tuple[Parameter, ...] = (
    ("Image name", lambda value: f"UNICODE_STRING at {value:#x} (dS {value:#x})"),
    ("Header", lambda value: f"section header at {value:#x}"),
    ("Section", lambda value: f"name at {value:#x} (da {value:#x})"),
)
_SUBCODES: Mapping[int, tuple[str, Counter, tuple[Parameter, ...]]] = MappingProxyType(
    {
        0x2000: (
            "the driver asks for executable pool memory",
            Counter.EXECUTE_POOL_TYPE,
            (_CALLER, ("Pool type", _spelled("pool_type")), ("Pool tag", _tag)),
        ),
        0x2001: (
            "the driver asks for an executable page protection",
            Counter.EXECUTE_PAGE_PROTECTION,
            (_CALLER, ("Protection", _spelled("page")), ("Reserved", _hex)),
        ),
        0x2002: (
            "the driver maps an MDL executable",
            Counter.EXECUTE_PAGE_MAPPING,
            (_CALLER, ("Priority", _spelled("mdl_priority")), ("Reserved", _hex)),
        ),
        0x2003: (
            "the image has a section that is writable and executable",
            Counter.EXECUTE_WRITE_SECTION,
            _NAMED,
        ),
        0x2004: (
            "the sections of the image are not aligned to pages",
            Counter.SECTION_ALIGNMENT_FAILURES,
            _NAMED,
        ),
        0x2005: (
            "the import address table lies in an executable section",
            Counter.IAT_IN_EXECUTABLE_SECTION,
            (_NAMED[0], ("IAT", lambda value: f"directory entry at {value:#x}"), _NAMED[2]),
        ),
    }
)
_ACCESSES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        WRITE: (
            "code wrote to memory that is read-only",
            "With memory integrity on, code pages and constants are never writable: the usual "
            "causes are a patch of code, a write to a constant, and a section that was meant to "
            "be writable and executable.",
        ),
        EXECUTE: (
            "code ran from memory that is not executable",
            "With memory integrity on, no memory that a driver allocates or maps is executable: "
            "the usual causes are generated code, code copied to pool, and code loaded as data.",
        ),
    }
)
_OLD_KERNELS = (
    "Some early Windows 10 kernels report unsupported relocations as 0x2005 and the import "
    "address table as 0x2006 (observed, not documented)."
)


def decode_bugcheck(code: int, parameters: tuple[int, ...] = ()) -> Decoded:
    """Say what a bug check and as many of its parameters as are known mean."""
    if len(parameters) > 4:
        raise UsageError(f"a bug check has four parameters, not {len(parameters)}")
    if code == VERIFIER:
        return _verifier(parameters)
    title, why = _ACCESSES[code]
    facts = [("Why", why)]
    facts += [("Address", _hex(value)) for value in parameters[:1]]
    facts += [("PTE", _pte(value)) for value in parameters[1:2]]
    return Decoded(
        f"bug check {code:#X} {BUGCHECKS[code]}: {title}".replace("0X", "0x"), tuple(facts)
    )


def _verifier(parameters: tuple[int, ...]) -> Decoded:
    subcode = parameters[0] if parameters else None
    title = f"bug check 0xC4 {BUGCHECKS[VERIFIER]}"
    if subcode is None:
        known = tuple((f"{code:#x}", text) for code, (text, _, _) in sorted(_SUBCODES.items()))
        return Decoded(title, (*known, ("Note", _OLD_KERNELS)))
    note = (("Note", _OLD_KERNELS),) if subcode in (0x2005, 0x2006) else ()
    if subcode == 0x2006:
        subcode = 0x2005
        title += " 0x2006"
    elif subcode in _SUBCODES:
        title += f" {subcode:#x}"
    if subcode not in _SUBCODES:
        why = f"Sub-code {subcode:#x} is not one of the memory integrity checks 0x2000 to 0x2005."
        return Decoded(f"{title} {subcode:#x}", (("Note", why),))
    text, counter, names = _SUBCODES[subcode]
    facts = tuple(
        (label, spell(value)) for (label, spell), value in zip(names, parameters[1:], strict=False)
    )
    return Decoded(f"{title}: {text}", facts + note, counter.rule)
