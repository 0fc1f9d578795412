"""Preprocesses one translation unit: which text is compiled, and what names are defined as.

Theory of operation: only the lines that a preprocessor acts on are walked, in the order in which
a compiler meets them, through every header that is here; text in between is never expanded. What
the walk leaves is, for each file, the branches that were taken, and the definitions that were
met. Where a condition depends on something unknown, all of its branches may be taken. What a
header does depends only on the names that it asks for before it defines them: it is walked once
for each answer to those, and repeated from memory after that. Knows directives and headers; knows
nothing of calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from hvci.source.preprocess import expression
from hvci.source.preprocess.expression import Number, Truth
from hvci.source.preprocess.predefined import may_be_of_kit
from hvci.source.preprocess.runs import (
    UNTAKEN,
    Choice,
    Definitions,
    Find,
    Given,
    Run,
    Taken,
)
from hvci.source.text import directives
from hvci.source.text.directives import Condition, Directive, Directives, Included, Macro
from hvci.source.text.includes import is_of_kit

MAX_NESTED = 100
"""Headers inside each other."""
MAX_STEPS = 300_000
"""Lines of one translation unit."""
MAX_TIMES = 400
"""Times that one unit may include one file."""

OPT_IN = (b"POOL_NX_OPTIN", b"POOL_NX_OPTIN_AUTO", b"POOL_NX_OPTOUT")
_WDM = frozenset(("wdm.h", "ntddk.h", "ntifs.h", "fltkernel.h", "ndis.h", "portcls.h", "ntosp.h"))
"""Headers of the kit that read the opt-in macros, and those that include such a header first."""


_MAYBE, _GONE, _READ = object(), object(), object()
_KIT_READ = b"\0kit"
"""Stands in the table when the kit's headers were read."""
_LOST, _LOST_BEFORE = b"\0lost", b"\0lost before"
"""Stand there for a header that is not here, and for one that the kit's headers come behind."""


@dataclass
class _Frame:
    """What the walk through one file asked for and did."""

    reads: dict[bytes, object] = field(default_factory=dict)
    """Names that were asked for before they were written, with the answers."""
    writes: dict[bytes, object] = field(default_factory=dict)
    macros: Definitions = field(default_factory=dict)
    layers: dict[int, Definitions] = field(default_factory=dict)
    """Of the files inside, by identity: one that is repeated counts once."""
    files: dict[tuple[str, Choice], frozenset[Choice]] = field(default_factory=dict)
    """What was taken of each file; the sets are those that units share."""
    steps: int = 0
    can_repeat: bool = True


@dataclass
class Memory:
    """What headers did before; shared by all units of a target."""

    frames: dict[tuple[object, ...], list[_Frame]] = field(default_factory=dict)


MAX_FRAMES = 6
"""Ways in which one header is remembered."""


class _Walk:
    """One walk; also the environment in which its conditions are evaluated."""

    def __init__(
        self,
        given: Given,
        read: Callable[[str], Directives | None],
        find: Find,
        memory: Memory,
        folders: tuple[str, ...],
    ) -> None:
        self.given = given
        self.read = read
        self.find = find
        self.memory = memory
        self.key = (id(given.known), given.closed, folders)
        self.table: dict[bytes, object] = {}
        self.run = Run("")
        self.frame = _Frame()
        self.maybe = 0
        self.steps = 0
        self.nested = 0
        self.times: dict[str, int] = {}
        self.here = ""

    # ------------------------------------------------------- the environment

    def _held(self, name: bytes) -> object:
        held = self.table.get(name)
        frame = self.frame
        if name not in frame.writes and name not in frame.reads:
            frame.reads[name] = held
        return held

    def _write(self, name: bytes, value: object) -> None:
        self.table[name] = value
        self.frame.writes[name] = value

    def defined(self, name: bytes) -> Truth:
        """Whether a name is defined at this place."""
        held = self._held(name)
        if held is not None:
            return None if held is _MAYBE else held is not _GONE
        if name in self.given.known or name in _BUILT_IN:
            return True
        if name in self.given.absent:
            return False
        return None if not self.given.closed or may_be_of_kit(name) else False

    def macro(self, name: bytes) -> Macro | int | None:
        """What a name stands for at this place."""
        held = self._held(name)
        if isinstance(held, Macro):
            return held
        return self.given.known.get(name) if held is None else None

    def undefined_value(self, name: bytes) -> Number:
        """What a name that stands for nothing is worth."""
        return 0 if self.defined(name) is False else None

    def has_include(self, quoted: bool, name: str) -> Truth:
        """Whether a header is there; of those that are not here nothing is known."""
        return True if self.find(self.here, Included(quoted, name, b"")) else None

    # -------------------------------------------------------------- the walk

    def unit(self, path: str) -> Run:
        """Walk one translation unit."""
        self.run.path, self.run.compiler = path, self.given.compiler
        for macro in self.given.defines:
            self.table[macro.name] = macro
            self.frame.macros[macro.name] = macro.alone
        self.table.update(dict.fromkeys(self.given.removed, _GONE))
        for name in (*self.given.forced, path):
            self.file(name)
        if _KIT_READ not in self.table:
            self._read_opt_in()
        for (file, _), taken in self.frame.files.items():
            before = self.run.files.get(file)
            self.run.files[file] = taken if before is None else before | taken
        lost = self.table.get(_LOST_BEFORE)
        self.run.lost = lost if isinstance(lost, str) else ""
        self.run.layers = [self.frame.macros, *self.frame.layers.values()]
        return self.run

    def file(self, path: str) -> None:
        """Walk one file, or repeat what it did before."""
        lines = self.read(path)
        if lines is None:
            return
        once = b"\0" + path.encode() if lines.once else b""
        if once and self._held(once) is _READ:
            return
        if lines.guard and isinstance(self._held(lines.guard), Macro):
            return
        times = self.times.get(path, 0)
        if self.nested >= MAX_NESTED or times >= MAX_TIMES:
            self.run.gave_up = self.run.gave_up or f"{path} is included too often or too deeply"
            self.frame.can_repeat = False
            return
        self.times[path] = times + 1
        frame = self._remembered(path) if not self.maybe else None
        if frame is None:
            frame = self._walked(path, lines, once)
        else:
            self.table.update(frame.writes)
            self.steps += 1
        self._take(frame)

    def _remembered(self, path: str) -> _Frame | None:
        table = self.table
        for frame in self.memory.frames.get((path, *self.key), ()):
            if all(table.get(name) is value for name, value in frame.reads.items()):
                return frame
        return None

    def _walked(self, path: str, lines: Directives, once: bytes) -> _Frame:
        outer, before = self.frame, self.here
        self.frame, self.here = _Frame(), path
        if once:
            self._write(once, _READ)
        if lines.guard and self._held(lines.guard) is None:
            self._write(lines.guard, _GONE)
        self.nested += 1
        choice = self._lines(lines)
        self.nested -= 1
        frame = self.frame
        frame.files[path, choice] = frozenset((choice,))
        self.frame, self.here = outer, before
        if frame.can_repeat and not self.maybe and self.nested:
            known = self.memory.frames.setdefault((path, *self.key), [])
            if len(known) < MAX_FRAMES:
                known.append(frame)
        return frame

    def _take(self, inner: _Frame) -> None:
        """What a file did is done by the file that includes it."""
        outer = self.frame
        for name, value in inner.reads.items():
            if name not in outer.writes:
                outer.reads.setdefault(name, value)
        outer.writes.update(inner.writes)
        outer.files.update(inner.files)
        outer.layers.update(inner.layers)
        if inner.macros:
            outer.layers[id(inner.macros)] = inner.macros
        outer.can_repeat = outer.can_repeat and inner.can_repeat

    def _lines(self, lines: Directives) -> Choice:
        choice: list[Taken] = [None] * len(lines.groups)
        open_: list[_Open] = []
        outside, at, end = self.maybe, self._first(lines), len(lines.lines)
        while at < end:
            line = lines.lines[at]
            kind = line.kind
            self.steps += 1
            if self.steps > MAX_STEPS:
                self.run.gave_up = f"it has more than {MAX_STEPS} preprocessor lines"
                self.frame.can_repeat = False
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
                self._write(line.what, _MAYBE if self.maybe else _GONE)
            at += 1
        self.maybe = outside
        return tuple(choice)

    def _first(self, lines: Directives) -> int:
        """The line to begin with: MSVC passes over what stands before a precompiled header."""
        name = self.given.precompiled
        if not name or self.here != self.run.path or self.nested != 1:
            return 0
        for at, line in enumerate(lines.lines):
            what = line.what
            if isinstance(what, Included) and what.name.rpartition("/")[2].lower() == name:
                return at if lines.region_at(line.offset) is None else 0
        return 0

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
            if open_.pop().taken is None:
                before = choice[line.group]
                choice[line.group] = (*(before if isinstance(before, tuple) else ()), UNTAKEN)
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
        name, frame = macro.name, self.frame
        if name in OPT_IN:
            self._opt_in(macro)
        if not self.maybe:
            self.table[name] = frame.writes[name] = macro
            self._met(macro, True)
            return
        self._met(macro, False)
        if self._held(name) is macro:
            return
        self._write(name, _MAYBE if self.defined(name) is not True else _known_only(macro))

    def _met(self, macro: Macro, sure: bool) -> None:
        """Note a definition; most names have one only."""
        held = self.frame.macros.get(macro.name)
        if isinstance(held, list):
            held.append((macro, sure))
        elif held is None and sure:
            self.frame.macros[macro.name] = macro.alone
        else:
            self.frame.macros[macro.name] = [*(held or ()), (macro, sure)]

    def _opt_in(self, macro: Macro) -> None:
        self.frame.can_repeat = False
        if _KIT_READ in self.table and macro.name not in self.run.opt_in and not self.maybe:
            self.run.late = macro

    def _include(self, line: Directive) -> None:
        what = line.what
        assert isinstance(what, Included)
        if not what.name:
            text, what = what.text, self._named(what.text)
            if what is None:
                self.run.unnamed[self.here, text] = None
                self.frame.can_repeat = False
                return
        if what.name.rpartition("/")[2].lower() in _WDM:
            self._read_opt_in()
        found = self.find(self.here, what)
        if found is not None:
            self.file(found)
        elif what.quoted and not is_of_kit(what.name):
            self._lose(what.name)

    def _lose(self, name: str) -> None:
        """Remember the first header that is not here, while the kit's headers were not read."""
        if self._held(_KIT_READ) is None and self._held(_LOST) is None:
            self._write(_LOST, sys.intern(name))

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
        if self._held(_KIT_READ) is not None:
            return
        self._write(_KIT_READ, _READ)
        if (lost := self._held(_LOST)) is not None:
            self._write(_LOST_BEFORE, lost)
        for name in OPT_IN:
            held = self._held(name)
            self.run.doubtful = self.run.doubtful or held is _MAYBE
            if isinstance(held, Macro):
                truth = expression.holds(Condition("if", name), self)
                if truth is not False or not held.body.strip():
                    self.run.opt_in[name] = held
        if self.run.opt_in or self.run.doubtful:
            self.frame.can_repeat = False


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


def run(
    path: str,
    given: Given,
    read: Callable[[str], Directives | None],
    find: Find,
    memory: Memory | None = None,
    folders: tuple[str, ...] = (),
) -> Run:
    """Preprocess one translation unit; `read` gives the lines of a file, `find` resolves names.

    Units that share a memory must find the same headers in the same folders.
    """
    return _Walk(given, read, find, memory or Memory(), folders).unit(path)
