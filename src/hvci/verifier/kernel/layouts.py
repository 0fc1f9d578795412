"""Offsets of the kernel structures that drivers read and write by themselves.

Source: the public headers (wdm.h, ntddk.h) for 64-bit and 32-bit Windows. Knows numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Structures:
    """Byte offsets and sizes for one pointer size."""

    # DRIVER_OBJECT
    driver_size: int
    driver_header: int
    """Type and Size, as the first four bytes hold them."""
    driver_device: int
    driver_start: int
    driver_length: int
    driver_section: int
    driver_extension: int
    driver_name: int
    driver_hardware: int
    driver_fast_io: int
    driver_start_io: int
    driver_unload: int
    driver_major: int
    # DEVICE_OBJECT
    device_size: int
    device_driver: int
    device_next: int
    device_attached: int
    device_current_irp: int
    device_flags: int
    device_characteristics: int
    device_extension: int
    device_type: int
    device_stack_size: int
    # IRP
    irp_size: int
    irp_mdl: int
    irp_system_buffer: int
    irp_status: int
    irp_requestor: int
    irp_stack_count: int
    irp_user_buffer: int
    irp_thread: int
    irp_location: int
    irp_file: int
    # IO_STACK_LOCATION
    location_size: int
    location_parameters: int
    location_device: int
    location_file: int
    location_completion: int
    # MDL
    mdl_header: int
    mdl_flags: int
    mdl_mapped: int
    mdl_start: int
    mdl_count: int
    mdl_offset: int
    mdl_pages: int
    # KDPC, WORK_QUEUE_ITEM, KTIMER
    dpc_routine: int
    dpc_context: int
    # PNP resource lists
    descriptor_size: int


STRUCTURES_64 = Structures(
    driver_size=0x150,
    driver_header=0x0150_0004,
    driver_device=0x08,
    driver_start=0x18,
    driver_length=0x20,
    driver_section=0x28,
    driver_extension=0x30,
    driver_name=0x38,
    driver_hardware=0x48,
    driver_fast_io=0x50,
    driver_start_io=0x60,
    driver_unload=0x68,
    driver_major=0x70,
    device_size=0x150,
    device_driver=0x08,
    device_next=0x10,
    device_attached=0x18,
    device_current_irp=0x20,
    device_flags=0x30,
    device_characteristics=0x34,
    device_extension=0x40,
    device_type=0x48,
    device_stack_size=0x4C,
    irp_size=0xD0,
    irp_mdl=0x08,
    irp_system_buffer=0x18,
    irp_status=0x30,
    irp_requestor=0x40,
    irp_stack_count=0x42,
    irp_user_buffer=0x70,
    irp_thread=0x98,
    irp_location=0xB8,
    irp_file=0xC0,
    location_size=0x48,
    location_parameters=0x08,
    location_device=0x28,
    location_file=0x30,
    location_completion=0x38,
    mdl_header=0x30,
    mdl_flags=0x0A,
    mdl_mapped=0x18,
    mdl_start=0x20,
    mdl_count=0x28,
    mdl_offset=0x2C,
    mdl_pages=0x30,
    dpc_routine=0x18,
    dpc_context=0x20,
    descriptor_size=20,
)

STRUCTURES_32 = Structures(
    driver_size=0xA8,
    driver_header=0x00A8_0004,
    driver_device=0x04,
    driver_start=0x0C,
    driver_length=0x10,
    driver_section=0x14,
    driver_extension=0x18,
    driver_name=0x1C,
    driver_hardware=0x24,
    driver_fast_io=0x28,
    driver_start_io=0x30,
    driver_unload=0x34,
    driver_major=0x38,
    device_size=0xB8,
    device_driver=0x08,
    device_next=0x0C,
    device_attached=0x10,
    device_current_irp=0x14,
    device_flags=0x1C,
    device_characteristics=0x20,
    device_extension=0x28,
    device_type=0x2C,
    device_stack_size=0x30,
    irp_size=0x70,
    irp_mdl=0x04,
    irp_system_buffer=0x0C,
    irp_status=0x18,
    irp_requestor=0x20,
    irp_stack_count=0x22,
    irp_user_buffer=0x3C,
    irp_thread=0x50,
    irp_location=0x60,
    irp_file=0x64,
    location_size=0x24,
    location_parameters=0x04,
    location_device=0x14,
    location_file=0x18,
    location_completion=0x1C,
    mdl_header=0x1C,
    mdl_flags=0x06,
    mdl_mapped=0x0C,
    mdl_start=0x10,
    mdl_count=0x14,
    mdl_offset=0x18,
    mdl_pages=0x1C,
    dpc_routine=0x0C,
    dpc_context=0x10,
    descriptor_size=16,
)
