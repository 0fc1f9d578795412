from dataclasses import replace

import pytest

from facts import READ_EXECUTE, SITE, call, evidence, image, moved, outcomes, results, section
from hvci import catalog
from hvci.model import (
    BehaviourFact,
    Confidence,
    Executable,
    ImageSite,
    Origin,
    Outcome,
    Rva,
    Tier,
    Value,
    WindowsVersion,
)
from hvci.rules import executable

FAIL, NOTE, UNDECIDED, PASS = Outcome.FAIL, Outcome.NOTE, Outcome.UNDECIDED, Outcome.PASS
UNKNOWN = Value.unknown("loaded through a parameter")
POOL, PAGE, MDL = "execute-pool-type", "execute-page-protection", "execute-page-mapping"
DEFAULT = "executable-by-default"


def judged(one):
    return moved(evidence(calls=(one,)))


def only(one, rule, **change):
    (finding,) = results(evidence(calls=(one,), **change))[rule].findings
    return finding


# ---- silence


@pytest.mark.parametrize(
    "clean",
    [
        call("ExAllocatePool", PoolType=1),
        call("ExAllocatePool", PoolType=0x200),
        call("ExAllocatePoolWithTag", PoolType=0x204),
        call("ExAllocatePoolWithTag", PoolType=0x5),
        call("ExAllocatePoolWithTag", PoolType=0x600),
        call("ExAllocatePoolWithTag", PoolType=Value.exactly(1, 0x200, 0x204)),
        call("ExAllocatePoolWithTag", PoolType=Value.exactly()),
        call("ExAllocatePool2", Flags=0x40),
        call("ExAllocatePool2", Flags=0x1_0000_0042),
        call("ExAllocatePool3", Flags=0x100),
        call("ExInitializeNPagedLookasideList", Flags=0x200),
        call("VideoPortAllocatePool", PoolType=1),
        call("SeCaptureSecurityDescriptor", PoolType=1),
        call("ZwAllocateVirtualMemory", Protect=4),
        call("ZwAllocateVirtualMemory", Protect=0x304),
        call("ZwCreateSection", SectionPageProtection=2, AllocationAttributes=0x100_0000),
        call("MmMapIoSpaceEx", Protect=0x204),
        call("MmGetSystemAddressForMdlSafe", Priority=0x4000_0020),
        call("MmMapLockedPagesSpecifyCache", Priority=0xC000_0010, AccessMode=0),
        call("MmMapIoSpace", CacheType=2),
        call("MmAllocateContiguousMemorySpecifyCache", CacheType=0),
        call("MmMapLockedPages", AccessMode=1),
        call("MmCopyMemory"),
        call("NdisAllocateMemoryWithTagPriority"),
        call("IMiniportMidi::NewStream", PoolType=0),
        call("ZwSetSystemInformation", SystemInformationClass=38),
        call("NotInTheCatalogue", PoolType=0),
    ],
    ids=lambda one: f"{one.ddi} {[sorted(v.possible) for v in one.arguments.values()]}",
)
def test_silence(clean):
    assert judged(clean) == {}
    assert executable(clean) in (Executable.NO, Executable.NOT_APPLICABLE)


@pytest.mark.parametrize("ddi", ["MmMapIoSpaceEx", "MmMapIoSpace"])
def test_mapped_ordinary_memory_is_remarked(ddi):
    clean = call(ddi, **({"Protect": 4} if ddi.endswith("Ex") else {"CacheType": 1}))
    ordinary = replace(clean, ordinary="it goes through all pages")
    assert "ordinary memory (it goes through all pages)" in only(ordinary, DEFAULT).message
    assert judged(ordinary) == {DEFAULT: NOTE}
    assert judged(replace(ordinary, dead="for old Windows only")) == {}


# ---- what the caller asks for


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (call("ExAllocatePool", PoolType=0), POOL),
        (call("ExAllocatePoolWithTag", PoolType=4), POOL),
        (call("ExAllocatePoolWithTag", PoolType=0x20), POOL),
        (call("ExAllocatePoolWithTag", PoolType=0x400), POOL),
        (call("ExAllocatePoolWithTag", PoolType=Value.exactly(0, 0x200)), POOL),
        (call("ExAllocatePoolWithTag", PoolType=Value.unknown("a loop", 0)), POOL),
        (call("ExAllocatePool2", Flags=0x80), POOL),
        (call("ExInitializeNPagedLookasideList", Flags=0), POOL),
        (call("FsRtlAllocatePoolWithTag", PoolType=0x10), POOL),
        (call("WdfMemoryCreate", PoolType=0), POOL),
        (call("VideoPortAllocatePool", PoolType=4), POOL),
        (call("SeCaptureSecurityDescriptor", PoolType=0), POOL),
        (call("ZwAllocateVirtualMemory", Protect=0x40), PAGE),
        (call("ZwMapViewOfSection", Win32Protect=0x10), PAGE),
        (call("ZwCreateSection", SectionPageProtection=0x20), PAGE),
        (call("ZwProtectVirtualMemory", NewProtection=0x80), PAGE),
        (call("MmMapIoSpaceEx", Protect=0x240), PAGE),
        (call("MmGetSystemAddressForMdlSafe", Priority=0x10), MDL),
        (call("MmMapLockedPagesSpecifyCache", Priority=0x8000_0010, AccessMode=0), MDL),
        (call("MmMapLockedPagesSpecifyCache", Priority=0x10), MDL),
        (call("MmMapLockedPagesSpecifyCache", Priority=0, AccessMode=Value.exactly(0, 1)), MDL),
        (call("MmMapLockedPagesSpecifyCache", Priority=0, AccessMode=UNKNOWN), MDL),
    ],
    ids=lambda one: one if isinstance(one, str) else one.ddi,
)
def test_one_bad_value_fails_one_rule(bad, rule):
    assert judged(bad) == {rule: FAIL}
    assert executable(bad) is Executable.YES
    finding = only(bad, rule)
    assert finding.fix
    assert finding.ddi == bad.ddi
    assert finding.site == bad.site


@pytest.mark.parametrize(
    ("unclear", "rule"),
    [
        (call("ExAllocatePoolWithTag", PoolType=UNKNOWN), POOL),
        (call("ExAllocatePoolWithTag", PoolType=Value.unknown("a loop", 0x200)), POOL),
        (call("ExAllocatePoolWithTag"), POOL),
        (call("ZwMapViewOfSection", Win32Protect=UNKNOWN), PAGE),
        (call("MmGetSystemAddressForMdlSafe", Priority=UNKNOWN), MDL),
    ],
)
def test_what_is_not_known_is_undecided_and_says_why(unclear, rule):
    assert judged(unclear) == {rule: UNDECIDED}
    assert executable(unclear) is Executable.UNDECIDED
    reason = "loaded through" if UNKNOWN in unclear.arguments.values() else "not known: "
    assert reason in only(unclear, rule).message


def test_the_message_names_values_tag_and_origin():
    mixed = call(
        "ExAllocatePoolWithTag",
        note="from a library",
        PoolType=Value.exactly(0, 0x200),
        Tag=int.from_bytes(b"Abc\x01", "little"),
    )
    message = only(mixed, POOL).message
    assert message == (
        "ExAllocatePoolWithTag: PoolType is NonPagedPool (0x0), or NonPagedPoolNx (0x200) on "
        "other paths, tag 'Abc.' (from a library)"
    )


@pytest.mark.parametrize("tag", [Value.exactly(), Value.exactly(0), Value.exactly(1, 2), UNKNOWN])
def test_a_tag_that_says_nothing_is_left_out(tag):
    assert "tag" not in only(call("ExAllocatePoolWithTag", PoolType=0, Tag=tag), POOL).message


def test_many_values_are_counted_not_listed():
    values = Value.exactly(*(0x20 << i for i in range(3)), 0, 2, 4, 6)
    message = only(call("ExAllocatePool", PoolType=values), POOL).message
    assert "one of 3 further values" in message


# ---- fixes


def test_the_fix_follows_the_target_and_the_value():
    bad = call("ExAllocatePoolWithTag", PoolType=0)
    new = only(bad, POOL, target_os=WindowsVersion.WINDOWS_11_24H2).fix
    old = only(bad, POOL, target_os=WindowsVersion.WINDOWS_10_1507).fix
    assert "ExAllocatePool2(POOL_FLAG_NON_PAGED, ...)" in new
    assert "ExInitializeDriverRuntime" not in new
    assert "ExAllocatePoolWithTag(NonPagedPoolNx, ...)" in old
    assert "ExInitializeDriverRuntime(DrvRtPoolNxOptIn)" in old


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (0x10, "PAGE_READWRITE"),
        (0x20, "PAGE_READONLY"),
        (0x40, "PAGE_READWRITE"),
        (0x80, "PAGE_WRITECOPY"),
        (Value.exactly(0x20, 0x40), "PAGE_READWRITE"),
    ],
)
def test_the_fix_writes_the_counterpart(value, named):
    bad = call("ZwMapViewOfSection", Win32Protect=value)
    assert only(bad, PAGE).fix == f"ZwMapViewOfSection(..., {named})"


def test_the_fix_keeps_the_alignment_of_the_pool():
    bad = call("WdfMemoryCreate", PoolType=4)
    assert only(bad, POOL).fix == "WdfMemoryCreate(..., NonPagedPoolNxCacheAligned, ...)"


def test_the_opt_in_is_not_advised_where_it_does_not_help():
    bad = call("ZwMapViewOfSection", Win32Protect=0x40)
    assert "ExInit" not in only(bad, PAGE, target_os=WindowsVersion.WINDOWS_10_1507).fix


GNU = image(linker_version=(2, 40))


@pytest.mark.parametrize("target", [WindowsVersion.WINDOWS_11_24H2, WindowsVersion.WINDOWS_10_1507])
def test_what_mingw_lacks_is_not_advised_first(target):
    bad = call("ExAllocatePoolWithTag", PoolType=0)
    fix = only(bad, POOL, target_os=target, image=GNU).fix
    assert fix.startswith("ExAllocatePoolWithTag(NonPagedPoolNx, ...)")
    assert "NonPagedPoolNx (0x200)" in fix
    assert "POOL_NX_OPTIN" not in fix


def test_what_mingw_lacks_is_named_with_its_number():
    bad = call("MmMapLockedPagesSpecifyCache", Priority=16, AccessMode=0)
    fix = only(bad, "execute-page-mapping", image=GNU).fix
    assert fix.endswith("; MinGW-w64's headers lack MdlMappingNoExecute (0x40000000)")


def test_a_source_and_other_linkers_keep_their_advice():
    bad = call("ExAllocatePoolWithTag", PoolType=0)
    usual = only(bad, POOL).fix
    told = call("ExAllocatePoolWithTag", Origin.SOURCE, PoolType=0)
    assert only(told, POOL, image=GNU).fix == usual
    for other in ((14, 0), (2, 60), (2, 5)):
        assert only(bad, POOL, image=image(linker_version=other)).fix == usual
    sections = (section("CODE", 0x1000, READ_EXECUTE),)
    delphi = image(linker_version=(2, 25), sections=sections)
    assert only(bad, POOL, image=delphi).fix == usual


# ---- how sure


def test_confidence_is_no_more_than_inferred_where_no_check_was_seen():
    assert only(call("ExAllocatePool", PoolType=0), POOL).confidence is Confidence.DOCUMENTED
    assert only(call("FltAllocateContext", PoolType=0), POOL).confidence is Confidence.DOCUMENTED
    unseen = only(call("MmMapMdl", Protection=0x40), PAGE)
    assert unseen.confidence is Confidence.INFERRED
    assert "not seen to count" in unseen.message


def test_a_component_that_allocates_is_named():
    assert (
        "fltmgr.sys makes the allocation"
        in only(call("FltAllocateContext", PoolType=0), POOL).message
    )


def test_a_lookaside_flag_that_the_verifier_does_not_count_moves_no_counter():
    finding = only(call("ExInitializeNPagedLookasideList", Flags=1), POOL)
    assert finding.outcome is FAIL
    assert finding.count == 0


# ---- user-mode mappings


def test_a_user_mode_mapping_without_the_bit_is_a_note():
    mapping = call("MmMapLockedPagesSpecifyCache", Priority=0x10, AccessMode=1)
    assert judged(mapping) == {MDL: NOTE}
    assert executable(mapping) is Executable.NO
    assert only(mapping, MDL).confidence is Confidence.OBSERVED


def test_a_user_mode_mapping_with_the_bit_or_an_unknown_priority_is_silent():
    for priority in (Value.exactly(0x4000_0010), UNKNOWN):
        mapping = call("MmMapLockedPagesSpecifyCache", Priority=priority, AccessMode=1)
        assert judged(mapping) == {}


# ---- executable whatever the caller asks


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (call("MmAllocateContiguousMemory"), "whatever the arguments; Driver Verifier makes it"),
        (call("MmMapLockedPages"), "whatever the arguments; Driver Verifier makes it"),
        (call("MmMapLockedPages", AccessMode=0), "whatever the arguments"),
        (call("MmMapIoSpace", CacheType=0), "for CacheType MmNonCached (0x0)"),
        (call("MmMapIoSpace", CacheType=UNKNOWN), "not known: loaded through a parameter"),
        (call("MmMapIoSpace"), "not known: the argument was not recovered"),
        (
            call("StorPortAllocateContiguousMemorySpecifyCacheNode", CacheType=1),
            "MmCached (0x1); no counter moves",
        ),
    ],
)
def test_ddis_that_are_executable_by_themselves_are_notes(use, words):
    assert judged(use) == {DEFAULT: NOTE}
    finding = only(use, DEFAULT)
    assert words in finding.message
    assert finding.fix


# ---- the NX opt-in


OPTED = Value(frozenset({0, 0x200}), True, "the variable at 0x3000", frozenset({0}))


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 call takes its value"), (2, "2 calls take their value")]
)
def test_an_opt_in_passes_and_says_why(count, words):
    opted = call("ExAllocatePoolWithTag", PoolType=OPTED)
    facts = evidence(calls=(opted,) * count)
    assert moved(facts) == {}
    for rule in ("nx-opt-in", POOL):
        assert results(facts)[rule].outcome is PASS
        assert words in results(facts)[rule].reason


def test_an_opt_in_that_never_happens_fails():
    site = ImageSite(Rva(0x1000), ".text")
    fact = BehaviourFact("nx-opt-in", "read", site, Origin.CALLSITE, Confidence.LIKELY, "why")
    facts = evidence(behaviours=(fact,))
    assert moved(facts) == {"nx-opt-in": FAIL}
    (finding,) = results(facts)["nx-opt-in"].findings
    assert finding.message == "read: why"


def test_a_behaviour_of_another_rule_is_not_this_ones():
    fact = BehaviourFact("dynamic-code", "copies code", SITE, Origin.CALLSITE, Confidence.LIKELY)
    assert "nx-opt-in" not in moved(evidence(behaviours=(fact,)))


def test_bytes_that_nothing_leads_to_prove_nothing():
    bad = replace(call("ExAllocatePool", PoolType=0), unreached=True)
    assert judged(bad)[POOL] is UNDECIDED
    lost = replace(call("ExAllocatePool", PoolType=UNKNOWN), unreached=True)
    assert judged(lost) == {}


def test_a_call_of_perhaps_another_routine_is_undecided_at_worst():
    doubtful = replace(call("ExAllocatePool", PoolType=0), doubt="the object is not proven")
    assert judged(doubtful)[POOL] is UNDECIDED
    harmless = replace(call("ExAllocatePool", PoolType=0x200), doubt="the object is not proven")
    assert judged(harmless) == {}


def test_a_constant_beside_the_opt_in_still_fails():
    both = call("ExAllocatePoolWithTag", PoolType=OPTED.join(Value.exactly(0)))
    assert judged(both)[POOL] is FAIL


def test_an_incomplete_opt_in_is_undecided():
    both = call("ExAllocatePoolWithTag", PoolType=OPTED.join(UNKNOWN))
    assert judged(both)[POOL] is UNDECIDED


# ---- one judge for all readers


@pytest.mark.parametrize("origin", [Origin.CALLSITE, Origin.SOURCE, Origin.VERIFIER])
def test_the_origin_does_not_matter(origin):
    facts = evidence(
        origins=frozenset({origin}), calls=(call("ExAllocatePool", origin=origin, PoolType=0),)
    )
    assert outcomes(facts)[POOL] is FAIL


@pytest.mark.parametrize("ddi", catalog.ddis().values(), ids=lambda ddi: ddi.name)
def test_every_row_is_judged_by_a_rule_or_by_none(ddi):
    got = executable(call(ddi.name))
    assert (got is Executable.NOT_APPLICABLE) == (ddi.rule.judged_by == "")


# ---- what is said of a call


def builds(**values):
    each = tuple((name, Value.exactly(value)) for name, value in values.items())
    all_of = Value.exactly(*values.values())
    return replace(call("ExAllocatePool", PoolType=all_of), builds=each)


def test_values_of_configurations_are_told_apart_the_bad_ones_first():
    one = builds(Release=0x200, Debug=0)
    assert (
        "PoolType is NonPagedPool (0x0) in configuration Debug, "
        "NonPagedPoolNx (0x200) in configuration Release" in only(one, POOL).message
    )


def test_many_configurations_are_counted():
    one = builds(a=0, b=0, c=0, d=0, e=0, f=0, good=0x200)
    assert "(0x0) in configurations a, b, c, d and 2 more, " in only(one, POOL).message


def test_a_doubt_comes_before_the_value():
    one = replace(call("ExAllocatePool", PoolType=0), doubt="another routine may be called")
    found = only(one, POOL)
    assert found.outcome is UNDECIDED
    assert "another routine may be called; PoolType is NonPagedPool (0x0)" in found.message


def test_memory_in_which_code_runs_gets_no_advice_that_breaks_it():
    one = replace(call("ExAllocatePool", PoolType=0), runs_code="x.c:7 calls it")
    found = only(one, POOL)
    assert "code runs in this memory: x.c:7 calls it" in found.message
    assert "NonPagedPoolNx" not in found.fix.partition(":")[0]
    assert found.fix != only(replace(one, runs_code=""), POOL).fix


# ---- the same call in code and in a run


def emulated(tier, **arguments):
    return replace(call("ExAllocatePool", origin=Origin.VERIFIER, **arguments), tier=tier)


def places(*calls):
    """Outcome of the pool rule, and by whom each finding was seen."""
    origins = frozenset({Origin.CALLSITE, Origin.VERIFIER})
    result = results(evidence(origins=origins, calls=calls))[POOL]
    return result.outcome, [finding.origin for finding in result.findings]


@pytest.mark.parametrize("tier", Tier)
def test_a_run_that_shows_what_the_code_shows_is_judged_once(tier):
    static = call("ExAllocatePool", PoolType=0)
    assert places(static, emulated(tier, PoolType=0)) == (FAIL, [Origin.CALLSITE])


def test_a_natural_value_that_the_code_denies_is_judged_too():
    static = call("ExAllocatePool", PoolType=0x200)
    assert places(static, emulated(Tier.NATURAL, PoolType=0)) == (FAIL, [Origin.VERIFIER])


def test_a_forced_path_proves_nothing_against_the_code():
    static = call("ExAllocatePool", PoolType=0x200)
    assert places(static, emulated(Tier.FORCED, PoolType=0)) == (PASS, [])
    lost = call("ExAllocatePool", PoolType=UNKNOWN)
    assert places(lost, emulated(Tier.FORCED, PoolType=0x200)) == (UNDECIDED, [Origin.CALLSITE])


def test_a_call_that_only_the_run_shows_is_judged():
    elsewhere = replace(call("ExAllocatePool", PoolType=1), site=ImageSite(Rva(0x1800)))
    for tier in Tier:
        assert places(elsewhere, emulated(tier, PoolType=0)) == (FAIL, [Origin.VERIFIER])
