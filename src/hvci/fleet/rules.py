"""What a result depends on besides the bytes of the driver, as one digest.

The version alone does not tell two builds under development apart, so the code counts as well.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hvci import __version__
from hvci.model import NEWEST, WindowsVersion, parse_version

_HOUSE = Path(__file__).parent.parent
_CATALOGUE = ("*.toml", "*.json")
_NO_MATTER = ("cli", "fleet", "policy", "logs")
"""Rooms that only ask for reports."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The options of a scan that change its results."""

    target_os: WindowsVersion = NEWEST
    excerpts: bool = False

    @property
    def version(self) -> WindowsVersion | None:
        """What to judge for; None is the newest Windows that loads drivers for each machine."""
        return None if self.target_os is NEWEST else self.target_os

    def fields(self) -> dict[str, object]:
        """As plain data, for a process that evaluates."""
        return {"target_os": self.target_os.slug, "excerpts": self.excerpts}

    @classmethod
    def of(cls, fields: dict[str, object]) -> Rules:
        """The inverse of `fields`."""
        return cls(parse_version(str(fields["target_os"])), bool(fields["excerpts"]))

    @property
    def options(self) -> str:
        """The options as text that is always the same."""
        return json.dumps(self.fields(), sort_keys=True)

    @property
    def digest(self) -> str:
        """Equal digests give equal results for equal bytes."""
        parts = (__version__, code_digest(), catalogue_digest(), self.options)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def catalogue_digest() -> str:
    """Of everything in data/ that a result can depend on."""
    return _digest([path for kind in _CATALOGUE for path in (_HOUSE / "data").glob(kind)])


@cache
def code_digest() -> str:
    """Of the code that makes a result."""
    return _digest(
        [
            path
            for path in _HOUSE.rglob("*.py")
            if path.relative_to(_HOUSE).parts[0] not in _NO_MATTER
        ]
    )


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in sorted(paths):
        data = path.read_bytes()
        whole.update(f"{path.relative_to(_HOUSE).as_posix()}\0{len(data)}\0".encode())
        whole.update(data)
    return whole.hexdigest()
