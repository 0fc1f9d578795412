#!/bin/sh
# Question  What protection has the section that `lld-link /merge:.data=.text` leaves in a driver?
# Guess     Writable and executable: variables have to stay writable and code executable, and Microsoft's LNK4254 warns
#           of data that becomes writable by a merge. So memory integrity refuses the driver, which is why one looks for
#           the option.
# Version   LLD of ziglang 0.17.1 (PyPI), `zig lld-link`, target x86_64-pc-windows-msvc.
# Behaviour The section keeps the flags of the name that it gets, whatever comes in. .data in .text: readable and
#           executable, so that the first write to a variable is a bug check. .text in .data: readable and writable, so
#           that the entry point cannot run. No warning in either direction.
# Seen      "plain: .text r-x, .data rw-; .data in .text: .text r-x; .text in .data: .data rw-; words of the linker: 0"
# Hurts     The same line of a build means W+X code or a broken driver, depending on the linker. Who judges a build by
#           /MERGE says "refused by memory integrity" of an image that memory integrity loads, and that then stops the
#           machine for another reason.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install ziglang==0.17.1
cd "$folder"
zig() { venv/bin/python -m ziglang "$@"; }
printf 'int calls = 5;\nint DriverEntry(int *a) { calls += *a; return calls; }\n' > code.c
zig clang --target=x86_64-pc-windows-msvc -O1 -c code.c -o code.obj
link() {
    zig lld-link /driver /subsystem:native /entry:DriverEntry /nodefaultlib "$@" code.obj /out:code.sys >> said 2>&1
    venv/bin/python - <<'PYTHON'
import struct
from pathlib import Path

data = Path("code.sys").read_bytes()
(pe,) = struct.unpack_from("<I", data, 0x3C)
count, optional = struct.unpack_from("<H12xH", data, pe + 6)
found = []
for number in range(count):
    row = data[pe + 24 + optional + 40 * number :][:40]
    name, flags = row[:8].rstrip(b"\0").decode(), struct.unpack_from("<I", row, 36)[0]
    letters = "".join(l if flags >> bit & 1 else "-" for l, bit in (("r", 30), ("w", 31), ("x", 29)))
    if name in (".text", ".data"):
        found.append(f"{name} {letters}")
print(", ".join(found))
PYTHON
}
: > said
seen="plain: $(link); .data in .text: $(link /merge:.data=.text); .text in .data: $(link /merge:.text=.data)"
seen="$seen; words of the linker: $(grep -ci 'lld-link' said || true)"
echo "$seen"
test "$seen" = "plain: .text r-x, .data rw-; .data in .text: .text r-x; .text in .data: .data rw-; words of the linker: 0"
