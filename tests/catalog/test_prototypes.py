import re

import pytest

from hvci import catalog
from hvci.catalog import Prototype, Returns, parse_prototypes, parse_x86_stack
from hvci.catalog.reader import data_text
from hvci.errors import CatalogError


def test_a_prototype_is_found_by_name():
    assert catalog.prototype("IoDeleteDevice") == Prototype(1, (), Returns.NOTHING)
    created = catalog.prototype("IoCreateDevice")
    assert created == Prototype(7, (6,), Returns.STATUS)
    assert catalog.prototype("NoSuchFunction") is None


def test_what_a_routine_reads_and_writes_is_not_only_written():
    assert catalog.prototype("RtlQueryRegistryValues") == Prototype(5, (2,), Returns.STATUS, (2,))
    assert not catalog.prototype("RtlQueryRegistryValues").only_written
    assert catalog.prototype("ZwReadFile").only_written == {4, 5}


def test_how_far_a_routine_writes():
    version, file = catalog.prototype("RtlGetVersion"), catalog.prototype("ZwQueryInformationFile")
    assert version.extent(0) == 0x11C  # the larger one of two structures
    assert (file.extent(1), file.extent(2), file.extent(3)) == (0, -3, 0)
    assert catalog.prototype("IoDeleteDevice").extent(0) == 0


def test_the_catalogue_and_the_prototypes_agree():
    prototypes = catalog.prototypes()
    shared = [ddi for ddi in catalog.ddis().values() if ddi.name in prototypes and ddi.seed]
    assert len(shared) > 30
    for ddi in shared:
        assert prototypes[ddi.name].arguments == len(ddi.parameters), ddi.name


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ExAllocatePoolWithTag", 12),
        ("ExAllocatePool2", 16),  # a flags argument of 64 bits
        ("MmMapIoSpace", 16),  # a physical address by value
        ("MmAllocateContiguousMemorySpecifyCache", 32),
        ("KeSetTimer", 16),
        ("KeSetTimerEx", 20),
        ("HalTranslateBusAddress", 24),
        ("KeQueryInterruptTime", 0),
        ("KeDelayExecutionThread", 12),
        ("ZwMapViewOfSection", 40),
        ("RtlInitUnicodeString", 8),
        ("WdfVersionBind", 16),
        ("_alldiv", 16),
        ("_allshl", 0),
        # cdecl: the caller removes the arguments
        ("DbgPrint", 0),
        ("sprintf", 0),
        ("memcpy", 0),
        ("wcsncpy", 0),
        ("_vsnwprintf", 0),
        ("StorPortExtendedFunction", 0),
        # fastcall: the first two arguments are in registers
        ("IofCompleteRequest", 0),
        ("ObfDereferenceObject", 0),
        ("KfReleaseSpinLock", 0),
        ("ExfInterlockedInsertTailList", 4),
        ("ExInterlockedInsertTailList", 12),  # stdcall in spite of its name
        ("ExInterlockedPopEntrySList", 0),
        ("InterlockedCompareExchange", 4),
        # decorated import names say it themselves
        ("_VvoiceInit@0", 0),
        ("_USBD_CreateConfigurationRequestEx@8", 8),
        ("@Fast@4", 0),
        ("@Fast@16", 8),
    ],
)
def test_x86_bytes(name, size):
    assert catalog.x86_bytes(name) == size


@pytest.mark.parametrize(
    "name", ["NoSuchFunction", "_chkstk", "_alloca_probe", "#12", "?x@@QAE@XZ"]
)
def test_a_name_whose_stack_is_not_known(name):
    assert catalog.x86_bytes(name) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "prototypes.json: "),
        ("[]", "prototypes.json: want an object"),
        ('{"F": 1}', "prototypes.json: F: want"),
        ('{"F": [1, [0]]}', "F: want"),
        ('{"F": ["1", [0], "s"]}', "F: want"),
        ('{"F": [1, 0, "s"]}', "F: want"),
        ('{"F": [1, [1], "s"]}', "F: want"),
        ('{"F": [1, [-1], "s"]}', "F: want"),
        ('{"F": [1, [true], "s"]}', "F: want"),
        ('{"F": [1, [0], "x"]}', "F: want"),
        ('{"F": [1, [0], 3]}', "F: want"),
        ('{"F": [1, [0], "s", 0]}', "F: want"),
        ('{"F": [2, [0], "s", [1]]}', "F: want"),
        ('{"F": [1, [0], "s", ["0"]]}', "F: want"),
        ('{"F": [2, [0], "s", [], 4]}', "F: want"),
        ('{"F": [2, [0], "s", [], [-2]]}', "F: want"),
        ('{"F": [2, [0], "s", [], ["4"]]}', "F: want"),
        ('{"F": [2, [0], "s", [], [4, 4]]}', "F: want"),
        ('{"F": [2, [0], "s", [], [4], []]}', "F: want"),
    ],
)
def test_a_bad_prototype_is_refused_by_name(text, why):
    with pytest.raises(CatalogError, match=re.escape(why)):
        parse_prototypes(text)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "3", '{"3": ["F"]}', '{"-4": ["F"]}', '{"x": ["F"]}', '{"²": ["F"]}'),
        *('{"4": 3}', '{"4": "F"}', '{"4": [["F"]]}'),
    ],
)
def test_a_bad_stack_group_is_refused(text):
    with pytest.raises(CatalogError, match=r"^x86_stack\.json: "):
        parse_x86_stack(text)


def test_the_sizes_stand_in_lines_of_one_name_each():
    """So that a new name is a change of one line."""
    lines = data_text("x86_stack.json").splitlines()
    assert all(re.fullmatch(r'[{}]|"\d+": \[|\],?|"[^" ]+",?', line) for line in lines)
