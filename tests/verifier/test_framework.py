"""The framework's objects are what they were: devices, contexts, buffers, and who is told when."""

import pytest

from asking import ARCHITECTURES, Driver


@pytest.fixture(params=ARCHITECTURES, ids=str)
def driver(request):
    return Driver(request.param)


def test_a_queue_knows_the_device_whose_context_was_filled(driver):
    _, device = driver.device()
    kind = driver.structure(5 * driver.p)
    context = driver.asks("WdfObjectGetTypedContextWorker", device, kind)
    driver.memory.put_u32(context, 0x200)
    queue = driver.given("WdfIoQueueCreate", device, driver.structure(0), at=3)
    found = driver.asks("WdfIoQueueGetDevice", queue)
    assert found == device
    again = driver.asks("WdfObjectGetTypedContextWorker", found, kind)
    assert driver.memory.u32(again) == 0x200
    assert driver.asks("WdfObjectContextGetObject", again) == device
    assert driver.asks("WdfObjectGetTypedContextWorker", queue, kind) != again


def test_two_devices_are_not_mixed_up(driver):
    (_, one), (_, other) = driver.device(), driver.device()
    assert one != other
    for device in (one, other):
        queue = driver.given("WdfIoQueueCreate", device, driver.structure(0), at=3)
        assert driver.asks("WdfIoQueueGetDevice", queue) == device


def test_callbacks_are_promised_the_device_that_is_made_later(driver):
    initializer = driver.asks("WdfControlDeviceInitAllocate")
    prepare, entry, leave = (driver.code + 0x10 * n for n in range(1, 4))
    table = driver.structure(0x80, at1=entry, at3=leave, at5=prepare)
    driver.asks("WdfDeviceInitSetPnpPowerEventCallbacks", initializer, table)
    holder = driver.room(initializer)
    device = driver.given("WdfDeviceCreate", holder, at=2)
    assert driver.memory.pointer(holder) == 0
    assert [entry.address for entry in driver.kernel.queue] == [prepare, entry]
    assert [entry.address for entry in driver.kernel.last] == [leave]
    driver.kernel.leave()
    assert [entry.arguments[0] for entry in driver.kernel.queue] == [device] * 3


def test_what_lies_behind_a_structure_is_no_callback(driver):
    initializer = driver.asks("WdfControlDeviceInitAllocate")
    table = driver.structure(2 * driver.p, at1=driver.code + 0x10, at2=driver.code + 0x20)
    driver.asks("WdfDeviceInitSetPnpPowerEventCallbacks", initializer, table)
    assert [entry.address for entry in driver.kernel.queue] == [driver.code + 0x10]


def test_attributes_of_another_size_are_not_believed(driver):
    good = driver.attributes(cleanup=driver.code + 0x10)
    bad = driver.attributes(cleanup=driver.code + 0x20)
    driver.memory.put_u32(bad, 1)
    for attributes in (good, bad):
        driver.given("WdfObjectCreate", attributes, at=1)
    assert [entry.address for entry in driver.kernel.last] == [driver.code + 0x10]


def test_a_timer_names_its_parent(driver):
    _, device = driver.device()
    attributes = driver.attributes(parent=device)
    configuration = driver.structure(3 * driver.p, at1=driver.code + 0x10)
    timer = driver.given("WdfTimerCreate", configuration, attributes, at=2)
    assert driver.asks("WdfTimerGetParentObject", timer) == device
    assert driver.kernel.queue.pop().arguments[0] == timer


def test_memory_has_one_buffer_and_it_is_the_drivers(driver):
    out, size = driver.room(0), driver.room(0)
    memory = driver.given("WdfMemoryCreate", 0, 0x200, 0x1234, 0x80, 0, out, at=4)
    buffer = driver.memory.pointer(out)
    assert driver.asks("WdfMemoryGetBuffer", memory, size) == buffer
    assert driver.memory.pointer(size) == 0x80
    assert driver.kernel.arena.owner(buffer) == "WdfMemoryCreate"
    source = driver.room(0x1122)
    assert driver.asks("WdfMemoryCopyFromBuffer", memory, 8, source, 4) == 0
    assert driver.memory.u32(buffer + 8) == 0x1122
    assert driver.asks("WdfMemoryCopyFromBuffer", memory, 0x7E, source, 4) != 0
    own = driver.room()
    preallocated = driver.given("WdfMemoryCreatePreallocated", 0, own, 0x40, at=3)
    assert driver.asks("WdfMemoryGetBuffer", preallocated, 0) == own
    entries = driver.given("WdfLookasideListCreate", 0, 0x60, 0x200, at=5)
    entry = driver.given("WdfMemoryCreateFromLookaside", entries, at=1)
    owner = driver.kernel.arena.owner(driver.asks("WdfMemoryGetBuffer", entry, 0))
    assert owner == "WdfMemoryCreateFromLookaside"


def test_a_request_keeps_its_buffer_its_file_and_its_code(driver):
    _, device = driver.device()
    driver.kernel.ioctls.codes = (0x222000, 0x222007)
    routines = {"at" + str(16 // driver.p + 3): driver.code + 0x10}
    configuration = driver.structure(0x60, **routines)
    queue = driver.given("WdfIoQueueCreate", device, configuration, at=3)
    buffered, direct = driver.kernel.queue
    for entry, code, is_shared in ((buffered, 0x222000, True), (direct, 0x222007, False)):
        assert (entry.arguments[0], entry.arguments[4]) == (queue, code)
        request = entry.arguments[1]
        first = driver.given("WdfRequestRetrieveInputBuffer", request, 8, at=2)
        assert driver.given("WdfRequestRetrieveInputBuffer", request, 8, at=2) == first
        output = driver.given("WdfRequestRetrieveOutputBuffer", request, 8, at=2)
        assert (output == first) is is_shared
        parameters = driver.room()
        driver.asks("WdfRequestGetParameters", request, parameters)
        assert driver.memory.u32(parameters + 8 + 2 * driver.p) == code
        assert driver.asks("WdfRequestGetIoQueue", request) == queue
        file = driver.asks("WdfRequestGetFileObject", request)
        assert driver.asks("WdfRequestGetFileObject", request) == file
        assert driver.asks("WdfFileObjectGetDevice", file) == device
        irp = driver.asks("WdfRequestWdmGetIrp", request)
        assert driver.asks("WdfRequestWdmGetIrp", request) == irp


def test_a_loop_over_a_queue_ends(driver):
    queue = driver.given("WdfIoQueueCreate", 0, driver.structure(0), at=3)
    out = driver.room(0)
    answers = [driver.asks("WdfIoQueueRetrieveNextRequest", queue, out) for _ in range(4)]
    assert answers == [0, 0x8000_001A] * 2


def test_a_collection_holds_what_was_added(driver):
    collection = driver.given("WdfCollectionCreate", 0, at=1)
    one, two, three = (driver.room() for _ in range(3))
    assert driver.asks("WdfCollectionGetFirstItem", collection) == 0
    for item in (one, two, three):
        assert driver.asks("WdfCollectionAdd", collection, item) == 0
    driver.asks("WdfCollectionRemove", collection, two)
    assert driver.asks("WdfCollectionGetCount", collection) == 2
    assert driver.asks("WdfCollectionGetItem", collection, 1) == three
    assert driver.asks("WdfCollectionGetItem", collection, 2) == 0
    driver.asks("WdfCollectionRemoveItem", collection, 0)
    assert driver.asks("WdfCollectionGetFirstItem", collection) == three
    assert driver.asks("WdfCollectionGetLastItem", collection) == three


def test_a_string_says_what_it_was_given(driver):
    text = driver.kernel.objects.unicode("name")
    string = driver.given("WdfStringCreate", text, 0, at=2)
    out = driver.room()
    driver.asks("WdfStringGetUnicodeString", string, out)
    assert driver.memory.wide_text(driver.memory.pointer(out + driver.p)) == "name"


def test_a_completion_routine_gets_its_context_when_the_request_is_sent(driver):
    request = driver.given("WdfRequestCreate", 0, 0, at=2)
    driver.asks("WdfRequestSetCompletionRoutine", request, driver.code + 0x10, 0x1234)
    assert not driver.kernel.queue
    assert driver.asks("WdfRequestSend", request, 0x5678) == 1
    (entry,) = driver.kernel.queue
    assert entry.arguments[:2] == (request, 0x5678)
    assert entry.arguments[3] == 0x1234


def test_a_transfer_is_programmed_for_its_device(driver):
    _, device = driver.device()
    enabler = driver.given("WdfDmaEnablerCreate", device, at=3)
    transaction = driver.given("WdfDmaTransactionCreate", enabler, at=2)
    driver.asks("WdfDmaTransactionInitialize", transaction, driver.code + 0x10)
    driver.asks("WdfDmaTransactionExecute", transaction, 0x1234)
    (entry,) = driver.kernel.queue
    assert entry.arguments[:3] == (transaction, device, 0x1234)


def test_memory_that_the_driver_asked_for_is_called_where_it_is_handed_over(driver):
    """Windows would call it, and stop the system: nobody may overlook that."""
    code = driver.kernel.arena.allocate(0x40, "ExAllocatePool2")
    configuration = driver.structure(3 * driver.p)
    driver.asks("WdfRequestMarkCancelable", 0, code)
    assert [entry.address for entry in driver.kernel.last] == [code]
    driver.asks("WdfRequestMarkCancelable", 0, configuration)  # the kernel's own memory
    assert len(driver.kernel.last) == 1
