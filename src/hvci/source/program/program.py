"""The translation units that one product is linked from: what a name is there, and its uses.

Knows names across units; knows nothing of DDIs, values or projects. A file is looked at once for
each choice of branches under which units of the program compile it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from hvci.source.preprocess.expression import Truth
from hvci.source.preprocess.runs import Choice, Run
from hvci.source.preprocess.sizes import pointer_size
from hvci.source.preprocess.tree import File, Function, Text, Trees, ancestors
from hvci.source.preprocess.units import Space, TranslationUnit
from hvci.source.preprocess.ways import left_out, ways
from hvci.source.text.chunks import may_define
from hvci.source.text.directives import Macro
from hvci.source.text.text import Source, directive_lines

if TYPE_CHECKING:
    from tree_sitter import Node

__all__ = ["Macro", "Program", "Unit", "Use"]

MAX_USES = 800
"""Uses of one name that are followed."""
MAX_RUNS = 6000
"""Translation units that are preprocessed to learn how they compile one header."""


@dataclass(frozen=True)
class Use:
    """One call of a function by its name, or one use of a macro with arguments."""

    source: Source
    file: File
    node: Node
    offset: int
    function: Function | None


class Unit:
    """One source file as some translation units of a program compile it."""

    def __init__(self, text: Text, choice: Choice, runs: Iterable[Run] = ()) -> None:
        self.text = text
        self.source = text.source
        self.trees = Trees(text, choice)
        self.runs = tuple(runs)

    @property
    def choice(self) -> Choice:
        """The branches that are compiled."""
        return self.trees.choice

    @property
    def macros(self) -> dict[bytes, list[Macro]]:
        """Every `#define` of the file, by name."""
        return self.text.directives.macros

    def in_define(self, offset: int) -> bool:
        """Whether an offset lies in a `#define`."""
        return self.text.define_at(offset) is not None

    def live(self, offset: int) -> Truth:
        """Whether the build keeps the text at an offset."""
        return self.trees.live(offset)


class Program:
    """What is linked into one product, in one or several configurations that compile the same."""

    def __init__(self, space: Space, compiled: Iterable[TranslationUnit]) -> None:
        self.space = space
        self.compiled = tuple(compiled)
        self._units: dict[str, list[Unit]] = {}
        self._uses: dict[bytes, list[Use]] = {}
        self._holding: dict[bytes, tuple[str, ...]] = {}
        self._words: list[tuple[str, frozenset[bytes]]] = []
        self._enumerators: dict[bytes, bool] = {}
        self._functions: dict[bytes, list[Function]] = {}
        self._macros: dict[tuple[bytes, str], list[tuple[Macro, Truth]]] = {}
        self.stored: dict[bytes, tuple[Any, ...]] = {}
        """What `stores.stores` found of a name: the same for every call that asks."""
        self._including: dict[str, list[TranslationUnit]] = {}
        for unit in self.compiled:
            for path in space.closure(unit):
                self._including.setdefault(path, []).append(unit)
        self.paths = sorted(self._including)
        """Every file that some unit is or may include."""
        self.is_c = all(unit.path.lower().endswith(".c") for unit in self.compiled)
        """Whether a compiler takes none of it for C++."""
        self.joined = 1
        """How many configurations it is that are no one program: what bounds work counts each."""
        self.differing = set[bytes]()
        """Macros that these define otherwise, where only one definition is followed."""

    @cached_property
    def pointer_size(self) -> int | None:
        """The bytes of a pointer; None: no build says, or there are two sizes."""
        return pointer_size(unit.given for unit in self.compiled)

    @cached_property
    def defined(self) -> frozenset[bytes]:
        """Every name that some file or option may define as a macro."""
        texts = (self.space.text(path) for path in self.paths)
        found = {name for text in texts if text is not None for name in text.directives.macros}
        return frozenset(found.union(m.name for one in self.compiled for m in one.given.defines))

    def forget(self) -> None:
        """Let go of everything that was parsed; it is parsed again when somebody asks."""
        self.space.words.forget(self.paths)
        for path in self.paths:
            if (text := self.space.text(path)) is not None:
                text.forget()
        for unit in self.compiled:
            self.space.forget(unit)
        for held in (self._units, self._uses, self._functions, self._macros, self._holding):
            held.clear()
        self.stored.clear()
        self._words.clear()

    def read_as(self, space: Space) -> None:
        """Read other texts from now on: nothing that was found in the others is kept."""
        self.space = space
        self._units, self._uses, self._holding, self._words = {}, {}, {}, []
        self._enumerators, self._functions, self._macros, self.stored = {}, {}, {}, {}

    def differ(self, macro: bytes, ways: int = 2) -> None:
        """Note that configurations may tell more of a macro each than all of them at once."""
        if self.joined > 1 and ways > 1:
            self.differing.add(macro)

    def cut(self, what: str, path: str = "") -> None:
        """Say what was not followed to its end, in which nobody knows what stands."""
        if path or self.paths:
            self.space.shelf.limit(path or self.paths[0], f"{what}: check the built .sys")

    @property
    def units(self) -> Iterator[Unit]:
        """All files, as they are compiled."""
        return (unit for path in self.paths for unit in self.units_of(path))

    def holds(self, path: str) -> bool:
        """Whether a file is a unit or may be included by one."""
        return path in self._including

    def is_unit(self, path: str) -> bool:
        """Whether a file is compiled, and no other file includes it."""
        including = self._including.get(path, ())
        return bool(including) and all(unit.path == path for unit in including)

    def reading(self, path: str) -> Sequence[TranslationUnit]:
        """The units that are a file or may include it."""
        return self._including.get(path, ())

    def runs_of(self, path: str) -> list[Run]:
        """The preprocessed units that may include a file."""
        return [self.space.run(unit) for unit in self._bounded(self._including.get(path, ()))]

    def _bounded(self, units: Sequence[TranslationUnit]) -> Sequence[TranslationUnit]:
        """As many units as are looked at together; a limit, once, where there are more."""
        if len(units) > MAX_RUNS:
            reason = (
                f"{len(units)} compiled files include this one or are linked together, and only "
                f"the first {MAX_RUNS} tell how; check the projects of the driver one by one"
            )
            self.space.shelf.limit(units[0].path, reason)
        return units[:MAX_RUNS]

    def units_of(self, path: str) -> list[Unit]:
        """A file under each choice of branches; none when no unit includes it in the end."""
        if path not in self._units:
            by_choice: dict[Choice, list[Run]] = {}
            for run in self.runs_of(path):
                for choice in run.files.get(path, ()):
                    by_choice.setdefault(choice, []).append(run)
            text = self.space.text(path)
            found = sorted(by_choice.items(), key=lambda item: repr(item[0]))
            self._units[path] = [
                Unit(text, way, runs)
                for choice, runs in found
                if text is not None
                for way in self._ways(path, choice, text)
            ]
        return self._units[path]

    def _ways(self, path: str, choice: Choice, text: Text) -> list[Choice]:
        """The ways to compile a file under a choice; a limit where there are more."""
        found = ways(choice, text.directives)
        if len(found) > 1 and left_out(choice, found, text.directives):
            what = f"nothing decides more than {len(found)} of its branches of #if"
            self.space.shelf.limit(path, f"{what}, and the rest is not followed: {_DECIDE}")
        return found

    def names(self, name: bytes) -> bool:
        """Whether the text of some file holds a name."""
        return bool(self.naming_paths(name))

    def names_of(self, wanted: frozenset[bytes]) -> frozenset[bytes]:
        """Those of some words that the text of some file holds."""
        among = self.space.words.among
        return frozenset().union(*(among(path, wanted) for path in self.paths))

    def naming(self, name: bytes) -> Iterator[Unit]:
        """The files whose text holds a name."""
        for path in self.naming_paths(name):
            yield from self.units_of(path)

    def naming_paths(self, name: bytes) -> tuple[str, ...]:
        """The paths of the files whose text holds a name."""
        if name not in self._holding:
            if _WORD.fullmatch(name) is not None:
                found = tuple(path for path, words in self._worded if name in words)
            else:
                found = tuple(self.space.naming(self.paths, name))
            self._holding[name] = found
        return self._holding[name]

    @property
    def _worded(self) -> list[tuple[str, frozenset[bytes]]]:
        """The words of each file, side by side: thousands of names are looked for in them."""
        if not self._words:
            self._words += ((path, self.space.words.of(path)) for path in self.paths)
        return self._words

    def naming_part(self, part: bytes) -> Iterator[Unit]:
        """The files whose text holds a word with that part."""
        for path in self.space.words.holding_part(part, self.paths):
            yield from self.units_of(path)

    def names_part(self, part: bytes) -> bool:
        """Whether the text of some file holds a word with that part."""
        return any(True for _ in self.space.words.holding_part(part, self.paths))

    def macros(self, name: bytes, home: str = "") -> list[tuple[Macro, Truth]]:
        """The definitions of a macro in the units that hold a file, and whether each is sure."""
        home = home if home in self._including else ""
        if (name, home) not in self._macros:
            self._macros[name, home] = self._defined_as(name, home)
        return self._macros[name, home]

    def _defined_as(self, name: bytes, home: str) -> list[tuple[Macro, Truth]]:
        if not any(self._may_define(path, name) for path in self.naming_paths(name)) and not any(
            macro.name == name for unit in self.compiled for macro in unit.given.defines
        ):
            return []
        found: dict[int, tuple[Macro, Truth]] = {}
        met: dict[int, int] = {}
        if home:
            runs = [run for unit in self.units_of(home) for run in unit.runs]
        else:
            runs = [self.space.run(unit) for unit in self._bounded(self.compiled)]
        for run in runs:
            for macro, sure in run.definitions(name):
                known = found.get(id(macro), (macro, True))[1]
                found[id(macro)] = (macro, True if sure and known else None)
                met[id(macro)] = met.get(id(macro), 0) + 1
        # what only some ways to compile a file define is not sure in that file
        ways = max((len(run.files.get(home, ())) for run in runs), default=0)
        return [
            (macro, sure if met[key] == len(runs) and ways < 2 else None)
            for key, (macro, sure) in found.items()
        ]

    def always(self, name: bytes, home: str) -> bool:
        """Whether all that compiles a file defines a macro, be it one way or the other."""
        runs = (run for unit in self.units_of(home) for run in unit.runs)
        return all(any(sure for _, sure in run.definitions(name)) for run in runs)

    def _may_define(self, path: str, name: bytes) -> bool:
        text = self.space.text(path)
        return text is not None and name in text.directives.macros

    def mentions(self, name: bytes) -> bool:
        """Whether a macro is used anywhere, in code or in another macro."""
        word = re.compile(rb"\b" + re.escape(name) + rb"\b")
        for unit in self.naming(name):
            code = unit.source.code
            used = (match.start() for match in word.finditer(code))
            lines = list(directive_lines(code, (b"#",)))
            if any(not any(start <= at < end for start, end in lines) for at in used):
                return True
            others = (macro for many in unit.macros.values() for macro in many)
            if any(macro.name != name and word.search(macro.body) for macro in others):
                return True
        return False

    def is_enumerator(self, name: bytes) -> bool:
        """Whether an enumeration of the sources lists a name."""
        if name not in self._enumerators:
            word = re.escape(name)
            pattern = re.compile(rb"\benum\b[^{};()]*\{[^{}]*\b" + word + rb"\b[^{}]*\}")
            words = self.space.words
            paths = (path for path in self.naming_paths(name) if b"enum" in words.of(path))
            units = (unit for path in paths for unit in self.units_of(path))
            self._enumerators[name] = any(pattern.search(unit.source.code) for unit in units)
        return self._enumerators[name]

    def functions(self, name: bytes) -> list[Function]:
        """The definitions of a function, by its last name."""
        if name not in self._functions:
            self._functions[name] = list(self._defined(name))
        return self._functions[name]

    def _defined(self, name: bytes) -> Iterator[Function]:
        for unit in self.naming(name):
            seen: set[int] = set()
            for at in _opening(unit.source, name):
                if unit.live(at) is False or not may_define(unit.source.code, at + len(name)):
                    continue
                function = unit.trees.at(at).function_at(at)
                if function is None or function.name != name:
                    continue
                if function.node.start_byte not in seen:
                    seen.add(function.node.start_byte)
                    yield function

    def uses(self, name: bytes) -> list[Use]:
        """The calls of a function, or of a macro, by its name."""
        if name not in self._uses:
            shown = f"{name.decode('utf-8', 'replace')} is called"
            self._uses[name] = self._bound(self._called(name), shown)
        return self._uses[name]

    def _called(self, name: bytes) -> Iterator[Use]:
        for unit in self.naming(name):
            code = unit.source.code
            for at in _opening(unit.source, name):
                use = _use(unit, at, at + len(name)) if code[at - 1 : at] != b"~" else None
                if use is not None:
                    yield use

    def mentioned(self, name: bytes) -> Iterator[Use]:
        """The places in code where a name stands, be it before parentheses or not."""
        for unit in self.naming(name):
            for at in unit.source.places(name):
                file = unit.trees.at(at)
                node = file.node_at(at, at + len(name))
                is_code = not unit.in_define(at) and unit.live(at) is not False
                if is_code and node is not None:
                    yield Use(unit.source, file, node, at, file.function_at(at))

    def news(self, is_plain: bool = False) -> list[Use]:
        """Every `new (...)` expression, or every other one."""
        key = b"new" if is_plain else b"new ("
        if key not in self._uses:
            every = (
                _new(unit, at)
                for unit in self.naming(b"new")
                for at in unit.source.places(b"new")
                if opens(unit.source, at + 3) is not is_plain
            )
            made = (use for use in every if use is not None)
            self._uses[key] = self._bound(made, "operator new is used")
        return self._uses[key]

    def _bound(self, every: Iterator[Use], what: str) -> list[Use]:
        """As many uses as are followed; a limit where there are more."""
        found = list(islice(every, MAX_USES))
        if len(found) == MAX_USES and any(True for _ in every):
            self.cut(f"{what} in more than {MAX_USES} places, and the rest is not followed")
        return found


def _opening(source: Source, name: bytes) -> Iterator[int]:
    """Where a name stands before parentheses."""
    return (at for at in source.places(name) if opens(source, at + len(name)))


def opens(source: Source, end: int) -> bool:
    """Whether parentheses open behind a name, or behind the arguments of a template."""
    return (_OPENS if source.is_c else _OPENS_OR_CHOOSES).match(source.code, end) is not None


_DECIDE = "give the definitions of the build (a project file), or check the built .sys"
_WORD = re.compile(rb"\w+")
_OPENS = re.compile(rb"\s*(?:\(|(?<=[\t \n])#)")
"""A directive may stand between: then the tree tells."""
_OPENS_OR_CHOOSES = re.compile(rb"\s*(?:(?:<[^;{}]{0,300}?>\s*)?\(|(?<=[\t \n])#)")


def _use(unit: Unit, start: int, end: int) -> Use | None:
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, end)
    if node is None:
        return None
    for above in (node, *ancestors(node)):
        if above.type == "call_expression":
            called = above.child_by_field_name("function")
            if called is not None and called.start_byte <= start < called.end_byte:
                return Use(unit.source, file, above, start, file.function_at(start))
            return None
        if above.type in ("function_declarator", "compound_statement", "argument_list"):
            return None
    return None


def _new(unit: Unit, start: int) -> Use | None:
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, start + 3)
    above = node.parent if node is not None else None
    if above is None or above.type != "new_expression":
        return None
    return Use(unit.source, file, above, start, file.function_at(start))
