"""What a name in source text stands for: a variable, a parameter, a macro, a constant, a field.

Theory of operation: a name is looked up where C would look: in its function, among the template
parameters, as a macro, among the constants of the WDK headers, and in the program. A parameter
is what the calls of its function give it, across files; a field is everything that the program
stores in a field of that name. Knows names; expressions are evaluated by `resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program import lambdas, meant
from hvci.source.program.kinds import global_type
from hvci.source.program.macro_assignments import assigned
from hvci.source.program.narrow import narrow
from hvci.source.program.program import Macro, Program
from hvci.source.program.redefined import Standing
from hvci.source.program.scope import Assignment, Variable, declares
from hvci.source.program.stores import (
    MAX_STORES,
    Store,
    enumerators,
    escapes,
    left_zero,
    stores,
    template_arguments,
)
from hvci.source.text.namespaces import qualifier_of
from hvci.source.values import arrays, constants, lists
from hvci.source.values.callers import Callers
from hvci.source.values.comparing import Truth
from hvci.source.values.guess import NOTHING, Guess, exactly, unknown
from hvci.source.values.places import Evaluator, Place, Ways, shown
from hvci.source.values.rounds import Rounds
from hvci.source.values.variables import Variables, is_repeated, result

if TYPE_CHECKING:
    from tree_sitter import Node


class Names:
    """Looks names up in one program."""

    def __init__(self, program: Program, evaluator: Evaluator) -> None:
        self.program = program
        self.evaluator = evaluator
        self.rounds = Rounds()
        self.busy = self.rounds.busy
        """What is being looked up, so that nothing is looked up inside itself."""
        self.variables = Variables(program)
        self.callers = Callers(program, evaluator, self.rounds)

    def name(self, whole: bytes, place: Place, depth: int) -> Guess:
        """The value of a name at a place; a scope may stand before it."""
        name = whole.rpartition(b"::")[2].strip()
        asked = meant.Asked(place.function, qualifier_of(whole))
        constant = constants.named(name) if not asked.qualifier else None
        home = place.home or place.path
        is_given = place.macro is not None and name in (place.macro.parameters or ())
        if constant is not None and not is_given and not self.program.macros(name, home):
            return constant
        ways: tuple[Callable[[bytes, Place, int], Guess | None], ...] = (
            self._macro_parameter,
            self._local,
            self._template_parameter,
            self._macro,
        )
        for way in ways if asked.qualifier is None else (self._macro,):
            if (found := way(name, place, depth)) is not None:
                return found
        if constant is not None:
            return constant
        listed = self._enumerator(name, asked, depth)
        if listed is not None:
            return listed
        found = self.stored(name, place, depth, asked=asked)
        if found.atoms and (width := narrow(global_type(self.program, name))) is not None:
            found = found.cut(width)
        own = constants.named(name) if asked.qualifier else None
        return own if own is not None and not found.atoms and not found.complete else found

    def _enumerator(self, name: bytes, asked: meant.Asked, depth: int) -> Guess | None:
        """An enumerator without a value of its own: it counts on from one that has."""
        if not self.program.is_enumerator(name) or ("store", name) in self.busy:
            return None
        every = enumerators(self.program, name)
        owned = [(one, meant.enumerator(one.file, one.item)) for one in every]
        found = NOTHING
        for one, _ in meant.scoped(self.program, owned, name, asked)[0]:
            first = self._store(one.first, depth) if one.first else exactly(0, "number")
            found = found.join(first.combined(exactly(one.steps, "number"), "+"))
        return found.known_by("number") if found.atoms else None

    def _macro_parameter(self, name: bytes, place: Place, depth: int) -> Guess | None:
        macro = place.macro
        if macro is None or not macro.parameters or name not in macro.parameters:
            return None
        index = macro.parameters.index(name)
        return self.callers.of_macro(macro, index, depth)

    def _local(self, name: bytes, place: Place, depth: int) -> Guess | None:
        function = place.function
        if function is None:
            return None
        if (own := lambdas.parameter(function, name, place.offset)) is not None:
            return self._of_lambda(name, own, place, depth)
        known = place.given.get(name)
        if known is not None and known.value is not None:
            return known.value
        found = self.variables.at(function, name, place.offset)
        if found is None:
            return None
        key = (id(found), name, place.offset)
        ask = partial(self._variable, name, found, place, depth)
        return self.rounds.of(key, ask, shown(name))

    def _of_lambda(self, name: bytes, own: lambdas.Parameter, place: Place, depth: int) -> Guess:
        """What the calls of a lambda give to its parameter."""
        if (key := ("lambda", id(place.function), name)) in self.busy:
            return NOTHING
        self.busy.add(key)
        found = NOTHING if own.is_whole else unknown(f"{shown(name)} is a parameter of a lambda")
        for node in (*own.given, own.default):
            if node is not None:
                found = found.join(
                    self.evaluator.value(node, replace(place, offset=node.start_byte), depth)
                )
        self.busy.discard(key)
        if not found.atoms and found.complete:
            return unknown(f"{shown(name)} is a parameter of a lambda that nothing calls")
        return found.known_by("caller")

    def _variable(self, name: bytes, found: Variable, place: Place, depth: int) -> Guess:
        """The value that a variable has at a place, by the changes that may reach it."""
        asked = Ways(self.evaluator, place, depth)
        changes, is_first = found.reaching(place.offset, asked)
        value = NOTHING
        if is_first and found.parameter is not None:
            value = self.callers.parameter(found.function, found.parameter, depth)
        for change in changes:
            item = change.assignment
            if item is None:
                text = f"the address of {shown(name)} is given to {change.receiver}"
                value = value.join(unknown(text))
            elif is_repeated(found, item, asked):
                value = value.join(unknown(f"{shown(name)} is changed in a loop"))
            else:
                value = value.join(self._after(name, item, place, depth))
        if not value.atoms and value.complete:
            return unknown(f"{shown(name)} has no value that could be found")
        if found.width is not None:
            value = value.cut(found.width)
        return value.known_by("local") if changes else value

    def _after(self, name: bytes, item: Assignment, place: Place, depth: int) -> Guess:
        """What an assignment leaves."""
        assert place.function is not None
        path = place.function.file.source.path
        here = Place(place.function, item.start, path=path, given=place.given)
        if item.operator == "=":
            return self.evaluator.value(item.value, here, depth)
        before = self._local(name, here, depth) or NOTHING
        if not item.is_counting:
            return result(item, before, self.evaluator.value(item.value, here, depth))
        return result(item, before, NOTHING)

    def _template_parameter(self, name: bytes, place: Place, depth: int) -> Guess | None:
        function = place.function
        anchor = function.node if function is not None else place.anchor
        if anchor is None or (key := ("template", anchor.id, name)) in self.busy:
            return None
        given = template_arguments(self.program, anchor, function, name)
        if given is None:
            return None
        found = NOTHING
        self.busy.add(key)
        for use, node in given:
            path = use.source.path
            there = Place(use.function, use.offset, path=path, anchor=use.node)
            found = found.join(self.evaluator.value(node, there, depth))
        self.busy.discard(key)
        if found.atoms or not found.complete:
            return found.known_by("template")
        return unknown(f"the template with the parameter {shown(name)} is never used")

    def _macro(self, name: bytes, place: Place, depth: int) -> Guess | None:
        if ("macro", name) in self.busy:
            return None
        known = self.definitions(name, place)
        bodies = [found for found in known if found[0].parameters is None]
        bodies = [(macro, kept) for macro, kept in bodies if macro.body.strip()]
        undone = self._undone(name, place)
        if not bodies or undone is True:
            return None
        self.busy.add(("macro", name))
        found = NOTHING
        for macro, _ in bodies:
            lead = len(macro.body) - len(macro.body.lstrip())
            inside = replace(
                place,
                path=macro.source.path,
                shift=macro.body_start + lead,
                home=place.home or place.path,
            )
            found = found.join(self.evaluator.text(macro.body.strip(), inside, depth))
        self.busy.discard(("macro", name))
        constant = constants.named(name)
        is_sure = undone is False and any(kept for _, kept in bodies)
        if constant is not None and not is_sure:
            found = found.join(constant)
        return found.known_by("macro")

    def _undone(self, name: bytes, place: Place) -> Truth:
        """Whether `#undef` takes a macro away before a place; None: it may, in another file."""
        home, is_open = place.home or place.path, False
        for path in self.program.naming_paths(name):
            text = self.program.space.text(path)
            ends = text.directives.undefined.get(name, ()) if text is not None else ()
            if text is None or not ends:
                continue
            begins = [macro.start for macro in text.directives.macros.get(name, ())]
            if path != home:
                is_open = is_open or max(ends) > max(begins, default=-1)
                continue
            before = max((one for one in ends if one < place.offset), default=-1)
            if before > max((one for one in begins if one < place.offset), default=-1):
                lives = [unit.live(before) for unit in self.program.units_of(path)]
                if all(lives):
                    return True
                is_open = is_open or any(one is not False for one in lives)
        return None if is_open else False

    def stands_for_other(self, name: bytes, place: Place) -> bool:
        """Whether a name before parentheses is surely that of a macro, or of an own function."""
        if place.macro is not None or place.offset <= 0:
            return False
        known = self.program.macros(name, place.path)
        macro = Standing(self.program, name, known).at(place.path, place.offset) if known else None
        if macro is None or macro.parameters is not None:
            return macro is not None
        other = macro.body.strip(b"()& \t")
        return other != name and bool(self.program.functions(other))

    def definitions(self, name: bytes, place: Place) -> list[tuple[Macro, Truth]]:
        """The definitions of a macro that count at a place: its file may define it anew."""
        home = place.home or place.path
        known = self.program.macros(name, home)
        own = [one for one in known if one[0].source.path == home]
        if place.macro is not None or len(known) < 2 or self._is_popped(name):
            return known
        if place.offset > 0 and (one := Standing(self.program, name, known).at(home, place.offset)):
            return [(one, True)]
        if len(own) < 2:
            return known
        before = [one for one in own if one[0].start < place.offset]
        last = max(before, key=lambda one: one[0].start, default=None)
        if last is None or last[1] is not True:
            return known
        between = last[0].source.code[last[0].start : place.offset]
        others = [one for one in known if one not in own] if b"include" in between else []
        return [last, *others]

    def _is_popped(self, name: bytes) -> bool:
        """Whether a macro may get back a definition that it had before."""
        popped = re.compile(rb'\bpop_macro\s*\(\s*"%b"' % re.escape(name))
        units = self.program.naming_part(b"pop_macro")
        return any(popped.search(unit.source.plain) is not None for unit in units)

    def _store(self, store: Store, depth: int, element: int | None = None) -> Guess:
        """The value of one store, or of one element of a list."""
        function = store.file.function_at(store.offset)
        place = Place(function, store.offset, path=store.file.source.path)
        if store.operator not in (b"=", b"|="):
            return unknown(f"its value is changed with {shown(store.operator)}")

        def index_of(node: Node | None) -> int | None:
            return self.evaluator.index_of(node, place, depth)

        found = NOTHING
        for item in lists.elements(store.value, element, index_of):
            if item is None:
                found = found.join(exactly(0, "number"))
            else:
                found = found.join(self.evaluator.value(item, place, depth))
        if element is None and lists.leaves_out(store.value, index_of):
            found = found.join(unknown("what a list leaves out is zero"))
        return found

    def stored(
        self,
        name: bytes,
        place: Place,
        depth: int,
        element: int | None = None,
        *,
        asked: meant.Asked,
    ) -> Guess:
        """Everything that the program stores in a variable or field of that name.

        With `element`, only what stands at this place of a list.
        """
        ask = partial(self._stored, name, place, depth, element, asked)
        return self.rounds.of(("store", name), ask, shown(name))

    def element(
        self, name: bytes, place: Place, depth: int, number: int | None, asked: meant.Asked
    ) -> Guess:
        """What the program stores in an element of an array, by its name or through that."""
        found = self.stored(name, place, depth, number, asked=asked)
        at = asked.array or 0
        for one in arrays.changes(self.program, name, place.function, at, asked.is_field):
            more = unknown(one) if isinstance(one, str) else self._store(one, depth)
            found = found.join(more)
        return found

    def _stored(
        self, name: bytes, place: Place, depth: int, element: int | None, asked: meant.Asked
    ) -> Guess:
        every = self._stores(name, place.home or place.path, asked)
        every = self._of_element(every, place, depth, asked.base)
        if every and not asked.is_field and element is None:
            every = [*every, *self._at_first(name, every, place)]
        late, early = self.evaluator.versions.kept(
            every, place.function, place.offset, asked.is_field, place.macro
        )
        found = NOTHING
        for store in late:
            found = found.join(self._store(store, depth, element))
        for store in early:
            first = self._store(store, depth)
            found = replace(found, early=found.early | (first.atoms - found.atoms))
        found = self._by_macros(name, found, place, depth, asked)
        if len(every) >= MAX_STORES:
            found = found.join(unknown(f"{shown(name)} is given a value in very many places"))
        if receiver := escapes(self.program, name):
            found = found.join(unknown(f"the address of {shown(name)} is given to {receiver}"))
        if found.atoms or not found.complete:
            return found.known_by("number" if all(one.fixed for one in every) else "field")
        return unknown(f"nothing in the sources gives {shown(name)} a value")

    def _by_macros(
        self, name: bytes, found: Guess, place: Place, depth: int, asked: meant.Asked
    ) -> Guess:
        """What macros store in a variable or field of that name, where they are used."""
        scope, path, is_first = self.callers.linkage.scope, place.home or place.path, found
        for one in assigned(self.program, name):
            use, home = one.use, one.use.source.path
            assert use.function is not None
            if not asked.is_field:
                is_local = declares(use.function, name, use.offset) is not None
                if is_local or (path and scope(name, home) != scope(name, path)):
                    continue
            there = Place(use.function, use.offset, home=home)
            value = self.evaluator.text(one.value, there, depth)
            if one.operator not in (b"=", b"|="):
                value = unknown(f"the macro {shown(one.macro)} changes {shown(name)}")
            elif asked.is_field and is_first.atoms and value.atoms - is_first.atoms:
                value = unknown(f"the macro {shown(one.macro)} sets {shown(name)} as well")
            found = found.join(value)
        return found

    def _at_first(self, name: bytes, every: Sequence[Store], place: Place) -> Sequence[Store]:
        """The zero that a variable outside of functions is until something sets it."""
        if any(one.file.function_at(one.offset) is None for one in every):
            return ()
        scope, path = self.callers.linkage.scope, place.home or place.path
        return [
            one
            for one in left_zero(self.program, name)
            if scope(name, one.file.source.path) == scope(name, path)
        ]

    def _stores(self, name: bytes, path: str, asked: meant.Asked) -> Sequence[Store]:
        """The stores that a use of a name in a file can see."""
        every, is_told = meant.meant(self.program, stores(self.program, name), name, asked)
        if asked.is_field or len(every) < 2 or not path:
            return every
        if is_told and asked.qualifier and all(one.file.source.path != path for one in every):
            return every  # what another file defines in the scope that is named
        scope = self.callers.linkage.scope
        return [one for one in every if scope(name, one.file.source.path) == scope(name, path)]

    def _of_element(
        self, every: Sequence[Store], place: Place, depth: int, base: Node | None
    ) -> Sequence[Store]:
        """The stores without what lists give to other elements of an array of records."""
        if base is None or base.type != "subscript_expression":
            return every
        array = text_of(base.child_by_field_name("argument"))
        index = base.child_by_field_name("indices") or base.child_by_field_name("index")
        number = self.evaluator.index_of(index, place, depth)
        if number is None:
            return every
        return [one for one in every if lists.element_of(one.value, array) in (None, number)]

    def functions_at(self, whole: bytes, place: Place) -> Sequence[Function]:
        """The functions that a name can mean at a place; a scope or object may stand before it."""
        name = whole.rpartition(b"::")[2].rpartition(b".")[2].rpartition(b"->")[2]
        every: Sequence[Function] = self.program.functions(name)
        path = place.home or place.path
        if name == whole or b"::" in whole:
            asked = meant.Asked(place.function, qualifier_of(whole))
            every = meant.functions(self.program, every, name, asked)
        scope = self.callers.linkage.scope
        if len(every) < 2 or not path:
            return every
        return [one for one in every if scope(name, one.file.source.path) == scope(name, path)]
