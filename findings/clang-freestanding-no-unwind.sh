#!/bin/sh
# Question  Does `clang -ffreestanding` for x64 Windows emit unwind data for a function that calls another?
# Guess     Yes: the x64 ABI of Windows wants an entry in .pdata for each function that moves the stack pointer, and
#           -ffreestanding is about the library, not about the ABI. Kernel code is freestanding by nature.
# Version   clang 21 of ziglang 0.17.1 (PyPI), target x86_64-pc-windows-msvc.
# Behaviour With -ffreestanding there is no .pdata and no .xdata at all; without it there is, and
#           -fasynchronous-unwind-tables brings it back.
# Seen      "plain: .pdata; freestanding: none; freestanding with tables: .pdata"
# Hurts     Who finds the functions of a driver by its exception directory, as is usual on x64, sees a driver of that
#           build without a single function, and finds no call of an allocation routine in it. A clean answer.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install ziglang==0.17.1
printf 'int other(int *);\nint entry(int a) { int b[4]; b[0] = a; return other(b) + b[1]; }\n' > "$folder/code.c"
sections() {
    "$folder/venv/bin/python" -m ziglang clang --target=x86_64-pc-windows-msvc -O1 "$@" \
        -c "$folder/code.c" -o "$folder/code.obj"
    "$folder/venv/bin/python" - "$folder/code.obj" <<'PYTHON'
import struct
import sys
from pathlib import Path

data = Path(sys.argv[1]).read_bytes()
count, optional = struct.unpack_from("<H", data, 2)[0], struct.unpack_from("<H", data, 16)[0]
names = [data[20 + optional + 40 * n :][:8].rstrip(b"\0").decode() for n in range(count)]
print(".pdata" if ".pdata" in names else "none")
PYTHON
}
seen="plain: $(sections); freestanding: $(sections -ffreestanding)"
seen="$seen; freestanding with tables: $(sections -ffreestanding -fasynchronous-unwind-tables)"
echo "$seen"
test "$seen" = "plain: .pdata; freestanding: none; freestanding with tables: .pdata"
