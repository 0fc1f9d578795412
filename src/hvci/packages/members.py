"""What an archive is read as: one file after the other, each in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

PIECE = 1 << 18


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


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The rest of a stream."""
    while piece := stream.read(PIECE):
        yield piece
