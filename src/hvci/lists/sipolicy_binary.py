"""Reads a policy of App Control in its binary form (.p7b, .cip), formats 1 to 8.

The layout was found by comparing published policies with their XML. A signed policy is unwrapped;
its signature is not checked. Rules have no ids in this form: they are named by their number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hvci.errors import InputError
from hvci.lists.sipolicy import KERNEL, Choice, FileRule, Policy, RuleKind, SignerRule
from hvci.lists.version import Version
from hvci.signing import der

T = TypeVar("T")
NEWEST_FORMAT = 8
_AUDIT = 0x0001_0000
_MOST = 1_000_000
_KINDS = (RuleKind.DENY, RuleKind.ALLOW, RuleKind.ATTRIBUTES)
_ABSENT: Version = (0, 0, 0, 0)


class _Cursor:
    """Reads one field after the other and refuses to leave the data."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise InputError(f"the policy is cut off at offset {self.at:#x}")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        return int.from_bytes(self.raw(4), "little")

    def version(self) -> Version:
        d, c, b, a = struct.unpack("<4H", self.raw(8))
        return a, b, c, d

    def octets(self) -> bytes:
        found = self.raw(self.number())
        self.raw(-len(found) % 4)
        return found

    def text(self) -> str:
        found = self.octets()
        self.raw(4)
        return found.decode("utf-16-le", "replace").rstrip("\0")

    def list_of(self, read: Callable[[], T], count: int | None = None) -> list[T]:
        size = self.number() if count is None else count
        if size > _MOST or size > len(self.data):
            raise InputError(f"the policy claims {size} entries at offset {self.at:#x}")
        return [read() for _ in range(size)]

    def tag(self, wanted: int) -> None:
        found = self.number()
        if found != wanted:
            where = self.at - 4
            raise InputError(f"block {found} where {wanted} is needed, at offset {where:#x}")


_FORMATS = 0xFFFF
"""What stands first is a small number; text is none."""


def is_binary(data: bytes) -> bool:
    """Whether the bytes start as a policy does, or as a signed one."""
    return data[:1] == b"\x30" or 1 <= int.from_bytes(data[:4], "little") <= NEWEST_FORMAT + 8


def read_binary(data: bytes) -> Policy:
    """Read a policy; raise `InputError` that says where it stops making sense."""
    cursor = _Cursor(_unwrapped(data))
    form = cursor.number()
    if form > _FORMATS:
        raise InputError("this is no policy of App Control: neither XML nor its binary form")
    if not 1 <= form <= NEWEST_FORMAT:
        raise InputError(f"the policy has format {form}; hvci knows 1 to {NEWEST_FORMAT}")
    cursor.raw(32)
    options = cursor.number()
    counts = [cursor.number() for _ in range(4)]
    version = cursor.version()
    cursor.at = cursor.number()
    cursor.number()
    ekus = cursor.list_of(cursor.octets, counts[0])
    rules = cursor.list_of(lambda: _file_rule(cursor), counts[1])
    rules = [replace(rule, id=f"file rule {n}") for n, rule in enumerate(rules)]
    signers = cursor.list_of(lambda: _signer(cursor), counts[2])
    cursor.list_of(cursor.number)
    cursor.list_of(cursor.number)
    scenarios = cursor.list_of(lambda: _scenario(cursor), counts[3])
    cursor.number()
    title = _settings(cursor)
    rules = _more(cursor, form, rules, len(signers))
    return _policy(title, version, bool(options & _AUDIT), ekus, rules, signers, scenarios)


def _unwrapped(data: bytes) -> bytes:
    """The policy within a signed message."""
    if data[:1] != b"\x30":
        return data
    from hvci.signing.pkcs7 import SignedData

    try:
        content = SignedData(der.element(data)).content
        return content.octets if content.tag & 0x1F == der.OCTETS else content.content
    except ValueError as error:
        raise InputError(f"a signed policy that cannot be read: {error}") from error


def _file_rule(cursor: _Cursor) -> FileRule:
    kind = cursor.number()
    if kind >= len(_KINDS):
        raise InputError(f"a file rule of kind {kind} at offset {cursor.at - 4:#x}")
    name, least, digest = cursor.text(), cursor.version(), cursor.octets()
    names = {"OriginalFilename": name} if name else {}
    absent = digest or least == _ABSENT
    return FileRule(_KINDS[kind], "", "", digest, names, None if absent else least)


Signer = tuple[SignerRule, list[int], list[int]]
Scenario = tuple[int, list[tuple[int, list[int]]], list[tuple[int, list[int]]], list[int]]


def _signer(cursor: _Cursor) -> Signer:
    """A signer with the numbers of its key usages and file attributes."""
    root, known = b"", None
    if cursor.number() == 0:
        root = cursor.octets()
    else:
        known = cursor.number()
    ekus = cursor.list_of(cursor.number)
    issuer, publisher, oem = cursor.text(), cursor.text(), cursor.text()
    attributes = cursor.list_of(cursor.number)
    rule = SignerRule("", "", root, known, (), issuer, publisher, oem)
    return rule, ekus, attributes


def _scenario(cursor: _Cursor) -> Scenario:
    """Value, allowed and denied signers with exceptions, and file rules, of the product signers."""

    def choice() -> tuple[int, list[int]]:
        return cursor.number(), cursor.list_of(cursor.number)

    value = cursor.number() & 0xFF
    cursor.list_of(cursor.number)
    cursor.number()
    parts = [
        (cursor.list_of(choice), cursor.list_of(choice), cursor.list_of(cursor.number))
        for _ in range(3)
    ]
    return value, *parts[0]


def _settings(cursor: _Cursor) -> str:
    """Skips the settings; gives the policy's name."""
    title = ""
    for _ in range(min(cursor.number(), _MOST)):
        cursor.text()
        cursor.text()
        name, kind = cursor.text(), cursor.number()
        if kind == 2:
            cursor.octets()
        elif kind == 3:
            text = cursor.text()
            title = text if name == "Name" else title
        else:
            cursor.number()
    return title


def _more(cursor: _Cursor, form: int, rules: list[FileRule], signers: int) -> list[FileRule]:
    """What later formats add about file rules, each in a block of its own."""
    if form >= 3:
        cursor.tag(3)
        rules = [_with_most(cursor, rule) for rule in rules]
        cursor.raw(8 * signers)
    if form >= 4:
        cursor.tag(4)
        rules = [_with_names(cursor, rule) for rule in rules]
    if form >= 5:
        cursor.tag(5)
        for _ in rules:
            cursor.text()
            cursor.raw(8)
    if form >= 6:
        cursor.tag(6)
        cursor.raw(32)
        cursor.list_of(cursor.number)
    if form >= 7:
        cursor.tag(7)
        rules = [replace(rule, path=cursor.text()) for rule in rules]
    return rules


def _with_most(cursor: _Cursor, rule: FileRule) -> FileRule:
    most = cursor.version()
    cursor.list_of(cursor.text)
    if most == _ABSENT or rule.digest:
        return rule
    return replace(rule, least=rule.least or _ABSENT, most=most)


def _with_names(cursor: _Cursor, rule: FileRule) -> FileRule:
    keys = ("InternalName", "FileDescription", "ProductName")
    found = {key: cursor.text() for key in keys}
    return replace(rule, names={**rule.names, **{key: v for key, v in found.items() if v}})


def _policy(
    title: str,
    version: Version,
    audit: bool,
    ekus: list[bytes],
    rules: list[FileRule],
    read: list[Signer],
    scenarios: list[Scenario],
) -> Policy:
    """Everything with its references resolved."""
    signers = [
        replace(
            rule,
            id=f"signer {n}",
            ekus=tuple(_at(ekus, i)[2:] for i in usages),
            attributes=tuple(_at(rules, i) for i in attributes),
        )
        for n, (rule, usages, attributes) in enumerate(read)
    ]

    def choices(numbers: list[tuple[int, list[int]]]) -> tuple[Choice, ...]:
        return tuple(
            Choice(_at(signers, n), tuple(_at(rules, i) for i in excepted))
            for n, excepted in numbers
        )

    kernel = [each for each in scenarios if each[0] == KERNEL]
    return Policy(
        title,
        ".".join(map(str, version)),
        tuple(rules),
        tuple(signers),
        tuple(_at(rules, i) for each in kernel for i in each[3]),
        tuple(one for each in kernel for one in choices(each[2])),
        tuple(one for each in kernel for one in choices(each[1])),
        audit,
    )


def _at(table: list[T], n: int) -> T:
    if n >= len(table):
        raise InputError(f"the policy refers to entry {n} of {len(table)}")
    return table[n]
