"""Reads Makefiles and Meson files as lists of sources with their definitions.

Knows variables and names of files; runs no rule. What a driver is made of is told by what is
linked as one: a native image, `ntoskrnl`, or a name that ends in `.sys`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hvci.model.judged import TEXT_RULES
from hvci.source.builds.model import Build, Compile, Kind, option_defines, options_of
from hvci.source.text.disk import contents, is_file, is_folder
from hvci.source.text.files import Shelf, beside

MAX_BYTES = 1 << 20
MAX_DEPTH = 12

_ASSIGNMENT = re.compile(
    r"^[ ]*(?:export[ ]+|override[ ]+)?([\w.-]+)[ \t]*(\+?|:{1,3}|\?)=[ \t]*([^\n]*)", re.MULTILINE
)
_VARIABLE = re.compile(r"\$[({]([\w.-]+)[)}]")
_SUBSTITUTED = re.compile(r"\$[({]([\w.-]+):([^=(){}]*)=([^(){}]*)[)}]")
_FUNCTION = re.compile(
    r"\$[({](wildcard|patsubst|addprefix|addsuffix|notdir|sort)\s+([^(){}]*)[)}]"
)
_NAME = re.compile(
    r"(?<![\w./\\%*-])((?:[\w+.-]+[/\\])*[\w+.-]+\.(?:c|cpp|cc|cxx))\b(?!\s*[(=])", re.I
)
_OBJECT = re.compile(r"(?<![\w./\\%*-])((?:[\w+.-]+[/\\])*[\w+.-]+)\.(?:o|obj)\b", re.IGNORECASE)
_LIBRARY = re.compile(r"(?<![\w./\\%*:=-])((?:[\w+.-]+[/\\])*[\w+.-]+\.(?:lib|a))\b(?!\s*:)", re.I)
_LINKED = re.compile(r"(?<!\S)-l([A-Za-z][\w+.-]*)")
_RULE = re.compile(r"(?m)^([^\s#:=][^:=\n]*):(?!=)")
_DRIVER = re.compile(
    r"(?i)\.sys\b|subsystem[,= :]+native|-lntoskrnl|ntoskrnl\.lib|[-/]driver\b"
    r"|entry[,= :]+_?DriverEntry"
)


def builds(shelf: Shelf, path: str, machines: Iterable[str]) -> list[Build]:
    """What a Makefile or a Meson file builds, when it is a driver."""
    try:
        data = contents(path)
    except OSError:
        return []
    if len(data) > MAX_BYTES:
        return []
    text = re.sub(r"\\\r?\n", " ", data.decode("utf-8-sig", "replace"))
    text = re.sub(r"(?m)#.*$", "", text)
    if _DRIVER.search(text) is None:
        return []
    is_meson = path.rpartition("/")[2].lower() == "meson.build"
    values = {} if is_meson else _values(text, path)
    expanded = text if is_meson else _expanded(text, values, path)
    files = _files(shelf, path, expanded)
    flags = re.sub(r"['\",\[\]]|(?m:^[ ]*[\w.-]+[ ]*[+?:]*=)", " ", expanded)
    folders = [shelf.actual(beside(path, one)) for one in options_of("I", flags)]
    here = tuple(dict.fromkeys(one for one in folders if is_folder(one)))
    compile_ = Compile(option_defines(flags), frozenset(options_of("U", flags)), (), here)
    if not files:
        shelf.limit(path, "it builds a driver, and names no source file that is here", TEXT_RULES)
    sources, linked = dict.fromkeys(files, compile_), tuple(_libraries(path, expanded, flags))
    return [
        Build(path, machine, machine, Kind.DRIVER, None, sources, libraries=linked)
        for machine in machines
    ]


def _libraries(path: str, text: str, flags: str) -> Iterator[str]:
    """What is linked and no rule of the file makes; paths where they are here."""
    made = {name for line in _RULE.findall(text) for name in line.split()}
    for name in dict.fromkeys(_LIBRARY.findall(flags)):
        if name not in made and not _is_output(name, text):
            yield beside(path, name.replace("\\", "/")) if is_file(beside(path, name)) else name
    folders = options_of("L", flags)
    for name in dict.fromkeys(_LINKED.findall(flags)):
        places = (beside(path, f"{folder}/lib{name}.a") for folder in folders)
        found = next((one for one in places if is_file(one)), f"{name}.a")
        if f"lib{name}.a" not in {one.rpartition("/")[2] for one in made}:
            yield found


def _is_output(name: str, text: str) -> bool:
    """Whether an option of the linker or of dlltool writes it: a library of imports."""
    option = r"(?i)(?:/implib:|--out-implib[=, ]+|-l[ ]+|--output-lib[= ]+|-out:)"
    return re.search(option + re.escape(name), text) is not None


def _files(shelf: Shelf, path: str, text: str) -> list[str]:
    """The source files that a text names, itself or by their objects."""
    found: dict[str, None] = {}
    for match in _NAME.finditer(text):
        whole = shelf.actual(beside(path, match[1].replace("\\", "/")))
        if is_file(whole):
            found[whole] = None
    for match in _OBJECT.finditer(text):
        for end in (".c", ".cpp", ".cc", ".cxx"):
            name = match[1].replace("\\", "/")
            for one in (name, name.rpartition("/")[2], f"src/{name.rpartition('/')[2]}"):
                whole = shelf.actual(beside(path, one + end))
                if is_file(whole):
                    found[whole] = None
    return sorted(found)


def _values(text: str, path: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for match in _ASSIGNMENT.finditer(text):
        name, how, value = match[1], match[2], match[3].strip()
        if how == "+" and name in values:
            values[name] += " " + value
        elif how != "?" or name not in values:
            values[name] = value
    return values


def _expanded(text: str, values: dict[str, str], path: str, depth: int = 0) -> str:
    """A text with its variables, and with the functions that name files."""
    before = text
    text = _SUBSTITUTED.sub(lambda m: _ended(values.get(m[1], ""), m[2], m[3]), text)
    text = _FUNCTION.sub(lambda m: _called(m[1], m[2], path), text)
    text = _VARIABLE.sub(lambda m: values.get(m[1], ""), text)[: MAX_BYTES * 2]
    return text if text == before or depth > MAX_DEPTH else _expanded(text, values, path, depth + 1)


def _ended(words: str, old: str, new: str) -> str:
    old, new = old.strip().lstrip("%"), new.strip().lstrip("%")
    return " ".join(w.removesuffix(old) + new if w.endswith(old) else w for w in words.split())


def _called(name: str, given: str, path: str) -> str:
    words = given.split(",")
    if name == "wildcard":
        folder = Path(path).parent
        found = (one for pattern in given.split() for one in _glob(folder, pattern))
        return " ".join(sorted(found))
    if name == "patsubst" and len(words) == 3:
        return _ended(words[2], words[0], words[1])
    if name == "addprefix" and len(words) == 2:
        return " ".join(words[0].strip() + one for one in words[1].split())
    if name == "addsuffix" and len(words) == 2:
        return " ".join(one + words[0].strip() for one in words[1].split())
    if name == "notdir":
        return " ".join(one.rpartition("/")[2] for one in given.split())
    return given


def _glob(folder: Path, pattern: str) -> list[str]:
    try:
        found = sorted(folder.glob(pattern))[:5000]
    except (ValueError, NotImplementedError, OSError):
        return []
    return [str(one.relative_to(folder)).replace("\\", "/") for one in found]
