"""From a path to evidence: files, builds, calls, their values, and what else the text does.

Knows the other modules of this wing and the order in which they work.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
    Site,
    SourceSite,
    WindowsVersion,
)
from hvci.source import behaviour
from hvci.source.calls import find_calls, may_hold_calls
from hvci.source.families import wrong_family
from hvci.source.files import LINK_RULES, Shelf, is_code, is_project, shelve, tidy
from hvci.source.judge import Judge, Resolved
from hvci.source.opt_in_facts import opt_in_facts
from hvci.source.optin import MACROS, OptIn
from hvci.source.project import Workspace
from hvci.source.suppressions import allowances

UNKNOWN_SETTINGS = "no project file was given, so the linker settings are not known"

IN_IMAGE_ONLY = "relocations are known in the built image only"


@dataclass
class Reading:
    """All that was found, with the texts that the calls came from; fixes are made from it."""

    workspace: Workspace
    calls: list[Resolved] = field(default_factory=list)
    behaviours: list[BehaviourFact] = field(default_factory=list)
    settings: list[BuildSetting] = field(default_factory=list)
    allowances: list[Allowance] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def evidence(self, target: WindowsVersion) -> Evidence:
        """The facts alone, in order of place."""
        return Evidence(
            frozenset({Origin.SOURCE}),
            target,
            calls=tuple(sorted((one.fact for one in self.calls), key=_place)),
            behaviours=tuple(sorted(set(self.behaviours), key=_behaviour_place)),
            settings=tuple(dict.fromkeys(self.settings)),
            limits=tuple(dict.fromkeys(self.workspace.shelf.limits)),
            seconds=self.seconds,
            allowances=tuple(self.allowances),
        )

    def evidence_of(self, names: Iterable[str], target: WindowsVersion) -> Evidence | None:
        """The facts about the driver that is built under one of these names; None: there is none.

        What the built image itself tells is left out.
        """
        files = self.workspace.files_of_output(names)
        if not files:
            return None
        whole = self.evidence(target)
        return replace(
            whole,
            calls=tuple(one for one in whole.calls if _path(one.site) in files),
            behaviours=tuple(one for one in whole.behaviours if _path(one.site) in files),
            settings=tuple(one for one in whole.settings if one.site.path in files),
            limits=tuple(one for one in whole.limits if _path(one.site) in files),
        )

    @property
    def sha256(self) -> str:
        """A digest of all texts that were read, with their paths below the target."""
        digest = hashlib.sha256()
        root = tidy(self.workspace.shelf.root) + "/"
        for path, source in sorted(self.workspace.shelf.sources.items()):
            digest.update(path.removeprefix(root).encode() + b"\0" + source.text + b"\0")
        return digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """How much text was read."""
        return sum(len(source.text) for source in self.workspace.shelf.sources.values())


def _path(site: Site | None) -> str:
    return site.path if isinstance(site, SourceSite) else ""


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
    if not shelf.sources and not workspace.builds and not shelf.projects and not shelf.limits:
        raise InputError(f"{path}: neither C or C++ sources nor a driver project")
    reading = Reading(workspace)
    reading.seconds["project"] = time.perf_counter() - begun
    _read_calls(reading, target)
    _read_texts(reading)
    reading.settings += workspace.settings
    if not workspace.builds:
        shelf.limits.append(Limit(Origin.SOURCE, LINK_RULES, UNKNOWN_SETTINGS))
    shelf.limits.append(Limit(Origin.SOURCE, ("unsupported-relocs",), IN_IMAGE_ONLY))
    reading.seconds["source"] = time.perf_counter() - begun
    return reading


def _shelf(path: Path, texts: Mapping[str, bytes]) -> Shelf:
    """The files of a target; for one file, also what it includes or builds."""
    if path.is_dir():
        return shelve(path, texts)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not (is_code(path.name) or is_project(path.name)):
        raise InputError(f"{path}: neither a C or C++ source nor a driver project")
    shelf = Shelf(path.parent, is_single=True, texts=dict(texts))
    if is_project(path.name):
        shelf.projects.append(tidy(path))
    else:
        shelf.add(tidy(path))
    return shelf


def _read_calls(reading: Reading, target: WindowsVersion) -> None:
    workspace = reading.workspace
    judge = Judge(workspace, OptIn(workspace), target)
    workspace.load_includes()
    for path in sorted(workspace.shelf.sources):
        source = workspace.shelf.sources[path]
        if path.lower().endswith(".asm") or not may_hold_calls(source.text):
            continue
        for call in (*find_calls(workspace.unit(path)), *judge.named(path)):
            if (resolved := judge.resolve(call)) is not None:
                reading.calls.append(resolved)
                reading.behaviours += wrong_family(resolved)
        if missing := workspace.includes.missing(path):
            names = ", ".join(missing[:8])
            workspace.shelf.limit(path, f"headers that are not in the sources: {names}", ())
    reading.behaviours += opt_in_facts(judge, reading.calls)
    reading.settings += _opt_in_settings(judge)


def _opt_in_settings(judge: Judge) -> Iterator[BuildSetting]:
    """What each build says about the opt-in, once."""
    seen: set[tuple[str, str, str]] = set()
    for build in judge.workspace.builds:
        for macros in build.files.values():
            for name in MACROS:
                key = (build.project, build.configuration, name)
                if name in macros and key not in seen:
                    seen.add(key)
                    site = SourceSite(build.project, 1)
                    yield BuildSetting(name, macros[name], site, build.configuration)


def _read_texts(reading: Reading) -> None:
    workspace = reading.workspace
    for path in sorted(workspace.shelf.sources):
        source = workspace.shelf.sources[path]
        reading.allowances += allowances(source)
        if workspace.is_user_mode(path):
            continue
        if path.lower().endswith(".asm"):
            reading.behaviours += behaviour.assembly_behaviours(source)
            reading.settings += behaviour.assembly_settings(source)
        elif behaviour.worth_a_look(source.text):
            unit = workspace.unit(path)
            reading.behaviours += behaviour.behaviours(unit, workspace.program(path))
            reading.settings += behaviour.section_settings(unit)
