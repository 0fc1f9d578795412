"""Stand-ins for the registry: every key opens, every value is the number one.

No key of the host is ever read.
"""

from __future__ import annotations

import struct

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in

DWORD = 4
BUFFER_TOO_SMALL = 0xC000_0023
NO_MORE_ENTRIES = 0x8000_001A
ENTRIES = 64


@stands_in("ZwOpenKey", "ZwOpenKeyEx", "ZwCreateKey", "ZwCreateKeyTransacted")
def open_key(call: Call) -> int:
    """A handle to any key."""
    call.give(0, call.kernel.handle())
    if call.name.startswith("ZwCreate"):
        call.give_u32(6, 1)
    return 0


@stands_in("IoOpenDeviceRegistryKey", "IoOpenDeviceInterfaceRegistryKey")
def open_device_key(call: Call) -> int:
    """A handle to the device's key."""
    call.give(3 if call.name == "IoOpenDeviceRegistryKey" else 2, call.kernel.handle())
    return 0


@stands_in("IoOpenDriverRegistryKey")
def open_driver_key(call: Call) -> int:
    """A handle to the driver's key."""
    call.give(4, call.kernel.handle())
    return 0


@stands_in("ZwQueryValueKey")
def query_value(call: Call) -> int:
    """REG_DWORD 1, in the form that the caller asked for."""
    kind, size = call.u32(2), call.u32(4)
    full = struct.pack("<IIIII", 0, DWORD, 20, 4, 0) + struct.pack("<I", 1)
    forms = {1: full, 2: struct.pack("<IIII", 0, DWORD, 4, 1)}
    data = forms.get(kind, struct.pack("<III", 0, DWORD, 0))
    call.give_u32(5, len(data))
    if size < len(data) or not call.arg(3):
        return BUFFER_TOO_SMALL
    call.give_bytes(3, data)
    return 0


@stands_in("ZwQueryKey")
def query_key(call: Call) -> int:
    """An empty key."""
    call.give_u32(4, 48)
    if call.u32(3) < 48:
        return BUFFER_TOO_SMALL
    call.give_bytes(2, bytes(48))
    return 0


@stands_in("ZwEnumerateKey", "ZwEnumerateValueKey", "ZwQueryDirectoryFile")
def enumerate_nothing(call: Call) -> int:
    """There is nothing to list."""
    return NO_MORE_ENTRIES


@stands_in("RtlQueryRegistryValues", "RtlQueryRegistryValuesEx")
def query_values(call: Call) -> int:
    """Queue the query routines of the table; direct entries keep their defaults."""
    kernel, memory, p = call.kernel, call.memory, call.pointer_size
    entry, size = call.arg(2), 0x38 if call.pointer_size == 8 else 0x1C
    for _ in range(ENTRIES):
        routine, name = memory.pointer(entry), memory.pointer(entry + 2 * p)
        if not routine and not name:
            break
        data, context = kernel.arena.take(16), memory.pointer(entry + 3 * p)
        if routine:
            arguments = (name, DWORD, data, 4, call.arg(3), context)
            kernel.register("registry query", routine, arguments)
        entry += size
    return 0


@stands_in("CmRegisterCallback")
def register_callback(call: Call) -> int:
    """Queue the callback."""
    kernel = call.kernel
    arguments = [call.arg(1), 1, kernel.arena.take(0x100)]
    kernel.register("registry callback", call.arg(0), arguments)
    return 0


@stands_in("CmRegisterCallbackEx")
def register_callback_ex(call: Call) -> int:
    """Queue the callback."""
    kernel = call.kernel
    arguments = [call.arg(3), 1, kernel.arena.take(0x100)]
    kernel.register("registry callback", call.arg(0), arguments)
    call.give_bytes(4, (1).to_bytes(8, "little"))
    return 0
