#!/bin/sh
# Question  What does pefile say of a valid driver whose paged code, in a section called PAGE, is writable and
#           executable: the plainest thing that memory integrity refuses to load?
# Guess     It opens like any other image and get_warnings() holds its sentence about such sections, as it does for
#           every other name.
# Version   pefile 2024.8.26 (PyPI), CPython 3.11; driver built with clang and lld-link of Debian 12.
# Behaviour The constructor ends with AttributeError: no attribute 'next_section_virtual_address'. For the name PAGE it asks
#           is_driver() while sections are still being read; that parses the imports, which looks into a section that is
#           not complete yet. With another name the same bytes open, with the warning.
# Seen      see the output of the last lines.
# Hurts     A script that sorts drivers by their sections and skips what pefile cannot open skips exactly those that
#           will not load, and counts them as damaged files.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip -q install pefile==2024.8.26
cat > driver.c <<'C'
__declspec(dllimport) void *ExAllocatePool2(unsigned long long, unsigned long long, unsigned);
__attribute__((section(PAGED))) int paged(int x) { return x + 1; }
int DriverEntry(void *a, void *b) { return paged(3) + !!ExAllocatePool2(0x40, 1, 1); }
C
printf 'LIBRARY ntoskrnl.exe\nEXPORTS\nExAllocatePool2\n' > kernel.def
llvm-dlltool -m i386:x86-64 -d kernel.def -l kernel.lib
for name in PAGE PAGED; do
  clang --target=x86_64-pc-windows-msvc -O1 -DPAGED="\"$name\"" -c driver.c -o "$name.obj"
  lld-link /driver /subsystem:native /entry:DriverEntry /nodefaultlib "/section:$name,erw" \
    "$name.obj" kernel.lib "/out:$name.sys"
done
venv/bin/python - <<'PYTHON'
import pefile

seen = {}
for name in ("PAGE", "PAGED"):
    try:
        seen[name] = "; ".join(pefile.PE(f"{name}.sys").get_warnings())
    except AttributeError as error:
        seen[name] = f"AttributeError: {error}"
    print(f"section {name}: {seen[name]}")
assert "next_section_virtual_address" in seen["PAGE"], "the behaviour has changed"
assert "IMAGE_SCN_MEM_EXECUTE are set" in seen["PAGED"], "the behaviour has changed"
PYTHON
