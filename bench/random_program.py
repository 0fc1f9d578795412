"""Random drivers in C, each with the same program in Python, which tells what its calls receive.

Pool types go through local variables, structures, arrays, globals, parameters, results, switches,
loops and tables of functions to ExAllocatePoolWithTag. Each call has a tag of its own, by which it
is known in the machine code. `KeQueryTimeIncrement` stands for all that nobody can know.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from random_twins import Both, Twin

FIRST_TAG = 0x4141_0001
CONSTANTS = (0, 1, 4, 5, 0x200, 0x204, 0x208, 0x20, 0x21, 0x200, 0x200, 0, 8)
OPERANDS = (1, 4, 0x200, 0xFFFFFFFF, 0xFF, 8, 0x1FF)
OPAQUE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 0x200, 0x204, 0xFFFFFFFF)
MASK = 0xFFFFFFFF
FIELDS = (("a", MASK), ("b", 0xFF), ("c", 0xFFFF), ("d", MASK))
PRELUDE = """#include "kernel.h"
struct S { ULONG a; UCHAR b; USHORT c; ULONG d; };
typedef PVOID NTAPI ALLOC(POOL_TYPE, SIZE_T, ULONG);
#define R() ((ULONG)KeQueryTimeIncrement())
"""
EITHER = "(R() & 1) ? ExAllocatePoolWithTag : ExAllocatePoolWithQuotaTag"


class Place(NamedTuple):
    """Something to assign to; `mask` is what it holds."""

    c: str
    py: str
    mask: int


@dataclass
class Function:
    """What a caller must know.

    `pointer`: it takes the address of a structure; `out`: that of an integer.
    """

    name: str
    count: int = 0
    pointer: bool = False
    out: bool = False
    variables: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)
    """Integers whose address may be passed."""
    structures: list[str] = field(default_factory=list)
    has_array: bool = False
    has_routine: bool = False
    """It keeps the address of the allocation routine."""


class Program(Twin):
    """One driver."""

    def __init__(self, seed: int) -> None:
        super().__init__(random.Random(seed))
        self.tag = FIRST_TAG
        self.has_globals = self.chance(0.7)
        self.has_table = self.chance(0.4)
        self.has_pointers = self.chance(0.3)
        self.c.append(PRELUDE)
        self.functions: list[Function] = []
        self._make()

    def values(self, seed: int, runs: int = 150) -> dict[int, set[int]]:
        """By tag, what calls of DriverEntry and then of dispatch routines receive."""
        seen: dict[int, set[int]] = {}
        opaque = random.Random(seed)

        def allocate(value: int, tag: int) -> None:
            seen.setdefault(tag, set()).add(value & MASK)

        def value() -> int:
            return opaque.choice((*OPAQUE, opaque.getrandbits(32)))

        self.run_often(opaque, value, {"A": allocate}, runs)
        return seen

    # ---- choices

    def pick(self, *items: str) -> str:
        return self.random.choice(items)

    def number(self) -> int:
        return self.random.choice(CONSTANTS)

    # ---- expressions

    def constant(self) -> Both:
        value = self.number()
        return Both(f"{value:#x}u", str(value))

    def expression(self, where: Function, depth: int = 0) -> Both:
        kinds = {
            self.constant: 30,
            lambda: self.read(where): 38,
            lambda: self._masked(self.random.choice((1, 3, 7))): 4,
            lambda: self._arithmetic(where, depth): 8,
            lambda: self._shifted(where, depth): 4,
            lambda: self._chosen(where, depth): 7,
            lambda: self._cast(where, depth): 3,
            self._element: 3,
        }
        make = self.constant if depth > 2 else self.random.choices([*kinds], [*kinds.values()])[0]
        return make()

    def _masked(self, mask: int) -> Both:
        return Both(f"(R() & {mask})", f"(R() & {mask})")

    def _arithmetic(self, where: Function, depth: int) -> Both:
        sign, value = self.pick("|", "&", "^", "+", "-", "|"), self.random.choice(OPERANDS)
        a = self.expression(where, depth + 1)
        return Both(f"(({a.c}) {sign} {value:#x}u)", f"((({a.py}) {sign} {value}) & {MASK})")

    def _shifted(self, where: Function, depth: int) -> Both:
        sign, bits = self.pick("<<", ">>"), self.random.choice((1, 8, 9, 16))
        a = self.expression(where, depth + 1)
        return Both(f"(({a.c}) {sign} {bits})", f"((({a.py}) {sign} {bits}) & {MASK})")

    def _chosen(self, where: Function, depth: int) -> Both:
        test = self.condition(where)
        a, b = self.expression(where, depth + 1), self.expression(where, depth + 1)
        return Both(f"(({test.c}) ? ({a.c}) : ({b.c}))", f"(({a.py}) if ({test.py}) else ({b.py}))")

    def _cast(self, where: Function, depth: int) -> Both:
        a = self.expression(where, depth + 1)
        if self.chance(0.3):
            return Both(f"((ULONG)(LONG)(CSHORT)({a.c}))", f"extend({a.py})")
        kind, mask = self.random.choice((("UCHAR", 0xFF), ("USHORT", 0xFFFF)))
        return Both(f"((ULONG)({kind})({a.c}))", f"(({a.py}) & {mask})")

    def _element(self) -> Both:
        table = self.pick("T0", "T1")
        return Both(f"{table}[R() & 3]", f"{table}[R() & 3]")

    def condition(self, where: Function) -> Both:
        kind = self.random.random()
        if kind < 0.45:
            return self._masked(self.random.choice((1, 2, 4)))
        a = self.read(where)
        if kind < 0.8:
            sign, value = self.pick("==", "!=", "<", ">", "=="), self.number()
            return Both(f"({a.c}) {sign} {value:#x}u", f"({a.py}) {sign} {value}")
        if kind < 0.9:
            b = self.read(where)
            return Both(f"({a.c}) == ({b.c})", f"({a.py}) == ({b.py})")
        return Both(f"!({a.c})", f"not ({a.py})")

    def places(self, where: Function) -> list[Place]:
        found = [Place(name, name, MASK) for name in where.variables] * 2
        found += [Place(name, f"{name}[0]", MASK) for name in where.boxes]
        members = [(f"{name}.", name) for name in where.structures]
        members += [("q->", "q")] if where.pointer else []
        if where.out:
            found.append(Place("*o", "o[0]", MASK))
        if self.has_globals:
            found += [Place(name, f'G["{name}"]', MASK) for name in ("g0", "g1", "g2")]
            members.append(("gs.", "gs"))
        for prefix, name in members:
            found += [Place(prefix + each, f'{name}["{each}"]', mask) for each, mask in FIELDS]
        if where.has_array:
            i = self.random.randrange(4)
            found.append(Place(f"arr[{i}]", f"arr[{i}]", MASK))
        return found

    def place(self, where: Function) -> Place:
        return self.random.choice(self.places(where))

    def read(self, where: Function) -> Both:
        if where.has_array and self.chance(0.1):
            return Both("arr[R() & 3]", "arr[R() & 3]")
        found = self.place(where)
        return Both(found.c, found.py)

    # ---- statements

    def call(self, where: Function) -> Both | None:
        """A call of something; its arguments call nothing, whose order would not be defined."""
        if self.has_table and self.chance(0.15):
            a = self.expression(where, 1)
            return Both(f"FT[R() & 1]({a.c})", f"FT[R() & 1]({a.py})")
        if not self.functions:
            return None
        callee = self.random.choice(self.functions[-4:])
        arguments = [self.expression(where, 1) for _ in range(callee.count)]
        if callee.pointer:
            known = [Both(f"&{name}", name) for name in where.structures]
            known += [Both("q", "q")] if where.pointer else []
            arguments += [self.random.choice(known)] if known else []
        if callee.out:
            known = [Both(f"&{name}", name) for name in where.boxes]
            known += [Both("o", "o")] if where.out else []
            arguments += [self.random.choice(known)] if known else []
        if len(arguments) < callee.count + callee.pointer + callee.out:
            return None
        c, py = (", ".join(each[k] for each in arguments) for k in (0, 1))
        return Both(f"{callee.name}({c})", f"{callee.name}({py})")

    def site(self, where: Function) -> Both:
        a = self.expression(where) if self.chance(0.35) else self.read(where)
        routine = "ExAllocatePoolWithTag"
        if self.has_pointers and self.chance(0.3):
            routine = self.pick("gp", *["lp"] * where.has_routine)
        tag, self.tag = self.tag, self.tag + 1
        return Both(f"Sink = {routine}({a.c}, 16, {tag:#x}u);", f"A({a.py}, {tag})")

    def block(self, where: Function, count: int, level: int) -> list[Both]:
        lines: list[Both] = []
        for _ in range(count):
            lines += self._statement(where, level)
            if lines and lines[-1].c.lstrip().startswith("return"):
                break
        return [*lines, self._line(level, "", "pass")]

    def _assign(self, level: int, to: Place, a: Both) -> Both:
        return self._line(level, f"{to.c} = {a.c};", f"{to.py} = ({a.py}) & {to.mask}")

    def _statement(self, where: Function, level: int) -> list[Both]:
        kind = self.random.random()
        if kind < 0.34:
            return [self._assign(level, self.place(where), self.expression(where))]
        if kind < 0.40 and where.has_array:
            return [self._assign(level, Place(*["arr[R() & 3]"] * 2, MASK), self.expression(where))]
        if kind < 0.56 and level < 4:
            return self._if(where, level)
        if kind < 0.61 and level < 3:
            return self._switch(where, level)
        if kind < 0.66 and level < 3:
            return self._loop(where, level)
        if kind < 0.78:
            call = self.call(where)
            if call is None:
                return []
            if self.chance(0.6):
                return [self._assign(level, self.place(where), call)]
            return [self._line(level, f"{call.c};", call.py)]
        if kind < 0.81 and level > 1:
            a = self.expression(where)
            return [self._line(level, f"return {a.c};", f"return {a.py}")]
        a = self.site(where)
        return [self._line(level, a.c, a.py)]

    def _switch(self, where: Function, level: int) -> list[Both]:
        of = self._masked(15) if self.chance(0.6) else self.read(where)
        cases = self.random.sample(range(9), self.random.randint(3, 8))
        if self.chance(0.4):
            cases = self.random.sample([0, 1, 4, 5, 0x200, 0x204, 33], 4)
        lines = [self._line(level, f"switch ({of.c}) {{", f"k = ({of.py})")]
        for n, case in enumerate(cases):
            lines.append(
                self._line(level, f"case {case}:", f"{'elif' if n else 'if'} k == {case}:")
            )
            lines += self.block(where, self.random.randint(1, 2), level + 1)
            lines.append(self._line(level + 1, "break;", ""))
        return [*lines, self._line(level, "}", "")]

    # ---- functions

    def _locals(self, where: Function) -> list[Both]:
        count = self.random.randint
        where.variables += [f"v{n}" for n in range(count(1, 3))]
        where.boxes = [f"w{n}" for n in range(count(0, 2))]
        where.structures = [f"s{n}" for n in range(count(0, 2))]
        where.has_array = self.chance(0.3)
        where.has_routine = self.has_pointers and self.chance(0.4)
        lines = []
        for name in (*where.variables, *where.boxes):
            if name[0] in "vw":
                a = self.constant()
                held = f"[{a.py}]" if name in where.boxes else a.py
                lines.append(self._line(1, f"ULONG {name} = {a.c};", f"{name} = {held}"))
        for name in where.structures:
            a, b, c, d = (self.number() for _ in range(4))
            in_py = f"{name} = dict(a={a}, b={b & 0xFF}, c={c}, d={d})"
            lines.append(self._line(1, f"struct S {name} = {{{a}, {b & 0xFF}, {c}, {d}}};", in_py))
        if where.has_array:
            held = ", ".join(str(self.number()) for _ in range(4))
            lines.append(self._line(1, f"ULONG arr[4] = {{{held}}};", f"arr = [{held}]"))
        if where.has_routine:
            lines.append(
                self._line(
                    1, f"ALLOC *lp = {self.pick('ExAllocatePoolWithTag', EITHER, 'gp')};", ""
                )
            )
        return lines

    def _function(self, where: Function, is_inline: bool, convention: str) -> None:
        where.variables = [f"p{n}" for n in range(where.count)]
        declared = [f"ULONG {name}" for name in where.variables]
        declared += ["struct S *q"] * where.pointer + ["ULONG *o"] * where.out
        names = [*where.variables, *["q"] * where.pointer, *["o"] * where.out]
        lines = self._locals(where) + self.block(where, self.random.randint(3, 7), 1)
        a = self.expression(where)
        kind = f"{self._placed()}static{'' if is_inline else ' NOINLINE'}"
        head = f"{kind} ULONG {convention} {where.name}({', '.join(declared) or 'VOID'}) {{"
        tail = Both(f"return {a.c};", f"return {a.py}")
        self._add(Both(head, f"def {where.name}({', '.join(names)}):"), lines, tail)

    def _placed(self) -> str:
        """An attribute that puts a function elsewhere."""
        return ""

    def _opening(self) -> list[Both]:
        """What DriverEntry does first, beside the usual."""
        return []

    def _routine(self, head: Both, opening: list[Both], where: Function, least: int) -> None:
        """A function that Windows calls; it returns 0."""
        lines = self._locals(where) + self.block(where, self.random.randint(least, least + 3), 1)
        ended = [
            Both(_zero(line.c, "return 0;"), _zero(line.py, "return 0"))
            if line.c.lstrip().startswith("return ")
            else line
            for line in lines
        ]
        self._add(head, [*opening, *ended], Both("return 0;", "return 0"))

    def _make(self) -> None:
        row = lambda: [self.number() for _ in range(4)]  # noqa: E731
        first, second, start = row(), row(), row()
        a, b, c, d = start
        self.c += [
            f"static const ULONG T0[4] = {{{', '.join(map(str, first))}}};",
            f"static {self.pick('const ', '')}ULONG T1[4] = {{{', '.join(map(str, second))}}};",
            f"static ULONG g0 = {a}, g1 = {b}, g2 = {c};",
            f"static struct S gs = {{{d}, {a & 0xFF}, {b}, {c}}};",
            "static ALLOC *gp;",
        ]
        self.py += [
            f"T0, T1, G, gs = {first}, {second}, {{}}, {{}}",
            "def reset():",
            f"    G.update(g0={a}, g1={b}, g2={c}); gs.update(a={d}, b={a & 0xFF}, c={b}, d={c})",
            "def extend(value):",
            "    value &= 0xFFFF",
            "    return value | 0xFFFF0000 if value & 0x8000 else value",
        ]
        self._make_functions()
        self._make_routines(self.random.randint(1, 3))

    def _make_functions(self) -> None:
        if self.has_table:
            self.has_table = False  # not in the functions of the table itself
            for name in ("t0", "t1"):
                self._function(Function(name, 1), self.chance(0.3), "")
            self.c.append("static ULONG (*const FT[2])(ULONG) = {t0, t1};")
            self.py.append("FT = [t0, t1]")
            self.has_table = True
        for n in range(self.random.randint(2, 6)):
            count = self.random.choice((0, 1, 1, 2, 3, 5, 6))
            where = Function(f"f{n}", count, self.chance(0.25), self.chance(0.2))
            self._function(where, self.chance(0.4), self.pick("", "", "__fastcall", "NTAPI"))
            self.functions.append(where)

    def _make_routines(self, count: int) -> None:
        for n in range(count):
            head = Both(f"static NTSTATUS NTAPI D{n}(PVOID device, PVOID irp) {{", f"def D{n}():")
            opening = [Both("    ULONG p0 = (ULONG)(ULONG_PTR)irp;", "    p0 = R()")]
            self._routine(head, opening, Function(f"D{n}", variables=["p0"]), 2)
        opening = [Both(f"    gp = {self.pick(*['ExAllocatePoolWithTag'] * 2, EITHER)};", "")]
        opening += [Both(f"    driver->MajorFunction[{n}] = D{n};", "") for n in range(count)]
        opening += self._opening()
        head = "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path) {"
        self._routine(Both(head, "def entry():"), opening, Function("entry"), 2)
        routines = ", ".join(f"D{n}" for n in range(count))
        self.py += ["def run(count):", "    reset()", "    entry()", "    for _ in range(count):"]
        self.py.append(f"        choice([{routines}])()")


def _zero(line: str, text: str) -> str:
    """A line with the same indentation."""
    return line[: len(line) - len(line.lstrip())] + text
