"""The value of an expression in source text.

Theory of operation: an expression is evaluated over sets of possible values; names lead to
further expressions. Blind spots: no aliases; which ways go together is not seen; fields of
different objects are one, and what reaches a field from outside the sources is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from hvci.model import WindowsVersion
from hvci.source.preprocess.tree import Function, ancestors, arguments, parse, text_of, walk
from hvci.source.program.aliases import Aliases, aliases
from hvci.source.program.meant import Asked
from hvci.source.program.narrow import narrow
from hvci.source.program.program import Program, Use
from hvci.source.program.returning import returning
from hvci.source.program.scope import Variable
from hvci.source.program.stores import template_names
from hvci.source.text.namespaces import qualifier_of
from hvci.source.values import casts, constants, switches
from hvci.source.values.comparing import COMPARING, Conditions, Constant, Known, bare
from hvci.source.values.dead import Unused, unreached
from hvci.source.values.decided import Decided
from hvci.source.values.fields import Fields
from hvci.source.values.guess import NOTHING, Guess, Spot, exactly, unknown
from hvci.source.values.lookups import Lookups, lookups
from hvci.source.values.names import Names
from hvci.source.values.places import Place, shown
from hvci.source.values.settled import settled
from hvci.source.values.versions import guards
from hvci.source.values.versions.kernels import Versions, kernels

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 18
MAX_STEPS = 3000
"""Expressions looked at for one argument."""
MAX_ASIDE = 200
"""Of those, for a condition on the way."""

_BEFORE = b"int q=("
"""Makes an expression a text that parses."""
_WORD = re.compile(rb"\b[A-Za-z_]\w*\b")


class Resolver:
    """Evaluates expressions of one program for one oldest Windows version."""

    def __init__(self, program: Program, target: WindowsVersion) -> None:
        self.program = program
        self.target = target
        self._steps = 0
        self._before = 0
        """Steps of earlier questions."""
        self._running: dict[tuple[str, int], bool] = {}
        self.names = Names(program, self)
        self.fields = Fields(program, self.names, self)

    @property
    def steps(self) -> int:
        """Expressions looked at so far, for all questions."""
        return self._before + self._steps

    def _begin(self) -> None:
        """A new question has all its steps."""
        self._before += self._steps
        self._steps = 0
        self.names.busy.clear()

    @cached_property
    def versions(self) -> Versions:
        """What checks of the Windows version say on the kernels that are aimed at."""
        return Versions(self.program, kernels(self.target))

    @cached_property
    def lookups(self) -> Lookups:
        """Variables that hold routines found by name."""
        return lookups(self.program)

    @cached_property
    def aliases(self) -> Aliases:
        """Other names of routines."""
        return aliases(self.program)

    def evaluate(self, node: Node, place: Place) -> Guess:
        """The value of an argument, within the step limit."""
        self._begin()
        return self.value(node, place, 0)

    def evaluate_text(self, text: bytes, place: Place) -> Guess:
        """The value of an argument for which there is no syntax tree."""
        self._begin()
        return self.text(text, place, 0)

    def value(self, node: Node | None, place: Place, depth: int) -> Guess:
        """The value of an expression."""
        self._steps += 1
        if node is None:
            return unknown("an expression that could not be read")
        if self._steps > MAX_STEPS or depth > MAX_DEPTH:
            return unknown("the search for its value was given up")
        reader = _READERS.get(node.type)
        if reader is None:
            return unknown(f"{_shown(node)} is not followed")
        return reader(self, node, place, depth + 1)

    def text(self, text: bytes, place: Place, depth: int) -> Guess:
        """The value of an expression given as text, which `place.shift` says the offset of."""
        place = replace(place, shift=place.shift - len(_BEFORE))
        for node in walk(parse(_BEFORE + text + b");").root_node):
            if node.type == "init_declarator":
                return self.value(node.child_by_field_name("value"), place, depth)
        return unknown(f"{text.decode('utf-8', 'replace')[:60]!r} could not be read")

    # ------------------------------------------------------------ operators

    def _inner(self, node: Node, place: Place, depth: int) -> Guess:
        inner = [item for item in node.named_children if item.type != "comment"]
        return self.value(inner[-1] if inner else None, place, depth)

    def _number(self, node: Node, place: Place, depth: int) -> Guess:
        return constants.number(text_of(node))

    def _character(self, node: Node, place: Place, depth: int) -> Guess:
        return constants.character(text_of(node))

    def _word(self, node: Node, place: Place, depth: int) -> Guess:
        return exactly(int(text_of(node) in (b"true", b"TRUE")), "number")

    def _size(self, node: Node, place: Place, depth: int) -> Guess:
        size = self._decided.size(node)
        return (
            unknown(f"{_shown(node)} is not followed") if size is None else exactly(size, "number")
        )

    def _cast(self, node: Node, place: Place, depth: int) -> Guess:
        value = self.value(node.child_by_field_name("value"), place, depth)
        width = narrow(text_of(node.child_by_field_name("type")))
        return value if width is None else value.cut(width)

    def _binary(self, node: Node, place: Place, depth: int) -> Guess:
        if text_of(node.child_by_field_name("operator")) in COMPARING:
            truth = self._chosen(node, place, depth)
            if truth is not None:
                return exactly(int(truth), "number")
        left = self.value(node.child_by_field_name("left"), place, depth)
        right = self.value(node.child_by_field_name("right"), place, depth)
        operator = text_of(node.child_by_field_name("operator")).decode("ascii", "replace")
        return left.combined(right, operator)

    def _unary(self, node: Node, place: Place, depth: int) -> Guess:
        value = self.value(node.child_by_field_name("argument"), place, depth)
        operator = text_of(node.child_by_field_name("operator"))
        if operator == b"~":
            return value.inverted()
        if operator == b"-":
            return exactly(0, "number").combined(value, "-")
        if operator == b"+":
            return value
        return unknown(f"{_shown(node)} is not followed").mixed(value)

    def _assigned(self, node: Node, place: Place, depth: int) -> Guess:
        return self.value(node.child_by_field_name("right"), place, depth)

    def _conditional(self, node: Node, place: Place, depth: int) -> Guess:
        condition = node.child_by_field_name("condition")
        chosen = self._chosen(condition, place, depth)
        first = self.value(node.child_by_field_name("consequence"), place, depth)
        second = self.value(node.child_by_field_name("alternative"), place, depth)
        if chosen is not None:
            return (first if chosen else second).known_by("check")
        both = first.join(second)
        if guards.is_about_version(text_of(condition)):
            both = replace(both, dropped=both.dropped or _shown(condition))
        return both

    def chosen(self, condition: Node, place: Place, depth: int) -> bool | None:
        """Which way a condition goes: a side question, with steps of its own."""
        with self._aside():
            return self._chosen(condition, place, depth)

    def discards(self, node: Node, function: Function) -> bool:
        """Whether a place is in a branch of `if constexpr` that is never compiled."""
        for above in ancestors(node):
            if above.type != "if_statement" or not _is_constexpr(above):
                continue
            condition = above.child_by_field_name("condition")
            if condition is None or node.start_byte < condition.end_byte:
                continue
            place = Place(function, condition.start_byte, path=function.file.source.path)
            truth = self.chosen(condition, place, 0)
            first = above.child_by_field_name("consequence")
            is_first = first is not None and node.end_byte <= first.end_byte
            if truth is not None and truth is not is_first:
                return True
        return False

    def decided(self, function: Function, condition: Node) -> bool | None:
        """Which way a condition goes that a compiler decides: one of numbers and macros."""
        return self._decided.truth(function.file.source.path, condition)

    def local(self, function: Function, name: bytes, offset: int) -> Variable | None:
        """The local variable that a name means at an offset, with what changes it out of sight."""
        return self.names.variables.at(function, name, offset)

    def literal(self, path: str, node: Node) -> Known | None:
        """The number that stands in the text, or for which a macro of a file stands."""
        return self._decided.literal(path, 0, node)

    @cached_property
    def _decided(self) -> Decided:
        return Decided(self.program)

    @cached_property
    def unused(self) -> Unused:
        """Which functions nothing speaks of."""
        return Unused(self.program)

    def runs(self, use: Use) -> bool:
        """Whether a use may run: no constant condition keeps it out, and somebody uses it."""
        if use.function is None:
            return True
        key = use.source.path, use.offset
        if key not in self._running:
            self._running[key] = True  # while it is asked
            is_dead = unreached(use.node, partial(settled, use.function, resolver=self))
            self._running[key] = not is_dead and not self.unused.is_unused(use.function)
        return self._running[key]

    def label(self, switch: Node, place: Place, depth: int) -> int | None:
        """The position of the label that a `switch` leads to: a side question as well."""
        with self._aside():
            found = switches.Reached(place.given, self._known(place, depth)).start(switch)
            if found is None and place.function is not None:
                found = self.versions.start(switch, place.function.file, place.function)
            return found

    @contextmanager
    def _aside(self) -> Iterator[None]:
        steps, busy = self._steps, set(self.names.busy)
        begun = self._steps = max(steps, MAX_STEPS - MAX_ASIDE)
        yield
        self._steps += steps - begun
        self.names.busy.clear()
        self.names.busy.update(busy)

    def _known(self, place: Place, depth: int) -> Constant:
        """What expressions are where nothing is known of who calls."""
        constant = self.constants_in(place, depth)
        return constant if place.given else partial(_passed, constant)

    def _chosen(self, condition: Node | None, place: Place, depth: int) -> bool | None:
        """Which way a condition goes here: by constants that are passed, or by the version."""
        if place.function is not None or place.macro is not None:
            truth = Conditions(place.given, self._known(place, depth)).truth(condition)
            if truth is not None:
                return truth
        return self._which(condition, place, depth)

    def _which(self, condition: Node | None, place: Place, depth: int) -> bool | None:
        """Which way a condition about the Windows version goes."""
        text = text_of(condition)
        if place.function is not None:
            truth = self.versions.truth(condition, place.function.file, place.function)
            if truth is not None:
                return truth
        truth = guards.condition_holds(text, self.target)
        if truth is None and re.fullmatch(rb"\(?\s*\w+\s*\)?", text):
            value = self.value(condition, place, depth)
            if value.complete and value.origins & {"check"} and len(value.atoms) == 1:
                return next(iter(value.atoms)).bits != 0
        return truth

    # ------------------------------------------------------- names and calls

    def _name(self, node: Node, place: Place, depth: int) -> Guess:
        name = text_of(node).rpartition(b"::")[2].strip()
        guess = self.names.name(text_of(node), place, depth)
        if place.path and guess.origins == {"name"} and not guess.spots:
            end = node.end_byte + place.shift
            spot = Spot(place.path, end - len(name), end, shown(name))
            return replace(guess, spots=frozenset((spot,)))
        return guess

    def _field(self, node: Node, place: Place, depth: int) -> Guess:
        name = text_of(node.child_by_field_name("field"))
        base = node.child_by_field_name("argument") if place.holds(node) else None
        asked = Asked(place.function, is_field=True, base=base)
        stored = self.names.stored(name, place, depth, asked=asked)
        return self.fields.seen(node, stored, place, depth)

    def _element(self, node: Node, place: Place, depth: int) -> Guess:
        base = node.child_by_field_name("argument")
        if base is not None and base.type in _ARRAYS:
            is_field = base.type == "field_expression"
            whole = text_of(base.child_by_field_name("field") if is_field else base)
            name = whole.rpartition(b"::")[2].strip()
            index = node.child_by_field_name("indices") or node.child_by_field_name("index")
            owner = base.child_by_field_name("argument") if place.holds(base) else None
            at = base.start_byte if place.holds(base) else place.offset
            asked = Asked(place.function, qualifier_of(whole), is_field, at, owner)
            number = self.index_of(index, place, depth)
            found = self.names.element(name, place, depth, number, asked)
            return self.fields.of_array(base, found, place, depth) if is_field else found
        return unknown(f"{_shown(node)} is not followed")

    def index_of(self, node: Node | None, place: Place, depth: int) -> int | None:
        """The number of an element; None where it is not one constant."""
        if node is not None and node.type in ("subscript_argument_list", "subscript_designator"):
            node = node.named_children[0] if len(node.named_children) == 1 else None
        known = Conditions(place.given, self.constants_in(place, depth)).value(node)
        return known.number if known is not None else None

    def constants_in(self, place: Place, depth: int) -> Constant:
        """What expressions of a function are, each where it stands."""

        def constant(node: Node) -> Known | None:
            here = place if place.shift else replace(place, offset=node.start_byte)
            return self.constant(node, here, depth)

        return constant

    def _list(self, node: Node, place: Place, depth: int) -> Guess:
        """Any element of an initializer list."""
        found = NOTHING
        for item in node.named_children:
            found = found.join(self.value(item, place, depth))
        return found if found.atoms else unknown("an empty list")

    def _call(self, node: Node, place: Place, depth: int) -> Guess:
        called = text_of(node.child_by_field_name("function")).strip()
        given = arguments(node)
        if len(given) == 1 and (widths := casts.widths(called)) is not None:
            value = self.value(given[0], place, depth)
            for width in widths:
                value = value.cut(width)
            return value
        truth = guards.version_routine(text_of(node), self.target)
        if truth is not None:
            return exactly(int(truth), "check")
        callee = called.partition(b"<")[0] if called.endswith(b">") else called
        name = callee.rpartition(b"::")[2].rpartition(b".")[2].rpartition(b"->")[2]
        if not _WORD.fullmatch(name) or ("call", name) in self.names.busy:
            return unknown(f"{_shown(node)} is not followed")
        self.names.busy.add(("call", name))
        try:
            expanded = self._expanded(name, given, place, depth)
            if expanded is not None:
                return expanded
            return self._returned(callee, node, given, place, depth)
        finally:
            self.names.busy.discard(("call", name))

    def constant(self, node: Node, place: Place, depth: int) -> Known | None:
        """A constant with its name, where a name stands for one."""
        name = b""
        if node.type == "qualified_identifier" or (
            node.type == "identifier" and self.program.is_enumerator(text_of(node))
        ):
            name = text_of(node).rpartition(b"::")[2].strip()
        elif node.type not in _SIMPLE and node.type != "call_expression":
            return None
        value = self.value(node, place, depth)
        atoms = [atom for atom in value.atoms if not atom.floor]
        kinds = _CONSTANT | {"field"} if name else _CONSTANT
        sure = value.complete and len(atoms) == 1 and value.origins <= kinds
        number = atoms[0].bits if sure else None
        known = Known(name, number, value if sure else None)
        return known if name or number is not None else None

    def _expanded(self, name: bytes, given: list[Node], place: Place, depth: int) -> Guess | None:
        """The value of a macro with arguments."""
        found = None
        home = place.home or place.path
        for macro, _ in self.names.definitions(name, place):
            if macro.parameters is None:
                continue
            words = dict(zip(macro.parameters, map(text_of, given), strict=False))
            body = _substituted(macro.body, words)
            nowhere = replace(place, path="", home=home)
            value = self.text(body.strip(), nowhere, depth).known_by("macro")
            found = value if found is None else found.join(value)
        return found

    def _returned(
        self, callee: bytes, node: Node, given: list[Node], place: Place, depth: int
    ) -> Guess:
        """Everything that functions of the program that a name means return for these arguments."""
        found = NOTHING
        known = [self._given(one, place, depth) for one in given]
        for function in self.names.functions_at(callee, place):
            width = _width(function)
            own = dict(zip(function.parameters, known, strict=False))
            chosen = self._chosen_types(node, place, depth)
            own.update(zip(template_names(function.node), chosen, strict=False))
            kept = {word: one for word, one in own.items() if word and one is not None}
            inside = Place(function, path=function.file.source.path)
            inside = replace(inside, given=switches.lasting(function, kept))
            constant = self.constants_in(inside, depth)
            for item in switches.returns_for(function, inside.given, constant):
                there = replace(inside, offset=item.start_byte)
                value = self._inner(item, there, depth)
                found = found.join(value if width is None else value.cut(width))
            if told := returning(self.program, function):
                found = found.join(unknown(f"{told} returns as well"))
        if found.atoms or not found.complete:
            return found.known_by("return")
        return unknown(f"{_shown(node)} is not in the sources")

    def _given(self, node: Node, place: Place, depth: int) -> Known | None:
        """The constant that an argument is; a cast changes nothing."""
        inner = bare(node)
        return self.constant(inner, place, depth) if inner is not None else None

    def _chosen_types(self, node: Node, place: Place, depth: int) -> list[Known | None]:
        """The constants that a call gives to the parameters of a template."""
        called = node.child_by_field_name("function")
        while called is not None and called.type in ("qualified_identifier", "field_expression"):
            called = called.child_by_field_name("name") or called.child_by_field_name("field")
        given = arguments(called) if called is not None and called.type in _TEMPLATES else []
        inner = [one.named_children[-1] if one.type == "type_descriptor" else one for one in given]
        return [self.constant(one, place, depth) for one in inner]


def _width(function: Function) -> int | None:
    """The bits of what a function returns, where its type has few."""
    declarator = function.node.child_by_field_name("declarator")
    if declarator is None or declarator.type != "function_declarator":
        return None
    return narrow(text_of(function.node.child_by_field_name("type")))


def _passed(constant: Constant, node: Node) -> Known | None:
    """A constant that every caller gives, that stands in the text, or that a variable surely is."""
    known = constant(node)
    value = known.value if known is not None else None
    return known if value is not None and value.origins <= _FROM_CALLERS else None


_FROM_CALLERS = frozenset(("name", "number", "macro", "or", "caller", "template", "local"))
_TEMPLATES = ("template_function", "template_method")
_ARRAYS = ("identifier", "qualified_identifier", "field_expression")
_SIMPLE = frozenset(("number_literal", "char_literal", "identifier", "true", "false"))
_SIMPLE |= frozenset(("type_identifier", "sizeof_expression"))
_CONSTANT = frozenset(("name", "number", "macro", "or", "caller", "template", "local", "return"))
"""How a constant is known."""


def _substituted(body: bytes, words: dict[bytes, bytes]) -> bytes:
    """The body of a macro with its parameters replaced."""
    return _WORD.sub(lambda match: words.get(match[0], match[0]), body)


def _is_constexpr(statement: Node) -> bool:
    """Whether an `if` is one that a compiler decides."""
    return any(child.type == "constexpr" for child in statement.children[:2])


def _shown(node: Node | None) -> str:
    return " ".join(shown(text_of(node)).split())[:60]


Reader = Callable[["Resolver", "Node", Place, int], Guess]
_READERS: dict[str, Reader] = {
    "parenthesized_expression": Resolver._inner,
    "comma_expression": Resolver._inner,
    "argument_list": Resolver._inner,
    "initializer_list": Resolver._list,
    "initializer_pair": Resolver._cast,
    "compound_literal_expression": Resolver._cast,
    "type_descriptor": Resolver._inner,
    "number_literal": Resolver._number,
    "sizeof_expression": Resolver._size,
    "char_literal": Resolver._character,
    "true": Resolver._word,
    "false": Resolver._word,
    "null": Resolver._word,
    "cast_expression": Resolver._cast,
    "binary_expression": Resolver._binary,
    "unary_expression": Resolver._unary,
    "assignment_expression": Resolver._assigned,
    "conditional_expression": Resolver._conditional,
    "identifier": Resolver._name,
    "type_identifier": Resolver._name,
    "field_identifier": Resolver._name,
    "qualified_identifier": Resolver._name,
    "field_expression": Resolver._field,
    "subscript_expression": Resolver._element,
    "call_expression": Resolver._call,
}
