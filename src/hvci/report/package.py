"""What a report says of the package that a driver was found in, in words and as fields."""

from __future__ import annotations

from typing import Any

from hvci.model import Package, Report
from hvci.report.fields import Fields
from hvci.report.safe import safe


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Name, answer and sentence."""
    one = report.package
    if one is None:
        return []
    parts = [f"service {one.service}" + (f", starts {_start(one.start)}" if one.start else "")]
    parts += [f"provider {one.provider}"] if one.provider else []
    parts += [f"version {one.version}"] if one.version else []
    parts += [f"{one.hardware_ids} hardware ids"] if one.hardware_ids else []
    parts += [f"catalog {each}" for each in one.catalogs]
    return [("package", safe(one.inf), safe("; ".join(parts), 1000) + ".")]


def _start(start: str) -> str:
    return {"boot": "at boot", "system": "with the system"}.get(start, start)


def fields(one: Package) -> dict[str, Any]:
    """The package as JSON."""
    return {**one._asdict(), "catalogs": list(one.catalogs), "ids": list(one.ids)}


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
    )
