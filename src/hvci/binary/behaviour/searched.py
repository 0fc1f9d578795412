"""Routines that the kernel does not export, searched for in the code of one that it does.

In an image with Control Flow Guard a call of what was found stops the computer while memory
integrity runs. Seen is a function that looks a routine up by name and compares bytes with the
opcode of a call or a jump: where the result goes is not followed. x64 and x86 only.
"""

from __future__ import annotations

from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.code import Function
from hvci.model import Behaviour, Confidence, Machine

RULE = "unexported-call"
GUARD_CF = 0x4000
MAX_LOOKUPS = 64
_LOOKUPS = frozenset(("MmGetSystemRoutineAddress",))
_BRANCHES = (0xE8, 0xE9)
"""Opcodes of `call` and `jmp` with a displacement, which a search looks for."""
_CONSTANTS = (0xFFFF_FFE0, (0x52B2_8000, 0x52A2_8000))
"""Mask and words of `mov w, #0x94000000` and `mov w, #0x14000000`: the opcodes of BL and B."""
_NUMBERS = (0xFFFF_FC00, (0x7100_9400, 0x7100_1400))
"""The same of `cmp w, #0x25` and `cmp w, #5`: the opcodes moved down."""
_OPCODES = {
    0x1206_1400: _CONSTANTS,  # and w, w, #0xfc000000
    0x1206_1000: _CONSTANTS,  # and w, w, #0x7c000000: either of both
    0x531A_7C00: _NUMBERS,  # lsr w, w, #26
}
"""What leaves the opcode of an ARM64 branch -> what it is then compared with."""
_PREFIXES = bytes((0x66, 0x67, *range(0x40, 0x50)))
_WHY = (
    "compiled with /guard:cf, a call of an address that was found in code stops the computer with "
    "bug check 0x139 while memory integrity runs, because it is no valid target"
)


def find(scene: Scene) -> None:
    """Add a fact for each function that searches what it looked up."""
    image = scene.image
    if not image.headers.dll_characteristics & GUARD_CF:
        return
    compares = _compares_words if image.machine is Machine.ARM64 else _compares
    if not scene.imports_any(*_LOOKUPS):
        return
    for place in nearby.call_places(scene, _LOOKUPS)[:MAX_LOOKUPS].tolist():
        found = scene.analysis.functions.instruction_at(place)
        if found is None:
            continue
        function = found[0]
        at = next((i for i in range(len(function.rvas)) if compares(scene, function, i)), None)
        if at is not None:
            what = "searches code that it looked up by name for a call or a jump"
            scene.add(RULE, Behaviour.UNEXPORTED, what, (function, at), Confidence.POSSIBLE, _WHY)


def _compares(scene: Scene, function: Function, i: int) -> bool:
    """Whether an instruction compares a byte with the opcode of a call or a jump."""
    rva, memory = function.rvas[i], scene.image.memory
    end = function.rvas[i + 1] if i + 1 < len(function.rvas) else rva + 8
    code = bytes(memory[rva:end]).lstrip(_PREFIXES)
    if len(code) < 2:
        return False
    compares = code[1] >> 3 & 7 == 7
    if code[0] == 0x3C or (code[0] == 0x80 and compares):
        return code[-1] in _BRANCHES
    if code[0] == 0x3D or (code[0] == 0x81 and compares):
        return int.from_bytes(code[-4:], "little") in _BRANCHES
    return False


def _compares_words(scene: Scene, function: Function, i: int) -> bool:
    """The same of ARM64: whether an instruction leaves an opcode that the function compares."""
    wanted = _OPCODES.get(_word(scene, function.rvas[i]) & 0xFFFF_FC00)
    if wanted is None:
        return False
    mask, values = wanted
    return any(_word(scene, rva) & mask in values for rva in function.rvas)


def _word(scene: Scene, rva: int) -> int:
    return int.from_bytes(scene.image.memory[rva : rva + 4], "little")
