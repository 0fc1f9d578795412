"""Driver crates: what Rust text asks of the kernel, with no toolchain installed.

Theory of operation: Cargo.toml tells the driver model and the features. Every call of a catalogued
DDI in the text of a driver crate, and of the crates that it links from folders, is found, written
out or in `call_unsafe_wdf_function_binding!`. It is judged in the configurations of the default
features that compile it; what only others compile is told (`rust_configs`). A deciding argument is
followed as `rust_values` says; anything else is undecided. What Rust code does besides calls is a
limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvci import catalog
from hvci.model import DdiCall, Limit, Origin, SourceSite
from hvci.model.judged import BEHAVIOUR_RULES, CALL_RULES, LINK_RULES, TEXT_RULES
from hvci.source.rust.calls import Crate, Other
from hvci.source.rust.cargo import MAX_FILES, cargos, image_name, model, owner, texts
from hvci.source.rust.cfg import RustText
from hvci.source.rust.configs import DEFAULT, MACHINES, Asking, configurations, target
from hvci.source.rust.manifests import MAX_CRATES, Manifest, Manifests, inner
from hvci.source.rust.unread import (
    KITS,
    assembly_files,
    elsewhere,
    linked_by,
    looked_up,
    missing,
    pasted,
    renamed,
    taken_in,
)
from hvci.source.text.disk import is_file, is_folder
from hvci.source.text.files import tidy
from hvci.source.text.text import MAX_BYTES, Source

_ASIDE = ("tests", "benches", "examples")
"""Folders of a crate that no driver is built from."""
SHOWN = 8
"""Calls in one sentence."""


@dataclass
class DriverCrate:
    """What one driver crate asks for."""

    path: str
    """Its manifest, or the file where there is none."""
    name: str
    """What its image is called, in lower case."""
    files: frozenset[str]
    calls: list[DdiCall] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)


@dataclass
class Crates:
    """What the driver crates of a target ask for."""

    crates: list[DriverCrate] = field(default_factory=list)
    others: list[Limit] = field(default_factory=list)
    """What is to be said of crates that build no driver."""

    @property
    def calls(self) -> list[DdiCall]:
        """The calls of all drivers; one of a library that some of them link alike is one."""
        seen: set[tuple[object, ...]] = set()
        found = []
        for call in (one for crate in self.crates for one in crate.calls):
            values = tuple(sorted((name, one.possible) for name, one in call.arguments.items()))
            key = (call.site, call.ddi, call.dead, call.doubt, call.builds, values)
            if key not in seen:
                seen.add(key)
                found.append(call)
        return found

    @property
    def limits(self) -> list[Limit]:
        """All that was not examined."""
        return [*self.others, *(one for crate in self.crates for one in crate.limits)]


def read_crates(path: Path, texts: Mapping[str, bytes], machine: str | None = None) -> Crates:
    """Read every driver crate in a folder, or that of one file."""
    return _Reader(texts, machine).read(path)


class _Reader:
    """Reads the crates of one target."""

    def __init__(self, texts: Mapping[str, bytes], machine: str | None) -> None:
        self.texts, self.machine = texts, machine
        self.manifests = Manifests()
        self.found = Crates()
        self._crates: dict[Path, Crate] = {}
        self._files: dict[Path, list[Path]] = {}
        self._lost: dict[Path, list[Limit]] = {}
        self._cut: dict[Path, Limit] = {}
        """Crates of which not every file is looked at."""

    def read(self, path: Path) -> Crates:
        """Every driver crate of a target; a library counts in the drivers that link it."""
        found, left_out = cargos(path)
        if left_out is not None:
            why = f"more than {MAX_FILES} crates; this one and those behind it were not looked at"
            self.found.others.append(_limit(left_out, TEXT_RULES, f"{why}: check them one by one"))
        every = [(one, self._kind(one)) for one in found]
        linked = self._linked([one for one, kind in every if kind == "driver"])
        by_user = self._linked([one for one, kind in every if kind == "user"]) - linked
        for cargo, kind in every:
            manifest = self.manifests.get(cargo)
            if kind == "driver" and manifest is not None:
                if not self._is_library(manifest) or cargo not in linked | by_user:
                    self._driver(manifest)
                elif cargo in by_user:
                    why = "only UMDF driver crates link this crate: it runs in user mode"
                    self.found.others.append(_limit(cargo, (), why))
        if not is_folder(path) and path.suffix.lower() == ".rs" and not self.found.limits:
            self._alone(path)
        return self.found

    def _kind(self, cargo: Path) -> str:
        """Say "driver", "user" or nothing, and keep what is to be said of others."""
        try:
            manifest = Manifest(cargo)
        except (OSError, ValueError) as error:
            why = f"this crate could not be read: {_why(cargo, error)}"
            self.found.others.append(_limit(cargo, TEXT_RULES, why))
            return ""
        self.manifests.keep(manifest)
        table = manifest.table
        if "package" not in table or inner(table, "lib").get("proc-macro") is True:
            return ""
        kind = manifest.driver.get("driver_type", "")
        if kind.upper() == "UMDF":
            why = "a UMDF driver crate: it runs in user mode, where memory integrity guards nothing"
            self.found.others.append(_limit(cargo, (), why))
            return "user"
        kits = any(one.name in KITS for one in manifest.dependencies(_on_x64))
        if kits or model({"package": table["package"]}):
            return "driver"
        is_cdylib = _is_cdylib(manifest)
        is_driver = (kind and is_cdylib) or ((kind or is_cdylib) and self._speaks(cargo))
        return "driver" if is_driver else ""

    def _linked(self, drivers: list[Path]) -> set[Path]:
        """The crates that some link, without themselves."""
        found: set[Path] = set()
        for one in drivers:
            manifest = self.manifests.get(one)
            for on in configurations(self.manifests, manifest, self.machine) if manifest else ():
                found |= set(on.linked) - {one}
        return found

    def _is_library(self, manifest: Manifest) -> bool:
        """Whether a crate is only a part of what links it."""
        return not _is_cdylib(manifest) and not model({"package": manifest.table["package"]})

    def _speaks(self, cargo: Path) -> bool:
        sources = [self._source(one) for one in self._own(cargo)]
        return cargo in self._cut or any(
            one is not None and _NAMED.search(one.text) for one in sources
        )

    def _own(self, cargo: Path) -> list[Path]:
        """The files of a crate that a driver may be built from."""
        if cargo not in self._files:
            aside = {cargo.parent / one for one in _ASIDE}
            named = inner(self.manifests_table(cargo), "package").get("build")
            script = cargo.parent / (named if isinstance(named, str) else "build.rs")
            found, left_out = texts(cargo)
            self._files[cargo] = [
                one
                for one in found
                if one != script and not aside & set(one.parents) and owner(one) == cargo
            ]
            if left_out is not None:
                why = f"its folder holds more than {MAX_FILES} Rust files; {tidy(left_out)} and "
                why += "those behind it were not looked at: keep what it does not compile elsewhere"
                self._cut[cargo] = _limit(cargo, TEXT_RULES, why)
        return self._files[cargo]

    def manifests_table(self, cargo: Path) -> Mapping[str, object]:
        """What one manifest says."""
        manifest = self.manifests.get(cargo)
        return manifest.table if manifest is not None else {}

    def _source(self, path: Path) -> Source | None:
        name = tidy(path)
        try:
            raw = self.texts.get(name) or (path.read_bytes() if is_file(path) else None)
        except OSError:
            return None
        return Source(name, raw) if raw is not None and len(raw) <= MAX_BYTES else None

    def _crate(self, key: Path, files: list[Path], roots: list[str]) -> Crate:
        """The text of one crate, read once for all drivers that link it."""
        if key not in self._crates:
            sources, lost = [], []
            for path in files:
                source = self._source(path)
                if source is None:
                    lost.append(_limit(path, TEXT_RULES, "this file could not be read"))
                else:
                    sources.append(source)
            self._crates[key], self._lost[key] = Crate(sources, roots), lost
        return self._crates[key]

    def _driver(self, manifest: Manifest) -> None:
        """One driver crate with all that it links from folders."""
        cargo, kind = manifest.path, manifest.driver.get("driver_type", "")
        words = f"a Rust {kind} driver crate" if kind else "a Rust driver crate"
        every = configurations(self.manifests, manifest, self.machine)
        parts = list(dict.fromkeys(path for on in every for path in on.linked))
        parts = [one for one in parts if one == cargo or not self._is_for_the_compiler(one)]
        paths = {tidy(one) for part in parts for one in (part, *self._own(part))}
        crate = DriverCrate(
            tidy(cargo), image_name(manifest.table, cargo.parent.name), frozenset(paths)
        )
        asking = Asking(self.manifests, manifest)
        told: dict[str, list[DdiCall]] = {}
        others = [self._other(part, parts) for part in parts]
        for part, other in zip(parts, others, strict=True):
            found = other.crate.found(part, asking, every, [one for one in others if one != other])
            crate.calls += found.calls
            crate.limits += (*self._lost[part], *found.lost)
            crate.limits += [self._cut[part]] if part in self._cut else []
            for label, call in found.told:
                told.setdefault(label, []).append(call)
            crate.limits += self._unread(part, other.crate)
        crate.limits += self._not_linked(cargo)
        for label, calls in told.items():
            crate.limits.append(_limit(cargo, (), _told(label, calls)))
        self._finish(crate, f"{tidy(cargo)}: {words}")

    def _unread(self, cargo: Path, crate: Crate) -> Iterator[Limit]:
        """What belongs to a crate and is not read."""
        name = inner(self.manifests_table(cargo), "package").get("build")
        script = self._source(cargo.parent / (name if isinstance(name, str) else "build.rs"))
        made = linked_by(script.text.decode("utf-8", "replace")) if script is not None else ""
        if made and name is not False:
            yield _limit(cargo, TEXT_RULES, f"its build script links what is not read ({made})")
        said = script.text.decode("utf-8", "replace") if script is not None else ""
        known = {one.source.path for one in crate.texts}
        for text, offset, shown in taken_in(crate.texts, known, said):
            why = f"what {shown} takes in is not read: check the built .sys"
            yield _place(text, offset, why)
        for text, offset, routine in pasted(crate.texts):
            why = f"a macro may paste the name {routine} together, and calls by it are not "
            yield _place(text, offset, f"{why}followed: write the name out")
        yield from self._elsewhere(cargo)
        for text, offset, routine in renamed(crate.texts):
            why = f"{routine} is called by another name (link_name) or in assembly; not followed"
            yield _place(text, offset, why)
        for text, offset, routine in looked_up(crate.texts):
            why = f"{routine} is named in a string, and this crate looks routines up; not followed"
            yield _place(text, offset, why)
        for text, offset, file in assembly_files(crate.texts):
            yield _place(text, offset, f"the assembly in {file} is not read")
        for text, offset, module in missing(crate.texts, crate.edges.roots):
            yield _place(text, offset, f"the module {module} is in no file here")

    def _elsewhere(self, cargo: Path) -> Iterator[Limit]:
        """The crates whose text is not here: a repository of somebody's own may ask for memory."""
        manifest = self.manifests.get(cargo)
        on = manifest.turned_on(DEFAULT)[1] if manifest is not None else {}
        away = elsewhere(manifest.dependencies(_on_x64), on) if manifest is not None else []
        for one in (one for one in away if one.is_of_git):
            why = f"it links {one.name} from a repository, and what that asks for is not known: "
            yield _limit(cargo, CALL_RULES, f"{why}put its text beside this crate")
        if others := ", ".join(one.name for one in away if not one.is_of_git):
            yield _limit(cargo, (), f"crates of a registry are not read: {others}")

    def _other(self, part: Path, parts: list[Path]) -> Other:
        """A crate with the names that it has in the text of those that link it."""
        table = self.manifests_table(part)
        said = (inner(table, "package").get("name"), inner(table, "lib").get("name"))
        names = {one for one in said if isinstance(one, str)}
        for one in parts:
            manifest = self.manifests.get(one)
            for each in manifest.dependencies(_on_x64) if manifest is not None else ():
                names |= {each.name} if each.manifest == part else set()
        made = self._crate(part, self._own(part), _roots(part, table))
        return Other(part, frozenset(one.replace("-", "_").encode() for one in names), made)

    def _not_linked(self, cargo: Path) -> Iterator[Limit]:
        """The crates that a driver links by default and that could not be read."""
        self.manifests.lost.clear()
        self.manifests.left_out.clear()
        self.manifests.linked(cargo, DEFAULT, _on_x64)
        for lost in sorted(self.manifests.lost):
            why = f"it links {tidy(lost)}, which could not be read: its calls are not known"
            yield _limit(cargo, TEXT_RULES, why)
        for more in sorted(self.manifests.left_out):
            why = f"it links more than {MAX_CRATES} crates; {tidy(more)} and others were not "
            yield _limit(cargo, TEXT_RULES, f"{why}looked at: check the built .sys")

    def _alone(self, path: Path) -> None:
        """A file that no crate holds: everything in it may be compiled."""
        crate = DriverCrate(tidy(path), path.stem.lower(), frozenset((tidy(path),)))
        found = self._crate(path, [path], []).everything()
        crate.calls += found.calls
        crate.limits += (*self._lost[path], *found.lost)
        self._finish(crate, f"{tidy(path)}: no Cargo.toml above it")

    def _is_for_the_compiler(self, cargo: Path) -> bool:
        return inner(self.manifests_table(cargo), "lib").get("proc-macro") is True

    def _finish(self, crate: DriverCrate, kind: str) -> None:
        """Say what was not looked at."""
        reason = "what its code does besides calls of the kernel is not read; check the built .sys"
        site = SourceSite(crate.path, 1)
        rules = (*BEHAVIOUR_RULES, *LINK_RULES)
        crate.limits.append(Limit(Origin.SOURCE, rules, f"{kind}; {reason}", site))
        self.found.crates.append(crate)


def _on_x64(key: str, value: str | None) -> bool | None:
    return target(MACHINES["x64"], key, value)


_NAMED = re.compile(rb"\b(?:Ex|Mm|Zw|Nt|Wdf|Flt|FsRtl|Io|Ps|Ndis)[A-Z]\w+")


def _why(cargo: Path, error: Exception) -> str:
    return str(error) if is_file(cargo) else "its manifest is no regular file"


def _is_cdylib(manifest: Manifest) -> bool:
    kinds = inner(manifest.table, "lib").get("crate-type", ())
    return isinstance(kinds, (list, tuple)) and "cdylib" in kinds


def _roots(cargo: Path, table: Mapping[str, object]) -> list[str]:
    """The files that the compiler is started with."""
    named = [inner(table, "lib").get("path")]
    bins = table.get("bin", ())
    named += [inner(one).get("path") for one in bins] if isinstance(bins, list) else []
    named += ["src/lib.rs", "src/main.rs"]
    return [tidy(cargo.parent / one) for one in named if isinstance(one, str)]


def _told(label: str, calls: list[DdiCall]) -> str:
    """Say what a configuration that is not judged compiles more."""
    shown = []
    for call in calls[:SHOWN]:
        ddi = catalog.ddis()[call.ddi]
        value = call.arguments.get(ddi.deciding or "")
        known = ", ".join(map(ddi.rule.spell, sorted(value.possible)[:3])) if value else ""
        place = f"{call.site.path}:{call.site.line}" if isinstance(call.site, SourceSite) else ""
        shown.append(f"{call.ddi} at {place}" + (f" ({ddi.deciding} {known})" if known else ""))
    more = f" and {len(calls) - SHOWN} more" if len(calls) > SHOWN else ""
    what = ", ".join(shown)
    return f"{label} (not the default, so not judged) these calls differ: {what}{more}"


def _place(text: RustText, offset: int, reason: str) -> Limit:
    line, column = text.source.position(offset)
    path = text.source.path
    site = SourceSite(path, line, column)
    return Limit(Origin.SOURCE, TEXT_RULES, f"{path}:{line}: {reason}", site)


def _limit(path: Path, rules: tuple[str, ...], reason: str) -> Limit:
    site = SourceSite(tidy(path), 1)
    return Limit(Origin.SOURCE, rules, f"{tidy(path)}: {reason}", site)
