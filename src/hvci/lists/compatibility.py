"""Asks a driver compatibility database (drvmain.sdb) about a driver, as the kernel does.

Which attributes an entry can have is documented by ReactOS; how they are compared, and what the
bits of a driver's policy do, was observed in published decompilations of the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from re import IGNORECASE, Pattern, compile

from hvci.errors import InputError
from hvci.lists import sdb_tags as tags
from hvci.lists.sdb import Database, Tag
from hvci.lists.subject import Subject
from hvci.lists.version import Version
from hvci.model import TARGETS, WindowsVersion
from hvci.model.signature import ListAnswer, ListKind, Match

_ANY = 0xFFFF
_WIN32_MODULE = 3
_BITS = {
    0x10: "when memory integrity runs",
    0x20: "when kernel shadow stacks run",
    0x40: "when HVPT runs",
}
_MOST_ENTRIES = 500_000
_MOST_MATCHES = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A driver in the database."""

    tag: Tag
    name: str
    wild: bool
    title: str


class Compatibility:
    """One database, made ready for many drivers."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self._db = path, Database(data)
        self._by_name: dict[str, list[Entry]] = {}
        self._wild: list[Entry] = []
        self._count = 0
        for tag in self._db.walk(self._db.root, tags.CONTAINERS):
            if tag.number in tags.ENTRIES:
                self._add(self._entry(tag))

    def _add(self, entry: Entry) -> None:
        self._count += 1
        if self._count > _MOST_ENTRIES:
            raise InputError(f"the database has more than {_MOST_ENTRIES} entries")
        if entry.wild:
            self._wild.append(entry)
        else:
            self._by_name.setdefault(entry.name.lower(), []).append(entry)

    def _entry(self, tag: Tag) -> Entry:
        name = title = ""
        wild = False
        for child in self._db.children(tag):
            if child.number in (tags.NAME, tags.WILDCARD_NAME):
                name = self._db.text(child)
                wild = child.number == tags.WILDCARD_NAME or "*" in name or "?" in name
            elif child.number == tags.APP_NAME:
                title = self._db.text(child)
        return Entry(tag, name, wild, title)

    def ask(self, subject: Subject) -> ListAnswer:
        """What the database says of a driver; damage within an entry is a doubt."""
        self._db.renew()
        try:
            matches, doubts = self._look_up(subject)
        except InputError as error:
            matches, doubts = [], [f"an entry about it is damaged: {error}"]
        return ListAnswer(
            self.path,
            ListKind.COMPATIBILITY,
            "driver compatibility database",
            self._count,
            tuple(matches[:_MOST_MATCHES]),
            "" if matches or not doubts else doubts[0],
            "what its bits mean was observed, not documented" if matches else "",
        )

    def _look_up(self, subject: Subject) -> tuple[list[Match], list[str]]:
        """The entries that fit, and why others may."""
        matches: list[Match] = []
        doubts: list[str] = []
        on_disk, original = subject.named()
        for name in dict.fromkeys((on_disk, original)):
            for entry in self._named(name):
                fits, doubt = self._fits(entry, subject)
                if not fits:
                    continue
                if name != on_disk:
                    doubt = f"it is listed as {name}, and the file is called {on_disk or 'nothing'}"
                if doubt:
                    doubts.append(f"entry {entry.name} fits, but {doubt}")
                else:
                    matches.append(Match(self._id(entry), entry.title, self._why(entry)))
        return matches, doubts

    def _named(self, name: str) -> Iterator[Entry]:
        if name:
            yield from self._by_name.get(name, ())
            yield from (entry for entry in self._wild if _pattern(entry.name).match(name))

    def _id(self, entry: Entry) -> str:
        """The entry's own id, else its name."""
        for child in self._db.children(entry.tag):
            if child.number == tags.EXE_ID and child.end - child.start == 16:
                raw = self._db.data[child.start : child.end]
                a, b, c = struct.unpack_from("<IHH", raw)
                return f"{{{a:08x}-{b:04x}-{c:04x}-{raw[8:10].hex()}-{raw[10:].hex()}}}"
        return entry.name

    def _why(self, entry: Entry) -> str:
        """Which conditions held, and what then happens."""
        held = [f"name {entry.name}"]
        for child in self._db.children(entry.tag):
            if child.number == tags.MATCHING_FILE:
                listed = list(self._db.children(child))
                unless = "not " if any(each.number == tags.NOT for each in listed) else ""
                held += [
                    unless + self._condition(each)
                    for each in listed
                    if each.number not in (tags.NAME, tags.NOT)
                ]
        return f"{', '.join(held)}: {self._effect(entry)}"

    def _condition(self, tag: Tag) -> str:
        name = tags.ATTRIBUTES.get(tag.number, f"tag {tag.number:#06x}")
        if tag.kind == 6:
            return f"{name} {self._db.text(tag)}"
        if tag.kind == 5:
            return f"{name} {'.'.join(map(str, self._version(tag)))}"
        return f"{name} {self._db.number(tag):#x}"

    def _effect(self, entry: Entry) -> str:
        policy = self._policy(entry.tag)
        if policy is None and entry.tag.number == tags.KERNEL_DRIVER:
            return "it is given compatibility settings, and not refused"
        if policy is None:
            return "refused (the entry has no policy of its own)"
        when = [what for bit, what in _BITS.items() if policy & bit]
        severity = "" if policy & 1 else ", as critical"
        text = f"refused {' and '.join(when) or f'always{severity}'} (policy {policy:#x})"
        return text + ("; and while Windows is set up" if policy & 8 else "")

    def _policy(self, entry: Tag) -> int | None:
        """The number that an entry's data hold; one that is called a policy comes first."""
        found: dict[str, int] = {}
        for child in self._db.children(entry):
            if child.number == tags.DATA:
                parts = {part.number: part for part in self._db.children(child)}
                if tags.DATA_DWORD in parts:
                    name = self._db.text(parts[tags.NAME]) if tags.NAME in parts else ""
                    found[name.lower()] = self._db.number(parts[tags.DATA_DWORD])
        named = [value for name, value in found.items() if "policy" in name]
        return next(iter(named or found.values()), None)

    # ---- conditions

    def _fits(self, entry: Entry, subject: Subject) -> tuple[bool, str]:
        """Whether all conditions of an entry hold, and what of them cannot be checked."""
        doubt = ""
        for child in self._db.children(entry.tag):
            if child.number == tags.MATCHING_FILE:
                fits, unknown = self._file_fits(child, subject)
                if not fits:
                    return False, ""
                doubt = doubt or unknown
            elif child.number in (tags.FROM_OS, tags.BEFORE_OS):
                release = tags.RELEASES.get(name := self._db.text(child).upper())
                if release is None:
                    doubt = doubt or f"it is for a Windows called {name}"
                elif (_windows(subject) >= release) is (child.number == tags.BEFORE_OS):
                    return False, ""
            elif child.number not in tags.INERT:
                doubt = doubt or f"its condition {child.number:#06x} cannot be checked"
        return True, doubt

    def _file_fits(self, matching: Tag, subject: Subject) -> tuple[bool, str]:
        """Whether a file that must be there is there: for most entries, the driver itself."""
        children = list(self._db.children(matching))
        names = [self._db.text(child) for child in children if child.number == tags.NAME]
        if names and names[0][:1] != "*" and names[0].lower() not in subject.named():
            return True, f"it asks for a file {names[0]} beside the driver"
        doubt = ""
        negated = any(child.number == tags.NOT for child in children)
        for child in children:
            if child.number in (tags.NAME, tags.NOT):
                continue
            answer = self._holds(child, subject)
            if answer is False:
                return negated, ""
            if answer is None:
                doubt = doubt or f"its condition {child.number:#06x} cannot be checked"
        return (True, doubt) if doubt else (not negated, "")

    def _holds(self, tag: Tag, subject: Subject) -> bool | None:
        """Whether one attribute is as the database wants it; None where it is not known."""
        if (key := tags.STRINGS.get(tag.number)) is not None:
            value = subject.version.names.get(key)
            return value is not None and bool(_pattern(self._db.text(tag)).match(value))
        if tag.number in tags.VERSIONS:
            of_product, compare = tags.VERSIONS[tag.number]
            info = subject.version
            found = info.product if of_product else info.file
            return found is not None and _compare(compare, self._version(tag), found)
        wanted = self._db.number(tag)
        numbers = _numbers(subject)
        if tag.number in (tags.UPTO_LINK_DATE, tags.FROM_LINK_DATE):
            date = numbers[tags.LINK_DATE]
            return date <= wanted if tag.number == tags.UPTO_LINK_DATE else date >= wanted
        return numbers[tag.number] == wanted if tag.number in numbers else None

    def _version(self, tag: Tag) -> Version:
        d, c, b, a = struct.unpack("<4H", self._db.data[tag.start : tag.end])
        return a, b, c, d


def _windows(subject: Subject) -> WindowsVersion:
    """The Windows that a database is asked for: the first with memory integrity, or later."""
    return max(subject.target_os, TARGETS[0])


def _compare(how: str, wanted: Version, found: Version) -> bool:
    """Compare versions part by part; a part of 0xFFFF is any."""
    for one, other in zip(wanted, found, strict=True):
        if one not in (other, _ANY):
            return how == "upto" if one > other else how == "from"
    return True


def _numbers(subject: Subject) -> dict[int, int]:
    """The numbers of a driver by tag."""
    data = subject.file.data
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    date, optional = struct.unpack_from("<I", data, pe + 8)[0], pe + 24
    major, minor = struct.unpack_from("<HH", data, optional + 44)
    return {
        tags.SIZE: len(data),
        tags.FILE_SIZE: len(data),
        tags.CHECKSUM: checksum(data),
        tags.PE_CHECKSUM: struct.unpack_from("<I", data, optional + 64)[0],
        tags.SIZE_OF_IMAGE: subject.file.headers.size_of_image,
        tags.LINK_DATE: date,
        tags.LINKER_VERSION: major << 16 | minor,
        tags.MODULE_TYPE: _WIN32_MODULE,
    }


def checksum(data: bytes) -> int:
    """The sum over a page behind the headers, rotated after each addition."""
    size = min(len(data), 0x1000)
    at = 0 if len(data) < 0x1000 else min(0x200, len(data) - 0x1000)
    total = 0
    for word in struct.unpack_from(f"<{size // 4}I", data, at):
        total = total + word & 0xFFFF_FFFF
        total = total >> 1 | (total & 1) << 31
    return total


@lru_cache(maxsize=4096)
def _pattern(text: str) -> Pattern[str]:
    """A pattern in which only * and ? are special."""
    return compile(translate(text.replace("[", "[[]")), IGNORECASE)
