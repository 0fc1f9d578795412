"""The drivers of one target, each with its own facts: solutions, packages and folders join nothing.

Theory of operation: what was found belongs to a product or a crate already; what was not examined
belongs to those that compile or may include its file, else to the one whose project is nearest.
Knows products and facts; judges nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hvci.model import Evidence, Site, SourceSite, WindowsVersion
from hvci.source.builds.nearby import nearest
from hvci.source.builds.origin import Built
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.reader import Reading
from hvci.source.rust.crates import Crates, DriverCrate
from hvci.source.text.files import is_code, tidy


@dataclass(frozen=True)
class Part:
    """One driver of a target."""

    path: str
    """Its project; the target itself where that is all there is."""
    evidence: Evidence
    sha256: str
    size_bytes: int
    project: str = ""
    """Its project in any case; empty where there is none."""


@dataclass(frozen=True)
class Origins:
    """What a target says of an image."""

    projects: Mapping[str, Evidence]
    """The projects that may have built it, and what the sources of each alone show."""
    evidence: Evidence | None
    """The facts of its sources; None: nothing here builds it, or several drivers may be it."""


@dataclass(frozen=True)
class _Home:
    """Something that facts belong to."""

    path: str
    """Its project; empty for the files about whose build nothing is known."""
    files: frozenset[str]
    product: Product | None = None
    crate: DriverCrate | None = None


class Parts:
    """Tells the facts of the drivers of one reading apart."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.workspace = reading.workspace

    @cached_property
    def _homes(self) -> list[_Home]:
        made = [
            _Home(product.project, frozenset(_files(self.workspace, product)), product)
            for product in self.workspace.kernel_products
        ]
        made += [_Home(one.path, one.files, crate=one) for one in self.reading.crates.crates]
        if self.workspace.alone is not None:
            made.append(_Home("", frozenset(self.workspace.alone.paths)))
        return made

    def each(self, target: WindowsVersion, path: str) -> list[Part]:
        """Every driver on its own; the target as a whole where it is one, or a file."""
        is_file = any(is_code(name) for name in self.workspace.shelf.named)
        if is_file or len(self._homes) <= 1:
            whole = self.reading.evidence(target)
            project = self._homes[0].path if self._homes else ""
            return [Part(path, whole, *self.digest(), project)]
        found = []
        for at, home in enumerate(self._homes):
            evidence = self._shares[at].evidence(target)
            digest = self.digest(home.files)
            found.append(Part(home.path or path, evidence, *digest, home.path))
        return found

    @cached_property
    def _shares(self) -> list[Reading]:
        """What was found for each of them."""
        whole, count = self.reading, len(self._homes)
        made = [
            Reading(self.workspace, seconds=whole.seconds, allowances=whole.allowances)
            for _ in range(count)
        ]
        for call in whole.calls:
            for at in self._owners(call.product, call.spot[0]):
                made[at].calls.append(call)
        for product, linked in whole.linked:
            for at in self._owners(product, _path(linked.site)):
                made[at].linked.append((product, linked))
        for owner, fact in whole.behaviours:
            for at in self._owners(owner, _path(fact.site)):
                made[at].behaviours.append((owner, fact))
        for owner, setting in whole.settings:
            for at in self._owners(owner, _path(setting.site)):
                made[at].settings.append((owner, setting))
        for limit in whole.limits:
            has_place = isinstance(limit.site, SourceSite)
            for at in self._of(_path(limit.site)) if has_place else range(count):
                made[at].limits.append(limit)
        for home, share in zip(self._homes, made, strict=True):
            share.crates = Crates([home.crate] if home.crate is not None else [])
        return made

    def _owners(self, product: Product | None, path: str) -> Sequence[int]:
        """Whose a fact of a product and file is."""
        if product is None:
            return self._of(path)
        return [at for at, home in enumerate(self._homes) if home.product is product]

    def _of(self, path: str) -> Sequence[int]:
        """The positions of what a path belongs to: what holds it, else what is nearest."""
        if path not in self._holding:
            self._holding[path] = [nearest(path, [home.path for home in self._homes])]
        return self._holding[path]

    @cached_property
    def _holding(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for at, home in enumerate(self._homes):
            for path in home.files:
                found.setdefault(path, []).append(at)
        return found

    @cached_property
    def built(self) -> list[Built]:
        """What tells the drivers here from others, for `origins`."""
        return [self._built(home) for home in self._homes]

    def told_of(self, found: Collection[int], is_certain: bool, target: WindowsVersion) -> Origins:
        """The facts about the drivers at some positions, that an image was built from.

        What the built image itself tells is left out.
        """
        projects = {self._homes[at].path: self._shares[at].evidence(target) for at in found}
        if not is_certain or not found:
            return Origins(projects, None)
        files = {path for at in found for path in self._homes[at].files}
        files.difference_update(
            one.path for one in map(self._homes.__getitem__, found) if one.crate
        )
        joined = Reading(self.workspace, seconds=self.reading.seconds)
        joined.allowances = self.reading.allowances
        for share in map(self._shares.__getitem__, found):
            libraries = {_path(call.site) for _, call in share.linked}
            joined.calls += share.calls
            joined.behaviours += (
                one for one in share.behaviours if _path(one[1].site) not in libraries
            )
            joined.settings += share.settings
            # what was not read of the sources is in the image, which was examined itself
            limits = (one for one in share.limits if _path(one.site) in files)
            joined.limits += (replace(one, rules=()) for one in limits)
            joined.crates.crates += share.crates.crates
        return Origins(projects, joined.evidence(target))

    def _built(self, home: _Home) -> Built:
        """What tells a driver from others of its name."""
        compiled: set[str] = set()
        if home.product is not None:
            compiled.update(path for build in home.product.builds for path in build.paths)
        else:
            compiled.update(home.files)
        project = Path(home.path).absolute().as_posix()
        return Built(project, frozenset(_names(home)), frozenset(compiled))

    def digest(self, files: Iterable[str] | None = None) -> tuple[str, int]:
        """A digest of texts with their paths below the target, and how much text that is."""
        digest, size, shelf = hashlib.sha256(), 0, self.workspace.shelf
        for path in sorted(shelf.sources if files is None else files):
            source = shelf.sources.get(path)
            if source is not None:
                name = relative(path, shelf.root)
                digest.update(name.encode() + b"\0" + source.written + b"\0")
                size += len(source.written)
        return digest.hexdigest(), size


def relative(path: str, root: Path) -> str:
    """A path as seen from the target, which gives the same from wherever that is named."""
    prefix = tidy(root) + "/"
    if path.startswith(prefix):
        return path[len(prefix) :]
    return os.path.relpath(path, root).replace("\\", "/")


def _names(home: _Home) -> Iterator[str]:
    """What the image of a driver may be called."""
    if home.product is not None:
        yield from (build.output for build in home.product.builds)
    if home.crate is not None:
        yield home.crate.name


def _files(workspace: Workspace, product: Product) -> Iterator[str]:
    """Every file that a product compiles, be it there or not, or may include, and its projects."""
    for variant in workspace.variants(product):
        yield from variant.program.paths
    for at in range(len(product.builds)):
        for build in product.closure(at):
            yield from (build.file, *build.paths)


def _path(site: Site | None) -> str:
    return site.path if isinstance(site, SourceSite) else ""
