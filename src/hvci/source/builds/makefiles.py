"""Reads Makefiles as lists of sources with their definitions.

Knows variables, rules and names of files; runs no rule. What a driver is made of is told by what
is linked as one: a native image, `ntoskrnl`, or a name that ends in `.sys`. Where a file makes
several images, the rules say what each is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hvci.model import BuildSetting, SourceSite
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds import linker
from hvci.source.builds.compiler import of_makefile
from hvci.source.builds.model import (
    Build,
    Compile,
    Kind,
    forced_headers,
    include_folders,
    option_defines,
    options_of,
)
from hvci.source.builds.named import Named, named
from hvci.source.builds.outside import outside
from hvci.source.builds.recursion import handed_down
from hvci.source.builds.rules import RULE, Rules, images, only_image, written_files
from hvci.source.builds.variables import (
    MAX_DEPTH,
    MAX_TEXT,
    expanded,
    files_like,
    values_of,
)
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.disk import contents, is_file, is_folder
from hvci.source.text.files import Shelf, beside

MAX_BYTES = 1 << 20
SHOWN = 6

_LIBRARY = re.compile(r"(?<![\w./\\%*:=-])((?:[\w+.-]+[/\\])*[\w+.-]+\.(?:lib|a))\b(?!\s*:)", re.I)
_LINKED = re.compile(r"(?<!\S)-l([A-Za-z][\w+.-]*)")
_INCLUDED = re.compile(r"(?m)^[ ]*(-|s|!)?include[ \t]+([^\n]+)")
_ASKED = re.compile(
    r"\$[({](?!(?:info|warning|error)\s)[a-z][a-z-]*\s[^\n]*?"
    r"(?:\.c\b|\.cpp\b|\.cc\b|\.o\b|\.obj\b|\bfind\b|\bls\b)"
)
"""A function that is not followed and may say what is compiled."""
_OPTIONS = re.compile(r"(?<!\S)@([\w./\\-]+\.\w+)|(?<=\S )@([\w./\\-]+)(?!\S)")
"""A file of options; a command that is not shown begins with the sign as well."""
DRIVER = re.compile(
    r"(?i)\.sys\b|subsystem[,= :]+native|-lntoskrnl|ntoskrnl\.lib|[-/]driver\b"
    r"|entry[,= :]+_?DriverEntry|name_suffix\s*:\s*'sys'"
)
"""What says that an image is a driver."""


_LARGE = f"what stands behind its first {MAX_BYTES} bytes"
_LONG = f"what stands behind {MAX_TEXT} bytes, with its variables written out"


def file_size(path: str) -> int:
    """The bytes of a file; 0 where it cannot be asked."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def texts_of(path: str) -> str | None:
    """The text of a build file without remarks, with continued lines joined."""
    try:
        data = contents(path)
    except OSError:
        return None
    data = data[:MAX_BYTES]
    text = re.sub(r"\\\r?\n", " ", data.decode("utf-8-sig", "replace"))
    return _DEFINE.sub(_on_one_line, re.sub(r"(?m)#.*$", "", text))


_DEFINE = re.compile(
    r"(?m)^[ ]*(?:override[ ]+)?define[ \t]+([\w.-]+)[ \t]*([+:?]*)=?[ \t]*\n"
    r"((?:(?![ ]*endef\b).*\n)*)[ ]*endef\b"
)


def _on_one_line(match: re.Match[str]) -> str:
    """A variable of several lines as an assignment of one."""
    return f"{match[1]} {match[2]}= {' '.join(match[3].split())}"


def builds(shelf: Shelf, path: str, machines: Iterable[str]) -> list[Build]:
    """What a Makefile builds: each driver that it makes."""
    lost: dict[str, None] = {}
    text = _whole(path, lost)
    if text is None or DRIVER.search(text) is None:
        return []
    text = handed_down(path, text, texts_of)
    ways = [(label, _written_out(one, path)) for label, one in ways_of(text)]
    values, whole = values_of(text), ways[0][1]
    for match in _OPTIONS.finditer(whole):
        name = match[1] or match[2]
        more = texts_of(beside(path, name.replace("\\", "/")))
        whole += f"\n\t{' '.join((more or '').split())}"  # options as a rule has them
        lost |= {} if more is not None or match[2] else {f"@{name}": None}
    lost |= too_many(ways)
    lost |= {_LONG: None} if max(len(one) for _, one in ways) >= MAX_TEXT else {}
    lost |= {one[0][:40]: None for one in _ASKED.finditer(whole)}
    folders = [*values.get("VPATH", "").replace(":", " ").split()]
    folders += re.findall(r"(?m)^vpath[ \t]+\S+[ \t]+([^\n]+)", whole)
    parts = [(label, dict(images(one))) for label, one in ways[1:]]
    found: list[Build] = []
    for name, part in images(whole):
        held = named(shelf, path, part, folders)
        held.lost |= lost
        project = f"{path}#{name}" if name else path
        others = [(label, every[name]) for label, every in parts if name in every]
        every = made(shelf, path, project, part, held, machines, others)
        only = "" if name else only_image(whole)
        found += [replace(one, output=only) for one in every] if only else every
    unset = outside(text, values)
    places = (beside(path, one.replace("\\", "/")) for one in written_files(whole))
    written = shelf.written(places)
    return [replace(one, unset=unset, written=written) for one in found]


_CONDITIONAL = re.compile(r"(?im)^([ ]*)!?[ ]*(if\w*|elif|else\w*|endif)\b([^\n]*)$")
MAX_WAYS = 16
"""Branches of one file that are looked at alone."""


@dataclass
class _Branch:
    """One branch of a condition."""

    label: str
    start: int
    end: int = 0
    is_else: bool = False


def ways_of(text: str) -> list[tuple[str, str]]:
    """A text whole, and with one branch of each condition: the last ones, and each for itself."""
    opened: list[list[_Branch]] = []
    groups: list[list[_Branch]] = []
    for match in _CONDITIONAL.finditer(text):
        word, asked = match[2].lower(), " ".join(match[3].split())
        if word.startswith("if"):
            opened.append([])
        elif opened and opened[-1]:
            opened[-1][-1].end = match.start()
        if word == "endif" and opened:
            group = opened.pop()
            groups += [group] if not opened else []
        elif opened:
            label = f"{match[2]} {asked}".strip()[:SHOWN_CONDITION]
            opened[-1].append(_Branch(label, match.end(), is_else=not asked.strip(":")))
    if not groups:
        return [("", text)]
    last = [group[-1] if group[-1].is_else else None for group in groups]
    found = [("", text), ("other branches", _with(text, groups, last))]
    every = [(at, one) for at, group in enumerate(groups) for one in group if one is not last[at]]
    for at, one in every[: MAX_WAYS + 1]:
        found.append((one.label, _with(text, groups, [*last[:at], one, *last[at + 1 :]])))
    return found


def too_many(ways: list[tuple[str, str]]) -> dict[str, None]:
    """What to say where a text has more branches than are looked at."""
    told = f"more than {MAX_WAYS} conditional branches"
    return {told: None} if len(ways) > MAX_WAYS + 2 else {}


def _with(text: str, groups: list[list[_Branch]], kept: list[_Branch | None]) -> str:
    """A text with one branch of each group, or none."""
    parts, at = list[str](), 0
    for group, one in zip(groups, kept, strict=True):
        parts.append(text[at : group[0].start])
        parts += [text[one.start : one.end]] if one is not None else []
        at = group[-1].end
    return "\n".join((*parts, text[at:]))


SHOWN_CONDITION = 40


def _written_out(text: str, path: str) -> str:
    return expanded(text, values_of(text), path)


def _compiles(shelf: Shelf, path: str, text: str, files: list[str]) -> tuple[Compile, ...]:
    """How each file is compiled, by all options in the text that is about it."""
    rules, known = Rules(text, path.rpartition("/")[0], files), dict[str, Compile]()
    return tuple(
        known.get(one) or known.setdefault(one, _compile(shelf, path, one))
        for one in (_of_rule(rules, file) for file in files)
    )


def _of_rule(rules: Rules, file: str) -> str:
    """The text about a file: what variables hold counts where a rule that compiles it asks."""
    text = rules.about(file)
    return _PLAIN.sub("", text) if rules.says_how(file) else text


_PLAIN = re.compile(
    r"(?m)^[ ]*(?:override[ ]+|export[ ]+(?!_?CL_?[ \t]*[+?:]*=))?[\w.-]+[ \t]*[+?:]*=[^\n]*$"
)
"""An assignment that is about no target alone; Microsoft's compiler reads CL by itself."""


def _compile(shelf: Shelf, path: str, text: str) -> Compile:
    """How files are compiled by the options in a text."""
    flags = _flags(text)
    folders = [shelf.actual(beside(path, one)) for one in include_folders(flags)]
    here = tuple(dict.fromkeys(one for one in folders if is_folder(one)))
    forced = []
    for name in forced_headers(flags):
        tried = (beside(path, name), *(f"{folder}/{name}" for folder in here))
        file = next((one for one in map(shelf.actual, tried) if is_file(one)), "")
        if file and shelf.add(file):
            forced.append(file)
        else:
            told = f"the header {name}, which is forced, is missing"
            shelf.limit_once(path, told, TEXT_RULES)
    removed = frozenset(options_of("U", flags))
    return Compile(option_defines(flags), removed, tuple(dict.fromkeys(forced)), here)


_ASSIGNED = re.compile(
    r"['\",\[\]]|(?mi:^[ \t@]*set[ ]+_?CL_?=)"
    r"|(?m:^[ ]*(?:[^\n:=]*::?[ ]*)?(?:export[ ]+|override[ ]+)?[\w.-]+[ ]*[+?:]*=)"
)


_QUOTE = re.compile(r"(?<=[\w=])['\"](\)?)")
"""A quote in a word; what is closed behind it is of no option."""


def _flags(text: str) -> str:
    """The options in a text: quotes in a word are none of it, and assignments are blanks."""
    return _ASSIGNED.sub(" ", _QUOTE.sub(lambda match: " " if match[1] else "", text))


def made(
    shelf: Shelf,
    path: str,
    project: str,
    text: str,
    held: Named,
    machines: Iterable[str],
    others: Iterable[tuple[str, str]] = (),
    compilers: Callable[[str], tuple[Compiler, ...]] = of_makefile,
) -> list[Build]:
    """The builds of one driver from the text that is about it; `others` are without some lines."""
    flags = _flags(text)
    ways: dict[str, tuple[tuple[Compile, ...], tuple[BuildSetting, ...]]] = {}
    for label, other in (("", text), *others):
        plain, settings = _compiles(shelf, path, other, held.compiled), _told(shelf, path, other)
        every = compilers(other)
        for one in every:
            way = tuple(replace(each, compiler=one) for each in plain), settings
            if way not in ways.values():
                name = label if len(every) == 1 else ", ".join(filter(None, (label, one)))
                ways.setdefault(name, way)
    if not held.files and not held.lost:
        shelf.limit(path, "it builds a driver, and names no source file that is here", TEXT_RULES)
    if held.lost:
        names = list(held.lost)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        told = f"{', '.join(names[:SHOWN])}{more}"
        reason = f"it builds a driver also of what is not here or not followed: {told}"
        shelf.limit(path, reason, TEXT_RULES)
    linked = (*_libraries(path, text, flags), *held.objects)
    return [
        Build(
            project,
            f"{machine} ({label})" if label else machine,
            machine,
            Kind.DRIVER,
            None,
            dict(zip(held.compiled, compiles, strict=True)),
            settings,
            output=_output(project),
            assembly=held.assembly,
            libraries=linked,
        )
        for machine in machines
        for label, (compiles, settings) in ways.items()
    ]


def _told(shelf: Shelf, path: str, text: str) -> tuple[BuildSetting, ...]:
    """What rules, and variables that rules use by themselves, tell the linker."""
    said = "\n".join(line for line in text.splitlines() if _IS_USED.match(line))
    site = SourceSite(path, 1)
    told = linker.read(said, site, lambda name: beside(path, name.replace("\\", "/")))
    told.add(linker.after(said, site))
    for reason in told.lost:
        shelf.limit_once(path, reason, LINK_RULES)
    return tuple(dict.fromkeys(_at_its_line(one, path) for one in told.settings))


def _at_its_line(setting: BuildSetting, path: str) -> BuildSetting:
    """A setting at the first line of the file that holds its value."""
    if setting.site != SourceSite(path, 1) or not setting.value:
        return setting
    text = contents(path, MAX_BYTES).decode("utf-8-sig", "replace")
    line = text.count("\n", 0, max(text.find(setting.value), 0)) + 1
    return replace(setting, site=SourceSite(path, line))


_IS_USED = re.compile(
    r"(?i)\s*(?:export\s+|override\s+|set\s+)?(?:\w*(?:LDFLAGS|LINK_?FLAGS|LFLAGS)|_?LINK_?)\s*[+:?]*="
    r"|(?!\s*(?:export\s+|override\s+)?[\w.-]+\s*(?:\+?|:{1,3}|\?)=)"
)
"""A line that is no assignment, which rules have in their text, or one that every link uses."""


def _output(project: str) -> str:
    name = project.partition("#")[2]
    return name.rpartition("/")[2].rpartition(".")[0].lower()


# ------------------------------------------------------------------ variables


def _whole(path: str, lost: dict[str, None], depth: int = 0) -> str | None:
    """The text of a file with those that it includes; names are meant from the first one."""
    text = texts_of(path)
    if text is None or depth > MAX_DEPTH:
        return None
    lost |= {} if file_size(path) <= MAX_BYTES else {_LARGE: None}

    def included(match: re.Match[str]) -> str:
        values = values_of(text[: match.start()])
        parts: list[str] = []
        for name in expanded(match[2], values, path).split():
            bare = name.strip("\"'")
            if bare[:1] == "<" or bare.endswith(".d"):
                continue
            if "*" in bare:
                every = files_like(Path(path).parent, bare)
                if every is None:
                    lost[f"include {bare}"] = None
                parts += (_whole(beside(path, one), lost, depth + 1) or "" for one in every or ())
                continue
            more = _whole(beside(path, bare.replace("\\", "/")), lost, depth + 1)
            parts.append(more or "")
            if more is None and match[1] in (None, "!"):
                lost[f"include {bare}"] = None
        return "\n".join(parts)

    return _INCLUDED.sub(included, text)


def _libraries(path: str, text: str, flags: str) -> Iterator[str]:
    """What is linked and no rule of the file makes; paths where they are here."""
    made = {name for match in RULE.finditer(text) for name in match[1].split()}
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
