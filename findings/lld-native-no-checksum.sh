#!/bin/sh
# Question  A driver is linked by lld-link with /driver /subsystem:native, as Visual Studio would link it. Does its
#           header hold the checksum that "the operating system requires for device drivers"?
# Guess     Yes: Microsoft documents that /RELEASE, which sets it, is on by default with /SUBSYSTEM:NATIVE, and lld-link
#           takes the same options. GNU ld, which nobody asks for it, sets it in every image.
# Version   LLD 22.1.8 of ziglang 0.17.1 (PyPI).
# Behaviour CheckSum is 0, with /driver, with /subsystem:native and with both, and no word is said. Only /release sets it.
# Seen      see the output.
# Hurts     Microsoft's compatibility database knows drivers by this checksum among others (PE_CHECKSUM): 0 is equal for
#           all builds of all drivers that are linked so, and no entry can mean one of them. Who tells builds apart by
#           the header's checksum, as driver inventories do, takes them all for one.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pefile==2024.8.26 ziglang==0.17.1
cd "$folder"
export ZIG_GLOBAL_CACHE_DIR="$folder/global" ZIG_LOCAL_CACHE_DIR="$folder/local"
zig() { "$folder/venv/bin/python" -m ziglang "$@"; }

for build in one two; do
    echo "int DriverEntry(void *driver, void *path) { return '$build'[0]; }" | sed "s/'/\"/g" > "$build.c"
    zig clang -c --target=x86_64-pc-windows-msvc -O1 "$build.c" -o "$build.obj"
done
linked() { out=$1 object=$2; shift 2; zig lld-link /entry:DriverEntry /nodefaultlib "$@" "$object" "/out:$out.sys"; }
linked native one.obj /subsystem:native
linked driver one.obj /driver /subsystem:native
linked other two.obj /driver /subsystem:native
linked release one.obj /driver /subsystem:native /release

"$folder/venv/bin/python" - <<'PYTHON'
import pefile

for name in ("native", "driver", "other", "release"):
    image = pefile.PE(name + ".sys")
    held, right = image.OPTIONAL_HEADER.CheckSum, image.generate_checksum()
    print(f"{name:8} holds {held:#x}, its bytes give {right:#x}")
    assert image.OPTIONAL_HEADER.Subsystem == 1
    assert held == (right if name == "release" else 0), "not as it was"
PYTHON
