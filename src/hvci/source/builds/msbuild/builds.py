"""Turns evaluated Visual Studio projects and solutions into builds.

Knows the properties that driver projects use; knows nothing of source text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.model import NEWEST, BuildSetting, SourceSite, WindowsVersion
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds import linker
from hvci.source.builds.model import (
    Build,
    Compile,
    Kind,
    defines,
    forced_headers,
    include_folders,
    machine_of,
    option_defines,
    options_of,
    words_of,
)
from hvci.source.builds.msbuild.files import Library
from hvci.source.builds.msbuild.projects import (
    ASSEMBLED,
    LINKED,
    Compiled,
    State,
    configurations,
    run,
)
from hvci.source.builds.msbuild.properties import slashed
from hvci.source.builds.steps import written
from hvci.source.preprocess.conditions import of_ntddi
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.disk import contents, is_file
from hvci.source.text.files import is_code

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
MAX_OPTIONS = 1 << 16


def builds(library: Library, path: str) -> list[Build]:
    """Every configuration of a project; a project that states none is taken as x64."""
    pairs = configurations(library, path) or [("", "x64")]
    found, missing, open_ = [], set[str](), dict[str, None]()
    for configuration, platform in pairs:
        state = run(library, path, configuration, platform)
        found.append(_build(path, configuration, platform, state))
        missing.update(state.missing)
        open_ |= state.open
    for name in sorted(missing):
        library.shelf.limit(
            path, f"the imported file {name} is missing", (*TEXT_RULES, *LINK_RULES)
        )
    for reason in open_:
        library.shelf.limit(path, reason, (*TEXT_RULES, *LINK_RULES))
    return found


def _build(path: str, configuration: str, platform: str, state: State) -> Build:
    label = f"{configuration}|{platform}" if configuration else ""
    compiled = [item for item in state.items.get("clcompile", []) if not _excluded(item)]
    other = [item for name in ASSEMBLED for item in state.items.get(name, [])]
    other += [item for item in state.items.get("custombuild", []) if _is_assembly(item)]
    references = [
        item
        for item in state.items.get("projectreference", [])
        if item.metadata.get("linklibrarydependencies", "").strip().lower() != "false"
    ]
    made = _Compiles(path, state)
    files, again = dict[str, Compile](), list[tuple[str, Compile]]()
    for item in compiled:
        compile_ = made.of(item)
        if files.setdefault(item.path, compile_) is not compile_:
            again.append((item.path, compile_))
    kind = _kind(state)
    version, headers = _version(state)
    return Build(
        path,
        label,
        machine_of(platform),
        kind,
        version,
        files,
        tuple(_settings(path, label, state)),
        tuple(item.path for item in references),
        _output(path, state),
        _entries(state),
        assembly=tuple(item.path for item in other if not _excluded(item)),
        static=_property(state, "configurationtype") == "staticlibrary",
        kernel=_is_kernel(state),
        libraries=tuple(_libraries(path, state)),
        unseen=tuple(_unseen(state)),
        ntddi=headers,
        debug=_is_debug(configuration, state),
        lost=tuple(sorted(set(state.missing))),
        again=tuple(again),
        written=tuple(_written(path, state)),
        unset=tuple(state.unset),
        united=_property(state, "enableunitysupport") == "true",
        configured=_configured(references, label, state),
        searched=tuple(map(slashed, _searched(state))),
    )


_SETTING = ("properties", "setconfiguration", "setplatform", "additionalproperties")
"""What a reference says of the properties that its project is built with, the last one counting."""


_LABEL = ("configuration", "platform")


def _configured(references: list[Compiled], label: str, state: State) -> dict[str, str]:
    """The references that say in which configuration their project is built."""
    found: dict[str, str] = {}
    for item in references:
        said = ";".join(item.metadata.get(name, "") for name in _SETTING)
        if not said.strip(";"):
            continue
        told = dict(one.split("=", 1) for one in said.split(";") if "=" in one)
        own = dict(zip(("configuration", "platform"), label.split("|"), strict=False))
        own |= {one.strip().lower(): value.strip() for one, value in told.items()}
        if others := sorted(one.strip() for one in told if one.strip().lower() not in _LABEL):
            reason = f"the reference to {item.path} sets {', '.join(others)} there"
            state.open[f"{reason}, which was not followed"] = None
        found[item.path] = "|".join(own.get(one, "") for one in _LABEL)
    return found


def _output(path: str, state: State) -> str:
    """The name of what is linked: what the linker is told counts, then the property."""
    file = slashed(state.definitions.get("link", {}).get("outputfile", "")).strip().strip('"')
    name = file.rpartition("/")[2].rpartition(".")[0]
    if not name or any(sign in name for sign in "$%@"):
        name = state.properties.get("targetname") or path.rpartition("/")[2].rpartition(".")[0]
    return name.lower()


def _property(state: State, name: str) -> str:
    return state.properties.get(name, "").strip().lower()


def _excluded(item: Compiled) -> bool:
    return item.metadata.get("excludedfrombuild", "").strip().lower() == "true"


def _is_assembly(item: Compiled) -> bool:
    return item.path.lower().endswith((".asm", ".nasm", ".s"))


_MADE = re.compile(r"(?i)\.(?:obj|o|lib)\b")


def _unseen(state: State) -> Iterator[str]:
    """Files from which a step of its own makes what is linked."""
    for item in state.items.get("custombuild", []):
        is_made = _MADE.search(item.metadata.get("outputs", "")) is not None
        if is_made and not _is_assembly(item) and not _excluded(item):
            yield item.path


def _written(path: str, state: State) -> Iterator[str]:
    """Files that are here and that a step writes before they are compiled."""
    names = dict(state.written)
    is_used = _property(state, "prebuildeventuseinbuild") != "false"
    if is_used and (command := state.definitions.get("prebuildevent", {}).get("command", "")):
        names |= dict.fromkeys(written(command))
    made = [state.definitions.get("custombuildstep", {}).get("outputs", "")]
    items = state.items.get("custombuild", [])
    made += (item.metadata.get("outputs", "") for item in items if not _excluded(item))
    names |= dict.fromkeys(one.strip() for text in made for one in text.split(";"))
    places = (state.library.place(path, name) for name in names if "*" not in name)
    yield from state.library.shelf.written(one for one in places if is_code(one))


def _compiler(state: State) -> Compiler:
    """Clang where the toolset is its own, or the tools are called in place of Microsoft's."""
    said = _property(state, "platformtoolset"), _property(state, "cltoolexe")
    is_clang = said[0].startswith(("clang", "llvm")) or "clang" in said[1]
    return Compiler.CLANG_MSVC if is_clang else Compiler.MSVC


class _Compiles:
    """How the files of one configuration are compiled; equal answers are one object."""

    def __init__(self, path: str, state: State) -> None:
        self.path = path
        self.state = state
        self._made: dict[tuple[str, ...], Compile] = {}

    def of(self, item: Compiled) -> Compile:
        """How one file is compiled."""
        key = tuple(item.metadata.get(name, "") for name in _COMPILED)
        if key not in self._made:
            self._made[key] = self._compile(dict(zip(_COMPILED, key, strict=True)))
        return self._made[key]

    def _compile(self, given: dict[str, str]) -> Compile:
        options = self._options(given["additionaloptions"])
        found = defines(given["preprocessordefinitions"]) | option_defines(options)
        removed = set(defines(given["undefinepreprocessordefinitions"]))
        removed.update(options_of("U", options))
        if given["undefineallpreprocessordefinitions"].lower() == "true" or _UNDEFINES_ALL.search(
            options
        ):
            reason = "what is left of the compiler's own macros with /u is not followed"
            self.state.library.shelf.limit(self.path, reason)
        folders = given["additionalincludedirectories"].split(";") + include_folders(options)
        for name in ("includepath", "externalincludepath"):
            folders += self.state.properties.get(name, "").split(";")
        forced = given["forcedincludefiles"].split(";") + forced_headers(options)
        return Compile(
            {name: value for name, value in found.items() if name not in removed},
            frozenset(removed),
            self._forced(forced, folders),
            tuple(self._folders(folders)),
            self._precompiled("use", "Yu", given, options),
            _LANGUAGES.get(given["compileas"].lower()),
            _compiler(self.state),
            self._precompiled("create", "Yc", given, options),
        )

    @staticmethod
    def _precompiled(mode: str, letters: str, given: dict[str, str], options: str) -> str:
        """The header up to which a file is passed over, or that is made there; empty: none."""
        if given["precompiledheader"].strip().lower() != mode:
            named = options_of(letters, options)
        else:
            named = [given["precompiledheaderfile"].strip() or "stdafx.h"]
        return slashed(named[-1]).rpartition("/")[2].lower() if named else ""

    def _options(self, text: str) -> str:
        """Options with those of the files that they name."""
        library, parts = self.state.library, [text]
        for word in words_of(text) if "@" in text else ():
            if word[:1] == "@":
                path = library.place(self.path, word[1:])
                try:
                    data = contents(path, MAX_OPTIONS + 1)
                    if len(data) > MAX_OPTIONS:
                        raise OSError
                    parts.append(data.decode("utf-8-sig", "replace"))
                except OSError:
                    reason = f"the compiler's options in {word[1:]} could not be read"
                    library.shelf.limit(self.path, reason)
        return " ".join(parts)

    def _folders(self, names: list[str]) -> Iterator[str]:
        for name in names:
            place = self.state.library.place(self.path, name.strip().strip('"'))
            if name.strip() and self.state.library.is_folder(place):
                yield place

    def _forced(self, names: list[str], folders: list[str]) -> tuple[str, ...]:
        library = self.state.library
        found = []
        for name in (one.strip().strip('"') for one in names):
            is_whole = slashed(name).startswith("/")
            given = [name] if is_whole else (f"{one or '.'}/{name}" for one in ("", *folders))
            places = (library.place(self.path, one) for one in given)
            path = next((one for one in places if is_file(one)), "") if name else ""
            if path:
                library.shelf.add(path)
                found.append(path)
            elif name:
                library.shelf.limit(self.path, f"the header {name}, which is forced, is missing")
        return tuple(dict.fromkeys(found))


_COMPILED = (
    "preprocessordefinitions",
    "undefinepreprocessordefinitions",
    "undefineallpreprocessordefinitions",
    "additionaloptions",
    "additionalincludedirectories",
    "forcedincludefiles",
    "compileas",
    "precompiledheader",
    "precompiledheaderfile",
)
_UNDEFINES_ALL = re.compile(r"(?:^|\s)[/-]u(?=\s|$)")
_LANGUAGES = {"compileasc": False, "compileascpp": True}


def _libraries(path: str, state: State) -> Iterator[str]:
    """The libraries that are linked: as paths of files, else as they are written."""
    link = state.definitions.get("link", {})
    options = " ".join(re.findall(r"(?i)\S+\.lib\b", link.get("additionaloptions", "")))
    given = f"{link.get('additionaldependencies', '')};{options}"
    names = [one for item in given.split(";") for one in _separate(item.strip())]
    items = [item for name in LINKED for item in state.items.get(name, [])]
    names += [item.path for item in items if not _excluded(item)]
    folders = _searched(state)
    for name in (one.strip('"') for one in names if one.strip('"%')):
        name = name if name.lower().endswith((".lib", ".obj")) else f"{name}.lib"
        places = (
            state.library.place(path, f"{folder or '.'}/{name}" if folder else name)
            for folder in ("", *folders)
        )
        yield next((one for one in places if is_file(one)), slashed(name))


def _searched(state: State) -> list[str]:
    """The folders in which the linker looks for libraries."""
    link = state.definitions.get("link", {})
    folders = [one.strip() for one in link.get("additionallibrarydirectories", "").split(";")]
    return [*folders, *linker.library_folders(link.get("additionaloptions", ""))]


def _separate(text: str) -> list[str]:
    """The libraries in one item of a list; blanks in a path separate nothing."""
    if ":" in text or "$" in text or '"' in text:
        return re.findall(r'"[^"]+"|.+?\.(?:lib|obj)(?=\s|$)|.+', text)
    return text.split()


def _entries(state: State) -> frozenset[str]:
    own = state.definitions.get("link", {}).get("entrypointsymbol", "")
    return frozenset({"DriverEntry", "DllInitialize"} | ({own} if own else set()))


def _kind(state: State) -> Kind:
    type_ = _property(state, "configurationtype")
    driver = _property(state, "drivertype")
    toolset = _property(state, "platformtoolset")
    if type_ == "utility" or driver == "package":
        return Kind.PACKAGE
    is_program = "usermode" in toolset or "applicationfordrivers" in toolset
    if driver == "umdf" or is_program:
        return Kind.USER
    if type_ in ("application", "dynamiclibrary") and _is_linked_as_driver(state):
        return Kind.DRIVER
    if type_ == "application":
        return Kind.USER
    if state.properties.get("umdf_version_major") and driver not in _DRIVER_TYPES:
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


_DRIVER_LINK = re.compile(r"(?i)(?:^|\s)[/-](?:DRIVER\b|ENTRY:\W?(?:Gs|Fx)?DriverEntry\b)")
_NATIVE = re.compile(r"(?i)(?:^|\s)[/-]SUBSYSTEM:\W?native\b")
_KERNEL_MODE = re.compile(r"(?:^|\s)[/-]kernel(?![\w-])")
_KERNEL_LIBRARY = re.compile(r"(?i)\b(?:ntoskrnl|wdfdriverentry|fltmgr)\.lib\b")


def _is_linked_as_driver(state: State) -> bool:
    """Whether the linker is told to make a driver of what a toolset of applications compiles."""
    link = state.definitions.get("link", {})
    options = link.get("additionaloptions", "")
    libraries = f"{link.get('additionaldependencies', '')} {options}"
    said = link.get("subsystem", "").strip().lower() == "native"
    is_native = said or _NATIVE.search(options) is not None
    compiled = state.definitions.get("clcompile", {}).get("additionaloptions", "")
    return (
        link.get("driver", "").strip().lower() not in ("", "notset")
        or _property(state, "targetext") == ".sys"
        or link.get("outputfile", "").strip().strip('"').lower().endswith(".sys")
        or _KERNEL_MODE.search(compiled) is not None
        or re.fullmatch(r"(?i)(?:gs|fx)?DriverEntry", link.get("entrypointsymbol", "").strip())
        is not None
        or _DRIVER_LINK.search(options) is not None
        or (is_native and _KERNEL_LIBRARY.search(libraries) is not None)
    )


def _is_kernel(state: State) -> bool:
    return _kind(state) is Kind.DRIVER or (
        _property(state, "drivertype") in _DRIVER_TYPES
        or "kernelmode" in _property(state, "platformtoolset")
    )


def _is_debug(configuration: str, state: State) -> bool:
    said = _property(state, "usedebuglibraries")
    if said in ("true", "false"):
        return said == "true"
    return any(word in configuration.lower() for word in ("debug", "chk", "checked", "dbg"))


def _version(state: State) -> tuple[WindowsVersion | None, WindowsVersion | None]:
    """The Windows that is aimed at, and that of the headers: Windows 10 has the kit's own."""
    said = state.properties.get("_nt_target_version", "").strip()
    number = int(said, 16) if re.fullmatch(r"0[xX][0-9a-fA-F]{3,8}", said) else 0
    number = number << 16 if number < 0x10000 else number
    exact = of_ntddi(number) if number else None
    version = _VERSIONS.get(_property(state, "targetversion").replace(" ", "")) or exact
    if version is None or exact is not None:
        return version, exact
    return version, NEWEST if version.has_memory_integrity else version


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
    found += _told(path, label, state).settings
    for name in ("targetversion", "drivertype", "configurationtype"):
        if value := state.properties.get(name, ""):
            found.append(BuildSetting(name, value, SourceSite(path, 1), label))
    return found


def _told(path: str, label: str, state: State) -> linker.Told:
    """What options, module definitions and the commands after the link say."""
    link, library = state.definitions.get("link", {}), state.library

    def place(name: str) -> str:
        return library.place(path, name)

    site = _site(path, state, "additionaloptions")
    told = linker.read(link.get("additionaloptions", ""), site, place, label)
    if name := link.get("moduledefinitionfile", "").strip().strip('"'):
        told.add(linker.definitions_of(place(name), name, label))
    for command, here in _commands(path, state):
        told.add(linker.after(command, here, label))
    for reason in told.lost if _is_kernel(state) else ():
        library.shelf.limit_once(path, reason, LINK_RULES)
    return told


def _commands(path: str, state: State) -> Iterator[tuple[str, SourceSite]]:
    """Each command that runs when the image is linked."""
    for step in ("postbuildevent", "custombuildstep"):
        if command := state.definitions.get(step, {}).get("command", ""):
            file = state.places.get(f"{step}.command", path)
            yield command, SourceSite(file, state.library.line_of(file, step))
    for command, file in state.commands:
        yield command, SourceSite(file, 1)


def _split(key: str, value: str) -> list[str]:
    return [one for one in value.split() if one] if key != "driver" else [value]


def _site(path: str, state: State, metadata: str) -> SourceSite:
    """The line that set a linker option, as near as a search for its text can tell."""
    file = state.places.get(f"link.{metadata}", path)
    return SourceSite(file, state.library.line_of(file, metadata))
