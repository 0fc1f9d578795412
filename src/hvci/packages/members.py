"""What an archive is read as: one file after the other, each in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

PIECE = 1 << 18
_OF_PACKAGES = (".sys", ".inf", ".cat")


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


class Links:
    """Names in an archive that stand for the bytes of another member, by that member's number."""

    def __init__(self) -> None:
        self._members: dict[str, int] = {}
        self.names: dict[int, list[str]] = {}
        self._lost: list[tuple[str, str]] = []

    def member(self, name: str, number: int) -> None:
        """Take note of a file; the last of a name is what a link means."""
        self._members[name] = number

    def link(self, name: str, target: str) -> None:
        """Take note of a link."""
        if target in self._members:
            self.names.setdefault(self._members[target], []).append(name)
        elif name.lower().endswith(_OF_PACKAGES):
            self._lost.append((name, target))

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
