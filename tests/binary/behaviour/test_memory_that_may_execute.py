"""Whether memory was asked for as executable: by whichever DDI, by the argument that decides."""

from types import SimpleNamespace

import pytest

from hvci.binary.behaviour import names
from hvci.binary.behaviour.generated import may_execute
from hvci.binary.flow.atoms import Atom, Kind


class _Calls:
    """One call, whose arguments are all one value; notes which are asked for."""

    def __init__(self, bits: int, value: int) -> None:
        self.image = SimpleNamespace(bits=bits)
        functions = SimpleNamespace(instruction_at=lambda rva: (None, 0))
        self.analysis = SimpleNamespace(functions=functions)
        self.value, self.asked = value, []

    def argument(self, function, i, position, size):
        self.asked.append(position)
        return frozenset((Atom(Kind.CONST, self.value),))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", sorted(names.ALLOCATIONS))
def test_each_ddi_that_gives_memory_has_an_answer(name: str, bits: int) -> None:
    calls = _Calls(bits, 0x200)
    assert may_execute(calls, name, 0x1000) or calls.asked


@pytest.mark.parametrize(("bits", "position"), [(64, 4), (32, 7)])
def test_numbers_of_64_bits_before_the_argument_take_two_slots_on_x86(bits, position) -> None:
    name = "MmAllocateContiguousMemorySpecifyCache"
    cached, uncached = _Calls(bits, 1), _Calls(bits, 0)
    assert may_execute(cached, name, 0x1000)
    assert not may_execute(uncached, name, 0x1000)
    assert cached.asked == [position]
