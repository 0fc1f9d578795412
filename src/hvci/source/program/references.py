"""Whether a function of C++ may change a variable that it is given by its bare name.

Knows definitions, prototypes and macros; of a function that nothing here declares nobody knows.
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


def _may_change(program: Program, called: bytes, index: int) -> bool:
    defined = program.functions(called)
    if any(index < len(one.types) and one.is_reference(index) for one in defined):
        return True
    declared = list(_declared(program, called))
    if any(_is_reference(one, index) for one in declared):
        return True
    if defined or declared or program.macros(called):
        return False
    is_of_kit = _OF_KIT.fullmatch(called) is not None or called.isupper()
    return not is_of_kit and x86_bytes(called.decode("latin-1")) is None and not _is_type(called)


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
