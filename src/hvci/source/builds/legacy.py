"""Reads the project files before and beside MSBuild: `sources`, `makefile.inc` and INF.

Knows their line formats; knows nothing of source text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from hvci.model import BuildSetting, SourceSite, WindowsVersion
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds import linker
from hvci.source.builds.branches import Variant, telling_apart, variants
from hvci.source.builds.model import (
    Build,
    Compile,
    Kind,
    forced_headers,
    option_defines,
    options_of,
)
from hvci.source.builds.msbuild.unset import unset
from hvci.source.builds.rules import written_files
from hvci.source.preprocess.conditions import WINNT, of_ntddi
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
        shelf.limit(path, error.strerror or str(error), (*TEXT_RULES, *LINK_RULES))
        return ""
    if len(data) > MAX_BYTES:
        shelf.limit(path, "it is too large for a project file", (*TEXT_RULES, *LINK_RULES))
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
    found: list[Build] = []
    told: dict[str, None] = {}
    for machine in machines:
        for checked in (False, True):
            every, is_whole = variants(text, _environment(machine, checked), _TELLING)
            if not is_whole:
                told["its !IF lines can go more ways than were looked at"] = None
            kept = list(telling_apart(every, _TELLING))
            for variant in kept:
                values = variant.values
                if not values.get("TARGETTYPE") and "C_DEFINES" not in values:
                    continue
                told |= dict.fromkeys(_open(values))
                label = f"{'chk' if checked else 'fre'}|{machine}"
                label += f" ({variant.label})" if len(kept) > 1 and variant.label else ""
                settings = [*_settings(path, own, variant), *_defined(shelf, path, values)]
                found.append(_sources_build(shelf, path, values, settings, machine, label))
    for reason in told:
        shelf.limit(path, reason, TEXT_RULES)
    return found


def _environment(machine: str, checked: bool) -> dict[str, str]:
    """What the build environment of a kit says."""
    names = {"x86": "386", "x64": "AMD64", "arm64": "ARM64"}
    found = {name: str(int(machine == key)) for key, name in names.items()}
    arch = {"x86": "x86"}.get(machine, names[machine])
    found |= {"IA64": "0", "ARM": "0", "_BUILDARCH": arch, "DDKBUILDENV": _ENVIRONMENTS[checked]}
    found |= {f"_NT_TARGET_VERSION_{name}": f"{number:#x}" for name, number in WINNT.items()}
    return found | {"FREEBUILD": str(int(not checked)), "BUILD_ALT_DIR": _ENVIRONMENTS[checked]}


_ENVIRONMENTS = ("fre", "chk")


def _settings(path: str, own: str, variant: Variant) -> list[BuildSetting]:
    found: list[BuildSetting] = []
    for one in variant.assigned:
        first = next((word for word in one.value.split() if "$" not in word), "")
        site = SourceSite(path, _assigned_line(own, one.name, first))
        found += _sources_setting(one.name, one.value, site)
    return found


def _defined(shelf: Shelf, path: str, values: Mapping[str, str]) -> list[BuildSetting]:
    """What the module definitions of a build say; those that a build makes are not here."""
    name = values.get("DLLDEF", "").strip()
    if not name or "$" in name:
        return []
    told = linker.definitions_of(shelf.actual(beside(path, name.replace("\\", "/"))), name)
    for reason in told.lost:
        shelf.limit_once(path, reason, LINK_RULES)
    return told.settings


def _assigned_line(own: str, name: str, value: str) -> int:
    """The line of a text that gives a name a value; 1 where none does."""
    pattern = re.compile(rf"(?im)^[ \t]*{re.escape(name)}[ \t]*=[^\n]*{re.escape(value)}")
    match = pattern.search(own) or re.search(rf"(?im)^[ \t]*{re.escape(name)}[ \t]*=", own)
    return _line(own, match.start()) if match is not None else 1


_REMARK = re.compile(r"(?:^|\n)[ \t]*#[^\n]*")
_INCLUDE = re.compile(r"(?im)^![ \t]*include[ \t]+([^\n]+)")
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


def _open(values: Mapping[str, str]) -> Iterator[str]:
    """What is not known of the files that a `sources` file names."""
    names = " ".join(values.get(name, "") for name in ("SOURCES", *_OWN_SOURCES.values()))
    if open_ := sorted(set(_OUTER.findall(names))):
        told = ", ".join(f"$({name})" for name in open_)
        yield f"its files are also in {told}, which nothing here sets"


def _sources_build(
    shelf: Shelf,
    path: str,
    values: Mapping[str, str],
    settings: list[BuildSetting],
    machine: str,
    label: str,
) -> Build:
    target = values.get("TARGETTYPE", "").upper()
    version = _version(values)
    compiled = list(_compiled(shelf, path, values, machine))
    flags = " ".join(values.get(name, "") for name in (*_FLAGS, _OWN_FLAGS.get(machine, "")))
    written = re.split(r"[;\s]+", values.get("INCLUDES", ""))
    folders = [shelf.actual(beside(path, one)) for one in written if one]
    here = tuple(one for one in folders if is_folder(one))
    forced = tuple(_forced(shelf, path, forced_headers(flags), here))
    precompiled = (
        values.get("PRECOMPILED_INCLUDE", "").replace("\\", "/").rpartition("/")[2].lower()
    )
    removed = frozenset(options_of("U", flags))
    compile_ = Compile(option_defines(flags), removed, forced, here, precompiled)
    return Build(
        path,
        label,
        machine,
        _target_kind(target),
        version,
        {name: compile_ for name in compiled if is_code(name) and not _is_masm(name)},
        tuple(settings),
        tuple(_linked(shelf, path, values)),
        values.get("TARGETNAME", "").lower(),
        frozenset({"DriverEntry", "DllInitialize"}),
        tuple(name for name in compiled if _is_masm(name)),
        static=target in _LIBRARY_TARGETS,
        libraries=tuple(_libraries(values, machine)),
        debug=label.startswith("chk"),
        ntddi=version,
        written=tuple(_written(shelf, path)),
        unset=tuple(unset(flags, (one for one in _OUTER.findall(flags) if not _is_kits(one)))),
    )


def _compiled(shelf: Shelf, path: str, values: Mapping[str, str], machine: str) -> Iterator[str]:
    """The files of a build; those of one machine lie in a folder of its name, as a rule."""
    for name in values.get("SOURCES", "").split():
        if "$" not in name:
            yield shelf.actual(beside(path, name))
    for name in values.get(_OWN_SOURCES.get(machine, ""), "").split():
        if "$" not in name:
            inner = shelf.actual(beside(path, f"{_OWN_FOLDERS.get(machine, machine)}/{name}"))
            yield inner if is_file(inner) else shelf.actual(beside(path, name))


_OWN_FOLDERS = {"x86": "i386", "x64": "amd64"}


def _written(shelf: Shelf, path: str) -> Iterator[str]:
    """Files that the rules beside a `sources` file write, and that are here."""
    beside_it = shelf.actual(beside(path, "makefile.inc"))
    if is_file(beside_it):
        text = re.sub(r"\\\r?\n", " ", _REMARK.sub("\n", _text(shelf, beside_it)))
        places = (beside(path, one.replace("\\", "/")) for one in written_files(text))
        yield from shelf.written(places)


def _is_kits(name: str) -> bool:
    """Whether the kit's own makefiles set a name, or a list goes on with what it was."""
    return name.upper() in _FLAGS or _OF_BUILD.fullmatch(name) is not None


_OF_BUILD = re.compile(
    r"(?i)(?:user_)?c_(?:flags|defines)|o|\w*_(?:path|dir|root)|basedir|build\w*|(?:ddk|sdk|wdm|crt)\w*"
    r"|msc_\w+|_nt\w*|target\w*|ntdebug|386|amd64|ia64"
)
"""Names that every window of an old kit sets."""


def _version(values: Mapping[str, str]) -> WindowsVersion | None:
    """The Windows that a build aims at, where it says so itself."""
    said = values.get("_NT_TARGET_VERSION", "")
    number = int(said, 16) if re.fullmatch(r"0[xX][0-9a-fA-F]{3,4}", said) else 0
    return of_ntddi(number << 16) if number else None


_OWN_SOURCES = {"x64": "AMD64_SOURCES", "x86": "I386_SOURCES", "arm64": "ARM64_SOURCES"}
_FLAGS = ("C_DEFINES", "USER_C_FLAGS", "MSC_OPTIMIZATION")
_OWN_FLAGS = {"x64": "AMD64_FLAGS", "x86": "386_FLAGS", "arm64": "ARM64_FLAGS"}
_LINKED = ("TARGETLIBS", "LINKLIBS", "LINKER_FLAGS", "OBJLIBFILES", "OBJECTS")
_TELLING = frozenset(
    (
        *(
            "DLLDEF",
            "TARGETTYPE",
            "_NT_TARGET_VERSION",
            "SOURCES",
            "INCLUDES",
            "PRECOMPILED_INCLUDE",
        ),
        *(*_FLAGS, *_OWN_FLAGS.values(), *_OWN_SOURCES.values(), *_LINKED),
    )
)
"""What says what is compiled, how, and with what it is linked."""


def _forced(shelf: Shelf, path: str, names: Iterable[str], folders: Iterable[str]) -> Iterator[str]:
    """The headers that each file begins with."""
    for name in names:
        places = (beside(path, name), *(f"{folder}/{name}" for folder in folders))
        found = next((one for one in map(shelf.actual, places) if is_file(one)), "")
        if found and shelf.add(found):
            yield found
        else:
            shelf.limit(path, f"the header {name}, which is forced, is missing")


def _libraries(values: Mapping[str, str], machine: str = "") -> list[str]:
    """The libraries that are linked; `*` in a path is the folder of the machine."""
    text = " ".join(values.get(name, "") for name in _LINKED)
    found = re.findall(r"\S+\.(?:lib|obj)\b", text)
    return [one.replace("*", _OWN_FOLDERS.get(machine, machine)) for one in found]


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
    if name in _LINKING:
        return list(linker.settings(value, site))
    return []


_LINKING = frozenset(
    (
        *("LINKER_FLAGS", "LINKER_OPTIONS", "TARGETLIBS", "386_LINKER_FLAGS"),
        *("I386_LINKER_FLAGS", "AMD64_LINKER_FLAGS", "ARM64_LINKER_FLAGS"),
    )
)
"""What the makefiles of the kits hand to the linker."""


_INF_OS = re.compile(r"NT(?:amd64|x86|arm64|arm)?\.(\d+)\.(\d+)(?:\.\d*)?(?:\.\d*)?(?:\.(\d+))?")


def inf_settings(shelf: Shelf, path: str) -> list[BuildSetting]:
    """What an INF says about the driver: its service binaries and the Windows versions."""
    text = _text(shelf, path)
    found = []
    for match in re.finditer(r"(?im)^[ \t]*(ServiceBinary|DriverVer)\s*=\s*([^;\n]+)", text):
        site = SourceSite(path, _line(text, match.start()))
        found.append(BuildSetting(match[1], match[2].strip(), site))
    for match in _INF_OS.finditer(text):
        build = f".{match[3]}" if match[3] else ""
        site = SourceSite(path, _line(text, match.start()))
        found.append(BuildSetting("INF target", f"{match[1]}.{match[2]}{build}", site))
    return list({(one.name, one.value): one for one in found}.values())
