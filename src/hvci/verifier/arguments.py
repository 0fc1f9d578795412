"""Reads what the driver passed to a DDI, by the names of the documentation."""

from __future__ import annotations

from collections.abc import Callable

from hvci.catalog import Ddi
from hvci.verifier.kernel.call import Call


def reader(call: Call, ddi: Ddi) -> Callable[[str], int]:
    """Reads a documented argument by its name, as wide as its type."""
    narrow = call.pointer_size == 4

    def read(name: str) -> int:
        position = ddi.position(name)
        if not narrow:
            parameter = ddi.parameters[position]
            wide = parameter.x86_slots == 2 or parameter.type.startswith(("P", "HANDLE"))
            return call.arg(position) if wide else call.u32(position)
        slot = ddi.x86_slot(name) + call.hidden
        value = call.slot(slot)
        if ddi.parameters[position].x86_slots == 2:
            value |= call.slot(slot + 1) << 32
        return value

    return read
