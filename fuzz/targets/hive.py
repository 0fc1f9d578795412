"""Registry hives and their transaction logs."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence
from choices import Choices

import hives
from hvci.installed.hive import Hive
from hvci.installed.recovery import recovered
from hvci.installed.registry import read_registry

_fields = {
    "Select": {"Current": 1},
    "ControlSet001": {
        "Services": {"a": {"Type": 1, "Start": 3, "ImagePath": "System32\\drivers\\a.sys"}},
        "Control": {"DeviceGuard": {"EnableVirtualizationBasedSecurity": 1}},
    },
}
_whole = hives.hive(_fields)
_log = hives.log(_whole, hives.hive({**_fields, "More": {}}), 2)


def one(data: bytes) -> None:
    """Places and bytes to overwrite in a hive and in its log."""
    choose = Choices(data)
    hive, log = bytearray(_whole), bytearray(_log)
    for _ in range(choose.below(16)):
        file = log if choose.below(4) == 0 else hive
        at = choose.below(min(len(file), 0x10000))
        held = choose.bytes(1 + choose.below(8))
        file[at : at + len(held)] = held
    cut = len(hive) if choose.below(8) else choose.below(0x10000)
    with answer_or_sentence():
        whole, _ = recovered(bytes(hive[:cut]), [bytes(log)])
        read = Hive(whole)
        read_registry(read, read)


def seeds() -> Iterator[bytes]:
    """Nothing changed, and something."""
    yield b""
    yield bytes(i * 53 % 256 for i in range(100))
