"""Crates and their features: what a manifest turns on, in itself and in the crates that it links.

Knows Cargo.toml and how features add up; knows nothing of Rust text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hvci.source.rust.cfg import Ask, parse
from hvci.source.text.disk import is_file
from hvci.source.text.files import tidy

MAX_CRATES = 200
"""Crates that one driver may link."""
MAX_BYTES = 1 << 20
Table = Mapping[str, object]


@dataclass(frozen=True)
class Dependency:
    """One crate that another links."""

    name: str
    """Under which its user knows it."""
    manifest: Path | None
    """Where it should be; None when it is not in a folder that the manifest names."""
    optional: bool
    default: bool
    """It is linked with its default features."""
    features: frozenset[str]
    is_of_git: bool = False
    """It is taken from a repository of somebody's own, and from no registry."""


class Manifest:
    """One Cargo.toml. Raises `OSError` or `ValueError` when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = _read(path)

    @cached_property
    def workspace(self) -> tuple[Path, Table]:
        """The folder and table of the workspace that it is in; empty where there is none."""
        for folder in self.path.parents:
            above = folder / "Cargo.toml"
            if not is_file(above):
                continue
            try:
                table = self.table if above == self.path else _read(above)
            except (OSError, ValueError):
                break
            if "workspace" in table:
                return folder, table
        return self.path.parent, {}

    @cached_property
    def features(self) -> dict[str, list[str]]:
        """What each feature turns on, optional crates that are features as well."""
        found = {
            name: [one for one in every if isinstance(one, str)]
            for name, every in inner(self.table, "features").items()
            if isinstance(every, list)
        }
        hidden = {one[4:] for every in found.values() for one in every if one.startswith("dep:")}
        for one in self._dependencies(lambda key, value: None):
            if one.optional and one.name not in hidden:
                found.setdefault(one.name, [f"dep:{one.name}"])
        return found

    @property
    def driver(self) -> dict[str, str]:
        """What its metadata, or that of its workspace, says of the driver model."""
        every = (inner(self.table, "package"), inner(self.workspace[1], "workspace"))
        for table in every:
            found = inner(table, "metadata", "wdk", "driver-model")
            if found:
                return {key.replace("-", "_"): str(value) for key, value in found.items()}
        return {}

    def asserts(self, profile: str) -> bool:
        """Whether a profile ("dev" or "release") sets `debug_assertions`."""
        for table in (self.workspace[1], self.table):
            said = inner(table, "profile", profile).get("debug-assertions")
            if isinstance(said, bool):
                return said
        return profile == "dev"

    def dependencies(self, ask: Ask) -> Iterator[Dependency]:
        """The crates that it links for a target."""
        yield from self._dependencies(ask)

    def _dependencies(self, ask: Ask) -> Iterator[Dependency]:
        yield from self._of(inner(self.table, "dependencies"))
        for name, table in inner(self.table, "target").items():
            if isinstance(table, Mapping) and _is_for(name, ask) is not False:
                yield from self._of(inner(table, "dependencies"))

    def _of(self, table: Table) -> Iterator[Dependency]:
        for name, said in table.items():
            row: Table = said if isinstance(said, Mapping) else {}
            folder, features = self.path.parent, _words(row.get("features"))
            where, default = row.get("path"), row.get("default-features", True) is not False
            if row.get("workspace") is True:
                folder, root = self.workspace
                shared = inner(root, "workspace", "dependencies").get(name)
                shared = shared if isinstance(shared, Mapping) else {}
                row = {**shared, **row}
                where, features = shared.get("path"), features | _words(shared.get("features"))
                default = default and shared.get("default-features", True) is not False
            if not isinstance(where, str):
                folder, where = self.workspace[0], self._patched(name, row)
            manifest = folder / where / "Cargo.toml" if isinstance(where, str) else None
            manifest = Path(tidy(manifest)) if manifest is not None else None
            optional, of_git = row.get("optional") is True, "git" in row
            yield Dependency(name, manifest, optional, default, features, of_git)

    def _patched(self, name: str, row: Table) -> object:
        """The folder that stands for a crate of a registry or repository, as the workspace says."""
        named = row.get("package", name)
        patches = inner(self.workspace[1] or self.table, "patch")
        for key, said in inner(patches, str(row.get("git", "crates-io"))).items():
            if isinstance(said, Mapping) and said.get("package", key) == named:
                return said.get("path")
        return None

    def turned_on(
        self, asked: frozenset[str], optional: frozenset[str] = frozenset()
    ) -> tuple[frozenset[str], dict[str, set[str]]]:
        """All features that some features mean, and what each crate is linked with.

        A feature of an `optional` crate of the target turns on the one that is named as that crate.
        An optional crate that is linked has a key; "?" before a feature means if it is linked.
        """
        on: set[str] = set()
        crates: dict[str, set[str]] = {}
        weak: list[tuple[str, str]] = []
        todo = sorted(asked)
        while todo:
            name = todo.pop()
            if name in on:
                continue
            on.add(name)
            for one in self.features.get(name, ()):
                crate, slash, feature = one.removeprefix("dep:").partition("/")
                if one.startswith("dep:"):
                    crates.setdefault(crate, set())
                elif not slash:
                    todo.append(one)
                elif crate.endswith("?"):
                    weak.append((crate[:-1], feature))
                else:
                    crates.setdefault(crate, set()).add(feature)
                    todo += [crate] if crate in optional and crate in self.features else []
        for crate, feature in weak:
            crates.setdefault(f"{crate}?", set()).add(feature)
        return frozenset(on), crates


class Manifests:
    """Manifests, each read once."""

    def __init__(self) -> None:
        self._read: dict[Path, Manifest | None] = {}
        self.lost: set[Path] = set()
        """What some crate links and could not be read."""
        self.left_out: set[Path] = set()
        """What some crate links and was one too many."""

    def keep(self, manifest: Manifest) -> None:
        """Remember one that is read."""
        self._read[manifest.path] = manifest

    def get(self, path: Path) -> Manifest | None:
        """One manifest; None when it cannot be read."""
        if path not in self._read:
            try:
                self._read[path] = Manifest(path)
            except (OSError, ValueError):
                self._read[path] = None
        return self._read[path]

    def linked(self, first: Path, asked: frozenset[str], ask: Ask) -> dict[Path, frozenset[str]]:
        """Every crate that one links, itself first, with the features that all ask of each."""
        wanted: dict[Path, frozenset[str]] = {first: asked}
        found: dict[Path, frozenset[str]] = {}
        todo = [first]
        while todo:
            path = todo.pop()
            manifest = self.get(path)
            if manifest is None:
                self.lost.add(path)
                continue
            linked = list(manifest.dependencies(ask))
            optional = frozenset(one.name for one in linked if one.optional)
            found[path], crates = manifest.turned_on(wanted[path], optional)
            for one in linked:
                if one.manifest is None or (one.optional and one.name not in crates):
                    continue
                more = (
                    one.features | crates.get(one.name, set()) | crates.get(f"{one.name}?", set())
                )
                more = more | ({"default"} if one.default else set())
                known = wanted.get(one.manifest)
                if known is None and len(wanted) >= MAX_CRATES:
                    self.left_out.add(one.manifest)
                    continue
                if known is None or not more <= known:
                    wanted[one.manifest] = more | (known or frozenset())
                    todo.append(one.manifest)
        return found


def inner(table: object, *names: str) -> Table:
    """A table in a table in a table; empty when there is none."""
    for name in names:
        table = table.get(name) if isinstance(table, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def _words(said: object) -> frozenset[str]:
    return (
        frozenset(one for one in said if isinstance(one, str))
        if isinstance(said, list)
        else (frozenset())
    )


def _read(path: Path) -> Table:
    if not is_file(path):
        raise OSError("no regular file")
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError("it is too large")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _is_for(name: str, ask: Ask) -> bool | None:
    """Whether a table of `[target.…]` counts."""
    if match := re.fullmatch(r"\s*cfg\s*\((.*)\)\s*", name, re.DOTALL):
        return parse(match[1].strip()).holds(ask)
    is_here = ask("target_arch", name.partition("-")[0])
    return "windows" in name and is_here is not False
