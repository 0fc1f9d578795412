"""Reports as small blobs: compact JSON, zstd, and a dictionary of what reports have in common."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import zstandard

from hvci.errors import StoreError

DICTIONARY = Path(__file__).parent.parent / "data" / "reports.zdict"
LEVEL = 11
LONGEST = 1 << 28
"""Bytes of one unpacked report; a blob that claims more is damaged."""


@cache
def shipped() -> bytes:
    """The dictionary that this version packs with."""
    return DICTIONARY.read_bytes()


@cache
def _packer() -> zstandard.ZstdCompressor:
    known = zstandard.ZstdCompressionDict(shipped())
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=known)


@cache
def _unpacker(dictionary: bytes) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))


def pack(fields: dict[str, Any]) -> bytes:
    """A report's fields as a blob."""
    text = json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
    return _packer().compress(text.encode())


def unpack(blob: bytes, dictionary: bytes) -> dict[str, Any]:
    """The fields of a blob; raises `StoreError` where it is damaged."""
    try:
        size = zstandard.get_frame_parameters(blob).content_size
        if size > LONGEST:
            raise StoreError(f"a stored report claims to have {size} bytes")
        fields = json.loads(_unpacker(dictionary).decompress(blob))
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise StoreError(f"a stored report is damaged: {error}") from error
    if not isinstance(fields, dict):
        raise StoreError("a stored report is damaged: it is no object")
    return fields


def digest_of(dictionary: bytes) -> str:
    """The name of a dictionary."""
    return hashlib.sha256(dictionary).hexdigest()
