"""Whether something of C++ may change a variable that it is given by its bare name.

Calls, objects that are made, and operators of classes take references. Knows definitions,
prototypes and macros; of a function that nothing here declares nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.catalog.prototypes import x86_bytes
from hvci.source.preprocess.tree import ancestors, text_of
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node

_OF_KIT = re.compile(
    rb"(?:Wdf|Wpp|Kd|Dbg|Rtl|Ke|Ex|Mm|Io|Ob|Ps|Se|Zw|Nt|Flt|Ndis|Fwps|Fwpm)[A-Z]\w*"
)
"""Functions of the kit, and macros of its headers: those of C take no references."""
_TYPES = (b"int", b"unsigned", b"long", b"short", b"char")
_INNER = ("compound_statement", "argument_list", "field_initializer_list")


def may_change(program: Program, called: bytes, index: int) -> bool:
    """Whether a function takes an argument by reference, or nothing says how it takes it."""
    key = b"ref " + called + b" %d" % index
    if key not in program.stored:
        program.stored[key] = (_may_change(program, called, index),)
    return bool(program.stored[key][0])


def takes_reference(program: Program, called: bytes, index: int) -> bool:
    """Whether a definition or prototype of a function says that it takes one."""
    defined = program.functions(called)
    if any(index < len(one.types) and one.is_reference(index) for one in defined):
        return True
    return any(_is_reference(one, index) for one in _declared(program, called))


def _may_change(program: Program, called: bytes, index: int) -> bool:
    if takes_reference(program, called, index):
        return True
    if program.functions(called) or any(_declared(program, called)) or program.macros(called):
        return False
    is_of_kit = _OF_KIT.fullmatch(called) is not None or called.isupper()
    return not is_of_kit and x86_bytes(called.decode("latin-1")) is None and not _is_type(called)


def changing(program: Program, node: Node, is_sure: bool = False) -> str:
    """What may change the variable or field that a name means, as the text around it shows.

    `is_sure`: only what is declared to take a reference.
    """
    while node.parent is not None:
        above = node.parent
        is_field = above.type == "field_expression" and above.child_by_field_name("field") == node
        if not is_field and above.type not in ("parenthesized_expression", "qualified_identifier"):
            break
        node = above
    above_it = node.parent
    if above_it is None:
        return ""
    above = above_it
    if above.type == "binary_expression":
        return _operator(program, node, above)
    if above.type in ("argument_list", "initializer_list"):
        return _handed(program, node, above, is_sure)
    is_vexing = above.type == "parameter_declaration" and len(above.named_children) == 1
    listed = above.parent if is_vexing else None
    declared = listed.parent.parent if listed is not None and listed.parent is not None else None
    if listed is None or declared is None or declared.type != "declaration":
        return ""
    kind = text_of(declared.child_by_field_name("type"))
    return _object(program, kind, listed.named_children.index(above))


def _handed(program: Program, node: Node, listed: Node, is_sure: bool) -> str:
    """What gets a variable in its arguments: a function, or an object that is made."""
    above, index = listed.parent, listed.named_children.index(node)
    if above is None:
        return ""
    if above.type == "call_expression":
        named = _CALLED.search(text_of(above.child_by_field_name("function")))
        called = named[1] if named is not None else b""
        asked = takes_reference if is_sure else may_change
        is_changing = bool(called) and asked(program, called, index)
        return called.decode("utf-8", "replace") if is_changing else ""
    if above.type == "init_declarator" and above.parent is not None:
        above = above.parent
    kind = above.child_by_field_name("type")
    return _object(program, text_of(kind), index) if kind is not None else ""


def _object(program: Program, kind: bytes, index: int) -> str:
    """The class whose constructor takes an argument by reference; empty where none does."""
    name = kind.partition(b"<")[0].rpartition(b"::")[2].strip()
    return name.decode("utf-8", "replace") if takes_reference(program, name, index) else ""


def _operator(program: Program, node: Node, above: Node) -> str:
    """The operator of a class that takes one of its sides by reference."""
    sign = text_of(above.child_by_field_name("operator"))
    is_right = above.child_by_field_name("right") == node
    outer = above
    while outer.parent is not None and outer.parent.type == "binary_expression":
        outer = outer.parent
    is_statement = outer.parent is not None and outer.parent.type == "expression_statement"
    is_stream = is_right and is_statement and sign in (b">>", b"<<", b"&", b"|")
    every = program.functions(b"operator" + sign)
    takes = any(one.is_reference(at) for one in every for at in range(len(one.types)))
    return f"operator{sign.decode()}" if is_stream or takes else ""


_CALLED = re.compile(rb"(\w+)\s*(?:<[^()]*>)?\s*\Z")
"""The last name in what is called, without what a template is given."""


def _is_type(called: bytes) -> bool:
    """Whether it may be a cast that is written as a call, or an object that is made."""
    return called.endswith((b"_t", b"_cast")) or called in _TYPES


def _declared(program: Program, called: bytes) -> Iterator[Node]:
    """The lists of parameters in prototypes of a name, and in variables that hold lambdas."""
    for unit in program.naming(called):
        for at in unit.source.places(called):
            if unit.in_define(at) or unit.live(at) is False:
                continue
            node = unit.trees.at(at).node_at(at, at + len(called))
            for above in ancestors(node) if node is not None else ():
                if above.type in ("function_declarator", "init_declarator"):
                    value = above.child_by_field_name("value")
                    if value is not None and value.type == "lambda_expression":
                        above = value.child_by_field_name("declarator") or above
                    listed = above.child_by_field_name("parameters")
                    if listed is not None and not listed.start_byte <= at < listed.end_byte:
                        yield listed
                    break
                if above.type in _INNER:
                    break


def _is_reference(listed: Node, index: int) -> bool:
    """Whether a parameter is a reference that is not constant."""
    every = [one for one in listed.named_children if one.type.endswith("parameter_declaration")]
    text = text_of(every[index]) if index < len(every) else b""
    return b"&" in text and b"const" not in text.split(b"&")[0].split()
