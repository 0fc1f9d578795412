"""A PE file as a signature sees it: what is hashed of it, page by page, and its certificate table.

Reads headers and bytes; knows nothing of who signed.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cached_property

from hvci.binary.pe.headers import SECURITY, Headers, parse_headers
from hvci.model import PAGE_SIZE

_PKCS7 = 2
MOST_ENTRIES = 64
MOST_PAGES = 65_536


class SignedFile:
    """The bytes of an image with the places that a signature leaves out."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.headers: Headers = parse_headers(data)
        optional = struct.unpack_from("<I", data, 0x3C)[0] + 24
        self._checksum = optional + 64
        self._entry = optional + (112 if self.headers.is_pe32_plus else 96) + 8 * SECURITY
        self.table = self.headers.directories[SECURITY]
        self._digests: dict[str, bytes] = {}

    @property
    def has_table(self) -> bool:
        """The headers name a certificate table."""
        return bool(self.table[0] and self.table[1])

    def entries(self) -> tuple[list[bytes], str]:
        """The PKCS #7 messages of the table, and why there may be more."""
        offset, size = self.table
        if offset + size > len(self.data) or offset < self.headers.size_of_headers:
            return [], "the certificate table lies outside the file"
        found: list[bytes] = []
        at, end = offset, offset + size
        while at + 8 <= end and len(found) < MOST_ENTRIES:
            length, _, kind = struct.unpack_from("<IHH", self.data, at)
            if length < 8 or at + length > end:
                why = "" if not any(self.data[at:end]) else "an entry of the table is cut off"
                return found, why
            if kind == _PKCS7:
                found.append(self.data[at + 8 : at + length])
            at += length + 7 & ~7
        return found, ""

    def digest(self, algorithm: str) -> bytes:
        """The hash that an Authenticode signature of this file holds."""
        if algorithm not in self._digests:
            made = hashlib.new(algorithm)
            for part in self._hashed:
                made.update(part)
            self._digests[algorithm] = made.digest()
        return self._digests[algorithm]

    @cached_property
    def _hashed(self) -> list[memoryview | bytes]:
        """All but the checksum, the table's directory entry and the table; filled up to eight."""
        view, (offset, size) = memoryview(self.data), self.table
        end = offset if self.has_table and offset < len(self.data) else len(self.data)
        first, second = self._checksum, self._entry
        parts: list[memoryview | bytes] = [view[:first], view[first + 4 : second]]
        parts.append(view[second + 8 : max(end, second + 8)])
        if end < len(self.data):
            parts.append(view[offset + size :])
        else:
            parts.append(bytes(-len(self.data) % 8))
        return parts

    def first_page(self, algorithm: str) -> bytes:
        """The hash of the headers as a page, which block lists name files by."""
        size = self.headers.size_of_headers
        whole = self.data[:size]
        kept = whole[: self._checksum] + whole[self._checksum + 4 : self._entry]
        kept += whole[self._entry + 8 :]
        return hashlib.new(algorithm, kept + bytes(max(0, PAGE_SIZE - size))).digest()

    def pages(self, algorithm: str) -> bytes:
        """The table of page hashes that a signature with /ph holds."""
        out = bytearray(bytes(4) + self.first_page(algorithm))
        last = self.headers.size_of_headers
        for section in self.headers.sections:
            begin, size = section.raw_offset, section.raw_size
            for at in range(begin, min(begin + size, len(self.data)), PAGE_SIZE):
                if len(out) > MOST_PAGES * 36:
                    return bytes(out)
                page = self.data[at : min(at + PAGE_SIZE, begin + size)].ljust(PAGE_SIZE, b"\0")
                out += struct.pack("<I", at) + hashlib.new(algorithm, page).digest()
            last = begin + size if size else last
        digest_size = hashlib.new(algorithm).digest_size
        return bytes(out + struct.pack("<I", last) + bytes(digest_size))
