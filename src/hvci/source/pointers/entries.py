"""What a driver gives Windows to call, outside of the arguments of routines that are known by name.

Theory of operation: fields that Windows reads (`MajorFunction`, `DriverUnload`, those of fast I/O
and of KMDF's configurations) are known by their names; else the type that a pointer is cast to
says that it is a routine of the kit's. Words decide what is worth a look: a name that nothing
gives a value is a function. Knows texts and trees; follows no pointer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from hvci.source.pointers.addressed import written_at
from hvci.source.pointers.makers import RETURNING
from hvci.source.pointers.places import ROUTINES, WORD, Words
from hvci.source.pointers.through import stored_through
from hvci.source.preprocess.tree import File, text_of
from hvci.source.program.program import Program
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node

_FIELD = re.compile(
    rb"MajorFunction|DriverUnload|AddDevice|DriverStartIo|FastIo(?!Dispatch\b)\w+"
    rb"|Evt[A-Z]\w*(?<!Context)|classifyFn|notifyFn|flowDeleteFn|\w+(?:Handler|Routine|Callback)"
)
_OF_KIT = (b"Handler", b"Routine", b"Callback", b"Fn")
"""Ends of those names that count where the driver declares no such field."""
ROUTINE_TYPE = re.compile(
    rb"PDRIVER_(?:UNLOAD|INITIALIZE|ADD_DEVICE|STARTIO|CANCEL|CONTROL|LIST_CONTROL|REINITIALIZE)"
    rb"|P?FAST_IO_(?!DISPATCH\Z)\w+|PFN_\w+|EVT_\w+|MINIPORT_\w+"
    rb"|\w+_(?:ROUTINE|CALLBACK|CALLBACK_FUNCTION|DISPATCH|DISPATCH_PAGED|HANDLER|FN|FUNCTION)"
    rb"(?:_EX|_?V?\d)?"
)
_PARTS = (
    *(b"MajorFunction", b"DriverUnload", b"AddDevice", b"DriverStartIo", b"FastIo", b"Evt"),
    *(b"lassifyFn", b"otifyFn", b"DeleteFn", b"Handler", b"Routine", b"Callback", b"PDRIVER_"),
    *(b"FAST_IO_", b"PFN_", b"EVT_", b"MINIPORT_", b"_ROUTINE", b"_CALLBACK", b"_DISPATCH"),
    *(b"_HANDLER", b"_FN", b"_FUNCTION"),
)
"""Parts of all of these names."""
_IS_STORED = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)?\)?\s*=(?!=)\s*([^;{}]{1,300})")
_IS_CAST = re.compile(rb"(?=\s*\**\s*(?:\)|>\s*\()([^;{}]{1,200}))")
LONGEST = 64
_OUTSIDE = ("cast_expression", "parenthesized_expression", "conditional_expression")


class Entry(NamedTuple):
    """A place where Windows may get a routine."""

    offset: int
    """Within the value that a field gets, or behind the name of a type."""
    name: bytes
    """Of the field or type."""
    is_cast: bool
    """The name is that of a type."""
    is_address: bool
    """The address of the field is given to what writes there."""
    words: tuple[bytes, ...]
    """What the value may be made of."""


class Found:
    """What one text shows; worked out once for all programs."""

    def __init__(self, words: Words) -> None:
        code = words.source.code
        named = set(words.index.with_parts(words.source.path, _PARTS))
        every = ((name, _kind(name)) for name in sorted(named))
        self.entries = [
            entry
            for name, is_cast in every
            if is_cast is not None
            for at in words.source.places(name)
            if (entry := _entry(code, at, name, is_cast)) is not None
        ]


def _kind(name: bytes) -> bool | None:
    """Whether a name is that of a type of routines; False: of a field with one; None: no such."""
    if name.endswith(b"FAST_IO_DISPATCH"):
        return None
    if ROUTINE_TYPE.fullmatch(name) is not None:
        return True
    return None if _FIELD.fullmatch(name) is None else False


def is_field(name: bytes) -> bool:
    """Whether Windows calls what a field of a name holds."""
    return _kind(name) is False


def _entry(code: bytes, start: int, name: bytes, is_cast: bool) -> Entry | None:
    match = (_IS_CAST if is_cast else _IS_STORED).match(code, start + len(name))
    if match is None:
        return None if is_cast else _by_address(code, start, name)
    if not (_is_value(code, start, match) if is_cast else code[start - 1 : start] in (b".", b">")):
        return None
    text = CASTS_BEFORE.sub(b"", match[1].lstrip(b"*)> \t\r\n"))
    value = text[: end.start()] if (end := END.search(text)) is not None else text
    words = words_in(value)
    if not words or words[-1] == name or (name == b"MajorFunction" and b"[" not in match[0]):
        return None  # what another such field holds was looked at there
    at = match.end() if is_cast else match.start(1)
    return Entry(at, name, is_cast, False, words)


def _by_address(code: bytes, start: int, name: bytes) -> Entry | None:
    """A field whose address is the first argument of what may write there."""
    address = _ADDRESS.search(code, max(0, start - LONGEST * 2), start)
    match = _IS_GIVEN.match(code, start + len(name))
    if address is None:
        return None
    if match is None:
        words = _kept(code, address.start(), start + len(name))
        return Entry(start, name, False, True, words) if words else None
    words = words_in(match[1])
    return Entry(start, name, False, True, words) if words else None


def _kept(code: bytes, start: int, end: int) -> tuple[bytes, ...]:
    """What is written through the variable that gets an address which stands there."""
    left = _KEEPS.search(code, max(0, start - LONGEST), start)
    if left is None or _IS_ALONE.match(code, end) is None:
        return ()
    through = re.compile(
        rb"(?:\*[\s(]*%b\b|\b%b\s*\[[^\]]*\])[\s)]*=(?!=)([^;{}]*)" % (left[1], left[1])
    )
    every = through.findall(code, end, end + 2000)
    return tuple(word for one in every for word in words_in(one))


def written_later(file: File, given: Node, offset: int) -> Iterator[Node]:
    """What a function writes through the variable that is given the address of a field."""
    side = "left" if given.type == "assignment_expression" else "declarator"
    words = re.findall(rb"\w+", text_of(given.child_by_field_name(side)))
    function = file.function_at(offset)
    for one in function.nodes("assignment_expression") if function is not None else ():
        pointer = stored_through(one.child_by_field_name("left"))
        value = one.child_by_field_name("right")
        if value is not None and pointer is not None and [text_of(pointer)] == words[-1:]:
            yield value


_KEEPS = re.compile(rb"(\w+)\s*=\s*(?:\([^()]*\)\s*)*\(*\Z")
_IS_ALONE = re.compile(rb"\s*(?:\[[^\]\n]*\])?[\s)]*[;,]")
_IS_GIVEN = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)?\)*\s*,([^;{}]{1,300})")


def _is_value(code: bytes, start: int, match: re.Match[bytes]) -> bool:
    """Whether the type that begins at an offset is cast to, for what is not called at once."""
    before = code[max(0, start - LONGEST) : start].rstrip()
    is_named = _NAMED_CAST.search(before) is not None
    if not is_named and not (before[-1:] == b"(" and before[:-1].rstrip()[-1:] in _BEFORE_CAST):
        return False
    return _CALLED.match(match[1]) is None


_NAMED_CAST = re.compile(rb"_cast\s*<[^<>]*\Z")
_BEFORE_CAST = (b"=", b",", b"?", b":", b"(", b")", b"{", b"")
_CALLED = re.compile(rb"[\s*)]*\(*\s*[\w>.\s-]+\)\s*\(")


def words_in(value: bytes) -> tuple[bytes, ...]:
    """What a value may be made of; names of functions with a parenthesis."""
    every = (b"".join(one.split()) for one in _MADE_OF.findall(value))
    return tuple(one for one in every if one not in _NOTHING)


_MADE_OF = re.compile(rb"[A-Za-z_]\w*+\s*+(?!->|[.:\w])\(?")
"""What a value may be made of: names but those of objects that hold others, and calls."""
_NOTHING = (b"NULL", b"nullptr", b"TRUE", b"FALSE")
CASTS_BEFORE = re.compile(rb"\A(?:\(\s*[A-Z]\w*[\s*]*\)\s*)+")
END = re.compile(rb"[,;]")


_KNOWN: WeakKeyDictionary[Source, Found] = WeakKeyDictionary()


def entries(words: Words, program: Program, known: frozenset[bytes]) -> list[Entry]:
    """The places where a pointer may be no function; `known` are the functions of the program."""
    found = _KNOWN.get(words.source)
    if found is None:
        found = _KNOWN[words.source] = Found(words)
    return [one for one in found.entries if may_be_made(one.words, program, known, 0)]


def may_be_made(
    words: Iterable[bytes], program: Program, known: frozenset[bytes], depth: int
) -> bool:
    """Whether some of the words in a value may lead to what is no function."""
    return any(_is_made(one, program, known, depth) for one in words)


def _is_made(word: bytes, program: Program, known: frozenset[bytes], depth: int) -> bool:
    """Whether a name may get such a value somewhere, or a function of that name returns it."""
    name = word.rstrip(b"( ")
    if name != word:
        return name in known or name in _RETURNING or bool(program.macros(name))
    if name in known or depth > MAX_DEPTH:
        return depth > MAX_DEPTH
    key = b"=" + name
    if key not in program.stored:
        program.stored[key] = (False,)  # while it is asked: what it gets from itself is nothing
        program.stored[key] = (any(_ways(name, program, known, depth + 1)),)
    return program.stored[key][0] is True


def _ways(name: bytes, program: Program, known: frozenset[bytes], depth: int) -> Iterator[bool]:
    """For each place of a name: may it get memory or data there?"""
    for unit in program.naming(name):
        code = unit.source.code
        for at in unit.source.places(name):
            end = at + len(name)
            if _MAKES.match(code, end) is not None:
                yield True
            elif (given := _GIVEN.match(code, end)) is not None:
                yield may_be_made(words_in(given[1]), program, known, depth)
            else:
                before = code[max(0, at - LONGEST) : at].rstrip()
                is_last = _ENDS.match(code, end) is not None
                is_address = _ADDRESS.search(before) is not None
                yield is_address or (is_last and _IS_TYPE.search(before) is not None)


MAX_DEPTH = 6
_GIVEN = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)*[+-]?=(?!=)([^;{}]{0,300})")
_MAKES = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)*(?:=\s*)?[{\[]")
"""What stands behind the name of an array, or of what gets a list."""
_ENDS = re.compile(rb"\s*[,)]")
_ADDRESS = re.compile(rb"&[\s(]*(?:&?\w+[\s)]*(?:\.|->)\s*)*\Z")
"""What stands before a name whose address is taken."""
_IS_TYPE = re.compile(rb"[\w>]\s*\*+\Z|[(,]\s*(?:\w+\s+)*\w+\Z")
"""What stands before the name of a parameter."""
_RETURNING = frozenset(name.encode() for name in RETURNING)


def is_own(entry: Entry, program: Program) -> bool:
    """Whether a name that only tells where it is of the kit is the driver's own."""
    if not entry.is_cast and not entry.name.endswith(_OF_KIT):
        return False
    declares = _declares_type if entry.is_cast else _declares_field
    return any(
        declares(unit.source.code, at, at + len(entry.name))
        for unit in program.naming(entry.name)
        for at in unit.source.places(entry.name)
    )


def _declares_type(code: bytes, start: int, end: int) -> bool:
    """Whether a structure is declared with a name for it."""
    if _TO_SEMICOLON.match(code, end) is None:
        return False
    begin = max(code.rfind(sign, 0, start) for sign in (b";", b"{", b"}", b"(", b")"))
    return code[begin : begin + 1] == b"}" or _STRUCTURE.search(code, begin + 1, start) is not None


def _declares_field(code: bytes, start: int, end: int) -> bool:
    """Whether a name is declared, as a pointer to a function perhaps."""
    return _ENDS_FIELD.match(code, end) is not None


_TO_SEMICOLON = re.compile(rb"[^;{}()]*;")
_STRUCTURE = re.compile(rb"typedef\s+struct\b")
_ENDS_FIELD = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)?(?:;|\)\s*\()")


def value(file: File, entry: Entry, program: Program) -> Node | None:
    """What Windows may get at a place."""
    if entry.is_cast:
        return _handed_over(file, entry.offset, program)
    if entry.is_address:
        return written_at(file, entry.offset, entry.offset + len(entry.name))
    return _stored(file, entry.offset)


def _stored(file: File, offset: int) -> Node | None:
    """The value of the assignment in which an offset stands."""
    node = file.node_at(offset, offset + 1)
    while node is not None and node.type not in ("assignment_expression", "initializer_pair"):
        if node.type.endswith(("statement", "declaration", "definition")):
            return None
        node = node.parent
    value = node.child_by_field_name("right") if node is not None else None
    if node is not None and value is None:
        value = node.child_by_field_name("value")
    return value if value is not None and value.start_byte <= offset < value.end_byte else None


def _handed_over(file: File, offset: int, program: Program) -> Node | None:
    """The cast to a type that ends at an offset, where a field or a routine of the kit gets it."""
    cast = file.node_at(offset - 1, offset)
    while cast is not None and cast.type not in ("cast_expression", "call_expression"):
        cast = cast.parent if not cast.type.endswith("statement") else None
    above = cast.parent if cast is not None else None
    while above is not None and above.type in _OUTSIDE:
        above = above.parent
    if above is None:
        return None
    if above.type == "assignment_expression":
        left = above.child_by_field_name("left")
        is_field = left is not None and left.type in ("field_expression", "subscript_expression")
        return cast if is_field else None
    if above.type in ("initializer_list", "initializer_pair"):
        return cast
    if above.type == "argument_list" and above.parent is not None:
        name = text_of(above.parent.child_by_field_name("function")).strip()
        is_own = (
            name.decode("latin-1") in ROUTINES or program.functions(name) or program.macros(name)
        )
        return cast if WORD.fullmatch(name) is not None and not is_own else None
    return None
