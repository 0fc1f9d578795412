"""Which of two values that start-up code chooses between is told apart as "before the opt-in"."""

import pytest

from hvci.binary.calls.callsites import to_value
from hvci.binary.flow.atoms import Atom, Kind


@pytest.mark.parametrize(("before", "behind"), [(0, 0x200), (4, 0x204), (0, 0x4000_0000)])
def test_the_same_without_nx_is_before_the_opt_in(before, behind):
    value = to_value(frozenset((Atom(Kind.BEFORE_OPT_IN, before), Atom(Kind.CONST, behind))))
    assert (value.possible, value.opt_in) == ({before, behind}, {before})


@pytest.mark.parametrize(("before", "behind"), [(4, 5), (0x200, 0x208), (0, 0x204)])
def test_any_other_value_of_a_flag_is_a_value_like_others(before, behind):
    value = to_value(frozenset((Atom(Kind.BEFORE_OPT_IN, before), Atom(Kind.CONST, behind))))
    assert (value.possible, value.opt_in) == ({before, behind}, frozenset())
    assert value.complete
