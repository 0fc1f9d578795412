"""Writes edits into the bytes of files, exactly, and shows them as a unified diff.

Knows bytes and encodings; knows nothing of why an edit is made.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from hvci.errors import InputError
from hvci.model import Edit
from hvci.source.text.text import Codec, Unreadable, decode

CONTEXT = 3
"""Unchanged lines around each change of a diff."""


def changed(text: bytes, edits: Iterable[Edit]) -> bytes:
    """The text with the edits made; of two that overlap the later one is left out."""
    parts, at = [], 0
    for edit in chosen(edits):
        parts += [text[at : edit.start], edit.new.encode()]
        at = edit.end
    return b"".join((*parts, text[at:]))


def chosen(edits: Iterable[Edit]) -> list[Edit]:
    """The edits of one file in order, without doubles and without overlaps."""
    found: list[Edit] = []
    for edit in sorted(set(edits)):
        if not found or edit.start > found[-1].end or _touch(found[-1], edit):
            found.append(edit)
    return found


def _touch(before: Edit, after: Edit) -> bool:
    """Whether an edit begins where the one before ends, and both change something else."""
    return after.start == before.end and (before.start < before.end or after.start < after.end)


def read_text(path: str) -> tuple[bytes, Codec]:
    """The text of a file as it is analysed; raise `InputError`."""
    try:
        return decode(Path(path).read_bytes())
    except (OSError, Unreadable) as error:
        raise InputError(f"{path}: {error}") from error


def encode(text: bytes, codec: Codec) -> bytes:
    """The bytes of a file that holds a text."""
    return text if codec is Codec.BYTES else text.decode("utf-8").encode(codec.value)


def write_text(path: str, before: bytes, after: bytes) -> None:
    """Replace a file's text in one step; raise `InputError` when it is not what it was."""
    text, codec = read_text(path)
    raw = Path(path).read_bytes()
    if text != before or encode(text, codec) != raw:
        raise InputError(f"{path}: the file changed while it was examined; nothing was written")
    _replace(Path(path), encode(after, codec))


def _replace(path: Path, data: bytes) -> None:
    """Write beside the file and rename, so that no reader sees half of it."""
    real = path.resolve()
    try:
        with tempfile.NamedTemporaryFile(dir=real.parent, delete=False) as stream:
            stream.write(data)
        Path(stream.name).chmod(real.stat().st_mode & 0o7777)
        os.replace(stream.name, real)  # noqa: PTH105 (one step on every system)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def diff(path: str, before: bytes, after: bytes) -> bytes:
    """A unified diff of one file."""
    name = path.lstrip("/").encode("utf-8", "surrogateescape")
    lines: Iterator[bytes] = difflib.diff_bytes(
        difflib.unified_diff,
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        b"a/" + name,
        b"b/" + name,
        n=CONTEXT,
    )
    return b"".join(line if line.endswith(b"\n") else line + _NO_NEWLINE for line in lines)


_NO_NEWLINE = b"\n\\ No newline at end of file\n"
