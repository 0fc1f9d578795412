"""What a parameter of a function gets: from calls by its names, from macros, through pointers.

Knows calls, across files; expressions are evaluated by `resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hvci import catalog
from hvci.source.preprocess.tree import Function, arguments, parse, text_of, walk
from hvci.source.program import callbacks
from hvci.source.program.constructors import aliases, is_constructor, made
from hvci.source.program.linkage import Linkage
from hvci.source.program.news import choosing
from hvci.source.program.program import MAX_USES, Macro, Program, Use
from hvci.source.program.stores import prototype_default
from hvci.source.values.guess import NOTHING, Guess, unknown
from hvci.source.values.places import Evaluator, Place, shown
from hvci.source.values.rounds import Rounds


class Callers:
    """Looks up what the calls of one program give."""

    def __init__(self, program: Program, evaluator: Evaluator, rounds: Rounds) -> None:
        self.program, self.evaluator = program, evaluator
        self.rounds = rounds
        self.busy = rounds.busy
        """What is being looked up, so that nothing is looked up inside itself."""
        self.linkage = Linkage(program)

    def parameter(self, function: Function, index: int, depth: int) -> Guess:
        """What all callers of a function give to one of its parameters."""
        if function.name == b"new":
            uses = choosing(function, self.program)
            given = self.given(function.types[index], index - 1, uses, depth, "caller")
            given = given.join(self._by_default(function, index, uses, depth))
            given = given.join(self._hidden(index - 1, depth))
            return given if given.atoms or not given.complete else _uncalled(function, index)
        uses = self.uses_of(function)
        given = self.given(function.name, index, uses, depth, "caller", function)
        if len(uses) >= MAX_USES:
            given = given.join(unknown(f"{shown(function.name)} is called in very many places"))
        for macro in self._macros_calling(function.name):
            given = given.join(self._from_macro(macro, function.name, index, depth))
        for other in callbacks.other_names(self.program, function.name):
            uses = self.program.uses(other)
            given = given.join(self.given(other, index, uses, depth, "caller", function))
        if is_constructor(function):
            given = given.join(self._constructed(function, index, depth))
            for other in aliases(self.program, function.name):
                uses = self.program.uses(other)
                given = given.join(self.given(other, index, uses, depth, "caller", function))
        if elsewhere := callbacks.elsewhere(self.program, function):
            given = given.join(unknown(f"{elsewhere} may call {shown(function.name)} as well"))
        if not given.complete:
            return given
        through = self._through_pointers(function, index, depth)
        if not given.atoms:
            return through if through.atoms else _uncalled(function, index)
        if not through.atoms and callbacks.is_taken(self.program, function):
            through = unknown(f"{shown(function.name)} may be called through a pointer as well")
        return given.join(through)

    def _by_default(self, function: Function, index: int, uses: Iterable[Use], depth: int) -> Guess:
        """What an operator new gets where a `new` leaves an argument out."""
        if all(len(arguments(use.node, "placement")) >= index for use in uses):
            return NOTHING
        default = function.defaults[index] or prototype_default(self.program, function, index)
        if default is None:
            return NOTHING
        return self.evaluator.value(default, Place(), depth).known_by("caller")

    def _constructed(self, function: Function, index: int, depth: int) -> Guess:
        """What a constructor gets where objects are made without a call of its name."""
        key, found = ("made", function.name, index, id(function)), NOTHING
        if key in self.busy:
            return NOTHING
        self.busy.add(key)
        for one in made(self.program, function.name):
            if one.given is None:
                found = found.join(unknown(f"how {shown(function.name)} is made is not followed"))
            elif index < len(one.given) <= len(function.parameters):
                path = one.file.source.path
                place = Place(one.file.function_at(one.offset), one.offset, path=path)
                found = found.join(self.evaluator.value(one.given[index], place, depth))
            elif len(one.given) <= index:
                default = function.defaults[index] or prototype_default(
                    self.program, function, index
                )
                if default is not None:
                    found = found.join(self.evaluator.value(default, Place(), depth))
        self.busy.discard(key)
        return found.known_by("caller")

    def _through_pointers(self, function: Function, index: int, depth: int) -> Guess:
        """What calls through pointers give to a function that nobody calls by its name."""
        key = ("pointers", function.name, index)
        if key in self.busy:
            return NOTHING
        self.busy.add(key)
        found = NOTHING
        for use, node in (every := callbacks.calls(self.program, function, index)):
            place = Place(use.function, use.offset, path=use.source.path)
            found = found.join(self.evaluator.value(node, place, depth))
        if len(every) >= callbacks.MAX_CALLS:
            found = found.join(unknown(f"{shown(function.name)} is called in very many places"))
        self.busy.discard(key)
        return found.known_by("caller")

    def _hidden(self, index: int, depth: int) -> Guess:
        """What macros of the kit give to an operator new."""
        found = NOTHING
        for name, row in catalog.hidden_calls().items():
            if index >= len(row.gives) or row.gives[index] not in row.parameters:
                continue
            for use in self.program.uses(name.encode()):
                at = row.parameters.index(row.gives[index])
                found = found.join(self._argument(use, at, depth, None))
        return found

    def given(
        self,
        name: bytes,
        index: int,
        uses: Iterable[Use],
        depth: int,
        origin: str,
        function: Function | None = None,
    ) -> Guess:
        """What the uses of a function or macro give to one of its parameters."""
        every = list(uses)

        def ask() -> Guess:
            runs = self.evaluator.runs
            given = [self._argument(use, index, depth, function) for use in every if runs(use)]
            if function is not None and function.is_method:
                given = _of_this_method(given)
            found = NOTHING
            for one in given:
                found = found.join(one)
            return found.known_by(origin)

        what = f"an argument of {shown(name)}"
        return self.rounds.of((name, index, id(function)), ask, what)

    def of_macro(self, macro: Macro, index: int, depth: int) -> Guess:
        """What the uses of a macro give to one of its parameters, in other macros as well."""
        found = self.given(macro.name, index, self.program.uses(macro.name), depth, "macro")
        key = ("macro", macro.name, index)
        if key in self.busy:
            return found
        self.busy.add(key)
        for outer in self._macros_calling(macro.name):
            if self.program.uses(outer.name):
                found = found.join(self._from_macro(outer, macro.name, index, depth))
        self.busy.discard(key)
        return found

    def _argument(self, use: Use, index: int, depth: int, function: Function | None) -> Guess:
        field = "placement" if use.node.type == "new_expression" else "arguments"
        given = arguments(use.node, field)
        if 0 <= index < len(given):
            return self.evaluator.value(
                given[index], Place(use.function, use.offset, path=use.source.path), depth
            )
        default = function.defaults[index] if function else None
        if default is None and function is not None:
            default = prototype_default(self.program, function, index)
        return self.evaluator.value(default, Place(), depth) if default is not None else NOTHING

    def _macros_calling(self, name: bytes) -> list[Macro]:
        pattern = re.compile(rb"\b" + re.escape(name) + rb"\s*\(")
        return [
            macro
            for unit in self.program.naming(name)
            for many in unit.macros.values()
            for macro in many
            if macro.name != name and pattern.search(macro.body)
        ]

    def _from_macro(self, macro: Macro, name: bytes, index: int, depth: int) -> Guess:
        for node in walk(parse(b"void f(){" + macro.body + b";}").root_node):
            if (
                node.type == "call_expression"
                and text_of(node.child_by_field_name("function")) == name
            ):
                given = arguments(node)
                if index < len(given):
                    return self.evaluator.value(given[index], Place(macro=macro), depth)
        return unknown(f"the body of the macro {shown(macro.name)} could not be read")

    def uses_of(self, function: Function) -> list[Use]:
        """The calls of a function; those of others that have its name in their own file are not."""
        path, name, scope = function.file.source.path, function.name, self.linkage.scope
        found = self.program.uses(name)
        if function.is_method:
            return found
        return [one for one in found if scope(name, one.source.path) == scope(name, path)]


def _of_this_method(given: list[Guess]) -> list[Guess]:
    """Without the calls of other classes' methods of that name: those that give plain numbers."""
    if not any(one.families for one in given):
        return given
    return [one for one in given if one.families or not one.complete or not one.atoms]


def _uncalled(function: Function, index: int) -> Guess:
    name = shown(function.parameters[index])
    return unknown(f"{name} is a parameter of {shown(function.name)}, and no call of it was found")
