"""Names of header bits, for every output."""

from __future__ import annotations

DLL_CHARACTERISTICS = {
    "high_entropy_va": 0x20,
    "dynamic_base": 0x40,
    "force_integrity": 0x80,
    "nx_compat": 0x100,
    "guard_cf": 0x4000,
}
"""The DllCharacteristics bits that people ask about; none decides anything here."""
