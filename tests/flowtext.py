"""An architecture made of text, so that the data flow is tested without a binary.

    flow = Text('''
        entry:
            x0 = 0x200
            if x1 == 0 goto .out
            x0 = load [image+0x3000]:4
        .out:
            call import Alloc
            ret
    ''', data={0x3000: 0x40}).flow

A line is an instruction of four bytes. Labels that begin with a dot lie within a function, others
start one. x0 to x3 carry arguments and x0 the result; x0 to x7 are lost in calls, x8 to x15 kept.
Registers are `x1`, or `x1:4` for its low four bytes; memory is `[x1+8]`, `[sp-8]`,
`[image+0x3000]`, `[x1+x2*4+8]`, with `:4` behind it for a size other than eight bytes. The stack
pointer never moves. Data is given as numbers by RVA; a negative one is a pointer to an RVA, a name
one to a label.
"""

import re
from bisect import bisect_right
from types import SimpleNamespace

import numpy as np

from hvci.binary.flow.atoms import Kind, describe
from hvci.binary.flow.dataflow import Dataflow
from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Choose,
    Condition,
    Const,
    Effect,
    Either,
    Equality,
    Flow,
    Function,
    ImageAddress,
    Insert,
    Load,
    Memory,
    Opaque,
    Reg,
    SignExtend,
)
from hvci.binary.form.references import References

CODE, SLOTS, SIZE, BASE = 0x1000, 0x2000, 0x6000, 0x1_4000_0000
READ_ONLY = 0x2800
"""RVAs from here up to `WRITABLE` are constants."""
WRITABLE = 0x3000
FP, SP = 29, 31
VOLATILE = 0xFF
OPERATORS = {
    "+": "add", "-": "sub", "&": "and", "|": "or", "^": "xor", "*": "mul", "<<": "shl", ">>": "shr"
}  # fmt: skip
RELATIONS = {"==": "eq", "!=": "ne", "<": "slt", ">=": "sge"}
_MEMORY = re.compile(r"\[(\w+)(?:\+(x\d+)\*(\d+))?([+-]\w+)?\](?::(\d))?$")
_SPLIT = re.compile(r"^(.+?) (<<|>>|[-+&|^*])(?::(\d))? (.+)$")


def register(text):
    """The number of a register."""
    return {"sp": SP, "fp": FP}.get(text) or int(text[1:]) if text != "x0" else 0


def memory(text):
    """A memory operand."""
    base, index, scale, displacement, size = _MEMORY.match(text).groups()
    number = {"image": IMAGE_BASE, "gs": NO_REGISTER}.get(base)
    return Memory(
        register(base) if number is None else number,
        register(index) if index else NO_REGISTER,
        int(scale or 1),
        int(displacement or "0", 0),
        int(size or 8),
    )


def told(held):
    """Atoms as a set that reads well in a test: numbers, and words for what is none."""
    return {_in_words(atom) for atom in held}


def _in_words(atom):
    match atom.kind:
        case Kind.CONST:
            return atom.value
        case Kind.BEFORE_OPT_IN:
            return f"{atom.value:#x} before the opt-in"
        case Kind.UNSET:
            return f"{atom.value:#x} that nothing sets"
        case Kind.IMPORT:
            return "an import"
        case Kind.STACK:
            return f"frame {atom.value}"
    return describe(atom)


class Row:
    """One instruction."""

    def __init__(self, text):
        self.text, self.flow, self.label, self.operand = text, Flow.NEXT, None, None
        self.defines, self.stores, self.compared = {}, [], None
        self.fills = False


class TextFunction(Function):
    """A function whose instructions are rows."""


class Text:
    """A program with its data, and the data flow over it; also its architecture and functions."""

    bits, stack_pointer, frame_pointer, result = 64, SP, FP, 0
    parameter_registers, entry_registers = (0, 1, 2, 3), frozenset((0, 1, 2, 3))
    count_register = -1
    volatile, dispatch_register, return_address_size = VOLATILE, 15, 8
    loads_call_targets, is_overworked = False, False

    def __init__(self, source, data=None, *, entry="entry", exports=(), taken=()):
        self.stands_for, self.labels, self.imports, self.rows = {}, {}, {}, {}
        self.starts, self.functions = [], {}
        lines = [line.partition("#")[0].strip() for line in source.splitlines()]
        rva, pending = CODE, []
        for line in filter(None, lines):
            if line.endswith(":"):
                pending.append(line[:-1])
                continue
            for label in pending:
                self.labels[label] = rva
                if not label.startswith("."):
                    self.starts.append(rva)
            pending = []
            self.rows[rva] = line
            rva += 4
        self.end = rva
        self.rows = {at: self.row(line) for at, line in self.rows.items()}
        self.image = self._image(data or {}, entry, exports)
        self.references = TextReferences(self)
        self.taken = {self.labels[name] for name in taken}
        self.flow = Dataflow(self.image, self, self, Still())
        for at, row in self.rows.items():
            if isinstance(row.label, str) and row.label.startswith("import "):
                self.flow.interprocedural.thunks[self.target(row)] = row.label[7:]
            row.rva = at

    # ---- questions of tests

    def where(self, text, count=0):
        """(function, index) of the instruction that a text begins."""
        found = [at for at, row in self.rows.items() if row.text.startswith(text)]
        return self.instruction_at(found[count])

    def before(self, text, location, count=0):
        """What a location can hold before the instruction that a text begins."""
        self.flow.begin()
        held = self.flow.value(*self.where(text, count), location)
        return self.flow.interprocedural.resolve(held)

    def argument(self, text, position, size=4, count=0):
        """An argument of the call that a text begins, callers asked."""
        self.flow.begin()
        held = self.flow.interprocedural.argument(*self.where(text, count), position, size)
        return self.flow.interprocedural.resolve(held)

    # ---- reading

    def slot_of(self, name):
        """The RVA of an import's slot; it is made when it is first named."""
        return self.imports.setdefault(name, SLOTS + 8 * len(self.imports))

    def row(self, text):
        """An instruction from its line."""
        row = Row(text)
        word, _, rest = text.partition(" ")
        plain = {"ret": Flow.RETURN, "stop": Flow.STOP, "nop": Flow.NEXT}
        if word in plain:
            row.flow = plain[word]
        elif word == "goto":
            row.flow, row.label = Flow.JUMP, rest
        elif word == "if":
            row.flow = Flow.BRANCH
            condition, _, row.label = rest.partition(" goto ")
            row.compared = None if condition == "?" else condition.split()
        elif word in ("call", "jump"):
            is_direct = rest in self.labels or rest.startswith("import ")
            direct, indirect = (
                (Flow.CALL, Flow.INDIRECT_CALL)
                if word == "call"
                else (Flow.JUMP, Flow.INDIRECT_JUMP)
            )
            row.flow = direct if is_direct else indirect
            if is_direct:
                row.label = rest
            else:
                row.operand = self.expression(rest if rest[0] != "[" else f"load {rest}")
        elif word == "fill":
            row.stores, row.fills = [(memory(rest), Opaque("a fill"))], True
        else:
            self._assignment(row, text)
        return row

    def _assignment(self, row, text):
        left, _, right = text.partition(" = ")
        if left.startswith("["):
            row.stores = [(memory(left), self.expression(right))]
            return
        name, _, size = left.partition(":")
        number, value = register(name), self.expression(right)
        row.defines[number] = Insert(Reg(number), value, int(size), 0) if size else value

    def expression(self, text):
        """What stands on the right of an assignment."""
        word, _, rest = text.partition(" ")
        split = None if word in ("either", "choose") else _SPLIT.match(text)
        if split:
            left, sign, size, right = split.groups()
            operands = self.expression(left), self.expression(right)
            return Binary(OPERATORS[sign], *operands, int(size or 8))
        if word == "load":
            return Load(memory(rest))
        if word == "address":
            where = memory(rest)
            is_rva = where.base == IMAGE_BASE and where.index_register == NO_REGISTER
            return ImageAddress(where.displacement) if is_rva else Address(where)
        if word == "function":
            return ImageAddress(self.labels[rest])
        if word == "import":
            return Load(Memory(IMAGE_BASE, NO_REGISTER, 1, self.slot_of(rest), 8))
        if word == "signed":
            return SignExtend(self.expression(rest), int(text[-1]), 8)
        if word == "either":
            return Either(*map(self.expression, rest.split(" or ")))
        if word == "choose":  # choose x1 == 5 then A else B
            compared, _, rest = rest.partition(" then ")
            left, _, right = compared.split()
            outcomes = map(self.expression, rest.split(" else "))
            return Choose(Equality(register(left), int(right, 0), 4, -1), *outcomes)
        if word == "?":
            return Opaque("something that is not followed")
        if text[0] == "x" or text in ("sp", "fp"):
            name, _, size = text.partition(":")
            return Reg(register(name), int(size or 8))
        return Const(int(text, 0) & ((1 << 64) - 1))

    def _image(self, data, entry, exports):
        content = bytearray(SIZE)
        places = []
        for rva, value in data.items():
            is_number = isinstance(value, int) and value >= 0
            target = self.labels[value] if isinstance(value, str) else -value
            size = 4 if is_number and value < 1 << 32 else 8
            number = value if is_number else BASE + target
            content[rva : rva + size] = number.to_bytes(size, "little")
            if not is_number:
                places.append(rva)
        named = {slot: SimpleNamespace(name=name) for name, slot in self.imports.items()}
        return SimpleNamespace(
            bits=64,
            base=BASE,
            size=SIZE,
            pointer_size=8,
            memory=content,
            imports=named,
            exports={self.labels[name]: name for name in exports},
            headers=SimpleNamespace(entry=self.labels.get(entry, -1)),
            relocations=SimpleNamespace(rvas=np.array(sorted(places), np.int64)),
            code_ranges=[(CODE, self.end)],
            guard_dispatch=-1,
            guard_dispatches=frozenset(),
            holds=lambda rva, size=1: rva >= 0 and rva + size <= SIZE,
            number=lambda rva, size: int.from_bytes(content[rva : rva + size], "little"),
            is_writable=lambda rva: rva >= WRITABLE,
            find=lambda wanted: iter([at] if (at := content.find(wanted)) >= 0 else []),
            section_at=lambda rva: SimpleNamespace(rva=WRITABLE),
            is_code=lambda rva: CODE <= rva < self.end,
        )

    def target(self, row):
        """The RVA to which a row jumps or that it calls."""
        if row.label.startswith("import "):
            return SIZE - 0x100 - (self.slot_of(row.label[7:]) - SLOTS)
        return self.labels[row.label]

    # ---- what the data flow asks of functions

    def at(self, rva):
        """The function around an RVA."""
        if not self.image.is_code(rva):
            return None
        n = bisect_right(self.starts, rva) - 1
        start = self.starts[n]
        if start not in self.functions:
            end = self.starts[n + 1] if n + 1 < len(self.starts) else self.end
            self.functions[start] = self._function(start, end)
        return self.functions[start]

    def _function(self, start, end):
        function = TextFunction(start, [(start, end)], "start")
        function.rvas = [*range(start, end, 4)]
        function.ends = {len(function.rvas) - 1: end}
        function.instructions = [self.rows[rva] for rva in function.rvas]
        function.flows = bytes(row.flow for row in function.instructions)
        direct = (Flow.JUMP, Flow.BRANCH)
        rows = enumerate(function.instructions)
        function.link({i: self.target(row) for i, row in rows if row.flow in direct})
        function.indirect_jumps = [
            i for i, row in enumerate(function.instructions) if row.flow == Flow.INDIRECT_JUMP
        ]
        return function

    def instruction_at(self, rva):
        """The instruction that holds an RVA."""
        function = self.at(rva)
        return function, (rva - function.start) // 4

    def starting_at(self, rva):
        """The function that starts at an RVA."""
        function = self.at(rva)
        return function if function is not None and function.start == rva else None

    def callers(self, start):
        """Direct calls and tail jumps from other functions."""
        wanted = (Flow.CALL, Flow.JUMP)
        places = [
            at for at, row in self.rows.items() if row.flow in wanted and self.target(row) == start
        ]
        found = [self.instruction_at(at) for at in places]
        return [(f, i) for f, i in found if i not in f.jumps]

    def takes_address(self, rva):
        """Whether a test says so, or an instruction or pointer makes the address."""
        makes = (ImageAddress(rva) in row.defines.values() for row in self.rows.values())
        return rva in self.taken or any(makes) or bool(self.references.pointers_to(rva))

    def plain_argument(self, function, i, number):
        """No short cut."""
        return

    # ---- what it asks of an architecture

    def effect(self, function, i):
        """What a row changes."""
        row = function.instructions[i]
        if row.flow in (Flow.CALL, Flow.INDIRECT_CALL):
            return Effect(VOLATILE)
        registers = sum(1 << number for number in row.defines)
        return Effect(registers, tuple(each for each, _ in row.stores), row.fills)

    changes = effect

    def define(self, function, i, number):
        """What a row puts into a register."""
        expr = function.instructions[i].defines.get(number, Opaque("what a call leaves"))
        if isinstance(expr, Choose):
            return expr._replace(comparison=expr.comparison._replace(since=i))
        return expr

    def stored(self, function, i, n=0):
        """What a row stores."""
        return function.instructions[i].stores[n][1]

    def equality(self, function, branch, taken):
        """What holds on an edge."""
        compared = function.instructions[branch].compared
        if compared is None or (compared[1] == "==") is not taken:
            return None
        return Equality(register(compared[0]), int(compared[2], 0), 8, branch)

    def is_padding(self, function, i):
        """Rows without effect are."""
        return function.instructions[i].text == "nop"

    def never_returns(self, function, i):
        """Whether a row calls what stops at once."""
        row = function.instructions[i]
        target = self.rows.get(self.target(row)) if row.flow == Flow.CALL else None
        return target is not None and target.flow == Flow.STOP

    def direct_target(self, function, i):
        """The RVA that a row calls."""
        return self.target(function.instructions[i])

    def indirect_operand(self, function, i):
        """Where the pointer of a call is."""
        return function.instructions[i].operand

    def arguments_above(self, is_call):
        """Argument 4 lies right above the return address, as if four had no home."""
        return -4 if is_call else -3

    def storing(self, function):
        """The rows that store something."""
        return [i for i, row in enumerate(function.instructions) if row.stores]

    def taken_addresses(self, function):
        """Every address of the frame that is taken."""
        for i, row in enumerate(function.instructions):
            for expr in row.defines.values():
                if isinstance(expr, Address) and expr.memory.base in (SP, FP):
                    yield i, expr.memory

    def hands_on(self, function, i, registers=0, alone=False):
        """Whatever makes an address may hand it on."""
        return True

    def goes_on(self, function, i):
        """Whoever is called does something."""
        return 0

    def may_hold_stack_address(self, function, number):
        """Any register may."""
        return True

    def condition(self, function, i):
        """What an `if` compares, in 32 bits."""
        compared = function.instructions[i].compared
        if compared is None:
            return None
        left, sign, right = compared
        return Condition(RELATIONS[sign], Reg(register(left), 4), self.expression(right), 4, i)

    def numbers(self, low, high):
        """None: no store of these texts lies far behind a pointer."""
        return np.empty(0, np.int64)

    def may_fill(self, slots):
        """No row may."""
        return SimpleNamespace(behind=lambda place: False, has_index=lambda place: False)

    def names(self, function, i, registers):
        """Any row may name any register."""
        return True

    def reads(self, function, i):
        """Masks of the registers that are the base of memory, and that are read otherwise."""
        row = function.instructions[i]
        named = [*_memories(tuple(row.defines.values())), *(memory for memory, _ in row.stores)]
        named += _memories(tuple(value for _, value in row.stores))
        bases = sum({1 << each.base for each in named if each.base >= 0})
        others = {each.index_register for each in named if each.index_register >= 0}
        others |= {*_registers(tuple(row.defines.values()))}
        others |= {*_registers(tuple(value for _, value in row.stores))}
        return bases, sum(1 << number for number in others)

    def only_compares(self, function, i):
        """Whether a row changes nothing."""
        row = function.instructions[i]
        return not row.defines and not row.stores

    def other_operands(self, function, i):
        """Rows read memory into registers only."""
        return iter(())

    def pushes_constant(self, function, i, value):
        """Nothing is pushed."""
        return False


class Still:
    """A stack pointer that never moves, and no frame pointer."""

    def uneven(self, function):
        """Ways meet at one depth."""
        return frozenset()

    def before(self, function, i):
        """The depth before an instruction."""
        return 0

    def frame_pointer(self, function, i):
        """No register is one."""
        return


class TextReferences(References):
    """References found by looking at every row."""

    def __init__(self, text):
        super().__init__(text.image)
        self.text = text

    def _names(self, row):
        wanted = [each for each, _ in row.stores]
        for expr in (*row.defines.values(), *(value for _, value in row.stores), row.operand):
            wanted += _memories(expr)
        return [each.displacement for each in wanted if each.base == IMAGE_BASE]

    def to_data(self, rva, count=1):
        rows = self.text.rows.items()
        return [at for at, row in rows if any(rva <= n < rva + count for n in self._names(row))]

    def to_slots(self, slots):
        rows = self.text.rows.items()
        return [(at, n) for at, row in rows for n in self._names(row) if n in set(slots)]

    def naming(self, low, high):
        rows = self.text.rows.items()
        found = sorted((n, at) for at, row in rows for n in self._names(row) if low <= n < high)
        pairs = np.array(found, np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def field_loads(self, offset):
        return np.empty(0, np.int64)

    def takes_address(self, rva):
        return self.text.takes_address(rva)

    def find_branches(self):
        none = np.empty(0, np.int64)
        return none, none

    def are_calls(self, sites):
        return np.zeros(len(sites), bool)

    def thunk(self, place):
        return None

    def jumps_on(self, rva):
        return False

    def method_loads(self, displacement):
        return []

    def constants(self, value):
        return []


def _memories(expr):
    """Every memory operand within an expression."""
    if isinstance(expr, Memory):
        return [expr]
    if isinstance(expr, ImageAddress):
        return [Memory(IMAGE_BASE, NO_REGISTER, 1, expr.rva, 8)]
    if isinstance(expr, tuple):
        return [each for part in expr for each in _memories(part)]
    return []


def _registers(expr):
    """The registers that an expression, or several, read but as the base of a load."""
    match expr:
        case Reg(number):
            yield number
        case Load():
            return
        case Address(memory):
            yield from (each for each in memory[:2] if each >= 0)
        case tuple():
            for part in expr:
                yield from _registers(part)
