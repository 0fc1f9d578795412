"""Words that people search for and no other table has: macros, settings, tools, other warnings.

Knows no report and no output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from hvci.model.record import record

_DRIVERS = "https://learn.microsoft.com/windows-hardware/drivers/"


@record
class Term:
    """One word, what it is, and what to do about it."""

    name: str
    title: str
    means: str
    todo: str
    source: str
    also: tuple[str, ...] = ()


_ROWS = (
    Term(
        "POOL_NX_OPTIN",
        "a macro that makes NonPagedPool non-executable where Windows can",
        "Compiled with POOL_NX_OPTIN=1, the headers put the NX value in place of NonPagedPool: "
        "from a variable that ExInitializeDriverRuntime(DrvRtPoolNxOptIn) sets on Windows 8 and "
        "later. Without that call, and in files without the macro, the pool stays executable.",
        "Call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) first in DriverEntry and define the "
        "macro for every file. For Windows 8 and later alone, POOL_NX_OPTIN_AUTO=1 needs no call.",
        _DRIVERS + "kernel/single-binary-opt-in-pool-nx-optin",
        ("nx opt-in", "drvrtpoolnxoptin"),
    ),
    Term(
        "POOL_NX_OPTIN_AUTO",
        "a macro that makes NonPagedPool the NX value",
        "Compiled with POOL_NX_OPTIN_AUTO=1, NonPagedPool is NonPagedPoolNx in that file, with no "
        "call at run time; the driver then needs Windows 8.",
        "Define it for every file of a driver for Windows 8 and later.",
        _DRIVERS + "kernel/multiple-binary-opt-in-pool-nx-optin-auto",
    ),
    Term(
        "POOL_NX_OPTOUT",
        "a macro that keeps NonPagedPool executable in one file",
        "The file does not take part in the opt-in of its driver (warning C30032).",
        "Remove it.",
        _DRIVERS + "kernel/nx-pool-opt-in-mechanisms",
    ),
    Term(
        "NX_COMPAT",
        "a flag in the headers of an image (/NXCOMPAT)",
        "It concerns programs for user mode. Memory integrity does not look at it in a driver.",
        "Nothing.",
        "https://learn.microsoft.com/cpp/build/reference/nxcompat-compatible-with-data-execution-"
        "prevention",
        ("nxcompat", "/nxcompat"),
    ),
    Term(
        "GUARD_CF",
        "Control Flow Guard (/guard:cf)",
        "In a driver it is enforced only while memory integrity runs. Then an indirect call to "
        "what is no valid target, such as a kernel routine that is not exported, stops the "
        "computer with bug check 0x139, first parameter 0xA.",
        "Keep it, and call exported routines only.",
        "https://learn.microsoft.com/windows/win32/secbp/control-flow-guard",
        ("/guard:cf", "cfg", "kcfg", "kernel cfg"),
    ),
    Term(
        "memory integrity",
        "the hypervisor decides which kernel pages execute (HVCI)",
        "Only pages of images that the secure kernel has verified execute in kernel mode, and no "
        "such page is ever writable. Memory that a driver allocates or maps never executes.",
        "See `hvci check` for a driver, `hvci explain gates` for the checks that are taken for it.",
        "https://learn.microsoft.com/windows/security/hardware-security/enable-virtualization-"
        "based-protection-of-code-integrity",
        ("hvci", "core isolation", "hypervisor-protected code integrity"),
    ),
    Term(
        "HvciAuditMode",
        "a registry value that makes memory integrity report and not refuse",
        "Seen by researchers under HKLM\\SYSTEM\\CurrentControlSet\\Control\\CI, not documented: "
        "drivers that the image check would refuse are loaded and reported as event 3087.",
        "On a test machine only. `hvci import-log --compare` joins the events with the drivers.",
        "https://learn.microsoft.com/windows/win32/api/winternl/nf-winternl-ntquerysysteminformation",
    ),
    Term(
        "HvciDisallowedImages",
        "a registry value that names drivers which memory integrity refuses",
        "Seen by researchers under HKLM\\SYSTEM\\CurrentControlSet\\Control\\CI, not documented: "
        "images of these names do not load while memory integrity runs, whatever they are.",
        "Look who wrote it before you remove a name: it may be a policy of the organisation.",
        "https://learn.microsoft.com/windows/security/hardware-security/enable-virtualization-"
        "based-protection-of-code-integrity",
    ),
    Term(
        "failure bitmap",
        "why memory integrity refuses an image, in events 3087 and 3111",
        "One bit for each failure of the image check. Which bit means what is not published, so "
        'hvci shows it as it is. Event Viewer may print names in its place, such as "Invalid '
        'section alignment".',
        "Give log and driver to `hvci import-log`: it puts the findings of the image beside it.",
        "https://learn.microsoft.com/windows/security/application-security/application-control/"
        "app-control-for-business/operations/event-id-explanations",
        ("bitmap", "hvci failure bitmap"),
    ),
    Term(
        "strict mode",
        "what Windows calls the check for sections that are writable and executable",
        "Event 3073 speaks of strict mode hypervisor enforcement; 3072, about alignment, does not. "
        "When it is on is not documented, so that such a driver does not load is inferred.",
        "Make the section either executable or writable; see `hvci explain execute-write-section`.",
        "https://learn.microsoft.com/windows/win32/api/winternl/nf-winternl-ntquerysysteminformation",
    ),
    Term(
        "WHCP",
        "Windows Hardware Compatibility Program: Microsoft tests and signs drivers",
        "Its signatures name the Microsoft Windows Hardware Compatibility Publisher. `hvci check` "
        "calls them hardware (tested) or attestation (signed without a test).",
        "Submit the driver to the Hardware Dev Center; see `hvci explain driver-policy`.",
        _DRIVERS + "dashboard/code-signing-reqs",
        ("whql", "attestation", "hardware signature"),
    ),
    Term(
        "VBS",
        "virtualization-based security: Windows keeps secrets from its own kernel",
        "The hypervisor runs a secure kernel beside Windows. Memory integrity is one of its "
        "services; others are Credential Guard and Secure Launch.",
        "msinfo32 and Get-CimInstance Win32_DeviceGuard tell what runs; import-log reads both.",
        "https://learn.microsoft.com/windows-hardware/design/device-experiences/oem-vbs",
        ("virtualization-based security", "win32_deviceguard", "device guard"),
    ),
    Term(
        "HVPT",
        "hypervisor-enforced paging translation",
        "The hypervisor protects the page tables of the kernel. It is no rule about drivers' code; "
        "an entry of the compatibility database can hold while it runs (bit 0x40, observed).",
        "Nothing, unless the compatibility database names the driver.",
        "https://learn.microsoft.com/windows-hardware/design/device-experiences/oem-vbs",
    ),
    Term(
        "kernel shadow stacks",
        "kernel-mode hardware-enforced stack protection",
        "The processor keeps a second copy of return addresses. hvci does not evaluate it; an "
        "entry of the compatibility database can hold while it runs (bit 0x20, observed).",
        "Do not rewrite return addresses; test with it on.",
        "https://learn.microsoft.com/windows-server/security/kernel-mode-hardware-stack-protection",
        ("kcet", "cet", "kernel-mode hardware-enforced stack protection"),
    ),
    Term(
        "C28719",
        "warning: a banned function is called",
        "Code analysis bans functions that are used wrongly too easily, mostly string functions. "
        "It says nothing about memory integrity by itself; for the pool functions see C28751.",
        "Call the replacement that the warning names.",
        _DRIVERS + "devtest/28719-banned-api-usage-use-updated-function-replacement",
        ("28719",),
    ),
    Term(
        "C28751",
        "warning: ExAllocatePool and its variants are banned",
        "Code analysis wants ExAllocatePool2 or ExAllocatePool3, because the older functions do "
        "not zero the memory. With NonPagedPool the older call is also executable (C30030).",
        "ExAllocatePool2(POOL_FLAG_NON_PAGED, ...) on Windows 10 2004 and later.",
        _DRIVERS + "devtest/28751-banned-exallocatepool-usage",
        ("28751",),
    ),
    Term(
        "hvciscan",
        "Microsoft's tool that lists drivers that are incompatible with memory integrity",
        "It names drivers and packages and gives no reason; it looks at the compatibility database "
        "as well as at images.",
        "`hvci import-log` reads its output and joins it with `hvci check`.",
        "https://learn.microsoft.com/windows/security/hardware-security/enable-virtualization-"
        "based-protection-of-code-integrity",
    ),
    Term(
        "DGReadiness",
        "Microsoft's readiness tool for Device Guard and Credential Guard",
        "A script over `verifier /query`: it lists drivers with a counter that is not zero.",
        "`hvci import-log` reads its log and joins it with `hvci check`.",
        "https://www.microsoft.com/download/details.aspx?id=53337",
        ("dg_readiness_tool", "readiness tool"),
    ),
    Term(
        "loads",
        "an answer of hvci: does the image check of memory integrity let the image load",
        "Only that check is evaluated; signing policy, block list and compatibility database are "
        'other gates. Of an unsigned file the answer is "if signed".',
        "Read the rules that the answer names; `hvci explain RULE` says what to do.",
        "docs/index.md",
    ),
    Term(
        "readiness",
        "an answer of hvci: would the HLK readiness test count anything",
        "The seven counters of the HyperVisor Code Integrity Readiness Test, as `!verifier` names "
        "them. They count requests for executable memory, not what breaks.",
        "Read the rules that the answer names; `hvci explain RULE` says what to do.",
        "docs/index.md",
    ),
    Term(
        "runs",
        "an answer of hvci: does the code keep working when no page is writable and executable",
        "Code that writes code, or runs in memory that it allocated or mapped, breaks whatever the "
        "readiness test counts.",
        "Read the rules that the answer names; `hvci explain RULE` says what to do.",
        "docs/index.md",
    ),
    Term(
        "compatible",
        "the verdict when all three answers are good",
        "The image loads, the readiness test counts nothing and the code keeps working, and all "
        "that this rests on was examined. Exit code 0.",
        "Nothing.",
        "docs/index.md",
    ),
    Term(
        "incompatible",
        "the verdict when an answer is bad",
        "At least one rule found a place where memory integrity refuses, counts or breaks "
        "something. Exit code 1, unless a policy accepts it.",
        "Mend each finding as its *Instead* says.",
        "docs/index.md",
    ),
    Term(
        "undecided",
        "an answer, or a verdict, that rests on what is not known",
        "A value depends on what the file does not show, or something was not examined. Exit code "
        "3, unless `--undecided` says otherwise.",
        "Read the reason beside the answer and under *Not examined*; `hvci check --verify` runs "
        "the driver and may tell more.",
        "docs/index.md",
        ("not examined",),
    ),
)


def _by_name(rows: Iterable[Term]) -> dict[str, Term]:
    return {name.lower(): term for term in rows for name in (term.name, *term.also)}


TERMS: Mapping[str, Term] = MappingProxyType(_by_name(_ROWS))
"""By lower-case name and further names."""
