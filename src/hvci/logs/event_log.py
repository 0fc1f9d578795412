"""Reads `.evtx` files through the package `evtx`, which is an extra and loaded only for them.

Knows the package; an event is the same record as from XML.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from hvci.errors import InputError, UsageError
from hvci.logs.events import MAX_EVENTS, Event, xml_events

MAGIC = b"ElfFile\0"
MAX_DAMAGED = 1000
"""Records that may be unreadable before the file is given up."""


def is_event_log(data: bytes) -> bool:
    """Whether the bytes are an .evtx file."""
    return data.startswith(MAGIC)


def evtx_events(data: bytes) -> Iterator[Event]:
    """The events of an .evtx file; records that cannot be read are left out."""
    try:
        from evtx import PyEvtxParser
    except ImportError as error:
        raise UsageError(
            "an .evtx file needs the package evtx: pip install evtx, or export the log "
            "with wevtutil qe LOG /f:xml"
        ) from error
    damaged = 0
    try:
        records = iter(PyEvtxParser(io.BytesIO(data), number_of_threads=1).records())
    except BaseException as error:
        raise _refused(error) from error
    for _ in range(MAX_EVENTS):
        try:
            record = next(records)
        except StopIteration:
            return
        except BaseException as error:
            damaged += 1
            if damaged > MAX_DAMAGED or not _is_of_the_package(error):
                raise _refused(error) from error
            continue
        yield from xml_events(str(record["data"]) if record else "")


def _is_of_the_package(error: BaseException) -> bool:
    """Whether the package said so; a panic of it is no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _refused(error: BaseException) -> BaseException:
    if not _is_of_the_package(error):
        return error
    said = str(error).partition("\n")[0][:200] or type(error).__name__
    return InputError(f"the event log cannot be read: {said}")
