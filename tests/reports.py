"""Hand-built facts and reports for the tests of everything behind the rules."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from hvci.evaluate import report_on
from hvci.model import (
    Answer,
    Confidence,
    Counter,
    DdiCall,
    DebugId,
    DriverPolicy,
    Edit,
    Evidence,
    Executable,
    FileOffset,
    Finding,
    FromLibrary,
    Image,
    ImageSite,
    JudgedCall,
    Level,
    Limit,
    ListAnswer,
    ListKind,
    Machine,
    Match,
    Origin,
    Outcome,
    PageHashes,
    Question,
    Relocation,
    Report,
    RuleResult,
    Rva,
    Section,
    Signature,
    Signed,
    SourceSite,
    Suppression,
    Target,
    Tier,
    Trust,
    Value,
    Via,
    WindowsVersion,
)

READ, WRITE, EXECUTE = 0x4000_0000, 0x8000_0000, 0x2000_0000
HOSTILE = "evil\x1b[31m\x07\r\n\u202e\x9b[bold]<b>&\"'|`\x00"


def section(name: str, rva: int, rights: int, size: int = 0x1000) -> Section:
    return Section(name, Rva(rva), size, FileOffset(rva), size, rights)


def image(**changes: object) -> Image:
    base = Image(
        machine=Machine.X64,
        is_pe32_plus=True,
        image_base=0x1_4000_0000,
        size_of_image=0x4000,
        entry=Rva(0x1000),
        section_alignment=0x1000,
        file_alignment=0x200,
        subsystem=1,
        dll_characteristics=0x4160,
        linker_version=(14, 29),
        sections=(section(".text", 0x1000, READ | EXECUTE), section(".data", 0x2000, READ | WRITE)),
        iat=(Rva(0x2000), 0x40),
        signed=True,
        debug_id=DebugId("0123", 1, "C:\\build\\driver.pdb"),
        kmdf_version="1.15",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def pool_call(rva: int, *types: int, function: str | None = "DriverEntry") -> DdiCall:
    arguments = {"PoolType": Value.exactly(*types), "Tag": Value.exactly(0x64636261)}
    site = ImageSite(Rva(rva), ".text", function)
    return DdiCall("ExAllocatePoolWithTag", arguments, site, Origin.CALLSITE, Via.IAT)


def library_call(rva: int) -> DdiCall:
    library = FromLibrary("wdmsec.lib", Confidence.LIKELY, "the pool tag PpRb")
    return replace(pool_call(rva, 0, function="sub_1000"), library=library)


def unknown_call(rva: int) -> DdiCall:
    arguments = {"PoolType": Value.unknown("loaded from memory that others write")}
    site = ImageSite(Rva(rva), ".text", "Read", "read.c", 12)
    return DdiCall("ExAllocatePoolWithTag", arguments, site, Origin.CALLSITE, Via.THUNK)


def map_call(rva: int) -> DdiCall:
    arguments = {"CacheType": Value.exactly(0)}
    site = ImageSite(Rva(rva), ".text")
    return DdiCall("MmMapIoSpace", arguments, site, Origin.CALLSITE, Via.IAT)


def source_call(line: int, *types: int) -> DdiCall:
    arguments = {"PoolType": Value.exactly(*types)}
    site = SourceSite("driver.c", line, 5, "Create")
    return DdiCall("ExAllocatePoolWithTag", arguments, site, Origin.SOURCE, Via.SOURCE)


def target(path: str = "driver.sys", **changes: object) -> Target:
    base = Target(path, "ab" * 32, 4096, "image", Machine.X64)
    return replace(base, **changes)  # type: ignore[arg-type]


def evidence(*calls: DdiCall, **changes: object) -> Evidence:
    base = Evidence(
        frozenset({Origin.IMAGE, Origin.CALLSITE}),
        image=image(),
        calls=calls,
        seconds={"image": 0.5},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def report(*calls: DdiCall, path: str = "driver.sys", **changes: object) -> Report:
    return report_on(target(path), evidence(*calls, **changes))


def source_report(*calls: DdiCall) -> Report:
    facts = Evidence(frozenset({Origin.SOURCE}), calls=calls)
    return report_on(target("driver.c", kind="source", machine=None), facts)


def everything() -> Report:
    """A report with a finding of every outcome, limits and notes."""
    return report(
        pool_call(0x1010, 0),
        pool_call(0x1020, 0, 512),
        pool_call(0x1030, 512),
        unknown_call(0x1040),
        map_call(0x1050),
        image=image(
            iat=None,
            sections=(
                section(".text", 0x1000, READ | WRITE | EXECUTE),
                section("INIT", 0x2000, READ | WRITE | EXECUTE),
            ),
        ),
        limits=(
            Limit(Origin.CALLSITE, ("execute-pool-type",), "indirect call not resolved"),
            Limit(Origin.IMAGE, (), "odd header", ImageSite(Rva(0x10))),
        ),
    )


def suppressed(original: Report) -> Report:
    """The report with every failure accepted by somebody."""
    accepted = Suppression("known and harmless", "hvci.toml", "kernel team", "2031-01-01")
    results = tuple(
        replace(
            result,
            findings=tuple(
                replace(f, suppressed=accepted) if f.outcome is Outcome.FAIL else f
                for f in result.findings
            ),
        )
        for result in original.results
    )
    return replace(original, results=results)


def hostile_report():
    names = (section(HOSTILE, 0x1000, 0xE000_0000), section(".data", 0x2000, READ | WRITE))
    call = replace(pool_call(0x1000, 0), site=ImageSite(Rva(0x1000), HOSTILE, HOSTILE, HOSTILE, 3))
    noted = replace(call, note=HOSTILE, site=replace(call.site, rva=Rva(0x1004)))
    return replace(
        report(
            call,
            noted,
            path=HOSTILE,
            image=image(
                sections=names,
                iat=None,
                import_tables=((HOSTILE, Rva(0x1010)),),
                debug_id=DebugId("0", 1, HOSTILE * 100),
                kmdf_version=HOSTILE,
                hybrid=HOSTILE,
            ),
            limits=(Limit(Origin.IMAGE, (), HOSTILE),),
        ),
        target=target(HOSTILE),
    )


# ------------------------------------------------------------------ any report at all

words = st.text(max_size=12)
rvas = st.integers(0, 2**31).map(Rva)
maybe = st.none()
image_sites = st.builds(
    ImageSite, rvas, words, maybe | words, maybe | words, maybe | st.integers(1, 9999)
)
source_sites = st.builds(SourceSite, words, st.integers(1, 99), st.integers(1, 99), maybe | words)
sites = image_sites | source_sites
values = st.builds(
    Value,
    st.frozensets(st.integers(0, 2**64 - 1), max_size=3),
    st.booleans(),
    words,
    st.frozensets(st.integers(0, 2**32), max_size=2),
)
tiers = maybe | st.sampled_from(Tier)
calls = st.builds(
    DdiCall,
    words,
    st.dictionaries(words, values, max_size=2),
    sites,
    st.sampled_from(Origin),
    st.sampled_from(Via),
    tiers,
    words,
    st.booleans(),
    words,
    library=maybe
    | st.builds(FromLibrary, words, st.sampled_from((Confidence.PROVEN, Confidence.LIKELY)), words),
)
small = st.integers(1, 99)
edits = st.builds(
    Edit, words, small, small, small, small, small, words, words, st.sampled_from(Level)
)
findings = st.builds(
    Finding,
    st.sampled_from((Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOTE)),
    words,
    sites,
    st.sampled_from(Origin),
    st.sampled_from(Confidence),
    words,
    maybe | words,
    st.integers(0, 9),
    st.lists(words, max_size=2).map(tuple),
    tiers,
    maybe | st.builds(Suppression, words, words, words, words),
    st.lists(edits, max_size=2).map(tuple),
)
results = st.builds(
    RuleResult,
    st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True),
    st.sampled_from(Outcome),
    st.lists(findings, max_size=3).map(tuple),
    words,
    maybe | st.integers(0, 0xFFFF),
    maybe | st.sampled_from(Counter),
    st.frozensets(st.sampled_from(Question)),
)
numbers = st.integers(0, 2**32)
sections = st.builds(Section, words, rvas, numbers, numbers.map(FileOffset), numbers, numbers)
relocations = st.builds(Relocation, rvas, st.integers(0, 15))
images = st.builds(
    Image,
    st.sampled_from(Machine),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    numbers,
    rvas,
    numbers,
    numbers,
    st.integers(0, 20),
    st.integers(0, 0xFFFF),
    st.tuples(st.integers(0, 255), st.integers(0, 255)),
    st.lists(sections, max_size=3).map(tuple),
    maybe | st.tuples(rvas, numbers),
    st.lists(st.tuples(words, rvas), max_size=2).map(tuple),
    st.lists(relocations, max_size=2).map(tuple),
    numbers,
    st.booleans(),
    maybe | st.builds(DebugId, words, numbers, words),
    maybe | words,
    maybe | words,
)
targets = st.builds(
    Target,
    words,
    st.sampled_from(("", "0f" * 32)),
    numbers,
    st.sampled_from(("image", "source")),
    maybe | st.sampled_from(Machine),
)
limits = st.builds(
    Limit,
    st.sampled_from(Origin),
    st.lists(st.sampled_from(("a", "b-c")), max_size=2).map(tuple),
    words,
    maybe | sites,
)
verifier_runs = st.just(
    {
        "counters": dict.fromkeys((str(counter) for counter in Counter), 0),
        "entry_points": [
            {"name": "DriverEntry", "tier": "natural", "returned": True, "status": "0x0"}
        ],
        "coverage": {"blocks": 3},
        "events": [
            {
                "bugcheck": "0xbe",
                "subcode": None,
                "parameters": [1, 2, 3, 4],
                "site": {"rva": 1},
                "tier": "natural",
                "message": "wrote to code",
            }
        ],
    }
)
signatures = st.builds(
    Signature,
    words,
    st.sampled_from(Signed),
    words,
    words,
    st.lists(words, max_size=2).map(tuple),
    st.booleans(),
    words,
    words,
    st.sampled_from(("", "0f")),
    maybe | st.booleans(),
    maybe | st.builds(PageHashes, st.sampled_from(("sha1", "sha256")), numbers, st.booleans()),
    st.lists(words, max_size=2).map(tuple),
    words,
    words,
    words,
    maybe | st.booleans(),
)
trusts = st.builds(
    Trust,
    st.sampled_from(Signed),
    words,
    st.sampled_from(DriverPolicy),
    words,
    st.lists(signatures, max_size=2).map(tuple),
    st.sampled_from(("", "0f" * 32)),
    numbers,
)
list_answers = st.builds(
    ListAnswer,
    words,
    st.sampled_from(ListKind),
    words,
    numbers,
    st.lists(st.builds(Match, words, words, words), max_size=2).map(tuple),
    words,
    words,
)
reports = st.builds(
    Report,
    targets,
    st.sampled_from(WindowsVersion),
    st.lists(results, max_size=3).map(tuple),
    st.lists(
        st.builds(JudgedCall, calls, st.sampled_from(Executable)),
        max_size=3,
    ).map(tuple),
    st.lists(limits, max_size=2).map(tuple),
    maybe | images,
    maybe | st.sampled_from(Answer),
    maybe | verifier_runs,
    st.dictionaries(words, st.floats(0, 1e6), max_size=2),
    trust=maybe | trusts,
    lists=st.lists(list_answers, max_size=2).map(tuple),
)


def failing_functions(report: Report, rule: str) -> set[int | str]:
    """The functions of an image that hold findings of a rule, all of which are failures."""
    findings = next(each.findings for each in report.results if each.rule == rule)
    assert all(each.outcome is Outcome.FAIL for each in findings)
    return {each.site.function for each in findings if isinstance(each.site, ImageSite)}
