"""Decodes a few bytes of x86 code as a function, without an image around it."""

from types import SimpleNamespace

from hvci.binary.arch.x86.architecture import X86
from hvci.binary.arch.x86.stack.depth import StackDepth32
from hvci.binary.form.code import Function

START = 0x1000


def decoded(code):
    """(architecture, function, depth of the stack) of some code."""
    image = SimpleNamespace(
        bits=32,
        memory=bytearray(START) + bytearray(code) + bytearray(32),
        base=0x400000,
        size=START + len(code),
        guard_check=-1,
        imports={},
        is_code=lambda _: False,
    )
    arch, function = X86(image), Function(START, [(START, START + len(code))], "start")
    arch.decode(function)
    return arch, function, StackDepth32(image, lambda _: None)
