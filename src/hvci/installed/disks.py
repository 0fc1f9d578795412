"""Images of disks and of Windows: files by paths, nothing is mounted or written.

Images of disks (raw, VHD, VHDX, VMDK, QCOW2, E01) go through Fox-IT's dissect, an extra under
AGPL-3.0 that is imported only when somebody names one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvci.errors import InputError
from hvci.packages.kinds import kind_of_file
from hvci.packages.wim import Wim

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
            found = self._volume.path(path or "/")
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


class Image:
    """One image of a Windows image file (WIM)."""

    def __init__(self, name: str, wim: Wim, number: int) -> None:
        self.name = f"{name}!{number}"
        self._wim = wim
        self._files: dict[str, bytes] = {}
        self._folders: dict[str, dict[str, None]] = {}
        for path, digest in wim.listed(number):
            self._files[path.lower()] = digest
            folder, _, last = path.rpartition("/")
            while last and last not in (names := self._folders.setdefault(folder.lower(), {})):
                names[last] = None
                folder, _, last = folder.rpartition("/")

    def read(self, path: str, most: int) -> bytes | None:
        """The bytes of a file; None where there is none."""
        digest = self._files.get(path.lower())
        if digest is None:
            return None
        with _Plainly(self.label(path)):
            return self._wim.content(digest, most)

    def names(self, path: str) -> list[str]:
        """The names in a folder."""
        return sorted(self._folders.get(path.lower(), ()))

    def label(self, path: str) -> str:
        """The file, the number of the image, and the path in it."""
        return f"{self.name}/{path}"


def _images(path: Path) -> Iterator[tuple[Image, str]]:
    """Every image of a Windows image file that holds a Windows."""
    found = 0
    stream = path.open("rb")  # the images go on reading it
    with _Plainly(str(path)):
        wim = Wim(stream, path.stat().st_size)
        for number in range(1, wim.count + 1):
            image = Image(str(path), wim, number)
            if image.read(f"Windows/{_HIVE}", 1 << 30) is not None:
                found += 1
                yield image, "Windows"
    if not found:
        raise InputError(f"{path}: no Windows in this image")


def windows_of(path: Path) -> Iterator[tuple[Disk | Image, str]]:
    """Every Windows in an image; raises `InputError` where it cannot be read."""
    if kind_of_file(path) == "wim":
        yield from _images(path)
        return
    try:
        from dissect.target import container, filesystem, volume
    except ImportError as error:
        raise InputError(f"{path}: {NEEDS}") from error
    found = unread = 0
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
        except Exception:  # whatever the library raises
            unread += 1  # a recovery partition, or an encrypted one
            continue
        for each in names:
            if files.path(f"{each.name}/{_HIVE}").is_file():
                found += 1
                yield Disk(str(path), files), each.name
    if not found:
        more = f"; {unread} of its parts cannot be read (encrypted, perhaps)" if unread else ""
        raise InputError(f"{path}: no Windows in this disk image{more}")
