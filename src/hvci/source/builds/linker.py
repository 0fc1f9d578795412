"""What a linker is told of an image's sections, wherever it is written.

Theory of operation: a text with options, of whatever build, gives settings; options that name a
file (options, module definitions) give those of the file. A file that is not there, and a linker
script, which is not read, are reasons why the layout is not known. Knows the options of
Microsoft's, GNU's and LLVM's linkers and what changes an image later; knows no project format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hvci.model import BuildSetting, SourceSite
from hvci.source.text.disk import contents, is_file

MAX_BYTES = 1 << 20
"""Of a file of options or of module definitions."""
MAX_DEPTH = 4
"""Files of options that name others."""
MAX_FILES = 50
OMAGIC = "--omagic"
"""GNU's way to say that code may be written; `-N` for short."""

_VALUE = r"(?:[^\s;<>\"'\\,]|\\(?![\"']))+"
_OPTION = re.compile(
    r"(?<![\w:])(?:LINKER:)?(?:SHELL:)?[/-]"
    r"(SECTION|MERGE|ALIGN|DRIVER|INTEGRITYCHECK|ENTRY|GUARD|DEF|ALTERNATENAME)"
    rf"(?::(?:\\?\"([^\"\n]*?)\\?\"|({_VALUE}))((?:,{_VALUE})*))?(?![\w-])",
    re.IGNORECASE,
)
_GNU_ALIGNMENT = re.compile(
    r"(?<![\w-])--?section-alignment(?:[=,\s]|-Xlinker)+(0[xX][\da-fA-F]+|\d+)"
)
_OMAGIC = re.compile(
    r"(?<!\S)--omagic\b|-Wl,(?:[^\s,]+,)*(?:-N|--omagic)(?![\w-])|-Xlinker\s+(?:-N|--omagic)(?!\S)"
)
_COMPILER = re.compile(r"(?i)(?:\b|_)(?:gcc|g\+\+|clang(?:\+\+)?|cc|ld|lld)(?:\.exe)?(?=[\s-])")
_WRITABLE = re.compile(r"\s-N(?!\S)")
_SCRIPT = re.compile(
    r"-Wl,(?:[^\s,]+,)*(?:-T|--script)[,=]?([^\s,]+)|(?<!\S)--script[= ]([^\s,]+)"
    r"|-Xlinker\s+-T\s+-Xlinker\s+(\S+)|(?<!\S)-T\s*(\S+\.(?:lds?|xc?|script))(?!\S)"
)
_OPTIONS = re.compile(r"(?:\A|(?<=[^\s@])[ \t]+)\"?@([^\s\"'@<>]+)")


_LIBRARY_FOLDER = re.compile(
    r"(?<!\S)(?:[/-](?i:LIBPATH):|-L[ \t]*|-Wl,-L,?)(\"[^\"\n]+\"|[^\s\",;]+)"
)


def library_folders(options: str) -> list[str]:
    """The folders in which a linker is told to look for libraries."""
    return [one.strip('"').replace("\\", "/") for one in _LIBRARY_FOLDER.findall(options)]


@dataclass
class Told:
    """What a linker is told, and what of it nobody could read."""

    settings: list[BuildSetting] = field(default_factory=list)
    lost: dict[str, None] = field(default_factory=dict)
    """Reasons, each a part of a sentence about the build."""

    def add(self, other: Told) -> None:
        """Take what another text says as well."""
        self.settings += other.settings
        self.lost |= other.lost


def settings(text: str, site: SourceSite, configuration: str = "") -> Iterator[BuildSetting]:
    """The options in a text that memory integrity cares about; files that it names are not read."""
    for name, value in _options(text):
        if name != "/DEF":
            yield BuildSetting(name, value, site, configuration)
    for match in _GNU_ALIGNMENT.finditer(text):
        yield BuildSetting("--section-alignment", match[1], site, configuration)
    if _OMAGIC.search(text) or any(map(_is_writable, text.splitlines())):
        yield BuildSetting(OMAGIC, "", site, configuration)


def _options(text: str) -> Iterator[tuple[str, str]]:
    for match in _OPTION.finditer(text):
        given = match[2] if match[2] is not None else match[3] or ""
        yield "/" + match[1].upper(), given + match[4] if match[4] else given


def _is_writable(line: str) -> bool:
    return _WRITABLE.search(line) is not None and _COMPILER.search(line) is not None


def read(text: str, site: SourceSite, place: Callable[[str], str], configuration: str = "") -> Told:
    """What a text with options says, and the files that it names; `place` finds those."""
    found = Told(list(settings(text, site, configuration)))
    todo, seen = [(text, 0)], set[str]()
    while todo:
        now, depth = todo.pop(0)
        for name, value in _options(now):
            if name == "/DEF" and value and value not in seen:
                seen.add(value)
                found.add(definitions_of(place(value), value, configuration))
        for match in _SCRIPT.finditer(now):
            name = next(filter(None, match.groups()))
            found.lost[f"the linker script {name} says what its sections are, and is not read"] = (
                None
            )
        for name in _OPTIONS.findall(now):
            if name in seen:
                continue
            seen.add(name)
            more = _text(place(name)) if depth < MAX_DEPTH and len(seen) < MAX_FILES else None
            if more is None:
                found.lost[f"the options in {name} could not be read"] = None
            else:
                here = SourceSite(place(name), 1)
                found.settings += settings(more, here, configuration)
                todo.append((more, depth + 1))
    return found


def _text(path: str) -> str | None:
    try:
        data = contents(path, MAX_BYTES + 1) if is_file(path) else None
    except OSError:
        data = None
    if data is None or len(data) > MAX_BYTES:
        return None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


# --------------------------------------------------------- module definitions

_STATEMENTS = frozenset(
    (
        *("NAME", "LIBRARY", "DESCRIPTION", "EXPORTS", "IMPORTS"),
        *("HEAPSIZE", "STACKSIZE", "STUB", "VERSION", "EXETYPE"),
    )
)
_SECTIONS = ("SECTIONS", "SEGMENTS")
_RIGHTS = {"EXECUTE": "E", "READ": "R", "WRITE": "W", "SHARED": "S"}


def definitions_of(path: str, shown: str, configuration: str = "") -> Told:
    """What a module-definition file says of sections; a reason where it cannot be read."""
    text = _text(path)
    if text is None:
        reason = f"the module definitions in {shown}, which may name sections, could not be read"
        return Told(lost={reason: None})
    found = Told()
    for line, name, rights in definitions(text):
        value = f"{name},{rights}"
        found.settings.append(
            BuildSetting("/SECTION", value, SourceSite(path, line), configuration)
        )
    return found


def definitions(text: str) -> Iterator[tuple[int, str, str]]:
    """The line, name and rights of each section that a module-definition file lists."""
    current: list[tuple[int, str, str]] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition(";")[0].split()
        for at, word in enumerate(words):
            if at == 0 and word in _STATEMENTS:
                inside = False
            if at == 0 and word in _SECTIONS:
                inside = True
            elif not inside or word == "CLASS" or words[at - 1 : at] == ["CLASS"]:
                continue
            elif word.upper() in _RIGHTS and current:
                line_, name, rights = current[-1]
                current[-1] = line_, name, rights + _RIGHTS[word.upper()]
            else:
                current.append((number, word.strip("\"'"), ""))
    yield from (one for one in current if one[2])


# ------------------------------------------------------------ after the link

_EDITBIN = re.compile(r"(?i)\beditbin(?:\.exe)?\b([^\n&|]*)")
_CODE = re.compile(r"(?i)\.?text|\.code|page(?!const|data).*|init")
_CHANGED = re.compile(
    r"(?i)\b(?:[\w-]*objcopy)(?:\.exe)?\b[^\n&|]*--(?:set-section-flags|rename-section|add-section)"
    r"|\b(?:VMProtect_Con|themida|virtualizer|upx|mpress|enigma64|enigma32)(?:\.exe)?\b"
)


def after(text: str, site: SourceSite, configuration: str = "") -> Told:
    """What commands that run after the link make of the image."""
    found = Told()
    for match in _EDITBIN.finditer(text):
        for name, value in _options(match[1]):
            if name == "/SECTION":
                value = _edited(value)
            found.settings.append(BuildSetting(name, value, site, configuration))
    for match in _CHANGED.finditer(text):
        tool = re.split(r"\s", match[0])[0]
        found.lost[f"{tool} changes the image after the link: check the built .sys"] = None
    return found


def _edited(value: str) -> str:
    """The rights of a section after EDITBIN, which adds to those that it has."""
    name, comma, rights = value.partition(",")
    name = name.rpartition("=")[2]
    kept, is_gone = set[str](), False
    for letter in rights.upper().partition(",")[0]:
        if letter == "!":
            is_gone = True
            continue
        if not is_gone:
            kept.add(letter)
        is_gone = False
    own = "E" if _CODE.fullmatch(name) else "W"
    if "!" + own not in rights.upper():
        kept.add(own)
    return f"{name},{''.join(sorted(kept))}" if comma else value
