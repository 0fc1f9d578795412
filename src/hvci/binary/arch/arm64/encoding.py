"""ARM64 encoding as one table: what each form of a word reads, writes and does.

The single source of masks on whole words: `row_of` answers for one word, `kinds` for arrays of
them, both from the same rows. Knows nothing of values. Source: Arm ARM, chapter C4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hvci.binary.form.code import Flow

Words = npt.NDArray[np.uint32]
LR, SP = 30, 31
ZERO = 31
"""The same number where the encoding means the zero register."""
VOLATILE = (1 << 18) - 1 | 1 << LR
"""x0 to x17 and the link register; x18 belongs to the system."""
REMEMBERED = 1 << 15
"""Different words taken apart once: drivers use the same few thousand again and again."""
FIELDS = {"d": 0, "n": 5, "a": 10, "m": 16}
"""Where the fields of a word begin that hold registers, five bits each."""

_ROWS = """
# Bits 31 to 0, `.` for any; the first row that fits holds. Then the fields written and read: d, n,
# a, m; `+` where 31 is the stack pointer, `1` for the register behind an even one, `2` for that
# behind any; `lr`, `17`, `volatile` and the like. Then the fields that may be registers, all four
# where nothing is said.

# constants
adr        0..10000........................  d  -  d  address
adrp       1..10000........................  d  -  d  address
add        1.0100010.......................  d+ n+ dn sum
add        0.0100010.......................  d+ n+ dn
adds       ..1100010.......................  d  n+ dn
addg       ..0100011.......................  d+ n+ dn
subg       ..1100011.......................  d  n+ dn
and        .0.100100.......................  d+ n  dn
orr        .10100100.......................  d+ n  dn
ands       .11100100.......................  d  n  dn
movk       .11100101.......................  d  d  d
movz       ...100101.......................  d  -  d
bitfield   .01100110.......................  d  dn dn
bitfield   ...100110.......................  d  n  dn
extract    ...100111.......................  d  nm

# branches and the system
b          000101..........................  -  -  dnam jump
bl         100101..........................  -  -  dnam call
b.cond     01010100........................  -  -  dnam branch
cbz        .011010.........................  -  d  dnam branch
tbz        .011011.........................  -  d  dnam branch
br         11010110000.....................  -  n  dnam indirect-jump
blr        11010110001.....................  -  n  dnam indirect-call
retaa      11010110010.....00001...........  -  lr,sp dnam return
ret        11010110010.....................  -  n  dnam return
eretaa     11010110100.....00001...........  -  lr,sp dnam return
eret       11010110100.....................  -  -  dnam return
braa       11010111000.....................  -  nd+ dnam indirect-jump
blraa      11010111001.....................  -  nd+ dnam indirect-call
drps       1101011.........................  -  -  dnam stop
svc        11010100000................00001  volatile - dnam
hvc        11010100000................00010  volatile - dnam
smc        11010100000................00011  volatile - dnam
debug      11010100001111100000000000.00000  -  - dnam
debug      11010100001111100000000001000000  volatile - dnam
brk        11010100........................  volatile - dnam stop
xpaclri    11010101000000110010000011111111  lr lr
pac.lr     110101010000001100100011...11111  lr lr,sp
pac.17     110101010000001100100001..011111  17 16,17
hint       11010101000000110010.......11111  -  -
mrs        11010101001.....................  d  -
sysp       11010101010.....................  -  d
mrrs       11010101011.....................  d2 -
msr        11010101........................  -  d
system     ...101..........................  -  -

# registers
mov.zero   101010100001111100000011111.....  d  -
mov        10101010000.....00000011111.....  d  m  dnam copy
logic.s    .11010100.......................  d  nm
logic      ...01010........................  d  nm
add.ext    ..001011..1.....................  d+ n+m
adds.ext   ..101011..1.....................  d  n+m
add.reg    ...01011..0.....................  d  nm
ccmp.imm   ...11010010.........1...........  -  n
ccmp       ...11010010.........0...........  -  nm
csel       10011010100.........00..........  d  nm dnam choice
select     ...11010100.....................  d  nm
one        .1.11010110.....................  d  n
two        .0.11010110.....................  d  nm
three      ...11011........................  d  nma
registers  ....101.........................  d  nm

# loads and stores
structure  ..00110.11......................  n+ n+m dnam based moves load vector
structure  ..00110.10......................  n+ n+m dnam based moves store vector
structure  ..00110.01......................  -  n+ dnam based load vector
structure  ..00110.00......................  -  n+ dnam based store vector
stlr       ..00100.100.....................  -  dn+ dnam based store release
ldar       ..00100.110.....................  d  n+ dnam based load acquire
casp       0.00100.0.1.....................  m1 dn+m dnam based store load
cas        ..00100.1.1.....................  m  dn+m dnam based store load
stxr       ..00100.000.....................  m  dn+ dnam based store
ldxr       ..00100.010.....................  d  n+ dnam based load
stxp       1.00100.001.....................  m  dan+ dnam based store pair
ldxp       1.00100.011.....................  da n+ dnam based load pair
prfm.lit   11011.00........................  -  -
ldr.lit    ..011100........................  -  -  dnam load vector
ldr.lit    ..011000........................  d  -  dnam load
stlur      ..011001000.........00..........  -  dn+ dnam based store release
prfm.acq   110110011.0.........00..........  -  n+ dnam based
ldapur     ..011001..0.........00..........  d  n+ dnam based load acquire
cpy        ..011.01..0.........01..........  dnm dnm dnam based store
ldiapp     ..011.01..0.........10..........  dn+m dn+m dnam based store load
tag        ..011.01............00..........  d  dn+ dnam based
tag        ..011.01............10..........  -  dn+ dnam based
tag        ..011.01.............1..........  dn+ dn+ dnam based
ldp.v      ..10110.11......................  n+ n+ dnam based moves load vector pair
stp.v      ..10110.10......................  n+ n+ dnam based moves store vector pair
ldp.v      ..10110.01......................  -  n+ dnam based load vector pair
stp.v      ..10110.00......................  -  n+ dnam based store vector pair
ldp        ..10100.11......................  dan+ n+ dnam based moves load pair
stp        ..10100.10......................  n+ dan+ dnam based moves store pair
ldp        ..10100.01......................  da n+ dnam based load pair
stp        ..10100.00......................  -  dan+ dnam based store pair
ldr.v      ..111101.1......................  -  n+ dn based load vector
str.v      ..111101.0......................  -  n+ dn based store vector
prfm       1111100110......................  -  n+ dn based
str        ..11100100......................  -  dn+ dn based store
ldr        ..111001........................  d  n+ dn based load
ldr.v      ..111100.11.........10..........  -  n+m dnam indexed load vector
str.v      ..111100.01.........10..........  -  n+m dnam indexed store vector
prfm       111110001.1.........10..........  -  n+m dnam indexed
str        ..111000001.........10..........  -  dn+m dnam indexed store
ldr        ..111000..1.........10..........  d  n+m dnam indexed load
ldraa      11111000..1.........01..........  d  n+ dnam based load
ldraa      11111000..1.........11..........  dn+ n+ dnam based moves load
unknown    ..111.00..1.........01..........  d  n+ dnam based load
unknown    ..111.00..1.........11..........  dn+ n+ dnam based load
ldapr      ..111.00..1.....110000..........  d  n+ dnam based load acquire
swp        ..111.00..1.....100000..........  d  mn+ dnam based store load
st64bv     ..111.00..1.....101.00..........  dm dmn+ dnam based store
atomic     ..111.00..1.........00..........  d  mn+ dnam based store load
ldr.v      ..111100.10..........1..........  n+ n+ dnam based moves load vector
str.v      ..111100.00..........1..........  n+ n+ dnam based moves store vector
ldur.v     ..111100.10..........0..........  -  n+ dnam based load vector
stur.v     ..111100.00..........0..........  -  n+ dnam based store vector
prfum      111110001............1..........  n+ n+ dnam based moves
prfum      111110001............0..........  -  n+ dnam based
str        ..111000000..........1..........  n+ dn+ dnam based moves store
stur       ..111000000..........0..........  -  dn+ dnam based store
ldr        ..111000.............1..........  dn+ n+ dnam based moves load
ldur       ..111000.............0..........  d  n+ dnam based load

# vectors
fcvt       .0.11110..1..00.000000..........  d  -
fcvt       .0.11110..1..100000000..........  d  -
fcvt       .0.11110..1..101000000..........  d  -
fmov       .0.11110..1..110000000..........  d  -
fcvt.fix   .0.11110..0..00.................  d  -
umov       0.001110000.....001.11..........  d  -
from       .0.11110..1..01.000000..........  -  n
from       .0.11110..1..111000000..........  -  n
from.fix   .0.11110..0..01.................  -  n
dup        0.001110000.....000011..........  -  n
ins        01001110000.....000111..........  -  n
vector     ....111.........................  -  -
undefined  00000000........................  -  -  dnam stop
"""
_FLOWS = {str(flow.name).lower().replace("_", "-"): flow for flow in Flow}
_DOES = frozenset(
    (
        *("address", "sum", "copy", "choice", "based", "indexed", "moves", "pair"),
        *("load", "store", "acquire", "release", "vector"),
    )
)


class Row(NamedTuple):
    """One form of a word."""

    name: str
    mask: int
    value: int
    writes: str
    reads: str
    fields: str
    """The fields that may hold registers; immediates stand in the others."""
    does: frozenset[str]
    flow: Flow
    lows: tuple[int, ...]
    """Where those fields begin."""


UNKNOWN = Row("?", 0, 0, "d", "dnam", "dnam", frozenset(), Flow.NEXT, tuple(FIELDS.values()))
"""What is not recognised is taken to write the register in its lowest five bits."""


def _row(line: str) -> Row:
    bits, rest = "", line.split()[1:]
    while len(bits) < 32:
        bits += rest.pop(0)
    writes, reads, fields, *does = [*rest, "dnam"] if len(rest) == 2 else rest
    flow = next((_FLOWS[each] for each in does if each in _FLOWS), Flow.NEXT)
    return Row(
        line.split()[0],
        int(bits.translate({ord("0"): "1", ord("."): "0"}), 2),
        int(bits.replace(".", "0"), 2),
        writes.replace("-", ""),
        reads.replace("-", ""),
        fields,
        frozenset(does) & _DOES,
        flow,
        tuple(FIELDS[each] for each in fields),
    )


ROWS = [_row(line) for line in _ROWS.splitlines() if line and not line.startswith("#")]

# ---- one word

Answer = TypeVar("Answer")


def remembered(function: Callable[[int], Answer]) -> Callable[[int], Answer]:
    """Remember what a function says of each word, and start anew when that is too much.

    A dictionary that is told what it lacks answers in half the time of `lru_cache`, which notes
    the order in which it was asked as well.
    """

    class Known(dict[int, Answer]):
        def __missing__(self, word: int) -> Answer:
            if len(self) >= REMEMBERED:
                self.clear()
            answer = self[word] = function(word)
            return answer

    return Known().__getitem__


BY_WORD = 0xFF
"""In place of a flow that the whole word decides."""
KEY = 0xFFE00C00
"""The bits of a word that decide nearly everything: 31 to 21, 11 and 10."""


@remembered
def _rows_of(key: int) -> tuple[Row, ...]:
    """The rows that a word with some bits of `KEY` can be, in order; the last one always fits."""
    found = []
    for row in ROWS:
        if not (key ^ row.value) & row.mask & KEY:
            found.append(row)
            if not row.mask & ~KEY:
                return tuple(found)
    return (*found, UNKNOWN)


def row_of(word: int) -> Row:
    """The form of a word."""
    for row in _rows_of(word & KEY):
        if not (word ^ row.value) & row.mask:
            return row
    return UNKNOWN


@remembered
def written_registers(word: int) -> int:
    """Mask of the general registers that a word changes, calls apart; bit 31 is SP."""
    return _written(word & _FIELDS_WRITTEN[word >> 24])


@remembered
def named_registers(word: int) -> int:
    """Mask of the registers that a word can read, store or change, calls apart.

    Whatever stands in its fields; in the commonest forms without the immediates.
    """
    return _named(word & _FIELDS_NAMED[word >> 24])


@remembered
def _written(word: int) -> int:
    """The same of a word whose immediates are cleared: there are few of those."""
    return registers_in(row_of(word).writes, word)


@remembered
def _named(word: int) -> int:
    row = row_of(word)
    mask = registers_in(row.writes, word) | _ALWAYS.get(row.reads, 0)
    for low in row.lows:
        mask |= 1 << (word >> low & 31)
    return mask


_ALWAYS = {
    "": 0,
    "lr": 1 << LR,
    "lr,sp": 1 << LR | 1 << SP,
    "17": 1 << 17,
    "16,17": 1 << 16 | 1 << 17,
    "volatile": VOLATILE,
}


def registers_in(text: str, word: int) -> int:
    """Mask of the registers in some fields of a word, as a row names them."""
    known = _ALWAYS.get(text)
    if known is not None:
        return known
    mask = 0
    for low, after in _parsed(text):
        number = word >> low & 31
        if number != ZERO:
            mask |= 1 << number
            if after == "1" and number | 1 != ZERO:
                mask |= 1 << (number | 1)
            elif after == "2" and number + 1 < ZERO:
                mask |= 1 << number + 1
        elif after == "+":
            mask |= 1 << SP
    return mask


@cache
def _parsed(text: str) -> tuple[tuple[int, str], ...]:
    """(lowest bit, what follows) of the fields that a row names."""
    pairs = zip(text, text[1:] + " ", strict=True)
    return tuple((FIELDS[field], after) for field, after in pairs if field in FIELDS)


@remembered
def flow_of(word: int) -> Flow:
    """What a word does to the flow of control."""
    return row_of(word).flow


def flow_at(word: int) -> int:
    """The same by the highest byte, where that tells it."""
    flow: int = _FLOWS_BY_TOP[word >> 24]
    return flow_of(word) if flow == BY_WORD else flow


# ---- many words

LITTLE, CALL, PAIR, WRITES, NOTHING, BRANCHES, COPY, CHOICE = (1 << n for n in range(8))
"""Changes no register but that in its lowest field, and the second of a pair, and goes on to the
next word or branches; may be a call; loads a second register; writes that in its lowest field;
changes no general register; may go elsewhere than to the next word; may copy a whole register;
copies one of two."""
SUM, MOVES, BASED, INDEXED, TWO = (1 << n for n in range(8, 13))
"""Adds a constant to a whole register; loads or stores and adds one to its base; adds one to, or
loads or stores at one from, its base field; at its base and a register; two registers."""
MAKES = SUM | MOVES | CHOICE | COPY
"""What makes an address of an address."""
_MAY = CALL | BRANCHES | COPY
"""What is said where one of the rows that a word can be does it; the rest where all do."""
_KEEPS = frozenset((Flow.NEXT, Flow.BRANCH))


def _bits(row: Row) -> int:
    """What one form does, as bits."""
    if row is UNKNOWN:
        return 0
    calls = row.flow in (Flow.CALL, Flow.INDIRECT_CALL)
    is_little, keeps = not row.writes.strip("da+"), row.flow in _KEEPS
    based = row.does & {"based", "sum"}
    said = (
        (LITTLE, is_little and keeps),
        (CALL, calls),
        (PAIR, "a" in row.writes and row.writes not in _ALWAYS),
        (WRITES, row.writes.startswith("d")),
        (NOTHING, not row.writes and keeps),
        (BRANCHES, row.flow != Flow.NEXT),
        (COPY, "copy" in row.does),
        (CHOICE, "choice" in row.does),
        (SUM, "sum" in row.does),
        (MOVES, "moves" in row.does),
        (BASED, bool(based)),
        (INDEXED, "indexed" in row.does),
        (TWO, "pair" in row.does),
    )
    return sum(bit for bit, is_so in said if is_so)


def _fitting(count: int, decided: int) -> list[tuple[Row, npt.NDArray[np.bool_]]]:
    """Which of so many numbers each row can be, where a number stands for some bits of a word."""
    numbers, left = np.arange(count, dtype=np.uint16), np.ones(count, bool)
    packed = _packed if decided == KEY else _top
    found = []
    for row in ROWS:
        fits = left & (numbers & np.uint16(packed(row.mask)) == np.uint16(packed(row.value)))
        found.append((row, fits))
        if not row.mask & ~decided & 0xFFFFFFFF:
            left = left & ~fits
    return [*found, (UNKNOWN, left)]


def _packed(word: int) -> int:
    """The bits of `KEY`, side by side."""
    return word >> 19 & 0x1FFC | word >> 10 & 3


def _top(word: int) -> int:
    return word >> 24


def _kinds() -> npt.NDArray[np.uint16]:
    every, some = np.full(1 << 13, 0xFFFF, np.uint16), np.zeros(1 << 13, np.uint16)
    for row, fits in _fitting(1 << 13, KEY):
        bits = np.uint16(_bits(row))
        np.bitwise_and(every, bits, out=every, where=fits)
        np.bitwise_or(some, bits, out=some, where=fits)
    return every & np.uint16(0xFFFF ^ _MAY) | some & np.uint16(_MAY)


def _by_top() -> tuple[npt.NDArray[np.uint8], list[int], list[int]]:
    """By the highest byte of a word: its flow, and the bits that tell what it writes and names."""
    low, high = np.full(256, 0xFF, np.uint8), np.zeros(256, np.uint8)
    written, named = (np.full(256, 0xFF000000, np.uint32) for _ in range(2))
    for row, fits in _fitting(256, 0xFF000000):
        low[fits] = np.minimum(low[fits], row.flow)
        high[fits] = np.maximum(high[fits], row.flow)
        fields = row.mask | sum(31 << FIELDS[each] for each in FIELDS if each in row.writes)
        written[fits] |= np.uint32(fields)
        named[fits] |= np.uint32(fields | sum(31 << each for each in row.lows))
    return np.where(low == high, low, np.uint8(0xFF)), written.tolist(), named.tolist()


_KINDS = _kinds()
FLOW_BY_TOP, _FIELDS_WRITTEN, _FIELDS_NAMED = _by_top()
"""Flow by the highest byte of a word; `BY_WORD` where `flow_of` decides."""
_FLOWS_BY_TOP = FLOW_BY_TOP.tolist()


def kinds(words: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """What each word surely does, or may do, as bits."""
    return np.asarray(_KINDS[words >> 19 & 0x1FFC | words >> 10 & 3])


_COPY = next(row for row in ROWS if row.name == "mov")


def all_kinds(words: Words) -> npt.NDArray[np.uint16]:
    """The bits of all words of an image, those of copies as well."""
    found = kinds(words)
    places = (found & COPY != 0).nonzero()[0]
    copied = words[places]
    is_copy = (copied & _COPY.mask == _COPY.value) & (copied >> FIELDS["m"] & 31 != ZERO)
    found[places[~is_copy]] &= 0xFFFF ^ COPY
    return found
