"""Reads Windows images (WIM): the drivers, INFs and catalogs of every image in one.

Stored, XPRESS and LZX; solid archives (ESD, LZMS) are refused by name. An image of Windows holds a
hundred thousand files, so only those are unpacked whose name may say driver or package; of fewer
all are.

Source: "Windows Imaging File Format (WIM)", Microsoft, and [MS-XCA] for XPRESS.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from hvci.errors import InputError, NeedsMore
from hvci.packages.members import no_pieces

_SOLID_VERSION = 0xE00
_COMPRESSED, _XPRESS, _LZX = 0x2, 0x20000, 0x40000
_METADATA, _PACKED, _SPANNED, _SOLID = 0x02, 0x04, 0x08, 0x10
_ENTRY, _DENTRY = 50, 102
_FOLDER, _REPARSE = 0x10, 0x400
_WANTED = (".sys", ".inf", ".cat", ".cab", ".zip", ".msi", ".msu", ".msp", ".7z", ".wim", ".esd")
MOST_LOOKED_AT = 5000
"""Files of an image that is no Windows, and that are all unpacked."""
MAX_METADATA = 512 << 20
MOST_FILES = 2_000_000
DEEPEST = 64
_SMALLEST, _LARGEST = 1 << 12, 1 << 26
"""Bytes of a chunk."""


class Damaged(ValueError):
    """The bytes contradict themselves."""


class _Blob(NamedTuple):
    """A stretch of the file, possibly compressed."""

    offset: int
    stored: int
    size: int
    flags: int


class File(NamedTuple):
    """One file of an image."""

    name: str
    pieces: Iterator[bytes]
    size: int
    also: tuple[str, ...]
    """Other names of the same bytes."""


class Wim:
    """An open image file."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size
        head = self._read(0, 208)
        version, flags, chunk = struct.unpack_from("<III", head, 12)
        part, parts = struct.unpack_from("<HH", head, 40)
        if version == _SOLID_VERSION:
            raise InputError(
                "a solid Windows image (ESD), which hvci does not open: export it to a .wim"
            )
        if part != 1 or parts != 1:
            raise InputError(
                "a part of a split Windows image, which hvci does not open: join the parts"
            )
        self._unpack = _unpacker(flags)
        self._chunk = chunk or 1 << 15
        if not _SMALLEST <= self._chunk <= _LARGEST or self._chunk & (self._chunk - 1):
            raise Damaged("no size of a chunk")
        self._images, self._blobs = self._table(_blob(head, 48))

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self._size:
            raise EOFError("it is cut off")
        self._stream.seek(offset)
        found = self._stream.read(size)
        if len(found) < size:
            raise EOFError("it is cut off")
        return found

    def _table(self, blob: _Blob) -> tuple[list[_Blob], dict[bytes, _Blob]]:
        """The metadata of each image, and all other blobs by hash."""
        images, blobs = [], {}
        if blob.size > MAX_METADATA:
            raise Damaged("too large a table")
        data = b"".join(self._pieces(blob))
        for at in range(0, len(data) - _ENTRY + 1, _ENTRY):
            one = _blob(data, at)
            if one.flags & _METADATA:
                images.append(one)
            else:
                blobs[data[at + 30 : at + 50]] = one
        return images, blobs

    def _pieces(self, blob: _Blob) -> Iterator[bytes]:
        """The bytes of a blob, one chunk after the other."""
        if blob.flags & (_SPANNED | _SOLID):
            raise InputError("a part of a split or solid Windows image: export it to a .wim")
        if not blob.flags & _PACKED:
            for at in range(0, blob.size, self._chunk):
                yield self._read(blob.offset + at, min(self._chunk, blob.size - at))
            return
        count = -(-blob.size // self._chunk)
        width = 8 if blob.size >= 1 << 32 else 4
        table = (count - 1) * width
        if table > blob.stored or count < 1:
            raise Damaged("a table of chunks that does not fit")
        kind = "Q" if width == 8 else "I"
        ends = struct.unpack(f"<{count - 1}{kind}", self._read(blob.offset, table))
        places = [0, *ends, blob.stored - table]
        for number in range(count):
            begin, end = places[number], places[number + 1]
            size = min(self._chunk, blob.size - number * self._chunk)
            if not begin <= end or end - begin > size:
                raise Damaged("a chunk that does not fit")
            packed = self._read(blob.offset + table + begin, end - begin)
            yield packed if len(packed) == size else self._unpack(packed, size)

    def files(self) -> Iterator[File]:
        """What may matter of every image; the same bytes once, with all their names."""
        names: dict[bytes, list[str]] = {}
        for name, digest in self._distinct():
            names.setdefault(digest, []).append(name)
        is_small = sum(map(len, names.values())) <= MOST_LOOKED_AT
        left = 0
        for digest, called in names.items():
            wanted = [each for each in called if is_small or each.lower().endswith(_WANTED)]
            left += len(called) - len(wanted)
            if not wanted:
                continue
            name, *also = wanted
            blob = self._blobs.get(digest)
            if blob is not None:
                yield File(name, self._pieces(blob), blob.size, tuple(also))
            elif not any(digest):
                yield File(name, iter(()), 0, tuple(also))
            elif name.lower().endswith(_WANTED):
                yield File(name, no_pieces("its bytes are in another image file"), 1, tuple(also))
        if left:
            raise InputError(
                f"{left} files that are not called as drivers and archives are were not looked at: "
                "mount it and check the folder"
            )

    def _distinct(self) -> Iterator[tuple[str, bytes]]:
        """Path and hash of every file, without what an image before has at the same place.

        A package is left out as a whole or not at all: what an INF says is of the files beside it.
        """
        met: set[tuple[str, frozenset[tuple[str, bytes]]]] = set()
        for number in range(1, self.count + 1):
            listed = [*self.listed(number)]
            homes = {_folder(path) for path, _ in listed if path.lower().endswith(".inf")}
            packages: dict[str, list[tuple[str, bytes]]] = {}
            for path, digest in listed:
                packages.setdefault(_package_of(path, homes), []).append((path, digest))
            for package, files in packages.items():
                key = (package, frozenset(files))
                if key not in met:
                    met.add(key)
                    yield from ((f"{number}/{path}", digest) for path, digest in files)

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._images)

    def listed(self, number: int) -> Iterator[tuple[str, bytes]]:
        """Path and hash of every file of an image, counted from 1."""
        image = self._images[number - 1]
        if image.size > MAX_METADATA:
            raise Damaged("too large a list of files")
        yield from _walk(b"".join(self._pieces(image)))

    def content(self, digest: bytes, most: int) -> bytes:
        """The bytes with a hash."""
        blob = self._blobs.get(digest)
        if blob is None:
            return b""
        if blob.size > most:
            raise InputError(f"more than {most} bytes")
        return b"".join(self._pieces(blob))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _package_of(path: str, homes: set[str]) -> str:
    """The nearest folder at or above a file that holds an INF; the file itself where none does."""
    folder = _folder(path)
    while folder and folder not in homes:
        folder = _folder(folder)
    return folder if folder in homes else path


def _blob(data: bytes, at: int) -> _Blob:
    packed, offset, size = struct.unpack_from("<QQQ", data, at)
    return _Blob(offset, packed & (1 << 56) - 1, size, packed >> 56)


def _walk(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and hash of every file."""
    start = max(struct.unpack_from("<I", data)[0], 8)
    waiting, seen, met = [(-(-start // 8) * 8, "", 0)], 0, set[int]()
    while waiting:
        at, folder, depth = waiting.pop()
        if at in met or depth > DEEPEST:
            raise Damaged("folders that lead in a circle")
        met.add(at)
        while at + _DENTRY <= len(data):
            length, flags = struct.unpack_from("<QI", data, at)
            if length < _DENTRY:
                break
            seen += 1
            if seen > MOST_FILES or at + length > len(data):
                raise Damaged("a list of files that does not end")
            below = struct.unpack_from("<Q", data, at + 16)[0]
            streams, _, size = struct.unpack_from("<HHH", data, at + 96)
            name = data[at + 102 : at + 102 + size].decode("utf-16-le", "replace")
            digest = data[at + 64 : at + 84]
            at = -(-(at + length) // 8) * 8
            for _ in range(streams):
                entry = struct.unpack_from("<Q", data, at)[0]
                if entry < 38:
                    raise Damaged("a stream that does not fit")
                if not any(data[at + 36 : at + 38]) and any(data[at + 16 : at + 36]):
                    digest = data[at + 16 : at + 36]  # the unnamed stream
                at = -(-(at + entry) // 8) * 8
            path = f"{folder}{name}"
            if flags & _FOLDER:
                if below and not flags & _REPARSE:
                    waiting.append((below, f"{path}/" if path else "", depth + 1))
            elif not flags & _REPARSE:
                yield path, digest


def _unpacker(flags: int) -> Any:  # noqa: ANN401 (a function of bytes and a size)
    if not flags & _COMPRESSED or flags & _XPRESS:
        return xpress
    if not flags & _LZX:
        raise InputError("a Windows image that is compressed in a way that hvci does not know")
    return _lzx()


def _lzx() -> Any:  # noqa: ANN401
    try:
        from pymsi.thirdparty.refinery.lzx import LzxDecoder
    except ImportError as error:
        raise NeedsMore("this image needs one more package: install 'hvci[packages]'") from error

    def unpack(packed: bytes, size: int) -> bytes:
        decoder = LzxDecoder(wim_mode=True)
        decoder.keep_history_for_next = False
        decoder.set_params_and_alloc(max(size - 1, 1 << 14).bit_length())
        found = bytes(decoder.decompress(memoryview(bytearray(packed)), size))
        if len(found) < size:
            raise Damaged("a chunk that ends too early")
        return found

    return unpack


def xpress(packed: bytes, size: int) -> bytes:
    """Unpack one chunk of XPRESS with Huffman codes."""
    if len(packed) < 260:
        raise Damaged("a chunk without its codes")
    table = _codes(packed[:256])
    out = bytearray()
    at = 260
    bits = int.from_bytes(packed[256:258], "little") << 16 | int.from_bytes(
        packed[258:260], "little"
    )
    left = 16
    while len(out) < size:
        symbol, length = table[bits >> 17]
        bits, left = bits << length & 0xFFFFFFFF, left - length
        if left < 0:
            bits |= int.from_bytes(packed[at : at + 2], "little") << -left
            at, left = at + 2, left + 16
        if symbol < 256:
            out.append(symbol)
            continue
        count, width = symbol & 15, symbol - 256 >> 4
        if count == 15:
            count += packed[at] if at < len(packed) else 0
            at += 1
            if count == 15 + 255:
                count = int.from_bytes(packed[at : at + 2], "little")
                at += 2
        distance = 1 << width | bits >> 32 - width if width else 1
        bits, left = bits << width & 0xFFFFFFFF, left - width
        if left < 0:
            bits |= int.from_bytes(packed[at : at + 2], "little") << -left
            at, left = at + 2, left + 16
        _copy(out, distance, count + 3)
        if at > len(packed) + 4:
            raise Damaged("a chunk that ends too early")
    return bytes(out[:size])


def _copy(out: bytearray, distance: int, count: int) -> None:
    if distance > len(out):
        raise Damaged("a chunk that refers to what is before it")
    start = len(out) - distance
    if distance >= count:
        out += out[start : start + count]
    else:
        out += (bytes(out[start:]) * (count // distance + 1))[:count]


def _codes(lengths: bytes) -> list[tuple[int, int]]:
    """Symbol and length for each 15 bits."""
    widths = [width for byte in lengths for width in (byte & 15, byte >> 4)]
    table: list[tuple[int, int]] = []
    for width in range(1, 16):
        for symbol, each in enumerate(widths):
            if each == width:
                table += [(symbol, width)] * (1 << 15 - width)
    if len(table) != 1 << 15:
        raise Damaged("codes that are none")
    return table


def members(path: Path) -> Iterator[File]:
    """The files of a Windows image that may matter."""
    with path.open("rb") as stream:
        yield from Wim(stream, path.stat().st_size).files()
