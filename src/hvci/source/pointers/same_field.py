"""Whether a call through a field is of the structure that got a pointer, where several have such a
field.

Knows the types that declare objects; follows no pointer by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hvci.model import Limit, Origin, SourceSite
from hvci.source.pointers.origins import Origins
from hvci.source.pointers.roots import Root, Where
from hvci.source.preprocess.tree import File, text_of
from hvci.source.program import kinds
from hvci.source.program.chains import bare
from hvci.source.program.program import Program
from hvci.source.program.stores import stores
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node


Pointer = tuple["Node | None", File | None]
"""An expression, and the file that it stands in."""
_DECLARED = rb"(?<!return)(?<!goto)(?<=[\w*,])\s+\**%b\s*(?:\[[^\]]*\])?\s*;"
"""What declares a name, and uses it in no other statement."""


def is_named_once(program: Program, name: bytes) -> bool:
    """Whether one structure at most has a field of a name."""
    word = re.escape(name)
    declared = re.compile(_DECLARED % word)
    pointer = re.compile(rb"\(\s*\w*\s*\*\s*" + word + rb"\s*\)\s*\(")
    codes = [unit.source.code for unit in program.naming(name)]
    return sum(_count(declared, one) + len(pointer.findall(one)) for one in codes) <= 1


def _count(declared: re.Pattern[bytes], code: bytes) -> int:
    """The declarations in a text, but for those of what stands elsewhere."""
    begins = (
        code[max(code.rfind(end, 0, match.start()) for end in (b";", b"{", b"}")) + 1 :]
        for match in declared.finditer(code)
    )
    return sum(not begin.lstrip().startswith(b"extern") for begin in begins)


def is_same(program: Program, origins: Origins, root: Root, by: Pointer) -> bool | None:
    """Whether the field that is called surely is the one that got it, or surely not."""
    pointer, file = by
    node = bare(pointer) if pointer is not None else None
    if node is None or file is None or node.type != "field_expression":
        return None
    field = text_of(node.child_by_field_name("field"))
    base = node.child_by_field_name("argument")
    function = file.function_at(node.start_byte)
    own = kinds.of_object(program, base, function, field) if base is not None else None
    truth: bool | None = False
    for store in stores(program, field, of_field=True):
        place, path = store.file.function_at(store.offset), store.file.source.path
        where = Where(store.file, place, store.offset, path)
        if not any(_is_one(root, one) for one in origins.of(store.value, where)):
            continue
        kind = kinds.of_store(program, store, None, field)
        if own is not None and kind == own:
            return True
        if own is None or kind is None or not kinds.are_apart(program, own, kind, field):
            truth = None
    return truth


def _is_one(root: Root, other: Root) -> bool:
    return (root.made, root.path, root.start) == (other.made, other.path, other.start)


def unclear(source: Source, offset: int, root: Root, rule: str) -> Limit:
    """What is said where types do not tell."""
    line, column = source.position(offset)
    reason = (
        f"{source.path}:{line}: the call goes through {root.stored}, a field that several "
        f"structures have, one of which gets what {root.name} returns: give the fields names of "
        "their own, or check the built .sys"
    )
    return Limit(Origin.SOURCE, (rule,), reason, SourceSite(source.path, line, column))
