"""Reads the project files before and beside MSBuild: `sources`, `makefile.inc`, CMake and INF.

Knows their line formats; knows nothing of source text.
"""

from __future__ import annotations

import re
from pathlib import Path

from hvci.model import BuildSetting, SourceSite
from hvci.source.build import Build, Compile, Kind, link_settings, option_defines
from hvci.source.files import LINK_RULES, Shelf, beside, is_code

MAX_BYTES = 1 << 20

_ASSIGNMENT = re.compile(r"^[ \t]*(\w+)[ \t]*=[ \t]*((?:[^\n\\]|\\\r?\n|\\)*)", re.MULTILINE)
_OUTER = re.compile(r"\$\((\w+)\)")
_DRIVER_TARGETS = ("DRIVER", "MINIPORT", "GDI_DRIVER", "EXPORT_DRIVER", "HAL")
_LIBRARY_TARGETS = ("DRIVER_LIBRARY", "LIBRARY")
_FILE_NAME = re.compile(r"[^\s\"'()<>|;=]+\.(?:c|cpp|cxx|cc|asm)\b", re.IGNORECASE)


def _text(shelf: Shelf, path: str) -> str:
    """The text of a small project file; empty, and a limit, when it cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        shelf.limit(path, error.strerror or str(error), LINK_RULES)
        return ""
    if len(data) > MAX_BYTES:
        shelf.limit(path, "it is too large for a project file", LINK_RULES)
        return ""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def builds(shelf: Shelf, path: str) -> list[Build]:
    """The builds of a `sources` or CMake file; none for any other."""
    name = path.rpartition("/")[2].lower()
    reader = _READERS.get(name) or (cmake_build if name.endswith(".cmake") else None)
    build = reader(shelf, path) if reader is not None else None
    return [build] if build is not None else []


def sources_build(shelf: Shelf, path: str) -> Build | None:
    """What a `sources` file builds; None when it names no target."""
    text = re.sub(r"^[ \t]*#.*$", "", _text(shelf, path), flags=re.MULTILINE)
    values: dict[str, str] = {}
    settings: list[BuildSetting] = []
    for match in _ASSIGNMENT.finditer(text):
        name, value = match[1].upper(), re.sub(r"\\\r?\n", " ", match[2]).strip()
        values[name] = _OUTER.sub(lambda m, v=values: v.get(m[1].upper(), ""), value)  # type: ignore[misc]
        settings += _sources_setting(name, value, SourceSite(path, _line(text, match.start())))
    target = values.get("TARGETTYPE", "").upper()
    if not target and "C_DEFINES" not in values:
        return None
    compiled = [shelf.actual(beside(path, name)) for name in values.get("SOURCES", "").split()]
    macros = option_defines(values.get("C_DEFINES", "") + " " + values.get("USER_C_FLAGS", ""))
    return Build(
        path,
        "",
        None,
        _target_kind(target),
        None,
        {name: Compile(macros) for name in compiled if is_code(name) and not _is_masm(name)},
        tuple(settings),
        assembly=tuple(name for name in compiled if _is_masm(name)),
        output=values.get("TARGETNAME", "").lower(),
        entries=frozenset({"DriverEntry", "DllInitialize"}),
    )


def makefile_settings(shelf: Shelf, path: str) -> list[BuildSetting]:
    """What a `makefile.inc` beside a `sources` file says about linking."""
    text = re.sub(r"^[ \t]*#.*$", "", _text(shelf, path), flags=re.MULTILINE)
    found: list[BuildSetting] = []
    for match in _ASSIGNMENT.finditer(text):
        site = SourceSite(path, _line(text, match.start()))
        found += _sources_setting(match[1].upper(), match[2].strip(), site)
    return found


def _target_kind(target: str) -> Kind:
    if target in _DRIVER_TARGETS:
        return Kind.DRIVER
    if target in _LIBRARY_TARGETS:
        return Kind.LIBRARY
    return Kind.UNKNOWN if not target else Kind.USER


def _sources_setting(name: str, value: str, site: SourceSite) -> list[BuildSetting]:
    if name == "DRIVER_ALIGNMENT":
        return [BuildSetting("/ALIGN", value, site)]
    if name in ("LINKER_FLAGS", "LINKER_OPTIONS", "TARGETLIBS"):
        return list(link_settings(value, site))
    return []


_COMMAND = re.compile(
    r"\b(add_library|add_executable|wdk_add_driver|wdk_add_library|target_sources"
    r"|target_compile_definitions|add_definitions|add_compile_definitions|target_link_options"
    r"|set_target_properties|add_compile_options|target_compile_options|add_link_options|set)"
    r"\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)",
    re.IGNORECASE,
)


def cmake_build(shelf: Shelf, path: str) -> Build | None:
    """What a CMake file builds, taken as one target; None when it compiles nothing."""
    text = re.sub(r"#[^\n]*", lambda match: " " * len(match[0]), _text(shelf, path))
    files: list[str] = []
    macros: dict[str, str] = {}
    settings: list[BuildSetting] = []
    driver = False
    for match in _COMMAND.finditer(text):
        command, body = match[1].lower(), match[2]
        driver = driver or command == "wdk_add_driver"
        if "definitions" in command or "options" in command:
            words = " ".join(re.split(r"[\s;]+", body))
            macros |= option_defines(words) | _bare_defines(command, body)
        settings += link_settings(body, SourceSite(path, _line(text, match.start())))
        files += _FILE_NAME.findall(body)
    paths = [shelf.actual(beside(path, name)) for name in dict.fromkeys(files)]
    assembly = tuple(name for name in paths if _is_masm(name))
    compiled = {name: Compile(macros) for name in paths if not _is_masm(name)}
    if not compiled:
        return None
    driver = driver or any(setting.name == "/DRIVER" for setting in settings)
    kind = Kind.DRIVER if driver else Kind.UNKNOWN
    entries = frozenset({"DriverEntry", "DllInitialize"})
    return Build(
        path, "", None, kind, None, compiled, tuple(settings), entries=entries, assembly=assembly
    )


def _is_masm(path: str) -> bool:
    return path.lower().endswith(".asm")


_READERS = {"sources": sources_build, "cmakelists.txt": cmake_build}


def _bare_defines(command: str, body: str) -> dict[str, str]:
    """`target_compile_definitions(x PRIVATE NAME=1)` names macros without an option."""
    if "definitions" not in command:
        return {}
    words = re.findall(r"(?<![\w/\-])([A-Z_][A-Z0-9_]*)(?:=([\w.]+))?(?=[\s;)\"]|$)", body)
    return {name: value for name, value in words if name not in ("PRIVATE", "PUBLIC", "INTERFACE")}


_INF_OS = re.compile(r"NT(?:amd64|x86|arm64|arm)?\.(\d+)\.(\d+)(?:\.\d*)?(?:\.\d*)?(?:\.(\d+))?")


def inf_settings(shelf: Shelf, path: str) -> list[BuildSetting]:
    """What an INF says about the driver: its service binaries and the Windows versions."""
    text = _text(shelf, path)
    found = []
    for match in re.finditer(r"(?im)^\s*(ServiceBinary|DriverVer)\s*=\s*([^;\n]+)", text):
        site = SourceSite(path, _line(text, match.start()))
        found.append(BuildSetting(match[1], match[2].strip(), site))
    for match in _INF_OS.finditer(text):
        build = f".{match[3]}" if match[3] else ""
        site = SourceSite(path, _line(text, match.start()))
        found.append(BuildSetting("INF target", f"{match[1]}.{match[2]}{build}", site))
    return list({(one.name, one.value): one for one in found}.values())
