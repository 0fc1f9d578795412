"""COM objects of the kernel's side: tables of stand-ins that drivers call methods through.

A stand-in of a method is named `Interface::Method`, as the documentation has it; the object itself
is the hidden first argument. Knows interfaces by name and identifier; answers nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from uuid import UUID

from hvci.verifier.kernel.kernel import Kernel

_UNKNOWN = ("IUnknown::QueryInterface", "IUnknown::AddRef", "IUnknown::Release")
_PORT = (*_UNKNOWN, "IPort::Init", "IPort::GetDeviceProperty", "IPort::NewRegistryKey")
INTERFACES = MappingProxyType(
    {
        "IPortMidi": (*_PORT, "IPortMidi::Notify", "IPortMidi::RegisterServiceGroup"),
        "IPortDMus": (*_PORT, "IPortDMus::Notify", "IPortDMus::RegisterServiceGroup"),
        "IPortTopology": _PORT,
        "IPortWaveRT": _PORT,
        "IPortWaveCyclic": (
            *_PORT,
            "IPortWaveCyclic::Notify",
            "IPortWaveCyclic::NewSlaveDmaChannel",
            "IPortWaveCyclic::NewMasterDmaChannel",
        ),
        "IPortWavePci": (*_PORT, "IPortWavePci::Notify", "IPortWavePci::NewMasterDmaChannel"),
        "IPortWavePciStream": (
            *_UNKNOWN,
            "IPortWavePciStream::GetMapping",
            "IPortWavePciStream::ReleaseMapping",
            "IPortWavePciStream::TerminatePacket",
        ),
        "IPortWaveRTStream": (
            *_UNKNOWN,
            "IPortWaveRTStream::AllocatePagesForMdl",
            "IPortWaveRTStream::AllocateContiguousPagesForMdl",
            "IPortWaveRTStream::MapAllocatedPages",
            "IPortWaveRTStream::UnmapAllocatedPages",
            "IPortWaveRTStream::FreePagesFromMdl",
            "IPortWaveRTStream::GetPhysicalPagesCount",
            "IPortWaveRTStream::GetPhysicalPageAddress",
        ),
        "IPortClsNotifications": (
            *_UNKNOWN,
            "IPortClsNotifications::AllocNotificationBuffer",
            "IPortClsNotifications::FreeNotificationBuffer",
            "IPortClsNotifications::SendNotificationBuffer",
        ),
        "IResourceList": (
            *_UNKNOWN,
            "IResourceList::NumberOfEntries",
            "IResourceList::NumberOfEntriesOfType",
            "IResourceList::FindTranslatedEntry",
            "IResourceList::FindUntranslatedEntry",
            "IResourceList::AddEntry",
            "IResourceList::AddEntryFromParent",
            "IResourceList::TranslatedList",
            "IResourceList::UntranslatedList",
        ),
        "IDmaChannel": (
            *_UNKNOWN,
            "IDmaChannel::AllocateBuffer",
            "IDmaChannel::FreeBuffer",
            "IDmaChannel::TransferCount",
            "IDmaChannel::MaximumBufferSize",
            "IDmaChannel::AllocatedBufferSize",
            "IDmaChannel::BufferSize",
            "IDmaChannel::SetBufferSize",
            "IDmaChannel::SystemAddress",
            "IDmaChannel::PhysicalAddress",
            "IDmaChannel::GetAdapterObject",
            "IDmaChannel::CopyTo",
            "IDmaChannel::CopyFrom",
        ),
    }
)
"""Methods of each interface, in the order of its table. Source: portcls.h."""
OTHER_METHODS = 24
"""Methods of an interface that is not known, beside the three that all have."""
_AUDIO = "-5791-11d0-86f9-00a0c911b544"
_MUSIC = "-11d1-81b0-0060083316c1"
IDENTIFIERS = MappingProxyType(
    {
        UUID(text): name
        for text, name in (
            ("b4c90a26" + _AUDIO, "IPortWaveCyclic"),
            ("b4c90a2a" + _AUDIO, "IPortWaveCyclic"),
            ("b4c90a30" + _AUDIO, "IPortTopology"),
            ("b4c90a32" + _AUDIO, "IPortTopology"),
            ("b4c90a40" + _AUDIO, "IPortMidi"),
            ("b4c90a43" + _AUDIO, "IPortMidi"),
            ("b4c90a50" + _AUDIO, "IPortWavePci"),
            ("b4c90a54" + _AUDIO, "IPortWavePci"),
            ("c096df9c-fb09" + _MUSIC, "IPortDMus"),
            ("b7902fe9-fb0a" + _MUSIC, "IPortDMus"),
            ("339ff909-68a9-4310-b09b-274e96ee4cbd", "IPortWaveRT"),
            ("cc9be57a-eb9e-42b4-94fc-0cad3dbce7fa", "IPortWaveRT"),
            ("1809ce5a-64bc-4e62-bd7d-95bce43de393", "IPortWaveRTStream"),
            ("1e092ce2-db25-483b-8446-b0961215258b", "IPortClsNotifications"),
            ("22c6ac60-851b-11d0-9a7f-00aa0038acfe", "IResourceList"),
            ("22c6ac61-851b-11d0-9a7f-00aa0038acfe", "IDmaChannel"),
        )
    }
)
"""Interfaces by their own identifier and by that of the class that PcNewPort makes."""


def named(identifier: bytes) -> str:
    """The interface or class of an identifier as it lies in memory; its text when unknown."""
    uuid = UUID(bytes_le=identifier)
    return IDENTIFIERS.get(uuid, str(uuid))


def make_object(kernel: Kernel, interface: str, size: int = 0x100) -> int:
    """An object with the interface's table of methods."""
    methods = INTERFACES.get(interface)
    if methods is None:
        others = (f"{interface}::{number}" for number in range(OTHER_METHODS))
        methods = (*_UNKNOWN, *others)
    step = kernel.memory.pointer_size
    table = kernel.keep("methods", interface, size=step * len(methods))
    for index, name in enumerate(methods):
        function = kernel.address_of(name, "portcls.sys", hidden=1)
        kernel.memory.put_pointer(table + step * index, function)
    made = kernel.arena.take(size)
    kernel.memory.put_pointer(made, table)
    return made
