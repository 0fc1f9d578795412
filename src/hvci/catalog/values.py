"""When the value of a deciding argument asks for executable memory, and how values are spelled."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from hvci.catalog.reader import Row, data_text, parse_toml, tables
from hvci.model import Confidence
from hvci.model.record import record, unlike_others

KEPT = 4096
"""Spelled values that are kept: a driver asks for few, again and again."""


@record
class Test:
    """A test on an unsigned 64-bit value."""

    kind: str
    """"clear", "set", "one_of", "except", "always" or "never"."""
    mask: int = 0
    members: frozenset[int] = frozenset()

    __test__ = False  # the name is not a pytest class

    def holds(self, value: int) -> bool:
        """Whether the value passes the test."""
        match self.kind:
            case "clear":
                return not value & self.mask
            case "set":
                return bool(value & self.mask)
            case "one_of":
                return value in self.members
            case "except":
                return value not in self.members
        return self.kind == "always"


@unlike_others
class Family:
    """The constants that an argument can be spelled with."""

    name: str
    flags: bool
    """All constants are bits to be ORed."""
    values: Mapping[str, int]
    modifiers: Mapping[str, int]
    """Bits that may be ORed to one of `values`."""
    aliases: Mapping[str, int]
    """Further names, accepted in source but not used to describe a value."""
    safer: Mapping[str, str]
    """The counterpart without execution of a name."""

    @property
    def constants(self) -> dict[str, int]:
        """Every name of the family."""
        return {**self.values, **self.modifiers, **self.aliases}

    def spell(self, value: int) -> str:
        """Spell a value, such as "NonPagedPool | POOL_ZERO_ALLOCATION", else in hexadecimal."""
        bits = self.values if self.flags else self.modifiers
        names = [name for name, bit in bits.items() if bit and value & bit == bit]
        rest = value & ~sum(bits[name] for name in names)
        if rest or not self.flags:
            names.insert(0, self._name(rest) or f"{rest:#x}")
        return " | ".join(names) or f"{value:#x}"

    def _name(self, value: int) -> str:
        known = {} if self.flags else self.values
        return next((name for name, number in known.items() if number == value), "")

    def safer_for(self, value: int) -> str:
        """The constant without execution to write instead of a value; may be empty."""
        known = self.constants
        found = (safe for bad, safe in self.safer.items() if self._asks(known[bad], value))
        return next(found, "")

    def _asks(self, bad: int, value: int) -> bool:
        """Whether the value is the bad constant, whatever modifiers it carries."""
        return bool(value & bad) if self.flags else value & ~sum(self.modifiers.values()) == bad


@unlike_others
class ValueRule:
    """What the values of one kind of deciding argument mean."""

    name: str
    executable: Test
    counted: Test
    kernel_mode_only: bool
    family: Family | None
    judged_by: str
    """Id of the rule that judges such calls; empty when they are only listed."""
    evidence: frozenset[Confidence]
    text: str

    @lru_cache(maxsize=KEPT)  # noqa: B019 (rows live as long as the program)
    def spell(self, value: int) -> str:
        """Spell a value with its number, such as "NonPagedPool (0x0)"."""
        spelled = self.family.spell(value) if self.family else f"{value:#x}"
        return spelled if spelled == f"{value:#x}" else f"{spelled} ({value:#x})"


_TESTS: Mapping[str, type] = {
    "clear": int,
    "set": int,
    "one_of": list,
    "except": list,
    "always": bool,
    "never": bool,
}


def _test(row: Row) -> Test:
    """Take exactly one test from a row."""
    found = [_one_test(row, kind, type_) for kind, type_ in _TESTS.items()]
    tests = [test for test in found if test is not None]
    if len(tests) != 1:
        raise row.refuse(f"want exactly one of {', '.join(_TESTS)}")
    return tests[0]


def _one_test(row: Row, kind: str, type_: type) -> Test | None:
    value = row.take(kind, type_, type_())
    if not value:
        return None
    if type_ is int:
        return Test(kind, mask=value)
    if type_ is list:
        if any(type(member) is not int for member in value):
            raise row.refuse(f"{kind} must hold int only")
        return Test(kind, members=frozenset(value))
    return Test(kind)


def _value_rule(name: str, fields: object, families: Mapping[str, Family]) -> ValueRule:
    row = Row(f"values.toml: rule {name}", fields)
    counted = row.take("counted", dict, {})
    family = row.take("family", str, "")
    if family and family not in families:
        raise row.refuse(f"family {family!r} is not known")
    executable = _test(row)
    rule = ValueRule(
        name,
        executable,
        _test(Row(f"{row.label}: counted", counted)) if counted else executable,
        row.take("kernel_mode_only", bool, False),
        families[family] if family else None,
        row.take("judged_by", str, ""),
        row.take_set("evidence", Confidence),
        row.take("text", str),
    )
    row.finish()
    return rule


def _family(name: str, fields: object) -> Family:
    row = Row(f"values.toml: family {name}", fields)
    safer: dict[str, Any] = row.take("safer", dict, {})
    family = Family(
        name,
        row.take("flags", bool),
        _numbers(row, "values"),
        _numbers(row, "modifiers"),
        _numbers(row, "aliases"),
        MappingProxyType(safer),
    )
    row.finish()
    known = set(family.constants)
    if not (known.issuperset(safer) and all(str(word) in known for word in safer.values())):
        raise row.refuse("safer must name constants of the family")
    return family


def _numbers(row: Row, field: str) -> Mapping[str, int]:
    group: dict[str, Any] = row.take(field, dict, {})
    if any(type(value) is not int or value < 0 for value in group.values()):
        raise row.refuse(f"{field} must hold numbers that are not negative")
    return MappingProxyType(group)


def parse_values(text: str) -> tuple[Mapping[str, ValueRule], Mapping[str, Family]]:
    """Read the value rules and constant families; raise `CatalogError` with the bad row's name."""
    document = parse_toml(text, "values.toml")
    named = tables(document, "families", "values.toml")
    families = {name: _family(name, fields) for name, fields in named.items()}
    rules = {
        name: _value_rule(name, fields, families)
        for name, fields in tables(document, "rules", "values.toml").items()
    }
    return MappingProxyType(rules), MappingProxyType(families)


# ---- the shipped ones, each read when it is first asked for


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    """The text below each header of the shipped file, by group and name."""
    found: dict[str, dict[str, str]] = {"rules": {}, "families": {}}
    for part in data_text("values.toml").split("\n[")[1:]:
        header, _, body = part.partition("]\n")
        group, _, name = header.partition(".")
        found[group][name] = body
    return found


@cache
def _shipped_family(name: str) -> Family:
    return _family(name, parse_toml(_texts()["families"][name], "values.toml"))


@cache
def value_rule(name: str) -> ValueRule:
    """A shipped value rule; raise `KeyError` when there is none of that name."""
    fields = parse_toml(_texts()["rules"][name], "values.toml")
    family = str(fields.get("family", ""))
    known = {family: _shipped_family(family)} if family in _texts()["families"] else {}
    return _value_rule(name, fields, known)


@cache
def value_rules() -> Mapping[str, ValueRule]:
    """The shipped value rules, by name."""
    return MappingProxyType({name: value_rule(name) for name in _texts()["rules"]})


@cache
def families() -> Mapping[str, Family]:
    """The shipped constant families, by name."""
    return MappingProxyType({name: _shipped_family(name) for name in _texts()["families"]})
