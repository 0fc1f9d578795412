"""What the signatures of a driver mean: its class, and what the Windows Driver Policy says.

The policy (Microsoft, "The Windows Driver Policy"): since April 2026, Windows 11 24H2, 25H2 and
26H1 and Server 2025 load kernel drivers that the hardware program (WHCP) signed and those of an
allow list of cross-signed drivers; first they only watch, later they enforce it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hvci.model import Machine, WindowsVersion
from hvci.model.signature import DriverPolicy, Signature, Signed
from hvci.signing.authenticode import BY_MICROSOFT

FIRST = WindowsVersion.WINDOWS_11_24H2
_PLACE = re.compile(r"[/\\!]")
_ORDER = {signed: rank for rank, signed in enumerate(Signed)}
_WORDS = {
    Signed.HARDWARE: "signed by Microsoft's hardware program (WHCP)",
    Signed.ATTESTATION: "attestation-signed by Microsoft's hardware program, without HLK tests",
    Signed.EARLY_LAUNCH: "signed by Microsoft as early-launch anti-malware",
    Signed.IN_BOX: "signed by Microsoft as a part of Windows",
    Signed.CROSS_SIGNED: "signed by its vendor, under Microsoft's Code Verification Root",
    Signed.OTHER: "signed, but not by Microsoft and not cross-signed",
    Signed.TEST: "test-signed: only a machine with test signing on takes it",
    Signed.DAMAGED: "the signature is damaged",
    Signed.NONE: "not signed",
}


def best(signatures: Sequence[Signature]) -> Signature | None:
    """The signature that Windows trusts most; a proven one before one that only says so."""
    ranked = sorted(
        signatures, key=lambda each: (not each.anchored, _ORDER[each.signed], each.place)
    )
    return ranked[0] if ranked else None


def reason(signatures: Sequence[Signature], catalogs: int, unread: Sequence[str] = ()) -> str:
    """One sentence about the class of a driver; `unread` are catalogs that say nothing, by path."""
    one = best(signatures)
    if one is None:
        also = f", and none of {catalogs} catalogs lists it" if catalogs else ""
        if unread:
            more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
            also += f"; {_PLACE.split(unread[0])[-1]}{more} is no catalog that can be read"
        return f"no signature in the file{also}"
    parts = [_WORDS[one.signed]]
    if one.signed is Signed.DAMAGED:
        parts[0] += f": {one.problem}"
    elif one.signer:
        by = f" ({one.submitter})" if one.submitter and one.signed in BY_MICROSOFT else ""
        parts[0] += f"; signer {one.signer}{by}"
    if one.signed in BY_MICROSOFT and not one.anchored:
        parts.append("it says so itself: its keys lead to no authority that hvci knows")
    elif one.problem and one.signed is not Signed.DAMAGED:
        parts.append(one.problem)
    parts += _remarks(one, signatures)
    return "; ".join(parts)


def _remarks(one: Signature, signatures: Sequence[Signature]) -> list[str]:
    """What else matters about the signatures."""
    found = []
    if not one.place.startswith("embedded") and one.signed is not Signed.DAMAGED:
        found.append(f"by catalog {one.place}")
    if one.not_after and not one.timestamp and one.signed not in (Signed.DAMAGED, Signed.TEST):
        found.append(f"no time stamp, certificate good until {one.not_after[:10]}")
    if one.in_time is False:
        found.append("time stamp outside the life of the certificate")
    if one.page_hashes and not one.page_hashes.match:
        found.append("its page hashes do not match the file")
    broken = sum(each.signed is Signed.DAMAGED for each in signatures)
    if broken and one.signed is not Signed.DAMAGED:
        found.append(f"{broken} of {len(signatures)} signatures damaged")
    return found


def driver_policy(
    one: Signature | None, machine: Machine, target: WindowsVersion
) -> tuple[DriverPolicy, str]:
    """What the Windows Driver Policy says, and why."""
    if machine is Machine.X86:
        return DriverPolicy.NOT_APPLICABLE, "no Windows with this policy runs x86 drivers"
    if target < FIRST:
        return DriverPolicy.NOT_APPLICABLE, f"the policy came to {FIRST.label} and Server 2025"
    signed = one.signed if one else Signed.NONE
    if one is not None and signed in BY_MICROSOFT:
        if one.anchored:
            return DriverPolicy.PASSES, _passes(signed)
        why = "signed as by Microsoft, but its keys lead to no authority that hvci knows"
        return DriverPolicy.UNDECIDED, f"{why}: check it on Windows with signtool verify /kp"
    catalog = "unless a catalog of the hardware program covers it (--catalog)"
    if signed is Signed.CROSS_SIGNED:
        return (
            DriverPolicy.ALLOW_LISTED,
            f"a vendor's signature: Microsoft must list the driver, {catalog}",
        )
    return DriverPolicy.REFUSED, f"neither signed by the hardware program nor listed, {catalog}"


def _passes(signed: Signed) -> str:
    if signed is Signed.HARDWARE:
        return "signed by the hardware program"
    if signed is Signed.IN_BOX:
        return "signed as a part of Windows (inferred)"
    return "signed through Microsoft's hardware program, though not after HLK tests (inferred)"
