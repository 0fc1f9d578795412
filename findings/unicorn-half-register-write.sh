#!/bin/sh
# Question  A stand-in for a kernel routine puts its 32-bit result into the register by the name that the routine's type
#           suggests (EAX on x64, W0 on ARM64). What is in the upper half of the register then?
# Guess     Zero: on both machines a write of the 32-bit register clears the upper half, and the engine emulates them.
# Version   unicorn 2.1.4 (PyPI), CPython 3.11, x86-64.
# Behaviour reg_write of a 32-bit name keeps the upper half of the 64-bit register as it was; `mov eax, 1` and `mov w0, #1`
#           in emulated code clear it. No error and no warning.
# Seen      Before, RAX and X0 are 1122334455667788; after writing 1 to EAX or W0 from outside they are 1122334400000001,
#           after the instruction 0000000000000001.
# Hurts     Who runs a driver with stand-ins for the kernel: a count, flag or status that is used as 64 bits afterwards
#           (an index, a size, a pool type that is passed on) is a number that no machine returns, and the driver takes
#           another path, or asks for another kind of memory, than it would.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install unicorn==2.1.4
"$folder/venv/bin/python" - <<'PYTHON'
import unicorn
from unicorn import arm64_const as arm
from unicorn import x86_const as x86

BEFORE = 0x1122334455667788
MACHINES = (
    (unicorn.UC_ARCH_X86, unicorn.UC_MODE_64, x86.UC_X86_REG_RAX, x86.UC_X86_REG_EAX, "b801000000"),
    (unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM, arm.UC_ARM64_REG_X0, arm.UC_ARM64_REG_W0, "20008052"),
)
for machine, mode, whole, half, code in MACHINES:
    engine = unicorn.Uc(machine, mode)
    engine.reg_write(whole, BEFORE)
    engine.reg_write(half, 1)
    outside = engine.reg_read(whole)
    engine.mem_map(0x1000, 0x1000)
    engine.mem_write(0x1000, bytes.fromhex(code))
    engine.reg_write(whole, BEFORE)
    engine.emu_start(0x1000, 0x1000 + len(code) // 2)
    inside = engine.reg_read(whole)
    print(f"from outside {outside:#x}, by an instruction {inside:#x}")
    assert (outside, inside) == (0x1122334400000001, 1), "the behaviour has changed"
PYTHON
