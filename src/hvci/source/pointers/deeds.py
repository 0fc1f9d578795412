"""What macros do besides having a value: they store, call through pointers and give values.

Knows the bodies of macros; knows nothing of who uses them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from hvci.source.pointers.places import ROUTINES, TAKING, WORD
from hvci.source.preprocess.tree import Text, arguments, parse, text_of, walk
from hvci.source.program.chains import bare
from hvci.source.program.program import Macro
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node

_MAY_ACT = re.compile(rb"(?<![=!<>])=(?!=)|\+\+|--|[\w)]\s*\(")
_LITERAL = re.compile(rb'"(?:[^"\\\n]|\\.)*"')
_NUMBERS = frozenset((b"NULL", b"TRUE", b"FALSE", b"nullptr", b"true", b"false"))
_WRITING = re.compile(rb"_?Interlocked\w*|WRITE_REGISTER_\w+|(?:str|wcs)n?cpy(?:_s)?")
_CALLED = (
    *("cast_expression", "call_expression", "pointer_expression", "conditional_expression"),
    *("field_expression", "assignment_expression", "subscript_expression", "comma_expression"),
    "parenthesized_expression",
)
"""What stands in parentheses that are called; else it is a cast."""
_THROUGH = ("pointer_expression", "subscript_expression")


class Deed(NamedTuple):
    """What a macro does that may matter."""

    writes: bool = False
    """It writes where a pointer leads."""
    casts: bool = False
    """It calls what is more than a name, or hands something on to be called."""
    called: frozenset[bytes] = frozenset()
    """Parameters, fields and variables that it calls, and functions."""
    given: frozenset[bytes] = frozenset()
    """Parameters and variables that it gives what may be a pointer."""


_KNOWN: WeakKeyDictionary[Source, dict[bytes, list[Deed]]] = WeakKeyDictionary()


def deeds(text: Text) -> dict[bytes, list[Deed]]:
    """What the macros of one text do, by name: worked out once for all programs."""
    if text.source not in _KNOWN:
        found = _KNOWN[text.source] = dict[bytes, list[Deed]]()
        for name, every in text.directives.macros.items():
            done = [_deed(one) for one in every if _MAY_ACT.search(one.body) is not None]
            if any(any(one) for one in done):
                found[name] = done
    return _KNOWN[text.source]


def _deed(macro: Macro) -> Deed:
    names = frozenset(macro.parameters or ())
    found = list[Deed]()
    body = _LITERAL.sub(b'""', macro.body)
    for node in walk(parse(b"void f(){" + body + b";}").root_node):
        if node.type == "assignment_expression":
            found.append(_assigned(node))
        elif node.type == "update_expression":
            found.append(Deed(writes=_is_through(node.child_by_field_name("argument"))))
        elif node.type == "init_declarator":
            names |= frozenset(WORD.findall(text_of(node.child_by_field_name("declarator"))))
        elif node.type == "call_expression":
            found.append(_called(node, names))
    return Deed(
        any(one.writes for one in found),
        any(one.casts for one in found),
        frozenset().union(*(one.called for one in found)),
        frozenset().union(*(one.given for one in found)),
    )


def _assigned(node: Node) -> Deed:
    """What an assignment does: fields of what a name points to are for `macro_stores`."""
    left, right = (node.child_by_field_name(side) for side in ("left", "right"))
    if left is None or right is None:
        return Deed()
    if _is_through(left):
        # `*(PVOID *)&v = p` gives a variable a value as well
        inner = WORD.findall(text_of(left)) if b"&" in text_of(left) else ()
        return Deed(writes=True, given=frozenset(inner))
    words = {*WORD.findall(text_of(right))} - _NUMBERS
    left = bare(left)
    return Deed(given=frozenset((text_of(left),) if words and left.type == "identifier" else ()))


def _is_through(left: Node | None) -> bool:
    """Whether what is written is no variable, and no field of what a name alone points to."""
    left = bare(left) if left is not None else None
    if left is None:
        return False
    if left.type == "field_expression":
        inner = left.child_by_field_name("argument")
        return inner is not None and bare(inner) is not inner and b")" in text_of(inner)[:-1]
    return left.type in _THROUGH


def _called(call: Node, names: frozenset[bytes]) -> Deed:
    """What a call does: through a pointer, or of a routine that calls or writes to what it gets."""
    function = call.child_by_field_name("function")
    name = text_of(function).strip()
    if function is None:
        return Deed()
    if function.type == "parenthesized_expression":
        inner = [one for one in function.named_children if one.type != "comment"]
        if len(inner) == 1 and inner[0].type in ("identifier", "type_identifier"):
            return Deed(called=frozenset((text_of(inner[0]),)) & names)
        return Deed(casts=inner[:1] != [] and inner[-1].type in _CALLED)
    if function.type != "identifier":
        field = text_of(function.child_by_field_name("field"))
        return Deed(casts=function.type in _THROUGH, called=frozenset((field,) if field else ()))
    if name.decode("latin-1") in ROUTINES:
        return Deed(casts=True)
    if name in TAKING or _WRITING.fullmatch(name) is not None:
        first = arguments(call)[:1]
        return Deed(
            True, given=frozenset(WORD.findall(text_of(first[0]))) if first else frozenset()
        )
    return Deed(called=frozenset((name,)))
