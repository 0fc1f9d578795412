"""What a list that the user gave can do to a driver."""

import pytest

from hvci.model.signature import ListAnswer, ListKind


@pytest.mark.parametrize("kind", ListKind)
def test_only_the_database_of_old_drivers_blocks_nothing(kind):
    answer = ListAnswer("x", kind, "t", 1)
    assert answer.blocks is (kind is not ListKind.COMPATIBILITY)
