"""The tags of shim databases that matter for drivers, as apphelp.h and ReactOS name them."""

from __future__ import annotations

from hvci.model import WindowsVersion

NOT = 0x1003
SIZE, CHECKSUM, MODULE_TYPE, PE_CHECKSUM = 0x4001, 0x4003, 0x4006, 0x400B
DATA_DWORD = 0x4019
LINKER_VERSION, LINK_DATE, UPTO_LINK_DATE, FROM_LINK_DATE = 0x401C, 0x401D, 0x401E, 0x4033
SIZE_OF_IMAGE, FILE_SIZE = 0x4043, 0x5020
NAME, APP_NAME, WILDCARD_NAME = 0x6001, 0x6006, 0x600B
FROM_OS, BEFORE_OS = 0x6036, 0x6037
EXE, MATCHING_FILE, DATA, KERNEL_DRIVER = 0x7007, 0x7008, 0x700F, 0x701C
EXE_ID = 0x9004

ENTRIES = frozenset((EXE, KERNEL_DRIVER))
"""Lists that are about one driver."""
CONTAINERS = frozenset((0x7001, 0x7006))
"""Lists that hold such lists: DATABASE and APP."""

STRINGS = {
    0x6009: "CompanyName",
    0x6010: "ProductName",
    0x6011: "ProductVersion",
    0x6012: "FileDescription",
    0x6013: "FileVersion",
    0x6014: "OriginalFilename",
    0x6015: "InternalName",
    0x6016: "LegalCopyright",
}
"""Tags that are compared with strings of the version resource."""
VERSIONS = {
    0x5002: (False, "equal"),
    0x5003: (True, "equal"),
    0x5006: (True, "upto"),
    0x500D: (False, "upto"),
    0x5012: (True, "from"),
    0x5013: (False, "from"),
}
"""Tags that are compared with the version numbers: of the product or the file, and how."""

ATTRIBUTES = {
    SIZE: "size",
    CHECKSUM: "checksum",
    MODULE_TYPE: "module type",
    PE_CHECKSUM: "PE checksum",
    LINKER_VERSION: "image version",
    LINK_DATE: "link date",
    UPTO_LINK_DATE: "link date up to",
    FROM_LINK_DATE: "link date from",
    SIZE_OF_IMAGE: "size of image",
    FILE_SIZE: "size",
    0x5002: "file version",
    0x5003: "product version",
    0x5006: "product version up to",
    0x500D: "file version up to",
    0x5012: "product version from",
    0x5013: "file version from",
    **STRINGS,
}
"""What each attribute is called in a report."""

INERT = frozenset(
    {
        *(0x3001, 0x3801),  # MATCH_MODE, TAG
        *(0x4017, 0x4024, 0x4025, 0x4028),  # FLAGS, and ids of texts
        0x5001,  # TIME
        *(NAME, 0x6002, 0x6005, APP_NAME, WILDCARD_NAME),  # ... DESCRIPTION, VENDOR
        *(0x7009, 0x700A, 0x700D, DATA, 0x7015, 0x7016),  # SHIM_REF, PATCH_REF, APPHELP ...
        *(0x7024, 0x7026, 0x7028, 0x702C),  # KFLAG_REF, KSHIM_REF, KDATA, QUIRK_REF
        *(EXE_ID, 0x9010, 0x9011),  # FIX_ID, APP_ID
    }
)
"""Tags of an entry that are no condition."""

RELEASES = {
    "TH1": WindowsVersion.WINDOWS_10_1507,
    "TH2": WindowsVersion.WINDOWS_10_1511,
    "RS1": WindowsVersion.WINDOWS_10_1607,
    "RS2": WindowsVersion.WINDOWS_10_1703,
    "RS3": WindowsVersion.WINDOWS_10_1709,
    "RS4": WindowsVersion.WINDOWS_10_1803,
    "RS5": WindowsVersion.WINDOWS_10_1809,
    "19H1": WindowsVersion.WINDOWS_10_1903,
    "19H2": WindowsVersion.WINDOWS_10_1909,
    "20H1": WindowsVersion.WINDOWS_10_2004,
    "20H2": WindowsVersion.WINDOWS_10_20H2,
    "21H1": WindowsVersion.WINDOWS_10_21H1,
}
"""What conditions on Windows call its releases. A public database of Windows 10 says TH1 only."""
