"""Disk images (raw, VHD, VHDX, VMDK, QCOW2, E01) through Fox-IT's dissect: an extra, AGPL-3.0.

Imported only when somebody names such an image; nothing is mounted or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvci.errors import InputError

NEEDS = (
    "a disk image needs more packages (AGPL-3.0): pip install 'hvci[disks]', or mount it and name "
    "its Windows folder"
)
_HIVE = "System32/config/SYSTEM"


class Disk:
    """One volume of an image, with a Windows folder."""

    def __init__(self, name: str, volume: Any) -> None:  # noqa: ANN401 (a filesystem of dissect)
        self.name = name
        self._volume = volume

    def read(self, path: str, most: int) -> bytes | None:
        """The bytes of a file; None where there is none."""
        with _Plainly(f"{self.name}!{path}"):
            found = self._volume.path(path)
            if not found.is_file():
                return None
            if found.stat().st_size > most:
                raise InputError(f"{self.name}!{path}: more than {most} bytes")
            data: bytes = found.read_bytes()
            return data

    def names(self, path: str) -> list[str]:
        """The names in a folder."""
        with _Plainly(f"{self.name}!{path}"):
            found = self._volume.path(path)
            return sorted(each.name for each in found.iterdir()) if found.is_dir() else []

    def label(self, path: str) -> str:
        """The image and the path in it."""
        return f"{self.name}!{path}"


class _Plainly:
    """Turns whatever the library raises for a damaged image into one sentence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{self._what}: cannot be read: {said}") from error


def windows_of(path: Path) -> Iterator[tuple[Disk, str]]:
    """Every Windows in an image; raises `InputError` where it cannot be read."""
    try:
        from dissect.target import container, filesystem, volume
    except ImportError as error:
        raise InputError(f"{path}: {NEEDS}") from error
    found = 0
    with _Plainly(str(path)):
        image = container.open(path)
        try:
            parts = [*volume.open(image).volumes]
        except Exception:
            parts = [image]  # a volume without a partition table
    for part in parts:
        try:
            files = filesystem.open(part)
            names = [each for each in files.path("/").iterdir() if each.name.lower() == "windows"]
        except Exception:
            continue  # a recovery partition and the like
        for each in names:
            if files.path(f"{each.name}/{_HIVE}").is_file():
                found += 1
                yield Disk(str(path), files), each.name
    if not found:
        raise InputError(f"{path}: no Windows in this disk image")
