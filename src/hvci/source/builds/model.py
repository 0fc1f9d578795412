"""What one configuration of a project builds: the words that every project reader fills in.

Knows names only; knows no project format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hvci.model import BuildSetting, WindowsVersion
from hvci.source.preprocess.predefined import Compiler


class Kind(StrEnum):
    """What a project builds."""

    DRIVER = "driver"
    LIBRARY = "library"
    """Code that a driver links or loads."""
    USER = "user-mode"
    PACKAGE = "package"
    """Nothing of its own: it packs what other projects build."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Compile:
    """How one file is compiled."""

    defines: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    """Macros that are undefined again."""
    forced: tuple[str, ...] = ()
    """Headers that are included before the first line."""
    folders: tuple[str, ...] = ()
    """Where headers are looked for."""
    precompiled: str = ""
    """A header that was compiled before: what stands before it in a file is passed over."""
    cplusplus: bool | None = None
    """What the project says; None: the name of the file tells."""
    compiler: Compiler = Compiler.MSVC
    creates: str = ""
    """The header that is compiled before with this file: `/Yc`."""

    @property
    def macros(self) -> frozenset[tuple[str, str | None]]:
        """What is defined, and what is undefined again."""
        return frozenset((*self.defines.items(), *((name, None) for name in self.removed)))


PLAIN = Compile()
"""A file of which nothing is said."""


@dataclass(frozen=True)
class Build:
    """One configuration of one project."""

    project: str
    """Path of the project file."""
    configuration: str
    """Such as "Release|x64"; empty when the project has only one."""
    machine: str | None
    """"x64", "x86", "arm64" or "arm"; None when it is not said."""
    kind: Kind
    version: WindowsVersion | None
    """The oldest Windows version that it is built for; None when it is not said."""
    files: Mapping[str, Compile]
    """Each C and C++ file that it compiles."""
    settings: tuple[BuildSetting, ...] = ()
    references: tuple[str, ...] = ()
    """Other projects whose output it links, or packs."""
    output: str = ""
    """Name of what is built, without folder and extension, in lower case."""
    entries: frozenset[str] = field(default_factory=lambda: frozenset({"DriverEntry"}))
    assembly: tuple[str, ...] = ()
    """MASM files."""
    static: bool = False
    """It is a static library: part of what links it."""
    kernel: bool = True
    """Its toolset compiles for the kernel."""
    libraries: tuple[str, ...] = ()
    """Libraries that it names to the linker, as paths where they have a folder."""
    ntddi: WindowsVersion | None = None
    """The Windows version of its headers; None: that which it is built for."""
    debug: bool = False
    """A checked build: DBG is 1."""
    unseen: tuple[str, ...] = ()
    """Files of which a step of its own makes objects that are linked."""
    lost: tuple[str, ...] = ()
    """What its project names and nobody could follow, such as "$(Other)/x.props"."""
    united: bool = False
    """Its files are compiled together, one behind the other, as a unity build does."""
    unset: tuple[tuple[str, str], ...] = ()
    """Names that only the environment may set, each with the macro whose value it is, if it is."""
    written: tuple[str, ...] = ()
    """Files of code that are here and that a step of the build writes anew, or may."""
    again: tuple[tuple[str, Compile], ...] = ()
    """Files that it compiles once more, in another way."""
    configured: Mapping[str, str] = field(default_factory=dict)
    """Projects that are built with it, each with its configuration, where that has another name."""
    searched: tuple[str, ...] = ()
    """Folders in which its linker looks for libraries, as they are written."""
    built: bool = True
    """False: the solution that is asked about never builds it."""

    @property
    def file(self) -> str:
        """The project file; a list that builds several targets names them behind a "#"."""
        return self.project.partition("#")[0]

    @property
    def compiles(self) -> Iterator[tuple[str, Compile]]:
        """Every file with every way in which it is compiled."""
        yield from self.files.items()
        yield from self.again

    @property
    def macros(self) -> frozenset[tuple[str, str | None]]:
        """What is defined for any of its files, and what is undefined again."""
        ways = {id(one): one.macros for _, one in self.compiles}
        return frozenset().union(*ways.values())

    def goes_with(self, other: Build) -> bool:
        """Whether it is for the same machine, and as checked."""
        return (self.machine, self.debug) == (other.machine, other.debug)

    @property
    def label(self) -> str:
        """How a person tells it from the others."""
        return self.configuration or self.project.rpartition("/")[2]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that it compiles."""
        return (*self.files, *self.assembly)


_MACHINES = {
    "x64": "x64",
    "amd64": "x64",
    "x86": "x86",
    "win32": "x86",
    "i386": "x86",
    "arm64": "arm64",
    "arm64ec": "arm64",
    "arm": "arm",
}


def machine_of(platform: str) -> str | None:
    """The machine of an MSBuild platform or a build directory."""
    return _MACHINES.get(platform.strip().lower())


def defines(text: str) -> dict[str, str]:
    """Read `NAME;NAME=value` lists."""
    found = {}
    for item in text.split(";"):
        item = item.strip()
        item = item[1:-1] if item[:1] == item[-1:] == '"' else item
        name, _, value = item.partition("=")
        if re.fullmatch(r"[A-Za-z_]\w*(?:\([\w\s,.]*\))?", name.strip()):
            found[name.strip()] = value.strip()
    return found


_WORD = re.compile(r'(?:\\"|"(?:\\"|[^"])*"?|[^\s"])+')


def words_of(text: str) -> list[str]:
    """The words of a command line, without the quotes around them."""
    found = []
    for match in _WORD.finditer(text):
        word = re.sub(r'\\"|"', lambda quote: '"' if quote[0] != '"' else "", match[0])
        found.append(word)
    return found


def _given(letter: str, text: str) -> Iterator[str]:
    """What stands behind an option, in its word or in the next one."""
    words = iter(words_of(text))
    for word in words:
        word = word.removeprefix("/clang:")
        if word[:1] in _DASHES and word[1:].startswith(letter):
            yield word[1 + len(letter) :] or next(words, "")


_DASHES = ("/", "-", "\u2013")
_DEFINED = re.compile(r"([A-Za-z_]\w*(?:\([^)]*\))?)(?:[=#](.*))?", re.DOTALL)


def include_folders(text: str) -> list[str]:
    """The folders in which options look for headers."""
    return [one for option in _FOLDERS for one in options_of(option, text)]


def forced_headers(text: str) -> list[str]:
    """The headers that options put before the first line of each file."""
    given = (one for option in _FORCED for one in options_of(option, text))
    return [one for one in given if one[0] not in "-:" and not one.startswith("dir")]


_FOLDERS = ("I", "isystem", "iquote", "idirafter", "external:I")
_FORCED = ("FI", "include", "imacros")


def option_defines(text: str) -> dict[str, str]:
    """Read `/DNAME=value` options."""
    found = {}
    for given in _given("D", text):
        if (match := _DEFINED.fullmatch(given)) is not None:
            found[match[1]] = match[2] or ""
    return found


def options_of(letter: str, text: str) -> list[str]:
    """The values of a compiler option such as `/Ifolder` or `/FI header`."""
    return [one for one in _given(letter, text) if one]
