"""Which files of a crate a configuration compiles: those that its root and its `mod` items name.

Knows files and conditions; knows no manifests. Of a crate whose root is not among the files, all
may be compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import ancestors, text_of, walk
from hvci.source.rust.cfg import Ask, Condition, RustText, negated, parse, split
from hvci.source.text.files import beside

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass
class Edges:
    """How the files of a crate name each other."""

    roots: frozenset[str]
    by_file: dict[str, list[tuple[str, tuple[Condition, ...]]]] = field(default_factory=dict)
    """Who names a file, and under which conditions."""
    paths: tuple[str, ...] = ()


def edges(texts: Sequence[RustText], roots: Sequence[str]) -> Edges:
    """How files name each other; a file that only a macro may name counts as named."""
    known = {one.source.path for one in texts}
    found = Edges(frozenset(roots) & known, paths=tuple(sorted(known)))
    for text in texts:
        path = text.source.path
        for node in walk(text.root):
            for target, conditions in named(text, node, path in found.roots):
                if target in known:
                    every = (*text.conditions(node.start_byte), *conditions)
                    found.by_file.setdefault(target, []).append((path, every))
    loose = {
        word
        for text in texts
        for node in walk(text.root)
        if node.type in ("macro_invocation", "macro_definition")
        for word in re.findall(rb"\w+", text_of(node))
    }
    for path in known - found.roots - set(found.by_file):
        if _stem(path).encode() in loose:
            found.by_file[path] = [(root, ()) for root in sorted(found.roots)]
    return found


def compiled(made: Edges, ask: Ask, is_linked: bool = True) -> dict[str, bool | None]:
    """Whether each file is compiled; None: not known."""
    if not is_linked:
        return dict.fromkeys(made.paths, False)
    if not made.roots:
        return {}
    answers: dict[str, bool | None] = dict.fromkeys(made.paths, False)
    answers |= dict.fromkeys(made.roots, True)
    changed = True
    while changed:  # an answer only ever becomes better, so that this ends
        changed = False
        for path, every in made.by_file.items():
            new = answers[path]
            for parent, conditions in every:
                if new is not True:
                    new = _better(new, [answers[parent], *(one.keeps(ask) for one in conditions)])
            changed |= new is not answers[path]
            answers[path] = new
    return answers


def _better(known: bool | None, parts: list[bool | None]) -> bool | None:
    here = False if False in parts else None if None in parts else True
    return True if here else None if None in (known, here) else False


def _stem(path: str) -> str:
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    return folder.rpartition("/")[2] if stem == "mod" else stem


def named(text: RustText, node: Node, is_root: bool) -> Iterator[tuple[str, tuple[Condition, ...]]]:
    """The files that a `mod x;` or an `include!` may mean."""
    path = text.source.path
    if text_of(node.child_by_field_name("macro")) == b"include":
        match = re.search(rb'"([^"\n]+)"', text_of(node))
        if match is not None:
            yield beside(path, match[1].decode("utf-8", "replace")), ()
    if node.type != "mod_item" or node.child_by_field_name("body") is not None:
        return
    name = text_of(node.child_by_field_name("name")).decode("utf-8", "replace")
    folder, _, file = path.rpartition("/")
    within = [
        text_of(one.child_by_field_name("name")).decode("utf-8", "replace")
        for one in reversed(list(ancestors(node)))
        if one.type == "mod_item"
    ]
    own = is_root or file == "mod.rs"
    base = "/".join(one for one in (folder, *(() if own else (_stem(path),)), *within) if one)
    otherwise: tuple[Condition, ...] = ()
    for value, conditions in _paths(node):
        near = f"{base}/{value}" if within else f"{folder}/{value}"
        yield beside("x", near), conditions
        otherwise = (*otherwise, *map(negated, conditions)) if conditions else (*otherwise, _NEVER)
    prefix = f"{base}/" if base else ""
    yield f"{prefix}{name}.rs", otherwise
    yield f"{prefix}{name}/mod.rs", otherwise


_NEVER = Condition("any")
_PATH = re.compile(r'path\s*=\s*r?#*"([^"]+)"')


def _paths(node: Node) -> Iterator[tuple[str, tuple[Condition, ...]]]:
    """What `#[path]` says, also in `cfg_attr`."""
    above = node.prev_named_sibling
    while above is not None and (above.type == "attribute_item" or "comment" in above.type):
        words = text_of(above).decode("utf-8", "replace").strip("#[] \n")
        if match := _PATH.match(words):
            yield match[1], ()
        elif words.startswith("cfg_attr") and (match := _PATH.search(words)):
            inner = words.partition("(")[2].rpartition(")")[0]
            yield match[1], (parse((split(inner) or [""])[0]),)
        above = above.prev_named_sibling
