import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hvci.binary.sets import among, distinct

numbers = st.lists(st.integers(0, 40)).map(lambda values: np.array(values, np.int64))


@given(numbers)
def test_distinct_is_the_sorted_set(values):
    assert distinct(values).tolist() == sorted(set(values.tolist()))


@given(numbers, numbers)
def test_among_is_membership(values, wanted):
    expected = [value in set(wanted.tolist()) for value in values.tolist()]
    assert among(values, distinct(wanted)).tolist() == expected
