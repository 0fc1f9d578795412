"""A snapshot brings back every byte that a driver or the kernel wrote."""

import pytest

from hvci.model import Machine as Architecture
from hvci.model import WindowsVersion
from hvci.verifier import snapshot
from hvci.verifier.kernel import Kernel
from hvci.verifier.layout import STACK
from hvci.verifier.machine import Machine, Why
from hvci.verifier.memory import PAGE, RW
from hvci.verifier.outcome import Trust
from hvci.verifier.snapshot import Snapshots

STORES = {
    Architecture.X64: b"\x88\x11\xc3",  # mov [rcx], dl; ret
    Architecture.X86: bytes.fromhex("8b4c24048b5424088811c3"),  # the same of the stack
    Architecture.ARM64: bytes.fromhex("01000039c0035fd6"),  # strb w1, [x0]; ret
}


class Computer:
    """A machine with a driver of one function: it stores a byte."""

    def __init__(self, architecture):
        self.machine = Machine(architecture, 2 * PAGE)
        place, memory = self.machine.layout, self.machine.memory
        memory.map(place.image, 2 * PAGE, RW, "image")
        memory.poke(place.image, STORES[architecture])
        memory.seal(place.image, PAGE)
        self.kernel = Kernel(self.machine, WindowsVersion.WINDOWS_11_24H2)
        self.block = self.kernel.arena.take(4 * PAGE)
        frame = memory.find(self.block).frame + self.block - memory.find(self.block).start
        memory.map(place.alias, 4 * PAGE, RW, "alias", frame)
        self.snapshots = Snapshots(self.machine, self.kernel)
        self.places = {
            "pool": self.block + 0x1801,
            "stack": place.stack + 0x123,
            "image": place.image + PAGE + 5,
            "user": place.user + 0x2345,
            "alias": place.alias + 0x2801,
        }

    def store(self, address, value):
        """Have the driver store a byte."""
        machine = self.machine
        place = machine.layout
        machine.block_limit = machine.blocks + 10
        machine.processor.enter((address, value), place.exit, place.stack + STACK - 0x100)
        assert machine.resume(place.image).why is Why.STUB

    def take(self):
        return self.snapshots.take(0, (), Trust.NATURAL)


@pytest.fixture(params=list(STORES))
def architecture(request):
    return request.param


@pytest.fixture(params=[0, snapshot.CROWDED], ids=["asked-anew", "remembered"])
def computer(request, architecture, monkeypatch):
    """With every page forgotten at each restore, and with none."""
    monkeypatch.setattr(snapshot, "CROWDED", request.param)
    return Computer(architecture)


@pytest.mark.parametrize("name", ["pool", "stack", "image", "user", "alias"])
def test_what_the_driver_wrote_is_taken_back(computer, name):
    address, memory = computer.places[name], computer.machine.memory
    before = computer.take()
    computer.store(address, 7)
    after = computer.take()
    computer.store(address, 9)
    computer.snapshots.restore(before)
    assert memory.u8(address) == 0
    computer.snapshots.restore(after)
    assert memory.u8(address) == 7
    computer.store(address, 11)
    computer.snapshots.restore(before)
    assert memory.u8(address) == 0


def test_what_the_kernel_wrote_across_pages_is_taken_back(computer):
    address, memory = computer.block + PAGE - 2, computer.machine.memory
    before = computer.take()
    memory.write(address, b"abcd" * PAGE)
    computer.snapshots.restore(before)
    assert memory.read(address, 2 * PAGE) == bytes(2 * PAGE)


def test_equal_pages_are_kept_once(computer):
    computer.store(computer.places["pool"], 7)
    first, second = computer.take(), computer.take()
    computer.store(computer.places["stack"], 1)
    third = computer.take()
    frame = next(at for at, raw in first.pages.items() if raw[0x801] == 7)
    assert first.pages[frame] is second.pages[frame] is third.pages[frame]


def test_what_is_allocated_again_is_zero_in_the_next_snapshot(computer):
    kernel, memory = computer.kernel, computer.machine.memory
    before = computer.take()
    first = kernel.arena.take(0x20)
    computer.store(first, 7)
    computer.take()
    computer.snapshots.restore(before)
    computer.snapshots.restore(before)
    computer.store(first, 9)
    kernel.arena.take(0x20)
    after = computer.take()
    computer.store(first, 5)
    computer.snapshots.restore(after)
    assert memory.u8(first) == 0
