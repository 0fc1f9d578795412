"""Bug checks with many causes, of which memory integrity is one: what tells them apart.

Windows stops with 0xFC and 0xBE where it sees at once that a page forbids what was tried. Where it
does not (at a raised IRQL, or when an exception was raised instead), it stops with one of these,
and their parameters say whether something was executed, read or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MANY_CAUSES: Mapping[int, str] = MappingProxyType(
    {
        0x0A: "IRQL_NOT_LESS_OR_EQUAL",
        0x1E: "KMODE_EXCEPTION_NOT_HANDLED",
        0x3B: "SYSTEM_SERVICE_EXCEPTION",
        0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
        0x8E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED",
        0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
    }
)
"""Names by code, as Microsoft's bug check reference has them."""

_AT_IRQL = (0x0A, 0xD1)
_WITH_RECORD = 0x1E
"""The one whose parameters hold what the exception record says of the access."""
_ACCESS_VIOLATION, _PRIVILEGED = 0xC0000005, 0xC0000096
EXECUTION = 8
"""Access of an exception record, and bit of the third parameter of 0xA and 0xD1: an execution."""
_KERNEL = (0x8000_0000, 0xFFFF_8000_0000_0000)
"""Where addresses of the kernel begin, with 32 and with 64 bits."""

_EXECUTED = "code was to run from memory that is not executable, or not there"
_WHY_EXECUTED = (
    "The processor was to execute this address. With memory integrity on, no memory that a driver "
    "allocates or maps is executable: generated code, code copied to pool, and code loaded as data "
    "end so. The same shows where memory was freed, paged out, or its driver unloaded: if the "
    "driver works with memory integrity off, it is the former."
)
_NOWHERE = "a call led to an address that is none of the kernel's"
_WHY_NOWHERE = (
    "A null or damaged function pointer was called; that stops the computer with and without "
    "memory integrity."
)
_ACCESSED = "memory was read or written that cannot be"
_WHY_ACCESSED = (
    "It is a bad pointer, as everywhere; of memory integrity's stops only an execution shows as "
    "this bug check. A write to code that it refuses is bug check 0xBE."
)
_OTHER = "an exception that memory integrity does not raise"
_REFUSED = "the processor refused an instruction"
_WHY_REFUSED = (
    "Status 0xC0000096, privileged instruction. With memory integrity on the hypervisor keeps "
    "control registers and model-specific registers as they are, and a driver that changes one "
    "(CR0.WP and CR4.SMEP first of all) gets an exception. The instruction at the address below "
    "tells: `mov cr0`, `mov cr4`, `wrmsr`, `lidt`, `lgdt`."
)
_UNTOLD = "the parameters do not tell what was tried"
_WHY_UNTOLD = (
    "Only an execution has to do with memory integrity. The exception record tells: `.exr` with "
    "its address prints `Attempt to execute non-executable address`, or 8 as Parameter[0]. Give "
    "hvci a log that holds it (`!analyze -v` prints it)."
)
_WHY_NOT_GIVEN = (
    "Many faults end in this bug check, and memory integrity is the cause of few. Its parameters "
    "tell whether something was executed, read or written."
)


@dataclass(frozen=True, slots=True)
class Told:
    """What one of these bug checks says."""

    title: str
    why: str
    facts: tuple[tuple[str, str], ...]
    rule: str = ""
    unrelated: bool = False
    """It is certainly not caused by memory integrity."""


def tell(code: int, parameters: tuple[int, ...], record: tuple[int, int] | None = None) -> Told:
    """Say what a bug check of `MANY_CAUSES` and its parameters mean.

    `record` is what the exception record says of an access violation: the access (0 read, 1 write,
    8 execution) and the address.
    """
    if not parameters:
        return Told("an exception or a bad pointer", _WHY_NOT_GIVEN, ())
    return _at_irql(parameters) if code in _AT_IRQL else _exception(code, parameters, record)


def _at_irql(parameters: tuple[int, ...]) -> Told:
    facts = [("Address", f"{parameters[0]:#x}")]
    facts += [("IRQL", f"{value:#x}") for value in parameters[1:2]]
    if len(parameters) < 3:
        return Told("the log does not tell what was tried", _WHY_NOT_GIVEN, tuple(facts))
    executed = bool(parameters[2] & EXECUTION)
    access = "execution" if executed else "write" if parameters[2] & 1 else "read"
    facts += [("Operation", f"{parameters[2]:#x}: {access}")]
    facts += [("Instruction", f"{value:#x}") for value in parameters[3:4]]
    if not executed:
        return Told(_ACCESSED, _WHY_ACCESSED, tuple(facts), unrelated=True)
    return _execution(parameters[0], tuple(facts))


def _execution(address: int, facts: tuple[tuple[str, str], ...]) -> Told:
    wide = address > 0xFFFF_FFFF
    if address < _KERNEL[wide]:
        return Told(_NOWHERE, _WHY_NOWHERE, facts, unrelated=True)
    return Told(_EXECUTED, _WHY_EXECUTED, facts, "dynamic-code")


def _exception(code: int, parameters: tuple[int, ...], record: tuple[int, int] | None) -> Told:
    status = parameters[0] & 0xFFFF_FFFF
    facts = [("Exception", f"0x{status:X}")]
    facts += [("Instruction", f"{value:#x}") for value in parameters[1:2]]
    if status == _PRIVILEGED:
        return Told(_REFUSED, _WHY_REFUSED, tuple(facts), "writes-executable-memory")
    if status != _ACCESS_VIOLATION:
        why = f"Status 0x{status:X} is neither an access violation nor a privileged instruction."
        return Told(_OTHER, why, tuple(facts), unrelated=True)
    if code == _WITH_RECORD and len(parameters) == 4 and record is None:
        record = parameters[2], parameters[3]
    if record is None:
        return Told(_UNTOLD, _WHY_UNTOLD, tuple(facts))
    access = {0: "read", 1: "write", EXECUTION: "execution"}.get(record[0], "unknown")
    facts += [("Operation", f"{record[0]:#x}: {access}"), ("Address", f"{record[1]:#x}")]
    if access != "execution":
        return Told(_ACCESSED, _WHY_ACCESSED, tuple(facts), unrelated=True)
    return _execution(record[1], tuple(facts))
