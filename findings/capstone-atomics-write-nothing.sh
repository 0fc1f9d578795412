#!/bin/sh
# Question  Which registers does capstone say that an ARM64 LSE atomic writes: `ldaddal w1, w2, [x0]`, `casal w1, w2, [x0]`?
# Guess     LDADDAL writes w2 (the old value), CASAL writes w1: both are in the instruction's own description, and
#           regs_access() is the documented way to ask.
# Version   capstone 5.0.9 (PyPI), CPython 3.11.
# Behaviour regs_access() answers that neither writes any register; all operands carry no write access. BLR, an
#           indirect call, is put into the group of relative branches.
# Seen      see the output of the last lines.
# Hurts     A data flow that trusts it keeps a register's old value over an atomic exchange. Kernel code for current
#           ARM64 is full of them (reference counts, list heads), so a pool type or a pointer that was loaded before
#           "survives" an instruction that replaces it. A search for direct calls finds indirect ones.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install capstone==5.0.9
"$folder/venv/bin/python" - <<'PYTHON'
import struct
import capstone

machine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
machine.detail = True
words = {"ldaddal w1, w2, [x0]": 0xB8E10002, "casal w1, w2, [x0]": 0x88E1FC02, "blr x8": 0xD63F0100}
seen = {}
for name, word in words.items():
    (found,) = machine.disasm(struct.pack("<I", word), 0x1000)
    read, written = found.regs_access()
    groups = [found.group_name(each) for each in found.groups]
    seen[name] = [found.reg_name(each) for each in written], groups
    print(f"{found.mnemonic} {found.op_str}: writes {seen[name][0]}, groups {groups}")
assert seen["ldaddal w1, w2, [x0]"][0] == [], "the behaviour has changed"
assert seen["casal w1, w2, [x0]"][0] == [], "the behaviour has changed"
assert "branch_relative" in seen["blr x8"][1], "the behaviour has changed"
PYTHON
