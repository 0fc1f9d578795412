"""Conditional compilation, in three values: which `#if` branches a build keeps, drops or may keep.

Knows preprocessor lines and the version macros of Windows; knows nothing of calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvci.model import WindowsVersion

Truth = bool | None
"""None: depends on something that the sources do not say."""

_DIRECTIVE = re.compile(
    rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b((?:[^\n\\]|\\\r?\n|\\)*)", re.MULTILINE
)
_TOKEN = re.compile(
    r"defined\s*\(\s*\w+\s*\)|defined\s+\w+|0[xX][0-9a-fA-F]+|\d+|\w+"
    r"|&&|\|\||==|!=|<=|>=|[<>!()]"
)
_DEFINED = re.compile(r"defined[\s(]+(\w+)")
MAX_DEPTH = 64

VERSIONS = {
    "XP": WindowsVersion.WINDOWS_XP,
    "WINXP": WindowsVersion.WINDOWS_XP,
    "WS03": WindowsVersion.SERVER_2003,
    "VISTA": WindowsVersion.VISTA,
    "LONGHORN": WindowsVersion.VISTA,
    "WIN6": WindowsVersion.VISTA,
    "WIN7": WindowsVersion.WINDOWS_7,
    "WIN8": WindowsVersion.WINDOWS_8,
    "WINBLUE": WindowsVersion.WINDOWS_8_1,
    "WINTHRESHOLD": WindowsVersion.WINDOWS_10_1507,
    "WIN10": WindowsVersion.WINDOWS_10_1507,
    "WIN10_TH2": WindowsVersion.WINDOWS_10_1511,
    "WIN10_RS1": WindowsVersion.WINDOWS_10_1607,
    "WIN10_RS2": WindowsVersion.WINDOWS_10_1703,
    "WIN10_RS3": WindowsVersion.WINDOWS_10_1709,
    "WIN10_RS4": WindowsVersion.WINDOWS_10_1803,
    "WIN10_RS5": WindowsVersion.WINDOWS_10_1809,
    "WIN10_19H1": WindowsVersion.WINDOWS_10_1903,
    "WIN10_VB": WindowsVersion.WINDOWS_10_2004,
    "WIN10_MN": WindowsVersion.WINDOWS_10_20H2,
    "WIN10_FE": WindowsVersion.WINDOWS_10_21H1,
    "WIN10_CO": WindowsVersion.WINDOWS_11_21H2,
    "WIN10_NI": WindowsVersion.WINDOWS_11_22H2,
}
"""Suffixes of NTDDI_ names."""

_NTDDI = {
    WindowsVersion.WINDOWS_2000: 0x05000000,
    WindowsVersion.WINDOWS_XP: 0x05010000,
    WindowsVersion.SERVER_2003: 0x05020000,
    WindowsVersion.VISTA: 0x06000000,
    WindowsVersion.WINDOWS_7: 0x06010000,
    WindowsVersion.WINDOWS_8: 0x06020000,
    WindowsVersion.WINDOWS_8_1: 0x06030000,
    WindowsVersion.WINDOWS_10_1507: 0x0A000000,
    WindowsVersion.WINDOWS_10_1511: 0x0A000001,
    WindowsVersion.WINDOWS_10_1607: 0x0A000002,
    WindowsVersion.WINDOWS_10_1703: 0x0A000003,
    WindowsVersion.WINDOWS_10_1709: 0x0A000004,
    WindowsVersion.WINDOWS_10_1803: 0x0A000005,
    WindowsVersion.WINDOWS_10_1809: 0x0A000006,
    WindowsVersion.WINDOWS_10_1903: 0x0A000007,
    WindowsVersion.WINDOWS_10_2004: 0x0A000008,
    WindowsVersion.WINDOWS_10_20H2: 0x0A000009,
    WindowsVersion.WINDOWS_10_21H1: 0x0A00000A,
    WindowsVersion.WINDOWS_11_21H2: 0x0A00000B,
    WindowsVersion.WINDOWS_11_22H2: 0x0A00000C,
}


def ntddi(version: WindowsVersion) -> int:
    """The NTDDI_VERSION number of a Windows version, or of the newest older one that has one."""
    return next(number for known, number in reversed(_NTDDI.items()) if known <= version)


_WINNT = {"WINXP": 0x501, "WS03": 0x502, "VISTA": 0x600, "LONGHORN": 0x600, "WIN6": 0x600}
_WINNT |= {"WIN7": 0x601, "WIN8": 0x602, "WINBLUE": 0x603, "WINTHRESHOLD": 0xA00, "WIN10": 0xA00}
_CONSTANTS = {f"NTDDI_{name}": ntddi(version) for name, version in VERSIONS.items()}
_CONSTANTS |= {f"_WIN32_WINNT_{name}": number for name, number in _WINNT.items()}
_CONSTANTS |= {"_WIN32": 1, "WIN32": 1, "_MSC_VER": 1940, "TRUE": 1, "FALSE": 0}
_CONSTANTS |= {"_KERNEL_MODE": 1, "true": 1, "false": 0}
_MACHINES = {
    "x64": ("_WIN64", "_AMD64_", "_M_AMD64", "_M_X64", "AMD64"),
    "x86": ("_X86_", "_M_IX86", "i386"),
    "arm64": ("_WIN64", "_ARM64_", "_M_ARM64", "ARM64"),
    "arm": ("_ARM_", "_M_ARM"),
}
_ALL_MACHINES = frozenset(name for names in _MACHINES.values() for name in names)
_NEVER = frozenset(("__linux__", "__APPLE__", "__GNUC__", "__FreeBSD__", "__unix__", "__clang__"))


@dataclass(frozen=True)
class Setting:
    """The macros of one build; names that are in neither set may or may not be defined."""

    values: Mapping[str, int | None]
    """None: defined, with no number."""
    undefined: frozenset[str]


def setting(
    version: WindowsVersion, machine: str | None, defines: Mapping[str, str] | None = None
) -> Setting:
    """The macros of a kernel build for a Windows version and machine ("x64"; None: any)."""
    known: dict[str, int | None] = dict(_CONSTANTS)
    number = ntddi(version)
    known |= {"NTDDI_VERSION": number, "WINVER": number >> 16, "_WIN32_WINNT": number >> 16}
    known |= {"_NT_TARGET_VERSION": number >> 16}
    unknown = _NEVER
    if machine in _MACHINES:
        known |= dict.fromkeys(_MACHINES[machine], 1)
        unknown |= _ALL_MACHINES - set(_MACHINES[machine])
    for name, value in (defines or {}).items():
        known[name] = _number(value or "1")
    return Setting(known, unknown)


def _number(text: str) -> int | None:
    match = re.fullmatch(r"\(?\s*(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\s*\)?", text.strip())
    if not match:
        return None
    word = match[1]
    return int(word, 8) if word[0] == "0" and word.isdigit() and word != "0" else int(word, 0)


@dataclass
class _Parser:
    """Reads one `#if` expression; anything unusual makes it unknown."""

    tokens: list[str]
    macros: Setting
    at: int = 0
    depth: int = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def either(self) -> Truth:
        value = self.both()
        while self.peek() == "||":
            self.take()
            other = self.both()
            value = True if True in (value, other) else None if None in (value, other) else False
        return value

    def both(self) -> Truth:
        value = self.one()
        while self.peek() == "&&":
            self.take()
            other = self.one()
            value = False if False in (value, other) else None if None in (value, other) else True
        return value

    def one(self) -> Truth:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.at = len(self.tokens)
            return None
        word = self.take()
        if word == "!":
            value = self.one()
            return None if value is None else not value
        if word == "(":
            return self._group()
        if match := _DEFINED.match(word):
            return self.defined(match[1])
        return self._compared(self.number(word))

    def _group(self) -> Truth:
        value = self.either()
        self.take()
        if self.peek() in _COMPARE:
            return self._compared(None if value is None else int(value))
        return value

    def _compared(self, left: int | None) -> Truth:
        compare = _COMPARE.get(self.peek())
        if compare is None:
            return None if left is None else bool(left)
        self.take()
        word = self.take()
        if word == "(":
            word = self.take()
            self.take()
        right = self.number(word)
        return None if left is None or right is None else compare(left, right)

    def defined(self, name: str) -> Truth:
        if name in self.macros.values:
            return True
        return False if name in self.macros.undefined else None

    def number(self, word: str) -> int | None:
        if word[:1].isdigit():
            return _number(word)
        if word in self.macros.undefined:
            return 0
        return self.macros.values.get(word)


_COMPARE = {
    "==": int.__eq__,
    "!=": int.__ne__,
    "<": int.__lt__,
    ">": int.__gt__,
    "<=": int.__le__,
    ">=": int.__ge__,
}


def holds(kind: str, text: str, macros: Setting) -> Truth:
    """Whether a condition holds; `kind` is "if", "ifdef", "ifndef" or "elif"."""
    words = _TOKEN.findall(text.replace("\\", " "))
    if kind in ("ifdef", "ifndef"):
        value = _Parser(words, macros).defined(words[0]) if words else None
        return value if kind == "ifdef" or value is None else not value
    return _Parser(words, macros).either()


@dataclass
class Branch:
    """One branch of a conditional group: from its line to the next line of the group."""

    kind: str
    text: str
    start: int
    body: int
    """Where the text between this line and the next begins."""
    end: int = -1


@dataclass
class Group:
    """One `#if … #endif`."""

    branches: list[Branch] = field(default_factory=list)

    def branch_at(self, offset: int) -> int | None:
        """Index of the branch whose text holds an offset."""
        for index, branch in enumerate(self.branches):
            if branch.body <= offset < branch.end:
                return index
        return None

    def live(self, index: int, macros: Setting) -> Truth:
        """Whether a build keeps a branch."""
        before = [_branch_truth(branch, macros) for branch in self.branches[:index]]
        if True in before:
            return False
        mine = _branch_truth(self.branches[index], macros)
        return mine if mine is not True or None not in before else None


def _branch_truth(branch: Branch, macros: Setting) -> Truth:
    return True if branch.kind == "else" else holds(branch.kind, branch.text, macros)


def groups(code: bytes) -> list[Group]:
    """All conditional groups, outer ones before the groups that they hold; unclosed ones end."""
    found: list[Group] = []
    stack: list[Group] = []
    for match in _DIRECTIVE.finditer(code):
        kind = match[1].decode()
        if kind.startswith("if"):
            stack.append(Group())
            found.append(stack[-1])
        elif not stack:
            continue
        else:
            stack[-1].branches[-1].end = match.start()
        if kind == "endif":
            stack.pop()
            continue
        text = match[2].decode("latin-1").strip()
        stack[-1].branches.append(Branch(kind, text, match.start(), match.end()))
    for group in stack:
        group.branches[-1].end = len(code)
    return found


def live(found: list[Group], offset: int, macros: Setting) -> Truth:
    """Whether a build keeps the text at an offset."""
    value: Truth = True
    for group in found:
        if (index := group.branch_at(offset)) is not None:
            kept = group.live(index, macros)
            if kept is False:
                return False
            value = None if kept is None else value
    return value
