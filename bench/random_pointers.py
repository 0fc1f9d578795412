"""Random drivers whose pointers lead to code and to data, each with the same program in Python.

Addresses of functions, allocated memory, mapped memory and data of the image go through local
variables, structures, globals, allocated records, arrays, parameters, results, tables and loops to
calls and to writes. Python keeps a word instead of an address: what the pointer leads to. Each call
and write has a number of its own. In half of the programs code and data keep apart; in the others
they are mixed up somewhere, so that some run may call data or write to code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from random_twins import Both, Twin

CODE, KERNEL, DATA = "code", "kernel", "data"
"""What a pointer leads to: a function of the driver, a routine of the kernel, anything else."""
CALLED, WRITTEN = "called", "written"
"""What is done with a pointer."""
FIRST_NUMBER = 0x4141_0001
PRELUDE = """#include "kernel.h"
typedef ULONG NTAPI ROUTINE(ULONG);
struct S { ULONG n; PVOID c; USHORT m; PVOID d; };
#define R() ((ULONG)KeQueryTimeIncrement())
static UCHAR buffer[256];
static PHYSICAL_ADDRESS Highest = { { 0xFFFFFFFF, 0 } };
static UNICODE_STRING Name = { 24, 26, (PWSTR)L"KeBugCheckEx" };
static PVOID list;
"""
ALLOCATED = (
    "ExAllocatePool2(POOL_FLAG_NON_PAGED, 256, TAG)",
    "ExAllocatePoolWithTag(NonPagedPoolNx, 256, TAG)",
    "MmAllocateContiguousMemory(256, Highest)",
    "MmMapIoSpaceEx(Highest, 256, PAGE_READWRITE)",
    "MmMapLockedPagesSpecifyCache(list, 0, 1, NULL, 0, NormalPagePriority | MdlMappingNoExecute)",
)
RECORD = "ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(struct S), TAG)"
WORKERS = ("work0", "work1", "work2")


@dataclass
class Function:
    """What a caller must know: parameters of each kind, and of which kind the result is."""

    name: str
    parameters: str = ""
    """`c` code, `d` data, `q` a structure, `C` and `D` the address of a variable."""
    result: str = "c"
    variables: dict[str, list[str]] = field(default_factory=lambda: {"c": [], "d": []})
    boxes: dict[str, list[str]] = field(default_factory=lambda: {"c": [], "d": []})
    structures: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    """Local pointers to structures."""
    array: str = ""
    """Of which kind the elements of its array are."""


class PointerProgram(Twin):
    """One driver."""

    def __init__(self, seed: int) -> None:
        super().__init__(random.Random(f"pointers {seed}"))
        self.number = FIRST_NUMBER
        self.mixing = 0.0 if self.chance(0.5) else self.random.choice((0.1, 0.25))
        self.has_globals = self.chance(0.7)
        self.has_records = self.chance(0.5)
        self.has_table = self.chance(0.3)
        self.c.append(PRELUDE)
        self.py.append("G, gs, gr = {}, {}, [{}]")
        self.functions: list[Function] = []
        self._make()

    def values(self, seed: int, runs: int = 150) -> dict[str, set[int]]:
        """The numbers of the calls and writes, by what is done and what the pointer leads to."""
        seen: dict[str, set[int]] = {}
        opaque = random.Random(seed)

        def use(how: str, what: str, number: int) -> None:
            seen.setdefault(f"{how} {what}", set()).add(number)

        self.run_often(opaque, lambda: opaque.getrandbits(32), {"use": use}, runs)
        return seen

    # ---- choices

    def kind(self) -> str:
        """Code or data."""
        return self.random.choice("cd")

    # ---- expressions

    def expression(self, where: Function, kind: str, depth: int = 0) -> Both:
        """A pointer of a kind; where a program mixes them up, of the other now and then."""
        if self.chance(self.mixing):
            kind = "d" if kind == "c" else "c"
        choice = self.random.random()
        if choice < 0.35 or depth > 2:
            return self._source(kind)
        if choice < 0.85:
            return self.random.choice(self.places(where, kind) or [self._source(kind)])
        if choice < 0.95:
            test, a, b = (
                self.condition(where),
                *(self.expression(where, kind, depth + 1) for _ in "ab"),
            )
            return Both(f"(({test.c}) ? {a.c} : {b.c})", f"({a.py} if {test.py} else {b.py})")
        a = self.expression(where, kind, depth + 1)
        return Both(f"(PVOID)((PUCHAR){a.c} + {16 if kind == 'd' else 0})", a.py)

    def _source(self, kind: str) -> Both:
        if kind == "c":
            if self.chance(0.15):
                return Both("MmGetSystemRoutineAddress(&Name)", repr(KERNEL))
            return Both(f"(PVOID){self.random.choice(WORKERS)}", repr(CODE))
        if self.chance(0.2):
            return Both("(PVOID)buffer", repr(DATA))
        return Both(self.random.choice(ALLOCATED), repr(DATA))

    def condition(self, where: Function) -> Both:
        mask = self.random.choice((1, 2, 3))
        return Both(f"(R() & {mask})", f"(R() & {mask})")

    def places(self, where: Function, kind: str) -> list[Both]:
        """Variables of a kind."""
        found = [Both(name, name) for name in where.variables[kind]] * 2
        found += [Both(name, f"{name}[0]") for name in where.boxes[kind]]
        members = [(f"{name}.", name) for name in where.structures]
        members += [(f"{name}->", name) for name in where.records]
        if kind.upper() in where.parameters:
            found.append(Both(f"*o{kind}", f"o{kind}[0]"))
        if self.has_globals:
            found += [Both(f"g{kind}{n}", f'G["{kind}{n}"]') for n in range(2)]
            members.append(("gs.", "gs"))
            if self.has_records:
                members.append(("gr->", "gr[0]"))
        found += [Both(f"{prefix}{kind}", f'{name}["{kind}"]') for prefix, name in members]
        if where.array == kind:
            i = self.random.choice(("0", "1", "2", "R() & 1"))
            found.append(Both(f"arr[{i}]", f"arr[{i}]"))
        return found

    # ---- statements

    def call(self, where: Function, kind: str) -> Both | None:
        """A call of a function whose result is of a kind."""
        if self.has_table and kind == "c" and self.chance(0.3):
            a = self.expression(where, "c", 1)
            return Both(f"FT[R() & 1]({a.c})", f"FT[R() & 1]({a.py})")
        known = [each for each in self.functions[-4:] if each.result == kind]
        if not known:
            return None
        callee = self.random.choice(known)
        arguments = [self._argument(where, letter) for letter in callee.parameters]
        if None in arguments:
            return None
        c, py = (", ".join(each[k] for each in arguments if each) for k in (0, 1))
        return Both(f"{callee.name}({c})", f"{callee.name}({py})")

    def _argument(self, where: Function, letter: str) -> Both | None:
        if letter in "cd":
            return self.expression(where, letter, 1)
        if letter == "q":
            known = [Both(f"&{name}", name) for name in where.structures]
            known += [Both(name, name) for name in where.records]
        else:
            known = [Both(f"&{name}", name) for name in where.boxes[letter.lower()]]
            name = f"o{letter.lower()}"
            known += [Both(name, name)] if letter in where.parameters else []
        return self.random.choice(known) if known else None

    def block(self, where: Function, count: int, level: int) -> list[Both]:
        lines: list[Both] = []
        for _ in range(count):
            lines += self._statement(where, level)
        return [*lines, self._line(level, "", "pass")]

    def _statement(self, where: Function, level: int) -> list[Both]:
        choice, kind = self.random.random(), self.kind()
        if choice < 0.34:
            return self._assign(where, kind, level, self.expression(where, kind))
        if choice < 0.46 and level < 4:
            return self._if(where, level)
        if choice < 0.51 and level < 3:
            return self._switch(where, level)
        if choice < 0.56 and level < 3:
            return self._loop(where, level)
        if choice < 0.72:
            called = self.call(where, kind)
            if called and self.chance(0.7):
                return self._assign(where, kind, level, called)
            return [self._line(level, f"{called.c};", called.py)] if called else []
        if choice < 0.78 and self.has_records and where.records:
            return self._record(where, level)
        return [self._use(where, level)]

    def _assign(self, where: Function, kind: str, level: int, a: Both) -> list[Both]:
        places = self.places(where, kind)
        if not places:
            return []
        to = self.random.choice(places)
        return [self._line(level, f"{to.c} = {a.c};", f"{to.py} = {a.py}")]

    def _record(self, where: Function, level: int) -> list[Both]:
        name = self.random.choice(where.records)
        c, d = self.expression(where, "c", 1), self.expression(where, "d", 1)
        made = f"{name} = {RECORD}; {name}->c = {c.c}; {name}->d = {d.c};"
        if f"{name}->" in c.c + d.c:  # what is made of the last record is asked for before
            given = f"{name} = {RECORD}; {name}->c = c; {name}->d = d;"
            made = f"{{ PVOID c = {c.c}, d = {d.c}; {given} }}"
        lines = [self._line(level, made, f"{name} = dict(c={c.py}, d={d.py})")]
        if self.has_globals and self.chance(0.4):
            lines.append(self._line(level, f"gr = {name};", f"gr[0] = {name}"))
        return lines

    def _use(self, where: Function, level: int) -> Both:
        number, self.number = self.number, self.number + 1
        if self.chance(0.65):
            a = self.random.choice(self.places(where, "c") or [self.expression(where, "c")])
            c = f"Sink = (PVOID)(ULONG_PTR)((ROUTINE *){a.c})({number:#x}u);"
            return self._line(level, c, f'use("{CALLED}", {a.py}, {number})')
        a = self.random.choice(self.places(where, "d") or [self.expression(where, "d")])
        index = self.random.choice(("0", "1", "3", "R() & 7"))
        c = f"((ULONG volatile *){a.c})[{index}] = {number:#x}u;"
        return self._line(level, c, f'use("{WRITTEN}", {a.py}, {number})')

    def _switch(self, where: Function, level: int) -> list[Both]:
        lines = [self._line(level, "switch (R() & 7) {", "k = R() & 7")]
        for n, case in enumerate(self.random.sample(range(8), self.random.randint(3, 6))):
            test = f"{'elif' if n else 'if'} k == {case}:"
            lines.append(self._line(level, f"case {case}:", test))
            lines += self.block(where, self.random.randint(1, 2), level + 1)
            lines.append(self._line(level + 1, "break;", ""))
        return [*lines, self._line(level, "}", "")]

    # ---- functions

    def _locals(self, where: Function) -> Iterator[Both]:
        for kind in "cd":
            names = [f"v{kind}{n}" for n in range(self.random.randint(0, 2))]
            where.boxes[kind] = [f"w{kind}{n}" for n in range(self.random.randint(0, 1))]
            for name in (*names, *where.boxes[kind]):
                a = self._source(kind)
                held = f"[{a.py}]" if name in where.boxes[kind] else a.py
                yield self._line(1, f"PVOID {name} = {a.c};", f"{name} = {held}")
            where.variables[kind] += names
        for name in (f"s{n}" for n in range(self.random.randint(0, 1))):
            c, d = self._source("c"), self._source("d")
            made = f"struct S {name} = {{ 1, {c.c}, 2, {d.c} }};"
            yield self._line(1, made, f"{name} = dict(c={c.py}, d={d.py})")
            where.structures.append(name)
        if self.has_records and self.chance(0.5):
            c, d = self._source("c"), self._source("d")
            made = f"struct S *h = {RECORD}; h->c = {c.c}; h->d = {d.c};"
            yield self._line(1, made, f"h = dict(c={c.py}, d={d.py})")
            where.records.append("h")
        if self.chance(0.25):
            where.array = self.kind()
            held = [self._source(where.array) for _ in range(3)]
            made = f"PVOID arr[3] = {{ {', '.join(each.c for each in held)} }};"
            yield self._line(1, made, f"arr = [{', '.join(each.py for each in held)}]")

    def _function(self, where: Function, convention: str) -> None:
        declared, names = [], []
        for n, letter in enumerate(where.parameters):
            name = {"q": "q", "C": "oc", "D": "od"}.get(letter, f"p{letter}{n}")
            names.append(name)
            declared.append(
                {"q": "struct S *q", "C": "PVOID *oc", "D": "PVOID *od"}.get(
                    letter, f"PVOID {name}"
                )
            )
            if letter in "cd":
                where.variables[letter].append(name)
            if letter == "q":
                where.records.append(name)
        lines = [*self._locals(where), *self.block(where, self.random.randint(2, 6), 1)]
        a = self.expression(where, where.result)
        place = self.random.choice(("", "", " NOINLINE"))
        head = f"static{place} PVOID{convention} {where.name}({', '.join(declared) or 'VOID'}) {{"
        tail = Both(f"return {a.c};", f"return {a.py}")
        self._add(Both(head, f"def {where.name}({', '.join(names)}):"), lines, tail)

    def _routine(self, head: Both, opening: list[Both], where: Function) -> None:
        """A function that Windows calls; it returns 0."""
        lines = [*self._locals(where), *self.block(where, self.random.randint(2, 5), 1)]
        self._add(head, [*opening, *lines], Both("return 0;", "return 0"))

    def _make(self) -> None:
        for name in WORKERS:
            n = self.random.randrange(1, 99)
            self.c.append(
                f"static NOINLINE ULONG NTAPI {name}(ULONG n) {{ return n * {n} + R(); }}"
            )
        start = [*(self._source("c") for _ in range(2)), Both("work2", repr(CODE))]
        first, second, third = (
            each if each.c.startswith("(") else Both("work0", repr(CODE)) for each in start
        )
        data = Both("buffer", repr(DATA))
        self.c += [
            f"static PVOID gc0 = {first.c}, gc1 = {second.c}, gd0 = {data.c}, gd1 = {data.c};",
            f"static struct S gs = {{ 1, {third.c}, 2, {data.c} }};",
            f"static struct S gz = {{ 1, {first.c}, 2, {data.c} }}, *gr = &gz;",
        ]
        self.py += [
            "def reset():",
            f"    G.update(c0={first.py}, c1={second.py}, d0={data.py}, d1={data.py})",
            f"    gs.update(c={third.py}, d={data.py}); gr[0] = dict(c={first.py}, d={data.py})",
        ]
        if self.has_table:
            self.has_table = False
            for name in ("t0", "t1"):
                self._function(Function(name, "c"), "")
            self.c.append("static PVOID (*const FT[2])(PVOID) = { t0, t1 };")
            self.py.append("FT = [t0, t1]")
            self.has_table = True
        for n in range(self.random.randint(1, 4)):
            letters = "".join(self.random.choice("ccdd") for _ in range(self.random.randint(0, 3)))
            letters += "".join(each for each in "qCD" if self.chance(0.2))
            where = Function(f"f{n}", letters, self.kind())
            self._function(where, self.random.choice(("", "", " NTAPI")))
            self.functions.append(where)
        self._make_routines(self.random.randint(1, 2))

    def _make_routines(self, count: int) -> None:
        for n in range(count):
            head = Both(f"static NTSTATUS NTAPI D{n}(PVOID device, PVOID irp) {{", f"def D{n}():")
            self._routine(head, [], Function(f"D{n}"))
        opening = [Both(f"    driver->MajorFunction[{n}] = D{n};", "") for n in range(count)]
        head = "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path) {"
        self._routine(Both(head, "def entry():"), opening, Function("entry"))
        routines = ", ".join(f"D{n}" for n in range(count))
        self.py += ["def run(count):", "    reset()", "    entry()", "    for _ in range(count):"]
        self.py.append(f"        choice([{routines}])()")
