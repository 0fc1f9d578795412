"""Which of the values that a program gives to a name are given to the thing that a use means.

Theory of operation: values are found by their names alone. Here the scope of each is told (a
function, a namespace, a class, an enumeration) and that of the use; what C looks up elsewhere is
left out. Where nothing would be left of what scopes tell, all of it stays. Knows declarations and
syntax trees; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hvci.source.preprocess.tree import File, Function, ancestors, text_of
from hvci.source.program import kinds
from hvci.source.program.program import Program
from hvci.source.program.scope import variable
from hvci.source.program.stores import Store
from hvci.source.text.namespaces import Spaces, around, qualifier_of

if TYPE_CHECKING:
    from tree_sitter import Node

T = TypeVar("T")
_CLASSES = ("class_specifier", "struct_specifier", "union_specifier")
_PLAIN_ENDS = ("statement", "argument_list")


class Kind(Enum):
    """What a value is given to."""

    LOCAL = "a variable of a function"
    VARIABLE = "a variable, where it is declared"
    PLAIN = "what a name alone means"
    FIELD = "a field of an object"
    MEMBER = "a member, where its class declares it"
    ENUMERATOR = "an enumerator"
    METHOD = "a function"
    OTHER = "something else"


class Owner(NamedTuple):
    """Whose name one is that gets a value."""

    kind: Kind
    spaces: Spaces | None = None
    """Where it is declared, or by what it is qualified; None: that is not told."""
    also: Spaces | None = None
    """Another way to it: the name of an enumeration that need not be said."""


class Asked(NamedTuple):
    """Where a name stands that is asked for."""

    function: Function | None
    qualifier: Spaces | None = None
    """What stands before it; None: nothing does."""
    is_field: bool = False
    array: int | None = None
    """Where it stands, when it is an array: that may be a variable of the function."""
    base: Node | None = None
    """The object, when it is a field."""


def meant(
    program: Program, every: Sequence[Store], name: bytes, asked: Asked
) -> tuple[Sequence[Store], bool]:
    """The stores that are of what a use means, and whether scopes told which."""
    if len(every) < 2 and asked.function is None:
        return every, False
    owned = [(one, owner(program, one, name)) for one in every]
    if _is_local(name, asked):
        assert asked.function is not None
        here, path = asked.function.node, asked.function.file.source.path
        return [
            store
            for store, one in owned
            if one.kind is Kind.LOCAL
            and store.file.source.path == path
            and here.start_byte <= store.offset < here.end_byte
        ], True
    owned = [pair for pair in owned if _may_be(pair[1], asked)]
    if asked.is_field and asked.base is not None and len(owned) > 1:
        owned = _of_its_kind(program, owned, name, asked.base, asked.function)
    kept, is_told = scoped(program, owned, name, asked)
    return [store for store, _ in kept], is_told


def _of_its_kind(
    program: Program,
    owned: list[tuple[Store, Owner]],
    name: bytes,
    base: Node,
    function: Function | None,
) -> list[tuple[Store, Owner]]:
    """Without what is given to the field of that name in other structures."""
    own = kinds.of_object(program, base, function, name)
    if own is None:
        return owned
    held = [(one, kinds.of_store(program, one[0], one[1].spaces, name)) for one in owned]
    return [
        one for one, kind in held if kind is None or not kinds.are_apart(program, own, kind, name)
    ]


def _is_local(name: bytes, asked: Asked) -> bool:
    """Whether an array is a variable of the function that it is used in."""
    if asked.function is None or asked.array is None or asked.is_field or asked.qualifier:
        return False
    return variable(asked.function, name, asked.array) is not None


def scoped(
    program: Program, owned: list[tuple[T, Owner]], name: bytes, asked: Asked
) -> tuple[list[tuple[T, Owner]], bool]:
    """Those that the scopes around a use, or its qualifier, leave; all where none is left."""
    told = {one.spaces for _, one in owned} | {one.also for _, one in owned}
    told.discard(None)
    if asked.is_field or (len(told) < 2 and asked.qualifier is None):
        return owned, False
    if asked.qualifier is not None:
        wanted = _named_by(program, asked.qualifier, [one for one in told if one is not None])
    elif asked.function is not None:
        wanted = _seen_from(program, [one for _, one in owned], name, asked.function)
    else:
        return owned, False
    kept = [
        (item, one)
        for item, one in owned
        if one.spaces is None or one.spaces in wanted or one.also in wanted
    ]
    is_any = any(one.spaces is not None for _, one in kept)
    return (kept, True) if is_any else (owned, False)


def _may_be(one: Owner, asked: Asked) -> bool:
    """Whether a name that is a field, or that is none, can be what is given a value."""
    is_c = asked.function is not None and asked.function.file.source.is_c
    if asked.is_field:
        no_field = (Kind.LOCAL, Kind.ENUMERATOR, Kind.VARIABLE)
        return one.kind not in no_field and not (is_c and one.kind is Kind.PLAIN)
    if asked.function is None:
        return True
    if one.kind is Kind.FIELD:
        return not is_c and asked.function.is_method
    return one.kind is not Kind.LOCAL and not (is_c and one.kind is Kind.MEMBER)


# ---------------------------------------------------------------- scopes


MAX_ALIASES = 8
"""Names that stand for each other in turn."""


def _named_by(
    program: Program, qualifier: Spaces, told: list[Spaces], depth: int = 0
) -> set[Spaces]:
    """The scopes that a qualifier may name."""
    if not qualifier:
        return {()}
    aliased = _stands_for(program, _plain(qualifier[-1]))
    if aliased is None:
        return set()
    if aliased:
        (meaning,) = aliased
        return _named_by(program, meaning, told, depth + 1) if depth < MAX_ALIASES else set()
    exact = {one for one in told if one[-len(qualifier) :] == qualifier}
    if exact:
        return exact
    bare = tuple(map(_plain, qualifier))
    return {one for one in told if tuple(map(_plain, one[-len(bare) :])) == bare}


def _stands_for(program: Program, name: bytes) -> tuple[Spaces, ...] | None:
    """The scopes for which a name is another one; None where that is not followed."""
    key = b"::" + name
    if key not in program.stored:
        word = re.escape(name)
        pattern = re.compile(
            rb"\b(?:namespace|using)\s+%b\s*=([^;{}]*)|\btypedef\b[^;{}]*\b%b\s*(;)"
            rb"|\b(?:class|typename)\s+%b\s*([,>=])" % (word, word, word)
        )
        every = [one for unit in program.naming(name) for one in pattern.finditer(unit.source.code)]
        named = {b"".join((one[1] or b"?").split()) for one in every}
        is_plain = all(_SCOPE.fullmatch(one) for one in named) and len(named) == 1
        spaces = tuple(tuple(_WORD.findall(one)) for one in named) if is_plain else None
        program.stored[key] = (spaces if named else (),)
    found: tuple[Spaces, ...] | None = program.stored[key][0]
    return found


_SCOPE = re.compile(rb"(?:::)?\w+(?:::\w+)*")
_WORD = re.compile(rb"\w+")


def _seen_from(
    program: Program, owners: Iterable[Owner], name: bytes, function: Function
) -> set[Spaces]:
    """The scopes in which a name is looked up in a function."""
    inside = spaces_of(function)
    bare, every = tuple(map(_plain, inside)), list(owners)
    found: set[Spaces] = set()
    around_it: set[Spaces] = set()
    for one in every:
        for spaces in (one.spaces, one.also):
            if spaces is None:
                continue
            if tuple(map(_plain, spaces)) == bare[: len(spaces)]:
                around_it.add(spaces)
            elif _is_opened(program, _plain(spaces[-1]), name) or (
                bare and _may_be_inherited(program, one, _plain(spaces[-1]), function)
            ):
                found.add(spaces)
    inmost = max(map(len, around_it), default=0)
    return found | {one for one in around_it if len(one) == inmost}


def _is_opened(program: Program, scope: bytes, name: bytes) -> bool:
    """Whether `using` makes the names of a scope, or one of them, seen elsewhere."""
    key = b"using " + scope + b"::" + name
    if key not in program.stored:
        pattern = re.compile(
            rb"\busing\s+(?:namespace|enum)\s+[\w:\s]*\b%b\s*;|\busing\s+[\w:\s]*\b%b\s*::\s*%b\s*;"
            % (re.escape(scope), re.escape(scope), re.escape(name))
        )
        found = any(pattern.search(unit.source.code) for unit in program.naming(scope))
        program.stored[key] = (found,)
    return bool(program.stored[key][0])


def _may_be_inherited(program: Program, one: Owner, scope: bytes, function: Function) -> bool:
    """Whether a member of another class may be meant: of one below or above that of the use."""
    if one.kind is Kind.METHOD:
        return function.is_method  # it may override the one that is named
    return one.kind is not Kind.VARIABLE and _is_base(program, scope)


def _is_base(program: Program, name: bytes) -> bool:
    """Whether a class may hand its members on to others."""
    key = b":" + name
    if key not in program.stored:
        pattern = re.compile(
            rb"\b(?:class|struct)\b[^;{}()]*[^:]:[^:;{}()][^;{}()]*?\b%b\b[^;{}()]*\{"
            % re.escape(name)
        )
        found = any(pattern.search(unit.source.code) for unit in program.naming(name))
        program.stored[key] = (found,)
    return bool(program.stored[key][0])


def _plain(name: bytes) -> bytes:
    """A name without the arguments of a template."""
    return name.partition(b"<")[0]


def spaces_of(function: Function) -> Spaces:
    """The namespaces and classes that a function is in."""
    outer = around(function.file.source, function.node.start_byte)
    own = qualifier_of(function.qualified) or ()
    return (*outer, *_classes(function.node), *own)


def _classes(node: Node) -> Spaces:
    """The classes around a node, outermost first."""
    found: list[bytes] = []
    for above in ancestors(node):
        name = above.child_by_field_name("name") if above.type in _CLASSES else None
        if name is not None:
            text = b"".join(text_of(name).split())
            found[:0] = [*(qualifier_of(text) or ()), text.rpartition(b"::")[2] or text]
    return tuple(found)


# ---------------------------------------------------------------- what gets a value


def owner(program: Program, store: Store, name: bytes) -> Owner:
    """Whose name a store gives a value to; worked out once."""
    key = b"?%d:%b:" % (store.offset, name) + store.file.source.path.encode("utf-8", "replace")
    known = program.stored.get(key)
    if known is None:
        known = program.stored[key] = (_owner(store.file, store.offset, name),)
    found = known[0]
    assert isinstance(found, Owner)
    return found


def _owner(file: File, start: int, name: bytes) -> Owner:
    node = file.node_at(start, start + len(name))
    if node is None or text_of(node) != name:
        return Owner(Kind.FIELD)  # by its place in a list
    for above in ancestors(node):
        if above.type == "assignment_expression":
            return _assigned(file, above, node, name)
        if above.type == "init_declarator":
            return _declared(file, above, node)
        if above.type == "enumerator":
            return enumerator(file, above)
        if above.type == "field_declaration":
            return Owner(Kind.MEMBER, (*around(file.source, start), *_classes(above)))
        if above.type in ("initializer_pair", "field_initializer"):
            return Owner(Kind.FIELD)
        if above.type.endswith(_PLAIN_ENDS):
            break
    return Owner(Kind.OTHER)


def _assigned(file: File, above: Node, node: Node, name: bytes) -> Owner:
    if node.type == "field_identifier":
        return Owner(Kind.FIELD)
    function = file.function_at(above.start_byte)
    if said := _qualifier(node):
        return Owner(Kind.PLAIN, said)
    is_local = function is not None and variable(function, name, node.start_byte) is not None
    return Owner(Kind.LOCAL if is_local else Kind.PLAIN)


def _declared(file: File, above: Node, node: Node) -> Owner:
    inside = next((one for one in ancestors(above) if one.type == "compound_statement"), None)
    if inside is not None and file.function_at(above.start_byte) is not None:
        return Owner(Kind.LOCAL)
    said, outer = _qualifier(node), around(file.source, above.start_byte)
    kind = Kind.MEMBER if said else Kind.VARIABLE
    return Owner(kind, (*outer, *_classes(above), *(said or ())))


def _qualifier(node: Node) -> Spaces | None:
    """What qualifies a name where it stands."""
    whole = node
    while whole.parent is not None and whole.parent.type == "qualified_identifier":
        whole = whole.parent
    return qualifier_of(text_of(whole))


def enumerator(file: File, item: Node) -> Owner:
    """Whose name an enumerator is."""
    kind = next((one for one in ancestors(item) if one.type == "enum_specifier"), None)
    if kind is None:
        return Owner(Kind.ENUMERATOR)
    outer = (*around(file.source, kind.start_byte), *_classes(kind))
    named = text_of(kind.child_by_field_name("name"))
    inner = (*outer, named) if named else None
    if any(text_of(one) in (b"class", b"struct") for one in kind.children):
        return Owner(Kind.ENUMERATOR, inner)
    return Owner(Kind.ENUMERATOR, outer, inner)


def functions(
    program: Program, every: Sequence[Function], name: bytes, asked: Asked
) -> Sequence[Function]:
    """The functions of a name that a use means; methods of an object are found by it."""
    if len(every) < 2:
        return every
    owned = [(one, Owner(Kind.METHOD, spaces_of(one))) for one in every]
    return [one for one, _ in scoped(program, owned, name, asked)[0]]
