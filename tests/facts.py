"""Facts for tests of the rules: a clean target, of which a test changes exactly one thing."""

from dataclasses import replace

from hvci.model import (
    DdiCall,
    Evidence,
    FileOffset,
    Image,
    ImageSite,
    Machine,
    Origin,
    Rva,
    Section,
    Value,
    Via,
)
from hvci.rules import judge

SITE = ImageSite(Rva(0x1010), ".text")
READ_EXECUTE, READ_WRITE, READ = 0x6000_0020, 0xC000_0040, 0x4000_0040
READ_WRITE_EXECUTE = 0xE000_0020


def section(name, rva, characteristics, virtual_size=0x800):
    return Section(name, Rva(rva), virtual_size, FileOffset(0), 0, characteristics)


IMAGE = Image(
    machine=Machine.X64,
    is_pe32_plus=True,
    image_base=0x1_4000_0000,
    size_of_image=0x5000,
    entry=Rva(0x1000),
    section_alignment=0x1000,
    file_alignment=0x200,
    subsystem=1,
    dll_characteristics=0x160,
    linker_version=(14, 30),
    sections=(
        section(".text", 0x1000, READ_EXECUTE),
        section(".rdata", 0x2000, READ),
        section(".data", 0x3000, READ_WRITE),
    ),
    iat=(Rva(0x2000), 0x40),
    import_tables=(("ntoskrnl.exe", Rva(0x2000)),),
)


def image(**change):
    return replace(IMAGE, **change)


def call(ddi, origin=Origin.CALLSITE, note="", **arguments):
    values = {
        name: value if isinstance(value, Value) else Value.exactly(value)
        for name, value in arguments.items()
    }
    return DdiCall(ddi, values, SITE, origin, Via.IAT, note=note)


CALLS = (
    call("ExAllocatePoolWithTag", PoolType=0x200),
    call("ZwMapViewOfSection", Win32Protect=4),
    call("MmMapLockedPagesSpecifyCache", Priority=0x4000_0010, AccessMode=0),
)


def evidence(**change):
    """A clean x64 driver whose headers and code were examined."""
    clean = Evidence(frozenset({Origin.IMAGE, Origin.CALLSITE}), image=IMAGE, calls=CALLS)
    return replace(clean, **change)


def results(facts):
    return {result.rule: result for result in judge(facts)}


def outcomes(facts):
    return {rule: result.outcome for rule, result in results(facts).items()}


CLEAN = outcomes(evidence())


def moved(facts):
    """The rules whose outcome differs from that of the clean target."""
    return {rule: outcome for rule, outcome in outcomes(facts).items() if outcome != CLEAN[rule]}
