"""What a report says of the package that a driver was found in, in words and as fields."""

from __future__ import annotations

from typing import Any, NamedTuple

from hvci.model import Answer, Installed, Package, Question, Report
from hvci.report.fields import Fields
from hvci.report.safe import safe


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Name, answer and sentence."""
    one = report.package
    if one is None:
        return []
    starts = f", starts {_start(one.start)}" if one.start else ""
    parts = [f"service {one.service}{starts}" if one.service else "no service of its own"]
    parts += [f"provider {one.provider}"] if one.provider else []
    parts += [f"version {one.version}"] if one.version else []
    parts += [f"{one.hardware_ids} hardware ids"] if one.hardware_ids else []
    parts += [f"catalog {each}" for each in one.catalogs]
    if one.installed is not None:
        parts += _installed(one.installed)
    found = [("package", safe(one.inf or "none"), safe("; ".join(parts), 1000) + ".")]
    if advice := remedy(report):
        found.append(("to do", safe(advice.command), safe(advice.why, 1000)))
    return found


def _installed(one: Installed) -> list[str]:
    parts = [f"published as {one.published}"] if one.published else []
    parts += [] if one.devices is None else [f"{one.devices} devices"]
    return parts + (["in the driver store only"] if one.staged else [])


class Remedy(NamedTuple):
    """What to do about an installed driver that memory integrity keeps from working."""

    command: str
    """To copy."""
    why: str


AT_BOOT = (
    "It starts with Windows: where Windows turned memory integrity on by itself, it turns it off "
    "again without a word."
)
_DISK = (
    "Warning: disks hang on this driver. Have another driver for them in place first, or Windows "
    "does not start any more."
)
_STORE = "/driverstore/filerepository/"


def remedy(report: Report) -> Remedy | None:
    """The command that takes a driver away which does not load or breaks; None for any other."""
    one, answers = report.package, report.answers
    loads, runs = (answers[each] is not Answer.NO for each in (Question.LOADS, Question.RUNS))
    path = report.target.path
    return None if one is None else remedy_of(one, path, loads=loads, runs=runs)


def remedy_of(one: Package, path: str, *, loads: bool, runs: bool) -> Remedy | None:
    """The same for a driver of which this is known; false is a certain no."""
    if one.installed is None or (loads and runs):
        return None
    why = ["First look for a newer version of it."]
    if one.installed.published:
        left = one.installed.devices == 0 and (one.installed.staged or one.hardware_ids > 0)
        command = f"pnputil /delete-driver {one.installed.published}{'' if left else ' /uninstall'}"
        if left:
            why.append("No device uses it: it is left over.")
    elif _STORE in path.replace("\\", "/").lower():
        command = "pnputil /enum-drivers"
        why.append("It lies in the driver store, but which package it is of is not known here.")
    elif one.installed.devices or one.installed.storage or not one.service:
        command = "update it"
        why = ["It is part of Windows or of a package that is not known here: do not remove it."]
    else:
        command = f'sc.exe delete "{one.service}"'
        why.append("No driver package: whatever program brought the service removes it as well.")
    if one.start == "boot" and not loads:
        why.append(AT_BOOT)
    if one.installed.storage and not one.installed.staged:
        why.append(_DISK)
    return Remedy(command, " ".join(why))


def _start(start: str) -> str:
    return {"boot": "at boot", "system": "with the system"}.get(start, start)


def fields(one: Package) -> dict[str, Any]:
    """The package as JSON."""
    plain = {**one._asdict(), "catalogs": list(one.catalogs), "ids": list(one.ids)}
    plain["installed"] = one.installed._asdict() if one.installed else None
    return plain


def read(fields: Fields) -> Package:
    """The inverse of `fields`."""
    return Package(
        fields.take("inf", str),
        fields.take("service", str),
        fields.take("start", str),
        fields.take("provider", str),
        fields.take("version", str),
        fields.take("class_name", str),
        fields.take("hardware_ids", int),
        fields.plain("catalogs", str),
        fields.plain("ids", str) if "ids" in fields.left() else (),
        fields.maybe_nested("installed", _read_installed),
    )


def _read_installed(fields: Fields) -> Installed:
    return Installed(
        fields.take("published", str),
        fields.maybe("devices", int),
        fields.take("storage", bool),
        fields.take("staged", bool),
    )
