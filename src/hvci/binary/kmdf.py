"""Calls of the kernel-mode driver framework, which go through its function table.

A client names the framework in a WDF_BIND_INFO and gets either a copy of the table in its own
image (up to 1.13) or a pointer to the framework's (1.15 and later).
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.analysis import Analysis
from hvci.binary.code import Function
from hvci.binary.image import PeImage
from hvci.catalog.kmdf import kmdf_functions

COMPONENT = "KmdfLibrary\0".encode("utf-16-le")
BIND = "WdfVersionBind"
FIRST_POINTER_MINOR = 15
MAX_FUNCTIONS = 1024
MAX_VERSION = 100


class Binding(NamedTuple):
    """What a client's WDF_BIND_INFO says."""

    version: str
    functions: int
    """Number of entries in the table."""
    table: int
    """RVA of the table, or of the pointer to it."""
    is_pointer: bool


def find_binding(analysis: Analysis) -> Binding | None:
    """The bind information of a KMDF client; None when the image binds to no KMDF."""
    image = analysis.image
    if BIND not in image.import_slots:
        return None
    at = image.memory.find(COMPONENT)
    while at >= 0:
        for pointer in analysis.references.pointers_to(at):
            binding = _binding(image, pointer - image.pointer_size)
            if binding is not None:
                return binding
        at = image.memory.find(COMPONENT, at + 2)
    return None


def _binding(image: PeImage, at: int) -> Binding | None:
    """Read a WDF_BIND_INFO; None when the fields make no sense."""
    step = image.pointer_size
    version = at + 2 * step
    major, minor, build, count = (image.u32(version + 4 * n) for n in range(4))
    table = image.pointer(version + 16) - image.base
    plausible = major == 1 and minor < MAX_VERSION and 0 < count <= MAX_FUNCTIONS
    if not plausible or not image.holds(table, step):
        return None
    return Binding(f"{major}.{minor}.{build}", count, table, minor >= FIRST_POINTER_MINOR)


def teach(analysis: Analysis, binding: Binding) -> list[Function]:
    """Tell the data flow what the table holds; return the functions that use it."""
    table = analysis.flow.globals
    table.framework = kmdf_functions()[: binding.functions]
    step = analysis.image.pointer_size
    if binding.is_pointer:
        table.known[binding.table] = analysis.framework_table
        places = analysis.references.to_data(binding.table)
    else:
        slots = [binding.table + step * n for n in range(binding.functions)]
        for n, slot in enumerate(slots):
            table.known[slot] = table.framework_routine(step * n)
        places = [place for place, _ in analysis.references.to_slots(slots)]
    found = (analysis.functions.instruction_at(place) for place in places)
    return [each[0] for each in found if each is not None]
