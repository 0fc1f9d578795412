"""The macros that compiler and kit define before the first line of a source.

Knows compilers, the version macros of the kit and the switches of its toolset; knows no projects.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache

from hvci import catalog
from hvci.model import WindowsVersion
from hvci.source.preprocess.conditions import CONSTANTS, version_macros


class Compiler(StrEnum):
    """Who compiles; the values are the rows of compilers.toml, where it has one."""

    MSVC = "msvc"
    CLANG_MSVC = "clang-msvc"
    """Clang in MSVC's manner: clang-cl, or for a target that ends in -windows-msvc."""
    GCC = "gcc"
    """MinGW-w64's."""
    CLANG_GNU = "clang-gnu"
    """Clang with MinGW-w64's headers."""

    @property
    def is_gnu(self) -> bool:
        """Whether it compiles with MinGW-w64's headers, not with those of the WDK."""
        return self in (Compiler.GCC, Compiler.CLANG_GNU)


MACHINES: dict[str, dict[str, int]] = {
    "x64": {"_WIN64": 1, "_AMD64_": 1, "AMD64": 1, "_M_AMD64": 100, "_M_X64": 100},
    "x86": {"_X86_": 1, "i386": 1, "_M_IX86": 600, "_M_IX86_FP": 2},
    "arm64": {"_WIN64": 1, "_ARM64_": 1, "ARM64": 1, "_M_ARM64": 1},
    "arm": {"_ARM_": 1, "ARM": 1, "_M_ARM": 7, "_M_ARMT": 7, "_M_THUMB": 7},
}
ALL_MACHINES = frozenset(name for names in MACHINES.values() for name in names)
_COMPILER = {
    "_WIN32": 1,
    "_MSC_VER": 1940,
    "_MSC_FULL_VER": 194033811,
    "_MSC_BUILD": 0,
    "_MSC_EXTENSIONS": 1,
    "_INTEGRAL_MAX_BITS": 64,
    "_WCHAR_T_DEFINED": 1,
    "__COUNTER__": 0,
    "__LINE__": 1,
    "_KERNEL_MODE": 1,
    "_WIN32_IE": 0xA00,
}
_CPLUSPLUS = {"__cplusplus": 199711, "_NATIVE_WCHAR_T_DEFINED": 1, "__BOOL_DEFINED": 1}
_KIT = {
    "WIN32": 100,
    "WINNT": 1,
    "CONDITION_HANDLING": 1,
    "DEPRECATE_DDK_FUNCTIONS": 1,
    "MSC_NOOPT": 1,
    "STD_CALL": 1,
    "NT_UP": 0,
    "NT_INST": 0,
    "WIN9X_COMPAT_SPINLOCK": None,
}
NEVER = frozenset(
    (
        *("__linux__", "__linux", "linux", "__APPLE__", "__MACH__", "__GNUC__", "__FreeBSD__"),
        *("__unix__", "__unix", "unix", "__clang__", "__MINGW32__", "__MINGW64__", "__CYGWIN__"),
        *("__NetBSD__", "__OpenBSD__", "__sun", "__INTEL_COMPILER", "__BORLANDC__", "__WATCOMC__"),
        *("__EDG__", "__CODECHECKER__"),
    )
)
"""What no compiler of drivers for Windows defines, as long as no build says so."""

_OF_KIT = re.compile(
    rb"(?:STATUS|NTDDI|IOCTL|FSCTL|FILE|IRP|POOL|PAGE|MDL|NDIS|SCSI|SRB|USBD?|OBJ|KEY|SE|TOKEN|ACL"
    rb"|IMAGE|WDF|KMDF|DEVICE|IO|METHOD|MAXIMUM|ERROR|WM|REG|MEM|SEC|EVENT|THREAD|PROCESS|KSPROPERTY"
    rb"|STORAGE|VOLUME|PCI|GUID|VER|FACILITY|MAX|MIN|FLT|FLTFL|ACPI|HID|TRACE|WPP)_[A-Z0-9]\w*"
    rb"|(?:Ex|Io|Ke|Mm|Rtl|Zw|Nt|Ob|Ps|Se|Wdf|Po|Hal|Flt|Ndis)[A-Z]\w+|min|max|NULL|TRUE|FALSE"
    rb"|_+[A-Z0-9]*(?:DDK|WDM|NTDEF|NTIFS|WINNT)(?:_H)?_+"
)


def may_be_of_kit(name: bytes) -> bool:
    """Whether a header of the kits, which is not here, may define a name."""
    return _OF_KIT.fullmatch(name) is not None or name in _catalogued()


@cache
def _catalogued() -> frozenset[bytes]:
    return frozenset(
        name.encode() for family in catalog.families().values() for name in family.constants
    )


@cache
def predefined(
    version: WindowsVersion,
    machine: str | None,
    kernel: bool,
    cplusplus: bool,
    debug: bool,
    compiler: Compiler = Compiler.MSVC,
) -> dict[bytes, int | None]:
    """Every macro that is there before the first line; None: defined, with no number.

    MinGW-w64's headers define MSVC's names of machines as well.
    """
    known: dict[str, int | None] = {**CONSTANTS, **version_macros(version)}
    known |= MACHINES.get(machine or "", {})
    if cplusplus:
        known |= _CPLUSPLUS
    if not compiler.is_gnu:
        known |= _COMPILER
        if kernel:
            known |= _KIT
        else:
            known.pop("_KERNEL_MODE")
    if kernel and debug and not compiler.is_gnu:
        known["DBG"] = 1
    known |= catalog.compiler_macros().get(compiler, {}).get(machine or "", {})
    return {name.encode(): value for name, value in known.items()}
