"""The emulated kernel. Importing it registers every stand-in."""

from __future__ import annotations

from hvci.verifier.kernel import (
    audio_ddis,
    bit_ddis,
    bus_ddis,
    crt_ddis,
    crt_text_ddis,
    device_ddis,
    display_ddis,
    format_ddis,
    integer_ddis,
    irp_ddis,
    kmdf_ddis,
    kmdf_io_ddis,
    kmdf_object_ddis,
    list_ddis,
    mdl_ddis,
    network_ddis,
    pool_ddis,
    port_ddis,
    registry_ddis,
    section_ddis,
    security_ddis,
    sync_ddis,
    system_ddis,
    text_ddis,
    time_ddis,
)
from hvci.verifier.kernel.call import Call, EndPath
from hvci.verifier.kernel.kernel import EntryPoint, Kernel
from hvci.verifier.kernel.models import STAND_INS, Enter

MODEL_ROOMS = (
    audio_ddis,
    bit_ddis,
    bus_ddis,
    crt_ddis,
    crt_text_ddis,
    device_ddis,
    display_ddis,
    format_ddis,
    integer_ddis,
    irp_ddis,
    kmdf_ddis,
    kmdf_io_ddis,
    kmdf_object_ddis,
    list_ddis,
    mdl_ddis,
    network_ddis,
    pool_ddis,
    port_ddis,
    registry_ddis,
    section_ddis,
    security_ddis,
    sync_ddis,
    system_ddis,
    text_ddis,
    time_ddis,
)
"""Modules that hold stand-ins."""

__all__ = ["MODEL_ROOMS", "STAND_INS", "Call", "EndPath", "Enter", "EntryPoint", "Kernel"]
