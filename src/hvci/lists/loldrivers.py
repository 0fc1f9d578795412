"""Asks the list of LOLDrivers (JSON) about a driver: by the hashes of the samples it knows.

Its field "LoadsDespiteHVCI" tells whether Microsoft's block list has the driver, nothing of its
code: it is not used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hvci.errors import InputError
from hvci.lists.subject import Subject
from hvci.model.signature import ListAnswer, ListKind, Match

_HASH = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
_ALGORITHMS = ("md5", "sha1", "sha256")


class LolDrivers:
    """One list, made ready for many drivers."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        try:
            entries = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not JSON that can be read: {str(error)[:200]}") from error
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise InputError("not a list of drivers as LOLDrivers publishes it")
        self._entries = len(entries)
        self._known: dict[tuple[str, bytes], tuple[str, str]] = {}
        for entry in entries:
            self._add(entry)
        if entries and not self._known:
            raise InputError("it lists no hash of a driver")

    def _add(self, entry: dict[str, Any]) -> None:
        samples = entry.get("KnownVulnerableSamples")
        for sample in samples if isinstance(samples, list) else ():
            if isinstance(sample, dict):
                about = (str(entry.get("Id", "")), _title(entry, sample))
                for key in _keys(sample):
                    self._known.setdefault(key, about)

    def ask(self, subject: Subject) -> ListAnswer:
        """What the list says of a driver."""
        found: dict[str, Match] = {}
        for key, what in _asked(subject):
            if (about := self._known.get(key)) is not None:
                found.setdefault(about[0], Match(*about, what))
        matches = tuple(found.values())
        note = "Windows does not refuse it for that: the list is a warning" if matches else ""
        doubt = "" if self._entries else "it is empty: is it the list that was meant?"
        return ListAnswer(
            self.path, ListKind.LOLDRIVERS, "LOLDrivers", self._entries, matches, doubt, note
        )


def _title(entry: dict[str, Any], sample: dict[str, Any]) -> str:
    tags = entry.get("Tags")
    first = tags[0] if isinstance(tags, list) and tags else sample.get("Filename", "")
    return f"{first} ({entry.get('Category', 'no category')})"


def _keys(sample: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The hashes of one sample: of the file, and Authenticode's in both spellings."""
    nested = sample.get("Authentihash")
    nested = nested if isinstance(nested, dict) else {}
    for algorithm in _ALGORITHMS:
        name = algorithm.upper()
        for kind, value in (
            ("flat", sample.get(name)),
            ("authentihash", nested.get(name)),
            ("authentihash", sample.get(f"Authentihash{name}")),
        ):
            if isinstance(value, str) and _HASH.fullmatch(value.strip()):
                yield kind, bytes.fromhex(value.strip())


def _asked(subject: Subject) -> Iterator[tuple[tuple[str, bytes], str]]:
    """The same hashes of a driver, the strongest first."""
    for algorithm in reversed(_ALGORITHMS):
        name = algorithm.upper().replace("SHA", "SHA-")
        yield ("flat", subject.flat(algorithm)), f"{name} of the file"
        yield ("authentihash", subject.file.digest(algorithm)), f"Authenticode {name}"
