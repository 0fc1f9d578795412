"""The routines of the catalogue that an assembler text calls, and what is not followed of them.

Knows statements and the catalogue; what a project builds is for others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from hvci import catalog
from hvci.catalog import Ddi
from hvci.catalog.memory import LOOKUPS
from hvci.model import BehaviourFact, Confidence, DdiCall, Limit, Origin, SourceSite, Value, Via
from hvci.model.judged import CALL_RULES
from hvci.source.assembly.arguments import Before, Names
from hvci.source.assembly.lines import Statement, names_in, numbers, statements
from hvci.source.text.text import Source

DYNAMIC = "dynamic-code"
WRITES = "writes-executable-memory"
BUILT = "check the built .sys"
_LOOKUPS = frozenset(name.lower().encode() for name in LOOKUPS)
_DECLARES = frozenset(
    b"extern extrn externdef import proto public export includelib include title subttl end "
    b"echo global".split()
)
_DEFINES = frozenset(b"proc leaf_entry nested_entry function".split())
_BRANCH = re.compile(rb"call|j[a-z]{1,5}|bl|b|invoke")
_THROUGH = re.compile(rb"call|jmp|blr|br")
_SIZES = re.compile(
    rb"(?i)\b(?:[dqf]?word|near|far|ptr|short|offset|flat|rip|rel|cs|ds)\b|[\[\]:+|]"
)
_REGISTER = re.compile(rb"(?i)\b(?:[re][abcd]x|[re][sd]i|[re]bp|r(?:[89]|1[0-5])|x[12]?[0-9])\b")
_STORES = frozenset(b"mov and or xor add sub inc dec not neg xchg cmpxchg movnti".split())
"""Instructions that write memory where their first operand is a place in it."""
_DOUBT = "conditional assembly (IF) decides whether it is there"


@dataclass
class Assembled:
    """What one text asks for."""

    calls: list[tuple[DdiCall, int, str]] = field(default_factory=list)
    """Each with its offset and the parameter that decides."""
    limits: list[Limit] = field(default_factory=list)
    behaviours: list[BehaviourFact] = field(default_factory=list)


def read_calls(source: Source, machine: str | None, names: Names) -> Assembled:
    """The calls of a text for a machine ("x64"); `names` are the numbers that it includes."""
    lines = statements(source.text)
    known = {**_constants(), **names, **numbers(lines)}
    return _Reader(source, lines, _machine(lines) or machine or "", known).read()


class _Reader:
    """Goes through the statements of one text."""

    def __init__(
        self, source: Source, lines: Sequence[Statement], machine: str, names: Names
    ) -> None:
        self.source, self.lines, self.machine, self.names = source, lines, machine, names
        self.procedures = {one.label.lower() for one in lines if one.word in _DEFINES and one.label}
        self.own = self.procedures | {
            one.label.lower() for one in lines if one.label and one.word not in _NOT_CODE
        }
        self.found = Assembled()
        self.giving: list[str] = []
        """Routines that are called or named and give memory."""
        self.function: str | None = None

    def read(self) -> Assembled:
        """All that it calls or names."""
        for at, line in enumerate(self.lines):
            if line.word == b"proc":
                self.function = line.label.decode("utf-8", "replace")
            called = self._called(line)
            if called is not None:
                self._call(at, called)
            self._mentions(line, called)
            self._write(line)
            if line.word == b"endp":
                self.function = None
        self._indirect()
        return self.found

    def _called(self, line: Statement) -> Ddi | None:
        """The routine that a statement calls or ends in."""
        if _BRANCH.fullmatch(line.word) is None:
            return None
        target = line.operands[0] if line.word == b"invoke" else line.rest
        name = _SIZES.sub(b" ", target).strip()
        return self._ddi(name)

    def _ddi(self, name: bytes) -> Ddi | None:
        return next(
            (known_routines()[one] for one in self._forms(name) if one in known_routines()), None
        )

    def _forms(self, name: bytes) -> Iterator[bytes]:
        """What a name can stand for: as a pointer of the import table, decorated for x86."""
        name = name.lower()
        for one in (name, name.removeprefix(b"__imp_")):
            if one in self.own:
                return
            yield one
            yield re.sub(rb"@[0-9]+$", b"", one).removeprefix(b"_").removeprefix(b"@")

    def _call(self, at: int, ddi: Ddi) -> None:
        line = self.lines[at]
        self.giving += [ddi.name] if ddi.gives is not None else []
        fact = DdiCall(
            ddi.name,
            {ddi.deciding: self._deciding(at, ddi)} if ddi.deciding else {},
            self._site(line),
            Origin.SOURCE,
            Via.SOURCE,
            note="in assembly",
            doubt=_DOUBT if line.is_optional else "",
        )
        self.found.calls.append((fact, line.offset, ddi.deciding))

    def _deciding(self, at: int, ddi: Ddi) -> Value:
        line, position = self.lines[at], ddi.position(ddi.deciding)
        before = Before(self.lines, at, self.machine, self.names)
        if line.word == b"invoke":
            given = line.operands[1:]
            held = before.value(given[position]) if position < len(given) else None
        else:
            held = before.argument(position, ddi.x86_slot(ddi.deciding))
        if held is not None:
            return Value(held, complete=True)
        where = self._where(line)
        reason = f"{where}: no plain constant for {ddi.deciding} of {ddi.name} stands right before"
        return Value.unknown(f"{reason} the call in assembly; {BUILT}")

    def _mentions(self, line: Statement, called: Ddi | None) -> None:
        """A limit for each routine that a statement names otherwise."""
        if line.word in _DECLARES or line.word in (*_DEFINES, b"endp"):
            return
        told = {called.name} if called is not None else set()
        for name in names_in(line.word + b" " + line.rest):
            ddi = self._ddi(name)
            if ddi is not None and ddi.name not in told:
                told.add(ddi.name)
                self.giving += [ddi.name] if ddi.gives is not None else []
                reason = (
                    f"{ddi.name} is named in assembly ({line.shown}) and not followed from there"
                )
                self._limit(line, ddi.weakens, reason)
            elif _LOOKUPS.intersection(self._forms(name)) and not told:
                told.add(name.decode())
                reason = (
                    f"{name.decode()} is named in assembly, and what it returns is not followed"
                )
                self._limit(line, CALL_RULES, reason)

    def _write(self, line: Statement) -> None:
        """A store to the place of a routine of this text."""
        if line.word not in _STORES:
            return
        names = (one for one in names_in(line.operands[0]) if one.lower() in self.procedures)
        if name := next(names, b""):
            what = f"writes over the code of {name.decode('utf-8', 'replace')}"
            why, fix = (
                f"`{line.shown}` in assembly",
                "Keep what changes in data; do not patch code.",
            )
            site, sure = self._site(line), Confidence.LIKELY
            fact = BehaviourFact(WRITES, what, site, Origin.SOURCE, sure, why, fix)
            self.found.behaviours.append(fact)

    def _indirect(self) -> None:
        """Calls through registers and variables where the text gets memory as well."""
        if not self.giving:
            return
        for line in self.lines:
            if _THROUGH.fullmatch(line.word) is None or not self._is_through(line.rest):
                continue
            reason = f"`{line.shown}` calls through a pointer in a file that gets memory from "
            self._limit(
                line, (DYNAMIC,), f"{reason}{self.giving[0]}, and it is not followed in assembly"
            )

    def _is_through(self, target: bytes) -> bool:
        if _REGISTER.search(target) is not None:
            return True
        name = _SIZES.sub(b" ", target).strip()
        is_import = name.lower().startswith(b"__imp_")
        return b"ptr" in target.lower() and not is_import and self._ddi(name) is None

    def _limit(self, line: Statement, rules: tuple[str, ...], reason: str) -> None:
        site = self._site(line)
        text = f"{self._where(line)}: {reason}; {BUILT}"
        self.found.limits.append(Limit(Origin.SOURCE, rules, text, site))

    def _where(self, line: Statement) -> str:
        return f"{self.source.path}:{self.source.position(line.offset)[0]}"

    def _site(self, line: Statement) -> SourceSite:
        return SourceSite(self.source.path, *self.source.position(line.offset), self.function)


_NOT_CODE = frozenset(
    b"proto equ = macro segment ends textequ struct struc union record typedef catstr db dw dd dq "
    b"df dt byte sbyte word sword dword sdword qword sqword fword tbyte label dcb dcw dcd dcq "
    b"space area".split()
)
"""What gives a name to something else than code."""


@cache
def known_routines() -> dict[bytes, Ddi]:
    """The routines that an assembler can call by name."""
    rows = catalog.ddis().values()
    return {row.name.lower().encode(): row for row in rows if row.importable and row.rule.judged_by}


@cache
def _constants() -> dict[bytes, frozenset[int] | None]:
    """The constants of the WDK headers, as files of equates spell them."""
    found: dict[bytes, frozenset[int] | None] = {}
    for family in catalog.families().values():
        for name, bits in family.constants.items():
            known = found.get(name.lower().encode()) or frozenset()
            found[name.lower().encode()] = known | {bits}
    return found


_IS_X86 = re.compile(rb"\.[3456]86p?")
_WIDE = re.compile(rb"(?i)\b(?:r[abcd]x|r[sd]i|r[sb]p|r(?:[89]|1[0-5])[dwb]?)\b")


def _machine(lines: Sequence[Statement]) -> str:
    """The machine that a text is plainly for; empty when it does not say, or is for several."""
    found = set()
    for line in lines:
        if _IS_X86.fullmatch(line.word):
            found.add("x86")
        elif line.word in (b"bl", b"blr", b"adrp", b"ldr"):
            found.add("arm64")
        elif _WIDE.search(line.rest):
            found.add("x64")
    return found.pop() if len(found) == 1 else "mixed" if found else ""
