"""What of a target was not judged, or is no driver at all, in words.

Knows the files and products of a workspace; judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from hvci.model import Limit, Origin, SourceSite
from hvci.model.judged import LINK_RULES, TEXT_RULES, USER_ONLY
from hvci.source.builds.model import PLAIN
from hvci.source.builds.nearby import nearest
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.judge.merge import Kept
from hvci.source.preprocess.unit import OPT_IN
from hvci.source.survey import UNBUILT

UNKNOWN_SETTINGS = "no project file was given, so the linker settings are not known"
ONLY_HEADERS = "only headers are here: what a driver makes of them depends on its own files"
NO_CODE = "no file here holds code, so none was looked at"
SHOWN = 12
"""Names in one sentence."""


def leftovers(
    workspace: Workspace, calls: Collection[Kept], has_crates: bool = False
) -> Iterator[Limit]:
    """One limit for each thing that a person should know."""
    yield from _missing_headers(workspace, {one.spot[0] for one in calls})
    if not has_crates:
        yield from _nothing_alone(workspace)
    if not workspace.builds:
        yield Limit(Origin.SOURCE, LINK_RULES, UNKNOWN_SETTINGS)
        return
    if not workspace.kernel_products and workspace.alone is None and workspace.products:
        yield Limit(Origin.SOURCE, (), USER_ONLY)
    if workspace.alone is not None and not workspace.kernel_products:
        yield Limit(Origin.SOURCE, LINK_RULES, UNKNOWN_SETTINGS)
    yield from _unbuilt(workspace, calls)
    yield from _empty(workspace)
    yield from _unseen(workspace)
    yield from _unset(workspace)
    yield from _united(workspace)
    yield from _made_otherwise(workspace)
    yield from _guessed(workspace)
    yield from _written(workspace)
    yield from _older(workspace)


def _nothing_alone(workspace: Workspace) -> Iterator[Limit]:
    """Files without a project of which a compiler would make no code by themselves."""
    if workspace.alone is None or workspace.kernel_products:
        return
    paths = workspace.alone.paths
    if all(workspace.shelf.sources[path].is_header for path in paths):
        yield Limit(Origin.SOURCE, TEXT_RULES, ONLY_HEADERS)
    elif not any(_has_code(workspace, path) for path in paths):
        yield Limit(Origin.SOURCE, TEXT_RULES, NO_CODE)


def _empty(workspace: Workspace) -> Iterator[Limit]:
    """Drivers of whose code nothing is here: what was not seen is not known to be good."""
    said = {
        limit.site.path
        for limit in workspace.shelf.limits
        if isinstance(limit.site, SourceSite) and set(TEXT_RULES) <= set(limit.rules)
    }
    for product in workspace.kernel_products:
        is_library = all(build.static for build in product.builds)
        if is_library or product.builds[0].file in said:
            continue  # an empty library adds nothing to a driver
        builds = [one for at in range(len(product.builds)) for one in product.closure(at)]
        paths = {path for build in builds for path in build.paths}
        if not any(
            _has_code(workspace, path) for path in _with_included(workspace, product, paths)
        ):
            reason = (
                f"{product.project}: nothing that it compiles holds code, so none was looked at"
            )
            yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(builds[0].file, 1))


def _with_included(workspace: Workspace, product: Product, paths: set[str]) -> Iterator[str]:
    """Compiled files, then sources that they include, as a file that unites others does."""
    yield from sorted(paths)
    for variant in workspace.variants(product):
        for path in variant.program.paths:
            source = workspace.shelf.sources.get(path)
            if path not in paths and source is not None and not source.is_header:
                yield path


def _unseen(workspace: Workspace) -> Iterator[Limit]:
    """Files from which a step of the build's own makes code."""
    told: dict[str, str] = {}
    for product in workspace.kernel_products:
        for at in range(len(product.builds)):
            for build in product.closure(at):
                told.update((path, build.file) for path in build.unseen)
    for path, file in sorted(told.items()):
        reason = f"{file}: a step of its own makes an object of {path}, which was not examined"
        yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(file, 1))


def _unset(workspace: Workspace) -> Iterator[Limit]:
    """What only the environment may set, where the text that is compiled may depend on it."""
    told: dict[tuple[str, str, str], None] = {}
    for product in workspace.kernel_products:
        paths = [path for one in workspace.variants(product) for path in one.program.paths]
        for at in range(len(product.builds)):
            for build in product.closure(at):
                for name, macro in build.unset:
                    held = workspace.space.words.holding(macro.encode(), paths)
                    if not macro or any(True for _ in held):
                        told[build.file, name, macro] = None
    for file, name, macro in told:
        what = f"the value of {macro}" if macro else "definitions"
        reason = (
            f"{file}: $({name}) may hold {what}, and nothing here sets it: check with the value "
            "that the build's environment has, or the built .sys"
        )
        yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(file, 1))


def _written(workspace: Workspace) -> Iterator[Limit]:
    """Files that a step of the build writes, where other files may depend on what they hold."""
    told: dict[tuple[str, str], None] = {}
    for product in workspace.kernel_products:
        if not any(build.written for build in product.builds) and not any(product.linked.values()):
            continue
        paths = {path for one in workspace.variants(product) for path in one.program.paths}
        for at in range(len(product.builds)):
            for build in product.closure(at):
                for path in paths.intersection(build.written):
                    if _is_asked_of(workspace, path, paths):
                        told[build.file, path] = None
    for file in dict.fromkeys(file for file, _ in sorted(told)):
        names = sorted(path for one, path in told if one == file)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        reason = (
            f"{file}: a step of the build may write {', '.join(names[:SHOWN])}{more}, so that what "
            "is compiled may not be what is here: check the built .sys"
        )
        yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(file, 1))


def _is_asked_of(workspace: Workspace, path: str, paths: Collection[str]) -> bool:
    """Whether a file is more than numbers that nothing else which is compiled names."""
    source, words = workspace.shelf.sources.get(path), workspace.space.words
    names = _SETTLED.findall(source.text) if source is not None else []
    if not names or _has_code(workspace, path):
        return True
    others = [one for one in paths if one != path]
    return any(True for name in names for _ in words.holding(name, others))


_SETTLED = re.compile(rb"#[ \t]*(?:define|undef)[ \t]+(\w+)")
"""What a file defines or not: in a remark as well, where steps leave what is switched off."""


def _united(workspace: Workspace) -> Iterator[Limit]:
    """Macros that one file of a unity build defines, and another one reads."""
    told: dict[tuple[str, str], None] = {}
    for product in workspace.kernel_products:
        every = (one for at in range(len(product.builds)) for one in product.closure(at))
        for build in (one for one in every if one.united):
            for path in build.files:
                text, words = workspace.space.text(path), workspace.space.words
                names = set(text.directives.macros) if text is not None else set()
                others = [one for one in build.files if one != path]
                read = {name for name in names if any(words.holding(name, others))}
                read |= names.intersection(OPT_IN) if others else set()
                for name in sorted(read):
                    told[build.file, name.decode("utf-8", "replace")] = None
    for file in dict.fromkeys(file for file, _ in told):
        names_ = [name for one, name in told if one == file]
        more = f" and {len(names_) - SHOWN} more" if len(names_) > SHOWN else ""
        reason = (
            f"{file}: a unity build compiles files together, so that what one of them defines may "
            f"count in the next: {', '.join(names_[:SHOWN])}{more}; which come together is not "
            "followed: build without it, or check the built .sys"
        )
        yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(file, 1))


def _made_otherwise(workspace: Workspace) -> Iterator[Limit]:
    """Precompiled headers that are made with other macros than the files that use them."""
    told: dict[tuple[str, str, str], dict[str, None]] = {}
    for product in workspace.kernel_products:
        variants = workspace.variants(product)
        closures = {
            unit.path: workspace.space.closure(unit)
            for one in variants
            for unit in one.program.compiled
        }
        for build in (one for at in range(len(product.builds)) for one in product.closure(at)):
            made = {one.creates: (path, one) for path, one in build.compiles if one.creates}
            for own, user in build.compiles if made else ():
                path, maker = made.get(user.precompiled, ("", PLAIN))
                ways = maker.macros ^ user.macros if path else frozenset()
                for name in sorted({name for name, _ in ways}):
                    texts = (*closures.get(path, ()), *((own,) if name in maker.defines else ()))
                    if _names(workspace, name, texts):
                        told.setdefault((build.file, path, user.precompiled), {})[name] = None
    for (file, path, header), names in told.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        reason = (
            f"{file}: {path} compiles {header} before with other macros than files that use it: "
            f"{', '.join([*names][:SHOWN])}{more}; which of them count there is not documented: "
            "define them for all, or check the built .sys"
        )
        yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(file, 1))


def _guessed(workspace: Workspace) -> Iterator[Limit]:
    """Libraries of which nothing says in which of several configurations a driver links them."""
    told: dict[tuple[str, str], dict[str, None]] = {}
    for product in workspace.kernel_products:
        for build, library in product.guessed:
            paths = [path for one in workspace.variants(product) for path in one.program.paths]
            for other in workspace.builds:
                if other.project == library.project and other.goes_with(library):
                    ways = {word for word, _ in other.macros ^ library.macros}
                    held = (one for one in sorted(ways) if _names(workspace, one, paths))
                    told.setdefault((build.file, library.file), {}).update(dict.fromkeys(held))
    for (file, path), names in told.items():
        if names:
            reason = (
                f"{file}: nothing says which configuration of {path} it links, and they differ "
                f"in {', '.join([*names][:SHOWN])}: check with the solution, or the built .sys"
            )
            yield Limit(Origin.SOURCE, TEXT_RULES, reason, SourceSite(file, 1))


def _names(workspace: Workspace, macro: str, paths: Collection[str]) -> bool:
    return any(True for _ in workspace.space.words.holding(macro.encode(), paths))


def _has_code(workspace: Workspace, path: str) -> bool:
    """Whether a text may define a function."""
    source = workspace.shelf.sources.get(path)
    return source is not None and any(word in source.text for word in (b"{", b"proc", b"PROC"))


def _older(workspace: Workspace) -> Iterator[Limit]:
    """Projects that are built for older Windows than the report judges."""
    told: set[str] = set()
    for product in workspace.kernel_products:
        for build in product.builds:
            version = build.version
            if version is None or version >= workspace.target or build.project in told:
                continue
            told.add(build.project)
            reason = (
                f"{build.project}: built for {version.label} and later; this report judges "
                f"{workspace.target.label} only (--target-os {version.slug} judges both)"
            )
            yield Limit(Origin.SOURCE, (), reason, SourceSite(build.project, 1))


def _unbuilt(workspace: Workspace, calls: Collection[Kept]) -> Iterator[Limit]:
    alone = workspace.alone
    orphans = [
        path
        for path in workspace.orphans
        if workspace.is_asked(path) and (alone is None or not alone.holds(path))
    ]
    telling = {one.spot[0] for one in calls if one.fact.dead == UNBUILT}
    compiled = {one.spot[0] for one in calls if one.fact.dead != UNBUILT}
    for path in sorted(telling - compiled):
        reason = f"{path}: not compiled by any build here, so it was not judged"
        yield Limit(Origin.SOURCE, (), reason, SourceSite(path, 1))
    projects = [product.project for product in workspace.kernel_products]
    quiet: dict[str, list[str]] = {}
    for path in (path for path in orphans if path not in telling):
        near = projects[nearest(path, projects)] if len(projects) > 1 else ""
        quiet.setdefault(near, []).append(path)
    for near, many in quiet.items():
        more = f" and {len(many) - SHOWN} more" if len(many) > SHOWN else ""
        reason = f"not compiled by any build here: {', '.join(many[:SHOWN])}{more}"
        site = SourceSite(near.partition("#")[0], 1) if near else None
        reason = f"{site.path}: {reason}" if site else reason
        yield Limit(Origin.SOURCE, (), reason, site)


def _missing_headers(workspace: Workspace, telling: set[str]) -> Iterator[Limit]:
    """Headers in quotes that neither the sources nor the kits hold, for each file with calls."""
    seen: set[str] = set()
    for program in workspace.kernel_programs:
        for unit in program.compiled:
            for path in workspace.space.closure(unit):
                if path in seen or path not in telling:
                    continue
                seen.add(path)
                if missing := workspace.space.includes.missing(path, unit.places):
                    names = ", ".join(missing[:SHOWN])
                    reason = f"{path}: headers that are not in the sources: {names}"
                    yield Limit(Origin.SOURCE, (), reason, SourceSite(path, 1))
