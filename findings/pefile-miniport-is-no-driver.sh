#!/bin/sh
# Question  Does pefile's `is_driver()` know a driver of a port driver: Subsystem native, imports from storport.sys?
# Guess     Yes: it has the Subsystem of drivers, and imports from a kernel module.
# Version   pefile 2024.8.26 (PyPI); the drivers are built by ziglang 0.17.1 (Clang and LLD).
# Behaviour `is_driver()` asks for an import from one of five modules by name (ntoskrnl.exe, hal.dll, ndis.sys,
#           bootvid.dll, kdcom.dll), or for a section called PAGE or PAGED together with the Subsystem. The miniport
#           has neither: `is_driver()` is false and `is_exe()` is true. The same code in a section PAGE is a driver,
#           and a console program that imports from hal.dll is one too, whatever its Subsystem.
# Seen      see the output.
# Hurts     Inventories that sort files with it lose miniports (storage, and whatever imports from its port driver or
#           framework loader only) among programs, so that nobody asks whether memory integrity accepts them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pefile==2024.8.26 ziglang==0.17.1
cd "$folder"
export ZIG_GLOBAL_CACHE_DIR="$folder/global" ZIG_LOCAL_CACHE_DIR="$folder/local"
zig() { "$folder/venv/bin/python" -m ziglang "$@"; }

cat > miniport.c <<'SOURCE'
__declspec(dllimport) unsigned long StorPortInitialize(void *, void *, void *, void *);
PLACE int DriverEntry(void *driver, void *path) { return (int)StorPortInitialize(driver, path, 0, 0); }
SOURCE
printf 'int start(void) { extern __declspec(dllimport) int HalTell(void); return HalTell(); }\n' > program.c
printf 'LIBRARY storport.sys\nEXPORTS\nStorPortInitialize\n' > storport.def
printf 'LIBRARY hal.dll\nEXPORTS\nHalTell\n' > hal.def
for library in storport hal; do zig dlltool -m i386:x86-64 -d $library.def -l $library.lib; done

built() { # NAME SOURCE SUBSYSTEM ENTRY LIBRARY PLACE
  zig clang -c --target=x86_64-pc-windows-msvc -O1 "-DPLACE=$6" "$2" -o "$1.obj"
  zig lld-link "/subsystem:$3" "/entry:$4" /nodefaultlib "$1.obj" "$5.lib" "/out:$1.sys"
}
built plain miniport.c native DriverEntry storport ''
built paged miniport.c native DriverEntry storport '__attribute__((section("PAGE")))'
built program program.c console start hal ''

"$folder/venv/bin/python" - <<'PYTHON'
import pefile

EXPECTED = {"plain": (1, False, True), "paged": (1, True, False), "program": (3, True, False)}
for name, expected in EXPECTED.items():
    image = pefile.PE(f"{name}.sys")
    found = image.OPTIONAL_HEADER.Subsystem, image.is_driver(), image.is_exe()
    print(f"{name}: Subsystem {found[0]}, is_driver {found[1]}, is_exe {found[2]}")
    assert found == expected, "the behaviour has changed"
PYTHON
