"""Turns the targets of CMake lists into builds.

Knows what targets mean for a driver; the lists are run by `cmake_run`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from hvci.model import BuildSetting, SourceSite, WindowsVersion
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds import linker
from hvci.source.builds.cmake.generators import LINK_ONLY, is_open
from hvci.source.builds.cmake.generators import replace as generated
from hvci.source.builds.cmake.roots import folder_of, tree_of
from hvci.source.builds.cmake.run import MAX_TEXT, Lists
from hvci.source.builds.cmake.targets import Target
from hvci.source.builds.model import (
    Build,
    Compile,
    Kind,
    defines,
    forced_headers,
    include_folders,
    option_defines,
    options_of,
)
from hvci.source.builds.msbuild.files import absolute
from hvci.source.builds.nearby import is_kernel_code
from hvci.source.preprocess.conditions import of_ntddi
from hvci.source.text.disk import contents, is_file, is_folder
from hvci.source.text.files import CODE, Shelf, is_code

SHOWN = 6
_ALL = ("(folders)", "(all)")
"""Stand for all targets of a list: what says nothing of those that are here, and what may."""
_LONG = "lists that are too long to be run whole"
_NATIVE = re.compile(
    r"(?i)[/-]DRIVER\b|SUBSYSTEM[:,=]\s*native|--subsystem[=, ]\s*(?:native|1)\b|-mwindows-kernel"
    r"|[/-]ENTRY:(?:Gs)?Driver|[-,]entry[=, ]_?Driver|[/-]kernel\b"
)
_KERNEL_LIBRARIES = re.compile(
    r"(?i)(?:^|[\\/])(?:ntoskrnl|fltmgr|wdfldr|wdfdriverentry|hal)(?:\.lib)?$"
)
_ENTRY = re.compile(rb"\b(?:DriverEntry|DllInitialize)\s*\(")
_OF_KIT = re.compile(r"(?:WDK|wdk|Wdk)::")
Key = tuple[str, str]


def builds(shelf: Shelf, paths: Iterable[str], machines: Iterable[str]) -> list[Build]:
    """Every target of every list, in each configuration; a list that another runs is no root."""
    roots = sorted(paths, key=lambda path: (path.count("/"), path))
    own = [folder_of(root) for root in roots]
    read: set[str] = set()
    found: list[Build] = []
    lost: dict[Key, tuple[list[str], bool]] = {}
    for root in roots:
        if absolute(root) in read:
            continue
        tree = tree_of(root, machines)
        read |= tree.read
        if tree.unread:
            lost[shelf.shown(tree.root), "(all)"] = (list(tree.unread), True)
        for lists in tree.runs:
            for one, weighs in lists.missing.items():
                told = lost.setdefault((shelf.shown(root), _ALL[weighs]), ([], weighs))[0]
                told += () if one in told else (one,)
            if lists.gave_up:
                told = lost.setdefault((shelf.shown(root), "(all)"), ([], True))[0]
                told += () if _LONG in told else (_LONG,)
            found += _Made(shelf, lists, lost).builds(own if tree.is_above else ())
    for (project, name), (what, weighs) in sorted(lost.items()):
        more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
        of = "" if name in _ALL else f"of the target {name} "
        reason = f"{of}this could not be followed: {', '.join(what[:SHOWN])}{more}"
        shelf.limit(project, reason, TEXT_RULES if weighs else ())
    return found


_ON = ("ON", "1", "TRUE", "YES", "Y")


class _Made:
    """The builds of one run."""

    def __init__(self, shelf: Shelf, lists: Lists, lost: dict[Key, tuple[list[str], bool]]) -> None:
        self.shelf = shelf
        self.lists = lists
        self.machine = lists.machine
        self.lost = lost

    def builds(self, folders: Collection[str] = ()) -> Iterator[Build]:
        """One build for each target that compiles something, or should.

        With folders, only of those below them, and of what they link.
        """
        every = {id(one): one for one in self.lists.targets.values()}
        if folders:
            tops = tuple(f"{one}/" for one in folders)
            own = [one for one in every.values() if f"{one.folder}/".startswith(tops)]
            objects = [self.lists.targets.get(name) for one in own for name in _objects(one)]
            linked = [other for one in own for other in self._linked(one)]
            known = (*own, *linked, *(one for one in objects if one is not None))
            every = {id(one): one for one in known}
        for target in every.values():
            if not {"INTERFACE", "IMPORTED"} & set(target.words):
                yield self._build(target)

    @cached_property
    def _written(self) -> list[str]:
        """What is here and written anew; what lies in the folder of the build was written so."""
        folder = absolute(self.lists.get("CMAKE_BINARY_DIR") or "")
        places = [absolute(one) for one in self.lists.written if is_code(one)]
        here = self.shelf.written(map(self.shelf.shown, places))
        return [one for one in here if not absolute(one).startswith(f"{folder}/")]

    def _project(self, target: Target) -> str:
        """A name for the target: its list, and its own name behind it."""
        return f"{self.shelf.shown(target.file)}#{target.name}"

    def _linked(self, target: Target, is_used: bool = False) -> list[Target]:
        """The targets that one links, directly and in turn; or those whose usage it takes on."""
        found: dict[str, Target] = {}
        todo = [one for one in target.links if not (is_used and _is_apart(one, target.outer))]
        while todo:
            for name in _named(todo.pop(0)):
                other = self.lists.targets.get(name)
                if other is not None and other.name not in found and other is not target:
                    found[other.name] = other
                    links = other.links
                    todo += (one for one in links if not (is_used and _is_apart(one, other.inner)))
        return list(found.values())

    def _build(self, target: Target) -> Build:
        linked, used = self._linked(target), self._linked(target, is_used=True)
        options = self._all("options", target, used)
        link = self._link_text(target)
        kind, static = self._kind(target, f"{link} {' '.join(options)}")
        compiled, assembly = self._files(target, used, options, kind)
        file = self.shelf.shown(target.file)
        site = SourceSite(file, _line(target))
        said = dict(word.split("=", 1) for word in target.words if "=" in word)
        winver = said.get("WINVER") or said.get("NTDDI_VERSION") or ""
        version = _version(winver)
        settings = self._told(target, link, site, kind)
        if target.command == "wdk_add_driver" and not any(
            one.name == "/DRIVER" for one in settings
        ):
            settings.append(BuildSetting("/DRIVER", "", site))
        linked = [one for one in linked if "IMPORTED" not in one.words]
        references = [self._project(one) for one in linked]
        objects = [self.lists.targets.get(name) for name in _objects(target)]
        references += [self._project(one) for one in objects if one is not None]
        output = target.properties.get("OUTPUT_NAME") or target.name
        return Build(
            self._project(target),
            f"{self.lists.asked.label}|{self.machine}",
            self.machine,
            kind,
            version,
            compiled,
            tuple(settings),
            tuple(references),
            output.lower(),
            frozenset({"DriverEntry", "DllInitialize"}),
            assembly,
            static=static,
            kernel=kind is Kind.DRIVER or target.command.startswith("wdk_"),
            libraries=tuple(self._placed(target, link)),
            ntddi=version,
            debug=self.lists.asked.configuration == "Debug",
            written=tuple(self._written),
            united=target.properties.get("UNITY_BUILD", "").upper() in _ON,
        )

    def _told(self, target: Target, link: str, site: SourceSite, kind: Kind) -> list[BuildSetting]:
        """What the linker is told, here and in the files that this names."""

        def place(name: str) -> str:
            path = name.replace("\\", "/")
            whole = path if path.startswith("/") else f"{target.folder}/{path}"
            return self.shelf.actual(self.shelf.shown(absolute(whole)))

        names = [name for name, _ in target.sources if name.lower().endswith(".def")]
        given = f"{link} {' '.join(f'/DEF:{name}' for name in names if not is_open(name))}"
        told = linker.read(given, site, place)
        told.add(linker.after("\n".join(target.steps), site))
        for reason in told.lost if kind is not Kind.USER else ():
            self.shelf.limit_once(site.path, f"{target.name}: {reason}", LINK_RULES)
        return told.settings

    def _is_of_programs(self, target: Target) -> bool:
        """Whether it is a library that only programs for user mode link."""
        if target.command not in ("add_library", "add_executable"):
            return False
        linking = [one for one in self.lists.targets.values() if target in self._linked(one)]
        kinds = [self._kind(one, " ".join(one.options)) for one in linking]
        ends = [kind for kind, static in kinds if not static]
        return bool(ends) and all(kind is Kind.USER for kind in ends)

    def _link_text(self, target: Target) -> str:
        """What the linker is told."""
        now = self.lists.asked.configuration.upper()
        what = "EXE" if target.command != "add_library" else "SHARED"
        names = (f"CMAKE_{what}_LINKER_FLAGS{of}" for of in ("", f"_{now}"))
        links = (one for one in target.links if one[:1] in "-/" and one[:2] != "-l")
        parts = [*target.link_options, *links, *(target.flags.get(name, "") for name in names)]
        said = ("LINK_FLAGS", f"LINK_FLAGS_{now}")
        parts += (target.properties.get(name, "").replace(";", " ") for name in said)
        return " ".join(parts)

    def _placed(self, target: Target, link: str) -> Iterator[str]:
        """What is linked, each in the folder where the linker finds it, if that is here."""
        folders = [
            absolute(f"{target.folder}/{one}") if one[:1] != "/" else one
            for one in linker.library_folders(link)
        ]
        for name in self._libraries(target):
            places = (f"{folder}/{name}" for folder in folders if "/" not in name)
            yield next((one for one in places if is_file(one)), name)

    def _libraries(self, target: Target) -> Iterator[str]:
        """What is linked and no target of these lists."""
        every = [one for each in (target, *self._linked(target)) for one in each.links]
        for written in dict.fromkeys(every):
            for name in _named(written):
                other = self.lists.targets.get(name)
                if other is not None:
                    yield from self._imported(other)
                elif name.startswith("-l"):
                    yield f"{name[2:]}.lib"
                elif name.lower().endswith((".lib", ".obj", ".a")):
                    yield name
                elif not is_open(name) and name[:1] not in "-/$" and not _OF_KIT.match(name):
                    yield name if "::" in name else f"{name}.lib"
        for name, folder in target.sources:
            if name.lower().endswith((".lib", ".obj")) and not is_open(name):
                yield name if name.startswith("/") else f"{folder}/{name}"

    def _imported(self, target: Target) -> Iterator[str]:
        """The file that stands for a target which these lists do not build."""
        if "IMPORTED" in target.words and "INTERFACE" not in target.words:
            now = f"IMPORTED_LOCATION_{self.lists.asked.configuration.upper()}"
            known = target.properties
            yield known.get(now) or known.get("IMPORTED_LOCATION") or f"{target.name}.lib"

    def _kind(self, target: Target, said: str) -> tuple[Kind, bool]:
        if target.command == "wdk_add_driver":
            return Kind.DRIVER, False
        native = _NATIVE.search(said) is not None or any(
            _KERNEL_LIBRARIES.search(one) for one in target.links
        )
        suffix = target.properties.get("SUFFIX", "").lower()
        if target.command == "add_executable" or {"SHARED", "MODULE"} & set(target.words):
            if native or suffix == ".sys" or self._has_entry(target):
                return Kind.DRIVER, False
            wdk = target.command == "wdk_add_library"
            return (Kind.LIBRARY if wdk else Kind.USER), False
        return Kind.LIBRARY, True

    def _has_entry(self, target: Target) -> bool:
        """Whether a source includes a header of drivers and has their entry point."""
        for name, folder in target.sources:
            whole = name if name.startswith("/") else f"{folder}/{name}"
            path = self.shelf.actual(self.shelf.shown(absolute(whole)))
            source = self.shelf.add(path) if is_code(path) and is_file(path) else None
            if source is not None and _ENTRY.search(source.text) is not None:
                return is_kernel_code(self.shelf, [source.path])
        return False

    def _all(self, what: str, target: Target, linked: list[Target]) -> list[str]:
        handed = (value for other in linked for value in other.handed.get(what, ()))
        return [*getattr(target, what), *handed]

    def _files(
        self, target: Target, linked: list[Target], options: list[str], kind: Kind
    ) -> tuple[dict[str, Compile], tuple[str, ...]]:
        definitions = self._all("definitions", target, linked)
        options = [*options, target.properties.get("COMPILE_FLAGS", "")]
        made = {one: self._compile(target, linked, definitions, options, one) for one in _FLAGS}
        compiled: dict[str, Compile] = {}
        assembly: list[str] = []
        weighs = kind is not Kind.USER and not self._is_of_programs(target)
        for name, folder in (*target.sources, *_handed(linked)):
            path = self._source(target, name, folder, weighs)
            if path.lower().endswith(_ASSEMBLY):
                assembly.append(path)
            elif path and not self._is_left_out(path):
                said = self.lists.properties.get((absolute(path), "LANGUAGE"), "")
                language = said if said in made else "C" if path.lower().endswith(".c") else "CXX"
                own = self._with_own(target, made[language], absolute(path))
                compiled[path] = replace(own, cplusplus=said == "CXX") if said in made else own
        open_ = [one for one in (*definitions, *options) if is_open(self._generated([one], "C")[0])]
        flags = (f"CMAKE_{one}_FLAGS" for one in made)
        open_ += (f"${{{one}}}" for one in flags if one in self.lists.unclear)
        for one in (*target.lost, *open_):
            self._lose(target, one, weighs)
        if not compiled and weighs and not _objects(target):
            self._lose(target, "it names no source file that could be found", weighs)
        return compiled, tuple(assembly)

    def _is_left_out(self, path: str) -> bool:
        """Whether a source is listed only to be shown."""
        said = self.lists.properties.get((absolute(path), "HEADER_FILE_ONLY"), "")
        return said.upper() in ("1", "ON", "YES", "TRUE", "Y")

    def _generated(self, words: list[str], language: str) -> list[str]:
        """Words with what depends on the language of a file; lists in them are taken apart."""
        asked = replace(self.lists.asked, language=language)
        return generated(";".join(words), asked).split(";")

    def _compile(
        self,
        target: Target,
        linked: list[Target],
        definitions: list[str],
        options: list[str],
        language: str,
    ) -> Compile:
        """How the files of one language are compiled."""
        now = self.lists.asked.configuration.upper()
        flags = " ".join(self._from_files(target, self._generated(options, language)))
        for of in ("", "_INIT", f"_{now}", f"_{now}_INIT"):
            flags += " " + target.flags.get(f"CMAKE_{language}_FLAGS{of}", "")
        folders = self._generated(self._all("folders", target, linked), language)
        given = (one.replace("\\", "/") for one in include_folders(flags))
        folders += (one if one[:1] == "/" else f"{target.folder}/{one}" for one in given)
        return Compile(
            _defined(self._generated(definitions, language)) | option_defines(flags),
            frozenset(options_of("U", flags)),
            self._forced(target, flags, target.precompiled),
            tuple(dict.fromkeys(self.shelf.shown(one) for one in folders if is_folder(one))),
            compiler=self.lists.asked.compiler,
        )

    def _from_files(self, target: Target, options: list[str]) -> Iterator[str]:
        """Options with those of the files that they name."""
        for one in options:
            word = one.removeprefix("SHELL:")
            if word[:1] != "@":
                yield word
                continue
            name = word[1:].replace("\\", "/")
            path = name if name[:1] == "/" else f"{target.folder}/{name}"
            try:
                yield contents(path, MAX_TEXT).decode("utf-8-sig", "replace")
            except OSError:
                self._lose(target, word, True)

    def _with_own(self, target: Target, plain: Compile, path: str) -> Compile:
        """How one file is compiled, with what is said of it alone."""
        properties, own = self.lists.properties, ""
        for key in ("COMPILE_FLAGS", "COMPILE_OPTIONS"):
            own += " " + properties.get((path, key), "").replace(";", " ")
        given = _defined(properties.get((path, "COMPILE_DEFINITIONS"), "").split(";"))
        if not own.strip() and not given:
            return plain
        return Compile(
            {**plain.defines, **given, **option_defines(own)},
            plain.removed | frozenset(options_of("U", own)),
            (*plain.forced, *self._forced(target, own)),
            plain.folders,
            plain.precompiled,
            compiler=plain.compiler,
        )

    def _forced(self, target: Target, flags: str, more: Iterable[str] = ()) -> tuple[str, ...]:
        found = []
        for name in (*forced_headers(flags), *more):
            for folder in (target.folder, *target.folders):
                whole = name if name.startswith("/") else f"{folder}/{name}"
                path = self.shelf.locate(self.shelf.shown(whole))
                if path is not None and self.shelf.add(path):
                    found.append(path)
                    break
        return tuple(found)

    def _source(self, target: Target, name: str, folder: str, weighs: bool) -> str:
        """The path of a source; empty for what is none, and for what is not there."""
        if "$<TARGET_OBJECTS:" in name:
            return ""
        if is_open(name):
            self._lose(target, name, weighs)
            return ""
        name = name.replace("\\", "/")
        if name.lower().endswith(_HEADERS) or not name.lower().endswith((*CODE, *_OTHER_CODE)):
            if "." not in name.rpartition("/")[2]:
                self._lose(target, name, weighs)
            return ""
        whole = name if name.startswith("/") else f"{folder}/{name}"
        path = self.shelf.actual(self.shelf.shown(absolute(whole)))
        if not is_file(path):
            self._lose(target, f"{self.shelf.shown(absolute(whole))} does not exist", weighs)
            return ""
        return path

    def _lose(self, target: Target, what: str, weighs: bool) -> None:
        key = (self.shelf.shown(target.file), target.name)
        held = self.lost.setdefault(key, ([], weighs))[0]
        if what not in held:
            held.append(what)


_FLAGS = ("C", "CXX")
_ASSEMBLY = (".asm", ".nasm", ".s")
_OTHER_CODE = (".c++", ".cp", ".ixx", ".cppm", ".nasm", ".s")
_HEADERS = (".h", ".hpp", ".hxx", ".hh", ".inl")


def _named(link: str) -> list[str]:
    """The targets and libraries in one word of `target_link_libraries`."""
    if not is_open(link):
        return [link]
    return [word for word in _WORDS.findall(link) if not word.isupper()] or [link]


def _is_apart(link: str, others: set[str]) -> bool:
    """Whether what a target links hands nothing else on."""
    return link in others or link.startswith(LINK_ONLY)


_WORDS = re.compile(r"(?:[\w.+/-]|::)*[\w+]")


def _handed(linked: list[Target]) -> Iterator[tuple[str, str]]:
    """The sources that come with what is linked."""
    for other in linked:
        yield from other.handed_sources


def _objects(target: Target) -> list[str]:
    """The object libraries whose files are sources of a target."""
    pattern = re.compile(r"\$<TARGET_OBJECTS:([\w.+-]+)>")
    return [name for one, _ in target.sources for name in pattern.findall(one)]


def _defined(words: Iterable[str]) -> dict[str, str]:
    """Definitions with or without the option that makes them."""
    found: dict[str, str] = {}
    for word in (one.strip() for one in words):
        bare = re.sub(r"^[/-]D", "", word)
        found |= defines(bare) if not is_open(bare) else {}
    return found


def _line(target: Target) -> int:
    try:
        data = contents(target.file, 1 << 20)
    except OSError:
        return 1
    return data.decode("utf-8-sig", "replace").count("\n", 0, target.offset) + 1


def _version(text: str) -> WindowsVersion | None:
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{3,8}", text):
        return None
    number = int(text, 16)
    return of_ntddi(number << 16 if number < 0x10000 else number)
