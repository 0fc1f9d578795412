"""Budgets: dear calls run out, cheap ones last for what drivers do by the thousand."""

from hvci.verifier.budget import FORCED, NATURAL, Meter


def charged(name, budget, times, places=1):
    meter = Meter(budget)
    return all(meter.charge(name, number % places) for number in range(times))


def test_a_loop_of_dear_calls_ends():
    assert charged("ZwClose", NATURAL, NATURAL.calls_from_one_place)
    assert not charged("ZwClose", NATURAL, NATURAL.calls_from_one_place + 1)


def test_dear_calls_from_many_places_end():
    assert charged("ZwClose", FORCED, FORCED.calls, places=100)
    assert not charged("ZwClose", FORCED, FORCED.calls + 1, places=100)


def test_a_bus_can_be_scanned_and_a_table_filled():
    assert charged("READ_PORT_ULONG", NATURAL, 0x10000)
    assert charged("KeInitializeEvent", NATURAL, 11 * 2048, places=11)


def test_cheap_calls_end_too():
    assert not charged("READ_PORT_ULONG", NATURAL, 1_000_000)
