"""Microsoft's driver security checklist, item by item: what a report answers, and what it does not.

Knows reports and what an image imports; evaluates nothing. Titles are ours, the order Microsoft's:
https://learn.microsoft.com/windows-hardware/drivers/driversecurity/driver-security-checklist
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from enum import StrEnum

from hvci.model import Answer, DriverPolicy, Outcome, Question, Report, Signed
from hvci.model.conclusion import Proof, conclude
from hvci.report.safe import safe
from hvci.report.sentence import summary

Imports = Set[str]


class Status(StrEnum):
    """What is said of an item."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"
    PARTLY = "partly"
    NOT_HERE = "not by this tool"


@dataclass(frozen=True, slots=True)
class Item:
    """One item with its answer."""

    number: int
    title: str
    status: Status
    evidence: str


Answered = tuple[Status, str]
_OTHERS = {
    1: ("A kernel driver is needed at all", "whether user mode would do is a matter of design"),
    4: (
        "Access to software-only drivers is controlled",
        "who may open the device is not looked at",
    ),
    7: ("Good practice of the technology is followed", "file systems, NDIS, printing and the like"),
    8: ("The code has SAL annotations", "annotations are not looked at"),
    9: ("Peers reviewed the code", "people do that"),
    10: ("Threats were analysed", "people do that"),
    11: (
        "CodeQL was run",
        "run Microsoft's suite; it has no query about executable memory, so it does not stand for "
        "item 6",
    ),
    18: ("Secure coding resources were read", "people do that"),
    19: ("The key takeaways were reviewed", "people do that"),
}
_FRAMEWORKS = {
    "ndis.sys": "an NDIS driver",
    "storport.sys": "a Storport miniport",
    "portcls.sys": "an audio miniport (PortCls)",
    "ks.sys": "an AVStream or KS driver",
    "fltmgr.sys": "a file system minifilter",
    "hidclass.sys": "a HID minidriver",
    "netadaptercx.sys": "a NetAdapterCx driver",
    "dxgkrnl.sys": "a display driver",
    "videoprt.sys": "a video miniport",
}
_OPEN, _SECURED = "IoCreateDevice", ("IoCreateDeviceSecure", "WdmlibIoCreateDeviceSecure")
_PHYSICAL = ("MmMapIoSpace", "MmMapIoSpaceEx", "ZwMapViewOfSection", "MmCopyMemory")
_TRUSTED = (Signed.HARDWARE, Signed.EARLY_LAUNCH, Signed.IN_BOX)
_ATTESTED = (
    "attestation signing is for testing, and not published by Windows Update to customers since "
    "March 2023"
)


def checklist(report: Report, imports: Imports = frozenset()) -> tuple[Item, ...]:
    """The nineteen items for one driver."""
    return tuple(_items(report, imports))


def _items(report: Report, imports: Imports) -> Iterator[Item]:
    for number in range(1, 20):
        if number in _OTHERS:
            title, why = _OTHERS[number]
            yield Item(number, title, Status.NOT_HERE, why)
        else:
            title, answer = _ANSWERED[number]
            yield Item(number, title, *answer(report, imports))


def _frameworks(report: Report, imports: Imports) -> Answered:
    image = report.image
    if image is None:
        return Status.PARTLY, "seen in the built image only"
    if image.kmdf_version:
        return Status.YES, f"built on KMDF {image.kmdf_version}"
    modules = {module.lower() for module, _ in image.import_tables}
    if found := [text for module, text in _FRAMEWORKS.items() if module in modules]:
        return Status.YES, f"{', '.join(found)}: the port or class driver is the framework"
    return Status.NO, "a WDM driver without KMDF or a port driver"


def _access(report: Report, imports: Imports) -> Answered:
    if report.image is None:
        return Status.PARTLY, "seen in the built image only"
    if _OPEN not in imports:
        return (
            Status.PARTLY,
            f"it does not import {_OPEN}; the security of its INF is not looked at",
        )
    if set(_SECURED) & imports or "SeDeclareIoDeviceSecurity" in imports:
        return (
            Status.PARTLY,
            f"it imports {_OPEN} and {_SECURED[0]}; which device gets which is open",
        )
    return (
        Status.PARTLY,
        f"it makes devices with {_OPEN}, whose security comes from the class or the INF; with a "
        f"name that anyone may open, {_SECURED[0]} is safer",
    )


def _coding(report: Report, imports: Imports) -> Answered:
    pool = next((one for one in report.results if one.rule == "execute-pool-type"), None)
    said = {
        Outcome.FAIL: "pool memory is asked for that may execute",
        Outcome.PASS: "no pool memory is asked for that may execute",
    }
    outcome = pool.outcome if pool else None
    text = said.get(outcome, "whether all pool memory is non-executable is open") if outcome else ""
    registers = [
        finding
        for finding in report.findings
        if finding.origin != "verifier" and "MSR" in finding.message.upper()
    ]
    more = f"; {len(registers)} places write model-specific registers" if registers else ""
    return Status.PARTLY, f"{text}{more}; buffers, handles and IRPs are not looked at"


def _compatible(report: Report, imports: Imports) -> Answered:
    answers = {answer for answer in report.answers.values() if answer is not None}
    sentence = summary(report)
    if Answer.NO in answers:
        return Status.NO, sentence
    if Answer.UNDECIDED in answers or not answers:
        return Status.UNDECIDED, sentence
    return Status.YES, sentence


def _verified(report: Report, imports: Imports) -> Answered:
    if report.verifier is None:
        return Status.PARTLY, "not run here: --verify runs the code integrity checks, emulated"
    conclusion = conclude(report.verifier)
    text = f"the code integrity checks, emulated: {safe(conclusion.summary, 1000)}"
    if conclusion.proof is Proof.VIOLATION:
        return Status.NO, text
    return Status.PARTLY, f"{text}; the other checks of Driver Verifier need Windows"


def _tested(report: Report, imports: Imports) -> Answered:
    readiness = report.answers[Question.READINESS]
    text = "the HyperVisor Code Integrity Readiness Test, foreseen"
    if readiness is Answer.NO:
        return Status.NO, f"{text}: it would count something"
    counted = "it would count nothing" if readiness is Answer.YES else "undecided"
    return Status.PARTLY, f"{text}: {counted}; the other tests need the HLK"


def _shipped(report: Report, imports: Imports) -> Answered:
    if report.trust is None:
        return Status.PARTLY, "seen in the built image only"
    return (
        Status.PARTLY,
        f"signature: {safe(report.trust.reason, 500)}; BinSkim's rules on writable and executable "
        "sections skip kernel images, see item 6 for these",
    )


def _no_test_code(report: Report, imports: Imports) -> Answered:
    mapped = sorted({call.call.ddi for call in report.calls if call.call.ddi in _PHYSICAL})
    text = (
        f"it calls {', '.join(mapped)}, which can reach physical memory"
        if mapped
        else ("no call was found that maps physical memory")
    )
    trust = report.trust
    signed = f"; signed: {trust.signed.value}" if trust else ""
    return Status.PARTLY, f"{text}{signed}; whether it is test code is not known here"


def _released(report: Report, imports: Imports) -> Answered:
    trust = report.trust
    if trust is None:
        return Status.PARTLY, "seen in the built image only"
    if trust.signed is Signed.ATTESTATION:
        return Status.PARTLY, f"{safe(trust.reason, 500)}; {_ATTESTED}"
    if trust.signed in _TRUSTED and trust.driver_policy is not DriverPolicy.REFUSED:
        return Status.YES, safe(trust.reason, 500)
    if trust.signed is Signed.NONE and not trust.catalogs:
        return Status.UNDECIDED, "no signature in the file; give the catalog of its package"
    return Status.NO, safe(trust.reason, 500)


def _listed(report: Report, imports: Imports) -> Answered:
    if report.blocklisted is None:
        return Status.NOT_HERE, "no block list was given"
    named = report.blocklisted is Answer.YES
    text = "the given block list names it" if named else "the given block list does not name it"
    return Status.NO if named else Status.YES, text


_ANSWERED: dict[int, tuple[str, Callable[[Report, Imports], Answered]]] = {
    2: ("A driver framework is used", _frameworks),
    3: ("Access to the driver is managed", _access),
    5: ("Secure coding guidelines are followed", _coding),
    6: ("The code is compatible with memory integrity", _compatible),
    12: ("Driver Verifier was run", _verified),
    13: ("The hardware compatibility tests were run", _tested),
    14: ("The built driver was checked with BinSkim and SignTool", _shipped),
    15: ("Test code is not signed for production", _no_test_code),
    16: ("The release is signed as Microsoft wants it", _released),
    17: ("The driver is not reported as vulnerable or malicious", _listed),
}


def to_text(title: str, items: Iterable[Item]) -> str:
    """The items as text."""
    lines = [safe(title, 1000), ""]
    for item in items:
        lines.append(f"{item.number:>2}  {item.status:<17} {item.title}")
        lines.append(f"    {'':17} {item.evidence}")
    return "\n".join(lines) + "\n"
