"""Which files of the tree a source file includes, directly and in turn.

Knows `#include` lines and paths; knows nothing of projects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hvci.source.files import Shelf, beside

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)
MAX_CLOSURE = 3000

_KIT = """
wdm.h ntddk.h ntifs.h ntdef.h ntstrsafe.h ntintsafe.h wdf.h fltkernel.h ndis.h storport.h
usb.h usbdi.h usbdlib.h wdfusb.h hidport.h initguid.h windef.h ntimage.h portcls.h stdunk.h
ks.h ksmedia.h scsi.h classpnp.h mountmgr.h ntddstor.h ntdddisk.h srb.h wmilib.h wmistr.h
fwpsk.h fwpmk.h netadaptercx.h acpitabl.h acpiioct.h wsk.h tdi.h tdikrnl.h devpkey.h wdmsec.h
wdmguid.h bcrypt.h aux_klib.h stdarg.h stddef.h stdio.h stdlib.h string.h windows.h strsafe.h
evntrace.h ntstatus.h winerror.h usbioctl.h dontuse.h suppress.h driverspecs.h sal.h
specstrings.h intrin.h excpt.h kbdmou.h ntddkbd.h ntddmou.h dispmprt.h d3dkmddi.h video.h
miniport.h ntddvdeo.h gpioclx.h spbcx.h reshub.h wdfminiport.h
"""
KIT = frozenset(_KIT.split())
"""Headers of the kits: not being in the sources is normal for them."""


class Includes:
    """The `#include` lines of a shelf of files, resolved by path and then by name."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._direct: dict[str, tuple[str, ...]] = {}
        self._missing: dict[str, tuple[str, ...]] = {}
        self._by_name: dict[str, list[str]] = {}
        for path in shelf.sources:
            self._by_name.setdefault(path.rpartition("/")[2].lower(), []).append(path)

    def direct(self, path: str) -> tuple[str, ...]:
        """The files that a file includes and that are in the sources."""
        if path not in self._direct:
            self._read(path)
        return self._direct[path]

    def missing(self, path: str) -> tuple[str, ...]:
        """Headers in quotes that neither the sources nor the kits hold."""
        self.direct(path)
        return self._missing[path]

    def _read(self, path: str) -> None:
        source = self.shelf.sources.get(path)
        found, missing = [], []
        for match in _INCLUDE.finditer(source.text) if source is not None else ():
            name = match[2].decode("utf-8", "replace").replace("\\", "/").strip()
            resolved = self._resolve(path, name)
            if resolved is not None:
                found.append(resolved)
            elif match[1] == b'"' and not _of_kit(name):
                missing.append(name)
        self._direct[path] = tuple(dict.fromkeys(found))
        self._missing[path] = tuple(dict.fromkeys(missing))

    def _resolve(self, path: str, name: str) -> str | None:
        near = beside(path, name)
        if near in self.shelf.sources or self._load(near):
            return near
        candidates = self._by_name.get(name.rpartition("/")[2].lower(), [])
        fitting = [one for one in candidates if one.lower().endswith(name.lower().lstrip("./"))]
        return max(fitting, key=lambda one: (_shared(one, path), one), default=None)

    def closure(self, paths: Iterable[str]) -> list[str]:
        """The files and all that they include, in turn; cycles end where they began."""
        found: dict[str, None] = {}
        todo = sorted(paths, reverse=True)
        while todo and len(found) < MAX_CLOSURE:
            path = todo.pop()
            if path in self.shelf.sources and path not in found:
                found[path] = None
                todo.extend(reversed(self.direct(path)))
        return list(found)

    def _load(self, path: str) -> bool:
        """Read a header beside a file when the target was that file, not its folder."""
        path = self.shelf.actual(path) if self.shelf.is_single else path
        return self.shelf.is_single and Path(path).is_file() and self.shelf.add(path) is not None


def _shared(left: str, right: str) -> int:
    """How many leading folders two paths share."""
    count = 0
    for a, b in zip(left.split("/"), right.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count


def _of_kit(name: str) -> bool:
    last = name.rpartition("/")[2].lower()
    return last in KIT or last.endswith((".tmh", ".g.h", ".mc.h"))
