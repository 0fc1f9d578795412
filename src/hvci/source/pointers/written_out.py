"""Macros that do something with pointers, written out where they are used.

Theory of operation: a macro whose value matters is followed where it stands; one that stores, calls
through a pointer or gives a variable a value is a few statements of the function that uses it, with
names of that function and variables of its own. Words tell which uses may lead to a call of memory
or a write to code. Knows macros and their uses; follows no pointer.
"""

from __future__ import annotations

import re
from functools import cached_property

from hvci.catalog.prototypes import x86_bytes
from hvci.source.pointers.code_as_data import code_as_data
from hvci.source.pointers.deeds import Deed, deeds
from hvci.source.pointers.macro_texts import arguments, end_of_use, filled, names_of
from hvci.source.pointers.makers import PUTTING, RETURNING
from hvci.source.pointers.places import LOOKUP, WORD, Words, words_of
from hvci.source.pointers.rewritten import Change, Rewritten, rewritten, with_texts
from hvci.source.preprocess.tree import Text
from hvci.source.program.program import Macro, Program, Unit
from hvci.source.program.redefined import Standing

MAX_DEPTH = 6
"""Macros in macros that are written out."""
MAX_BYTES = 1 << 20
"""By so much one text may grow."""
_MEMORY = frozenset(name.encode() for name in (*RETURNING, *PUTTING) if name.isidentifier())


def written_out(program: Program) -> Program:
    """A program with such macros written out; itself where nothing uses any."""
    worth = _Worth(program)
    acting = worth.names()
    found: dict[str, Rewritten] = {}
    for path in program.paths if acting else ():
        if program.space.words.among(path, acting):
            source = program.space.source(path)
            changes = _changes(worth, path, acting) if source is not None else []
            if source is not None and changes:
                found[path] = rewritten(source, changes)
    return with_texts(program, found) if found else program


class _Worth:
    """Which macros of a program, and which of their uses, may matter."""

    def __init__(self, program: Program) -> None:
        self.program = program
        found = ((path, program.space.text(path)) for path in program.paths)
        self.texts = {path: text for path, text in found if text is not None}
        self.has_memory = bool(program.names_of(_MEMORY)) or program.names_part(b"MmMap")

    def names(self) -> frozenset[bytes]:
        """The names of the macros that may matter."""
        index = self.program.space.words
        first = frozenset(
            name
            for path, text in self.texts.items()
            if b"define" in index.of(path)
            for name, every in deeds(text).items()
            if any(self._may_matter(name, one, text) for one in every)
        )
        return first | names_of(self.program, first, _speaks_of) if first else first

    def _may_matter(self, name: bytes, deed: Deed, text: Text) -> bool:
        """Whether some use of a macro may matter: most do not, whatever they get."""
        if deed.writes and (self.looks_up or self.code):
            return True
        if not self.has_memory:
            return False
        own = {word for one in text.directives.macros[name] for word in one.parameters or ()}
        if deed.casts or not own.isdisjoint(deed.called) or not own.isdisjoint(deed.given):
            return True
        return any(map(self._may_hold, deed.called)) or not self.called.isdisjoint(deed.given)

    def words(self, text: Text) -> Words:
        """What the words of a file show."""
        return words_of(text, self.program.space.words, self.program.space.calling)

    @cached_property
    def known(self) -> frozenset[bytes]:
        """The names of functions."""
        return frozenset().union(*(self.words(one).defined for one in self.texts.values()))

    @cached_property
    def code(self) -> dict[str, set[bytes]]:
        """The names of each file that may lead to code as to data."""
        every = {path: self.words(text) for path, text in self.texts.items()}
        return code_as_data(self.program, every, self.known).reached

    @cached_property
    def looks_up(self) -> bool:
        """Whether routines are looked up by their names."""
        return self.program.names(LOOKUP.encode())

    @cached_property
    def macros(self) -> frozenset[bytes]:
        """The names of macros."""
        return frozenset().union(*(one.directives.macros for one in self.texts.values()))

    @cached_property
    def given(self) -> frozenset[bytes]:
        """Names that get a value."""
        return frozenset().union(*(self.words(one).given for one in self.texts.values()))

    @cached_property
    def called(self) -> frozenset[bytes]:
        """Names through which something is called, and those that they are copies of."""
        found = set[bytes]()
        for text in self.texts.values():
            words = self.words(text)
            found.update(name for name, _ in words.called)
            for at in words.through:
                begin = max(words.code.rfind(one, 0, at) for one in (b";", b"{", b"}")) + 1
                found.update(WORD.findall(words.code, begin, at))
        return frozenset(found - self.known)

    def is_used(self, deed: Deed, macro: Macro, given: list[bytes], path: str) -> bool:
        """Whether what one use of a macro does may matter."""
        held = dict(zip(macro.parameters or (), given, strict=False))
        if deed.writes and (self.looks_up or self._leads(path, macro.body, *given)):
            return True
        if not self.has_memory:
            return False
        if deed.casts or any(self._may_hold(held.get(one, one).strip()) for one in deed.called):
            return True
        targets = (WORD.findall(held.get(one, one))[-1:] for one in deed.given)
        return any(not self.called.isdisjoint(one) for one in targets)

    def _leads(self, path: str, *texts: bytes) -> bool:
        """Whether texts name a function, or what may lead to one."""
        if not self.code:
            return False
        words = {word for text in texts for word in WORD.findall(text)}
        if not self.code.get(path, words - words).isdisjoint(words):
            return True
        return any(
            one in self.known or x86_bytes(one.decode("latin-1")) is not None for one in words
        )

    def _may_hold(self, name: bytes) -> bool:
        """Whether what is called may be a variable, or is more than a name."""
        if WORD.fullmatch(name) is None:
            return bool(name)
        if name in self.known or name not in self.given or name in self.macros:
            return False
        return x86_bytes(name.decode("latin-1")) is None


def _speaks_of(macro: Macro, wanted: frozenset[bytes]) -> bool:
    return not wanted.isdisjoint(WORD.findall(macro.body))


def _changes(worth: _Worth, path: str, acting: frozenset[bytes]) -> list[Change]:
    """The uses in one file, in order; those inside of others are part of them."""
    found, size, program = list[Change](), 0, worth.program
    units = program.units_of(path)
    if not units:
        return found
    unit = units[0]
    names = program.space.words.among(path, acting)
    places = sorted((at, name) for name in names for at in unit.source.places(name))
    behind = 0
    for at, name in places:
        if at < behind or unit.in_define(at) or all(one.live(at) is False for one in units):
            continue
        writer = _Writer(worth, unit, acting)
        end, text = writer.use(name, unit.source.plain, at, at + len(name))
        if (
            text is None
            or not writer.matters
            or _DIRECTIVE.search(unit.source.plain, at, end) is not None
        ):
            continue
        size += len(text)
        if size > MAX_BYTES:
            program.cut("its macros are too long to be written out everywhere", path)
            break
        found.append(Change(at, end, _BREAKS.sub(b" ", text), tuple(writer.macros)))
        behind = end
    return found


_DIRECTIVE = re.compile(rb"(?m)^[ \t]*#")
_LINES = re.compile(rb"(?m)^[ \t]*#[^\n]*$")
_BREAKS = re.compile(rb"\\?\r?\n")


class _Writer:
    """Writes the uses of macros out at one place of a file."""

    def __init__(self, worth: _Worth, unit: Unit, acting: frozenset[bytes]) -> None:
        self.worth = worth
        self.program = worth.program
        self.unit = unit
        self.acting = acting
        self.macros: list[Macro] = []
        """Those that were written out."""
        self.busy: list[bytes] = []
        self.matters = False
        """Whether one of them does something that may matter."""

    def use(self, name: bytes, text: bytes, at: int, end: int) -> tuple[int, bytes | None]:
        """What is written for a use whose name ends at an offset, and where it ends."""
        every = self._standing(name, at)
        if not every or name in self.busy or len(self.busy) > MAX_DEPTH:
            return end, None
        given = list[bytes]()
        if every[0].parameters is not None:
            close = end_of_use(text, end)
            if close == end:
                return end, None
            given = arguments(text[end:close].strip()[1:-1])
            end = close
        self.matters |= any(self._matters(one, given) for one in every)
        self.busy.append(name)
        parts = [self._out(filled(one, given)) for one in every]
        self.busy.pop()
        self.macros += every
        if len(parts) == 1:
            return end, parts[0]
        if _is_statement(text, at, end):
            return end, _either(parts)
        self.program.differ(name)
        return end, None

    def _matters(self, macro: Macro, given: list[bytes]) -> bool:
        text = self.worth.texts.get(macro.source.path)
        found = deeds(text).get(macro.name, ()) if text is not None else ()
        return any(self.worth.is_used(one, macro, given, self.unit.source.path) for one in found)

    def _standing(self, name: bytes, at: int) -> list[Macro]:
        """What a name may be defined as: one macro, or several of one form."""
        path = self.unit.source.path
        known = self.program.macros(name, path)
        if len({one.body.strip() for one, _ in known}) > 1 and not self.busy:
            one = Standing(self.program, name, known).at(path, at)
            known = [(one, True)] if one is not None else known
        every = [*{one.body.strip(): one for one, _ in known}.values()]
        kinds = {one.parameters is None for one in every}
        is_sure = all(sure for _, sure in known) or self.program.always(name, path)
        if len(kinds) > 1 or not is_sure:
            self.program.differ(name)
        return every if len(kinds) == 1 else []

    def _out(self, text: bytes) -> bytes:
        """A text with the macros in it written out that do something."""
        parts, at = list[bytes](), 0
        for match in _WORD.finditer(text):
            if match.start() < at or match[0] not in self.acting:
                continue
            end, inner = self.use(match[0], text, match.start(), match.end())
            if inner is not None:
                parts += (text[at : match.start()], inner)
                at = end
        return b"".join((*parts, text[at:]))


_WORD = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*')


def _is_statement(text: bytes, at: int, end: int) -> bool:
    """Whether a use is a statement of its own."""
    before = _LINES.sub(b"", text[max(0, at - 200) : at]).rstrip()
    is_first = before[-1:] in (b";", b"{", b"}", b")", b"") or before.endswith(b"else")
    return is_first and text[end : end + 200].lstrip()[:1] in (b";", b"}")


def _either(parts: list[bytes]) -> bytes:
    """Statements of which one runs."""
    first, *rest = parts
    others = b"".join(b" else if (hvci_either) { " + one + b"; }" for one in rest)
    return b"if (hvci_either) { " + first + b"; }" + others
