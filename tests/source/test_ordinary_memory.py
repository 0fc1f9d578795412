"""Mappings of ordinary memory by its physical address: a remark, for nothing but such memory."""

import struct

import pytest

import build
from hvci import binary
from hvci.model import NEWEST
from hvci.rules import judge
from sources import entry, one_file

REMARK = "pages of it that the hypervisor keeps"
RANGES = "PPHYSICAL_MEMORY_RANGE r = MmGetPhysicalMemoryRanges();"
MAP = "MmMapIoSpace(at, PAGE_SIZE, MmNonCached)"
WALK = (
    f"PHYSICAL_ADDRESS at; for (at.QuadPart = {{}}; at.QuadPart < END; at.QuadPart += {{}}) {MAP};"
)

ORDINARY = {
    "range": entry(f"{RANGES} p = MmMapIoSpace(r->BaseAddress, PAGE_SIZE, MmNonCached);"),
    "range ex": entry(f"{RANGES} p = MmMapIoSpaceEx(r[1].BaseAddress, 4096, PAGE_READONLY);"),
    "copied": entry(f"{RANGES} PHYSICAL_ADDRESS at; at.QuadPart = r->BaseAddress.QuadPart; {MAP};"),
    "passed": f"static void One(PPHYSICAL_MEMORY_RANGE one) {{ "
    f"PHYSICAL_ADDRESS at = one->BaseAddress; {MAP}; }}\n" + entry("One(0);"),
    "global": "PPHYSICAL_MEMORY_RANGE Every;\n"
    + entry(
        "Every = MmGetPhysicalMemoryRanges(); "
        "p = MmMapIoSpace(Every[2].BaseAddress, PAGE_SIZE, MmNonCached);"
    ),
    "loop": entry(WALK.format("0x7d000", "PAGE_SIZE")),
    "big loop": entry(WALK.format("0x100000", "0x200000")),
    "macros": "#define FROM 0x1000\n#define STEP PAGE_SIZE\n"
    + entry(WALK.format("FROM", "2 * PAGE_SIZE")),
    "while": entry(
        "ULONGLONG n = 0x2000; while (n < END) { PHYSICAL_ADDRESS at; at.QuadPart = n; "
        f"p = {MAP}; n = n + 0x1000; }}"
    ),
    "caller": f"static PVOID One(PHYSICAL_ADDRESS at) {{ return {MAP}; }}\n"
    + entry(WALK.format("0", "PAGE_SIZE").replace(MAP, "One(at)")),
    "page numbers": "static PVOID One(ULONG_PTR pfn) { PHYSICAL_ADDRESS at; "
    f"at.QuadPart = (LONGLONG)pfn << PAGE_SHIFT; return {MAP}; }}\n"
    + entry("ULONG n; for (n = 1; n < 512; ++n) One(n);"),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_memory_is_remarked(tmp_path, kind):
    (finding,) = _findings(one_file(tmp_path, ORDINARY[kind]))
    assert REMARK in finding.message


BAR = "d->u.Memory.Start"
OTHER = {
    "resource": entry(f"p = MmMapIoSpace({BAR}, d->u.Memory.Length, MmCached);"),
    "pages of a resource": f"static void All(PHYSICAL_ADDRESS bar, ULONG size) {{ ULONG o; "
    "for (o = 0; o < size; o += PAGE_SIZE) { PHYSICAL_ADDRESS at; "
    f"at.QuadPart = bar.QuadPart + o; {MAP}; }} }}\n" + entry(f"All({BAR}, 65536);"),
    "firmware": entry(WALK.format("0xE0000", "0x1000")),
    "devices": entry(WALK.format("0xFED00000", "0x1000")),
    "one address": entry(f"PHYSICAL_ADDRESS at; at.QuadPart = 0xF0000; {MAP};"),
    "small steps": entry(WALK.format("0x400", "16")),
    "no loop": entry(f"PHYSICAL_ADDRESS at; at.QuadPart = 0x1000; at.QuadPart += 0x1000; {MAP};"),
    "never set": entry(f"PHYSICAL_ADDRESS at; {MAP};"),
    "its own": entry("p = MmMapIoSpace(MmGetPhysicalAddress(q), PAGE_SIZE, MmCached);"),
    "request": f"void Do(PHYSICAL_ADDRESS at) {{ {MAP}; }}\n" + entry("p = 0;"),
    "no number": entry(WALK.format("Start()", "PAGE_SIZE")),
    "other parameter": "static PVOID One(int a, ...) { PHYSICAL_ADDRESS at; at.QuadPart = a; "
    f"return {MAP}; }}\n" + entry("One();"),
    "a call without arguments": entry("p = MmMapIoSpace();"),
    "macro": f"#define GET {MAP}\n" + entry("GET;"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_what_may_be_a_device_is_not(tmp_path, kind):
    found = _findings(one_file(tmp_path, OTHER[kind]))
    assert not any(REMARK in finding.message for finding in found)


def test_a_mapping_that_never_runs_is_not(tmp_path):
    text = f"void F() {{ {RANGES} MmMapIoSpaceEx(r->BaseAddress, 1, PAGE_READONLY); }}"
    text = f"#if 0\n{text}\n#endif\n" + entry("p = 0;")
    assert not _findings(one_file(tmp_path, text))


def _findings(evidence):
    return [one for result in judge(evidence) for one in result.findings if one.ddi]


@pytest.mark.parametrize(
    ("asks", "cache", "is_said"),
    [
        ("MmGetPhysicalMemoryRanges", 1, True),
        ("MmGetPhysicalMemoryRanges", 0, False),
        ("DbgPrint", 1, False),
    ],
)
def test_an_image_that_asks_for_ranges_and_maps_cached(asks, cache, is_said):
    imports = {"ntoskrnl.exe": ("MmMapIoSpace", asks)}
    data = build.driver("x64", code=_maps(cache), imports=imports)
    (finding,) = _findings(binary.read(data, NEWEST))
    assert (REMARK in finding.message) is is_said


def _maps(cache):
    """MmMapIoSpace(at, bytes, cache), whose slot is the first of the address table."""
    head = bytes.fromhex("4883ec28 41b8") + struct.pack("<I", cache) + b"\xff\x15"
    slot, behind = 0x2000, 0x1000 + len(head) + 4
    return head + struct.pack("<i", slot - behind) + bytes.fromhex("33c0 4883c428 c3")
