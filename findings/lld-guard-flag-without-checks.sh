#!/bin/sh
# Question  A driver is linked with /guard:cf from objects that were compiled without it. Does its image claim Control
#           Flow Guard, and that its calls are checked?
# Guess     No: the linker sees that no object has checks (each says so in its @feat.00), and leaves the flags out; at
#           least IMAGE_GUARD_CF_INSTRUMENTED, which the load configuration has for exactly that.
# Version   LLD 22.1.8 of ziglang 0.17.1 (PyPI).
# Behaviour IMAGE_DLLCHARACTERISTICS_GUARD_CF (0x4000) is set, with and without a load configuration, which alone names
#           the table of valid targets. With one, GuardFlags are 0x10500: instrumented, with tables. The one call is plain
#           in the object that all three images are linked from. LLD warns only where there is no load configuration.
# Seen      see the output.
# Hurts     Kernel Control Flow Guard is enforced only while memory integrity runs. Who takes the flag in the header for
#           checks, or GuardFlags, expects bug check 0x139 of a driver that calls anything it likes, and believes in a
#           protection that is not there. Only the calls themselves tell.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pefile==2024.8.26 ziglang==0.17.1
cd "$folder"
export ZIG_GLOBAL_CACHE_DIR="$folder/global" ZIG_LOCAL_CACHE_DIR="$folder/local"
zig() { "$folder/venv/bin/python" -m ziglang "$@"; }

cat > driver.c <<'SOURCE'
void (*volatile hook)(void);
int DriverEntry(void *driver, void *path) { if (hook) hook(); return 0; }
SOURCE
cat > config.s <<'SOURCE'
.data
pointer: .quad DriverEntry
.section .rdata,"dr"
.globl _load_config_used
.balign 8
_load_config_used:
.long 0x140
.zero 0x6c
.quad pointer, pointer, __guard_fids_table, __guard_fids_count
.long __guard_flags
.zero 0xac
SOURCE
compiled() { zig clang -c --target=x86_64-pc-windows-msvc -O1 "$@"; }
compiled driver.c -o plain.obj
zig clang -c --target=x86_64-pc-windows-msvc config.s -o config.obj
linked() { out=$1; shift; zig lld-link /driver /subsystem:native /entry:DriverEntry /nodefaultlib "$@" "/out:$out.sys"; }
linked unasked plain.obj
linked bare /guard:cf plain.obj
linked configured /guard:cf plain.obj config.obj

"$folder/venv/bin/python" - <<'PYTHON'
import pefile

GUARD_CF, INSTRUMENTED = 0x4000, 0x100
for name, claimed, configured in (("unasked", False, False), ("bare", True, False), ("configured", True, True)):
    image = pefile.PE(f"{name}.sys")
    config = getattr(image, "DIRECTORY_ENTRY_LOAD_CONFIG", None)
    flags = getattr(config.struct, "GuardFlags", 0) if config else 0
    claims = bool(image.OPTIONAL_HEADER.DllCharacteristics & GUARD_CF)
    print(f"{name}: header claims CFG {claims}, load configuration {config is not None}, GuardFlags {flags:#x}")
    assert (claims, config is not None, bool(flags & INSTRUMENTED)) == (claimed, configured, configured), (
        "the behaviour has changed"
    )
PYTHON
