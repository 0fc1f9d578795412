"""What `use` declarations of Rust files bring in, and under which names.

Knows syntax trees; knows no crates and no values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import text_of, walk
from hvci.source.rust.cfg import RustText

if TYPE_CHECKING:
    from tree_sitter import Node

Parts = tuple[bytes, ...]
EVERYTHING = b"*"
MAX_NESTED = 100


class Use(NamedTuple):
    """One name that a declaration brings in; "*" for all that a path holds."""

    name: bytes
    path: Parts
    node: Node
    text: RustText

    @property
    def renames(self) -> bool:
        """Whether the name is another one than that of the item."""
        return self.name not in (EVERYTHING, self.path[-1])


def uses(text: RustText) -> list[Use]:
    """All that the declarations of a file bring in."""
    found: list[Use] = []
    for node in walk(text.root):
        if node.type == "use_declaration":
            inner = node.child_by_field_name("argument")
            found += _named(inner, (), node, text, 0)
    return found


def parts_of(text: bytes) -> Parts:
    """A path in its words, without what it begins with that means the crate itself."""
    words = [one for one in text.replace(b" ", b"").split(b"::") if one]
    return tuple(words)


def _named(
    node: Node | None, before: Parts, whole: Node, text: RustText, depth: int
) -> Iterator[Use]:
    if node is None or depth > MAX_NESTED:
        return
    if node.type == "use_list":
        for one in node.named_children:
            yield from _named(one, before, whole, text, depth + 1)
    elif node.type == "scoped_use_list":
        path = (*before, *parts_of(text_of(node.child_by_field_name("path"))))
        yield from _named(node.child_by_field_name("list"), path, whole, text, depth + 1)
    elif node.type == "use_as_clause":
        path = (*before, *parts_of(text_of(node.child_by_field_name("path"))))
        if path:
            yield Use(text_of(node.child_by_field_name("alias")), path, whole, text)
    elif node.type == "use_wildcard":
        path = (*before, *parts_of(text_of(node).strip().removesuffix(b"*")))
        if path:
            yield Use(EVERYTHING, path, whole, text)
    elif node.type in ("identifier", "scoped_identifier", "self", "crate"):
        path = (*before, *parts_of(text_of(node)))
        path = path[:-1] if path[-1:] == (b"self",) and len(path) > 1 else path
        if path:
            yield Use(path[-1], path, whole, text)
