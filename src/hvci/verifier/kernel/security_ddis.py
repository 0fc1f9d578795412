"""Stand-ins for sizes of SIDs and security descriptors, and for what looks at the stack."""

from __future__ import annotations

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

_SID = 8
"""Bytes of a SID before its sub-authorities."""


def _length_of_sid(call: Call, sid: int) -> int:
    return _SID + 4 * call.memory.u8(sid + 1) if sid >= LOWEST_POINTER else 0


@stands_in("RtlLengthSid")
def length_of_sid(call: Call) -> int:
    """Bytes of a SID."""
    return _length_of_sid(call, call.arg(0))


@stands_in("RtlLengthRequiredSid")
def length_of_such_sid(call: Call) -> int:
    """Bytes of a SID with so many sub-authorities."""
    return _SID + 4 * call.u8(0)


@stands_in("RtlSubAuthoritySid")
def sub_authority(call: Call) -> int:
    """Where a sub-authority stands."""
    return call.arg(0) + _SID + 4 * call.u8(1)


@stands_in("RtlSubAuthorityCountSid")
def count_of_sub_authorities(call: Call) -> int:
    """Where their number stands."""
    return call.arg(0) + 1


@stands_in("RtlCaptureStackBackTrace")
def no_frames(call: Call) -> int:
    """No frame is known, as where the stack cannot be walked."""
    return 0
