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
        ("8.1", WindowsVersion.WINDOWS_8_1),
        ("8-1", WindowsVersion.WINDOWS_8_1),
        ("Windows 8.1", WindowsVersion.WINDOWS_8_1),
        ("win81", WindowsVersion.WINDOWS_8_1),
        ("7", WindowsVersion.WINDOWS_7),
        ("7601", WindowsVersion.WINDOWS_7),
        ("xp", WindowsVersion.WINDOWS_XP),
        ("11-25h2", WindowsVersion.WINDOWS_11_25H2),
        ("25H2", WindowsVersion.WINDOWS_11_25H2),
        ("26h1", WindowsVersion.WINDOWS_11_26H1),
        ("1607", WindowsVersion.WINDOWS_10_1607),
        ("11-26h1", WindowsVersion.WINDOWS_11_26H1),
        ("28000", WindowsVersion.WINDOWS_11_26H1),
        ("11-26h2", WindowsVersion.WINDOWS_11_26H2),
        ("Windows Server 2003 R2", WindowsVersion.SERVER_2003),
        ("server-2008", WindowsVersion.SERVER_2008),
        ("server-2008-r2", WindowsVersion.WINDOWS_7),
        ("Server 2008R2", WindowsVersion.WINDOWS_7),
        ("server-2012", WindowsVersion.WINDOWS_8),
        ("Windows Server 2012 R2", WindowsVersion.WINDOWS_8_1),
        ("server-2016", WindowsVersion.WINDOWS_10_1607),
        ("server-2019", WindowsVersion.WINDOWS_10_1809),
        ("server-2022", WindowsVersion.SERVER_2022),
        ("20348", WindowsVersion.SERVER_2022),
        ("server-23h2", WindowsVersion.SERVER_23H2),
        ("Windows Server 2025", WindowsVersion.WINDOWS_11_24H2),
    ],
)
def test_short_names(text, version):
    assert parse_version(text) is version


@pytest.mark.parametrize("text", ["21h2", "22h2", "23h2", "2003", "2008", "h2"])
def test_a_short_name_of_several_releases_is_refused(text):
    with pytest.raises(UsageError, match="unknown Windows version"):
        parse_version(text)


def test_an_unknown_version_lists_all_that_are_known():
    with pytest.raises(UsageError, match=r"unknown Windows version '12'; known: 2000 ") as caught:
        parse_version("12")
    for words in ("xp (2600)", "8.1 (9600, server-2012-r2)", "11-26h1 (28000)"):
        assert words in str(caught.value)
    for version in WindowsVersion:
        assert version.slug in str(caught.value)
        assert version.server in str(caught.value)


@pytest.mark.parametrize("version", WindowsVersion)
def test_a_server_release_is_the_client_with_its_kernel(version):
    if version.server:
        assert parse_version(version.server) is version


def test_the_newest_is_the_default():
    assert NEWEST is WindowsVersion.WINDOWS_11_26H1


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
