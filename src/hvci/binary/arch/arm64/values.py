"""ARM64 data processing as expressions: what one word makes of its registers.

Knows single words; the stack pointer and addresses made in two steps are left to arm64_lift.py.
"""

from __future__ import annotations

from functools import lru_cache

from hvci.binary.arch.arm64.encoding import REMEMBERED, ZERO, remembered
from hvci.binary.form.code import Binary, Const, Expr, Insert, Opaque, Reg, SignExtend

NOT_FOLLOWED = Opaque("the result of an instruction that is not followed")
_LOGICAL = ("and", "or", "xor", "and")
_SHIFTS = ("shl", "shr", "sar", "ror")
_EXTENDED_SIZES = (1, 2, 4, 8)


def register(number: int, size: int) -> Expr:
    """A register where 31 means zero."""
    return Const(0) if number == ZERO else Reg(number, size)


def bit_mask(word: int) -> int:
    """The constant of a logical instruction with an immediate; 0 when reserved."""
    size = 64 if word >> 31 else 32
    immr, imms = word >> 16 & 63, word >> 10 & 63
    length = ((word >> 22 & 1) << 6 | ~imms & 63).bit_length() - 1
    if length < 1:
        return 0
    element = 1 << length
    ones = (imms & (element - 1)) + 1
    rotation = immr & (element - 1)
    pattern = (1 << ones) - 1
    pattern = (pattern >> rotation | pattern << (element - rotation)) & ((1 << element) - 1)
    return sum(pattern << at for at in range(0, size, element))


def signed_immediate(word: int) -> int:
    """The immediate of ADD or SUB, negative for SUB."""
    amount = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
    return -amount if word >> 30 & 1 else amount


@lru_cache(REMEMBERED)
def logical_immediate(word: int, size: int) -> Expr:
    """AND, ORR, EOR and ANDS with a constant; ORR of zero is a move."""
    value = Const(bit_mask(word))
    source = register(word >> 5 & 31, size)
    name = _LOGICAL[word >> 29 & 3]
    if source == Const(0):
        return Const(0) if name == "and" else value
    return Binary(name, source, value, size)


@lru_cache(REMEMBERED)
def move_wide(word: int, size: int) -> Expr:
    """MOVN, MOVZ and MOVK."""
    shift = 16 * (word >> 21 & 3)
    constant = (word >> 5 & 0xFFFF) << shift
    match word >> 29 & 3:
        case 0:
            return Const(~constant & ((1 << 8 * size) - 1))
        case 2:
            return Const(constant)
        case 3:
            return Insert(Reg(word & 31, size), Const(constant >> shift), 2, shift)
    return NOT_FOLLOWED


def _shift(name: str, value: Expr, amount: int, size: int) -> Expr:
    return Binary(name, value, Const(amount), size) if amount else value


@lru_cache(REMEMBERED)
def bit_field(word: int, size: int) -> Expr:
    """SBFM, BFM and UBFM: shifts, extensions, extraction and insertion of fields."""
    bits, source = 8 * size, register(word >> 5 & 31, size)
    immr, imms = word >> 16 & bits - 1, word >> 10 & bits - 1
    kind = word >> 29 & 3
    if kind == 1:
        return _insert_field(word, source, size)
    if isinstance(source, Const):
        return source
    whole = imms + 1 if not immr else 0
    if whole in (8, 16, 32) and isinstance(source, Reg):
        part = Reg(source.number, whole // 8)
        return SignExtend(part, whole // 8, size) if kind == 0 else part
    if kind == 0:
        up = bits - 1 - imms
        down = up + immr if imms >= immr else immr - 1 - imms
        return _shift("sar", _shift("shl", source, up, size), down, size)
    if imms >= immr:
        value = _shift("shr", source, immr, size)
        if imms == bits - 1:
            return value
        return Binary("and", value, Const((1 << imms - immr + 1) - 1), size)
    value = source
    if imms + 1 != immr:
        value = Binary("and", source, Const((1 << imms + 1) - 1), size)
    return _shift("shl", value, bits - immr, size)


def _insert_field(word: int, source: Expr, size: int) -> Expr:
    """BFI and BFXIL: some bits of the destination replaced."""
    bits = 8 * size
    immr, imms = word >> 16 & bits - 1, word >> 10 & bits - 1
    if imms >= immr:
        mask, value = (1 << imms - immr + 1) - 1, _shift("shr", source, immr, size)
    else:
        mask = (1 << imms + 1) - 1 << bits - immr
        value = _shift("shl", source, bits - immr, size)
    kept = Binary("and", Reg(word & 31, size), Const(~mask & (1 << bits) - 1), size)
    return Binary("or", kept, Binary("and", value, Const(mask), size), size)


def extract(word: int, size: int) -> Expr:
    """EXTR: bits of two registers in a row; the same one twice is a rotation."""
    low, high = register(word >> 16 & 31, size), register(word >> 5 & 31, size)
    amount = word >> 10 & 8 * size - 1
    if not amount:
        return low
    return Binary(
        "or",
        _shift("shl", high, 8 * size - amount, size),
        _shift("shr", low, amount, size),
        size,
    )


@remembered
def register_form(word: int) -> Expr:
    """Data processing with registers only."""
    size = 8 if word >> 31 else 4
    if not word >> 28 & 1:
        if not word >> 24 & 1:
            return _logical(word, size)
        return _extended_sum(word, size) if word >> 21 & 1 else _shifted_sum(word, size)
    match word >> 21 & 15:
        case 0:
            name = "sbb" if word >> 30 & 1 else "adc"
            return Binary(name, *_sources(word, size), size)
        case 6:
            return _two_sources(word, size)
    return _multiply(word, size) if word >> 24 & 1 else NOT_FOLLOWED


def _sources(word: int, size: int) -> tuple[Expr, Expr]:
    return register(word >> 5 & 31, size), register(word >> 16 & 31, size)


def _shifted(word: int, size: int) -> Expr:
    """The second source of the shifted-register forms."""
    value, amount = register(word >> 16 & 31, size), word >> 10 & 63
    name = _SHIFTS[word >> 22 & 3]
    if name == "ror" and amount:
        return NOT_FOLLOWED
    return _shift(name, value, amount, size)


def _logical(word: int, size: int) -> Expr:
    left, right, name = register(word >> 5 & 31, size), _shifted(word, size), word >> 29 & 3
    if word >> 21 & 1:
        right = Binary("xor", right, Const((1 << 8 * size) - 1), size)
    if left == Const(0):
        return Const(0) if name in (0, 3) else right
    if left == right:
        return Const(0) if name == 2 else left
    return Binary(_LOGICAL[name], left, right, size)


def _shifted_sum(word: int, size: int) -> Expr:
    left, right = register(word >> 5 & 31, size), _shifted(word, size)
    is_sub = word >> 30 & 1
    if is_sub and left == right:
        return Const(0)
    if right == Const(0):
        return left
    return Binary("sub" if is_sub else "add", left, right, size)


def _extended_sum(word: int, size: int) -> Expr:
    """ADD and SUB of an extended register; the first source may be the stack pointer."""
    option, amount = word >> 13 & 7, word >> 10 & 7
    taken = min(_EXTENDED_SIZES[option & 3], size)
    value = register(word >> 16 & 31, taken)
    if option & 4 and taken < size and not isinstance(value, Const):
        value = SignExtend(value, taken, size)
    name = "sub" if word >> 30 & 1 else "add"
    return Binary(name, Reg(word >> 5 & 31, size), _shift("shl", value, amount, size), size)


def outcomes(word: int, size: int) -> tuple[Expr, Expr]:
    """What CSEL, CSINC, CSINV or CSNEG gives when its condition holds, and when not."""
    left, right = _sources(word, size)
    everything = Const((1 << 8 * size) - 1)
    match word >> 30 & 1, word >> 10 & 3:
        case 0, 0:
            return left, right
        case 0, 1:
            return left, Const(1) if right == Const(0) else Binary("add", right, Const(1), size)
        case 1, 0:
            inverted = Binary("xor", right, everything, size)
            return left, everything if right == Const(0) else inverted
        case 1, 1:
            return left, Binary("sub", Const(0), right, size)
    return NOT_FOLLOWED, NOT_FOLLOWED


def _two_sources(word: int, size: int) -> Expr:
    """Shifts by a register; divisions are not followed."""
    if word >> 30 & 1 or word >> 29 & 1 or word >> 12 & 15 != 2:
        return NOT_FOLLOWED
    name = _SHIFTS[word >> 10 & 3]
    left, right = _sources(word, size)
    if name == "ror":
        return NOT_FOLLOWED
    return Binary(name, left, Binary("and", right, Const(8 * size - 1), size), size)


def _multiply(word: int, size: int) -> Expr:
    """MADD, MSUB and their widening forms."""
    form, number = word >> 21 & 7, word >> 10 & 31
    if form == 0:
        left, right = _sources(word, size)
    elif form in (1, 5) and size == 8:
        left, right = _sources(word, 4)
        if form == 1:
            left, right = SignExtend(left, 4, 8), SignExtend(right, 4, 8)
    else:
        return NOT_FOLLOWED
    product = Binary("mul", left, right, size)
    is_sub = word >> 15 & 1
    if number == ZERO and not is_sub:
        return product
    return Binary("sub" if is_sub else "add", register(number, size), product, size)
