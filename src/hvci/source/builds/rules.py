"""What the rules of a makefile are about: which drivers it makes, and which rules make an object.

Theory of operation: the text about a driver is what its rules need in turn, by name or by a
pattern; the text about a source is all but the rules of other objects. Knows targets and what they
need; knows no compiler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from hvci.source.builds.steps import written
from hvci.source.builds.variables import fits

RULE = re.compile(r"(?m)^([^\s#:=!][^:=\n]*)::?(?!=)([^\n]*)((?:\n[ \t]+[^\n]*)*)")
_IMAGE = re.compile(r"(?i)\S+\.(?:sys|exe|dll|efi)\Z")
_CODE = re.compile(r"(?<![\w./\\%*-])[\w+./\\-]+\.(?:c|cpp|cc|cxx|o|obj)\b", re.IGNORECASE)
_OBJECT = re.compile(r"(?i)\S*\.o(?:bj)?\Z")
_SUFFIXES = re.compile(r"(?i)(?:\{[^{}]*\})?(\.\w+)(?:\{[^{}]*\})?(\.o(?:bj)?)\Z")
"""Such as `.c.obj`: a rule for every object."""
_SOURCE = re.compile(r"(?i)\S*\.(?:c|cpp|cc|cxx|s|asm)\Z")


@dataclass(frozen=True)
class _Rule:
    """What one target is made of."""

    needs: tuple[str, ...]
    text: str


def images(text: str) -> Iterator[tuple[str, str]]:
    """Each driver of a file with the text that is about it; one without a name where it is one."""
    rules: dict[str, _Rule] = {}
    for match in RULE.finditer(text):
        for name in match[1].split():
            known = rules.get(name, _Rule((), ""))
            needs = (*known.needs, *match[2].split())
            rules[name] = _Rule(needs, f"{known.text}\n{match[0]}")
    made = [name for name in rules if _IMAGE.match(name)]
    drivers = [name for name in made if name.lower().endswith(".sys")]
    patterns = [name for name in rules if "%" in name or _SUFFIXES.match(name)]
    parts = {name: _closure(name, rules, patterns) for name in made}
    if len(made) < 2 or not drivers or not all(_names_code(parts[one]) for one in drivers):
        yield "", text
        return
    taken = {name for one in made for name in _codes(parts[one])}
    common = RULE.sub("", text)
    rest = " ".join(sorted(_codes(_without_lists(text)) - taken))
    for name in drivers:
        yield name, f"{_without_code(common)}\n{parts[name]}\n{rest}"


def only_image(text: str) -> str:
    """The name of the only driver that rules make or commands write; empty where it is not one."""
    names = {name for match in RULE.finditer(text) for name in match[1].split()}
    names = {one for one in names if one.lower().endswith(".sys")} | set(_WRITTEN.findall(text))
    bare = {one.replace("\\", "/").rpartition("/")[2].rpartition(".")[0].lower() for one in names}
    found = bare.pop() if len(bare) == 1 else ""
    return "" if set(found) & set("%$*") else found


_WRITTEN = re.compile(r"(?i)(?:(?<!\S)-o[ \t]+|[-/]out:)([\w./\\-]+\.sys)\b")
"""An image that an option of the linker names."""


def _closure(name: str, rules: dict[str, _Rule], patterns: list[str]) -> str:
    """The text about a target and all that it needs."""
    parts, todo, seen = list[str](), [name], {name}
    while todo:
        current = todo.pop(0)
        rule = rules.get(current)
        if rule is None:
            continue
        parts.append(rule.text)
        for one in rule.needs:
            if one not in seen and not _IMAGE.match(one):
                more = (like for like in patterns if like not in seen and _makes(like, one))
                every = [one, *more] if _OBJECT.match(one) else [one]
                seen.update(every)
                todo += every
    return "\n".join(parts)


def _makes(pattern: str, name: str) -> bool:
    """Whether a pattern, or a rule for all files of one ending, makes an object."""
    if (ends := _SUFFIXES.match(pattern)) is not None:
        return name.lower().endswith(ends[2].lower())
    return fits(name, pattern)


def _codes(text: str) -> set[str]:
    return set(_CODE.findall(text))


def _names_code(text: str) -> bool:
    return _CODE.search(text) is not None


def _without_code(text: str) -> str:
    return _CODE.sub(" ", text)


def _without_lists(text: str) -> str:
    """The rules of a text: lists in variables count where a rule uses them."""
    return "\n".join(match[0] for match in RULE.finditer(text))


def written_files(text: str) -> Iterator[str]:
    """The files of code that rules make, or that their commands write besides."""
    for match in RULE.finditer(text):
        if match[3].strip():
            yield from (one for one in match[1].split() if _INCLUDED.match(one))
            yield from (one for line in match[3].splitlines() for one in _redirected(line))


def _redirected(line: str) -> Iterator[str]:
    """What a command that is no compiler's writes."""
    if _COMPILES.search(line) is None:
        yield from written(line, is_sure=True)


_INCLUDED = re.compile(r"(?i)\S+\.(?:h|hpp|hxx|hh|inl|inc|c|cpp|cc|cxx)\Z")
_COMPILES = re.compile(r"(?<!\S)[-/]c(?!\S)|(?i:\.(?:sys|exe|dll|o|obj|lib|a)\b)")
"""What says that a command makes objects or images."""


# ---------------------------------------------------------------- of one object


@dataclass(frozen=True)
class _OfObjects:
    """A rule that makes objects, with where it stands."""

    start: int
    end: int
    names: tuple[str, ...]
    sources: tuple[str, ...]
    is_made: bool
    """It says how: such a rule with a name of its own stands for those with a pattern."""

    @property
    def is_pattern(self) -> bool:
        """Whether it is about every file of a kind."""
        return any("%" in one or _SUFFIXES.match(one) for one in self.names)

    def is_for(self, file: str, fronts: frozenset[str]) -> bool:
        """Whether it compiles a file; `fronts` are all files without their endings."""
        if self.sources:
            return any(_is_source(one, file) for one in self.sources)
        return any(_is_object(one, file, fronts) for one in self.names)


def _is_object(name: str, file: str, fronts: frozenset[str]) -> bool:
    """Whether what a rule makes is the object of a file: by its place, else by its name."""
    if (ends := _SUFFIXES.match(name)) is not None:
        return file.lower().endswith(ends[1].lower())
    of, front = _tidy(name).rpartition(".")[0], file.rpartition(".")[0]
    is_alike = of.rpartition("/")[2] == front.rpartition("/")[2]
    return "%" in name or of == front or (of not in fronts and is_alike)


def _tidy(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _is_source(written: str, file: str) -> bool:
    """Whether what a rule needs is a file, or may be it in a folder that is searched."""
    written = _tidy(written)
    return fits(file, written) or ("/" not in written and fits(file.rpartition("/")[2], written))


_COMPILER = re.compile(r"(?<!\S)[-/]c(?!\S)")
_OPEN = re.compile(r"\$[({](?![@<^*+?%][DF]?[)}])")
"""A variable or function that is not followed, besides those that make sets for each rule."""


class Rules:
    """The rules of a text that are about some of its files only."""

    def __init__(self, text: str, folder: str, files: Iterable[str]) -> None:
        self.text = text
        prefix = f"{folder}/" if folder else ""
        self.shown = {one: one.removeprefix(prefix) for one in files}
        self.fronts = frozenset(one.rpartition(".")[0] for one in self.shown.values())

    def about(self, file: str) -> str:
        """The text without the rules of other objects; all of it where none compiles the file."""
        name = self.shown[file]
        fitting = [one.is_for(name, self.fronts) for one in self._rules]
        every = [one for one, fits_ in zip(self._rules, fitting, strict=True) if fits_]
        if any(one.is_made and not one.is_pattern for one in every):
            fitting = [one in every and not one.is_pattern for one in self._rules]
        if all(fitting) or not any(fitting):
            return self.text
        parts, at = list[str](), 0
        for rule, is_own in zip(self._rules, fitting, strict=True):
            if not is_own:
                parts.append(self.text[at : rule.start])
                at = rule.end
        return "\n".join((*parts, self.text[at:]))

    def says_how(self, file: str) -> bool:
        """Whether the commands of rules compile a file, with options that are all written there."""
        name = self.shown[file]
        every = [one for one in self._rules if one.is_for(name, self.fronts)]
        texts = [self.text[one.start : one.end] for one in every if one.is_made]
        return any(_COMPILER.search(one) for one in texts) and not any(map(_OPEN.search, texts))

    @cached_property
    def _rules(self) -> list[_OfObjects]:
        found = []
        for match in RULE.finditer(self.text):
            names = tuple(match[1].split())
            if names and all(_OBJECT.match(one) or _SUFFIXES.match(one) for one in names):
                sources = tuple(one for one in match[2].split() if _SOURCE.match(one))
                if any("%" in one for one in sources) and not any("%" in one for one in names):
                    sources = ()  # a static pattern: its objects are told by name
                found.append(
                    _OfObjects(match.start(), match.end(), names, sources, bool(match[3].strip()))
                )
        return found
