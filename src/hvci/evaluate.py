"""The pipeline: a target in, a report out.

Knows the wings of readers and the rules; knows nothing of outputs or the command line.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hvci.errors import InputError
from hvci.excerpts import with_excerpts
from hvci.model import (
    NEWEST,
    Evidence,
    JudgedCall,
    Limit,
    Machine,
    Origin,
    Report,
    Target,
    WindowsVersion,
    newest_for,
)
from hvci.model.judged import CALL_RULES
from hvci.model.record import record
from hvci.rules import executable, joined, judge
from hvci.source import drivers, is_source
from hvci.source.builds.origin import origins

if TYPE_CHECKING:
    from hvci.lists import DriverList
    from hvci.packages.opened import Opened
    from hvci.signing.catalog import Catalog
    from hvci.source.parts import Parts

_SEVERAL = (
    "several drivers here are built under its name and neither its place nor the path of its PDB "
    "tells which of them it is, so it was judged without sources: {}"
)
MAX_BYTES = 256 << 20
"""A larger file is no driver."""


class Sources:
    """Folders or projects that images may have been built from; each is read when it is needed."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        self._read: dict[tuple[str, Machine], Parts] = {}
        self.told: set[str] = set()
        """What reports of images said already, by digest."""

    def of(self, path: str, evidence: Evidence) -> Iterator[Evidence]:
        """What the sources say that an image was built from, for its machine."""
        image = evidence.image
        if image is None:
            return
        debug = image.debug_id.path if image.debug_id else ""
        every = [self._parts(one, image.machine, evidence.target_os) for one in self.paths]
        places = [(parts, at) for parts in every for at in range(len(parts.built))]
        drivers_of = [parts.built[at] for parts, at in places]
        found, is_certain = origins(path, debug, drivers_of)
        uncertain: list[str] = []
        for parts in every:
            mine = [at for one, at in map(places.__getitem__, found) if one is parts]
            told = parts.told_of(mine, is_certain, evidence.target_os)
            uncertain += () if is_certain else told.projects
            if told.evidence is None:
                continue
            for project, alone in told.projects.items():
                # what is left open of the sources is for other machines as well
                if not any(set(one.rules) & set(CALL_RULES) for one in alone.limits):
                    self.told |= {_facts(project, alone), _facts(project, told.evidence)}
            yield told.evidence
        if uncertain:
            limit = Limit(Origin.SOURCE, (), _SEVERAL.format(", ".join(uncertain)))
            yield Evidence(frozenset(), evidence.target_os, limits=(limit,))

    def _parts(self, path: str, machine: Machine, target: WindowsVersion) -> Parts:
        if (path, machine) not in self._read:
            self._read[path, machine] = drivers(path, target, machine=machine)
        return self._read[path, machine]

    def has_told(self, project: str, evidence: Evidence) -> bool:
        """Whether the report of an image says already what the sources of a project say."""
        return bool(self.told) and _facts(project, evidence) in self.told


def _facts(project: str, evidence: Evidence) -> str:
    """What a report of a project's sources is about, whichever configurations are built.

    A digest that is the same in every process.
    """
    settings = {(one.name, one.value) for one in evidence.settings}
    told = _plain((project, evidence.calls, evidence.behaviours, settings))
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    """Facts in an order that does not depend on the hashes of a process."""
    if isinstance(value, Mapping):
        return sorted((repr(key), _plain(each)) for key, each in value.items())
    if isinstance(value, frozenset | set):
        return sorted(repr(_plain(each)) for each in value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        named = [_plain(getattr(value, each.name)) for each in fields(value)]
        return [type(value).__name__, *named]
    return value


@record
class Options:
    """What an evaluation depends on besides the target."""

    target_os: WindowsVersion | None = None
    """The oldest Windows version that the driver must work on; None is the newest that loads
    drivers for its machine."""
    on_server: bool = False
    """That version is one of Windows Server."""
    excerpts: bool = False
    """Show the code of each finding; costs a little and decides nothing."""
    sources: Sources | None = None
    """Where the sources of an image may be: those that build its name are judged with it."""
    verify: bool = False
    """Run the driver in the emulated Driver Verifier too."""
    catalogs: tuple[Catalog, ...] = ()
    """Signed catalogs that may list an image."""
    lists: tuple[DriverList, ...] = ()
    """Block lists and compatibility databases that may name an image."""
    symbols: tuple[str, ...] | None = None
    """Folders with PDBs, besides that of the image; None looks for no symbols at all."""

    @property
    def version(self) -> WindowsVersion:
        """The version that is judged for."""
        return self.target_os or NEWEST


def evaluate(target: str | Path | bytes, options: Options | None = None, name: str = "-") -> Report:
    """Evaluate one driver: an image, given as a path or as bytes, or sources, given as a path.

    `name` is what a report calls an image that is given as bytes. Raises `InputError` when there
    is nothing to evaluate: a missing file, no PE image, a machine or a kind of image that hvci does
    not judge. Anything less becomes a `Limit` in the report.
    """
    options = options or Options()
    if not isinstance(target, bytes) and is_source(target):
        report = evaluate_source(target, options)
        return with_excerpts(report) if options.excerpts else report
    from hvci import binary

    path, data = (name, target) if isinstance(target, bytes) else _read(Path(target))
    if options.target_os is None:
        options = replace(options, target_os=newest_for(binary.machine_of(data)))
    evidence, block = binary.read(data, options.version), None
    if options.on_server:
        evidence = replace(evidence, on_server=True)
    if options.sources is not None:
        evidence = evidence.merged(options.sources.of(path, evidence))
    if options.verify:
        evidence, block = _verified(data, evidence)
    evidence = _with_symbols(evidence, path, options)
    report = report_on(_target(path, data, evidence), evidence)
    if block is not None:
        report = replace(report, verifier=block)
    report = _with_trust(report, data, options)
    return with_excerpts(report, data) if options.excerpts else report


def evaluate_package(
    opened: Iterable[Opened], options: Options
) -> Iterator[tuple[str, Report | Exception]]:
    """Evaluate each driver of a package with its catalogs: path, and report or what failed."""
    from hvci.packages.opened import Refused
    from hvci.signing.catalog import catalogs_of

    for one in opened:
        if isinstance(one, Refused):
            yield one.path, one.error
            continue
        try:
            found = tuple(catalogs_of(one.catalogs))
            with_them = replace(options, catalogs=(*options.catalogs, *found))
            report = evaluate(one.data, with_them, one.path)
        except MemoryError:
            yield one.path, InputError("takes more memory than there is")
        except Exception as error:
            yield one.path, error
        else:
            yield one.path, replace(report, package=one.package)


def _with_trust(report: Report, data: bytes, options: Options) -> Report:
    """With who signed an image, and what lists say of it."""
    from hvci import signing

    signatures = signing.read(data, options.version, options.catalogs)
    if not options.lists:
        return replace(report, trust=signatures.trust)
    from hvci import lists

    answers = lists.ask(options.lists, signatures, report.target.path, report.target_os)
    return replace(
        report,
        trust=signatures.trust,
        lists=answers,
        blocklisted=lists.blocklisted(answers),
    )


def _with_symbols(evidence: Evidence, path: str, options: Options) -> Evidence:
    """Name functions and lines where there is a PDB of the image."""
    if options.symbols is None:
        return evidence
    from hvci.binary.symbols import with_symbols

    beside, also = (
        ((), "") if path == "-" else ((str(Path(path).parent),), f"{Path(path).stem}.pdb")
    )
    named = with_symbols(evidence, (*beside, *options.symbols), bool(options.symbols), also)
    return _with_libraries(named)


def _with_libraries(evidence: Evidence) -> Evidence:
    """Tell libraries by the names and places that were not known when the code was read."""
    if not evidence.calls:
        return evidence
    from hvci.binary.calls.libraries import with_names

    return with_names(evidence)


def _verified(data: bytes, evidence: Evidence) -> tuple[Evidence, dict[str, object]]:
    """What the code shows together with what a run of it shows, and the run itself."""
    from hvci import verifier
    from hvci.verifier.block import to_block
    from hvci.verifier.merge import merge

    begin = time.perf_counter()
    run = verifier.run(data, verifier.VerifierOptions(target_os=evidence.target_os))
    merged, agreement = merge(evidence, run)
    merged = _with_libraries(merged)
    merged = replace(merged, seconds={**merged.seconds, "verifier": time.perf_counter() - begin})
    return merged, to_block(run, agreement.block())


def evaluate_drivers(path: str | Path, options: Options) -> list[Report]:
    """Evaluate sources, each driver that they build on its own.

    A driver whose image was evaluated with these sources before (`Options.sources`) is left out.
    """
    reports = []
    for part in drivers(path, options.version).each(options.version, str(path)):
        if options.sources is None or not options.sources.has_told(part.project, part.evidence):
            named = Target(part.path, part.sha256, part.size_bytes, "source")
            reports.append(report_on(named, part.evidence))
    return [with_excerpts(one) for one in reports] if options.excerpts else reports


def evaluate_source(
    path: str | Path, options: Options, texts: Mapping[str, bytes] | None = None
) -> Report:
    """Evaluate sources; `texts` stand for files that are not written yet."""
    found = drivers(path, options.version, texts)
    target = Target(str(path), *found.digest(), "source")
    return report_on(target, found.reading.evidence(options.version))


def _read(path: Path) -> tuple[str, bytes]:
    """The bytes of a file, bounded."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes is more than a driver image can have")
        return str(path), path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _target(path: str, data: bytes, evidence: Evidence) -> Target:
    machine = evidence.image.machine if evidence.image else None
    return Target(path, hashlib.sha256(data).hexdigest(), len(data), "image", machine)


def report_on(target: Target, evidence: Evidence) -> Report:
    """Judge one target's evidence; a call that its image and its sources show is one call."""
    results, calls = judge(evidence), evidence.calls
    if evidence.image is not None and Origin.SOURCE in evidence.origins:
        results, told = joined(results)
        calls = tuple(call for call in calls if call.site not in told)
    return Report(
        target,
        evidence.target_os,
        results,
        tuple(JudgedCall(call, executable(call)) for call in calls),
        evidence.limits,
        evidence.image,
        seconds=evidence.seconds,
    )
