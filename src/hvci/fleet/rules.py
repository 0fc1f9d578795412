"""What a result depends on besides the bytes of the driver, as one digest.

The version alone does not tell two builds under development apart, so the code counts as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hvci import __version__
from hvci.errors import UsageError
from hvci.model import NEWEST, WindowsVersion, parse_version

Files = tuple[tuple[str, str], ...]
"""Paths of files, each with the digest of what it holds."""
_GIVEN = ("catalogs", "blocklists", "databases")
_HOUSE = Path(__file__).parent.parent
_CATALOGUE = ("*.toml", "*.json")
_NO_MATTER = ("cli", "fleet", "policy", "logs")
"""Rooms that only ask for reports,"""
_MATTER = tuple(f"fleet/{name}.py" for name in ("boxes", "rows", "windows", "worker"))
"""but for what makes rows of them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The options of a scan that change its results."""

    target_os: WindowsVersion = NEWEST
    excerpts: bool = False
    catalogs: Files = ()
    """Signed catalogs that the user gives, with their digests."""
    blocklists: Files = ()
    databases: Files = ()

    @property
    def version(self) -> WindowsVersion | None:
        """What to judge for; None is the newest Windows that loads drivers for each machine."""
        return None if self.target_os is NEWEST else self.target_os

    def fields(self) -> dict[str, object]:
        """As plain data, for a process that evaluates."""
        given = {name: getattr(self, name) for name in _GIVEN if getattr(self, name)}
        return {"target_os": self.target_os.slug, "excerpts": self.excerpts, **given}

    @classmethod
    def of(cls, fields: dict[str, object]) -> Rules:
        """The inverse of `fields`."""
        given = {name: _pairs(fields.get(name, ())) for name in _GIVEN}
        return cls(parse_version(str(fields["target_os"])), bool(fields["excerpts"]), **given)

    @property
    def options(self) -> str:
        """The options as text that is always the same."""
        return json.dumps(self.fields(), sort_keys=True)

    @property
    def digest(self) -> str:
        """Equal digests give equal results for equal bytes."""
        return self.digest_with("")

    def digest_with(self, about: str) -> str:
        """The digest for a file of which `beside` says something."""
        parts = (__version__, code_digest(), catalogue_digest(), self.options)
        told = (*parts, about) if about else parts
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def beside(self, name: str, catalogs: Iterable[str]) -> str:
        """What of a file's surroundings changes its result: catalogs, by digest, and its name.

        Only databases ask for the name.
        """
        fields: dict[str, object] = {}
        if digests := sorted(set(catalogs)):
            fields["catalogs"] = digests
        if self.databases:
            fields["name"] = name.lower()
        return json.dumps(fields, sort_keys=True) if fields else ""


def given(words: Iterable[str]) -> Files:
    """Files that the user names, those in folders (catalogs only) as well, with their digests."""
    found: list[tuple[str, str]] = []
    for word in words:
        path = Path(word)
        inside = sorted(path.rglob("*.[cC][aA][tT]")) if path.is_dir() else [path]
        try:
            found += [
                (str(each), hashlib.sha256(each.read_bytes()).hexdigest())
                for each in inside
                if each.is_file() or each is path
            ]
        except OSError as error:
            raise UsageError(f"{word}: {error.strerror or error}") from error
    return tuple(found)


def _pairs(value: object) -> Files:
    """Pairs that JSON made lists of."""
    pairs = value if isinstance(value, list | tuple) else ()
    return tuple((str(path), str(digest)) for path, digest in pairs)


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
            or path.relative_to(_HOUSE).as_posix() in _MATTER
        ]
    )


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in sorted(paths):
        data = path.read_bytes()
        whole.update(f"{path.relative_to(_HOUSE).as_posix()}\0{len(data)}\0".encode())
        whole.update(data)
    return whole.hexdigest()
