"""The questions about what to do first: which rows come first is told from indexes alone.

Only for those few is anything else read. Knows tables and views; knows nothing of remedies.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    union_all,
)

from hvci.fleet.asked import (
    FAILS,
    FATE,
    MOST,
    Statement,
    drivers,
    in_view,
    of_one_file,
    of_packages,
    present,
)
from hvci.fleet.rows import NOTHING
from hvci.fleet.schema import file, package, result, seen
from hvci.fleet.views import View

HIDDEN = "raw_"
"""What a column is called that is only read to make others."""
_FOR_REMEDY = ("hardware_ids", "storage", "staged")
_TIERS = (
    result.c.loads == "no",
    and_(result.c.runs == "no", result.c.loads != "no"),
    and_(result.c.verdict == "incompatible", result.c.loads != "no", result.c.runs != "no"),
)
"""Incompatible drivers by their fate; each reads one index in its order."""
_STARTS_FIRST = case((package.c.start == "boot", 0), else_=1)


def update_first(view: View, _: str) -> Statement:
    """What does not load comes before what breaks and what only fails the test; of those first
    what starts with Windows, then by files.
    """
    candidates = _candidates(view)
    at_boot = result.c.id.in_(_at_boot(view))
    rest = (result.c.failures.desc(), result.c.id.desc())
    order = (FATE, case((at_boot, 0), else_=1), candidates.c.files.desc(), *rest)
    worst = (
        select(result.c.id, candidates.c.files)
        .join(candidates, candidates.c.result_id == result.c.id)
        .where(result.c.verdict == "incompatible")
        .order_by(*order)
        .limit(bindparam(MOST))
        .subquery("worst")
    )
    named = [
        of_one_file(view, package.c[name], package.c.id, "package_id").label(name)
        for name in ("inf", "published")
    ]
    starts = case((at_boot, "boot"), else_="-").label("starts")
    found = drivers(view).add_columns(*named, starts).join(worst, worst.c.id == result.c.id)
    return found.order_by(FATE, starts.desc(), worst.c.files.desc(), *rest)


def _candidates(view: View) -> Any:  # noqa: ANN401 (SQLAlchemy's subqueries)
    """Results among which the first ones are, each with its files.

    Of those that were met once and do not start with Windows, only the first of each fate by
    failures can be among the first of all.
    """
    once = literal(1).label("files")
    at_boot = select(_at_boot(view).subquery().c.result_id, once)
    tiers = [
        select(
            select(result.c.id.label("result_id"))
            .where(tier, present(view))
            .order_by(result.c.failures.desc(), result.c.id.desc())
            .limit(bindparam(MOST))
            .subquery(f"tier_{number}")
            .c.result_id,
            once,
        )
        for number, tier in enumerate(_TIERS)
    ]
    parts = union_all(_met_again(view), at_boot, *tiers).subquery("parts")
    files = func.max(parts.c.files).label("files")
    return select(parts.c.result_id, files).group_by(parts.c.result_id).subquery("candidates")


def _met_again(view: View) -> Select[Any]:
    """Results of more than one file, from one pass over the index of results."""
    return (
        select(seen.c.result_id, func.count().label("files"))
        .where(in_view(view), seen.c.result_id.is_not(None))
        .group_by(seen.c.result_id)
        .having(func.count() > 1)
    )


def _at_boot(view: View) -> Select[Any]:
    """Results of drivers that start with Windows."""
    return select(seen.c.result_id).where(
        seen.c.package_id.in_(select(package.c.id).where(package.c.start == "boot")),
        in_view(view),
    )


def boot(view: View, _: str) -> Statement:
    """Drivers of services that start with Windows and are not known to work, boot drivers first."""
    starts = package.c.start.in_(("boot", "system"))
    then = (func.coalesce(result.c.verdict, NOTHING), func.coalesce(result.c.failures, 0).desc())
    return _first(view, starts, result.c.verdict.is_distinct_from("compatible"), then)


def installed(view: View, _: str) -> Statement:
    """Installed drivers that do not load or break, boot drivers first, and what a remedy needs."""
    needed = [package.c[name].label(f"{HIDDEN}{name}") for name in _FOR_REMEDY]
    needed += [result.c[name].label(f"{HIDDEN}{name}") for name in ("loads", "runs")]
    return _first(view, package.c.installed, FATE < FAILS, ()).add_columns(*needed)


def _first(
    view: View,
    packages: ColumnElement[bool],
    results: ColumnElement[bool],
    then: tuple[ColumnElement[Any], ...],
) -> Statement:
    """The first files of some packages; whatever else is said of them is read for those only.

    The packages choose the rows of `seen`, by the index that holds their results as well.
    """
    order = (_STARTS_FIRST, FATE, *then, file.c.path, seen.c.scan_id)
    few = (
        select(seen.c.scan_id, seen.c.file_id)
        .select_from(seen.join(package).join(file).outerjoin(result))
        .where(seen.c.package_id.in_(select(package.c.id).where(packages)))
        .where(in_view(view), results)
        .order_by(*order)
        .limit(bindparam(MOST))
        .subquery("few")
    )
    same = and_(seen.c.scan_id == few.c.scan_id, seen.c.file_id == few.c.file_id)
    return of_packages(view).join(few, same).order_by(*order)
