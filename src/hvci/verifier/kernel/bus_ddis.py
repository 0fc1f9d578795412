"""Stand-ins for ports and device registers: no device answers, and no PCI slot holds one."""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in

PCI_DATA = range(0xCFC, 0xD00)
"""Where the configuration of a PCI slot is read; all ones where there is no device."""
_SIZES = {"UCHAR": 1, "USHORT": 2, "ULONG": 4}


def _size(call: Call) -> int:
    return _SIZES[call.name.rpartition("_")[2]]


@stands_in("READ_PORT_UCHAR", "READ_PORT_USHORT", "READ_PORT_ULONG")
def read_port(call: Call) -> int:
    """Zero; all ones for the configuration of a PCI slot."""
    return (1 << 8 * _size(call)) - 1 if call.arg(0) in PCI_DATA else 0


@stands_in("READ_REGISTER_UCHAR", "READ_REGISTER_USHORT", "READ_REGISTER_ULONG")
def read_register(call: Call) -> int:
    """What the memory holds that was mapped for the register."""
    return int.from_bytes(call.memory.read(call.arg(0), _size(call)), "little")
