"""The DDIs that memory integrity may impact, read from data/ddis.toml and checked by meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from hvci.catalog.reader import Row, parse_toml, version_of
from hvci.catalog.values import ValueRule
from hvci.errors import CatalogError
from hvci.model import Confidence, Counter, WindowsVersion
from hvci.model.judged import CALL_RULES, COUNTED_RULES, OPT_IN_RULES
from hvci.model.record import record

SEED_ROWS = 46
"""How many DDIs Microsoft's page "Evaluate HVCI driver compatibility" lists."""

_WIDE_TYPES = frozenset(
    (
        "PHYSICAL_ADDRESS",
        "LARGE_INTEGER",
        "ULARGE_INTEGER",
        "LONGLONG",
        "ULONGLONG",
        "LONG64",
        "ULONG64",
        "INT64",
        "UINT64",
        "POOL_FLAGS",
        "STOR_PHYSICAL_ADDRESS",
        "NDIS_PHYSICAL_ADDRESS",
        "MM_COPY_ADDRESS",
    )
)
"""Parameter types of eight bytes on every architecture."""
_ONE_BYTE = frozenset(("BOOLEAN", "UCHAR", "CHAR", "KPROCESSOR_MODE", "LOGICAL8"))
_POINTER_SIZED = frozenset(("SIZE_T", "ULONG_PTR", "POOL_FLAGS", "ULONG64", "ULONGLONG"))


class Binding(StrEnum):
    """How compiled code reaches a DDI."""

    EXPORT = "export"
    WDF_TABLE = "wdf_table"
    COM_VTABLE = "com_vtable"
    INLINE = "inline"
    MACRO = "macro"
    CALLBACK = "callback"


class Gives(StrEnum):
    """What kind of memory a DDI hands out that never executes under memory integrity."""

    POOL = "pool"
    CONTIGUOUS = "contiguous"
    MAPPING = "mapping"
    VIEW = "view"
    """Its address is put where the second argument points, as that of the next."""
    VIRTUAL = "virtual"


class OptIn(StrEnum):
    """What POOL_NX_OPTIN does to calls of a DDI."""

    NONE = "none"
    CONSTANT_RENAME = "constant_rename"
    HEADER_WRAPPER = "header_wrapper"


class VerifierEffect(StrEnum):
    """What Driver Verifier's code-integrity checks do at a call."""

    REPORT = "report"
    SILENT_NX = "silent_nx"
    COMPONENT = "component"
    NONE = "none"
    UNKNOWN = "unknown"


_STRONGEST_FIRST = tuple(Confidence)


@record
class Parameter:
    """One parameter of a DDI."""

    type: str
    name: str

    @property
    def x86_slots(self) -> int:
        """How many 4-byte stack slots it takes on x86."""
        return 2 if self.type in _WIDE_TYPES else 1

    @property
    def size(self) -> int:
        """Bytes that matter to its value, on an architecture of 64 bits."""
        if self.type in _ONE_BYTE:
            return 1
        is_pointer = self.type.startswith("P") and not self.type.endswith("_TYPE")
        return 8 if is_pointer or "*" in self.type or self.type in _POINTER_SIZED else 4


@record
class Replacement:
    """What to write instead, from a Windows version on."""

    since: WindowsVersion
    use: str

    def needs(self, name: str) -> bool:
        """Whether it cannot be written without a name."""
        return re.search(rf"\b{name}\b", self.use) is not None


@record
class Ddi:
    """One row of the catalogue."""

    name: str
    seed: bool
    """One of the 46 of Microsoft's table."""
    group: str
    module: str
    binding: Binding
    parameters: tuple[Parameter, ...]
    deciding: str
    """Name of the parameter that decides; empty when none does."""
    rule: ValueRule
    opt_in: OptIn
    counter: Counter | None
    verifier: VerifierEffect
    warnings: tuple[str, ...]
    replacements: tuple[Replacement, ...]
    """Newest Windows version first."""
    since: str
    evidence: frozenset[Confidence]
    page: str
    compiles_to: str = ""
    notes: str = ""
    tag: str = ""
    access_mode: str = ""
    attributes: str = ""
    wdf_index: int = -1
    interface: str = ""
    iid: str = ""
    slot: int = -1
    direction: str = ""
    storport_function: int = -1
    also_exported: bool = False
    """An inline function or macro that some images import by name as well."""
    variadic: bool = False
    gives: Gives | None = None
    """The memory that it returns or puts somewhere."""

    @property
    def importable(self) -> bool:
        """Whether an image can import it by name."""
        return self.binding is Binding.EXPORT or self.also_exported

    @property
    def x86_bytes(self) -> int:
        """Bytes of stack arguments that it removes on x86; with variadic ones the caller does."""
        return 0 if self.variadic else 4 * sum(item.x86_slots for item in self.parameters)

    @property
    def subcode(self) -> int | None:
        """First parameter of bug check 0xC4 for a bad value."""
        return self.counter.subcode if self.counter else None

    @property
    def confidence(self) -> Confidence:
        """The strongest evidence behind the row."""
        return next(word for word in _STRONGEST_FIRST if word in self.evidence)

    @property
    def weakens(self) -> tuple[str, ...]:
        """The rules that a use of it leaves open when nobody follows it; empty when none judges it.

        Its own, and those on calls that judge no kind of value, as they may ask about any call.
        """
        if not self.rule.judged_by:
            return ()
        others = (one for one in CALL_RULES if one not in COUNTED_RULES)
        is_opted = self.opt_in is not OptIn.NONE
        return (
            self.rule.judged_by,
            *(one for one in others if is_opted or one not in OPT_IN_RULES),
        )

    @property
    def watched(self) -> tuple[str, ...]:
        """The parameters whose values a reader should recover; the deciding one first."""
        names = (self.deciding, self.tag, self.access_mode, self.attributes)
        return tuple(name for name in names if name)

    def position(self, parameter: str) -> int:
        """Index of a parameter among the documented ones, from 0."""
        return next(i for i, item in enumerate(self.parameters) if item.name == parameter)

    def x86_slot(self, parameter: str) -> int:
        """Index of its first 4-byte stack slot on x86, from 0."""
        return sum(item.x86_slots for item in self.parameters[: self.position(parameter)])

    def replacement_for(self, target: WindowsVersion, lacking: Iterable[str] = ()) -> str:
        """What to write instead when the driver must run on `target`; empty when nothing is.

        What needs none of the names `lacking` comes first.
        """
        usable = [item for item in self.replacements if item.since <= target]
        chosen = [item for item in usable if not any(map(item.needs, lacking))] or usable
        return chosen[0].use if chosen else ""

    def advice_for(
        self, target: WindowsVersion, use: str | None = None, opt_in: bool = True
    ) -> str:
        """The same in words, with the ways that older Windows has; `use` stands for what to write.

        Names nothing that `target` lacks: there a routine is not found and a flag is not known.
        """
        use = self.replacement_for(target) if use is None else use
        ways = [use] if use else []
        if opt_in and self.opt_in is not OptIn.NONE and target < WindowsVersion.WINDOWS_10_2004:
            ways.append(OPT_IN if use else OPT_IN[0].upper() + OPT_IN[1:])
        if not use and self.replacements:
            ways.append(self._at_run_time(self.replacements[-1].since))
        return "; or ".join(ways)

    def _at_run_time(self, since: WindowsVersion) -> str:
        """How one image serves old Windows too, where what is safe came later."""
        found = f"choose at run time what {since.label} and later have (hvci explain {self.name})"
        if since >= WindowsVersion.WINDOWS_10_1507:
            return f"{found}: look it up with MmGetSystemRoutineAddress"
        return f"{found}: ask RtlIsNtDdiVersionAvailable"


OPT_IN = "opt in with POOL_NX_OPTIN and ExInitializeDriverRuntime(DrvRtPoolNxOptIn)"


def _parameters(row: Row) -> tuple[Parameter, ...]:
    found = [text.rsplit(" ", 1) for text in row.take_list("parameters", str)]
    if any(len(words) != 2 or not all(words) for words in found):
        raise row.refuse('a parameter is written "TYPE Name"')
    return tuple(Parameter(*words) for words in found)


def _replacements(row: Row) -> tuple[Replacement, ...]:
    found = []
    for item in row.take_list("replacements", dict):
        inner = Row(f"{row.label}: replacement", item)
        found.append(Replacement(inner.take_as("since", version_of), inner.take("use", str)))
        inner.finish()
    if found != sorted(found, key=lambda item: item.since, reverse=True):
        raise row.refuse("replacements must stand newest Windows version first")
    return tuple(found)


def _read(label: str, fields: object, rules: Mapping[str, ValueRule]) -> Ddi:
    row = Row(f"ddis.toml: {label}", fields)
    counter = row.take("counter", str, "")
    gives = row.take("gives", str, "")
    ddi = Ddi(
        name=row.take("name", str),
        seed=row.take("seed", bool, False),
        group=row.take("group", str),
        module=row.take("module", str),
        binding=row.take_as("binding", Binding),
        parameters=_parameters(row),
        deciding=row.take("deciding", str),
        rule=row.take_as("rule", rules.__getitem__),
        opt_in=row.take_as("opt_in", OptIn),
        counter=row.read("counter", counter, Counter) if counter else None,
        verifier=row.take_as("verifier", VerifierEffect),
        warnings=tuple(row.take_list("warnings", str)),
        replacements=_replacements(row),
        since=row.take("since", str),
        evidence=row.take_set("evidence", Confidence),
        page=row.take("page", str),
        compiles_to=row.take("compiles_to", str, ""),
        notes=row.take("notes", str, ""),
        tag=row.take("tag", str, ""),
        access_mode=row.take("access_mode", str, ""),
        attributes=row.take("attributes", str, ""),
        wdf_index=row.take("wdf_index", int, -1),
        interface=row.take("interface", str, ""),
        iid=row.take("iid", str, ""),
        slot=row.take("slot", int, -1),
        direction=row.take("direction", str, ""),
        storport_function=row.take("storport_function", int, -1),
        also_exported=row.take("also_exported", bool, False),
        variadic=row.take("variadic", bool, False),
        gives=row.read("gives", gives, Gives) if gives else None,
    )
    row.finish()
    _check(row, ddi)
    return ddi


def _check(row: Row, ddi: Ddi) -> None:
    """Refuse a row whose fields contradict each other."""
    names = {parameter.name for parameter in ddi.parameters}
    lost = [name for name in ddi.watched if name not in names]
    reasons = {
        f"{', '.join(lost)} is not a parameter": lost,
        "evidence is empty": not ddi.evidence,
        "also_exported says nothing about an export": ddi.also_exported
        and ddi.binding is Binding.EXPORT,
        f"rule {ddi.rule.name} needs a deciding parameter": not ddi.deciding
        and ddi.rule.executable.kind not in ("always", "never"),
        "a row that can move a counter needs a replacement": ddi.counter is not None
        and not ddi.replacements,
        "page must be a learn.microsoft.com address": ddi.page
        and not ddi.page.startswith("https://learn.microsoft.com/"),
        "a wdf_table row needs wdf_index": ddi.binding is Binding.WDF_TABLE and ddi.wdf_index < 0,
        "a com_vtable row needs interface, iid and slot": ddi.binding is Binding.COM_VTABLE
        and not (ddi.interface and ddi.iid and ddi.slot >= 0),
        f"counter {ddi.counter} contradicts rule {ddi.rule.name}": ddi.counter is not None
        and ddi.rule.judged_by not in ("", ddi.counter.rule),
        "a warning is C followed by five digits": any(
            not (len(word) == 6 and word[0] == "C" and word[1:].isdigit()) for word in ddi.warnings
        ),
    }
    for reason, wrong in reasons.items():
        if wrong:
            raise row.refuse(reason)


def parse_ddis(text: str, rules: Mapping[str, ValueRule]) -> Mapping[str, Ddi]:
    """Read catalogue text; the first bad row raises `CatalogError` with its name."""
    rows = parse_toml(text, "ddis.toml").get("ddi", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CatalogError("ddis.toml: want [[ddi]] tables")
    ddis: dict[str, Ddi] = {}
    for number, fields in enumerate(rows, start=1):
        ddi = _read(str(fields.get("name", f"row {number}")), fields, rules)
        if ddi.name in ddis:
            raise CatalogError(f"ddis.toml: {ddi.name}: listed twice")
        ddis[ddi.name] = ddi
    return MappingProxyType(ddis)
