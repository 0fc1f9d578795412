"""Random drivers with more that C allows, beside what `random_program` makes.

Structures reached through pointers, copied and returned; bit-fields; halves of 64-bit values;
atomic and volatile globals; records that hold routines; code in a section of its own; a second
file with shared variables, a wrapper and an NX opt-in variable. A program has some of these shapes
only, so that a wrong answer tells more.
"""

from __future__ import annotations

from random_program import FIELDS, MASK, Function, Place, Program
from random_twins import Both

SHAPES = (
    *("shared", "through", "copies", "made", "bits", "halves", "atomic", "records", "loops"),
    "sections",
)
BITS = (("k", 0x3FF), ("m", 0x3F), ("n", 0xFFFF))
DECLARED = """struct B { ULONG k : 10, m : 6, n : 16; };
union U { struct { ULONG lo, hi; } p; ULONGLONG all; };
struct V { ULONG (*routine)(ULONG); ULONG value; };
struct W { ULONG type; ALLOC *allocate; };
extern ULONG x0, x1, Type;
extern struct S xs;
VOID setx(ULONG value);
ULONG getx(VOID);
PVOID wrapped(ULONG type, ULONG tag);
PVOID opted(ULONG tag);
static struct S *gq;
static struct B gb;
static union U gu;
static volatile ULONG gv = 1;
static ULONG ga = 4;
static struct W gw = {0x200};
static const UCHAR TB[8] = {0, 1, 4, 5, 8, 32, 33, 0};
"""
SECOND = """#include "kernel.h"
struct S { ULONG a; UCHAR b; USHORT c; ULONG d; };
ULONG x0 = 0x200, x1 = 5, Type = 0;
struct S xs = {0x204, 1, 4, 0x200};
VOID setx(ULONG value) { x0 = value; }
ULONG getx(VOID) { return x1; }
PVOID wrapped(ULONG type, ULONG tag) { return ExAllocatePoolWithTag(type, 16, tag); }
PVOID opted(ULONG tag) { return ExAllocatePoolWithTag(Type, 16, tag); }
"""
IN_PYTHON = """gb, gu, gw, xs, X, TB = {}, {}, {}, {}, {}, [0, 1, 4, 5, 8, 32, 33, 0]
gq, plain_reset = gs, reset
def reset():
    plain_reset()
    gb.update(k=0, m=0, n=0); gu.update(lo=0, hi=0); gw.update(type=0x200)
    xs.update(a=0x204, b=1, c=4, d=0x200); X.update(x0=0x200, x1=5, gv=1, ga=4, Type=0x200)
def setx(value):
    X["x0"] = value
def getx():
    return X["x1"]
def swap(name, value):
    old, X[name] = X[name], value
    return old
def half(u, bits):
    return ((u["hi"] << 32 | u["lo"]) >> bits) & 0xFFFFFFFF"""


def members(prefix: str, name: str, fields: tuple[tuple[str, int], ...]) -> list[Place]:
    """The fields of a structure."""
    return [Place(prefix + each, f'{name}["{each}"]', mask) for each, mask in fields]


class WiderProgram(Program):
    """One driver of two files."""

    def __init__(self, seed: int) -> None:
        self.shapes: set[str] = set()
        self.pointers: list[str] = []
        self.halves: list[str] = []
        self.bits: list[str] = []
        self.records: list[str] = []
        super().__init__(seed)

    @property
    def sources(self) -> list[str]:
        """The text of each file."""
        return [self.source, SECOND]

    # ---- expressions

    def places(self, where: Function) -> list[Place]:
        found = super().places(where)
        if "shared" in self.shapes:
            found += [Place("x0", 'X["x0"]', MASK), Place("x1", 'X["x1"]', MASK)]
            found += members("xs.", "xs", FIELDS)
        if "atomic" in self.shapes:
            found += [Place("gv", 'X["gv"]', MASK), Place("ga", 'X["ga"]', MASK)]
        if "records" in self.shapes:
            found.append(Place("gw.type", 'gw["type"]', MASK))
        for name in self.pointers:
            found += members(f"{name}->", name, FIELDS)
        for name in self.bits:
            found += members(f"{name}.", name, BITS)
        for name in self.halves:
            found += members(f"{name}.p.", name, (("lo", MASK), ("hi", MASK)))
        return found

    def read(self, where: Function) -> Both:
        shape = self.random.choice(SHAPES)
        found = self._read(shape) if self.chance(0.4) and shape in self.shapes else None
        found = found or super().read(where)
        return Both(f"(ULONG)({found.c})", found.py)

    def _read(self, shape: str) -> Both | None:
        if shape == "halves":
            name, bits = self.random.choice(self.halves), self.random.choice((0, 16, 32))
            return Both(f"{name}.all >> {bits}", f"half({name}, {bits})")
        if shape == "atomic":
            return Both("__atomic_load_n(&ga, __ATOMIC_ACQUIRE)", 'X["ga"]')
        if shape == "records" and self.records:
            name = self.random.choice(self.records)
            return Both(f"{name}.value", f"{name}[1]")
        if shape == "shared":
            return Both("getx()", "getx()")
        return Both("TB[R() & 7]", "TB[R() & 7]") if shape == "made" else None

    def call(self, where: Function) -> Both | None:
        if self.records and self.chance(0.3):
            name = self.random.choice(self.records)
            return Both(f"{name}.routine({name}.value)", f"{name}[0]({name}[1])")
        return super().call(where)

    def site(self, where: Function) -> Both:
        kind = self.random.random()
        shape = "records" if kind < 0.1 else "shared"
        if kind >= 0.3 or shape not in self.shapes:
            return super().site(where)
        tag, self.tag = self.tag, self.tag + 1
        if shape == "records":
            return Both(f"Sink = gw.allocate(gw.type, 16, {tag:#x}u);", f'A(gw["type"], {tag})')
        if kind < 0.2:
            return Both(f"Sink = opted({tag:#x}u);", f'A(X["Type"], {tag})')
        a = self.read(where)
        return Both(f"Sink = wrapped({a.c}, {tag:#x}u);", f"A({a.py}, {tag})")

    # ---- statements

    def _statement(self, where: Function, level: int) -> list[Both]:
        shape = self.random.choice(SHAPES)
        if shape not in self.shapes or not self.chance(0.4):
            return super()._statement(where, level)
        if shape == "copies":
            return self._copy(where, level)
        if shape == "loops" and level < 3:
            return self._while(where, level)
        found = self._plain(shape, where)
        return [self._line(level, *found)] if found else super()._statement(where, level)

    def _plain(self, shape: str, where: Function) -> Both | None:
        """A statement of one line."""
        a, b = self.read(where), self.expression(where)
        if shape == "shared":
            return Both(f"setx({b.c});", f"setx({b.py})")
        if shape == "halves":
            name = self.random.choice(self.halves)
            c = f"{name}.all = ((ULONGLONG)({a.c}) << 32) | ({b.c});"
            return Both(c, f"{name}.update(hi={a.py}, lo={b.py})")
        if shape == "atomic":
            c = f"g0 = __atomic_exchange_n(&ga, {b.c}, __ATOMIC_SEQ_CST);"
            return Both(c, f'G["g0"] = swap("ga", {b.py})')
        if shape == "made" and where.structures:
            name = self.random.choice(where.structures)
            return Both(f"{name} = m0({b.c});", f"{name}.update(m0({b.py}))")
        return None

    def _copy(self, where: Function, level: int) -> list[Both]:
        known = [(name, f"&{name}") for name in where.structures]
        known += [("xs", "&xs")] if "shared" in self.shapes else [("gs", "&gs")]
        known += [(f"(*{name})", name) for name in self.pointers]
        known += [("(*q)", "q")] * where.pointer
        (to, at), (a, at_a) = self.random.choice(known), self.random.choice(known)
        c = f"{to} = {a};"
        if to != a and self.chance(0.5):
            c = f"memcpy({at}, {at_a}, sizeof(struct S));"
        return [self._line(level, c, f"{at.lstrip('&')}.update({at_a.lstrip('&')})")]

    def _while(self, where: Function, level: int) -> list[Both]:
        test, other = self._masked(3), self.condition(where)
        if self.chance(0.5):
            c, py = f"if (({test.c}) || ({other.c})) {{", f"if ({test.py}) or ({other.py}):"
            lines = [self._line(level, c, py), *self.block(where, 2, level + 1)]
            return [*lines, self._line(level, "}", "")]
        c, py = f"while (({test.c}) && ({other.c})) {{", f"while ({test.py}) and ({other.py}):"
        lines = [self._line(level, c, py)]
        lines += self.block(where, self.random.randint(1, 3), level + 1)
        if self.chance(0.5):
            stop = self.condition(where)
            lines.append(self._line(level + 1, f"if ({stop.c}) break;", f"if {stop.py}:"))
            lines.append(self._line(level + 2, "", "break"))
        return [*lines, self._line(level, "}", "")]

    # ---- functions

    def _locals(self, where: Function) -> list[Both]:
        has = {name for name in sorted(self.shapes) if self.chance(0.5)}
        self.pointers = ["gq"] if "through" in self.shapes else []
        self.halves = ["gu"] if "halves" in self.shapes else []
        self.bits = ["gb"] if "bits" in self.shapes else []
        self.records = []
        lines = super()._locals(where)
        if "through" in has:
            where.structures.append("gs")
            a = self.random.choice(where.structures)
            c = f"struct S *lq = (R() & 1) ? &{a} : gq;"
            lines.append(self._line(1, c, f"lq = {a} if (R() & 1) else gq"))
            self.pointers.append("lq")
        a = self.number()
        if "halves" in has:
            c = f"union U u0 = {{{{{a:#x}u, 1}}}};"
            lines.append(self._line(1, c, f"u0 = dict(lo={a}, hi=1)"))
            self.halves.append("u0")
        if "bits" in has:
            c = f"struct B b0 = {{{a:#x}u & 0x3ff, 1, 2}};"
            lines.append(self._line(1, c, f"b0 = dict(k={a & 0x3FF}, m=1, n=2)"))
            self.bits.append("b0")
        if "records" in has and self.has_table:
            routine = self.pick("t0", "t1")
            c = f"struct V r0 = {{{routine}, {a:#x}u}};"
            lines.append(self._line(1, c, f"r0 = [{routine}, {a}]"))
            self.records.append("r0")
        return lines

    def _placed(self) -> str:
        elsewhere = "sections" in self.shapes and self.chance(0.4)
        return '__attribute__((section("PAGE"))) ' if elsewhere else ""

    def _opening(self) -> list[Both]:
        return [Both("    gq = &gs; gw.allocate = ExAllocatePoolWithTag; Type = 0x200;", "")]

    def _make_functions(self) -> None:
        self.shapes = {name for name in SHAPES if self.chance(0.4)}
        self.c += [f"/* {' '.join(sorted(self.shapes))} */", DECLARED, self._maker()]
        self.py += [IN_PYTHON, "def m0(p):", f"    return dict(a=p & {MASK}, b=5, c=512, d=0)"]
        super()._make_functions()

    def _maker(self) -> str:
        body = "struct S s = {p, 5, 512, 0}; return s;"
        return f"static NOINLINE struct S m0(ULONG p) {{ {body} }}"
