import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hvci.binary.pe.sets import among, distinct, order_of

numbers = st.lists(st.integers(0, 40)).map(lambda values: np.array(values, np.int64))


@given(numbers)
def test_distinct_is_the_sorted_set(values):
    assert distinct(values).tolist() == sorted(set(values.tolist()))


@given(numbers, numbers)
def test_among_is_membership(values, wanted):
    expected = [value in set(wanted.tolist()) for value in values.tolist()]
    assert among(values, distinct(wanted)).tolist() == expected


rvas = st.lists(st.integers(0, (1 << 32) - 1) | st.integers(0, 3).map(lambda n: n << 16))


@given(rvas)
def test_order_keeps_equal_rvas_in_order(values):
    expected = sorted(range(len(values)), key=values.__getitem__)
    assert order_of(np.array(values, np.int64)).tolist() == expected
