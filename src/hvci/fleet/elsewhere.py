"""Files that a URL names (s3://, https://, ...): listed and fetched through fsspec, when asked.

A file is fetched once, into the scratch folder, while it is hashed; what cannot be had is a row.
Names tell what is worth fetching, because every look into a file would be a request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hvci.fleet import walk
from hvci.fleet.content import Content
from hvci.fleet.walk import ARCHIVE, IMAGE, MAX_ARCHIVE, Place, Problem, is_url
from hvci.packages.kinds import kind_of_file
from hvci.packages.marks import TARS, is_disk
from hvci.targets import MAX_BYTES

PIECE = 1 << 20
_PACKAGES = (
    *(".zip", ".whl", ".nupkg", ".vsix", ".msix", ".msixbundle", ".appx", ".appxbundle"),
    *(".cab", ".msu", ".msi", ".msm", ".msp", ".7z", ".iso", ".rar", ".wim", ".esd", ".rpm"),
    *TARS,
)
_NEEDS = "a URL needs one more package: pip install fsspec"


def places(
    words: Iterable[str], since: int = 0, installed: bool = False
) -> Iterator[Place | Problem]:
    """Every driver and package that words lead to, on this computer and elsewhere.

    With `installed` each word names a Windows; the image of a disk always does. What is elsewhere
    tells no time of change that `since` could be compared with. A driver that one word leads to
    with its package is of that package where another names it alone.
    """
    packaged: set[str] = set()
    some = list(words)
    for word in some:
        for one in _places(word, since, installed):
            if isinstance(one, Place) and len(some) > 1:
                if one.package is None and one.path in packaged:
                    continue
                if one.package is not None:
                    packaged.add(one.path)
            yield one


def _places(word: str, since: int, installed: bool) -> Iterator[Place | Problem]:
    if is_url(word):
        yield from places_of(word)
    elif installed or is_disk(word):
        from hvci.fleet.windows import windows_places

        yield from windows_places(word, since)
    else:
        yield from walk.places([word], since)


def places_of(url: str) -> Iterator[Place | Problem]:
    """The drivers and archives that a URL leads to: one file, or everything below it."""
    if "@" in urlsplit(url).netloc:
        yield Problem(url.partition("@")[2], "unreadable", "credentials do not belong into a URL")
        return
    try:
        import fsspec
    except ImportError:
        yield Problem(url, "unreadable", _NEEDS)
        return
    try:
        files, path = fsspec.core.url_to_fs(url)
        if files.isfile(path):
            yield _place(url, files.info(path))
            return
        found = files.find(path, detail=True)
    except Exception as error:
        yield _problem(url, error)
        return
    names = [name for name in sorted(found) if name.lower().endswith((".sys", *_PACKAGES))]
    if not names:
        yield Problem(url, "vanished", "no driver or archive there")
    for name in names:
        yield _place(files.unstrip_protocol(name), found[name])


def _place(url: str, info: dict[str, Any]) -> Place:
    kind = ARCHIVE if url.lower().endswith(_PACKAGES) else IMAGE
    return Place(url, int(info.get("size") or 0), _mark(info), 0, kind)


def _mark(info: dict[str, Any]) -> int:
    """A number that changes when the file does; 0 where nothing tells."""
    for name in ("ETag", "etag", "LastModified", "mtime", "last_modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            value = value.isoformat()
        if value:
            return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:7], "big")
    return 0


def fetched(place: Place, scratch: Path) -> Content | Problem:
    """Fetch a file into a scratch folder, named by its content."""
    import fsspec

    most = MAX_ARCHIVE if place.kind == ARCHIVE else MAX_BYTES
    whole, size = hashlib.sha256(), 0
    scratch.mkdir(parents=True, exist_ok=True)
    target = scratch / hashlib.sha256(place.path.encode("utf-8", "replace")).hexdigest()
    try:
        with fsspec.open(place.path, "rb") as stream, target.open("wb") as out:
            while piece := stream.read(PIECE):
                size += len(piece)
                if size > most:
                    target.unlink()
                    return Problem(place.path, "too-large", "more bytes than are fetched")
                whole.update(piece)
                out.write(piece)
    except Exception as error:
        return _problem(place.path, error)
    kind = ARCHIVE if kind_of_file(target) else IMAGE
    found = place._replace(size=size, kind=kind)
    settled = bool(place.changed) and size == place.size
    return Content(found, whole.hexdigest(), settled, source=str(target))


def _problem(url: str, error: Exception) -> Problem:
    if isinstance(error, FileNotFoundError):
        return Problem(url, "vanished", "no such file")
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return Problem(url, "unreadable", f"cannot be fetched: {said}")
