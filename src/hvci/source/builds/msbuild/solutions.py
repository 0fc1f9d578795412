"""What solutions build: their projects, and which configurations of these go together.

Theory of operation: a solution has configurations of its own, and says for each which one of every
project it builds, or that it builds none. What a driver links is built so as well. Knows the texts
of solutions; projects are read elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds.model import Build, Kind
from hvci.source.builds.msbuild.files import Element, ProjectError, absolute, read_xml
from hvci.source.builds.msbuild.properties import slashed
from hvci.source.text.disk import contents
from hvci.source.text.files import Shelf, beside

MAX_SOLUTION_BYTES = 8 << 20
MAX_WAYS = 64
"""Configurations of one solution that are looked at."""
_BUILT = re.compile(r"(?i)\.vcx?proj\Z")
_PROJECT_LINE = re.compile(
    r'(?im)^[ \t]*Project\("[^"]*"\)\s*=\s*"[^"]*",\s*"([^"]+\.vcx?proj)"(?:,\s*"([^"]*)")?'
)
_CHOSEN = re.compile(r"(?im)^[ \t]*(\{[^}\n]*\})\.([^\n=]+?)\.(ActiveCfg|Build\.0)\s*=\s*([^\n]+)$")


@dataclass(frozen=True)
class _Chosen:
    """What one configuration of a solution makes of a project."""

    label: str
    """The project's configuration and platform, in lower case."""
    is_built: bool


_Way = Mapping[str, _Chosen]
"""One configuration of a solution: each project, as an absolute path, with what is made of it."""


@dataclass(frozen=True)
class Solution:
    """The projects of a solution, and its configurations."""

    path: str
    projects: tuple[str, ...] = ()
    ways: tuple[_Way, ...] = ()
    """None where it does not say; a project that none of them names is not said anything of."""


def read(shelf: Shelf, path: str) -> Solution:
    """What a solution says; nothing, and a limit, when it cannot be read."""
    try:
        data = contents(path, MAX_SOLUTION_BYTES + 1)
        if len(data) > MAX_SOLUTION_BYTES:
            raise ProjectError("it is too large for a solution")
        text = data.decode("utf-8-sig", "replace")
        if path.lower().endswith(".slnf"):
            return _filtered(shelf, path, text)
        is_xml = path.lower().endswith(".slnx")
        return _of_xml(shelf, path) if is_xml else _of_text(shelf, path, text)
    except OSError as error:
        reason = error.strerror or str(error)
    except ProjectError as error:
        reason = str(error)
    shelf.limit(path, reason, (*TEXT_RULES, *LINK_RULES))
    return Solution(path)


def _of_text(shelf: Shelf, path: str, text: str) -> Solution:
    found = _PROJECT_LINE.findall(text)
    named = [(shelf.actual(beside(path, name)), uid.lower()) for name, uid in found]
    of_uid = {uid: absolute(project) for project, uid in named}
    ways: dict[str, dict[str, _Chosen]] = {}
    for uid, name, what, label in _CHOSEN.findall(text):
        project = of_uid.get(uid.lower())
        if project is None or (name.lower() not in ways and len(ways) >= MAX_WAYS):
            continue
        way = ways.setdefault(name.lower(), {})
        is_built = what.lower() != "activecfg" or (project in way and way[project].is_built)
        way[project] = _Chosen(label.strip().lower(), is_built)
    return Solution(path, tuple(project for project, _ in named), tuple(ways.values()))


def _filtered(shelf: Shelf, path: str, text: str) -> Solution:
    """What a filter leaves of a solution: its projects are meant from the solution."""
    try:
        told = json.loads(text)["solution"]
        named = [slashed(str(one)) for one in told["projects"]]
        solution = beside(path, slashed(str(told["path"])))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ProjectError("it is no filter of a solution") from None
    whole = read(shelf, solution) if not solution.lower().endswith(".slnf") else Solution(solution)
    built = (one for one in named if _BUILT.search(one))
    projects = tuple(shelf.actual(beside(solution, one)) for one in built)
    return Solution(path, projects, whole.ways)


# ------------------------------------------------------------------ .slnx


def _of_xml(shelf: Shelf, path: str) -> Solution:
    root = read_xml(path)
    every = ((one.attributes.get("path", ""), one) for one in root.find("project"))
    built = ((slashed(name), one) for name, one in every if _BUILT.search(name))
    named = {shelf.actual(beside(path, name)): one for name, one in built}
    told = next(root.find("configurations"), None)
    names = _names(told, "buildtype") or ["Debug", "Release"]
    pairs = [(name, platform) for name in names for platform in _names(told, "platform")]
    ways = (
        {absolute(project): _chosen(one, *pair) for project, one in named.items()}
        for pair in pairs[:MAX_WAYS]
    )
    return Solution(path, tuple(named), tuple(ways))


def _names(told: Element | None, kind: str) -> list[str]:
    children = told.children if told is not None else ()
    return [one.attributes.get("name", "") for one in children if one.name == kind]


def _chosen(project: Element, name: str, platform: str) -> _Chosen:
    """What a configuration makes of a project; the last rule that is about it counts."""
    found = {"buildtype": name, "platform": _OF_C.get(platform.lower(), platform), "build": "true"}
    for rule in project.children:
        of = rule.attributes.get("solution", "*|*").partition("|")
        fits = zip((of[0], of[2] or "*"), (name, platform), strict=True)
        if rule.name in found and all(one in ("*", own) for one, own in fits):
            found[rule.name] = rule.attributes.get("project", found[rule.name])
    label = f"{found['buildtype']}|{found['platform']}".lower()
    return _Chosen(label, found["build"].strip().lower() != "false")


_OF_C = {"x86": "Win32"}
"""What projects of C call a platform of a solution."""


# ------------------------------------------------------------------ what is built


def configured(
    shelf: Shelf, builds: Iterable[Build], solutions: Iterable[Solution]
) -> Iterator[Build]:
    """The builds, each with the configurations in which solutions build what it links.

    One that is built with others in several ways is there for each. A target that is a solution
    judges no configuration that it never builds.
    """
    every = list(solutions)
    asked = [one for one in every if one.path in shelf.named]
    left: dict[str, dict[str, None]] = {}
    is_some = False
    for build in builds:
        place = absolute(build.project)
        is_kernel = build.kind not in (Kind.USER, Kind.PACKAGE) and not build.static
        told = [way for one in asked for way in one.ways if place in way]
        if told and not any(_is_of(build, way[place]) for way in told):
            if is_kernel:
                left.setdefault(build.project, {})[build.configuration] = None
            yield replace(build, built=False)
            continue
        is_some |= is_kernel
        ways = (way for one in every for way in one.ways if place in way)
        joined = [_others(shelf, build, way) for way in ways if _is_of(build, way[place])]
        chosen = [one for at, one in enumerate(joined) if one not in joined[:at]] or [{}]
        for one in chosen[:1] if build.static else chosen:
            yield replace(build, configured={**build.configured, **one}) if one else build
    for project, labels in left.items():
        reason = f"{project} is not built by it for {', '.join(labels)}, and was not judged"
        shelf.limit(asked[0].path, reason, () if is_some else (*TEXT_RULES, *LINK_RULES))


def _is_of(build: Build, chosen: _Chosen) -> bool:
    """Whether a solution builds a configuration so; a project that states none has just one."""
    return chosen.is_built and build.configuration.lower() in ("", chosen.label)


def _others(shelf: Shelf, build: Build, way: _Way) -> dict[str, str]:
    """The other projects that a configuration of a solution builds under another name."""
    own = build.configuration.lower()
    return {
        shelf.actual(shelf.shown(project)): one.label
        for project, one in way.items()
        if one.label != own
    }
