"""The driver image and its machine code: bytes in, evidence out. Judges nothing."""

from __future__ import annotations

from hvci.model import Evidence, WindowsVersion


def read(data: bytes, target_os: WindowsVersion) -> Evidence:
    """Gather all facts about a driver image; raise `InputError` when it is none."""
    raise NotImplementedError
