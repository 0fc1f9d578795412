"""The driver's own data that is called: arrays and strings that hold machine code.

Theory of operation: words tell which calls may lead to an array of plain numbers or to a string;
their pointers are followed backwards as others are. What is put into a section by its name may be
in one that executes. Knows texts and syntax trees; judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hvci.source.pointers.places import WORD, Words
from hvci.source.pointers.roots import Where
from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.program import Program
from hvci.source.program.scope import variable
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node

NUMBERS = frozenset(
    b"UCHAR CHAR BYTE char USHORT SHORT WORD short ULONG LONG ULONGLONG LONGLONG ULONG32 LONG32"
    b" ULONG64 LONG64 DWORD DWORD32 DWORD64 QWORD UINT UINT8 UINT16 UINT32 UINT64 INT INT8 INT16"
    b" INT32 INT64 long int unsigned uint8_t uint16_t uint32_t uint64_t int8_t int16_t int32_t"
    b" int64_t __int8 __int16 __int32 __int64 CONST const constexpr volatile".split()
)
DATA = frozenset(
    b"PVOID LPVOID PUCHAR PCHAR PBYTE LPBYTE PULONG PUSHORT PULONG64 PULONGLONG PULONG_PTR PCSTR"
    b" PSTR PCVOID ULONG_PTR UINT_PTR LONG_PTR DWORD_PTR uintptr_t intptr_t SIZE_T".split()
)
"""Types of casts that make no routine of what they are of."""
_DIMENSION = re.compile(rb"\[[^\]\n;{}]*\]\s*[=;,\[]")
_STRING = re.compile(rb'=\s*(?:\([^()\n]*\)\s*)?"')
_MACRO = re.compile(rb'#[ \t]*define[ \t]+(\w+)[ \t]+"')
_CAST = re.compile(rb"\)[\s(&]*([A-Za-z_][\w.:>-]*)")
_CAST_TO = re.compile(rb"(?=_cast<[^;{}]*?>[\s(&]*([A-Za-z_][\w.:>-]*))")
_PLACED = re.compile(
    rb"\ballocate\s*\(|\bsection\s*\(|\b(?:const_seg|data_seg|bss_seg|code_seg)\b"
    rb"|\bDECLSPEC_ALLOCATE"
)
"""What puts data into a section by its name."""
_LITERALS = ("string_literal", "concatenated_string")
_NEAR = 80
"""Bytes before a bracket in which a name and its type stand."""
_BRACE = re.compile(rb"[{}]")
_STRUCTURE = re.compile(rb"\b(?:struct|union|class)\b[^;{}()]*\Z")


class Own:
    """What one text shows of data: worked out once for all programs."""

    def __init__(self, source: Source) -> None:
        code, plain = source.code, source.plain
        self.arrays = {
            words[-1]
            for match in _DIMENSION.finditer(code)
            if len(words := _left(code, match.start())) > 1 and words[-2] in NUMBERS
        }
        """Names of arrays of numbers."""
        self.strings = set(_MACRO.findall(plain) if b"define" in plain else ())
        for match in _STRING.finditer(plain):
            self.strings.update(_left(plain, match.start())[-1:])
        self.cast: set[bytes] = set()
        """Names that are cast to what may be a routine."""
        self.handed: set[bytes] = set()
        """Those of them that may be arguments."""
        every = [one for one in _CAST.finditer(code) if _is_routine(code, one.start())]
        every += _CAST_TO.finditer(code) if b"_cast<" in code else ()
        for match in every:
            words, rest = WORD.findall(match[1]), code[match.end(1) : match.end(1) + _NEAR]
            self.cast.update(words)
            if _IS_ARGUMENT.match(rest) is not None:
                self.handed.update(words)
        for holder, name in _ALIAS.findall(code) if self.cast else ():
            if holder in self.cast:
                self.cast.add(name)
            if holder in self.handed:
                self.handed.add(name)
        self.listed = {match[1] for match in every if _is_in_list(code, match.start())}
        """Names that are cast in lists of values."""


_ALIAS = re.compile(
    rb"\b(\w++)\s*+=\s*(?:\([^()=;]*\)\s*)*&?\s*([A-Za-z_]\w*)\s*(?:\[\s*0\s*\]\s*)?[;,]"
)
_KNOWN: WeakKeyDictionary[Source, Own] = WeakKeyDictionary()


def own(source: Source) -> Own:
    """What a text shows of data."""
    if source not in _KNOWN:
        _KNOWN[source] = Own(source)
    return _KNOWN[source]


def _left(code: bytes, at: int) -> list[bytes]:
    """The words that stand right before an offset, without brackets."""
    near = _BRACKETS.sub(b" ", code[max(0, at - _NEAR) : at])
    return WORD.findall(re.split(rb"[;{}()]", near)[-1])


_BRACKETS = re.compile(rb"\[[^\]]*\]")


class OwnData:
    """Knows the data of one program, and which calls may lead there."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._members: dict[bytes, bool] = {}
        """By the name of an array: whether it is a field somewhere."""

    def calls(self, words: Words) -> Iterator[int]:
        """Parentheses of calls in a file that may lead there."""
        reached = self._reached(words) if self.targets else frozenset()
        for at in words.through if reached else ():
            begin = max(words.code.rfind(one, 0, at) for one in (b";", b"{", b"}")) + 1
            if not reached.isdisjoint(WORD.findall(words.code, begin, at)):
                yield at
        for name, at in words.called if reached else ():
            if name in reached and not self.program.functions(name):
                yield at
        if b'"' in words.source.plain:
            yield from (one.end() - 1 for one in _CALLED_STRING.finditer(words.source.plain))

    def takings(self, words: Words, routines: dict[str, int]) -> Iterator[tuple[int, str]]:
        """Calls that hand such data on to be called: the names of the routines."""
        reached = self._reached(words) if self.targets else frozenset()
        for start, opening, name in words.taking if reached else ():
            end = words.code.find(b";", opening)
            held = WORD.findall(words.code, opening, end if end > 0 else len(words.code))
            if name.decode() in routines and not reached.isdisjoint(held):
                yield start, name.decode()

    @cached_property
    def _every(self) -> list[Own]:
        found = map(self.program.space.source, self.program.paths)
        return [own(source) for source in found if source is not None]

    @cached_property
    def arrays(self) -> frozenset[bytes]:
        """Names of arrays of numbers anywhere in the program."""
        return frozenset().union(*(one.arrays for one in self._every))

    @cached_property
    def targets(self) -> frozenset[bytes]:
        """Names of arrays and strings that are cast to what may be a routine."""
        data = self.arrays.union(*(one.strings for one in self._every))
        return data.intersection(set().union(*(one.cast for one in self._every)))

    @property
    def has_targets(self) -> bool:
        """Whether data of the program is cast to what may be a routine."""
        return bool(self.targets)

    @cached_property
    def _is_handed(self) -> bool:
        """Whether a function may get one of them."""
        return any(not self.targets.isdisjoint(one.handed) for one in self._every)

    @cached_property
    def _is_listed(self) -> bool:
        """Whether a list of values may hold one of them: its fields and elements are called."""
        return any(not self.targets.isdisjoint(one.listed) for one in self._every)

    def _reached(self, words: Words) -> frozenset[bytes]:
        """The names of a file that may hold the address of such data."""
        found = set(self.targets.intersection(self.program.space.words.of(words.source.path)))
        if self._is_listed:
            found.update(name for name, at in words.called if _is_part(words.code, name, at))
        todo = sorted(found)
        while todo:
            new = words.moved_from.get(todo.pop(), set()) - found
            found |= new
            todo += new
        return frozenset(found) | (words.parameters if self._is_handed else frozenset())

    # ------------------------------------------------------------ pointers

    def named(self, node: Node, where: Where) -> str:
        """The data that an expression is the address of; empty for anything else."""
        if node.type in _LITERALS:
            return "a string"
        if node.type == "pointer_expression" and text_of(node).startswith(b"&"):
            inner = node.child_by_field_name("argument")
            while inner is not None and inner.type in (
                "subscript_expression",
                "parenthesized_expression",
            ):
                inner = inner.child_by_field_name("argument") or inner.named_children[0]
            return self.named(inner, where) if inner is not None else ""
        name = text_of(
            node.child_by_field_name("field") if node.type == "field_expression" else node
        )
        name = name.rpartition(b"::")[2].strip()
        if node.type not in _NAMES or name not in self.arrays:
            return ""
        is_field = node.type == "field_expression"
        is_own = self._is_member(name) if is_field else self._is_array(name, where.function)
        return name.decode("utf-8", "replace") if is_own else ""

    def _is_member(self, name: bytes) -> bool:
        """Whether some structure has an array of this name: others may be called like a field."""
        if name not in self._members:
            units = self.program.naming(name)
            self._members[name] = any(_has_member(unit.source.code, name) for unit in units)
        return self._members[name]

    def _is_array(self, name: bytes, function: Function | None) -> bool:
        """Whether a name is an array, and not a parameter or another variable of a function."""
        if function is None:
            return True
        if name in function.parameters:
            return False
        if variable(function, name) is None:
            return True
        body = function.file.source.code[function.node.start_byte : function.node.end_byte]
        every = (_left(body, match.start()) for match in _DIMENSION.finditer(body))
        return any(one[-1:] == [name] and len(one) > 1 and one[-2] in NUMBERS for one in every)

    def is_placed(self, name: str) -> bool:
        """Whether a file that declares an array puts data into sections by their names."""
        return any(_PLACED.search(unit.source.plain) for unit in self.program.naming(name.encode()))


def _is_part(code: bytes, name: bytes, at: int) -> bool:
    """Whether what is called at a parenthesis is a field, or an element of an array."""
    start = code.rfind(name, 0, at)
    return b"[" in code[start:at] or code[max(0, start - 9) : start].rstrip().endswith(
        (b".", b"->")
    )


def _has_member(code: bytes, name: bytes) -> bool:
    """Whether a structure in a text declares an array of a name."""
    every = re.finditer(rb"\b" + re.escape(name) + rb"\s*\[", code)
    return any(_is_in_structure(code, match.start()) for match in every)


def _is_in_structure(code: bytes, at: int) -> bool:
    """Whether the innermost brace around an offset is that of a structure."""
    depth = 0
    for brace in reversed([*_BRACE.finditer(code, 0, at)]):
        if brace[0] == b"}":
            depth += 1
        elif depth:
            depth -= 1
        else:
            before = code[max(0, brace.start() - _NEAR) : brace.start()]
            return _STRUCTURE.search(before) is not None
    return False


def _is_routine(code: bytes, end: int) -> bool:
    """Whether the cast that ends at an offset, or one before it, may be to a routine's type."""
    begin = code.rfind(b"(", 0, end)
    inside = code[begin + 1 : end].split()
    if code[max(0, begin - _NEAR) : begin].rstrip()[-1:] == b")":
        return True
    return bool(inside) and inside[-1][-1:] != b"*" and inside[-1] not in DATA


def _is_in_list(code: bytes, at: int) -> bool:
    """Whether a cast stands in a list of values."""
    begin = code.rfind(b"{", 0, at)
    return (
        begin > code.rfind(b";", 0, at)
        and _OPENS_LIST.search(code, max(0, begin - _NEAR), begin) is not None
    )


_OPENS_LIST = re.compile(rb"[={,]\s*\Z")
_IS_ARGUMENT = re.compile(rb"\s*(?:\[\s*0\s*\]\s*)?(?:,|\)(?![\s)]*\())")
_PARTS = ("subscript_expression", "parenthesized_expression")
_CALLED_STRING = re.compile(rb'\)\s*"(?:[^"\\\n]|\\.)*"\s*\)[\s)]*\(')
_NAMES = ("identifier", "qualified_identifier", "field_expression")
