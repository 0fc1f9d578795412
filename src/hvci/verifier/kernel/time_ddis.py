"""Stand-ins for times: 100 nanoseconds since 1601 as fields, and in seconds since other years."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in

_BEGIN = datetime(1601, 1, 1)
_TICKS = 10_000_000
"""Of a second."""
_SINCE = {"1970": 11_644_473_600, "1980": 11_960_006_400}
"""Seconds from 1601 to the years that people count from."""
_FIELDS = struct.Struct("<8h")
"""TIME_FIELDS: year, month, day, hour, minute, second, milliseconds, weekday from Sunday on."""


@stands_in("RtlTimeToTimeFields")
def to_fields(call: Call) -> None:
    """A time as year, month, day and so on."""
    ticks = call.memory.u64(call.arg(0))
    try:
        when = _BEGIN + timedelta(microseconds=ticks // 10)
    except OverflowError:  # after the year 9999
        when = datetime.max
    fields = _FIELDS.pack(
        when.year,
        when.month,
        when.day,
        when.hour,
        when.minute,
        when.second,
        when.microsecond // 1000,
        (when.weekday() + 1) % 7,
    )
    call.give_bytes(1, fields)


@stands_in("RtlTimeFieldsToTime")
def from_fields(call: Call) -> int:
    """The time of such fields; false where they are none."""
    fields = _FIELDS.unpack(call.memory.read(call.arg(0), _FIELDS.size))
    year, month, day, hour, minute, second, thousandths, _ = fields
    try:
        when = datetime(year, month, day, hour, minute, second, 1000 * thousandths)
    except ValueError:
        return 0
    if when < _BEGIN:
        return 0
    ticks = (when - _BEGIN) // timedelta(microseconds=1) * 10
    call.give_bytes(1, ticks.to_bytes(8, "little"))
    return 1


@stands_in("RtlTimeToSecondsSince1970", "RtlTimeToSecondsSince1980")
def to_seconds(call: Call) -> int:
    """Whole seconds; false where they are before that year or need more than 32 bits."""
    seconds = call.memory.u64(call.arg(0)) // _TICKS - _SINCE[call.name[-4:]]
    if not 0 <= seconds <= 0xFFFF_FFFF:
        return 0
    call.give_u32(1, seconds)
    return 1


@stands_in("RtlSecondsSince1970ToTime", "RtlSecondsSince1980ToTime")
def from_seconds(call: Call) -> None:
    """The time of whole seconds."""
    ticks = (call.u32(0) + _SINCE[call.name[-10:-6]]) * _TICKS
    call.give_bytes(1, ticks.to_bytes(8, "little"))
