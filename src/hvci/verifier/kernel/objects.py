"""Driver, device and file objects, IRPs with stack locations and buffers, MDLs, strings.

Builds what the I/O manager would hand to a driver. Knows structures; answers no DDI.
"""

from __future__ import annotations

import struct

from hvci.verifier import layout as lay
from hvci.verifier.kernel.layouts import STRUCTURES_32, STRUCTURES_64, Structures
from hvci.verifier.kernel.pool import Arena
from hvci.verifier.machine import Machine
from hvci.verifier.memory import PAGE, PHYSICAL_BASE

MAJOR_FUNCTIONS = 28
STACK_LOCATIONS = 4
DO_BUFFERED_IO, DO_DEVICE_INITIALIZING = 0x04, 0x80
MDL_MAPPED, MDL_NONPAGED = 0x01, 0x04
BUFFER = 0x1000
USER_REQUEST = 1
DEVICE_CONTROL, INTERNAL_CONTROL, PNP, POWER = 14, 15, 27, 22
READ, WRITE, CREATE = 3, 4, 0


class Objects:
    """Makes kernel objects in the arena."""

    def __init__(self, machine: Machine, arena: Arena) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.arena = arena
        wide = machine.memory.pointer_size == 8
        self.at: Structures = STRUCTURES_64 if wide else STRUCTURES_32
        self.devices: list[int] = []
        """Those of the driver, oldest first."""
        self._files: dict[int, int] = {}
        self.thread = arena.take(0x1000)
        self.process = self._make_process()
        self.driver = 0
        self.driver_extension = 0
        self.physical_device = 0
        self.registry_path = 0

    def _make_process(self) -> int:
        """The System process: identifier, list links and image name where builds keep them."""
        process = self.arena.take(0x1000)
        wide = self.memory.pointer_size == 8
        for identifier, name in ((0x1D0, 0x338), (0x440, 0x5A8)) if wide else ((0xB4, 0x17C),):
            links = process + identifier + self.memory.pointer_size
            self.memory.put_pointer(process + identifier, 4)
            self.memory.put_pointer(links, links)
            self.memory.put_pointer(links + self.memory.pointer_size, links)
            self.memory.write(process + name, b"System")
        return process

    # ---- strings

    def unicode(self, text: str) -> int:
        """A UNICODE_STRING with its buffer."""
        raw = text.encode("utf-16-le")
        buffer, header = self.arena.take(len(raw) + 2), self.arena.take(16)
        self.memory.write(buffer, raw)
        self.memory.write(header, struct.pack("<HH", len(raw), len(raw) + 2))
        self.memory.put_pointer(header + self.memory.pointer_size, buffer)
        return header

    # ---- driver and devices

    def make_driver(self, base: int, size: int, invalid_request: int, name: str) -> None:
        """The driver object, its extension and the device below it."""
        memory, at = self.memory, self.at
        driver = self.driver = self.arena.take(at.driver_size)
        self.driver_extension = self.arena.take(0x100)
        memory.put_u32(driver, at.driver_header)
        memory.put_pointer(driver + at.driver_start, base)
        memory.put_u32(driver + at.driver_length, size)
        memory.put_pointer(driver + at.driver_section, self._loader_entry(base, size, name))
        memory.put_pointer(driver + at.driver_extension, self.driver_extension)
        self._copy_string(driver + at.driver_name, rf"\Driver\{name}")
        hardware = self.unicode(r"\REGISTRY\MACHINE\HARDWARE\DESCRIPTION\SYSTEM")
        memory.put_pointer(driver + at.driver_hardware, hardware)
        for index in range(MAJOR_FUNCTIONS):
            slot = driver + at.driver_major + memory.pointer_size * index
            memory.put_pointer(slot, invalid_request)
        memory.put_pointer(self.driver_extension, driver)
        self._copy_string(self.driver_extension + 3 * memory.pointer_size, name)
        self.physical_device = self.make_device(0x40, 0, owner=0)
        services = r"\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services"
        self.registry_path = self.unicode(rf"{services}\{name}")

    def _loader_entry(self, base: int, size: int, name: str) -> int:
        """A LDR_DATA_TABLE_ENTRY that is alone in its list."""
        memory, p = self.memory, self.memory.pointer_size
        entry = self.arena.take(0x200)
        for index in (0, 2, 4):
            memory.put_pointer(entry + index * p, entry + index * p)
            memory.put_pointer(entry + (index + 1) * p, entry + index * p)
        memory.put_pointer(entry + 6 * p, base)
        memory.put_u32(entry + 8 * p, size)
        self._copy_string(entry + 9 * p, rf"\SystemRoot\System32\drivers\{name}.sys")
        self._copy_string(entry + 11 * p, f"{name}.sys")
        return entry

    def _copy_string(self, target: int, text: str) -> None:
        header = self.memory.read(self.unicode(text), 2 * self.memory.pointer_size)
        self.memory.write(target, header)

    def make_device(self, extension: int, kind: int, owner: int = -1) -> int:
        """A device object with `extension` bytes behind it; of the driver unless said otherwise."""
        memory, at = self.memory, self.at
        device = self.arena.take(at.device_size + extension + 16)
        memory.put_u32(device, 3 | (at.device_size + extension & 0xFFFF) << 16)
        memory.put_u32(device + 4, 1)
        memory.put_pointer(device + at.device_driver, self.driver if owner < 0 else owner)
        memory.put_u32(device + at.device_type, kind)
        memory.put(device + at.device_stack_size, 1, 1)
        if extension:
            memory.put_pointer(device + at.device_extension, device + at.device_size)
        memory.put_u32(device + at.device_flags, DO_BUFFERED_IO)
        return device

    def add_device(self, extension: int, kind: int, characteristics: int) -> int:
        """A new device of the driver, first in the driver's list."""
        memory, at = self.memory, self.at
        device = self.make_device(extension, kind)
        memory.put_u32(device + at.device_flags, DO_DEVICE_INITIALIZING)
        memory.put_u32(device + at.device_characteristics, characteristics)
        head = self.driver + at.driver_device
        memory.put_pointer(device + at.device_next, memory.pointer(head))
        memory.put_pointer(head, device)
        self.devices.append(device)
        return device

    @property
    def device(self) -> int:
        """The driver's newest device; one is made when it has none."""
        return self.devices[-1] if self.devices else self.add_device(0x1000, 0x22, 0)

    def major(self, index: int) -> int:
        """A dispatch routine of the driver."""
        slot = self.driver + self.at.driver_major + self.memory.pointer_size * index
        return self.memory.pointer(slot)

    def file_object(self, device: int) -> int:
        """The file object of a device: one caller opens it, uses it and closes it."""
        known = self._files.get(device, 0)
        if known and known < self.arena.top:
            return known
        file = self._files[device] = self.arena.take(0x100)
        self.memory.put_u32(file, 5 | 0xD8 << 16)
        self.memory.put_pointer(file + self.memory.pointer_size, device)
        return file

    # ---- memory descriptor lists

    def mdl(self, address: int, size: int) -> int:
        """An MDL of mapped memory, its page numbers filled in."""
        memory, at, p = self.memory, self.at, self.memory.pointer_size
        pages = ((address & (PAGE - 1)) + size + PAGE - 1) // PAGE
        mdl = self.arena.take(at.mdl_pages + p * max(pages, 1))
        memory.put(mdl + p, at.mdl_pages + p * pages, 2)
        memory.put_pointer(mdl + at.mdl_start, address & ~(PAGE - 1))
        memory.put_u32(mdl + at.mdl_count, size)
        memory.put_u32(mdl + at.mdl_offset, address & (PAGE - 1))
        return mdl

    def lock_mdl(self, mdl: int, mapped: bool) -> None:
        """Fill in the page numbers of an MDL, and its system address when it has one."""
        memory, at, p = self.memory, self.at, self.memory.pointer_size
        address, size = self.mdl_range(mdl)
        page = address & ~(PAGE - 1)
        for index in range(min(((address & (PAGE - 1)) + size + PAGE - 1) // PAGE, 0x400)):
            number = memory.physical(page + PAGE * index) >> 12
            memory.put_pointer(mdl + at.mdl_pages + p * index, number)
        flags = memory.u16(mdl + at.mdl_flags) | (MDL_NONPAGED | MDL_MAPPED if mapped else 2)
        memory.put(mdl + at.mdl_flags, flags, 2)
        if mapped:
            memory.put_pointer(mdl + at.mdl_mapped, address)

    def mdl_range(self, mdl: int) -> tuple[int, int]:
        """(address, size) of the memory that an MDL describes."""
        memory, at = self.memory, self.at
        start = memory.pointer(mdl + at.mdl_start) + memory.u32(mdl + at.mdl_offset)
        return start & memory.mask, min(memory.u32(mdl + at.mdl_count), 0x100_0000)

    def mapped_mdl(self, size: int) -> int:
        """An MDL of a fresh buffer that is mapped already."""
        mdl = self.mdl(self.arena.take(size), size)
        self.lock_mdl(mdl, mapped=True)
        return mdl

    # ---- I/O request packets

    def irp(self, device: int, major: int, minor: int = 0, code: int = 0, size: int = 0x100) -> int:
        """An IRP for a dispatch routine, with the buffers that its method asks for."""
        memory, at = self.memory, self.at
        irp = self.blank_irp(STACK_LOCATIONS)
        location = memory.pointer(irp + at.irp_location)
        file = self.file_object(device)
        memory.write(location, bytes((major, minor)))
        memory.put_pointer(location + at.location_device, device)
        memory.put_pointer(location + at.location_file, file)
        memory.put_pointer(irp + at.irp_file, file)
        memory.put(irp + at.irp_requestor, major in (DEVICE_CONTROL, READ, WRITE, CREATE), 1)
        self._fill(irp, location, major, code, size)
        if major == PNP and minor == 0:
            self._resources(location + at.location_parameters)
        if major == POWER:
            memory.put_u32(location + at.location_parameters + memory.pointer_size, 1)
            memory.put_u32(location + at.location_parameters + 2 * memory.pointer_size, 1)
        if major == CREATE:
            context = self.arena.take(0x40)
            memory.put_pointer(location + at.location_parameters, context)
        return irp

    def blank_irp(self, locations: int) -> int:
        """An IRP that nobody has sent yet; its last stack location is the current one."""
        memory, at = self.memory, self.at
        locations = max(1, min(locations, 32))
        size = at.irp_size + at.location_size * (locations + 1)
        irp = self.arena.take(size)
        memory.put_u32(irp, 6 | size << 16)
        memory.write(irp + at.irp_stack_count, bytes((locations, locations)))
        location = irp + at.irp_size + at.location_size * (locations - 1)
        memory.put_pointer(irp + at.irp_location, location)
        memory.put_pointer(irp + at.irp_thread, self.thread)
        return irp

    def _fill(self, irp: int, location: int, major: int, code: int, size: int) -> None:
        """Lengths and buffers by the transfer method."""
        memory, at, p = self.memory, self.at, self.memory.pointer_size
        first = location + at.location_parameters
        user = self.machine.layout.user
        if major in (DEVICE_CONTROL, INTERNAL_CONTROL):
            memory.put_u32(first, size)
            memory.put_u32(first + p, size)
            memory.put_u32(first + 2 * p, code)
            memory.put_pointer(first + 3 * p, user)
        elif major in (READ, WRITE):
            memory.put_u32(first, size)
        memory.put_pointer(irp + at.irp_user_buffer, user + lay.USER // 2)
        memory.put_pointer(irp + at.irp_system_buffer, self.arena.take(BUFFER))
        memory.put_pointer(irp + at.irp_mdl, self.mapped_mdl(BUFFER))

    def _resources(self, parameters: int) -> None:
        """Raw and translated resources of a started device: memory, ports, an interrupt."""
        memory = self.memory
        address = self.arena.take(0x100)
        memory.write(address, struct.pack("<IIIHHI", 1, 5, 0, 1, 1, 3) + self.descriptors())
        memory.put_pointer(parameters, address)
        memory.put_pointer(parameters + memory.pointer_size, address)

    def descriptors(self) -> bytes:
        """Three CM_PARTIAL_RESOURCE_DESCRIPTORs."""
        size = self.at.descriptor_size
        memory = struct.pack("<BBHQI", 3, 1, 0, PHYSICAL_BASE << 4, 0x10000)
        port = struct.pack("<BBHQI", 1, 1, 1, 0xE000, 0x100)
        level = struct.pack("<BBHII", 2, 1, 0, 5, 5) + (1).to_bytes(size - 12, "little")
        return memory.ljust(size, b"\0") + port.ljust(size, b"\0") + level
