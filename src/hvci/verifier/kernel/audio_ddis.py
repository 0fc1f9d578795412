"""Stand-ins for the audio port class driver: ports, their miniports, resources and DMA channels.

A port does with its miniport what portcls.sys does: it asks for the miniport's interface, calls
Init, and later makes a stream on each pin. What kind of pool it asks a miniport to take is its own
choice, so streams get a mark in its place (`CHOSEN_OUTSIDE`).
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from hvci.verifier.checks import CHOSEN_OUTSIDE
from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.com import make_object, named
from hvci.verifier.kernel.models import Answer, Enter, stands_in
from hvci.verifier.memory import PAGE, page_up

SUCCESS, NO_INTERFACE = 0, 0xC000_0034
FAILED = 0x8000_0000
INIT = 5
"""Every miniport: three methods of IUnknown, GetDescription, DataRangeIntersection, Init."""
DMA_BUFFER = 0x10000
LARGEST = 0x10_0000
_WAVE = b"\x01\x00\x02\x00\x80\xbb\x00\x00\x00\xee\x02\x00\x04\x00\x10\x00\x00\x00"
"""WAVEFORMATEX: PCM, two channels, 48,000 samples a second of 16 bits."""
_FORMAT = (
    (0x52).to_bytes(4, "little")
    + bytes(4)
    + (4).to_bytes(4, "little")
    + bytes(4)
    + UUID("73647561-0000-0010-8000-00aa00389b71").bytes_le
    + UUID("00000001-0000-0010-8000-00aa00389b71").bytes_le
    + UUID("05589f81-c356-11ce-bf01-00aa0055595a").bytes_le
    + _WAVE
)
"""KSDATAFORMAT_WAVEFORMATEX."""


class _Miniport(NamedTuple):
    """How a port uses its miniport."""

    identifier: UUID
    new_stream: int
    """Index of NewStream in the miniport's table; -1 when it makes none."""
    arguments: str
    """Those of NewStream behind the object, a word each; an interface stands for an object."""


_AUDIO = "-5791-11d0-86f9-00a0c911b544"
_MINIPORTS = {
    "IPortMidi": _Miniport(UUID("b4c90a41" + _AUDIO), 7, "out outer type pin capture format out"),
    "IPortTopology": _Miniport(UUID("b4c90a31" + _AUDIO), -1, ""),
    "IPortWaveCyclic": _Miniport(
        UUID("b4c90a27" + _AUDIO), 6, "out outer type pin capture format out out"
    ),
    "IPortWavePci": _Miniport(
        UUID("b4c90a52" + _AUDIO), 6, "out outer type IPortWavePciStream pin capture format out out"
    ),
    "IPortDMus": _Miniport(
        UUID("c096df9d-fb09-11d1-81b0-0060083316c1"),
        7,
        "out outer type pin capture format out IAllocatorMXF IMasterClock out",
    ),
    "IPortWaveRT": _Miniport(
        UUID("0f9fc4d6-6061-4f3c-b1fc-075e35f7960a"), 6, "out IPortWaveRTStream pin capture format"
    ),
}


# ---- the adapter


@stands_in("PcInitializeAdapterDriver")
def register_adapter(call: Call) -> int:
    """Store AddDevice in the driver extension."""
    objects = call.kernel.objects
    call.memory.put_pointer(objects.driver_extension + call.pointer_size, call.arg(2))
    return SUCCESS


@stands_in("PcAddAdapterDevice")
def add_adapter(call: Call) -> int:
    """Queue StartDevice; the adapter's device object exists now."""
    kernel = call.kernel
    device = kernel.objects.add_device(0x1000, 0x1D, 0)
    irp = kernel.objects.irp(device, 27)
    resources = make_object(kernel, "IResourceList")
    kernel.register("PcStartDevice", call.arg(2), [device, irp, resources])
    return SUCCESS


# ---- ports


def _identifier(call: Call, index: int) -> bytes:
    address = call.arg(index)
    return call.memory.read(address, 16) if address >= LOWEST_POINTER else bytes(16)


def _give_object(call: Call, index: int, interface: str) -> int:
    """An object through a pointer; the second field says which port it is."""
    made = make_object(call.kernel, interface)
    call.kernel.kept["interface", made, interface] = made
    call.give(index, made)
    return SUCCESS


@stands_in("PcNewPort")
def new_port(call: Call) -> int:
    """A port of the class that was asked for."""
    return _give_object(call, 0, named(_identifier(call, 1)))


@stands_in("IUnknown::QueryInterface")
def query_interface(call: Call) -> int:
    """The object itself when it has the interface, else another one that has."""
    kernel, this = call.kernel, call.slot(0)
    wanted = named(_identifier(call, 0))
    if ("interface", this, wanted) in kernel.kept:
        call.give(1, this)
        return SUCCESS
    return _give_object(call, 1, wanted)


@stands_in("IUnknown::AddRef", "IUnknown::Release")
def count_reference(call: Call) -> int:
    """One reference is left; nothing is freed."""
    return 1


@stands_in("IPort::Init")
def initialize_port(call: Call) -> Answer:
    """Ask the miniport for its interface, call its Init, and queue a stream."""
    kernel, port = call.kernel, call.slot(0)
    interface = next((name for name in _MINIPORTS if ("interface", port, name) in kernel.kept), "")
    unknown, resources = call.arg(2), call.arg(4)
    query = _method(call, unknown, 0)
    if not interface or not kernel.machine.in_image(query):
        return SUCCESS
    kind = _MINIPORTS[interface]
    identifier, out, group = (kernel.arena.take(0x20) for _ in range(3))
    call.memory.write(identifier, kind.identifier.bytes_le)
    adapter = call.arg(3)

    def initialize(status: int) -> Answer:
        miniport = call.memory.pointer(out)
        function = _method(call, miniport, INIT)
        if status & FAILED or not kernel.machine.in_image(function):
            return NO_INTERFACE
        arguments = (miniport, adapter, resources, port, group)
        return Enter(function, arguments, lambda status: _streams(call, kind, miniport, status))

    return Enter(query, (unknown, identifier, out), initialize)


def _method(call: Call, instance: int, index: int) -> int:
    """A function of an object's table; 0 when there is none."""
    memory, place = call.memory, index * call.pointer_size
    table = memory.pointer(instance) if memory.find(instance) is not None else 0
    return memory.pointer(table + place) if memory.find(table + place) is not None else 0


def _streams(call: Call, kind: _Miniport, miniport: int, status: int) -> int:
    """Queue NewStream for playing and for recording, when Init went well."""
    if kind.new_stream >= 0 and not status & FAILED:
        function = _method(call, miniport, kind.new_stream)
        for capture in (0, 1):
            arguments = [miniport, *_stream_arguments(call, kind.arguments, capture)]
            call.kernel.register("NewStream", function, arguments, variant=capture)
    return status & 0xFFFF_FFFF


def _stream_arguments(call: Call, words: str, capture: int) -> list[int]:
    kernel = call.kernel
    data = kernel.arena.take(len(_FORMAT))
    call.memory.write(data, _FORMAT)
    values = {"outer": 0, "type": CHOSEN_OUTSIDE, "pin": 0, "capture": capture, "format": data}

    def value(word: str) -> int:
        if word in values:
            return values[word]
        return kernel.arena.take(0x100) if word == "out" else make_object(kernel, word)

    return [value(word) for word in words.split()]


# ---- resources and DMA channels


@stands_in("PcNewResourceList", "PcNewResourceSublist")
def new_resource_list(call: Call) -> int:
    """A list of the device's resources."""
    return _give_object(call, 0, "IResourceList")


@stands_in("PcNewDmaChannel")
def new_dma_channel(call: Call) -> int:
    """A channel with a buffer."""
    return _give_object(call, 0, "IDmaChannel")


@stands_in(
    "IPortWavePci::NewMasterDmaChannel",
    "IPortWaveCyclic::NewMasterDmaChannel",
    "IPortWaveCyclic::NewSlaveDmaChannel",
)
def new_port_channel(call: Call) -> int:
    """A channel with a buffer."""
    return _give_object(call, 0, "IDmaChannel")


@stands_in("IResourceList::NumberOfEntries")
def entries(call: Call) -> int:
    """Memory, ports and an interrupt."""
    return 3


@stands_in("IResourceList::NumberOfEntriesOfType")
def entries_of_type(call: Call) -> int:
    """One of each of the first three types."""
    return int(1 <= call.u8(0) <= 3)


@stands_in("IResourceList::FindTranslatedEntry", "IResourceList::FindUntranslatedEntry")
def find_entry(call: Call) -> int:
    """The descriptor of a type: memory 3, ports 1, interrupt 2."""
    order = {3: 0, 1: 1, 2: 2}.get(call.u8(0))
    if order is None or call.u32(1):
        return 0
    size = call.kernel.structures.descriptor_size
    found = call.kernel.objects.descriptors()[size * order : size * (order + 1)]
    address = call.kernel.keep("audio resource", order, size=32)
    call.memory.write(address, found)
    return address


@stands_in(
    "IPortWaveRTStream::AllocatePagesForMdl",
    "IPortWaveRTStream::AllocateContiguousPagesForMdl",
    wide=(0, 1),
)
def stream_pages(call: Call) -> int:
    """An MDL of fresh pages; the size stands behind one or two physical addresses."""
    contiguous = "Contiguous" in call.name
    size = min(max(call.arg(2 if contiguous else 1), PAGE), LARGEST)
    objects = call.kernel.objects
    mdl = objects.mdl(call.kernel.arena.allocate(page_up(size), call.name), size)
    objects.lock_mdl(mdl, mapped=False)
    return mdl


@stands_in("IPortWaveRTStream::MapAllocatedPages")
def map_stream_pages(call: Call) -> int:
    """Where the pages are mapped."""
    return call.kernel.objects.mdl_range(call.arg(0))[0]


@stands_in("IPortClsNotifications::AllocNotificationBuffer")
def notification_buffer(call: Call) -> int:
    """Memory through a pointer."""
    call.give(2, call.kernel.arena.allocate(call.u32(1) & 0xFFFF, call.name))
    return SUCCESS


@stands_in("IDmaChannel::SystemAddress", "IDmaChannel::AllocateBuffer")
def dma_buffer(call: Call) -> int:
    """The channel's buffer, which is there from the start."""
    buffer = call.kernel.keep("DMA buffer", call.slot(0), size=DMA_BUFFER)
    return buffer if call.name.endswith("Address") else SUCCESS


@stands_in(
    "IDmaChannel::MaximumBufferSize", "IDmaChannel::AllocatedBufferSize", "IDmaChannel::BufferSize"
)
def dma_size(call: Call) -> int:
    """Bytes of the buffer."""
    return DMA_BUFFER
