"""What a run of CMake lists leaves: targets, and what folders hand down to those in them.

Knows names only; what commands do is for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Target:
    """One target: a driver, a library or a program."""

    name: str
    command: str
    words: list[str]
    """What its command says besides the sources."""
    folder: str
    file: str
    offset: int
    sources: list[tuple[str, str]] = field(default_factory=list)
    """Names with the folders that they are meant in."""
    definitions: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    link_options: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    inner: set[str] = field(default_factory=set)
    """Those of its links whose usage it hands to nobody."""
    outer: set[str] = field(default_factory=set)
    """Those of its links that are only for those that link it."""
    handed: dict[str, list[str]] = field(default_factory=dict)
    """What those that link it get as well: definitions, folders, options."""
    handed_sources: list[tuple[str, str]] = field(default_factory=list)
    """Sources that those compile that link it."""
    precompiled: list[str] = field(default_factory=list)
    """Headers that each file begins with."""
    steps: list[str] = field(default_factory=list)
    """Commands that run when it is linked."""
    properties: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)
    """What its folder tells compiler and linker at its end, by the names of the variables."""
    lost: list[str] = field(default_factory=list)
    """What could not be followed."""


@dataclass
class Place:
    """The folder that is run, with what it hands down to folders below."""

    folder: str
    file: str
    definitions: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    link_options: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    precompiled: list[str] = field(default_factory=list)

    def below(self, folder: str) -> Place:
        """The same for a folder inside."""
        return Place(
            folder,
            f"{folder}/CMakeLists.txt",
            list(self.definitions),
            list(self.folders),
            list(self.options),
            list(self.link_options),
            list(self.links),
        )


FLAGS = tuple(
    f"CMAKE_{what}{of}"
    for what in ("C_FLAGS", "CXX_FLAGS", "EXE_LINKER_FLAGS", "SHARED_LINKER_FLAGS")
    for of in ("", "_DEBUG", "_RELEASE")
)
"""What the compiler and the linker are told besides, for each configuration."""


def flags_of(configuration: str) -> tuple[str, ...]:
    """The variables that compiler and linker are told in one configuration."""
    now = configuration.upper()
    languages = [f"CMAKE_{one}_FLAGS{of}" for one in ("C", "CXX") for of in ("", f"_{now}")]
    linked = [
        f"CMAKE_{one}_LINKER_FLAGS{of}"
        for one in ("EXE", "SHARED", "MODULE")
        for of in ("", f"_{now}")
    ]
    return (*linked, *(f"{one}{of}" for one in languages for of in ("", "_INIT")))
