import pytest

from hvci.errors import UsageError
from hvci.model import NEWEST, TARGETS, WindowsVersion, parse_version


@pytest.mark.parametrize(
    "text",
    ["10-1607", "Windows 10 1607", "windows-10-1607", "WIN10-1607", "101607", "14393", " 10-1607 "],
)
def test_every_spelling_is_the_same_version(text):
    assert parse_version(text) is WindowsVersion.WINDOWS_10_1607


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("newest", NEWEST),
        ("10", WindowsVersion.WINDOWS_10_1507),
        ("11", WindowsVersion.WINDOWS_11_21H2),
        ("11-24h2", WindowsVersion.WINDOWS_11_24H2),
        ("Windows Vista", WindowsVersion.VISTA),
    ],
)
def test_short_names(text, version):
    assert parse_version(text) is version


def test_an_unknown_version_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown Windows version '12'; known: 10-1507, "):
        parse_version("12")


def test_targets_are_the_versions_with_memory_integrity_in_order():
    assert TARGETS[0] is WindowsVersion.WINDOWS_10_1507
    assert TARGETS[-1] is NEWEST
    assert list(TARGETS) == sorted(TARGETS)
    assert not WindowsVersion.WINDOWS_8_1.has_memory_integrity


@pytest.mark.parametrize("version", WindowsVersion)
def test_a_label_and_a_slug_lead_back_to_the_version(version):
    assert parse_version(version.label) is version
    assert parse_version(version.slug) is version
    assert "_" not in version.label


def test_labels_are_what_people_say():
    assert WindowsVersion.WINDOWS_10_1607.label == "Windows 10 1607"
    assert WindowsVersion.WINDOWS_8_1.label == "Windows 8.1"
    assert WindowsVersion.SERVER_2003.label == "Windows Server 2003"
