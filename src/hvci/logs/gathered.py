"""Everything that log files say, put together: events, bug checks, counters, lists of a computer.

Knows which reader a file needs; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hvci.logs.crashes import Crash
from hvci.logs.dump import bug_check, is_dump
from hvci.logs.event_facts import Seen, identified, quoted, seen
from hvci.logs.event_log import evtx_events, is_event_log
from hvci.logs.event_text import csv_events, json_events, text_events
from hvci.logs.events import MAX_EVENTS, Event, without_xml, xml_events
from hvci.logs.machine import Machine, machine, names_of, one_each, problems
from hvci.logs.parse import LONGEST_LINE, Log, decode_text, parse_log
from hvci.logs.refusals import crash_signs
from hvci.model.gates import same_provider

_BUGCHECK = "Microsoft-Windows-WER-SystemErrorReporting"
_WITH_FIELDS = (("Microsoft-Windows-Kernel-Power", 41), ("Windows Error Reporting", 1001))
"""Events whose fields are a bug check: the restart without a shutdown, and the error report."""
MAX_LINES = 500_000
SIGNATURE = 3089
_MOST_NAMED = 5
_SHORT_NAME = 15
"""Characters of a computer's name where it is not that of the network."""
OF_ANY_FILE = (3033, 3034, 3076, 3077)
"""Events that programs for user mode cause as well."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one or several logs say."""

    log: Log = field(default_factory=Log)
    seen: tuple[Seen, ...] = ()
    computer: Machine = field(default_factory=Machine)
    signers: Mapping[str, str] = field(default_factory=dict)
    """Who signed the file of an event, by correlation id."""
    programs: int = 0
    """Events about files that are no drivers."""
    events: int = 0
    lines_cut: int = 0
    """Lines of text that were too many to read."""
    events_cut: bool = False
    """A log holds as many events as are read of one, and may hold more."""
    computers: tuple[str, ...] = ()
    """Names of the computers that logged the events or that lists are about, in capitals and
    without their domain."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was understood."""
        return not (self.log.entries or self.seen or self.computer.known or self.programs)


def gather(files: Iterable[bytes]) -> Gathered:
    """Read every file and join what they say."""
    parts = [_one(data) for data in files]
    entries = tuple(entry for part in parts for entry in part.log.entries)
    bases = _bases([part.log.bases for part in parts])
    others = tuple(dict.fromkeys(code for part in parts for code in part.log.others))
    computer = _joined([part.computer for part in parts])
    names = _distinct({name for part in parts for name in part.computers})
    if len(names) > 1:
        said = ", ".join(names[:_MOST_NAMED]) + " ..." * (len(names) > _MOST_NAMED)
        told = f"the logs are of {len(names)} computers ({said}), put together by names of files"
        computer = replace(computer, facts=(*computer.facts, told))
    return Gathered(
        Log(entries, bases, others),
        tuple(dict.fromkeys(one for part in parts for one in part.seen)),
        computer,
        {key: name for part in parts for key, name in part.signers.items()},
        sum(part.programs for part in parts),
        sum(part.events for part in parts),
        sum(part.lines_cut for part in parts),
        any(part.events_cut for part in parts),
        tuple(names),
    )


def _distinct(names: set[str]) -> list[str]:
    """Names of computers; lists cut one that events have whole."""
    whole = {
        name: any(other.startswith(name) for other in names - {name})
        for name in names
        if len(name) == _SHORT_NAME
    }
    return sorted(name for name in names if not whole.get(name))


def _bases(parts: Sequence[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """Where modules lay; one that lay elsewhere at another start of the computer is left out."""
    known: dict[str, set[tuple[int, int]]] = {}
    for part in parts:
        for name, base in part.items():
            known.setdefault(name, set()).add(base)
    return {name: next(iter(bases)) for name, bases in known.items() if len(bases) == 1}


def _joined(computers: Sequence[Machine]) -> Machine:
    states = [one.memory_integrity for one in computers if one.memory_integrity is not None]
    return Machine(
        states[-1] if states else None,
        tuple(dict.fromkeys(fact for one in computers for fact in one.facts)),
        one_each(pair for one in computers for pair in one.packages.items()),
        one_each(pair for one in computers for pair in one.likely.items()),
        frozenset().union(*(one.at_boot for one in computers)),
        any(one.known for one in computers),
    )


def _one(data: bytes) -> Gathered:
    if is_event_log(data):
        events = list(evtx_events(data))
        return _from_events(events, "\n".join(map(_bug_check_of, events)))
    text = bug_check(data) if is_dump(data) else decode_text(data)
    rest = without_xml(text)
    lines = [line[:LONGEST_LINE].rstrip() for line in rest.splitlines()]
    if cut := max(0, len(lines) - MAX_LINES):
        lines = lines[:MAX_LINES]
        rest = "\n".join(lines)
    table = [*csv_events(rest), *json_events(rest)]
    structured = [*xml_events(text), *table]
    plain = [] if table else list(text_events(lines))
    events = [*structured, *plain] or list(quoted(lines))
    crashes = "\n".join(_bug_check_of(event) for event in structured)
    gathered = _from_events(events, crashes if table else f"{rest}\n{crashes}")
    devices = tuple(problems(lines))
    return replace(
        gathered,
        seen=(*gathered.seen, *devices),
        computer=machine(lines, rest),
        lines_cut=cut,
        computers=tuple({*gathered.computers, *names_of(lines)}),
    )


def _from_events(events: list[Event], text: str) -> Gathered:
    """What events say; `text` holds the bug checks, but where lists fold their lines."""
    known = [event for one in events if (event := identified(one)) is not None]
    log = parse_log(text)
    if not any(isinstance(entry, Crash) for entry in log.entries):
        log = parse_log("\n".join((text, *map(_bug_check_of, events))))
    found: list[Seen] = []
    programs = 0
    for event in known:
        some = list(seen(event))
        found += some
        programs += not some and event.id in OF_ANY_FILE
    crashes = (entry for entry in log.entries if isinstance(entry, Crash))
    found += crash_signs(crashes, log.bases)
    signers = {
        event.activity: name
        for event in known
        if event.id == SIGNATURE and (name := event.get("PublisherName")) and event.activity
    }
    names = {event.computer.partition(".")[0].upper() for event in known} - {""}
    return Gathered(
        log,
        tuple(found),
        Machine(),
        signers,
        programs,
        len(events),
        events_cut=len(events) >= MAX_EVENTS,
        computers=tuple(names),
    )


def _bug_check_of(event: Event) -> str:
    """The text of an event that holds a bug check, whose fields or message have it."""
    if same_provider(event.provider, _BUGCHECK):
        return f"The bugcheck was: {event.get('param1', '0')}" if event.data else event.message
    if (event.provider, event.id) in _WITH_FIELDS:
        return "\n".join(f"{name}: {value}" for name, value in event.data.items())
    return ""
