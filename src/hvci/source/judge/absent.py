"""What headers that are not here may change: unknown calls, branches and definitions that ask.

Theory of operation: a header in quotes that nobody has may define any name. It matters only where
memory that can execute is asked for: a constant that says so is given to something that nothing
here declares, or a call or definition stands in a branch that depends on a name which nothing here
defines. Each is a limit that names the header. What generators write (`.tmh`) is none of these.
Knows programs and the catalogue; expands no macro.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from hvci import catalog
from hvci.catalog.kmdf import kmdf_functions
from hvci.catalog.values import ValueRule
from hvci.model import Confidence, Limit, Origin, SourceSite
from hvci.model.judged import COUNTED_RULES
from hvci.source.judge.facts import Context, Judge, Resolved
from hvci.source.pointers.behaviour import behaviours, worth_a_look
from hvci.source.preprocess.predefined import ALL_MACHINES, NEVER, may_be_of_kit
from hvci.source.preprocess.units import TranslationUnit
from hvci.source.program.program import Program, Unit
from hvci.source.text import directives
from hvci.source.text.directives import Condition, Included, Macro, Region

RULES = ("pool_type", "pool_flags", "vp_pool_type", "page_protection", "mdl_priority")
"""The value rules whose constants are looked for where nobody knows what is called."""
DO = "put it into the tree, or name its folder in the project"
MAX_NAMES = 100
"""Macros that the value of one call is made of."""
FAR = 2000
"""Bytes between a constant and the name that it is given to."""
_WORD = re.compile(rb"\b[A-Za-z_]\w*")
_NO_CALLS = frozenset(
    b"if while for switch return sizeof defined case do else alignof typeof decltype "
    b"C_ASSERT static_assert ASSERT NT_ASSERT UNREFERENCED_PARAMETER".split()
)


class Absent:
    """What headers that are not here may change in one program; asks of each name and file once."""

    def __init__(self, judge: Judge, context: Context) -> None:
        self.judge, self.context, self.program = judge, context, context.program
        self._unknown: dict[bytes, bool] = {}
        self._defined: dict[bytes, bool] = {}
        self._lost: dict[TranslationUnit, tuple[str, ...]] = {}
        self._missing: dict[Unit, list[str]] = {}
        self._incomplete: dict[TranslationUnit, bool] = {}
        self._asked: dict[tuple[Unit, int, int], list[bytes]] = {}
        self._conditions: dict[Unit, dict[int, list[tuple[int, bytes]]]] = {}

    def limits(self, paths: Iterable[str]) -> Iterator[Limit]:
        """A limit for each unknown call and definition that may ask for executable memory."""
        for path in paths:
            if not any(map(self._misses, self.program.reading(path))):
                continue
            words, source = self.program.space.words, self.program.space.source(path)
            held = words.among(path, frozenset(_asking()))
            for unit in self.program.units_of(path) if held else ():
                yield from self._calls(unit, held)
                yield from self._definitions(unit, held)
            if source is not None and worth_a_look(source, words):
                for unit in self.program.units_of(path):
                    yield from self._behaviours(unit)

    def hidden(self, one: Resolved) -> Iterator[Limit]:
        """A limit where a call that asks is left out only because nothing here defines a name."""
        call, rule = one.call, one.call.ddi.rule
        value = one.fact.arguments.get(call.ddi.deciding)
        asks = value is None or not value.complete or any(map(rule.executable.holds, value.lasting))
        if call.kept is not False or rule.judged_by not in COUNTED_RULES or not asks:
            return
        if (found := self._undefined(call.unit, call.start)) is not None:
            what = f"{call.ddi.name} is compiled if {found[0]} is defined"
            yield _limit(call.unit, call.start, rule.judged_by, what, found[1])

    def defaults(self, one: Resolved) -> Iterator[Limit]:
        """A limit where a call takes a value that this text gives only if no header did before."""
        call, rule = one.call, one.call.ddi.rule
        value = one.fact.arguments.get(call.ddi.deciding)
        if value is None or call.kept is False or rule.judged_by not in COUNTED_RULES:
            return
        given = call.argument(call.ddi.deciding)
        if given is None or any(map(rule.executable.holds, value.lasting)):
            return
        todo, seen = [given.text], set[bytes]()
        while todo:
            for macro in self._macros(todo.pop(), call.unit, seen):
                todo.append(macro.body)
                header = self._before(macro)
                if header:
                    shown = macro.name.decode("utf-8", "replace")
                    what = f"{shown} is defined here only where nothing defined it before"
                    for unit in self.program.units_of(macro.source.path)[:1]:
                        yield _limit(unit, macro.start, rule.judged_by, what, header)

    def _macros(self, text: bytes, unit: Unit, seen: set[bytes]) -> Iterator[Macro]:
        """The macros that a text names, each name once."""
        for name in dict.fromkeys(_WORD.findall(text)):
            if name not in seen and len(seen) < MAX_NAMES:
                seen.add(name)
                yield from (one for one, _ in self.program.macros(name, unit.source.path))

    def _before(self, macro: Macro) -> str:
        """A header that is not here and may define a macro before its text does; empty: none."""
        for unit in self.program.units_of(macro.source.path):
            region = unit.text.directives.region_at(macro.start)
            headers = self._headers(unit) if region is not None else []
            if region is None or not headers:
                continue
            if unit not in self._conditions:
                self._conditions[unit] = _conditions(unit)
            texts = self._conditions[unit].get(region.group, ())
            if any(macro.name in _WORD.findall(text) for _, text in texts):
                return headers[0]
        return ""

    # ---- calls of what nobody declares

    def _calls(self, unit: Unit, held: Iterable[bytes]) -> Iterator[Limit]:
        told: set[int] = set()
        for word in sorted(held):
            for at in unit.source.places(word):
                macro = unit.text.define_at(at)
                found = _called(unit.source.code, at, macro.body_start if macro else 0)
                if found is None or found[0] in told or unit.live(at) is False:
                    continue
                start, name, argument = found
                rule = _asked(word, argument)
                if rule is None or not self._is_unknown(name):
                    continue
                header = next(iter(self._headers(unit)), "")
                if header and not self._is_opted_in(word, unit):
                    told.add(start)
                    shown = name.decode("utf-8", "replace")
                    what = f"nothing here declares {shown}, which gets {word.decode()}"
                    yield _limit(unit, start, rule.judged_by, what, header)

    def _is_unknown(self, name: bytes) -> bool:
        if name not in self._unknown:
            self._unknown[name] = _is_unknown(name, self.program)
        return self._unknown[name]

    def _is_opted_in(self, word: bytes, unit: Unit) -> bool:
        """Whether the NX opt-in makes something else of a constant, in every build."""
        if word not in (b"NonPagedPool", b"NonPagedPoolCacheAligned"):
            return False
        states = self.judge.opt_in.states(unit, self.program, self.context.builds)
        return all(state.nx.is_nx for state in states)

    # ---- branches on what nobody defines

    def _definitions(self, unit: Unit, held: Iterable[bytes]) -> Iterator[Limit]:
        """Definitions with constants that ask, in branches that are left out."""
        for macro in (macro for macros in unit.macros.values() for macro in macros):
            words = [word for word in _WORD.findall(macro.body) if word in held]
            rule = next((rule for one in words if (rule := _asked(one, macro.body))), None)
            if rule is None or unit.live(macro.start) is not False:
                continue
            found = self._undefined(unit, macro.start)
            if found is not None and _is_used(macro, self.program):
                shown = macro.name.decode("utf-8", "replace")
                what = f"{shown} asks for memory that can execute if {found[0]} is defined"
                yield _limit(unit, macro.start, rule.judged_by, what, found[1])

    def _behaviours(self, unit: Unit) -> Iterator[Limit]:
        """What code does besides calls, in branches that are left out."""
        if not self._headers(unit):
            return
        every = tuple(tuple(range(count)) for count in unit.text.directives.groups)
        for fact in behaviours(Unit(unit.text, every), self.program):
            assert isinstance(fact.site, SourceSite)
            at = unit.source.line_start(fact.site.line)
            if fact.confidence is Confidence.POSSIBLE or unit.live(at) is not False:
                continue
            if (found := self._undefined(unit, at)) is not None:
                what = f"code that {fact.what} is compiled if {found[0]} is defined"
                yield _limit(unit, at, fact.rule, what, found[1])

    def _undefined(self, unit: Unit, at: int) -> tuple[str, str] | None:
        """A name that decides whether a place is compiled and that nothing defines; a header."""
        headers = self._headers(unit)
        names = self._deciding(unit, at) if headers else []
        for run in unit.runs if names else ():
            for given in (one.given for one in self.program.compiled if one.path == run.path):
                known = {macro.name for macro in given.defines} | given.removed | given.absent
                for name in names if given.closed else ():
                    if not (name in known or name in given.known or run.definitions(name)):
                        return name.decode(), headers[0]
        return None

    def _deciding(self, unit: Unit, at: int) -> list[bytes]:
        """The names that nothing defines in the conditions that leave a place out."""
        region = _left_out(unit, at)
        if region is None:
            return []
        key = (unit, region.group, region.branch)
        if key not in self._asked:
            if unit not in self._conditions:
                self._conditions[unit] = _conditions(unit)
            texts = self._conditions[unit].get(region.group, ())
            words = (_WORD.findall(text) for branch, text in texts if branch <= region.branch)
            names = dict.fromkeys(word for many in words for word in many if word != b"defined")
            self._asked[key] = [name for name in names if not self._is_defined(name)]
        return self._asked[key]

    def _is_defined(self, name: bytes) -> bool:
        """Whether a file of the program defines a name, be it where it is not reached, or a kit."""
        if name not in self._defined:
            space, paths = self.program.space, self.program.naming_paths(name)
            texts = (space.text(path) for path in paths)
            self._defined[name] = _is_of_compiler(name) or any(
                text is not None and name in text.directives.macros for text in texts
            )
        return self._defined[name]

    # ---- headers that are not here

    def _headers(self, unit: Unit) -> list[str]:
        """The headers that are not here and that units with a file include."""
        if unit not in self._missing:
            paths = {run.path for run in unit.runs}
            units = (one for one in self.program.compiled if one.path in paths)
            found = (name for one in units for name in self._lost_of(one))
            self._missing[unit] = list(dict.fromkeys(found))
        return self._missing[unit]

    def _misses(self, one: TranslationUnit) -> bool:
        """Whether some file that a unit may include names a header that is not here."""
        if one not in self._incomplete:
            space = self.program.space
            files = space.closure(one)
            self._incomplete[one] = any(space.includes.missing(each, one.places) for each in files)
        return self._incomplete[one]

    def _lost_of(self, one: TranslationUnit) -> tuple[str, ...]:
        if one not in self._lost:
            self._lost[one] = tuple(_lost_of(one, self.program))
        return self._lost[one]


def _limit(unit: Unit, at: int, rule: str, what: str, header: str) -> Limit:
    site = SourceSite(unit.source.path, *unit.source.position(at))
    reason = f"{site.path}:{site.line}: {what}, and {header}, which may say, is not here: {DO}"
    return Limit(Origin.SOURCE, (rule,), reason, site)


def _called(code: bytes, at: int, least: int) -> tuple[int, bytes, bytes] | None:
    """What is called around a place: where its name stands, the name and the argument there."""
    begin, end = at, at
    while end < len(code) and end < at + FAR and code[end] not in b",;{})":
        end += 1
    while begin > max(least, at - FAR):
        byte = code[begin - 1]
        if byte in b";{}":
            return None
        if byte == 0x29:
            begin = _opening(code, begin - 1)
            continue
        begin -= 1
        if byte == 0x28:
            match = _BEFORE.search(code, max(0, begin - 80), begin)
            if match is not None and match[1] not in _NO_CALLS:
                is_member = code[: match.start(1)].rstrip()[-2:].endswith((b"->", b".", b"::"))
                argument = code[begin + 1 : end].rpartition(b",")[2]
                return None if is_member else (match.start(1), match[1], argument)
    return None


_COMPARES = re.compile(rb"[=!&^~]|(?<!-)[<>]")
_BEFORE = re.compile(rb"\b([A-Za-z_]\w*)\s*\Z")


def _opening(code: bytes, closing: int) -> int:
    """Where the parenthesis opens that closes at an offset."""
    depth, at = 1, closing
    while depth and at > max(0, closing - FAR):
        at -= 1
        depth += (code[at] == 0x29) - (code[at] == 0x28)
    return at


def _asked(word: bytes, argument: bytes) -> ValueRule | None:
    """The rule by which an argument with a constant asks for executable memory.

    What is compared or masked is asked about, not asked for.
    """
    if _COMPARES.search(argument) is not None:
        return None
    rule = _asking()[word]
    constants = rule.family.constants if rule.family else {}
    names = (one.decode("ascii", "replace") for one in _WORD.findall(argument))
    value = 0
    for name in names:
        value |= constants.get(name, 0)
    return rule if rule.executable.holds(value) else None


@cache
def _asking() -> Mapping[bytes, ValueRule]:
    """The constants that ask for executable memory when nothing is added to them."""
    found: dict[bytes, ValueRule] = {}
    for one in RULES:
        rule = catalog.value_rules()[one]
        modifiers = rule.family.modifiers if rule.family else {}
        for name, bits in rule.family.constants.items() if rule.family else ():
            if rule.executable.holds(bits) and name not in modifiers:
                found[name.encode()] = rule
    return found


_ANNOTATION = re.compile(rb"_+[A-Z]\w*_|__(?:drv|in|out|declspec|pragma|success)\w*")
"""What headers of annotations define, and compilers."""


def _is_unknown(name: bytes, program: Program) -> bool:
    """Whether nothing of the program or of the kits says what a name is."""
    word = name.decode("utf-8", "replace")
    if _ANNOTATION.fullmatch(name) is not None:
        return False
    is_of_kit = word in catalog.ddis() or word in catalog.hidden_calls() or may_be_of_kit(name)
    if is_of_kit or catalog.prototype(word) is not None or name in _kit_functions():
        return False
    if any(name in (macro.name for macro in unit.given.defines) for unit in program.compiled):
        return False
    for path in program.naming_paths(name):
        text = program.space.text(path)
        if text is None or name in text.directives.macros:
            return False
        if any(_declares(text.source.code, at, at + len(name)) for at in text.source.places(name)):
            return False
    return True


@cache
def _kit_functions() -> frozenset[bytes]:
    return frozenset(name.encode() for name in kmdf_functions())


_OPENS = re.compile(rb"[\s\\]*\(")


_DIRECTIVES = re.compile(rb"(?m)^[ \t]*#[^\n]*$")


def _declares(code: bytes, start: int, end: int) -> bool:
    """Whether a use of a name is no call: a declaration, a variable, a type."""
    if _OPENS.match(code, end) is None:
        return True
    before = _DIRECTIVES.sub(b"", code[max(0, start - 160) : start]).rstrip()
    match = re.search(rb"(\w+)\Z", before)
    if match is not None:
        return match[1] not in (b"return", b"else", b"do", b"case", b"goto", b"throw")
    return re.search(rb"\w\s*\*+\Z", before) is not None


def _is_of_compiler(name: bytes) -> bool:
    """Whether a compiler or a header of the kit defines a name, if anything does."""
    word = name.decode("utf-8", "replace")
    return word in ALL_MACHINES or word in NEVER or word == "DBG" or may_be_of_kit(name)


def _left_out(unit: Unit, at: int) -> Region | None:
    """The outermost branch around a place that is not compiled."""
    region, found = unit.text.directives.region_at(at), None
    while region is not None:
        taken = unit.choice[region.group]
        if taken != region.branch and not (isinstance(taken, tuple) and region.branch in taken):
            found = region
        region = region.outer
    return found


def _conditions(unit: Unit) -> dict[int, list[tuple[int, bytes]]]:
    """The conditions of each group of branches, with the numbers of their branches."""
    found: dict[int, list[tuple[int, bytes]]] = {}
    for line in unit.text.directives.lines:
        if isinstance(line.what, Condition):
            found.setdefault(line.group, []).append((line.branch, line.what.text))
    return found


def _is_used(macro: Macro, program: Program) -> bool:
    """Whether the text names a macro elsewhere than where it is defined."""
    for path in program.naming_paths(macro.name):
        text = program.space.text(path)
        for at in text.source.places(macro.name) if text is not None else ():
            other = text.define_at(at) if text is not None else None
            if other is None or other.name != macro.name:
                return True
    return False


def _lost_of(one: TranslationUnit, program: Program) -> Iterator[str]:
    includes, run = program.space.includes, program.space.run(one)
    for path in run.files:
        missing = includes.missing(path, one.places)
        if not missing:
            continue
        for unit in program.units_of(path):
            for line in unit.text.directives.lines:
                what = line.what
                if line.kind != directives.INCLUDE or not isinstance(what, Included):
                    continue
                name = what.name.replace("\\", "/")
                if what.quoted and name in missing and unit.live(line.offset) is not False:
                    yield name
