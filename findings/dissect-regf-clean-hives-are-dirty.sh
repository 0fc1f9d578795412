#!/bin/sh
# Question  What does `RegistryHive.dirty` of dissect.regf say of a registry hive that was closed in order?
# Guess     False: a hive is dirty when the two sequence numbers of its header differ, or its checksum is wrong, that is
#           when its logs have to be replayed first.
# Version   dissect.regf 3.14 (PyPI).
# Behaviour True for every hive whose checksum is right, also when both numbers are equal; False when the checksum is
#           wrong. The numbers are in `in_transaction`, which is right. The warning that goes with `dirty` is not seen,
#           since the module's logger starts at CRITICAL (DISSECT_LOG_REGF changes it).
# Seen      "in order: dirty True, in_transaction False; left open: dirty True, in_transaction True; wrong checksum: dirty
#           False, in_transaction False"
# Hurts     Who lists the drivers of a copied Windows from its SYSTEM hive asks whether services that were set last are
#           missing. `dirty` calls every sound copy incomplete and the one with a broken header sound.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install dissect.regf==3.14
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct

from dissect.regf import RegistryHive


def hive(first, second, wrong=0):
    """A hive with one key, its root, which has neither subkeys nor values."""
    header = bytearray(4096)
    struct.pack_into("<4sIIQIIIIIII", header, 0, b"regf", first, second, 0, 1, 5, 0, 1, 32, 4096, 1)
    checksum = 0
    for (word,) in struct.iter_unpack("<I", bytes(header[:508])):
        checksum ^= word
    struct.pack_into("<I", header, 508, checksum ^ wrong)
    name, none = b"ROOT", 0xFFFFFFFF
    key = struct.pack("<2sHQIIIIIIIIIIIIIIIHH", b"nk", 0x2C, 0, 0, none, 0, 0, none, none, 0, none, none, none,
                      0, 0, 0, 0, 0, len(name), 0) + name
    size = -(-(4 + len(key)) // 8) * 8
    cell = struct.pack("<i", -size) + key.ljust(size - 4, b"\0")
    rest = 4096 - 32 - size
    bin_ = struct.pack("<4sIIQQI", b"hbin", 0, 4096, 0, 0, 0) + cell + struct.pack("<i", rest)
    return RegistryHive(io.BytesIO(bytes(header) + bin_.ljust(4096, b"\0")))


rows = {"in order": hive(7, 7), "left open": hive(8, 7), "wrong checksum": hive(7, 7, wrong=1)}
assert all(one.root().name == "ROOT" for one in rows.values())
seen = "; ".join(
    f"{name}: dirty {one.dirty}, in_transaction {one.in_transaction}" for name, one in rows.items()
)
print(seen)
assert seen == (
    "in order: dirty True, in_transaction False; left open: dirty True, in_transaction True; "
    "wrong checksum: dirty False, in_transaction False"
), "the behaviour has changed"
PYTHON
