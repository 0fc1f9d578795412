"""What one configuration of a project builds: the words that every project reader fills in.

Knows names only; knows no project format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hvci.model import BuildSetting, SourceSite, WindowsVersion


class Kind(StrEnum):
    """What a project builds."""

    DRIVER = "driver"
    LIBRARY = "library"
    """Code that a driver links or loads."""
    USER = "user-mode"
    UNKNOWN = "unknown"


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
    files: Mapping[str, Mapping[str, str]]
    """Each compiled file with its macro definitions."""
    settings: tuple[BuildSetting, ...] = ()
    references: tuple[str, ...] = ()
    """Other projects whose output it links."""
    output: str = ""
    """Name of what is built, without folder and extension, in lower case."""
    entries: frozenset[str] = field(default_factory=lambda: frozenset({"DriverEntry"}))

    @property
    def label(self) -> str:
        """How a person tells it from the others."""
        return self.configuration or self.project.rpartition("/")[2]


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
        name, _, value = item.strip().partition("=")
        if re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
            found[name.strip()] = value.strip()
    return found


_DEFINE_OPTION = re.compile(r"(?<!\S)[/\-\u2013]D\s*([A-Za-z_]\w*)(?:=(\S+))?")


def option_defines(text: str) -> dict[str, str]:
    """Read `/DNAME=value` options."""
    return {match[1]: match[2] or "" for match in _DEFINE_OPTION.finditer(text)}


_LINK_OPTION = re.compile(
    r"(?<![\w:])[/-](SECTION|MERGE|ALIGN|DRIVER|INTEGRITYCHECK|ENTRY|GUARD)(?::\"?([^\s;<\"']+))?",
    re.IGNORECASE,
)


def link_settings(text: str, site: SourceSite, configuration: str = "") -> Iterator[BuildSetting]:
    """The linker options in a text that memory integrity cares about."""
    for match in _LINK_OPTION.finditer(text):
        yield BuildSetting("/" + match[1].upper(), match[2] or "", site, configuration)
