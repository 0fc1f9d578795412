"""The settings of the verifier as verifier.exe prints them: `/querysettings` and `/query`.

Knows the settings and the layout; keeps and runs nothing.
"""

from __future__ import annotations

from hvci.report.safe import safe
from hvci.verifier.block import statistics_lines
from hvci.verifier.options import FLAGS, INTERNAL, STANDARD
from hvci.verifier.settings import Settings

LONGEST_LINE = 1000


def settings_lines(settings: Settings) -> list[str]:
    """The settings in the layout of `verifier /querysettings`."""
    lines = [*_flag_lines(settings), "", "Boot Mode:", "", "  Persistent", ""]
    lines += ["Rules:", "", "  All rules are using default settings", "", "Verified Drivers:", ""]
    return lines + ([f"  {driver.name}" for driver in settings.drivers] or ["  None"])


def _flag_lines(settings: Settings) -> list[str]:
    lines = ["", f"Verifier Flags: {settings.flags:#010x}", "", "  Standard Flags:", ""]
    lines += [_flag(bit, settings.flags) for bit in FLAGS if bit & STANDARD]
    lines += ["", "  Additional Flags:", ""]
    lines += [_flag(bit, settings.flags) for bit in FLAGS if not bit & STANDARD]
    if settings.flags & INTERNAL:
        extended = f"    [X] {INTERNAL:#010x} Extended Verifier flags (internal)."
        lines += ["", "  Internal Flags:", "", extended]
    return [*lines, "", "    [X] Indicates flag is enabled"]


def _flag(bit: int, flags: int) -> str:
    return f"    [{'X' if flags & bit else ' '}] {bit:#010x} {FLAGS[bit]}."


def query_lines(settings: Settings) -> list[str]:
    """State and statistics in the layout of `verifier /query`."""
    if not settings.drivers:
        return ["No drivers are currently verified."]
    lines = [*_flag_lines(settings), "", "Driver Verification List", ""]
    for driver in settings.drivers:
        lines += [*statistics_lines(driver.name, driver.block), ""]
    return [safe(line, LONGEST_LINE) for line in lines[:-1]]
