"""Evaluates the targets of a command one after the other; a bad one never stops the rest.

Knows how to get a report for a target; prints nothing but progress, and that on a terminal only.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvci.cli.lacking import Lacking
from hvci.errors import InputError
from hvci.evaluate import Options, Sources, evaluate, evaluate_drivers, evaluate_package
from hvci.model import Report
from hvci.packages.kinds import is_package, kind_of_file
from hvci.packages.marks import is_disk
from hvci.policy import Policy
from hvci.policy.paths import excludes
from hvci.report import Document, TargetError, from_json
from hvci.targets import STDIN, Found, Kind, Missing, find, read_bytes

if TYPE_CHECKING:
    from hvci.packages.beside import Beside

_NONE = Policy()
_MOST_NAMED = 5
_OF_INF = "INF "
"""Begins what is told of an INF and is no error."""
MOST_ARCHIVES = 1000
"""Archives of folders that are opened in one run; `hvci scan` has no such bound."""


def gather(
    words: Iterable[str],
    options: Options,
    policy: Policy = _NONE,
    evaluated: Evaluated | None = None,
) -> Document:
    """Evaluate every target that the words lead to and the policy does not exclude, in the order
    given.

    `evaluated` does so for all targets in another way than here and one after the other.
    """
    targets: list[Found | Missing] = []
    excluded: list[Found | Missing] = []
    given = tuple(words)
    for target in find(given, is_package):
        (excluded if excludes(policy, target.path) else targets).append(target)
    packages = Packages([one.path for one in targets if _is_package(one)])
    if sources := _sources(targets):
        options = replace(options, sources=Sources(sources))
    found = (evaluated or _evaluated)(targets, options, packages)
    packages.tell(found, {one.path for one in targets if isinstance(one, Missing)})
    ordered = [found[target.path] for target in targets]
    reports = tuple(report for document in ordered for report in document.reports)
    errors = tuple(error for document in ordered for error in document.errors)
    notices = (*_left_out(policy, excluded), *_of_windows(given), *_told(ordered))
    return Document(reports, errors, tuple(dict.fromkeys(notices)))


def _of_windows(words: Iterable[str]) -> Iterator[str]:
    """What a folder with a Windows is worth another look for."""
    from hvci.installed.tree import of_windows

    for word in words:
        with contextlib.suppress(InputError, OSError):
            if Path(word).is_dir() and of_windows(Path(word)) is not None:
                yield (
                    f"{word} has a Windows in it: --installed looks at the drivers of its "
                    "services, wherever they lie, and tells packages and what to do"
                )


def _told(documents: list[Document]) -> Iterator[str]:
    """What there is to say besides reports and errors; of INFs that lack something only a few."""
    lacking = [text for one in documents for text in one.notices if text.startswith(_OF_INF)]
    yield from (text for one in documents for text in one.notices if text not in lacking)
    yield from lacking[:_MOST_NAMED]
    if rest := len(lacking[_MOST_NAMED:]):
        yield f"{rest} more INFs name files that are not where they say"


def _left_out(policy: Policy, targets: list[Found | Missing]) -> Iterator[str]:
    """What nobody looked at because the policy says so."""
    if targets:
        names = ", ".join(one.path for one in targets[:_MOST_NAMED])
        more = " ..." * (len(targets) > _MOST_NAMED)
        count = f"{len(targets)} target{'s' * (len(targets) > 1)}"
        yield f"{policy.file}: `exclude` leaves {count} out: {names}{more}"


class Packages:
    """INFs and archives that were met in folders: nobody named them, so nothing in them is no news.

    An INF answers for the drivers that are found anyway; an archive holds drivers of its own.
    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.read: int | None = None
        """INFs that were read elsewhere."""
        self.archives = [path for path in paths if not path.lower().endswith(".inf")]
        self._left = set(self.archives[MOST_ARCHIVES:])
        self.lacking = Lacking()

    @cached_property
    def beside(self) -> Beside | None:
        """What the INFs say, read when that is asked for."""
        infs = [path for path in self.paths if path.lower().endswith(".inf")]
        if not infs:
            return None
        from hvci.packages.beside import Beside

        beside = Beside()
        for path in infs:
            with contextlib.suppress(InputError, OSError):
                beside.add(Path(path))
        return beside

    @property
    def infs(self) -> int:
        """INFs of drivers that were read."""
        if self.read is not None:
            return self.read
        return self.beside.read if self.beside else 0

    def inside(self, path: str, options: Options) -> Document:
        """What there is to say of a package of a folder."""
        from hvci.packages.opened import NoDriver

        if path.lower().endswith(".inf"):
            return self._of_inf(path)
        if path not in self.archives or path in self._left:
            return Document()
        try:
            return _package(path, options)
        except NoDriver:
            return Document()

    def _of_inf(self, path: str) -> Document:
        """What an INF names and its folder lacks."""
        wrong = self.beside.wrong_with(path) if self.beside else ()
        news = list(self.lacking.news(Path(path), wrong))
        text, other = (
            "; ".join(dict.fromkeys(one.text for one in news if one.is_error is is_error))
            for is_error in (True, False)
        )
        errors = (TargetError.of(path, InputError(text)),) if text else ()
        return Document(errors=errors, notices=(f"{_OF_INF}{path}: {other}",) if other else ())

    def tell(self, found: dict[str, Document], missing: set[str]) -> None:
        """Say how many were opened; a folder whose packages hold drivers is not empty."""
        full = [path for path in self.archives if found[path].reports or found[path].errors]
        for path in missing:
            if any(Path(path) in Path(each).parents for each in full):
                found[path] = Document()
        met = [one.target.path for each in found.values() for one in each.reports]
        met += [one.path for each in found.values() for one in each.errors]
        for lacking, text in self.lacking.late_news(met):
            told = TargetError.of(lacking, InputError(text))
            before = found.get(lacking, Document())
            found[lacking] = replace(before, errors=(*before.errors, told))
        parts = [f"{self.infs} INFs read"] if self.infs else []
        opened = len(self.archives) - len(self._left)
        parts += [f"{opened} archives opened"] if opened else []
        if self._left:
            first, number = self.archives[MOST_ARCHIVES], len(self._left)
            error = InputError(
                f"not opened, and {number - 1} archives behind it: a run opens {MOST_ARCHIVES} "
                "that nobody named; name them, or use hvci scan"
            )
            found[first] = Document(errors=(TargetError.of(first, error),))
        if parts:
            click.echo(f"hvci: {', '.join(parts)}", err=True)


def _is_package(target: Found | Missing) -> bool:
    return isinstance(target, Found) and target.kind is Kind.PACKAGE


def _evaluated(
    targets: list[Found | Missing], options: Options, packages: Packages
) -> dict[str, Document]:
    """What there is to say about each target; an interrupt leaves the rest without a report."""
    found: dict[str, Document] = {}
    try:
        for target in _with_progress(sorted(targets, key=is_source)):
            found[target.path] = document_of(target, options, packages)
    except KeyboardInterrupt:
        interrupted(found, targets)
    return found


def interrupted(found: dict[str, Document], targets: list[Found | Missing]) -> None:
    """Say for which targets there was no time."""
    done, total = len(found), len(targets)
    click.echo(f"\nhvci: interrupted after {done} of {total} targets", err=True)
    for target in targets:
        error = TargetError.interrupted(target.path, done, total)
        found.setdefault(target.path, Document(errors=(error,)))


def is_source(target: Found | Missing) -> bool:
    """Sources come after the images, which say all that their sources would."""
    return isinstance(target, Found) and target.kind is Kind.SOURCE


def document_of(target: Found | Missing, options: Options, packages: Packages) -> Document:
    """What there is to say about one target, whatever is wrong with it."""
    try:
        return documents(target, options, packages)
    except Exception as error:
        return Document(errors=(TargetError.of(target.path, error),))


def _sources(targets: Iterable[Found | Missing]) -> tuple[str, ...]:
    """The targets that are sources: an image that they build is reported with them."""
    return tuple(target.path for target in targets if is_source(target))


def documents(target: Found | Missing, options: Options, packages: Packages) -> Document:
    """What there is to say about one target; raises whatever is wrong with it."""
    if isinstance(target, Missing):
        raise target.error
    if target.kind is Kind.REPORT:
        return saved(target.path)
    if target.path == STDIN:
        return Document((evaluate(read_bytes(STDIN), options),))
    if target.kind is Kind.SOURCE:
        return Document(tuple(evaluate_drivers(target.path, options)))
    if target.kind is Kind.PACKAGE:
        return packages.inside(target.path, options)
    if target.path.lower().endswith(".inf") or kind_of_file(Path(target.path)):
        return _package(target.path, options)
    if is_disk(target.path):
        from hvci.cli.installed import look

        return look([target.path], options)
    return Document((_image(target.path, options, packages.beside),))


def _image(path: str, options: Options, beside: Beside | None) -> Report:
    """The report of a driver, with what an INF of its folder says."""
    said = beside.of(path) if beside else None
    if said is None:
        return evaluate(path, options)
    from hvci.packages.opened import bounded
    from hvci.signing.catalog import catalogs_of

    catalogs = catalogs_of((each, bounded(Path(each))) for each in said.catalogs)
    with_them = replace(options, catalogs=(*options.catalogs, *catalogs))
    return replace(evaluate(path, with_them), package=said.package)


def _package(path: str, options: Options) -> Document:
    """What there is to say about each driver of a package."""
    from hvci.packages.opened import open_archive, open_inf

    opener = open_inf if path.lower().endswith(".inf") else open_archive
    return Document.of(evaluate_package(opener(Path(path)), options))


def saved(path: str) -> Document:
    """Read a saved report."""
    text = read_bytes(path).decode("utf-8-sig", "replace")
    try:
        document = from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not (document.reports or document.errors):
        raise InputError(f"{path}: a saved report of no driver")
    return document


def _with_progress(targets: list[Found | Missing]) -> Iterator[Found | Missing]:
    """Count on stderr while a person watches a long run."""
    for number, target in enumerate(targets, start=1):
        show_progress(number, len(targets))
        yield target
    end_progress(len(targets))


def show_progress(number: int, total: int) -> None:
    """Tell whoever watches how far a long run is."""
    if total > 1 and is_watched():
        click.echo(f"\r{number}/{total}", nl=False, err=True)


def end_progress(total: int) -> None:
    """Take that away."""
    if total > 1 and is_watched():
        click.echo("\r" + " " * 20 + "\r", nl=False, err=True)


def is_watched() -> bool:
    """Whether a person sees what goes to stderr."""
    return sys.stderr.isatty()


Evaluated = Callable[[list[Found | Missing], Options, Packages], dict[str, Document]]
"""Evaluates targets, by path."""
