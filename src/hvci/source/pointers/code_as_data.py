"""Functions whose addresses a program takes for those of data: only such code is written over.

Theory of operation: a function is cast to a type of data, or given as it is to a variable, field or
parameter of such a type. Knows texts and the types of parameters; follows no pointer.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from weakref import WeakKeyDictionary

from hvci.catalog.prototypes import x86_bytes
from hvci.source.pointers.entries import ROUTINE_TYPE
from hvci.source.pointers.own_data import DATA, NUMBERS
from hvci.source.pointers.places import ROUTINES, TAKING, WORD, Words
from hvci.source.program.program import Program
from hvci.source.text.text import Source

_CAST = re.compile(
    rb"\(\s*+(?:(?:const|volatile|unsigned|signed|struct|union)\s++)*+([A-Za-z_]\w*+)"
    rb"((?:\s*+\*|\s++(?:volatile|const|int|char|UNALIGNED))*+)\s*+\)"
    rb"(?=[\s(&]*+([A-Za-z_]\w*+)\s*+[^\w\s(])"
)
_GIVEN = re.compile(rb"=[\s{(]*+&?\s*+([A-Za-z_]\w*+)\s*+[;,}:)]")
_RETURNED = re.compile(rb"\breturn\b[\s(]*&?\s*([A-Za-z_]\w*)[\s)]*;")
_HANDED = re.compile(rb"[(,][\s(&]*+([A-Za-z_]\w*+)(?=\s*+[,)])")
_RECORD_POINTER = re.compile(rb"\}\s*(?:\w+\s*,\s*)*\*\s*(\w+)\s*[,;]")
_OTHER_POINTER = re.compile(rb"\btypedef\s+(?:[A-Za-z_]\w*\s+)*[A-Za-z_]\w*\s*\*\s*(\w+)\s*;")
_PLAIN = DATA | NUMBERS | {b"void", b"PUSHORT", b"PWCHAR", b"PWSTR", b"PDWORD", b"PSHORT", b"PLONG"}
_LEFT = 120
"""Bytes before a value in which what gets it stands."""
_END = re.compile(rb"[;{}()]")


class Names:
    """The names that stand in one kind of place of a text."""

    def __init__(self, code: bytes, pattern: re.Pattern[bytes]) -> None:
        found = set[bytes]()
        self.places = array("I")
        for one in pattern.finditer(code):
            found.add(one[1])
            self.places.append(one.start(1))
        self.found = frozenset(found)
        self.of_kernel = frozenset(filter(_is_of_kernel, found))

    def places_of(self, code: bytes, defined: frozenset[bytes]) -> Iterator[tuple[bytes, int]]:
        """Those that are functions of the program or the kernel, and where: mostly none."""
        wanted = self.of_kernel | (self.found & defined)
        for at in self.places if wanted else ():
            match = WORD.match(code, at)
            if match is not None and match[0] in wanted:
                yield match[0], at


def _is_of_kernel(name: bytes) -> bool:
    return x86_bytes(name.decode("latin-1")) is not None


class Taken:
    """What one text shows: worked out once for all programs."""

    def __init__(self, source: Source) -> None:
        code = source.code
        self.types = frozenset(_RECORD_POINTER.findall(code))
        """Types of pointers to records and numbers."""
        if b"typedef" in code:
            self.types |= frozenset(_OTHER_POINTER.findall(code))
        self.cast = [(one[1], b"*" in one[2], one[3]) for one in _CAST.finditer(code)]
        """The type of each cast of a name, whether it is a pointer to that, and the name."""
        self.given = Names(code, _GIVEN)
        """Names that something gets."""
        self.returned = _RETURNED.findall(code)
        self.handed = Names(code, _HANDED)


_KNOWN: WeakKeyDictionary[Source, Taken] = WeakKeyDictionary()


def _taken(source: Source) -> Taken:
    if source not in _KNOWN:
        _KNOWN[source] = Taken(source)
    return _KNOWN[source]


def code_as_data(
    program: Program, every: Mapping[str, Words], defined: frozenset[bytes]
) -> CodeAsData:
    """What of a program may hold the address of code as that of data; worked out once."""
    if b"#data" not in program.stored:
        program.stored[b"#data"] = (CodeAsData(program, every, defined),)
    found: CodeAsData = program.stored[b"#data"][0]
    return found


class CodeAsData:
    """What of one program may hold the address of code as that of data."""

    def __init__(
        self, program: Program, every: Mapping[str, Words], defined: frozenset[bytes]
    ) -> None:
        self.program = program
        self.words = every
        self.defined = defined
        self.texts = {one.source: _taken(one.source) for one in every.values()}
        self._declared: dict[bytes, bool] = {}

    @cached_property
    def names(self) -> frozenset[bytes]:
        """Functions that are taken for data."""
        return frozenset(filter(self._is_function, self._every()))

    def _is_function(self, name: bytes) -> bool:
        """Whether a name is one of a function: a variable may be called like one of the kernel."""
        if name in self.defined:
            return not all(one.is_method for one in self.program.functions(name))
        paths = self.program.naming_paths(name)
        texts = (self.words[path].source for path in paths if path in self.words)
        return not any(
            _is_declared(text.code, at, name) for text in texts for at in text.places(name)
        )

    @cached_property
    def reached(self) -> dict[str, set[bytes]]:
        """The names of each file that may lead there: moves, arguments and results are followed."""
        found: dict[str, set[bytes]] = {}
        todo = list[tuple[str, bytes]]()

        def add(name: bytes, path: str = "") -> None:
            for one in (path,) if path else self.program.naming_paths(name):
                if one in self.words and name not in found.setdefault(one, set()):
                    found[one].add(name)
                    todo.append((one, name))

        for name in sorted(self.names):
            add(name)
        left = MAX_NAMES
        while todo:
            left -= 1
            if left < 0:
                self.program.cut("addresses of code are handed on as data to too many names")
                break
            path, name = todo.pop()
            words = self.words[path]
            for other in sorted(words.moved_from.get(name, ())):
                add(other, path if other in words.local else "")
            for other, where in self._handed(words.source, name):
                add(other, where)
        return found

    def _handed(self, source: Source, name: bytes) -> Iterator[tuple[bytes, str]]:
        """The parameters, lists and functions that get a name, with the file of each."""
        code = source.code
        for at in source.places(name):
            end = at + len(name)
            if _IS_ARGUMENT.match(code, end) is not None:
                callee, index = _call_around(code, at)
                for one in self.program.functions(callee) if callee in self.defined else ():
                    if index < len(one.parameters):
                        yield one.parameters[index], one.file.source.path
            if _IS_LAST.match(code, end) is None:
                continue
            begin = max(code.rfind(sign, 0, at) for sign in (b";", b"}", b"="))
            if code[begin : begin + 1] == b"=" and b"{" in code[begin:at]:
                yield from ((one, "") for one in _list_name(code, begin))
            elif b"return" in code[begin:at]:
                for unit in self.program.units_of(source.path)[:1]:
                    function = unit.trees.at(at).function_at(at)
                    yield from ((function.name, ""),) if function is not None else ()

    @cached_property
    def types(self) -> frozenset[bytes]:
        """Types of pointers to data that the program declares."""
        every = frozenset().union(*(one.types for one in self.texts.values()))
        return frozenset(one for one in every if _CALLED.search(one) is None)

    def _every(self) -> Iterator[bytes]:
        for source, text in self.texts.items():
            for kind, is_pointer, name in text.cast:
                if self._is_code(name) and self._is_data(kind, is_pointer):
                    yield name
            yield from filter(self._is_code, text.returned)
            code = source.code
            for name, at in text.given.places_of(code, self.defined):
                if self._gets_data(code, code.rfind(b"=", 0, at)):
                    yield name
            for name, at in text.handed.places_of(code, self.defined):
                if self._takes_data(code, at):
                    yield name

    def _is_code(self, name: bytes) -> bool:
        return name in self.defined or _is_of_kernel(name)

    def _is_data(self, kind: bytes, is_pointer: bool) -> bool:
        """Whether a type is one of data."""
        if kind in _PLAIN or (kind in self.types):
            return True
        is_routine = ROUTINE_TYPE.fullmatch(kind) is not None or not self.program.names(kind)
        return is_pointer and not is_routine and not self._is_function_type(kind)

    def _is_function_type(self, kind: bytes) -> bool:
        declared = re.compile(rb"\btypedef\b[^;{}()]*?\b" + re.escape(kind) + rb"\s*\(")
        return any(declared.search(one.code) for one in self.texts)

    def _gets_data(self, code: bytes, at: int) -> bool:
        """Whether what gets a value at an offset is declared as a pointer to data."""
        before = _END.split(re.sub(rb"\[[^\]]*\]", b"", code[max(0, at - _LEFT) : at]))[-1]
        words = WORD.findall(before)
        if not words or b"." in before or b"->" in before or len(words) == 1:
            return bool(words) and self._is_declared(words[-1])
        return words[-2] in _PLAIN or (b"*" in before and words[-2] in self.types)

    def _is_declared(self, name: bytes) -> bool:
        """Whether a variable or field of a name is declared as a pointer to data somewhere."""
        if name not in self._declared:
            self._declared[name] = any(
                self._declares(self.words[path].source, name)
                for path in self.program.naming_paths(name)
                if path in self.words
            )
        return self._declared[name]

    def _declares(self, source: Source, name: bytes) -> bool:
        for at in source.places(name):
            before = source.code[max(0, at - 40) : at]
            if before[-1:] in b" \t\n*" and _IS_DECLARED.match(source.code, at + len(name)):
                kind = WORD.findall(before)[-1:]
                is_kind = bool(kind) and not before.rstrip(b" \t\r\n*").endswith(b")")
                if is_kind and (kind[0] in _PLAIN or kind[0] in self.types):
                    return True
        return False

    def _takes_data(self, code: bytes, at: int) -> bool:
        """Whether the function that gets a name at an offset takes a pointer to data there."""
        callee, index = _call_around(code, at)
        if callee in TAKING:
            return not index and callee.decode("latin-1") not in ROUTINES
        if callee in self.defined:
            return self._takes(callee, index)
        return callee in self.macros

    @cached_property
    def macros(self) -> frozenset[bytes]:
        """The names of macros with parameters: these may write where what they get points."""
        found = (self.program.space.text(path) for path in self.words)
        every = (one.directives.macros.items() for one in found if one is not None)
        return frozenset(
            name for many in every for name, some in many if any(m.parameters for m in some)
        )

    def _takes(self, callee: bytes, index: int) -> bool:
        every = self.program.functions(callee)
        return any(
            index < len(one.types)
            and (one.types[index] in _PLAIN or one.types[index] in self.types)
            for one in every
        )


def _is_declared(code: bytes, at: int, name: bytes) -> bool:
    """Whether a name at an offset may be that of a variable, behind its type."""
    is_one = _IS_DECLARED.match(code, at + len(name)) is not None
    return is_one and _TYPE_BEFORE.search(code, max(0, at - _LEFT), at) is not None


def _call_around(code: bytes, at: int) -> tuple[bytes, int]:
    """The name that is called with an argument at an offset, and the argument's position."""
    depth, index, where = 0, 0, at - 1
    while where > 0 and at - where < LONGEST and code[where] not in b";{}":
        sign = code[where : where + 1]
        if sign == b"(" and not depth:
            before = code[max(0, where - 80) : where].rstrip()
            if before[-1:].isalnum() or before.endswith(b"_"):
                return WORD.findall(before)[-1], index
            index = 0  # parentheses around the argument alone
        else:
            depth += {b")": 1, b"(": -1}.get(sign, 0)
            index += sign == b"," and not depth
        where -= 1
    return b"", 0


def _list_name(code: bytes, equals: int) -> list[bytes]:
    """The variable that gets a list behind an equals sign."""
    before = re.sub(rb"\[[^\]]*\]", b" ", code[max(0, equals - _LEFT) : equals])
    return WORD.findall(before)[-1:]


_IS_ARGUMENT = re.compile(rb"\s*\)*\s*(?:,|\)\s*[^{\s])")
_IS_DECLARED = re.compile(rb"\s*[;,=\[)]")
_TYPE_BEFORE = re.compile(rb"[\w*]\s+\**\Z")
_IS_LAST = re.compile(rb"[\s)]*[,;}]")
LONGEST = 400
"""Bytes of arguments before one."""
MAX_NAMES = 3000
_CALLED = re.compile(rb"(?i)call_?back|routine|handler|func|_fn|pfn|_cb|proc")
