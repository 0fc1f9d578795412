"""The value of a local variable at a place, and what changes it out of sight.

Knows the changes of a variable that may reach a place; expressions are evaluated by `resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.program import Program
from hvci.source.program.reaching import Asked
from hvci.source.program.references import changing
from hvci.source.program.returning import included
from hvci.source.program.scope import Assignment, Variable, declaration_of, variable
from hvci.source.text.blocks import naming
from hvci.source.values.guess import Guess, exactly

_KEEPING = ("=", "|=", "&=")
"""What gives the same however often it is done."""
_COUNTING = {"++": "+", "--": "-"}


@dataclass
class Variables:
    """The local variables of one program."""

    program: Program

    def __post_init__(self) -> None:
        self._known: dict[tuple[int, int, bytes, int], Variable | None] = {}

    def at(self, function: Function, name: bytes, offset: int) -> Variable | None:
        """The variable that a name means at an offset; None when the function declares none."""
        start = function.node.start_byte
        key = (id(function), start, name, declaration_of(function, name, offset))
        if key not in self._known:
            found = variable(function, name, offset)
            if found is not None and (hidden := tuple(self._hidden(found, name))):
                found = replace(found, addresses=(*found.addresses, *hidden))
            self._known[key] = found
        return self._known[key]

    def _hidden(self, found: Variable, name: bytes) -> Iterator[tuple[int, str]]:
        """Calls that may change a variable whose address nobody takes in the text."""
        is_c = found.function.file.source.is_c
        for node in found.function.nodes("call_expression"):
            whole = _CALLED.search(text_of(node.child_by_field_name("function")))
            called = whole[1] if whole is not None else b""
            for index, given in enumerate(arguments(node)):
                if text_of(given) == name and self._assigns(called, index):
                    yield node.start_byte, called.decode("utf-8", "replace")
        start, end = found.function.node.byte_range
        for at in () if is_c else found.function.file.source.places(name):
            if start <= at < end:
                named = found.function.file.node_at(at, at + len(name))
                if named is not None and (who := changing(self.program, named)):
                    yield at, who
        for at in naming(found.function.file.source, start, end, name):
            yield at, "assembly"
        for at, source in included(self.program, found.function):
            if _assigns(name, source.code):
                before = found.function.file.source.code[start:at]
                yield start + len(before.rstrip()) - 1, source.path  # a statement stands there
        text = text_of(found.function.node)
        for macro in self._assigning(name):
            pattern = rb"\b" + re.escape(macro) + rb"\b"
            for match in re.finditer(pattern, text):
                yield found.function.node.start_byte + match.start(), macro.decode()

    def _assigns(self, called: bytes, index: int) -> bool:
        """Whether a macro assigns one of its arguments, or takes its address."""
        for macro, _ in self.program.macros(called) if called else ():
            names = macro.parameters or ()
            if index < len(names) and _changes(names[index], macro.body):
                return True
        return False

    def _assigning(self, name: bytes) -> list[bytes]:
        """Macros that assign a variable of that name, which they do not get as an argument."""
        return [
            macro.name
            for unit in self.program.naming(name)
            for many in unit.macros.values()
            for macro in many
            if name not in (macro.parameters or ())
            and name in macro.body
            and _assigns(name, macro.body)
        ]


_CALLED = re.compile(rb"(\w+)\s*(?:<[^()]*>)?\s*\Z")
"""The last name in what is called, without what a template is given."""


def _assigns(name: bytes, body: bytes) -> bool:
    pattern = rb"(?<![\w.>])" + re.escape(name) + rb"\b\)?\s*(?:[|&^+*/-]|<<|>>)?=(?!=)"
    return re.search(pattern, body) is not None


def _changes(parameter: bytes, body: bytes) -> bool:
    """Whether a macro assigns a parameter, or takes its address."""
    taken = rb"(?<!&)&[\s(]*%b\b(?!\s*\)*\s*(?:->|\.|\[))" % re.escape(parameter)
    return _assigns(parameter, body) or re.search(taken, body) is not None


def is_repeated(found: Variable, item: Assignment, asked: Asked) -> bool:
    """Whether a change that does not keep its result may run again after itself."""
    if item.operator in _KEEPING:
        return False
    return any(one.assignment is item for one in found.reaching(item.start, asked)[0])


def result(item: Assignment, before: Guess, right: Guess) -> Guess:
    """What an assignment leaves."""
    if item.operator == "=":
        return right
    if item.operator in _COUNTING:
        return before.combined(exactly(1, "number"), _COUNTING[item.operator])
    return before.combined(right, item.operator.removesuffix("="))
