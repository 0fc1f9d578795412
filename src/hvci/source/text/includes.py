"""Which files of the tree the `#include` lines of a source file lead to.

Knows `#include` lines and paths; knows nothing of projects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hvci.source.text.directives import Included
from hvci.source.text.files import Shelf, beside, tidy

_INCLUDE = re.compile(rb'[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]')

_OF_MACRO = re.compile(rb"[ \t]*#[ \t]*include[ \t]+[A-Za-z_]")

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
QUOTED = '"'
"""Stands before a folder in which only headers in quotes are looked for."""
KIT = frozenset(_KIT.split())
"""Headers of the kits: not being in the sources is normal for them."""


class Includes:
    """The headers that `#include` lines name: by path, by the folders of a unit, then by name."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.others: Mapping[tuple[str, ...], frozenset[str]] = {}
        """For folders of a configuration those that others of its project have in their place."""
        self._direct: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        self._missing: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        self._projects = {
            path.rpartition("/")[0] for path in shelf.projects if path.lower().endswith(_BUILDING)
        }
        self._owners: dict[str, str] = {}
        self._indirect: dict[str, bool] = {}
        self._named: dict[str, tuple[Included, ...]] = {}
        self._found: dict[tuple[str, str, tuple[str, ...]], str | None] = {}
        self._by_name: dict[str, list[str]] = {}
        for path in shelf.sources:
            self._by_name.setdefault(path.rpartition("/")[2].lower(), []).append(path)

    def direct(self, path: str, folders: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The files that a file may include and that are in the sources."""
        key = (path, folders)
        if key not in self._direct:
            found = (self.find(path, what, folders) for what in self.named(path))
            self._direct[key] = tuple(dict.fromkeys(one for one in found if one is not None))
        return self._direct[key]

    def named(self, path: str) -> tuple[Included, ...]:
        """What the `#include` lines of a file name."""
        if path not in self._named:
            source = self.shelf.sources.get(path)
            text = source.text if source is not None else b""
            matches = (_INCLUDE.match(text, start) for start in _including(text))
            self._named[path] = tuple(
                Included(one[1] == b'"', one[2].decode("utf-8", "replace").strip(), b"")
                for one in matches
                if one is not None
            )
        return self._named[path]

    def _owner(self, path: str) -> str:
        """The nearest folder upwards that holds a project: what lies there is that project's."""
        folder = path.rpartition("/")[0]
        if folder not in self._owners:
            if folder in self._projects:
                self._owners[folder] = folder
            else:
                self._owners[folder] = self._owner(folder) if "/" in folder.strip("/") else ""
        return self._owners[folder]

    def is_indirect(self, path: str) -> bool:
        """Whether a macro says what some `#include` line of a file names."""
        if path not in self._indirect:
            source = self.shelf.sources.get(path)
            text = source.text if source is not None else b""
            self._indirect[path] = any(_OF_MACRO.match(text, at) for at in _including(text))
        return self._indirect[path]

    def missing(self, path: str, folders: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Headers in quotes that neither the sources nor the kits hold."""
        key = (path, folders)
        if key not in self._missing:
            names = (
                what.name.replace("\\", "/")
                for what in self.named(path)
                if what.quoted and self.find(path, what, folders) is None
            )
            self._missing[key] = tuple(dict.fromkeys(name for name in names if not is_of_kit(name)))
        return self._missing[key]

    def find(self, here: str, what: Included, folders: tuple[str, ...] = ()) -> str | None:
        """The file that an `#include` of a file leads to; None: it is not in the sources."""
        name = what.name.replace("\\", "/").strip()
        folder = here.rpartition("/")[0]
        key = (folder, f"{what.quoted}{name}", folders)
        if key not in self._found:
            self._found[key] = self._search(here, name, what.quoted, folders)
        return self._found[key]

    def _search(self, here: str, name: str, quoted: bool, folders: tuple[str, ...]) -> str | None:
        places = [beside(here, name)] if quoted else []
        known = [one.removeprefix(QUOTED) for one in folders if quoted or one[:1] != QUOTED]
        places += [tidy(f"{folder}/{name}") for folder in known]
        for place in places:
            if (path := self.shelf.locate(place)) is not None and self.shelf.add(path):
                return path
        last = name.rpartition("/")[2].lower()
        candidates = self._by_name.get(last, []) if last not in self.shelf.made else []
        if not quoted and last in KIT:
            return None
        around = [f"{one[1:]}/" for one in folders if one[:1] == QUOTED]
        owns = {self._owner(one) for one in (here, *around)} if candidates else set()
        plain = tuple(one for one in folders if one[:1] != QUOTED)
        foreign = {tidy(f"{folder}/{name}") for folder in self.others.get(plain, ())}
        fitting = [
            one
            for one in candidates
            if one not in foreign
            and one.lower().endswith(name.lower().lstrip("./"))
            and any(_is_above(self._owner(one), own) for own in owns)
        ]
        return max(fitting, key=lambda one: (_shared(one, here), one), default=None)


def _including(text: bytes) -> Iterator[int]:
    """The beginnings of the lines that hold the word: it is rarer than lines are."""
    at, last = text.find(b"include"), -1
    while at >= 0:
        start = text.rfind(b"\n", 0, at) + 1
        if start != last:
            yield start
        last = start
        at = text.find(b"include", at + 7)


_BUILDING = (
    *(".vcxproj", "/sources", "/cmakelists.txt", "/meson.build"),
    *("/makefile", "/gnumakefile", "/makefile.mingw"),
)
"""What builds the files beside it: headers there are that driver's."""


def _is_above(folder: str, own: str) -> bool:
    """Whether a project's folder is one's own, or holds it: not that of another driver."""
    return not folder or f"{own}/".startswith(f"{folder}/")


def _shared(left: str, right: str) -> int:
    """How many leading folders two paths share."""
    count = 0
    for a, b in zip(left.split("/"), right.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count


def is_of_kit(name: str) -> bool:
    """Whether a header comes with a kit, or from one of its generators."""
    last = name.rpartition("/")[2].lower()
    return last in KIT or last.endswith((".tmh", ".g.h", ".mc.h"))
