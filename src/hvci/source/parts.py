"""The drivers of one target, each with its own facts: solutions, packages and folders join nothing.

Theory of operation: what was found belongs to a product or a crate already; what was not examined
belongs to those that compile or may include its file, else to the one whose project is nearest.
Knows products and facts; judges nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hvci.model import Evidence, Limit, Site, SourceSite, WindowsVersion
from hvci.source.files import is_code, tidy
from hvci.source.nearby import nearest
from hvci.source.products import Product
from hvci.source.project import Workspace
from hvci.source.reader import Reading
from hvci.source.rust import Crates, DriverCrate


@dataclass(frozen=True)
class Part:
    """One driver of a target."""

    path: str
    """Its project; the target itself where that is all there is."""
    evidence: Evidence
    sha256: str
    size_bytes: int


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
            return [Part(path, whole, *self.digest())]
        found = []
        for at, home in enumerate(self._homes):
            evidence = self._evidence(target, at)
            found.append(Part(home.path or path, evidence, *self.digest(home.files)))
        return found

    def _evidence(self, target: WindowsVersion, at: int) -> Evidence:
        home = self._homes[at]

        def belongs(product: Product | None, path: str) -> bool:
            if product is not None:
                return product is home.product
            return at in self._of(path)

        crates = Crates([home.crate] if home.crate is not None else [])
        found = self.reading.evidence(target, belongs, crates)
        return replace(found, limits=tuple(one for one in found.limits if self._is_of(one, at)))

    def _is_of(self, limit: Limit, at: int) -> bool:
        site = limit.site
        return not isinstance(site, SourceSite) or at in self._of(site.path)

    def _of(self, path: str) -> Sequence[int]:
        """The positions of what a path belongs to: what holds it, else what is nearest."""
        holding = [at for at, home in enumerate(self._homes) if path in home.files]
        return holding or [nearest(path, [home.path for home in self._homes])]

    def of_image(self, names: Iterable[str], target: WindowsVersion) -> Evidence | None:
        """The facts about the driver that is built under one of these names; None: there is none.

        What the built image itself tells is left out.
        """
        wanted = set(names)
        homes = [one for one in self._homes if wanted & set(_names(one))]
        if not homes:
            return None
        products = [id(one.product) for one in homes if one.product is not None]
        files = {path for one in homes for path in one.files}
        files.difference_update(one.path for one in homes if one.crate is not None)
        crates = Crates([one.crate for one in homes if one.crate is not None])
        linked = {_path(call.site) for _, call in self.reading.linked}

        def belongs(product: Product | None, path: str) -> bool:
            return id(product) in products and path not in linked

        whole = self.reading.evidence(target, belongs, crates)
        return replace(whole, limits=tuple(one for one in whole.limits if _path(one.site) in files))

    def digest(self, files: Iterable[str] | None = None) -> tuple[str, int]:
        """A digest of texts with their paths below the target, and how much text that is."""
        digest, size, shelf = hashlib.sha256(), 0, self.workspace.shelf
        for path in sorted(shelf.sources if files is None else files):
            source = shelf.sources.get(path)
            if source is not None:
                name = relative(path, shelf.root)
                digest.update(name.encode() + b"\0" + source.text + b"\0")
                size += len(source.text)
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
    """Every file that a product compiles or may include, and its projects."""
    for variant in workspace.variants(product):
        yield from variant.program.paths
    for at in range(len(product.builds)):
        for build in product.closure(at):
            yield from (build.file, *build.assembly)


def _path(site: Site | None) -> str:
    return site.path if isinstance(site, SourceSite) else ""
