"""MASM text of a driver."""

from __future__ import annotations

from collections.abc import Iterator

import texts

SEEDS = (
    "EXTERN ExAllocatePoolWithTag:PROC\n.code\nT EQU 0\nf PROC FRAME\n sub rsp, 28h\n.allocstack 28h\n.endprolog\n"
    " mov ecx, T OR 200h\n mov edx, 10h\n call ExAllocatePoolWithTag\n add rsp, 28h\n ret\nf ENDP\nEND\n",
    " AREA |.text|, CODE\n IMPORT ExAllocatePool\nf PROC\n mov w0, #0x200\n bl |ExAllocatePool|\n ldr x8, =__imp_MmMapIoSpace\n"
    " blr x8\n ENDP\n GET x.inc\n COMMENT ~ call rax ~\n mov qword ptr [rsp+28h], 40h \\\n call ZwAllocateVirtualMemory\n",
    "_TEXT SEGMENT EXECUTE READ WRITE\nIFDEF X\nINVOKE ExAllocatePool, 0, 16\nELSE\nm MACRO a\n push a\nENDM\nENDIF\n",
)


def one(data: bytes) -> None:
    """Words, in the order that the input says, or the text itself."""
    texts.examined("code.asm", data, SEEDS)


def seeds() -> Iterator[bytes]:
    """Texts that the input may take pieces from, as they are."""
    for number, _ in enumerate(SEEDS):
        yield bytes([1, number])
        yield b"\0" + SEEDS[number].encode()
