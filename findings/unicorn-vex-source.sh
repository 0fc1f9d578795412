#!/bin/sh
# Question  Does unicorn compute a three-operand AVX instruction of 128 bits (`vpaddd xmm0, xmm1, xmm2`), or refuse it?
# Guess     Either the right sum, or UC_ERR_INSN_INVALID: the engine descends from QEMU, whose versions of that time had
#           no AVX and raised an invalid opcode.
# Version   unicorn 2.1.4 (PyPI), CPython 3.11, x86-64.
# Behaviour It runs the bytes as the SSE form with two operands: the destination's old value takes the place of the first
#           source. No error, no invalid-instruction hook; the next instruction continues with the wrong number.
# Seen      xmm1 = 4x1, xmm2 = 4x2, xmm0 = 4x100 before; after `vpaddd xmm0, xmm1, xmm2`: 4x102, where a processor says 4x3.
# Hurts     Who runs a driver in unicorn to see what it asks for gets values that no machine computes, and a run that
#           looks clean: a flag that is masked or added by AVX code, as compilers write at -march=haswell, is another flag.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install unicorn==2.1.4
"$folder/venv/bin/python" - <<'PYTHON'
import struct
import unicorn
from unicorn import x86_const as reg

CODE = bytes.fromhex("c5f1fec2")  # vpaddd xmm0, xmm1, xmm2
engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
engine.mem_map(0x1000, 0x1000)
engine.mem_write(0x1000, CODE)
for number, value in ((reg.UC_X86_REG_XMM0, 100), (reg.UC_X86_REG_XMM1, 1), (reg.UC_X86_REG_XMM2, 2)):
    engine.reg_write(number, int.from_bytes(struct.pack("<4I", *[value] * 4), "little"))
engine.emu_start(0x1000, 0x1000 + len(CODE))
found = struct.unpack("<4I", engine.reg_read(reg.UC_X86_REG_XMM0).to_bytes(16, "little"))
print("vpaddd xmm0, xmm1, xmm2:", found)
assert found == (102,) * 4, "the behaviour has changed"
PYTHON
