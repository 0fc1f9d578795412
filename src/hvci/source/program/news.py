"""Which `new` of a program calls an operator that is given a choice of pool.

Theory of operation: a `new` fits by the number of its arguments and by the type of the first one,
as far as its text says that: what is neither named like a pool nor has the type of the parameter
is taken for the place of an object. Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re

from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.program import Program, Use
from hvci.source.program.stores import prototype_default

_POOLISH = re.compile(rb"(?i)pool")
"""What the first argument of a `new` that chooses a pool says."""
_NUMBER = re.compile(rb"[0-9][0-9a-zA-Z]*")
_LAST_NAME = re.compile(rb"(\w+)\W*\Z")


def takes(use: Use, function: Function) -> bool:
    """Whether a `new` may call an operator, by the number of its arguments."""
    given = arguments(use.node, "placement")
    optional = sum(default is not None for default in function.defaults)
    most = len(function.parameters) - 1
    return bool(given) and most - optional <= len(given) <= most


def choosing(function: Function, program: Program) -> list[Use]:
    """Every `new` that calls an operator; it may give nothing where all has a default."""
    uses = [use for use in program.news() if chooses(use, function, program)]
    needed = list(zip(function.parameters, function.defaults, strict=True))[1:]
    is_bare = needed and all(
        default is not None or prototype_default(program, function, index) is not None
        for index, (_, default) in enumerate(needed, 1)
    )
    return [*uses, *program.news(is_plain=True)] if is_bare else uses


def says_pool(use: Use, function: Function) -> bool:
    """Whether a `new` may call an operator and names a pool in so many words."""
    return takes(use, function) and _POOLISH.search(_first(use)) is not None


def chooses(use: Use, function: Function, program: Program) -> bool:
    """Whether a `new` calls an operator, by the number of arguments and the type of the first."""
    if not takes(use, function):
        return False
    if _first(use).endswith(b"...") or _POOLISH.search(_first(use)) is not None:
        return True
    return _is_typed(use, function, program)


def _first(use: Use) -> bytes:
    return text_of(arguments(use.node, "placement")[0])


def _is_typed(use: Use, function: Function, program: Program) -> bool:
    """Whether the first argument has the type of the operator's parameter."""
    words = function.types[1].split() if len(function.types) > 1 else []
    text, kind = _first(use), words[-1] if words else b""
    if not kind or function.is_pointer(1) or text[:1] in (b"&", b"*"):
        return False
    if text.startswith(kind + b"::") or re.match(rb"\(\s*%b\s*\)" % re.escape(kind), text):
        return True
    if _NUMBER.fullmatch(text):
        return True
    named = _LAST_NAME.search(text)
    return named is not None and _is_declared(named[1], kind, program)


def _is_declared(name: bytes, kind: bytes, program: Program) -> bool:
    """Whether a variable of a name has that type, or the type is an enumeration that lists it."""
    word, own = re.escape(name), re.escape(kind)
    pattern = re.compile(
        rb"\b%b\s+(?:const\s+|constexpr\s+|volatile\s+)*&?\s*%b\b(?!\s*\()" % (own, word)
        + rb"|\benum\b[^{};()]*\b%b\b[^{};()]*\{[^{}]*\b%b\b" % (own, word)
        + rb"|\benum\b[^{};()]*\{[^{}]*\b%b\b[^{}]*\}[\s\w*,]*\b%b\b" % (word, own)
    )
    return any(pattern.search(unit.source.code) for unit in program.naming(name))
