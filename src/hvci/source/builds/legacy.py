"""Reads the project files before and beside MSBuild: `sources`, `makefile.inc` and INF.

Knows their line formats; knows nothing of source text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from hvci.model import BuildSetting, SourceSite
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds.model import Build, Compile, Kind, link_settings, option_defines, options_of
from hvci.source.text.disk import contents, is_file, is_folder
from hvci.source.text.files import Shelf, beside, is_code

MAX_BYTES = 1 << 20

_ASSIGNMENT = re.compile(r"^[ \t]*(\w+)[ \t]*=[ \t]*((?:[^\n\\]|\\\r?\n|\\)*)", re.MULTILINE)
_OF_KIT = re.compile(r"(?i)\$\((?:NTMAKEENV|DDK\w*|SDK\w*|BASEDIR|PROJECT_ROOT|WDK\w*)\)")
_OUTER = re.compile(r"\$\((\w+)\)")
_DRIVER_TARGETS = ("DRIVER", "MINIPORT", "GDI_DRIVER", "EXPORT_DRIVER", "HAL")
_LIBRARY_TARGETS = ("DRIVER_LIBRARY", "LIBRARY")


def _text(shelf: Shelf, path: str) -> str:
    """The text of a small project file; empty, and a limit, when it cannot be read."""
    try:
        data = contents(path)
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


def sources_builds(shelf: Shelf, path: str, machines: Iterable[str]) -> list[Build]:
    """What a `sources` file builds, checked and free; nothing when it names no target."""
    own = _text(shelf, path)
    text = _REMARK.sub("", _included(shelf, path, own))
    values: dict[str, str] = {}
    settings: list[BuildSetting] = []
    inside, chosen = _conditional(text), set[str]()
    for match in _ASSIGNMENT.finditer(text):
        name, value = match[1].upper(), re.sub(r"\\\r?\n", " ", match[2]).strip()
        value = _OUTER.sub(lambda m, v=values: v.get(m[1].upper(), m[0]), value)  # type: ignore[misc]
        if any(start <= match.start() < end for start, end in inside):
            chosen.add(name)
            value = f"{values.get(name, '')} {value}" if name in _LISTS else value
        values[name] = value
        line = _line(own, max(own.find(match[0].partition("\n")[0]), 0))
        settings += _sources_setting(name, value, SourceSite(path, line))
    if not values.get("TARGETTYPE") and "C_DEFINES" not in values:
        return []
    _tell(shelf, path, values, chosen)
    return [
        _sources_build(shelf, path, values, settings, machine, checked)
        for machine in machines
        for checked in (False, True)
    ]


_REMARK = re.compile(r"(?:^|\n)[ \t]*#[^\n]*")
_INCLUDE = re.compile(r"(?im)^![ \t]*include[ \t]+([^\n]+)")
_LISTS = ("SOURCES", "TARGETLIBS", "LINKLIBS", "INCLUDES")
_OPTIONS = ("C_DEFINES", "USER_C_FLAGS")
MAX_INCLUDED = 20


def _included(shelf: Shelf, path: str, text: str, depth: int = 0) -> str:
    """A text with the files that it includes."""

    def included(match: re.Match[str]) -> str:
        name = match[1].strip().strip('"')
        if name[:1] == "<" or _OF_KIT.search(name):
            return ""
        other = shelf.actual(beside(path, name.replace("\\", "/")))
        if not is_file(other) or depth >= MAX_INCLUDED:
            shelf.limit(path, f"the file {name}, which it includes, is missing", TEXT_RULES)
            return ""
        return _included(shelf, other, _text(shelf, other), depth + 1)

    return _INCLUDE.sub(included, text)


def _conditional(text: str) -> list[tuple[int, int]]:
    """The ranges between `!IF` and `!ENDIF`."""
    found, begins = [], list[int]()
    for match in re.finditer(r"(?im)^![ \t]*(if|ifdef|ifndef|endif)\b", text):
        if match[1].lower() != "endif":
            begins.append(match.start())
        elif begins:
            found.append((begins.pop(), match.end()))
    return found


def _tell(shelf: Shelf, path: str, values: Mapping[str, str], chosen: set[str]) -> None:
    """What is not known of the files and definitions that a `sources` file names."""
    names = " ".join(values.get(name, "") for name in ("SOURCES", *_OWN_SOURCES.values()))
    if open_ := sorted(set(_OUTER.findall(names))):
        told = ", ".join(f"$({name})" for name in open_)
        shelf.limit(path, f"its files are also in {told}, which nothing here sets", TEXT_RULES)
    if told := ", ".join(sorted(chosen & set(_OPTIONS))):
        shelf.limit(path, f"{told} depends on !IF, and the last one was taken", ())


def _sources_build(
    shelf: Shelf,
    path: str,
    values: Mapping[str, str],
    settings: list[BuildSetting],
    machine: str,
    checked: bool,
) -> Build:
    target = values.get("TARGETTYPE", "").upper()
    names = " ".join(values.get(name, "") for name in ("SOURCES", _OWN_SOURCES.get(machine, "")))
    compiled = [shelf.actual(beside(path, name)) for name in names.split() if "$" not in name]
    flags = " ".join(values.get(name, "") for name in ("C_DEFINES", "USER_C_FLAGS"))
    written = re.split(r"[;\s]+", values.get("INCLUDES", ""))
    folders = [shelf.actual(beside(path, one)) for one in written if one]
    here = tuple(one for one in folders if is_folder(one))
    forced = tuple(_forced(shelf, path, options_of("FI", flags), here))
    precompiled = (
        values.get("PRECOMPILED_INCLUDE", "").replace("\\", "/").rpartition("/")[2].lower()
    )
    removed = frozenset(options_of("U", flags))
    compile_ = Compile(option_defines(flags), removed, forced, here, precompiled)
    return Build(
        path,
        f"{'chk' if checked else 'fre'}|{machine}",
        machine,
        _target_kind(target),
        None,
        {name: compile_ for name in compiled if is_code(name) and not _is_masm(name)},
        tuple(settings),
        tuple(_linked(shelf, path, values)),
        values.get("TARGETNAME", "").lower(),
        frozenset({"DriverEntry", "DllInitialize"}),
        tuple(name for name in compiled if _is_masm(name)),
        static=target in _LIBRARY_TARGETS,
        libraries=tuple(_libraries(values)),
        debug=checked,
    )


_OWN_SOURCES = {"x64": "AMD64_SOURCES", "x86": "I386_SOURCES", "arm64": "ARM64_SOURCES"}


def _forced(shelf: Shelf, path: str, names: Iterable[str], folders: Iterable[str]) -> Iterator[str]:
    """The headers that each file begins with."""
    for name in names:
        places = (beside(path, name), *(f"{folder}/{name}" for folder in folders))
        found = next((one for one in map(shelf.actual, places) if is_file(one)), "")
        if found and shelf.add(found):
            yield found
        else:
            shelf.limit(path, f"the header {name}, which is forced, is missing")


def _libraries(values: Mapping[str, str]) -> list[str]:
    text = " ".join(values.get(name, "") for name in ("TARGETLIBS", "LINKLIBS"))
    return re.findall(r"\S+\.(?:lib|obj)\b", text)


def _is_masm(path: str) -> bool:
    return path.lower().endswith(".asm")


def _linked(shelf: Shelf, path: str, values: Mapping[str, str]) -> Iterator[str]:
    """The `sources` files of libraries that this one links by the folder of their output."""
    for name in _libraries(values):
        folder = re.split(r"(?i)[\\/](?:obj|\$\(o\)|\$\(build)", name, maxsplit=1)[0]
        other = shelf.actual(beside(path, f"{folder}/sources"))
        if "$" not in folder and is_file(other):
            yield other


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
