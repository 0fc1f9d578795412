"""The compiler warnings C30029 to C30035 in our own words. Knows nothing of reports or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_DOCS = "https://learn.microsoft.com/windows-hardware/drivers/devtest/"


@dataclass(frozen=True, slots=True)
class CompilerWarning:
    """One warning of code analysis for drivers."""

    title: str
    means: str
    fix: str
    page: str


RETIRED = (
    "Microsoft is to retire Code Analysis for drivers, which gives this warning, in favour of "
    "CodeQL, whose queries do not look for executable memory. hvci keeps the number as another "
    "name of its rule and obeys what suppresses it in sources."
)
_OPT_IN_FIRST = (
    "Call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) as the first statement of DriverEntry (or "
    "DllInitialize) and compile every file with POOL_NX_OPTIN=1; or spell NonPagedPoolNx there."
)

WARNINGS: Mapping[str, CompilerWarning] = MappingProxyType(
    {
        "C30029": CompilerWarning(
            "the DDI gives executable memory whatever its arguments",
            "The function that is called has no parameter that could make its memory "
            "non-executable, so no call of it is right for memory integrity.",
            "Call the replacement that takes a protection, such as MmMapIoSpaceEx or "
            "MmAllocateContiguousNodeMemory with a PAGE_ value that does not execute.",
            _DOCS + "30029-memory-allocating-function-requests-executable-memory",
        ),
        "C30030": CompilerWarning(
            "an argument asks for executable memory",
            "The call passes a pool type, page protection, mapping priority or cache type that "
            "gives executable memory.",
            "Pass the non-executable counterpart: NonPagedPoolNx, PAGE_READWRITE, "
            "priority | MdlMappingNoExecute.",
            _DOCS + "30030-parameter-indicates-executable-memory",
        ),
        "C30031": CompilerWarning(
            "the NX opt-in does not happen directly in the entry function",
            "The file is compiled with POOL_NX_OPTIN, and ExInitializeDriverRuntime is called "
            "somewhere else than in the entry function itself. If the entry function calls that "
            "place before the first allocation, the code is right.",
            _OPT_IN_FIRST,
            _DOCS + "30031-pool-n-optin-called-before-entry-function",
        ),
        "C30032": CompilerWarning(
            "POOL_NX_OPTOUT forces executable memory",
            "The file defines POOL_NX_OPTOUT, which keeps NonPagedPool and MDL priorities "
            "executable in that file although the driver may have opted in.",
            "Remove POOL_NX_OPTOUT and define POOL_NX_OPTIN_AUTO=1 (Windows 8 and later).",
            _DOCS + "30032-forcing-request-of-executable-memory",
        ),
        "C30033": CompilerWarning(
            "a library that opts in depends on its loader",
            "The file is compiled with POOL_NX_OPTIN but has no entry function of its own; it is "
            "safe only when the driver that loads it opts in.",
            _OPT_IN_FIRST,
            _DOCS + "30033-executable-allocation-detected-with-pool-nx-optin",
        ),
        "C30034": CompilerWarning(
            "a callback may allocate executable memory",
            "The call passes an allocation callback, such as Allocate of a lookaside list, and the "
            "callback decides at run time whether the memory is executable.",
            "Make the callback allocate NonPagedPoolNx or with ExAllocatePool2, and pass the NX "
            "flag at the call as well.",
            _DOCS + "prefast-for-drivers-warnings",
        ),
        "C30035": CompilerWarning(
            "the NX opt-in is not called by the initialization function itself",
            "The driver is compiled with POOL_NX_OPTIN, but ExInitializeDriverRuntime is not "
            "called directly in its initialization function, so an allocation may come first.",
            _OPT_IN_FIRST,
            _DOCS + "prefast-for-drivers-warnings",
        ),
    }
)
