"""What is cut from or added to a parameter is what the callers' numbers become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Kind

NUMBERS = st.integers(0, (1 << 32) - 1)
PARAMETER = Atom(Kind.PARAMETER, 0x1000, 1)


def passed(held: atoms.Atoms, value: int) -> atoms.Atoms:
    """What a parameter with its operations is, when the callers pass a number."""
    (only,) = held
    return atoms.apply(atoms.const(value), only.ops)


@given(NUMBERS, st.sampled_from((1, 2, 4)), st.sampled_from((0, 8, 16)))
def test_a_cut_parameter_is_the_cut_of_what_is_passed(value, size, shift):
    cut = atoms.truncate(frozenset((PARAMETER,)), size, shift)
    assert passed(cut, value) == atoms.const(value >> shift & (1 << 8 * size) - 1)
    again = atoms.truncate(cut, size)
    assert passed(again, value) == passed(cut, value)


@given(NUMBERS, st.sampled_from((1, 2)), st.sampled_from((2, 4, 8)))
def test_an_extended_parameter_is_the_extension_of_what_is_passed(value, size, to):
    held = atoms.extend(atoms.truncate(frozenset((PARAMETER,)), size), size, to)
    plain = atoms.extend(atoms.truncate(atoms.const(value), size), size, to)
    assert passed(held, value) == plain


def test_a_part_of_what_is_no_number_is_not_known():
    (held,) = atoms.part(frozenset((PARAMETER,)), 4, 32)
    assert held.kind is Kind.UNKNOWN
    assert atoms.part(atoms.const(0x5_0000_0200), 4, 32) == atoms.const(5)


@pytest.mark.parametrize("kind", [Kind.IMPORT, Kind.ROUTINE])
def test_a_routine_is_not_lost_among_many_values(kind):
    routine = Atom(kind, 0x2000, why="a routine")
    held = atoms.bounded({routine, *atoms.const(*range(atoms.MAX_ATOMS))})
    assert routine in held
    assert any(atom.kind is Kind.UNKNOWN for atom in held)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("and", "or", "xor", "bic", "orn", "add", "sub", "shl", "insert")),
        NUMBERS,
        st.sampled_from((8, 32)),
    ),
    max_size=6,
)


@given(NUMBERS, STEPS, st.integers(0, 31))
def test_what_is_known_of_the_bits_of_anything_holds_for_every_number(value, steps, bit):
    held = frozenset((Atom(Kind.RESULT, 0x1000, why="a routine"),))
    for name, constant, width in steps:
        if name == "insert":
            held = atoms.insert(held, atoms.const(constant & 0xFF), 1, 8)
            value = value & ~0xFF00 | (constant & 0xFF) << 8
            continue
        held = atoms.combine(name, held, atoms.const(constant), width)
        (value,) = (
            atom.value
            for atom in atoms.combine(name, atoms.const(value), atoms.const(constant), width)
        )
    left = atoms.combine("and", held, atoms.const(1 << bit), 32)
    assert value & 1 << bit in {atom.value for atom in left}


def test_a_bit_that_is_set_stays_whatever_the_others_are():
    held = atoms.unknown("anything")
    for name, constant in (("and", 0x1FF), ("add", 0x200), ("or", 0x1000), ("and", 0x200)):
        held = atoms.combine(name, held, atoms.const(constant), 32)
    assert held == atoms.const(0x200)
    high = atoms.combine("or", atoms.unknown("anything"), atoms.const(2), 8)
    whole = atoms.insert(atoms.unknown("anything"), high, 1, 8)
    assert atoms.combine("and", whole, atoms.const(0x200), 32) == atoms.const(0x200)


@pytest.mark.parametrize("kind", Kind)
def test_everything_can_be_told(kind):
    assert atoms.describe(atoms.Atom(kind, 1, why="something"))
    assert atoms.describe(atoms.Atom(Kind.CONST, 0)) == "the number 0x0"


def test_an_atom_of_another_one_has_an_order_too() -> None:
    plain = Atom(Kind.FIELD, 8)
    behind = [Atom(Kind.FIELD, 8, of=Atom(Kind.ADDRESS, n)) for n in (2, 1)]
    assert sorted([*behind, plain]) == [plain, behind[1], behind[0]] == sorted([plain, *behind])
