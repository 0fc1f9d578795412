"""Windows versions that a driver can be aimed at, in the order in which they appeared."""

from __future__ import annotations

from enum import IntEnum
from functools import cache

from hvci.errors import UsageError


class WindowsVersion(IntEnum):
    """A Windows release; the value is its build number."""

    WINDOWS_2000 = 2195
    WINDOWS_XP = 2600
    SERVER_2003 = 3790
    VISTA = 6000
    SERVER_2008 = 6001
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
    SERVER_2022 = 20348
    WINDOWS_11_21H2 = 22000
    WINDOWS_11_22H2 = 22621
    WINDOWS_11_23H2 = 22631
    SERVER_23H2 = 25398
    WINDOWS_11_24H2 = 26100
    WINDOWS_11_25H2 = 26200
    WINDOWS_11_26H2 = 26300
    WINDOWS_11_26H1 = 28000

    @property
    def label(self) -> str:
        """The name people use, such as "Windows 10 1607"."""
        return _LABELS.get(self) or self.name.replace("WINDOWS", "Windows").replace("_", " ")

    @property
    def slug(self) -> str:
        """The name the command line uses, such as "10-1607" or "8.1"."""
        if self is WindowsVersion.WINDOWS_8_1:
            return "8.1"
        return self.name.removeprefix("WINDOWS_").replace("_", "-").lower()

    @property
    def server(self) -> str:
        """The slug of the Windows Server release with this kernel, such as "server-2016"."""
        return _SERVERS.get(self, "")

    @property
    def has_memory_integrity(self) -> bool:
        """Memory integrity came with Windows 10 1507."""
        return self >= WindowsVersion.WINDOWS_10_1507


_LABELS = {
    WindowsVersion.SERVER_2003: "Windows Server 2003",
    WindowsVersion.VISTA: "Windows Vista",
    WindowsVersion.SERVER_2008: "Windows Server 2008",
    WindowsVersion.WINDOWS_8_1: "Windows 8.1",
    WindowsVersion.SERVER_2022: "Windows Server 2022",
    WindowsVersion.SERVER_23H2: "Windows Server 23H2",
}

_SERVERS = {
    WindowsVersion.WINDOWS_2000: "server-2000",
    WindowsVersion.WINDOWS_7: "server-2008-r2",
    WindowsVersion.WINDOWS_8: "server-2012",
    WindowsVersion.WINDOWS_8_1: "server-2012-r2",
    WindowsVersion.WINDOWS_10_1607: "server-2016",
    WindowsVersion.WINDOWS_10_1709: "server-1709",
    WindowsVersion.WINDOWS_10_1803: "server-1803",
    WindowsVersion.WINDOWS_10_1809: "server-2019",
    WindowsVersion.WINDOWS_10_1903: "server-1903",
    WindowsVersion.WINDOWS_10_1909: "server-1909",
    WindowsVersion.WINDOWS_10_2004: "server-2004",
    WindowsVersion.WINDOWS_10_20H2: "server-20h2",
    WindowsVersion.WINDOWS_11_24H2: "server-2025",
}
"""The releases of Windows Server that have the kernel of a client release."""

_SAME = {
    "10": WindowsVersion.WINDOWS_10_1507,
    "11": WindowsVersion.WINDOWS_11_21H2,
    "server-2003-r2": WindowsVersion.SERVER_2003,
    "xp-x64": WindowsVersion.SERVER_2003,
    "vista-sp1": WindowsVersion.SERVER_2008,
    "vista-sp2": WindowsVersion.SERVER_2008,
    "7-sp1": WindowsVersion.WINDOWS_7,
    "blue": WindowsVersion.WINDOWS_8_1,
    "8-1": WindowsVersion.WINDOWS_8_1,
}
"""Further names of releases."""
_BUILDS = {
    "6002": WindowsVersion.SERVER_2008,
    "6003": WindowsVersion.SERVER_2008,
    "7601": WindowsVersion.WINDOWS_7,
}
"""Build numbers of service packs, which are no releases of their own here."""

TARGETS = tuple(version for version in WindowsVersion if version.has_memory_integrity)
"""The versions that have memory integrity, oldest first."""

NEWEST = max(WindowsVersion)
LAST_32_BIT_SERVER = WindowsVersion.SERVER_2008
LAST_32_BIT = WindowsVersion.WINDOWS_10_22H2
"""The newest Windows that has a 32-bit edition."""


def spellings(version: WindowsVersion) -> str:
    """A version for a list: its slug, its build and its server release."""
    also = f", {version.server}" if version.server else ""
    return f"{version.slug} ({int(version)}{also})"


def _forms(bare: str) -> set[str]:
    """Every way to write one name; "r2" and the like may stand apart or not."""
    plain = {bare, bare.replace("-", "")}
    return {f"{lead}{one}" for one in plain for lead in ("", "windows-", "windows", "win-", "win")}


@cache
def _spellings() -> dict[str, WindowsVersion]:
    """Every accepted spelling of a version, in lower case without blanks."""
    names: dict[str, WindowsVersion] = {"newest": NEWEST, **_BUILDS}
    listed = [(version.slug, version) for version in WindowsVersion]
    listed += [(version.server, version) for version in WindowsVersion if version.server]
    for bare, version in (*listed, *_SAME.items()):
        names |= dict.fromkeys(_forms(bare), version)
    tails = [version.slug.partition("-")[2] for version in WindowsVersion]
    for version, tail in zip(WindowsVersion, tails, strict=True):
        if tail and tails.count(tail) == 1 and version not in _LABELS:
            names[tail] = version  # 24h2 can mean one release only, 22h2 two
    for version in WindowsVersion:
        names |= {"".join(version.label.split()).lower(): version, str(int(version)): version}
    return names


def parse_version(text: str) -> WindowsVersion:
    """Read "Windows 10 1607", "10-1607", "24h2", "server-2016" or a build number.

    Raise `UsageError` for anything else.
    """
    key = "".join(text.split()).lower()
    version = _spellings().get(key)
    if version is None:
        known = ", ".join(spellings(one) for one in WindowsVersion)
        raise UsageError(f"unknown Windows version {text!r}; known: {known}")
    return version


def names_server(text: str) -> bool:
    """Whether a version is named as that of Windows Server; many share a kernel with a client."""
    return "server" in text.lower()
