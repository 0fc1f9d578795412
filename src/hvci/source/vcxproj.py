"""Turns evaluated Visual Studio projects and solutions into builds.

Knows the properties that driver projects use; knows nothing of source text.
"""

from __future__ import annotations

import re
from pathlib import Path

from hvci.model import BuildSetting, SourceSite, WindowsVersion
from hvci.source.build import Build, Kind, defines, link_settings, machine_of, option_defines
from hvci.source.files import LINK_RULES, beside
from hvci.source.msbuild import Compiled, Library, State, configurations, run

_VERSIONS = {
    "windowsvista": WindowsVersion.VISTA,
    "vista": WindowsVersion.VISTA,
    "windows7": WindowsVersion.WINDOWS_7,
    "win7": WindowsVersion.WINDOWS_7,
    "windows8": WindowsVersion.WINDOWS_8,
    "win8": WindowsVersion.WINDOWS_8,
    "windowsv6.3": WindowsVersion.WINDOWS_8_1,
    "winv6.3": WindowsVersion.WINDOWS_8_1,
    "windows10": WindowsVersion.WINDOWS_10_1507,
}
_LINK_METADATA = {
    "specifysectionattributes": "/SECTION",
    "mergesections": "/MERGE",
    "sectionalignment": "/ALIGN",
    "driver": "/DRIVER",
}
_DRIVER_TYPES = ("wdm", "kmdf", "miniport", "exportdriver")
_PROJECT_LINE = re.compile(r'^Project\("[^"]*"\)\s*=\s*"[^"]*",\s*"([^"]+\.vcxproj)"', re.MULTILINE)
_SLNX_PROJECT = re.compile(r'<Project\s[^>]*Path="([^"]+\.vcxproj)"')


def solution_projects(path: str) -> list[str]:
    """The projects that a solution names."""
    text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    found = _PROJECT_LINE.findall(text) + _SLNX_PROJECT.findall(text)
    return [beside(path, name) for name in found]


def builds(library: Library, path: str) -> list[Build]:
    """Every configuration of a project; a project that states none is taken as x64."""
    pairs = configurations(library, path) or [("", "x64")]
    found, missing = [], set()
    for configuration, platform in pairs:
        state = run(library, path, configuration, platform)
        missing.update(state.missing)
        found.append(_build(path, configuration, platform, state))
    for name in sorted(missing):
        library.shelf.limit(path, f"the imported file {name} is missing", LINK_RULES)
    return found


def _build(path: str, configuration: str, platform: str, state: State) -> Build:
    label = f"{configuration}|{platform}" if configuration else ""
    compiled = state.items.get("clcompile", []) + state.items.get("masm", [])
    references = tuple(item.path for item in state.items.get("projectreference", []))
    return Build(
        path,
        label,
        machine_of(platform),
        _kind(state),
        _version(state),
        {item.path: _defines(item) for item in compiled if not _excluded(item)},
        tuple(_settings(path, label, state)),
        references,
        (state.properties.get("targetname") or path.rpartition("/")[2].rpartition(".")[0]).lower(),
        _entries(state),
    )


def _excluded(item: Compiled) -> bool:
    return item.metadata.get("excludedfrombuild", "").lower() == "true"


def _defines(item: Compiled) -> dict[str, str]:
    options = option_defines(item.metadata.get("additionaloptions", ""))
    found = defines(item.metadata.get("preprocessordefinitions", "")) | options
    removed = defines(item.metadata.get("undefinepreprocessordefinitions", ""))
    return {name: value for name, value in found.items() if name not in removed}


def _entries(state: State) -> frozenset[str]:
    own = state.definitions.get("link", {}).get("entrypointsymbol", "")
    return frozenset({"DriverEntry", "DllInitialize"} | ({own} if own else set()))


def _kind(state: State) -> Kind:
    type_ = state.properties.get("configurationtype", "").lower()
    driver = state.properties.get("drivertype", "").lower()
    toolset = state.properties.get("platformtoolset", "").lower()
    if driver == "umdf" or "usermode" in toolset or type_ in ("application", "utility"):
        return Kind.USER
    if state.properties.get("umdf_version_major"):
        return Kind.USER
    if type_ == "driver" or (driver in _DRIVER_TYPES and type_ == ""):
        return Kind.DRIVER
    if driver in _DRIVER_TYPES or "kernelmode" in toolset:
        return (
            Kind.DRIVER if type_ == "dynamiclibrary" and driver != "exportdriver" else Kind.LIBRARY
        )
    if type_ == "dynamiclibrary":
        return Kind.USER
    return Kind.LIBRARY if type_ == "staticlibrary" else Kind.UNKNOWN


def _version(state: State) -> WindowsVersion | None:
    return _VERSIONS.get(state.properties.get("targetversion", "").lower().replace(" ", ""))


def _settings(path: str, label: str, state: State) -> list[BuildSetting]:
    found = []
    link = state.definitions.get("link", {})
    for key, name in _LINK_METADATA.items():
        value = link.get(key, "")
        if value and not (key == "driver" and value.lower() == "notset"):
            found += [
                BuildSetting(name, one, _site(path, state, key), label)
                for one in _split(key, value)
            ]
    options = link.get("additionaloptions", "")
    found += link_settings(options, _site(path, state, "additionaloptions"), label)
    for name in ("targetversion", "drivertype", "configurationtype"):
        if value := state.properties.get(name, ""):
            found.append(BuildSetting(name, value, SourceSite(path, 1), label))
    return found


def _split(key: str, value: str) -> list[str]:
    return [one for one in value.split() if one] if key != "driver" else [value]


def _site(path: str, state: State, metadata: str) -> SourceSite:
    """The line that set a linker option, as near as a search for its text can tell."""
    file = state.places.get(f"link.{metadata}", path)
    text = state.library.shelf.project_text(file).lower()
    at = text.find(f"<{metadata}>")
    return SourceSite(file, text.count("\n", 0, max(at, 0)) + 1)
