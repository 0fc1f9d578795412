"""Finds and reads the files of a target, within bounds; what is left out becomes a `Limit`.

Knows folders and links; knows nothing of what the files mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvci.model import Limit, Origin, SourceSite
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.text.disk import contents, is_file, is_there
from hvci.source.text.text import MAX_BYTES, Source, Unreadable, decode

MAX_FILES = 50_000
DEEPEST = 200
"""Folders in a path that is looked for in any case of its letters."""
CODE = (".c", ".cpp", ".cc", ".cxx", ".h", ".hpp", ".hxx", ".hh", ".inl", ".asm")
SOLUTIONS = (".sln", ".slnx", ".slnf")
PROJECT = (".vcxproj", ".vcproj", ".props", ".targets", *SOLUTIONS, ".inf", ".inx", ".cmake")
PROJECT_NAMES = (
    *("sources", "makefile.inc", "cmakelists.txt", "meson.build"),
    *("makefile", "gnumakefile", "makefile.mingw"),
)
UNREAD = (
    *(".mak", ".mk", ".pro", ".qbs", ".dsp", ".rbuild", ".cbp", ".ninja", ".gyp", ".gypi", ".bzl"),
    *(".bat", ".cmd", ".ps1", ".sh", ".py", ".pl", ".rb", ".lua"),
)
UNREAD_NAMES = (
    *("build.ninja", "xmake.lua", "premake4.lua", "premake5.lua", "build", "build.bazel"),
    *("build.gn", "sconstruct", "sconscript", "wscript", "jamfile", "jamroot", "tupfile"),
    *("makefile.msvc", "makefile.vc", "makefile.nmake", "justfile", "build.zig", "rakefile"),
    *("makefile.am", "makefile.in", "makefile.gcc", "makefile.clang", "makefile.llvm"),
    *("makefile.win", "makefile.win32", "makefile.win64", "makefile.x64", "makefile.gnu"),
    *("compile_flags.txt", "compile_commands.json", "tasks.json", "taskfile.yml", "build.xml"),
)
"""Build files that nobody here understands, and scripts that may build."""


def is_code(name: str) -> bool:
    """Whether a file name says C, C++ or MASM."""
    return name.lower().endswith(CODE)


def is_project(name: str) -> bool:
    """Whether a file name says project, build or driver package."""
    return name.lower().endswith(PROJECT) or name.lower() in PROJECT_NAMES


@dataclass
class Shelf:
    """The files of one target, read once; keys are normalised paths with forward slashes."""

    root: Path
    """Paths are looked up, and shown, below or beside it."""
    sources: dict[str, Source] = field(default_factory=dict)
    projects: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Build files of kinds that are not read."""
    limits: list[Limit] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    """What files are to hold; stands for what the disk has."""
    named: tuple[str, ...] = ()
    """The target, when it is one file."""
    made: set[str] = field(default_factory=set)
    """Names, in lower case, of files that a build makes where none is: no other file is meant."""
    _refused: set[str] = field(default_factory=set)
    _said: set[tuple[str, str]] = field(default_factory=set)
    _located: dict[str, str | None] = field(default_factory=dict)
    _folders: dict[str, str] = field(default_factory=dict)
    _spelled: dict[str, str] = field(default_factory=dict)
    _listings: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def is_single(self) -> bool:
        """The target is one file: what it includes or belongs to is read when it is met."""
        return bool(self.named)

    def actual(self, path: str) -> str:
        """The path as the disk spells it: projects are written where case does not matter."""
        if path in self.sources:
            return path
        if path not in self._spelled:
            self._spelled[path] = self._search(path)
        return self._spelled[path]

    def _search(self, path: str) -> str:
        if is_there(path):
            return path
        folder, slash, name = path.rpartition("/")
        if not name or (slash and not folder) or path.count("/") > DEEPEST:
            return path
        folder = self.actual(folder) if folder else ""
        return folder + slash + self._listing(folder or ".").get(name.lower(), name)

    def shown(self, path: str) -> str:
        """A path from the root, as the target was given: from the working folder, or as it is."""
        if self.root.is_absolute() or not path.startswith("/"):
            return path
        return os.path.relpath(path).replace("\\", "/")

    def locate(self, path: str) -> str | None:
        """A file as the disk spells it, whether it was read or not; None: there is none."""
        if path in self.sources:
            return path
        if path not in self._located:
            folder, _, name = path.rpartition("/")
            if path.startswith("/") and not folder:
                folder = "/"
            if folder and folder not in self._folders:
                self._folders[folder] = self.actual(folder)
            actual = self._folders.get(folder, folder)
            spelled = self._listing(actual or ".").get(name.lower())
            whole = f"{actual.rstrip('/')}/{spelled}" if folder else spelled
            found = spelled is not None and whole is not None and is_file(whole)
            self._located[path] = whole if found else None
        return self._located[path]

    def written(self, places: Iterable[str]) -> tuple[str, ...]:
        """The files that a build writes, by their places: those that are here; others are noted."""
        every = dict.fromkeys(map(self.actual, places))
        self.made |= {one.rpartition("/")[2].lower() for one in every if not is_file(one)}
        return tuple(one for one in every if is_file(one))

    def project_text(self, path: str) -> str:
        """The text of a project file, to find a line in; empty when it cannot be read."""
        try:
            return contents(path).decode("utf-8-sig", "replace").replace("\r\n", "\n")
        except OSError:
            return ""

    def _listing(self, folder: str) -> dict[str, str]:
        if folder not in self._listings:
            try:
                names = os.listdir(folder)  # noqa: PTH208 (names only, as fast as can be)
            except (OSError, ValueError):  # a name that no disk takes
                names = []
            self._listings[folder] = {name.lower(): name for name in sorted(names, reverse=True)}
        return self._listings[folder]

    def limit(self, path: str, reason: str, rules: tuple[str, ...] = TEXT_RULES) -> None:
        """Note what was not examined, once."""
        if (path, reason) in self._said:
            return
        self._said.add((path, reason))
        site = SourceSite(path, 1)
        self.limits.append(Limit(Origin.SOURCE, rules, f"{path}: {reason}", site))

    def limit_once(self, path: str, reason: str, rules: tuple[str, ...]) -> None:
        """Note what was not examined, which several configurations say alike."""
        made = Limit(Origin.SOURCE, rules, f"{path}: {reason}", SourceSite(path, 1))
        if made not in self.limits:
            self.limits.append(made)

    def project(self, path: str) -> None:
        """List a project file; what is none, such as a link that leads nowhere, is a limit."""
        if Path(path).is_file():
            self.projects.append(path)
        else:
            rules = (*TEXT_RULES, *LINK_RULES)
            self.limit(path, _NO_FILE, rules)

    def add(self, path: str) -> Source | None:
        """Read a source file; None, and a limit, when that cannot be done."""
        path = tidy(path)
        if path in self.sources or path in self._refused:
            return self.sources.get(path)
        try:
            text, codec = decode(_bytes(Path(path)))
        except (OSError, Unreadable) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.limit(path, reason or str(error))
            self._refused.add(path)
            return None
        self.sources[path] = Source(path, self.texts.get(path, text), codec)
        return self.sources[path]


_NO_FILE = "the file does not exist or is no regular file"


def tidy(path: str | Path) -> str:
    """A path without "." and "..", with forward slashes."""
    return os.path.normpath(str(path).replace("\\", "/")).replace("\\", "/")


def beside(path: str, name: str) -> str:
    """A name as it is meant in a file: from that file's folder."""
    if name.startswith("/"):
        return tidy(name)
    return tidy(f"{path.rpartition('/')[0] or '.'}/{name}")


def _bytes(path: Path) -> bytes:
    if not is_file(path):
        raise Unreadable(_NO_FILE)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Unreadable(f"{size} bytes are more than the {MAX_BYTES} that are examined")
    return path.read_bytes()


def shelve(root: Path, texts: Mapping[str, bytes]) -> Shelf:
    """Read every source file below a folder and list its project files, in order of path."""
    shelf = Shelf(root, texts=dict(texts))
    for count, path in enumerate(sorted(_walk(root, shelf))):
        if count >= MAX_FILES:
            shelf.limit(tidy(root), f"more than {MAX_FILES} files; the rest was not examined")
            break
        name = path.rpartition("/")[2]
        if is_project(name):
            shelf.project(path)
        elif not is_code(name):
            shelf.unread.append(path)
        else:
            shelf.add(path)
    return shelf


def _walk(root: Path, shelf: Shelf) -> Iterator[str]:
    """Paths of wanted files; links are followed, but no folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    todo = [root]
    while todo:
        folder = todo.pop()
        try:
            status = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            shelf.limit(tidy(folder), error.strerror or str(error))
            continue
        if (status.st_dev, status.st_ino) in seen:
            shelf.limit(tidy(folder), "a symbolic link leads here again; it was read once", ())
            continue
        seen.add((status.st_dev, status.st_ino))
        todo += (entry for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        yield from _wanted(entries)


def _wanted(entries: Iterable[Path]) -> Iterator[str]:
    for entry in entries:
        name = entry.name.lower()
        is_wanted = is_code(name) or is_project(name)
        is_wanted = is_wanted or name in UNREAD_NAMES or name.endswith(UNREAD)
        if is_wanted and not entry.is_dir():
            yield tidy(entry)
