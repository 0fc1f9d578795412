"""What a report says when the driver is for older Windows than the rest of the world."""

import pytest

from hvci.model import NEWEST, Outcome, WindowsVersion
from hvci.rules import judge
from sources import entry, lay, one_file, read, value_of, vcxproj

SEVEN = WindowsVersion.WINDOWS_7


def newer(evidence):
    """The messages about what the target lacks."""
    (result,) = (one for one in judge(evidence) if one.rule == "newer-than-target")
    assert result.outcome in (Outcome.NOTE, Outcome.PASS, Outcome.NOT_APPLICABLE)
    return [finding.message for finding in result.findings]


TOO_NEW = [
    ("p = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');", "NonPagedPoolNx came with Windows 8"),
    ("p = ExAllocatePoolWithTag(512, 8, 'a');", "NonPagedPoolNx came with Windows 8"),
    ("p = ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'a');", "ExAllocatePool2 came with Windows 10"),
    ("p = MmMapIoSpaceEx(a, 8, PAGE_READWRITE);", "MmMapIoSpaceEx came with Windows 10 1507"),
    (
        "p = MmGetSystemAddressForMdlSafe(m, NormalPagePriority | MdlMappingNoExecute);",
        "MdlMappingNoExecute came with Windows 8",
    ),
]


@pytest.mark.parametrize(("statement", "message"), TOO_NEW)
def test_a_driver_for_windows_7_that_uses_what_came_later(tmp_path, statement, message):
    evidence = read(lay(tmp_path, a__c=entry(statement)), SEVEN)
    (found,) = newer(evidence)
    assert found.startswith(message)
    assert newer(read(tmp_path, NEWEST)) == []
    guarded = f"if (RtlIsNtDdiVersionAvailable(NTDDI_WIN8)) {{ {statement} }}"
    later = lay(tmp_path, a__c=entry(guarded))
    assert newer(read(later, SEVEN)) == [] or "Pool2" in message or "SpaceEx" in message


FINE = [
    "p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');",
    "p = ExAllocatePoolWithTag(RtlIsNtDdiVersionAvailable(NTDDI_WIN8) ? NonPagedPoolNx : 0, 8, 1);",
    "p = ExAllocatePoolWithTag(PagedPool, 8, 'a');",
]


@pytest.mark.parametrize("statement", FINE)
def test_what_windows_7_has(tmp_path, statement):
    assert newer(read(lay(tmp_path, a__c=entry(statement)), SEVEN)) == []


def test_a_project_for_older_windows_than_the_report(tmp_path):
    lay(tmp_path, a__c=entry("p = 0;"))
    lay(tmp_path, a__vcxproj=vcxproj("a.c").replace("Windows10<", "Windows7<"))
    (reason,) = (one.reason for one in read(tmp_path).limits if "built for" in one.reason)
    assert "built for Windows 7 and later" in reason
    assert "--target-os 7" in reason
    assert not any("built for" in one.reason for one in read(tmp_path, SEVEN).limits)


NUMBERS = ["0x42UI64", "0x42ui64", "66UI64", "0x42i64", "0x42ULL", "66ui32", "0x42i8"]


@pytest.mark.parametrize("number", NUMBERS)
def test_suffixes_of_the_compiler(tmp_path, number):
    text = f"#define GET {number}\n" + entry("p = ExAllocatePool2(GET, 8, 'a');")
    assert value_of(one_file(tmp_path, text), "ExAllocatePool2") == ({0x42}, True)
