#!/bin/sh
# Question  What does libarchive make of a cabinet in which two files are the same bytes of one folder, as WiX writes every
#           MSI that installs one file twice?
# Guess     It lists both names, and each has the bytes: an entry of a cabinet says folder, start and length, and no word of the
#           format forbids that two say the same.
# Version   libarchive 3.6.2 (Debian 12) by libarchive-c 5.3; python-msi 0.0.0rc0 and cabextract 1.9 as other readers.
# Behaviour "Invalid CAB header": it wants each file to begin where the one before it in the folder ends, and refuses the whole
#           cabinet, with all that is in it, as damaged. The other readers give both files.
# Seen      see the output of the last lines; a public MSI of a file system driver for Windows is such a cabinet.
# Hurts     Whoever opens installers with libarchive takes valid ones for damaged, or passes over the drivers in them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip -q install libarchive-c==5.3 python-msi==0.0.0rc0
venv/bin/python - <<'PYTHON'
import struct

data, names = b"the same bytes of a driver", (b"one.sys", b"two.sys")
files = b"".join(struct.pack("<IIHHHH", len(data), 0, 0, 0, 0, 0x20) + name + b"\0" for name in names)
block = struct.pack("<IHH", 0, len(data), len(data)) + data
at = 36 + 8 + len(files)
head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, at + len(block), 0, 44, 0, 3, 1, 1, 2, 0, 0, 0)
open("twice.cab", "wb").write(head + struct.pack("<IHH", at, 1, 0) + files + block)
PYTHON
if command -v cabextract > /dev/null; then cabextract -q -p twice.cab; echo " <- cabextract"; fi
venv/bin/python - <<'PYTHON'
import libarchive
from libarchive.exception import ArchiveError
from pymsi.thirdparty.refinery.cab import Cabinet

opened = Cabinet(memoryview(open("twice.cab", "rb").read()))
read = {file.name: bytes(file.decompress()) for file in opened.process().get_files()}
print("python-msi:", read)
assert sorted(read) == ["one.sys", "two.sys"]
try:
    with libarchive.file_reader("twice.cab") as archive:
        told = str([entry.pathname for entry in archive])
except ArchiveError as error:
    told = str(error)
print("libarchive:", told)
assert "Invalid CAB header" in told, "the behaviour has changed"
PYTHON
