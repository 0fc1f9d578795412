"""The policy file: `hvci.toml`, or `[tool.hvci]` in pyproject.toml.

Reads and checks words; what they do to a report is in `apply`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from hvci.errors import InputError, UsageError
from hvci.model import WindowsVersion, names_server, parse_version
from hvci.model.record import record
from hvci.report.fields import Fields, read
from hvci.rules import RULES

FILE = "hvci.toml"
_PYPROJECT = "pyproject.toml"


class Profile(StrEnum):
    """Which questions a failure must answer."""

    STRICT = "strict"
    """Undecided fails, and so do DDIs that are executable whatever the caller asks."""
    DEFAULT = "default"
    LOAD_ONLY = "load-only"
    """Only whether Windows accepts the image."""


class Undecided(StrEnum):
    """What an undecided verdict does to the exit code."""

    FAIL = "fail"
    """Exit with 1."""
    TELL = "tell"
    """Exit with 3."""
    PASS = "pass"
    """Exit with 0."""


class Level(StrEnum):
    """What the findings of one rule do."""

    FAIL = "fail"
    """Any finding fails, a note as well."""
    DEFAULT = "default"
    NOTE = "note"
    """Shown and counted, and changes no verdict."""


@record
class Acceptance:
    """One accepted finding, or several: every condition that is given must hold."""

    reason: str
    rule: str = ""
    target: str = ""
    """Pattern for the file name or the path of the driver."""
    place: str = ""
    """Pattern for the function, the section, the source file, or file:line."""
    ddi: str = ""
    fingerprint: str = ""
    owner: str = ""
    expires: date | None = None

    @property
    def what(self) -> str:
        """The conditions, for messages."""
        names = ("rule", "target", "place", "ddi", "fingerprint")
        return ", ".join(f"{name} {value}" for name in names if (value := getattr(self, name)))


@record
class Policy:
    """Everything that a policy file can say; an empty one changes nothing."""

    file: str = FILE
    folder: str = ""
    """Where that lies, as an absolute path; empty where it is no file."""
    target_os: WindowsVersion | None = None
    """The oldest of the versions named."""
    on_server: bool = False
    """It is one of Windows Server."""
    profile: Profile = Profile.DEFAULT
    undecided: Undecided = Undecided.TELL
    levels: Mapping[str, Level] = field(default_factory=dict)
    accepted: tuple[Acceptance, ...] = ()
    paths: tuple[str, ...] = ()
    """Targets of a command that names none."""
    exclude: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    catalogs: tuple[str, ...] = ()
    """Signed catalogs, and folders of them."""
    blocklists: tuple[str, ...] = ()
    compat_db: tuple[str, ...] = ()
    """Driver compatibility databases."""
    baseline: str = ""
    select: frozenset[str] = frozenset()
    """The only rules that count; all where none is named."""
    ignore: frozenset[str] = frozenset()
    """Rules that do not count."""

    def leaves_out(self, rule: str) -> str:
        """The option of the command line that leaves a rule out; empty when none does."""
        if rule in self.ignore:
            return "--ignore"
        return "--select" if self.select and rule not in self.select else ""


def find_policy(folder: Path) -> Policy:
    """The policy of the nearest folder upwards that has one; an empty one when none has."""
    for place in (folder, *folder.parents):
        if (place / FILE).is_file():
            return read_policy(place / FILE)
        if (place / _PYPROJECT).is_file() and _tool_table(_load(place / _PYPROJECT)) is not None:
            return read_policy(place / _PYPROJECT)
    return Policy()


def read_policy(path: Path) -> Policy:
    """Read a policy file; raise `UsageError` that names what is wrong in it."""
    data = _load(path)
    table = _tool_table(data) if path.name == _PYPROJECT else data
    if table is None:
        raise UsageError(f"{path}: there is no [tool.hvci] table")
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 (links stay)
    return replace(parse_policy(table, str(path)), folder=folder)


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _tool_table(data: Mapping[str, Any]) -> object | None:
    tool = data.get("tool")
    return tool.get("hvci") if isinstance(tool, dict) else None


def parse_policy(table: object, file: str) -> Policy:
    """Make a policy of a parsed table."""
    name = Path(file).name
    try:
        return read(Fields("the policy", table), lambda fields: _policy(fields, name))
    except InputError as error:
        raise UsageError(f"{file}: {error}") from error


def _policy(fields: Fields, name: str) -> Policy:
    given = set(fields.left())
    oldest = _oldest(fields) if "target_os" in given else ""
    return Policy(
        file=name,
        target_os=parse_version(oldest) if oldest else None,
        on_server=names_server(oldest),
        profile=fields.word("profile", Profile) if "profile" in given else Profile.DEFAULT,
        undecided=fields.word("undecided", Undecided) if "undecided" in given else Undecided.TELL,
        levels=fields.mapping("rules", _level) if "rules" in given else {},
        accepted=fields.items("suppress", _acceptance) if "suppress" in given else (),
        paths=fields.plain("paths", str) if "paths" in given else (),
        exclude=fields.plain("exclude", str) if "exclude" in given else (),
        symbols=fields.plain("symbols", str) if "symbols" in given else (),
        catalogs=fields.plain("catalogs", str) if "catalogs" in given else (),
        blocklists=fields.plain("blocklists", str) if "blocklists" in given else (),
        compat_db=fields.plain("compat_db", str) if "compat_db" in given else (),
        baseline=fields.maybe("baseline", str) or "",
    )


def _oldest(fields: Fields) -> str:
    """The word for the oldest version."""
    words = fields.plain("target_os", str)
    if not words:
        raise fields.refuse("needs at least one target_os")
    return min(words, key=parse_version)


def _level(fields: Fields, rule: str) -> Level:
    _known_rule(fields, rule)
    return fields.word(rule, Level)


def _known_rule(fields: Fields, rule: str) -> None:
    if rule and rule not in RULES:
        raise fields.refuse(f"names the rule {rule!r}, which does not exist; see hvci rules")


def _acceptance(fields: Fields) -> Acceptance:
    words = {
        name: fields.maybe(name, str) or ""
        for name in ("reason", "rule", "target", "place", "ddi", "fingerprint", "owner")
    }
    expires = fields.maybe("expires", date)
    _known_rule(fields, words["rule"])
    if not words["reason"].strip():
        raise fields.refuse("needs a reason")
    if not (words["rule"] or words["place"] or words["fingerprint"]):
        raise fields.refuse("needs a rule, a place or a fingerprint")
    return Acceptance(**words, expires=expires)
