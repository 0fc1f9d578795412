"""Reads CMakePresets.json: with which variables a tree is configured.

Knows the format of presets; knows nothing of lists or targets. Presets that say the same of what
is compiled are one, and those for other systems than Windows are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hvci.source.text.disk import contents

FILES = ("CMakePresets.json", "CMakeUserPresets.json")
MAX_BYTES = 1 << 20
MAX_PRESETS = 6
"""Presets that say something else of what is compiled."""
MAX_INHERITED = 20
TOOLCHAIN = "CMAKE_TOOLCHAIN_FILE"
_PLACES = re.compile(r"\$(\w*)\{(\w+)\}")
_IMMATERIAL = re.compile(
    r"CMAKE_(?:BUILD_TYPE|INSTALL_\w+|EXPORT_\w+|MAKE_PROGRAM|CXX?_COMPILER_LAUNCHER"
    r"|CONFIGURATION_TYPES|VERBOSE_\w+|COLOR_\w+)|VCPKG_\w+|BUILD_TESTING"
)
"""Variables that say nothing of what is compiled here."""


_OPTIONS = ("CL", "_CL_", "LINK", "_LINK_", "CFLAGS", "CXXFLAGS", "LDFLAGS")
"""Variables from which the tools take options."""


@dataclass(frozen=True)
class Preset:
    """One way to configure a tree."""

    name: str = ""
    variables: tuple[tuple[str, str], ...] = ()


@dataclass
class _Read:
    """What the files of one folder say."""

    folder: str
    presets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def file(self, name: str, depth: int = 0) -> None:
        """Take the presets of a file, and of those that it includes."""
        path = name if name.startswith("/") else f"{self.folder}/{name}"
        try:
            data = json.loads(contents(path, MAX_BYTES).decode("utf-8-sig"))
        except OSError:
            self.lost += [f"the presets in {name}"] if name not in FILES else []
            return
        except (ValueError, RecursionError):
            self.lost.append(f"the presets in {name}")
            return
        if not isinstance(data, dict) or depth > MAX_INHERITED:
            self.lost.append(f"the presets in {name}")
            return
        for other in data.get("include") or ():
            self.file(str(other), depth + 1)
        for one in data.get("configurePresets") or ():
            if isinstance(one, dict) and isinstance(one.get("name"), str):
                self.presets[one["name"]] = one

    def variables(self, name: str, depth: int = 0) -> dict[str, str]:
        """The variables of a preset; its own stand before those that it inherits."""
        one = self.presets.get(name)
        if one is None or depth > MAX_INHERITED:
            return {}
        found: dict[str, str] = {}
        inherits = one.get("inherits") or ()
        for other in (inherits,) if isinstance(inherits, str) else inherits:
            found = self.variables(str(other), depth + 1) | found
        given = one.get("cacheVariables")
        for key, value in given.items() if isinstance(given, dict) else ():
            held = value.get("value") if isinstance(value, dict) else value
            if held is not None:
                text = {True: "ON", False: "OFF"}.get(held) if isinstance(held, bool) else str(held)
                found[key] = self.placed(str(text), name)
        if isinstance(file := one.get("toolchainFile"), str):
            found[TOOLCHAIN] = self.placed(file, name)
        return found

    def options(self, name: str, depth: int = 0) -> dict[str, None]:
        """The variables of the environment that give the tools options."""
        one = self.presets.get(name)
        if one is None or depth > MAX_INHERITED:
            return {}
        given, inherits = one.get("environment"), one.get("inherits") or ()
        found = dict.fromkeys(given if isinstance(given, dict) else ())
        for other in (inherits,) if isinstance(inherits, str) else inherits:
            found |= self.options(str(other), depth + 1)
        return {key: None for key in found if key.upper() in _OPTIONS}

    def placed(self, text: str, name: str) -> str:
        """A text with its macros replaced; the environment is not known."""
        known = {"sourceDir": self.folder, "presetName": name, "dollar": "$"}
        known |= {"hostSystemName": "Windows", "sourceDirName": self.folder.rpartition("/")[2]}
        known["sourceParentDir"] = self.folder.rpartition("/")[0]
        return _PLACES.sub(
            lambda match: known.get(match[2], match[0]) if not match[1] else match[0], text
        )

    def is_for_windows(self, name: str, depth: int = 0) -> bool:
        """Whether a preset, and what it inherits, can be used on Windows."""
        one = self.presets.get(name)
        if one is None or depth > MAX_INHERITED:
            return True
        asked = one.get("condition")
        if isinstance(asked, dict):
            left, right = (self.placed(str(asked.get(side)), name) for side in ("lhs", "rhs"))
            is_open = "$" in left + right
            if asked.get("type") in ("equals", "notEquals") and not is_open:
                return bool((left == right) == (asked["type"] == "equals"))
        inherits = one.get("inherits") or ()
        every = (inherits,) if isinstance(inherits, str) else inherits
        return asked is not False and all(
            self.is_for_windows(str(other), depth + 1) for other in every
        )


def presets(folder: str) -> tuple[list[Preset], list[str]]:
    """The ways in which a tree is configured, at least one; what of them could not be read."""
    read = _Read(folder)
    for name in FILES:
        read.file(name)
    found: dict[tuple[tuple[str, str], ...], Preset] = {}
    for name, one in read.presets.items():
        if one.get("hidden") is not True and read.is_for_windows(name):
            told = tuple(sorted(_telling(read.variables(name))))
            found.setdefault(told, Preset(name, told))
            told_of = read.options(name)
            read.lost += (f"{one} in the environment of the preset {name}" for one in told_of)
    every = list(found.values())
    if len(every) > MAX_PRESETS:
        read.lost.append(f"more than {MAX_PRESETS} presets")
    if len(every) == 1 and not every[0].variables:
        every = []
    return every[:MAX_PRESETS] or [Preset()], read.lost


def _telling(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return (one for one in variables.items() if _IMMATERIAL.fullmatch(one[0]) is None)
