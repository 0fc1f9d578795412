"""Preprocesses one translation unit: which text is compiled, and what names are defined as.

Theory of operation: only the lines that a preprocessor acts on are walked, in the order in which
a compiler meets them, through every header that is here; text in between is never expanded. What
the walk leaves is, for each file, the branches that were taken, and the definitions that were
met. Where a condition depends on something unknown, all of its branches may be taken. Knows
directives and headers; knows nothing of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hvci.source import directives, expression
from hvci.source.directives import Condition, Directive, Directives, Included, Macro
from hvci.source.expression import Number, Truth
from hvci.source.predefined import may_be_of_kit

MAX_NESTED = 100
"""Headers inside each other."""
MAX_STEPS = 300_000
"""Lines of one translation unit."""
MAX_TIMES = 400
"""Times that one unit may include one file."""

Taken = int | tuple[int, ...] | None
"""The branch of a group that is compiled; several: any of them may be; None: none is."""
Choice = tuple[Taken, ...]
"""What is taken of each group of a file."""
Find = Callable[[str, Included], str | None]
"""The file that an `#include` of a file leads to."""

OPT_IN = (b"POOL_NX_OPTIN", b"POOL_NX_OPTIN_AUTO", b"POOL_NX_OPTOUT")
_WDM = frozenset(("wdm.h", "ntddk.h", "ntifs.h", "fltkernel.h", "ndis.h", "portcls.h", "ntosp.h"))
"""Headers of the kit that read the opt-in macros, and those that include such a header first."""


@dataclass(frozen=True)
class Given:
    """What a compiler is told before the first line of a unit."""

    known: Mapping[bytes, int | None]
    """Macros of compiler and kit."""
    defines: tuple[Macro, ...] = ()
    removed: frozenset[bytes] = frozenset()
    forced: tuple[str, ...] = ()
    """Files that are included first."""
    closed: bool = True
    """All definitions are known: what nobody defines is 0."""
    absent: frozenset[bytes] = frozenset()
    """What is certainly not defined, even when not all definitions are known."""


@dataclass
class Run:
    """What the walk through one translation unit left."""

    path: str
    files: dict[str, set[Choice]] = field(default_factory=dict)
    """Every file that was read, with what was taken of it."""
    macros: dict[bytes, list[tuple[Macro, bool]]] = field(default_factory=dict)
    """Every definition that was met, and whether it surely was."""
    opt_in: dict[bytes, Macro] = field(default_factory=dict)
    """The opt-in macros as the kit's headers found them."""
    doubtful: bool = False
    """Whether an opt-in macro is defined there depends on something unknown."""
    late: Macro | None = None
    """An opt-in macro that is defined when those headers were read already."""
    reads_kit: bool = False
    lost: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Files and headers that were not found, and whether the name was in quotes."""
    gave_up: str = ""


_MAYBE, _GONE = object(), object()


class _Walk:
    """One walk; also the environment in which its conditions are evaluated."""

    def __init__(self, given: Given, read: Callable[[str], Directives | None], find: Find) -> None:
        self.given = given
        self.read = read
        self.find = find
        self.table: dict[bytes, object] = {}
        self.run = Run("")
        self.maybe = 0
        self.steps = 0
        self.nested = 0
        self.times: dict[str, int] = {}
        self.here = ""

    # ------------------------------------------------------- the environment

    def defined(self, name: bytes) -> Truth:
        """Whether a name is defined at this place."""
        held = self.table.get(name)
        if held is not None:
            return None if held is _MAYBE else held is not _GONE
        if name in self.given.known:
            return True
        if name in _BUILT_IN:
            return True
        if name in self.given.absent:
            return False
        return None if not self.given.closed or may_be_of_kit(name) else False

    def macro(self, name: bytes) -> Macro | int | None:
        """What a name stands for at this place."""
        held = self.table.get(name)
        if isinstance(held, Macro):
            return held
        return self.given.known.get(name) if held is None else None

    def undefined_value(self, name: bytes) -> Number:
        """What a name that stands for nothing is worth."""
        return 0 if self.defined(name) is False else None

    def has_include(self, quoted: bool, name: str) -> Truth:
        """Whether a header is there; one of the kit is, and of others nothing is known."""
        found = self.find(self.here, Included(quoted, name, b""))
        return True if found else None

    # -------------------------------------------------------------- the walk

    def unit(self, path: str) -> Run:
        """Walk one translation unit."""
        self.run.path = path
        for macro in self.given.defines:
            self.table[macro.name] = macro
            self.run.macros.setdefault(macro.name, []).append((macro, True))
        self.table.update(dict.fromkeys(self.given.removed, _GONE))
        for name in (*self.given.forced, path):
            self.file(name)
        if not self.run.reads_kit:
            self._read_opt_in()
        return self.run

    def file(self, path: str) -> None:
        """Walk one file."""
        lines = self.read(path)
        if lines is None:
            return
        times = self.times.get(path, 0)
        if times and (lines.once or (lines.guard and self.defined(lines.guard) is not False)):
            return
        if self.nested >= MAX_NESTED or times >= MAX_TIMES:
            self.run.gave_up = self.run.gave_up or f"{path} is included too often or too deeply"
            return
        if lines.guard and not times:
            self.table.setdefault(lines.guard, _GONE)
        self.times[path] = times + 1
        before, self.here = self.here, path
        self.nested += 1
        choice = self._lines(lines)
        self.run.files.setdefault(path, set()).add(choice)
        self.nested -= 1
        self.here = before

    def _lines(self, lines: Directives) -> Choice:
        choice: list[Taken] = [None] * len(lines.groups)
        open_: list[_Open] = []
        outside, at, end = self.maybe, 0, len(lines.lines)
        while at < end:
            line = lines.lines[at]
            kind = line.kind
            self.steps += 1
            if self.steps > MAX_STEPS:
                self.run.gave_up = f"it has more than {MAX_STEPS} preprocessor lines"
                break
            if kind == directives.DEFINE:
                self._define(line)
            elif kind <= directives.ENDIF:
                at = self._conditional(line, at, choice, open_)
                continue
            elif kind == directives.INCLUDE:
                self._include(line)
            elif kind == directives.UNDEF:
                assert isinstance(line.what, bytes)
                self.table[line.what] = _MAYBE if self.maybe else _GONE
            at += 1
        self.maybe = outside
        return tuple(choice)

    def _conditional(
        self, line: Directive, at: int, choice: list[Taken], open_: list[_Open]
    ) -> int:
        """Enter or leave a branch; the index of the line to go on with."""
        if line.kind == directives.IF:
            open_.append(_Open())
        state = open_[-1]
        if state.inside_maybe:
            self.maybe -= 1
            state.inside_maybe = False
        if line.kind == directives.ENDIF:
            open_.pop()
            return at + 1
        if state.taken is True:
            return line.next
        value: Truth = True
        if line.kind != directives.ELSE:
            assert isinstance(line.what, Condition)
            value = expression.holds(line.what, self)
        if value is False:
            return line.next
        if state.taken is False and value:
            choice[line.group] = line.branch
        else:
            before = choice[line.group]
            choice[line.group] = (*(before if isinstance(before, tuple) else ()), line.branch)
            state.inside_maybe = True
            self.maybe += 1
        state.taken = value
        return at + 1

    def _define(self, line: Directive) -> None:
        macro = line.what
        assert isinstance(macro, Macro)
        name = macro.name
        held = self.run.macros.get(name)
        sure = not self.maybe
        if held is None:
            self.run.macros[name] = [(macro, sure)]
        elif all(known is not macro for known, _ in held):
            held.append((macro, sure))
        if sure or self.table.get(name) is macro:
            self.table[name] = macro
        elif self.defined(name) is not True:
            self.table[name] = _MAYBE
        else:
            self.table[name] = _known_only(macro)
        if name in OPT_IN and self.run.reads_kit and name not in self.run.opt_in and sure:
            self.run.late = macro

    def _include(self, line: Directive) -> None:
        what = line.what
        assert isinstance(what, Included)
        if not what.name:
            what = self._named(what.text)
            if what is None:
                return
        if what.name.rpartition("/")[2].lower() in _WDM:
            self._read_opt_in()
        found = self.find(self.here, what)
        if found is not None:
            self.file(found)
        else:
            self.run.lost[self.here, what.name] = what.quoted

    def _named(self, text: bytes) -> Included | None:
        """The header that a macro names."""
        for _ in range(8):
            held = self.table.get(text.strip())
            if not isinstance(held, Macro):
                return None
            text = held.body
            what = directives.included(text)
            if what.name:
                return what
        return None

    def _read_opt_in(self) -> None:
        """What the opt-in macros are when the kit's headers are read for the first time."""
        if self.run.reads_kit:
            return
        self.run.reads_kit = True
        for name in OPT_IN:
            held = self.table.get(name)
            self.run.doubtful = self.run.doubtful or held is _MAYBE
            if isinstance(held, Macro):
                truth = expression.holds(Condition("if", name), self)
                if truth is not False or not held.body.strip():
                    self.run.opt_in[name] = held


@dataclass
class _Open:
    """A conditional group that the walk is in."""

    taken: Truth = False
    """Whether a branch of it was taken; None: one may have been."""
    inside_maybe: bool = False


def _known_only(macro: Macro) -> object:
    """A name that is defined in any case, but not known as what."""
    return Macro(macro.name, None, b"__unknown__()", directives.NOWHERE, 0, 0, 0)


_BUILT_IN = frozenset((b"__FILE__", b"__LINE__", b"__DATE__", b"__TIME__", b"__has_include"))


def run(path: str, given: Given, read: Callable[[str], Directives | None], find: Find) -> Run:
    """Preprocess one translation unit; `read` gives the lines of a file, `find` resolves names."""
    return _Walk(given, read, find).unit(path)
