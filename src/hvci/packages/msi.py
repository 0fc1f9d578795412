"""What an installer database calls the files that its cabinets name by keys.

Reads three tables (File, Component, Directory) and nothing else of the database. A name is text for
a report and for what INFs say of it, never a path.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

_DEEPEST = 32
_MOST_ROWS = 200_000
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"
_PAIR, _SINGLE, _TABLE = 0x3800, 0x4800, 0x4840
_STRING, _BINARY, _NULLABLE = 0x0800, 0x0900, 0x1000
_LONG_REFERENCES = 0x8000_0000
_UTF_8 = 65001

Stream = Callable[[str], bytes]
"""The bytes of a stream by its plain name; raises `KeyError`."""


def plain_name(stored: str) -> str:
    """The name of a stream, of which the database stores two letters as one."""
    found = []
    for letter in stored:
        code = ord(letter)
        if code == _TABLE:
            continue
        if _PAIR <= code < _SINGLE:
            pair = code - _PAIR
            found += [_LETTERS[pair & 0x3F], _LETTERS[pair >> 6]]
        elif _SINGLE <= code < _TABLE:
            found.append(_LETTERS[code - _SINGLE])
        else:
            found.append(letter)
    return "".join(found)


def names_of(stream: Stream) -> dict[str, str]:
    """Key of a file -> its folder and name; empty where the database does not say or is damaged."""
    try:
        tables = _Tables(stream)
        homes = {row["Component"]: row["Directory_"] for row in tables.rows("Component")}
        folders = {row["Directory"]: row for row in tables.rows("Directory")}
        return {
            row["File"]: "/".join(
                (*_above(homes.get(row["Component_"], ""), folders), _long(row["FileName"]))
            )
            for row in tables.rows("File")
        }
    except (LookupError, ValueError, struct.error):
        return {}


def cabinets_of(stream: Stream) -> set[str]:
    """The cabinets of a database: one that begins with # is in it, any other lies beside it."""
    try:
        return {row["Cabinet"] for row in _Tables(stream).rows("Media")} - {""}
    except (LookupError, ValueError, struct.error):
        return set()


class _Tables:
    """Tables of texts; their numbers are left out."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        pool = stream("_StringPool")
        head = struct.unpack_from("<I", pool)[0]
        self._wide = 3 if head & _LONG_REFERENCES else 2
        self._texts = list(_texts(pool, stream("_StringData"), head & 0xFFFF))
        self._columns: dict[str, list[tuple[int, str, int]]] = {}
        for table, number, name, kind in self._cells("_Columns", [_STRING, 2, _STRING, 2]):
            column = (int(number), str(name), int(kind))
            self._columns.setdefault(str(table), []).append(column)

    def rows(self, table: str) -> list[dict[str, str]]:
        """The rows of a table, by the names of its columns."""
        columns = sorted(self._columns[table])
        names = [name for _, name, _ in columns]
        cells = self._cells(table, [kind for _, _, kind in columns])
        return [dict(zip(names, map(str, row), strict=True)) for row in cells]

    def _cells(self, table: str, kinds: list[int]) -> list[tuple[str | int, ...]]:
        """Rows of a table, which keeps one column after the other."""
        data = self._stream(table)
        widths = [self._width(kind) for kind in kinds]
        count = min(len(data) // sum(widths), _MOST_ROWS)
        at, columns = 0, []
        step = len(data) // sum(widths)
        for kind, width in zip(kinds, widths, strict=True):
            cells = [data[at + n * width : at + n * width + width] for n in range(count)]
            numbers = [int.from_bytes(cell, "little") for cell in cells]
            is_text = kind & _STRING and not _is_binary(kind)
            columns.append([self._texts[n] if is_text else n ^ 0x8000 for n in numbers])
            at += step * width
        return list(zip(*columns, strict=True))

    def _width(self, kind: int) -> int:
        if _is_binary(kind):
            return 2
        if kind & _STRING:
            return self._wide
        return 4 if kind & 0xFF == 4 else 2


def _is_binary(kind: int) -> bool:
    return kind & ~_NULLABLE == _BINARY


def _texts(pool: bytes, data: bytes, page: int) -> list[str]:
    """All texts of a database; the first is the empty one."""
    encoding = "utf-8" if page in (0, _UTF_8) else f"cp{page}"
    "".encode(encoding)  # an unknown one is a `LookupError`
    found, at, place = [""], 0, 4
    while place + 4 <= len(pool):
        size, uses = struct.unpack_from("<HH", pool, place)
        place += 4
        if not size and uses:
            size = struct.unpack_from("<I", pool, place)[0]
            place += 4
        found.append(data[at : at + size].decode(encoding, "replace"))
        at += size
    return found


def _above(folder: str, folders: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The names of a folder and those above it, the outermost first."""
    found: list[str] = []
    for _ in range(_DEEPEST):
        row = folders.get(folder)
        if row is None or row["Directory_Parent"] in ("", folder):
            break  # the outermost folder is where the user wants it
        name = _long(row["DefaultDir"].partition(":")[0])
        if name != ".":
            found.append(name)
        folder = row["Directory_Parent"]
    return tuple(reversed(found))


def _long(name: str) -> str:
    """The long one of a short and a long name."""
    return name.rpartition("|")[2]
