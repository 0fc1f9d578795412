"""Windows versions that a driver can be aimed at, in the order in which they appeared."""

from __future__ import annotations

from enum import IntEnum

from hvci.errors import UsageError


class WindowsVersion(IntEnum):
    """A Windows release; the value is its build number."""

    WINDOWS_2000 = 2195
    WINDOWS_XP = 2600
    SERVER_2003 = 3790
    VISTA = 6000
    WINDOWS_7 = 7600
    WINDOWS_8 = 9200
    WINDOWS_8_1 = 9600
    WINDOWS_10_1507 = 10240
    WINDOWS_10_1511 = 10586
    WINDOWS_10_1607 = 14393
    WINDOWS_10_1703 = 15063
    WINDOWS_10_1709 = 16299
    WINDOWS_10_1803 = 17134
    WINDOWS_10_1809 = 17763
    WINDOWS_10_1903 = 18362
    WINDOWS_10_1909 = 18363
    WINDOWS_10_2004 = 19041
    WINDOWS_10_20H2 = 19042
    WINDOWS_10_21H1 = 19043
    WINDOWS_10_21H2 = 19044
    WINDOWS_10_22H2 = 19045
    WINDOWS_11_21H2 = 22000
    WINDOWS_11_22H2 = 22621
    WINDOWS_11_23H2 = 22631
    WINDOWS_11_24H2 = 26100

    @property
    def label(self) -> str:
        """The name people use, such as "Windows 10 1607"."""
        return _LABELS.get(self) or self.name.replace("WINDOWS", "Windows").replace("_", " ")

    @property
    def slug(self) -> str:
        """The name the command line uses, such as "10-1607"."""
        return self.name.removeprefix("WINDOWS_").replace("_", "-").lower()

    @property
    def has_memory_integrity(self) -> bool:
        """Memory integrity came with Windows 10 1507."""
        return self >= WindowsVersion.WINDOWS_10_1507


_LABELS = {
    WindowsVersion.SERVER_2003: "Windows Server 2003",
    WindowsVersion.VISTA: "Windows Vista",
    WindowsVersion.WINDOWS_8_1: "Windows 8.1",
}

TARGETS = tuple(version for version in WindowsVersion if version.has_memory_integrity)
"""The versions that `--target-os` accepts, oldest first."""

NEWEST = WindowsVersion.WINDOWS_11_24H2


def _spellings() -> dict[str, WindowsVersion]:
    """Every accepted spelling of a version, in lower case without blanks."""
    names: dict[str, WindowsVersion] = {}
    for version in WindowsVersion:
        bare = version.slug
        names |= {bare: version, version.label.replace(" ", "").lower(): version}
        names |= {f"windows-{bare}": version, f"windows{bare}": version, f"win{bare}": version}
        names |= {bare.replace("-", ""): version, str(int(version)): version}
    names |= {"newest": NEWEST, "10": WindowsVersion.WINDOWS_10_1507}
    names |= {"11": WindowsVersion.WINDOWS_11_21H2}
    return names


def parse_version(text: str) -> WindowsVersion:
    """Read "Windows 10 1607", "10-1607", "win10-1607" or a build number; raise `UsageError`."""
    key = "".join(text.split()).lower()
    version = _spellings().get(key)
    if version is None:
        known = ", ".join(target.slug for target in TARGETS)
        raise UsageError(f"unknown Windows version {text!r}; known: {known}")
    return version
