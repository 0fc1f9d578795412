"""The tables of the results database; every statement of the fleet is built of these.

A result belongs to content and rules, never to a path: many files can share one. What is long
stands in a table of its own, so that questions read short rows only.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 5
"""Of the layout; a database says which one it has."""

metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only in a column that is declared INTEGER."""
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Ordered by bytes everywhere, so that the first rows of an answer are the same."""


def _id() -> Column[int]:
    return Column("id", _NUMBER, primary_key=True)


def _to(column: str, primary: bool = False, empty: bool = False) -> Column[int]:
    name = column.replace(".", "_")
    return Column(name, _NUMBER, ForeignKey(column), primary_key=primary, nullable=empty)


def _text(name: str, *, empty: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=empty)


about = Table("about", metadata, Column("name", TEXT, primary_key=True), _text("value"))
"""`layout`: the version of the tables; `by`: which hvci made them."""

dictionary = Table("dictionary", metadata, _id(), Column("data", LargeBinary, nullable=False))
"""What reports are compressed with; kept here, so that every later hvci can read them."""

rules = Table(
    "rules",
    metadata,
    _id(),
    Column("digest", TEXT, nullable=False, unique=True),
    _text("hvci"),
    _text("catalogue"),
    _text("options"),
)
"""What a result depends on besides the content: hvci's version and code, catalogue, options."""

result = Table(
    "result",
    metadata,
    _id(),
    _text("sha256"),
    _to("rules.id"),
    _text("kind"),
    _text("verdict"),
    _text("loads"),
    _text("readiness"),
    _text("runs"),
    _text("summary"),
    _text("machine"),
    Column("size", BigInteger, nullable=False),
    _text("signed"),
    _text("driver_policy"),
    _text("vendor"),
    Column("failures", Integer, nullable=False),
    Column("doubts", Integer, nullable=False),
    UniqueConstraint("sha256", "rules_id", name="result_content"),
    Index("result_fate", "verdict", "failures", "id", "loads", "runs"),
    Index("result_loads", "loads", "failures"),
    Index("result_readiness", "readiness", "failures"),
    Index("result_runs", "runs", "failures"),
    Index("result_vendor", "vendor", "failures"),
)
"""One content under one set of rules; `kind` is "report", or why there is none."""

body = Table(
    "body",
    metadata,
    _to("result.id", primary=True),
    _to("dictionary.id"),
    Column("data", LargeBinary, nullable=False),
)
"""The whole report, compressed."""

finding = Table(
    "finding",
    metadata,
    _to("result.id", primary=True),
    Column("rule", TEXT, primary_key=True),
    Column("outcome", TEXT, primary_key=True),
    Column("ddi", TEXT, primary_key=True),
    Column("places", Integer, nullable=False),
    Index("finding_ddi", "ddi", "outcome", "result_id", "places"),
    Index("finding_rule", "rule", "outcome", "result_id", "places"),
    sqlite_with_rowid=False,
)
"""How often a rule says something in a driver, for each DDI."""

file = Table(
    "file",
    metadata,
    _id(),
    _text("host"),
    _text("path"),
    Column("size", BigInteger, nullable=False),
    Column("changed", BigInteger),
    Column("inode", BigInteger),
    Column("touched", BigInteger),
    _text("sha256", empty=True),
    UniqueConstraint("host", "path", name="file_place"),
)
"""A place that a scan has seen, and what tells without reading that it is still the same.

`changed` is empty where the time of the last change does not tell that. `touched` is when the
system last noted a change, which no program can set back.
"""

package = Table(
    "package",
    metadata,
    _id(),
    Column("digest", TEXT, nullable=False, unique=True),
    _text("inf"),
    _text("service"),
    _text("start"),
    _text("provider"),
    _text("version"),
    _text("class_name"),
    Column("hardware_ids", Integer, nullable=False),
    _text("catalogs"),
    _text("ids"),
    Column("installed", Boolean, nullable=False),
    _text("published"),
    Column("devices", Integer),
    Column("storage", Boolean, nullable=False),
    Column("staged", Boolean, nullable=False),
    Index("package_published", "published"),
)
"""What an INF says of a driver, and a Windows where it is installed; catalogs and the first
hardware ids are lists in JSON. `published` is the name in that Windows, such as oem3.inf."""

scan = Table(
    "scan",
    metadata,
    _id(),
    _text("host"),
    _text("targets"),
    _to("rules.id"),
    _text("began"),
    _text("ended", empty=True),
    Column("current", Boolean, nullable=False),
    Index("scan_current", "current", "host"),
)
"""One run over targets, possibly in several goes; `current` is the last one of its targets."""

seen = Table(
    "seen",
    metadata,
    _to("scan.id", primary=True),
    _to("file.id", primary=True),
    _to("result.id", empty=True),
    _text("problem", empty=True),
    _text("sentence", empty=True),
    _to("package.id", empty=True),
    Index("seen_result", "result_id", "scan_id", "file_id"),
    Index("seen_problem", "problem", "scan_id"),
    Index("seen_package", "package_id", "scan_id", "result_id"),
    sqlite_with_rowid=False,
)
"""A file as a scan met it: its result, or the problem why there is none."""

member = Table(
    "member",
    metadata,
    Column("archive_id", _NUMBER, ForeignKey("result.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    _text("name"),
    Column("size", BigInteger, nullable=False),
    _text("sha256", empty=True),
    _to("result.id", empty=True),
    _to("package.id", empty=True),
    _text("problem", empty=True),
    _text("sentence", empty=True),
    sqlite_with_rowid=False,
)
"""What an archive holds, by its content: another copy of it is not opened again."""

tally = Table(
    "tally",
    metadata,
    _to("scan.id", primary=True),
    Column("kind", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("said", TEXT, primary_key=True),
    Column("drivers", Integer, nullable=False),
    Column("files", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""What a finished scan adds up to: counting a million rows for each question would take too long.

`kind` is a column of `result`, or "rule" or "ddi"; `said` is a verdict, or an outcome of those.
"""
