"""Answers on their way from a worker to the disk: plain bytes, nothing is unpickled.

A worker packs, the server keeps what it got, and only who looks at an answer unpacks it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hvci.errors import StoreError

LONGEST = 512 << 20
"""Bytes of one unpacked answer."""


class Part(NamedTuple):
    """One answer: what an overview shows of it, and the whole, packed."""

    glance: Mapping[str, Any]
    data: bytes


def packed(glance: Mapping[str, Any], document: Mapping[str, Any]) -> Part:
    """One answer."""
    text = json.dumps(dict(document), separators=(",", ":"))
    return Part(glance, zlib.compress(text.encode()))


def unpacked(data: bytes) -> dict[str, Any]:
    """The whole of an answer; raises `StoreError` where it is damaged."""
    try:
        fields = json.loads(zlib.decompressobj().decompress(data, LONGEST))
    except (zlib.error, ValueError, RecursionError) as error:
        raise StoreError(f"a kept answer is damaged: {error}") from error
    if not isinstance(fields, dict):
        raise StoreError("a kept answer is damaged: it is no object")
    return fields


def joined(parts: Sequence[Part]) -> bytes:
    """Answers as one message."""
    head = [[dict(part.glance), len(part.data)] for part in parts]
    return json.dumps(head).encode() + b"\0" + b"".join(part.data for part in parts)


def split(message: bytes) -> list[Part]:
    """The inverse of `joined`."""
    head, _, rest = message.partition(b"\0")
    found, at = [], 0
    for glance, size in json.loads(head):
        found.append(Part(glance, rest[at : at + size]))
        at += size
    return found
