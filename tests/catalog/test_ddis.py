import re

import pytest

from hvci import catalog
from hvci.catalog import Binding, Parameter, VerifierEffect, parse_ddis, shipped, value_rules
from hvci.catalog.shipped import split_rows
from hvci.errors import CatalogError
from hvci.model import Confidence, Counter, WindowsVersion

ROWS = catalog.ddis().values()
each_row = pytest.mark.parametrize("ddi", ROWS, ids=lambda ddi: ddi.name)

# Microsoft's table in "Implement HVCI compatible code", heading by heading.
SEED = {
    "kernel": """ClfsCreateMarshallingArea ExAllocatePool ExAllocatePoolWithQuota
        ExAllocatePoolWithQuotaTag ExAllocatePoolWithTag ExAllocatePoolWithTagPriority
        ExInitializeLookasideListEx ExInitializeNPagedLookasideList MmAllocateContiguousMemory
        MmAllocateContiguousMemorySpecifyCache MmAllocateContiguousMemorySpecifyCacheNode
        MmAllocateContiguousNodeMemory MmCopyMemory MmMapIoSpace MmMapLockedPages
        MmMapLockedPagesSpecifyCache MmProtectMdlSystemAddress NtCreateSection NtMapViewOfSection
        ZwAllocateVirtualMemory ZwCreateSection ZwMapViewOfSection""",
    "NDIS": "NdisAllocateMemoryWithTagPriority",
    "Storage": """ChangerClassAllocatePool StorPortGetDataInBufferSystemAddress
        StorPortGetSystemAddress""",
    "Display": "DxgkCbMapMemory VideoPortAllocatePool",
    "Audio Miniport": """IMiniportDMus::NewStream IMiniportMidi::NewStream
        IMiniportWaveCyclic::NewStream IMiniportWavePci::NewStream
        IPortWavePci::NewMasterDmaChannel""",
    "Audio Port Class": "PcNewDmaChannel PcNewResourceList PcNewResourceSublist",
    "IFS": "FltAllocateContext FltAllocatePoolAlignedWithTag",
    "WDF": """WdfDeviceAllocAndQueryProperty WdfDeviceAllocAndQueryPropertyEx
        WdfFdoInitAllocAndQueryProperty WdfFdoInitAllocAndQueryPropertyEx
        WdfIoTargetAllocAndQueryTargetProperty WdfLookasideListCreate WdfMemoryCreate
        WdfRegistryQueryMemory""",
}


def test_the_seed_rows_are_microsofts_table():
    listed = {(group, name) for group, names in SEED.items() for name in names.split()}
    assert {(ddi.group, ddi.name) for ddi in ROWS if ddi.seed} == listed
    assert len(listed) == catalog.SEED_ROWS
    others = [ddi.name for ddi in ROWS if not ddi.seed and ddi.group != "companion"]
    assert not others, 'a row of ddis.toml that is no seed row has group = "companion"'


COMPANIONS = """ExAllocatePool2 ExAllocatePool3 ExAllocatePoolZero ExAllocatePoolUninitialized
    MmGetSystemAddressForMdlSafe MmMapIoSpaceEx MmAllocateContiguousMemoryEx
    ZwProtectVirtualMemory NdisQueryMdl FltCreateSectionForDataScan
    HidP_GetCollectionDescription WdfUsbTargetDeviceAllocAndQueryString
    SeCaptureSecurityDescriptor"""


@pytest.mark.parametrize("name", COMPANIONS.split())
def test_companions_that_matter_are_listed(name):
    assert name in catalog.ddis()


@pytest.mark.parametrize("name", [n for n in catalog.ddis() if n.startswith(("Zw", "Nt"))])
def test_twins_are_both_listed_and_alike(name):
    twin = {"Zw": "Nt", "Nt": "Zw"}[name[:2]] + name[2:]
    one, other = catalog.ddis()[name], catalog.ddis()[twin]
    assert (one.parameters, one.deciding, one.rule) == (
        other.parameters,
        other.deciding,
        other.rule,
    )


@each_row
def test_a_name_is_a_name(ddi):
    assert re.fullmatch(r"(operator )?\w+(::\w+)?", ddi.name)
    odd = [one for one in ddi.parameters if not re.fullmatch(r"\w+", one.name)]
    assert not odd, 'write a parameter "TYPE Name", the star of a pointer beside its type'
    assert ddi.module == "" or re.fullmatch(r"\w+\.(sys|exe)", ddi.module)
    assert bool(ddi.module) == (ddi.binding is not Binding.CALLBACK or ddi.direction != "inbound")


@each_row
def test_notes_are_sentences_for_users(ddi):
    if ddi.notes:
        assert re.match(r"[A-Z]|\w+\.sys ", ddi.notes)
        assert ddi.notes.endswith(".")
    words = f"{ddi.notes} {ddi.compiles_to}".lower()
    for jargon in ("seed", "decompiled", "open:", "todo", "inspected"):
        assert jargon not in words


@each_row
def test_every_row_that_can_be_bad_says_what_to_write(ddi):
    if ddi.rule.judged_by:
        assert ddi.replacements
        assert all(item.use for item in ddi.replacements)
    assert all(item.use.isascii() for item in ddi.replacements)


@each_row
def test_what_to_write_is_not_itself_executable(ddi):
    for item in ddi.replacements:
        assert not re.search(r"PAGE_EXECUTE|NonPagedPool\b|NON_PAGED_EXECUTE", item.use)


@each_row
def test_counters_and_verifier_agree(ddi):
    if ddi.verifier is VerifierEffect.REPORT:
        assert ddi.counter
    if ddi.verifier is VerifierEffect.SILENT_NX:
        assert ddi.counter is None
    if ddi.counter:
        assert ddi.rule.judged_by == ddi.counter.rule
        assert ddi.subcode == ddi.counter.subcode
    else:
        assert ddi.subcode is None
        assert ddi.rule.judged_by in ("", "executable-by-default")


@each_row
def test_pages_of_microsofts_table_exist(ddi):
    assert ddi.page or not ddi.seed
    assert ddi.page == ddi.page.lower()


@each_row
def test_positions_follow_the_parameters(ddi):
    for name in ddi.watched:
        assert ddi.parameters[ddi.position(name)].name == name
        assert ddi.x86_slot(name) >= ddi.position(name)


@each_row
def test_an_export_has_its_x86_stack_size(ddi):
    if ddi.importable:
        assert catalog.x86_bytes(ddi.name) == ddi.x86_bytes, (
            f"add {ddi.name} to the names under {ddi.x86_bytes} in src/hvci/data/x86_stack.json"
        )


def test_exports_are_what_an_image_can_import():
    exports = catalog.exports()
    assert {"ExAllocatePool", "FsRtlAllocatePoolWithTag", "NdisQueryBufferSafe"} <= set(exports)
    assert {"ExAllocateFromNPagedLookasideList", "ExAllocateFromLookasideListEx"} <= set(exports)
    for never in ("MmGetSystemAddressForMdlSafe", "ExAllocatePoolZero", "WdfMemoryCreate"):
        assert never not in exports


def test_wide_arguments_take_two_slots():
    ddi = catalog.ddis()["MmAllocateContiguousMemorySpecifyCache"]
    assert ddi.position("CacheType") == 4
    assert ddi.x86_slot("CacheType") == 7
    assert ddi.x86_bytes == 32
    assert catalog.ddis()["StorPortExtendedFunction"].x86_bytes == 0


def test_the_strongest_evidence_is_the_confidence():
    assert catalog.ddis()["ExAllocatePool"].confidence is Confidence.DOCUMENTED
    assert catalog.ddis()["NtLoadDriver"].confidence is Confidence.INFERRED


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (WindowsVersion.WINDOWS_11_24H2, "ExAllocatePool2"),
        (WindowsVersion.WINDOWS_10_2004, "ExAllocatePool2"),
        (WindowsVersion.WINDOWS_10_1909, "NonPagedPoolNx"),
        (WindowsVersion.WINDOWS_8, "NonPagedPoolNx"),
    ],
)
def test_the_replacement_follows_the_target(target, words):
    assert words in catalog.ddis()["ExAllocatePool"].replacement_for(target)


_TOO_NEW = re.compile(
    "PoolNx(?!OptIn)|NoExecute|POOL_NX_ALLOC|MmMapIoSpaceEx|Pool2|Pool3|PAGE_READWRITE, "
)


def test_no_advice_names_what_the_target_lacks():
    judged = [ddi for ddi in catalog.ddis().values() if ddi.rule.judged_by]
    for ddi in judged:
        advice = ddi.advice_for(WindowsVersion.WINDOWS_7)
        usable = ddi.replacements and ddi.replacements[-1].since <= WindowsVersion.WINDOWS_7
        assert advice, ddi.name
        if not usable:
            assert not _TOO_NEW.search(advice.replace(f"hvci explain {ddi.name}", "")), ddi.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ExAllocatePoolWithTag", "Opt in with POOL_NX_OPTIN and ExInitializeDriverRuntime"),
        ("ExAllocatePoolWithTag", "RtlIsNtDdiVersionAvailable"),
        ("MmGetSystemAddressForMdlSafe", "Opt in with POOL_NX_OPTIN"),
        ("MmMapIoSpace", "MmGetSystemRoutineAddress"),
        ("ZwCreateSection", "ZwCreateSection(..., PAGE_READWRITE, ...)"),
    ],
)
def test_advice_for_windows_7_is_the_opt_in_or_a_check_at_run_time(name, words):
    assert words in catalog.ddis()[name].advice_for(WindowsVersion.WINDOWS_7)


def test_there_may_be_no_replacement():
    assert catalog.ddis()["MmCopyMemory"].replacement_for(WindowsVersion.WINDOWS_11_24H2) == ""


# ---- bad rows

GOOD = """
[[ddi]]
name = "AllocateIt"
group = "companion"
module = "ntoskrnl.exe"
binding = "export"
parameters = ["POOL_TYPE PoolType", "SIZE_T Size"]
deciding = "PoolType"
rule = "pool_type"
opt_in = "none"
counter = "execute_pool_type"
verifier = "report"
warnings = ["C30030"]
replacements = [{ since = "Windows 8", use = "AllocateIt(NonPagedPoolNx, ...)" }]
since = "Windows 2000"
evidence = ["documented"]
page = ""
"""


def parse(text):
    return parse_ddis(text, value_rules())


def test_the_good_row_is_read():
    ddi = parse(GOOD)["AllocateIt"]
    assert ddi.parameters == (Parameter("POOL_TYPE", "PoolType"), Parameter("SIZE_T", "Size"))
    assert ddi.counter is Counter.EXECUTE_POOL_TYPE


def test_no_rows_are_no_ddis():
    assert parse("") == {}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('name = "AllocateIt"', "name = 1", "name must be of type str"),
        ('name = "AllocateIt"\n', "", "row 1: name is missing"),
        ('"export"', '"exported"', "binding: 'exported' is not known (export, wdf_table, com_"),
        ('"pool_type"\nopt', '"pool"\nopt', "rule: 'pool' is not known"),
        ('deciding = "PoolType"', 'deciding = "Pool"', "Pool is not a parameter"),
        ('deciding = "PoolType"', 'deciding = ""', "needs a deciding parameter"),
        ('since = "Windows 2000"\n', 'since = "Windows 2000"\ntag = "Tag"\n', "Tag is not a para"),
        ('"POOL_TYPE PoolType"', '"PoolType"', 'written "TYPE Name"'),
        ('"SIZE_T Size"', '"SIZE_T "', 'written "TYPE Name"'),
        ('["documented"]', "[]", "evidence is empty"),
        ('["documented"]', '["rumoured"]', "'rumoured' is not known"),
        ('page = ""', 'page = "https://example.org/x"', "learn.microsoft.com"),
        ('"export"', '"wdf_table"', "needs wdf_index"),
        ('"export"', '"com_vtable"', "needs interface, iid and slot"),
        ('page = ""', 'page = ""\nalso_exported = true', "says nothing about an export"),
        ('"execute_pool_type"', '"execute_page_mapping"', "contradicts rule pool_type"),
        ('"execute_pool_type"', '"pools"', "counter: 'pools' is not known"),
        ('["C30030"]', '["30030"]', "C followed by five digits"),
        ('["C30030"]', "[30030]", "warnings must hold str only"),
        ('"Windows 8"', '"Windows 9"', "since: 'Windows 9' is not known"),
        (', use = "AllocateIt(NonPagedPoolNx, ...)"', "", "use is missing"),
        ("{ since", '{ until = "x", since', "unknown field until"),
        (
            '[{ since = "Windows 8", use = "AllocateIt(NonPagedPoolNx, ...)" }]',
            "[]",
            "needs a repl",
        ),
        (
            "replacements = [",
            'replacements = [{ since = "Windows 7", use = "x" }, ',
            "newest Windows version first",
        ),
        ('page = ""', 'page = ""\ncolour = "red"\nage = 3', "unknown field age, colour"),
    ],
)
def test_a_bad_row_is_refused_by_name(old, new, why):
    assert old in GOOD
    with pytest.raises(CatalogError, match=re.escape(why)) as caught:
        parse(GOOD.replace(old, new))
    assert "ddis.toml: " in str(caught.value)
    assert "AllocateIt" in str(caught.value) or 'name = "AllocateIt"' in old


@pytest.mark.parametrize("text", ["ddi = 3", "ddi = [1]", "[ddi]", "[[ddi]\n", "\0"])
def test_what_is_no_catalogue_is_refused(text):
    with pytest.raises(CatalogError, match=r"^ddis\.toml: "):
        parse(text)


def test_a_name_may_stand_once():
    with pytest.raises(CatalogError, match="AllocateIt: listed twice"):
        parse(GOOD + GOOD)


# ---- the shipped rows, read one by one


def test_rows_read_one_by_one_are_those_of_the_whole_file():
    whole = parse(catalog.reader.data_text("ddis.toml"))
    assert dict(catalog.ddis()) == dict(whole)
    assert list(catalog.ddis()) == list(whole)
    assert list(catalog.exports()) == [name for name, ddi in whole.items() if ddi.importable]
    assert len(catalog.exports()) < len(catalog.ddis())


def test_rows_are_chosen_by_a_line_as_by_its_meaning():
    whole = catalog.ddis().values()
    vtable = {ddi.name for ddi in whole if ddi.binding is catalog.Binding.COM_VTABLE}
    assert set(catalog.with_line('binding = "com_vtable"')) == vtable
    numbered = {ddi.name for ddi in whole if ddi.storport_function >= 0}
    assert set(catalog.with_line("storport_function = ")) == numbered
    assert not catalog.with_line("binding = ?")


def test_what_is_not_listed_is_not_found():
    for rows in (catalog.ddis(), catalog.exports()):
        assert "NoSuchFunction" not in rows
        assert rows.get("NoSuchFunction") is None
    assert catalog.exports().get("WdfMemoryCreate") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('\n[[ddi]]\ngroup = "x"\nname = "A"\n', "does not begin with its name"),
        ('\n[[ddi]]\nname = "A"\n\n[[ddi]]\nname = "A"\n', "A: listed twice"),
    ],
)
def test_rows_that_cannot_be_told_apart_are_refused(text, why):
    with pytest.raises(CatalogError, match=why):
        split_rows(text)


def test_a_name_that_is_no_row_is_not_found():
    assert "NoSuchRoutine" not in catalog.ddis()
    assert catalog.ddis().get("NoSuchRoutine") is None
    with pytest.raises(KeyError):
        catalog.ddis()["NoSuchRoutine"]


def test_a_row_with_a_rule_that_is_not_there_is_refused_by_its_name(monkeypatch):
    name = "ExAllocatePool"
    text = shipped._texts()[name].replace('rule = "', 'rule = "no-such-')
    monkeypatch.setattr(shipped, "_texts", lambda: {name: text})
    with pytest.raises(CatalogError, match=name):
        shipped._row.__wrapped__(name)


@pytest.mark.parametrize(
    ("type_", "size"),
    [
        ("BOOLEAN", 1), ("POOL_TYPE", 4), ("ULONG", 4), ("POOL_FLAGS", 8), ("SIZE_T", 8),
        ("PVOID", 8), ("VOID *", 8),
    ],
)  # fmt: skip
def test_how_many_bytes_of_a_parameter_matter(type_, size):
    assert Parameter(type_, "Name").size == size
