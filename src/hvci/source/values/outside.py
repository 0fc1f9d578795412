"""Whether a pointer leads to memory that somebody else fills, such as the buffer of a request.

Knows the statements and callers of functions; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.chains import bare
from hvci.source.program.program import Use
from hvci.source.program.scope import variable

if TYPE_CHECKING:
    from tree_sitter import Node

_OUTSIDE = re.compile(
    rb"\b(?:SystemBuffer|UserBuffer|Type3InputBuffer|InputSystemBuffer|InputBuffer"
    rb"|MmGetSystemAddressForMdl(?:Safe)?|MmMapLockedPages\w*|MmMapIoSpace\w*"
    rb"|WdfRequestRetrieve\w*Buffer|WdfMemoryGetBuffer|NdisGetDataBuffer)\b"
)
"""Where such memory comes from."""
MAX_STEPS = 4
"""Variables and functions that a pointer is followed back through."""
MAX_USES = 8
UsesOf = Callable[[Function], Sequence[Use]]


def is_outside(
    base: Node, function: Function, offset: int, uses_of: UsesOf, left: int = MAX_STEPS
) -> bool:
    """Whether a pointer in a function leads to such memory."""
    node = bare(base)
    if node.type != "identifier":
        return _OUTSIDE.search(text_of(node)) is not None
    name = text_of(node)
    found = variable(function, name, offset)
    if found is None or left <= 0:
        return False
    for item in found.assignments:
        inner = bare(item.value)
        if text_of(inner) != name and is_outside(inner, function, item.start, uses_of, left - 1):
            return True
    if any(_OUTSIDE.fullmatch(to.encode()) for _, to in found.addresses):
        return True
    if found.parameter is None:
        return False
    for use in uses_of(function)[:MAX_USES]:
        given = arguments(use.node)
        if use.function is not None and found.parameter < len(given):
            argument = given[found.parameter]
            if is_outside(argument, use.function, use.offset, uses_of, left - 1):
                return True
    return False
