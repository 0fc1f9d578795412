"""From a path to evidence: files, builds, calls, their values, and what else the text does.

Knows the other modules of this wing and the order in which they work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvci.errors import InputError
from hvci.model import (
    Allowance,
    BehaviourFact,
    BuildSetting,
    DdiCall,
    Evidence,
    Limit,
    Origin,
    SourceSite,
    WindowsVersion,
)
from hvci.pause import no_collection
from hvci.source.assembly import survey as assembly
from hvci.source.builds import prebuilt
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.judge.facts import Judge
from hvci.source.judge.merge import Kept, merged
from hvci.source.judge.optin import MACROS, OptIn
from hvci.source.leftovers import leftovers
from hvci.source.pointers import behaviour, sections
from hvci.source.program.relinked import in_settings
from hvci.source.rust.cargo import is_rust
from hvci.source.rust.crates import Crates, read_crates
from hvci.source.survey import Survey
from hvci.source.text.disk import is_folder, is_there
from hvci.source.text.files import Shelf, is_code, is_project, shelve, tidy
from hvci.source.text.suppressions import allowances

IN_IMAGE_ONLY = "relocations are known in the built image only"


@dataclass
class Reading:
    """All that was found, with the texts that the calls came from; fixes are made from it."""

    workspace: Workspace
    calls: list[Kept] = field(default_factory=list)
    behaviours: list[tuple[Product | None, BehaviourFact]] = field(default_factory=list)
    settings: list[tuple[Product | None, BuildSetting]] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    allowances: list[Allowance] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    linked: list[tuple[Product, DdiCall]] = field(default_factory=list)
    """What the code of libraries asks for that nothing here builds."""
    crates: Crates = field(default_factory=Crates)
    """What Rust crates ask for; no product of another build links them."""

    def evidence(self, target: WindowsVersion) -> Evidence:
        """The facts alone, in order of place."""
        calls = [*merged(self.calls), *(call for _, call in self.linked)]
        calls += self.crates.calls
        return Evidence(
            frozenset({Origin.SOURCE}),
            target,
            calls=tuple(sorted(calls, key=_place)),
            behaviours=tuple(sorted({fact for _, fact in self.behaviours}, key=_behaviour_place)),
            settings=tuple(dict.fromkeys(one for _, one in self.settings)),
            limits=tuple(dict.fromkeys(self.limits)),
            seconds=self.seconds,
            allowances=tuple(self.allowances),
        )


def _place(call: DdiCall) -> tuple[str, int, int, str]:
    site = call.site
    assert isinstance(site, SourceSite)
    return site.path, site.line, site.column, call.ddi


def _behaviour_place(fact: BehaviourFact) -> tuple[str, int, int, str]:
    assert isinstance(fact.site, SourceSite)
    return fact.site.path, fact.site.line, fact.site.column, fact.rule


def examine(
    path: Path,
    target: WindowsVersion,
    texts: Mapping[str, bytes] | None = None,
    machine: str | None = None,
) -> Reading:
    """Read a target and keep the texts; `texts` stand for files that are not written yet.

    With a machine ("x64") only its configurations count.
    Raises `InputError` when there is nothing to read.
    """
    begun = time.perf_counter()
    shelf = _shelf(path, texts or {})
    workspace = Workspace(shelf, target, machine)
    crates = read_crates(path, shelf.texts, machine)
    is_empty = not (shelf.sources or workspace.builds or shelf.projects or shelf.limits)
    if is_empty and not crates.limits:
        raise InputError(f"{path}: neither C or C++ sources nor a driver project")
    reading = Reading(workspace, crates=crates)
    shelf.limits += crates.limits
    reading.seconds["project"] = time.perf_counter() - begun
    workspace.space.calling = assembly.calling(workspace)
    workspace.space.assembled = assembly.named(workspace)
    survey = Survey(workspace, Judge(workspace, OptIn(), target))
    with no_collection():
        survey.run()
    reading.calls += survey.calls
    reading.behaviours += survey.behaviours
    reading.settings += (*_opt_in_settings(workspace), *survey.settings)
    _read_assembly(reading)
    for _, source in sorted(shelf.sources.items()):
        reading.allowances += allowances(source)
    reading.settings += workspace.settings
    shelf.limits += in_settings(one for _, one in workspace.settings)
    shelf.limits += leftovers(workspace, reading.calls, bool(crates.crates))
    libraries = prebuilt.read(workspace)
    reading.linked += libraries.calls
    reading.behaviours += libraries.behaviours
    reading.settings += libraries.settings
    shelf.limits += libraries.limits
    shelf.limits.append(Limit(Origin.SOURCE, ("unsupported-relocs",), IN_IMAGE_ONLY))
    reading.limits = shelf.limits
    reading.seconds["source"] = time.perf_counter() - begun
    return reading


def _shelf(path: Path, texts: Mapping[str, bytes]) -> Shelf:
    """The files of a target; for one file, also what it includes or builds."""
    if is_folder(path):
        return shelve(path, texts)
    if not is_there(path):
        raise InputError(f"{path}: no such file or folder")
    if not path.is_file():
        raise InputError(f"{path}: no regular file")
    if is_rust(path.name):
        return Shelf(path.parent, texts=dict(texts))
    if not (is_code(path.name) or is_project(path.name)):
        raise InputError(f"{path}: neither a C or C++ source nor a driver project")
    shelf = Shelf(path.parent, texts=dict(texts), named=(tidy(path),))
    if is_project(path.name):
        shelf.projects.append(tidy(path))
    else:
        shelf.add(tidy(path))
    return shelf


def _opt_in_settings(workspace: Workspace) -> Iterator[tuple[Product, BuildSetting]]:
    """What each build says about the opt-in, once."""
    seen: set[tuple[int, str, str, str]] = set()
    for product in workspace.products:
        for build in (one for at in range(len(product.builds)) for one in product.closure(at)):
            for compile_ in {id(one): one for _, one in build.compiles}.values():
                for name in MACROS:
                    key = (id(product), build.project, build.configuration, name)
                    if name in compile_.defines and key not in seen:
                        seen.add(key)
                        site, value = SourceSite(build.file, 1), compile_.defines[name]
                        yield product, BuildSetting(name, value, site, build.configuration)


def _read_assembly(reading: Reading) -> None:
    """What MASM files call and do, and which sections they ask for."""
    sources = reading.workspace.shelf.sources
    for product, path in reading.workspace.assembly:
        if path in sources:
            found = behaviour.assembly_behaviours(sources[path])
            reading.behaviours += ((product, fact) for fact in found)
            made = sections.of_assembly(sources[path])
            reading.settings += ((product, one) for one in made)
    made_of = assembly.read(reading.workspace)
    reading.calls += (
        Kept(
            one.fact,
            (_place(one.fact)[0], one.offset, "asm"),
            "",
            (),
            one.product,
            one.labels,
            one.deciding,
        )
        for one in made_of.calls
    )
    reading.behaviours += made_of.behaviours
    reading.workspace.shelf.limits += made_of.limits
