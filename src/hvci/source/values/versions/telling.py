"""What tells the Windows version in source text: routines, fields and what they say.

Knows names and syntax trees; evaluates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hvci.model import WindowsVersion
from hvci.source.preprocess.tree import Function, arguments, text_of, walk
from hvci.source.program.stores import Store
from hvci.source.values.guess import Guess

if TYPE_CHECKING:
    from tree_sitter import Node

TELLING = (
    b"RtlIsNtDdiVersionAvailable",
    b"IoIsWdmVersionAvailable",
    b"PsGetVersion",
    b"RtlGetVersion",
    b"RtlVerifyVersionInfo",
    b"NtBuildNumber",
    b"OrGreater",
    b"MajorVersion",
)
FIELDS: dict[bytes, Callable[[WindowsVersion], int]] = {}
for _name in (b"MajorVersion", b"dwMajorVersion", b"NtMajorVersion"):
    FIELDS[_name] = lambda kernel: 10
for _name in (b"MinorVersion", b"dwMinorVersion", b"NtMinorVersion", b"wServicePackMajor"):
    FIELDS[_name] = lambda kernel: 0
for _name in (b"dwBuildNumber", b"NtBuildNumber"):
    FIELDS[_name] = int
PARTS = (FIELDS[b"MajorVersion"], FIELDS[b"MinorVersion"], FIELDS[b"dwBuildNumber"])
"""What PsGetVersion writes where its arguments point."""
NUMBERS = {
    b"NULL": 0,
    b"nullptr": 0,
    b"FALSE": 0,
    b"TRUE": 1,
    b"STATUS_SUCCESS": 0,
    b"NDIS_STATUS_SUCCESS": 0,
    b"STATUS_UNSUCCESSFUL": 0xC000_0001,
    b"STATUS_INVALID_PARAMETER": 0xC000_000D,
    b"STATUS_NOT_SUPPORTED": 0xC000_00BB,
    b"STATUS_REVISION_MISMATCH": 0xC000_0059,
}
"""Constants that checks of the version are compared with."""
OR_GREATER = re.compile(rb"IsWindows(?:XP|Vista|7|8|8Point1|10)\w*OrGreater")
COMPARE: dict[bytes, Callable[[int, int], int]] = {
    b"==": lambda a, b: int(a == b),
    b"!=": lambda a, b: int(a != b),
    b"<": lambda a, b: int(a < b),
    b">": lambda a, b: int(a > b),
    b"<=": lambda a, b: int(a <= b),
    b">=": lambda a, b: int(a >= b),
    b"+": lambda a, b: a + b,
    b"-": lambda a, b: a - b,
    b"*": lambda a, b: (a * b) & 0xFFFF_FFFF_FFFF,
    b"&": lambda a, b: a & b,
    b"|": lambda a, b: a | b,
    b"<<": lambda a, b: (a << min(b, 63)) & 0xFFFF_FFFF_FFFF_FFFF,
    b">>": lambda a, b: a >> min(b, 63),
}


class Exit(NamedTuple):
    """A statement that leaves its block where its condition holds."""

    condition: Node
    start: int
    block: tuple[int, int]


def is_before(function: Function | None, offset: int, store: Store) -> bool:
    """Whether a place stands before a store in one function."""
    return (
        function is not None
        and function.file is store.file
        and function.node.start_byte <= store.offset < function.node.end_byte
        and offset < store.offset
    )


def is_success(node: Node) -> bool:
    """Whether a `return` says nothing, or that all went well."""
    value = text_of(node).removeprefix(b"return").strip(b" ;()\n")
    return value in (b"", b"0", b"TRUE", b"true", b"STATUS_SUCCESS")


def written(function: Function, name: bytes, receiver: str, on: WindowsVersion) -> int | None:
    """What PsGetVersion writes into a local variable."""
    if receiver != "PsGetVersion":
        return None
    for node in walk(function.node):
        if text_of(node.child_by_field_name("function")) == b"PsGetVersion":
            for at, given in enumerate(arguments(node)[:3]):
                if text_of(given).replace(b" ", b"").endswith(b"&" + name):
                    return PARTS[at](on)
    return None


def only(guess: Guess) -> int | None:
    """The number that a value is; None when it is not one."""
    atoms = sorted(guess.atoms)
    return atoms[0].bits if guess.complete and len(atoms) == 1 else None
