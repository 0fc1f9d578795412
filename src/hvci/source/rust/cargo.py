"""Crates: which files belong to one, and what its manifest says of drivers.

Knows Cargo.toml; knows nothing of Rust text.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from hvci.source.text.disk import is_file, is_folder

MAX_FILES = 5000
"""Rust files of one crate, and manifests of one folder, that are looked at."""
_CARGO = "cargo.toml"
_SKIPPED = frozenset(("target", ".git", "node_modules"))


def is_rust(name: str) -> bool:
    """Whether a file name says Rust source or crate."""
    return name.lower().endswith(".rs") or name.lower() == _CARGO


def cargos(path: Path) -> tuple[list[Path], Path | None]:
    """The manifests of a folder, or that of one file; and the first that is left out."""
    if is_folder(path):
        return _first(one for one in below(path) if one.name.lower() == _CARGO)
    if path.name.lower() == _CARGO:
        return _first(iter([path, *_members(path)]))
    near = [folder / "Cargo.toml" for folder in path.parents]
    return [one for one in near if is_file(one)][:1], None


def _members(path: Path) -> Iterator[Path]:
    """The manifests that one of a workspace alone builds."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return
    workspace = table.get("workspace")
    if "package" in table or not isinstance(workspace, dict):
        return
    gone = {path.parent / str(one) for one in _listed(workspace.get("exclude"))}
    for pattern in _listed(workspace.get("default-members", workspace.get("members"))):
        try:
            every = sorted(path.parent.glob(f"{str(pattern).strip('/') or '.'}/Cargo.toml"))
        except (ValueError, NotImplementedError, OSError):  # absolute, or no pattern
            continue
        yield from (one for one in every if is_file(one) and one.parent not in gone)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def texts(cargo: Path) -> tuple[list[Path], Path | None]:
    """The Rust files in a crate's folder; and the first that is left out."""
    return _first(one for one in below(cargo.parent) if one.suffix.lower() == ".rs")


def _first(every: Iterator[Path]) -> tuple[list[Path], Path | None]:
    return list(islice(every, MAX_FILES)), next(every, None)


def below(folder: Path) -> Iterator[Path]:
    """Rust files below a folder, in order; no build output."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - _SKIPPED)
        yield from (Path(here, name) for name in sorted(files) if is_rust(name))


def owner(path: Path) -> Path | None:
    """The manifest of the crate that a file belongs to."""
    return next((one / "Cargo.toml" for one in path.parents if is_file(one / "Cargo.toml")), None)


def image_name(table: Mapping[str, object], folder: str) -> str:
    """What the image of a crate is called, in lower case; else its folder."""
    for key in ("lib", "package"):
        inner = table.get(key)
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str):
            return name.replace("-", "_").lower()
    return folder.lower()


def model(table: Mapping[str, object]) -> str:
    """The driver model that a manifest names: KMDF, WDM or UMDF."""
    inner: object = table.get("package", table.get("workspace"))
    for key in ("metadata", "wdk", "driver-model", "driver-type"):
        inner = inner.get(key, {}) if isinstance(inner, dict) else {}
    return inner if isinstance(inner, str) else ""
