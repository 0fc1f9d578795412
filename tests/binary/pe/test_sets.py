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


@given(numbers)
def test_among_keeps_the_shape(wanted):
    rows = np.arange(12).reshape(3, 4)
    found = among(rows, distinct(wanted))
    assert found.shape == rows.shape
    assert found.any(axis=1).tolist() == [any(n in wanted for n in row) for row in rows.tolist()]


rvas = st.lists(st.integers(0, (1 << 32) - 1) | st.integers(0, 3).map(lambda n: n << 16))


@given(rvas)
def test_order_keeps_equal_rvas_in_order(values):
    expected = sorted(range(len(values)), key=values.__getitem__)
    assert order_of(np.array(values, np.int64)).tolist() == expected
