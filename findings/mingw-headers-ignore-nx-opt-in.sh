#!/bin/sh
# Question  What does POOL_NX_OPTIN make of NonPagedPool in a driver that is built with MinGW-w64's headers?
# Guess     What the WDK makes of it: with POOL_NX_OPTIN_AUTO the name stands for NonPagedPoolNx (512), with POOL_NX_OPTIN
#           for a variable; a header set with its own ddk/wdm.h that has NonPagedPoolNx would have the switch beside it.
# Version   The MinGW-w64 headers (15) in ziglang 0.17.1 (PyPI), Zig's own Clang, target x86_64-windows-gnu.
# Behaviour Neither macro is asked for anywhere in the headers. NonPagedPool stays the constant 0, pool that can execute,
#           and no warning says so, also with -Wall -Wextra. Only a call of ExInitializeDriverRuntime would be refused.
# Seen      "plain 0, POOL_NX_OPTIN 0, POOL_NX_OPTIN_AUTO 0; headers that name the switch: 0; warnings: 0"
# Hurts     A driver ported from the WDK with -DPOOL_NX_OPTIN_AUTO=1 in its makefile builds clean and allocates executable
#           pool, which memory integrity refuses. Who judges sources by that definition calls it compatible.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install ziglang==0.17.1
headers=$("$folder/venv/bin/python" -c 'import pathlib, ziglang
print(pathlib.Path(ziglang.__file__).parent / "lib/libc/include/any-windows-any")')
printf '#include <wdm.h>\nchar value[1 + NonPagedPool];\nint other = sizeof value;\n' > "$folder/code.c"
printf '#include <wdm.h>\nint DriverEntry(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 1) != 0; }\n' \
    > "$folder/call.c"
build() {
    "$folder/venv/bin/python" -m ziglang cc -target x86_64-windows-gnu -isystem "$headers/ddk" "$@"
}
value() { # the size of an array of 1 + NonPagedPool characters, less 1
    build "$@" -S -O1 "$folder/code.c" -o "$folder/code.s"
    echo $(($(sed -n '/^other:/,$s/^[[:space:]]*\.long[[:space:]]*\([0-9]*\).*/\1/p' "$folder/code.s" | head -n 1) - 1))
}
seen="plain $(value), POOL_NX_OPTIN $(value -DPOOL_NX_OPTIN=1), POOL_NX_OPTIN_AUTO $(value -DPOOL_NX_OPTIN_AUTO=1)"
seen="$seen; headers that name the switch: $(grep -rl POOL_NX_OPT "$headers" | wc -l | tr -d ' ')"
build -DPOOL_NX_OPTIN_AUTO=1 -Wall -Wextra -c "$folder/call.c" -o "$folder/call.o" 2> "$folder/said"
seen="$seen; warnings: $(grep -c 'code.*warning\|call.*warning' "$folder/said" || true)"
echo "$seen"
test "$seen" = "plain 0, POOL_NX_OPTIN 0, POOL_NX_OPTIN_AUTO 0; headers that name the switch: 0; warnings: 0"
