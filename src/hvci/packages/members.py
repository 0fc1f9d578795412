"""What an archive is read as: one file after the other, each in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from posixpath import dirname, join, normpath
from typing import IO, NamedTuple

from hvci.packages.marks import ARCHIVES

PIECE = 1 << 18
_OF_PACKAGES = (".sys", ".inf", ".cat", *ARCHIVES)
_MOST_HOPS = 40


class Member(NamedTuple):
    """One file in an archive; its pieces can be read once, before the next member is asked for."""

    name: str
    pieces: Iterator[bytes]
    size: int | None = None
    """What the archive says; None where it does not."""
    names: Mapping[str, str] = {}
    """Of an archive within: what its members are called that it names by keys."""
    also: tuple[str, ...] = ()
    """Other names of the same bytes in the archive."""
    kind: str = ""
    """Of archive, where the first bytes do not tell."""


def numbered(names: Iterable[str]) -> Iterator[str]:
    """Names with a number behind each that was there before."""
    met: Counter[str] = Counter()
    for name in names:
        met[name] += 1
        yield f"{name}#{met[name]}" if met[name] > 1 else name


class Links:
    """Names in an archive that stand for the bytes of another member, by that member's number."""

    def __init__(self) -> None:
        self._members: dict[str, int] = {}
        self._names: dict[int, list[str]] = {}
        self._symbolic: dict[str, str] = {}
        self._lost: list[tuple[str, str]] = []

    def member(self, name: str, number: int) -> None:
        """Take note of a file; the last of a name is what a link means."""
        self._members[name] = number

    def link(self, name: str, target: str) -> None:
        """Take note of a link to a file that came before it."""
        if target in self._members:
            self._names.setdefault(self._members[target], []).append(name)
        elif name.lower().endswith(_OF_PACKAGES):
            self._lost.append((name, target))

    def symbolic(self, name: str, target: str) -> None:
        """Take note of a link by path to whatever comes, where its name says that it matters."""
        if name.lower().endswith(_OF_PACKAGES):
            self._symbolic[normpath(name)] = target

    def names(self) -> dict[int, list[str]]:
        """The names that stand for other members, asked once all of them are known."""
        places = {normpath(name): number for name, number in self._members.items()}
        for name in self._symbolic:
            place = self._led_to(name)
            if place in places:
                self._names.setdefault(places[place], []).append(name)
            else:
                self._lost.append((name, self._symbolic[name]))
        self._symbolic = {}
        return self._names

    def _led_to(self, name: str) -> str:
        for _ in range(_MOST_HOPS):
            if name not in self._symbolic:
                break
            name = normpath(join(dirname(name), self._symbolic[name]))
        return name

    def lost(self) -> Iterator[Member]:
        """Links to what is not in the archive."""
        for name, target in self._lost:
            yield Member(name, no_pieces(f"it is a link to {target}, which is not in the archive"))


def no_pieces(reason: str) -> Iterator[bytes]:
    """The pieces of what cannot be read."""

    def refuse() -> bytes:
        raise EOFError(reason)

    return iter(refuse, b"")


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The rest of a stream."""
    while piece := stream.read(PIECE):
        yield piece
