"""Bug checks that memory integrity causes, in words: what each parameter says, which rule it is.

Knows the catalogue's constants; knows nothing of dumps, logs or output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hvci.catalog import families
from hvci.errors import UsageError
from hvci.model import Counter
from hvci.report.exceptions import MANY_CAUSES, tell

VERIFIER, WRITE, EXECUTE = 0xC4, 0xBE, 0xFC
PAGE_FAULT, SECURITY_CHECK, HYPERGUARD = 0x50, 0x139, 0x18C
BUGCHECKS: Mapping[int, str] = MappingProxyType(
    {
        PAGE_FAULT: "PAGE_FAULT_IN_NONPAGED_AREA",
        SECURITY_CHECK: "KERNEL_SECURITY_CHECK_FAILURE",
        HYPERGUARD: "HYPERGUARD_VIOLATION",
        VERIFIER: "DRIVER_VERIFIER_DETECTED_VIOLATION",
        WRITE: "ATTEMPTED_WRITE_TO_READONLY_MEMORY",
        EXECUTE: "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
        **MANY_CAUSES,
    }
)
"""Those that memory integrity causes, or can be the cause of."""
_BY_NAME = {name: code for code, name in BUGCHECKS.items()}
_OF_MINIDUMP = 0x1000_0000
"""Small dumps hold some codes with this bit: the bug check and its parameters are the same."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a bug check says; `rule` is the id of the rule that finds the cause."""

    title: str
    facts: tuple[tuple[str, str], ...]
    rule: str = ""
    unrelated: bool = False
    """It is certainly not caused by memory integrity."""


def plain(code: int) -> int:
    """The bug check that a code means, whatever kind of dump it was read from."""
    return code & ~_OF_MINIDUMP if code & ~_OF_MINIDUMP in BUGCHECKS else code


def number(word: str) -> int:
    """Read a number as WinDbg prints it: hexadecimal, 0x and a quote in the middle or not."""
    if word.upper() in _BY_NAME:
        return _BY_NAME[word.upper()]
    return int(word.replace("`", "").replace("'", ""), 16)


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


_EXECUTED, _EXECUTED_ON_ARM = 0x10, 0x8
_GUARD_CALL = 0xA


def _title(code: int, text: str) -> str:
    return f"bug check 0x{code:X} {BUGCHECKS[code]}: {text}"


def was_execution(parameters: tuple[int, ...]) -> bool:
    """Whether bug check 0x50 came from executing memory that is not executable.

    The bit says so: 0x10, or 8 on ARM. There 8 is all of the parameter; on x64 it is another bit.
    """
    if len(parameters) < 2:
        return False
    address, operation = parameters[:2]
    instruction = parameters[2] if len(parameters) > 2 else 0
    arm = operation == _EXECUTED_ON_ARM and instruction == address
    return bool(operation & _EXECUTED) or arm


def _page_fault(parameters: tuple[int, ...]) -> Decoded:
    facts = [("Address", _hex(value)) for value in parameters[:1]]
    facts += [("Operation", _operation(parameters))] if len(parameters) > 1 else []
    facts += [("Instruction", _hex(value)) for value in parameters[2:3]]
    if was_execution(parameters):
        text, why = _ACCESSES[EXECUTE]
        return Decoded(_title(PAGE_FAULT, text), (("Why", why), *facts), "dynamic-code")
    why = (
        "Only an execution (bit 0x10 of the second parameter, 8 on ARM) has to do with memory "
        "integrity; a read or a write is a bad pointer, as everywhere."
    )
    known = "memory that is not there was used" if parameters else "an address was used wrongly"
    return Decoded(_title(PAGE_FAULT, known), (("Why", why), *facts), unrelated=len(parameters) > 1)


def _operation(parameters: tuple[int, ...]) -> str:
    operation = parameters[1]
    if was_execution(parameters):
        return f"{operation:#x}: execution"
    return f"{operation:#x}: {'write' if operation & 3 else 'read'}"


def _security_check(parameters: tuple[int, ...]) -> Decoded:
    facts = [("Type", _hex(value)) for value in parameters[:1]]
    facts += [("Trap frame", f"{value:#x} (.trap {value:#x})") for value in parameters[1:2]]
    facts += [("Exception", f"{value:#x} (.exr {value:#x})") for value in parameters[2:3]]
    if parameters and parameters[0] != _GUARD_CALL:
        why = "Only type 0xA, an indirect call to what is no valid target, has to do with it."
        title = _title(SECURITY_CHECK, "not about memory integrity")
        return Decoded(title, (("Why", why), *facts), unrelated=True)
    why = (
        "Type 0xA: code that was compiled with /guard:cf made an indirect call to what is no valid "
        "target. Kernel Control Flow Guard is enforced only while memory integrity runs, so the "
        "same driver works without it. The usual cause is a routine of the kernel that is not "
        "exported, found by its bytes or at an offset."
    )
    text = "an indirect call led to what is no valid target (kernel Control Flow Guard)"
    if not parameters:
        text = "a check of memory safety failed"
    return Decoded(_title(SECURITY_CHECK, text), (("Why", why), *facts), "unexported-call")


def _hyperguard(parameters: tuple[int, ...]) -> Decoded:
    why = (
        "The secure kernel found protected code or data changed: code of the kernel, a descriptor "
        "table, a system call entry or the like. The first parameter names what."
    )
    facts = [("Region", _hex(value)) for value in parameters[:1]]
    return Decoded(_title(HYPERGUARD, "protected memory was changed"), (("Why", why), *facts))


def decode_bugcheck(
    code: int, parameters: tuple[int, ...] = (), record: tuple[int, int] | None = None
) -> Decoded:
    """Say what a bug check and as many of its parameters as are known mean.

    `record` is the access (0 read, 1 write, 8 execution) and the address of an exception record.
    """
    if len(parameters) > 4:
        raise UsageError(f"a bug check has four parameters, not {len(parameters)}")
    if code in MANY_CAUSES:
        told = tell(code, parameters, record)
        said = (("Why", told.why), *told.facts)
        return Decoded(_title(code, told.title), said, told.rule, told.unrelated)
    special = _SPECIAL.get(code)
    if special is not None:
        return special(parameters)
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
        return Decoded(f"{title} {subcode:#x}", (("Note", why),), unrelated=True)
    text, counter, names = _SUBCODES[subcode]
    facts = tuple(
        (label, spell(value)) for (label, spell), value in zip(names, parameters[1:], strict=False)
    )
    return Decoded(f"{title}: {text}", facts + note, counter.rule)


_SPECIAL: Mapping[int, Callable[[tuple[int, ...]], Decoded]] = MappingProxyType(
    {
        VERIFIER: _verifier,
        PAGE_FAULT: _page_fault,
        SECURITY_CHECK: _security_check,
        HYPERGUARD: _hyperguard,
    }
)
