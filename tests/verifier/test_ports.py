"""Miniports, filters and protocols get the extension or context that they filled themselves."""

import pytest

from asking import ARCHITECTURES, Driver

CONTEXT = 0xABCDE000


@pytest.fixture(params=ARCHITECTURES, ids=str)
def driver(request):
    return Driver(request.param)


def table(driver, first, size, *indices):
    """A structure with a routine for each of these, by number from the first one on."""
    address = driver.kernel.arena.take(0x200)
    for index in indices:
        place = address + first + driver.p * index
        driver.memory.put_pointer(place, driver.code + 0x10 * (index + 1))
    driver.memory.put(address + 2, size, 2)
    return address


def routine(driver, index):
    return driver.code + 0x10 * (index + 1)


CHARACTERISTICS = {
    "NdisMRegisterMiniportDriver": ((16, 12), (1, 2, 4, 3), 3, "NdisMSetMiniportAttributes", 2),
    "NdisFRegisterFilterDriver": ((64, 36), (2, 3, 5, 0), 2, "NdisFSetAttributes", 1),
    "NdisRegisterProtocolDriver": ((32, 20), (1, 2, 3, 0), 1, "NdisOpenAdapterEx", 0),
}
"""(where handlers begin), (the first, two of the adapter, one of the driver), the arguments."""


@pytest.mark.parametrize("name", CHARACTERISTICS)
def test_handlers_of_an_adapter_get_the_context_that_was_set(driver, name):
    firsts, (initialize, *others, of_driver), at, setter, subject = CHARACTERISTICS[name]
    first = firsts[driver.p == 4]
    structure = table(driver, first, 0xF0, initialize, *others, of_driver)
    arguments = [0] * 5
    arguments[at], arguments[subject] = structure, 0x5678
    driver.asks(name, *arguments)
    (called, values), *_ = driver.queued()
    assert called == routine(driver, initialize)
    assert values[0 if "Protocol" in name else 1] == 0x5678
    holder = driver.room(0, CONTEXT)
    driver.asks(setter, 0, holder if "Miniport" in name else CONTEXT, 0, 0, 0)
    found = dict(driver.queued())
    assert [found[routine(driver, index)][0] for index in others] == [CONTEXT] * 2
    assert found[routine(driver, of_driver)][0] != CONTEXT


def test_later_attributes_are_no_context(driver):
    first = 16 if driver.p == 8 else 12
    driver.asks("NdisMRegisterMiniportDriver", 0, 0, 0, table(driver, first, 0xF0, 2), 0)
    for context in (CONTEXT, 0x1234):
        driver.asks("NdisMSetMiniportAttributes", 0, driver.room(0, context))
    assert driver.queued()[0][1][0] == CONTEXT


@pytest.mark.parametrize(("index", "at"), [(7, 0), (9, 1), (6, 2)])
def test_old_miniports_get_their_context_where_they_expect_it(driver, index, at):
    structure = table(driver, 8, 0, 5, index)
    driver.asks("NdisMRegisterMiniport", 0, structure, 0x80)
    driver.asks("NdisMSetAttributesEx", 0, CONTEXT)
    assert [called for called, _ in driver.queued()] == [routine(driver, 5), routine(driver, index)]
    assert dict(driver.queued())[routine(driver, index)][at] == CONTEXT


def test_old_protocols_get_their_context(driver):
    driver.asks("NdisRegisterProtocol", driver.room(), 0, table(driver, 8, 0, 13, 14, 6), 0x90)
    driver.asks("NdisOpenAdapter", driver.room(), 0, 0, 0, 0, 0, 0, CONTEXT)
    found = dict(driver.queued())
    assert driver.queued()[0][0] == routine(driver, 13)
    assert found[routine(driver, 6)][0] == found[routine(driver, 14)][1] == CONTEXT


@pytest.mark.parametrize(
    ("name", "order", "extension"),
    [("StorPortInitialize", (3, 0, 1), 7), ("VideoPortInitialize", (0, 1, 3), 4)],
)
def test_a_miniport_has_one_extension(driver, name, order, extension):
    structure = table(driver, 8, 0, *order)
    driver.memory.put_u32(structure, 0x60)
    driver.memory.put_u32(structure + 8 + driver.p * extension, 0x5000)
    driver.asks(name, 0, 0, structure, 0)
    assert [called for called, _ in driver.queued()] == [routine(driver, each) for each in order]
    assert len({values[0] for _, values in driver.queued()}) == 1
    _, values = driver.queued()[0]
    assert values[1] - values[0] >= 0x5000


def test_what_lies_behind_the_structure_is_no_entry_point(driver):
    structure = table(driver, 8, 0, 3, 0)
    driver.memory.put_u32(structure, 8 + 2 * driver.p)
    driver.asks("StorPortInitialize", 0, 0, structure, 0)
    assert [called for called, _ in driver.queued()] == [routine(driver, 0)]


@pytest.mark.parametrize("kind", ["Instance", "Volume", "Stream", "StreamHandle"])
def test_a_filter_finds_the_context_that_it_set(driver, kind):
    is_short, out = kind in ("Instance", "Volume"), driver.room(1)
    out_at = 1 if kind == "Instance" else 2
    arguments = [0, 0, 0]
    arguments[out_at] = out
    assert driver.asks(f"FltGet{kind}Context", *arguments) == 0xC000_0225
    assert driver.memory.pointer(out) == 0
    setting = (0, 0, CONTEXT) if is_short else (0, 0, 0, CONTEXT)
    assert driver.asks(f"FltSet{kind}Context", *setting) == 0
    assert driver.asks(f"FltGet{kind}Context", *arguments) == 0
    assert driver.memory.pointer(out) == CONTEXT
    other = driver.asks("FltGetFileContext", 0, 0, out)
    assert other == 0xC000_0225


def test_a_filter_is_set_up_before_it_filters_and_unloaded_last(driver):
    operations = driver.room()
    driver.memory.put_pointer(operations + 8, routine(driver, 1))
    driver.memory.put(operations + 8 + 3 * driver.p, 0x80, 1)
    registration = driver.kernel.arena.take(0x100)
    driver.memory.put_pointer(registration + 8 + driver.p, operations)
    unload, setup = registration + 8 + 2 * driver.p, registration + 8 + 3 * driver.p
    driver.memory.put_pointer(unload, routine(driver, 2))
    driver.memory.put_pointer(setup, routine(driver, 3))
    driver.asks("FltRegisterFilter", 0, registration, driver.room())
    assert [called for called, _ in driver.queued()] == [routine(driver, 3), routine(driver, 1)]
    driver.kernel.leave()
    assert driver.queued()[-1][0] == routine(driver, 2)
