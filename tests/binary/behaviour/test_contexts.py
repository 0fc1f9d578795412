"""The routines of Windows that hand a context on, held to their prototypes."""

import pytest

from hvci.binary.behaviour.called.contexts import GIVERS
from hvci.catalog.givers import CALLERS
from hvci.catalog.prototypes import prototype


@pytest.mark.parametrize("name", sorted(GIVERS))
def test_routine_and_context_are_arguments(name: str) -> None:
    shape, gives = prototype(name), GIVERS[name]
    assert gives.routine < gives.context
    assert shape is None or gives.context < shape.arguments


@pytest.mark.parametrize("name", sorted(CALLERS))
def test_routines_that_windows_calls_are_arguments(name: str) -> None:
    shape = prototype(name)
    assert shape is None or max(CALLERS[name]) < shape.arguments
