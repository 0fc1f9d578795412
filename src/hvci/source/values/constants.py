"""The names and literals whose values the WDK headers fix.

Knows the catalogue's constants and the spelling of numbers; knows nothing of syntax trees.
"""

from __future__ import annotations

import re
from functools import cache

from hvci import catalog
from hvci.source.preprocess import expression
from hvci.source.values.guess import Guess, exactly, unknown

NX_POOL = 0x200
NX_MAPPING = 0x4000_0000

_RENAMED = {"NonPagedPool": NX_POOL, "NonPagedPoolCacheAligned": NX_POOL}
"""What POOL_NX_OPTIN makes something else, and the bits that are added."""
_VARIABLES = {
    "ExDefaultNonPagedPoolType": ("pool_type", NX_POOL),
    "ExDefaultMdlProtection": ("mdl_priority", NX_MAPPING),
}
"""The variables of the opt-in; zero until the driver opts in."""
_WORDS = {"TRUE": 1, "FALSE": 0, "true": 1, "false": 0, "NULL": 0, "nullptr": 0}
_NUMBER = re.compile(
    rb"(0[xX][0-9a-fA-F']+|0[bB][01']+|[0-9][0-9']*)(?:[uUlL]|[uU]?[iI](?:8|16|32|64))*"
)


@cache
def _named() -> dict[str, Guess]:
    found = {word: exactly(bits, "number") for word, bits in _WORDS.items()}
    for family in catalog.families().values():
        for name, bits in family.constants.items():
            opted = _RENAMED.get(name, 0)
            guess = exactly(bits, "name", opted=opted, family=family.name)
            found[name] = guess.mixed(found[name]) if name in found else guess
    for name, (family_name, bits) in _VARIABLES.items():
        found[name] = exactly(0, "name", opted=bits, family=family_name)
    return found


def named(name: bytes) -> Guess | None:
    """The value of a constant of the WDK headers; None when there is none of that name."""
    return _named().get(name.decode("ascii", "replace"))


def number(text: bytes) -> Guess:
    """The value of a number as C spells it."""
    bare = text.strip()
    match = _NUMBER.fullmatch(bare.lstrip(b"-+ "))
    if match is None:
        return unknown(f"the number {text.decode('utf-8', 'replace')[:40]} is not an integer")
    digits = match[1].replace(b"'", b"").decode()
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    try:
        value = int(digits, 8 if octal else 0)
        return exactly(-value if bare[:1] == b"-" else value, "number")
    except ValueError:
        return unknown(f"{digits} is no number")


def character(text: bytes) -> Guess:
    """The value of a character constant such as 'abcd'."""
    value = expression.character(text)
    if value is None:
        return unknown("a character constant that could not be read")
    return exactly(value, "number")
