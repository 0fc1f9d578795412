"""Windows versions in conditions: the kit's version macros, and conditions over a few numbers.

Knows the version macros of Windows; the meaning of conditions is in `expression`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hvci.model import WindowsVersion
from hvci.source.preprocess import expression
from hvci.source.preprocess.expression import Number, Truth
from hvci.source.text.directives import Condition

__all__ = ["CONSTANTS", "VERSIONS", "Setting", "Truth", "holds", "ntddi", "version_macros"]

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
    "WIN10_CU": WindowsVersion.WINDOWS_11_22H2,
    "WIN11_ZN": WindowsVersion.WINDOWS_11_23H2,
    "WIN11_GA": WindowsVersion.WINDOWS_11_23H2,
    "WIN11_GE": WindowsVersion.WINDOWS_11_24H2,
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
    WindowsVersion.WINDOWS_11_24H2: 0x0A000010,
}
_NUMBERS = {"WIN10_CU": 0x0A00000D, "WIN11_ZN": 0x0A00000E, "WIN11_GA": 0x0A00000F}
_NUMBERS |= {"WINXPSP1": 0x05010100, "WINXPSP2": 0x05010200, "WINXPSP3": 0x05010300}
_NUMBERS |= {"WS03SP1": 0x05020100, "WS03SP2": 0x05020200, "WS08": 0x06000100}
_NUMBERS |= {"WIN6SP1": 0x06000100, "VISTASP1": 0x06000100, "VISTASP2": 0x06000200}
_NUMBERS |= {"WIN6SP2": 0x06000200, "WIN2K": 0x05000000, "WIN4": 0x04000000}
"""Releases that are no Windows version of their own."""


def ntddi(version: WindowsVersion) -> int:
    """The NTDDI_VERSION number of a Windows version, or of the newest older one that has one."""
    return next(number for known, number in reversed(_NTDDI.items()) if known <= version)


def of_ntddi(number: int) -> WindowsVersion | None:
    """The newest Windows version that a number of its headers reaches; None: it is older."""
    fitting = [version for version, least in _NTDDI.items() if least <= number]
    return fitting[-1] if fitting else None


WINNT = {"WINXP": 0x501, "WS03": 0x502, "VISTA": 0x600, "LONGHORN": 0x600, "WIN6": 0x600}
WINNT |= {"WIN7": 0x601, "WIN8": 0x602, "WINBLUE": 0x603, "WINTHRESHOLD": 0xA00, "WIN10": 0xA00}
"""The numbers of versions as the headers and makefiles of the kits name them."""
CONSTANTS = {f"NTDDI_{name}": ntddi(version) for name, version in VERSIONS.items()}
"""What sdkddkver.h and WinNT headers define, whatever is built."""
CONSTANTS |= {f"NTDDI_{name}": number for name, number in _NUMBERS.items()}
CONSTANTS |= {f"_WIN32_WINNT_{name}": number for name, number in WINNT.items()}
CONSTANTS |= {"TRUE": 1, "FALSE": 0}


def version_macros(version: WindowsVersion) -> dict[str, int]:
    """The macros that say which Windows version is built for."""
    number = ntddi(version)
    names = ("WINVER", "_WIN32_WINNT", "_NT_TARGET_VERSION")
    return {"NTDDI_VERSION": number, **dict.fromkeys(names, number >> 16)}


@dataclass(frozen=True)
class Setting:
    """Some macros; names that are in neither set may or may not be defined."""

    values: Mapping[str, int | None]
    """None: defined, with no number."""
    undefined: frozenset[str]

    def defined(self, name: bytes) -> Truth:
        """Whether a name is defined; None: cannot be told."""
        word = name.decode("latin-1")
        if word in self.values:
            return True
        return False if word in self.undefined else None

    def macro(self, name: bytes) -> int | None:
        """The number that a name stands for."""
        return self.values.get(name.decode("latin-1"), _WORDS.get(name))

    def undefined_value(self, name: bytes) -> Number:
        """Only names that are certainly undefined are worth 0."""
        return 0 if name.decode("latin-1") in self.undefined else None

    def has_include(self, quoted: bool, name: str) -> Truth:
        """No header is known here."""
        return None


_WORDS = {b"true": 1, b"false": 0, b"TRUE": 1, b"FALSE": 0}


def holds(kind: str, text: str, macros: Setting) -> Truth:
    """Whether a condition holds; `kind` is "if", "ifdef" or "ifndef"."""
    return expression.holds(Condition(kind, text.encode("latin-1", "replace")), macros)
