"""Files that a driver has mapped or loaded as code, by the system or by its own loader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from iced_x86 import Mnemonic

from hvci import catalog
from hvci.binary.arch.x86.lift import IMMEDIATES
from hvci.binary.behaviour import names
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import NUMERIC, Atoms
from hvci.binary.form.code import Flow, Function
from hvci.model import Behaviour, Confidence, Machine

RULE = "data-file-as-executable"
SEC_IMAGE, SEC_IMAGE_NO_EXECUTE = 0x0100_0000, 0x1100_0000
EXECUTE = 0xF0
"""PAGE_EXECUTE, _READ, _READWRITE and _WRITECOPY."""
_SECTIONS = ("ZwCreateSection", "NtCreateSection", "FsRtlCreateSectionForDataScan")
_SETTERS = ("ZwSetSystemInformation", "NtSetSystemInformation")
_LOADERS = ("ZwLoadDriver", "NtLoadDriver")
_OPENERS = (
    "ZwCreateFile",
    "ZwOpenFile",
    "NtCreateFile",
    "NtOpenFile",
    "IoCreateFile",
    "IoCreateFileEx",
    "IoCreateFileSpecifyDeviceObjectHint",
    "FltCreateFile",
    "FltCreateFileEx",
    "FltCreateFileEx2",
)
_IMAGE_CLASSES = {
    26: "SystemLoadGdiDriverInformation",
    38: "SystemExtendServiceTableInformation",
    54: "SystemLoadGdiDriverInSystemSpaceInformation",
}
_PE_SIGNATURE, _DOS_SIGNATURE = b"\x50\x45\x00\x00", b"\x4d\x5a"
_OFFSET_MASK = b"\xff\x0f\x00\x00"
_MOVE_PE_SIGNATURE = 0xFFFF_FFE0, 0x5288_AA00
_MOVE_DOS_SIGNATURE = 0xFFFF_FFE0, 0x528B_49A0
_SHIFT_BY_12 = 0xFFFF_FC00, 0x530C_7C00
_MOVE_TYPE = 0xFFFF_FFE0, 0x5294_0000
_COMPARE_TYPE = 0xFFFF_FC1F, 0x7140_281F
"""ARM64 (mask, word): `mov w, #0x4550`, `mov w, #0x5a4d`, `lsr w, w, #12`, `mov w, #0xa000`,
`cmp w, #0xa, lsl #12`."""
MAX_PARSERS = 64


def find(scene: Scene) -> None:
    """Add every fact about files used as code."""
    for function, i, name, _ in scene.calls(*_SECTIONS[:2]):
        _section(scene, (function, i), name)
    for function, i, name, _ in scene.calls_and_limits(RULE, *_SETTERS):
        for number in sorted(_numbers(scene.argument(function, i, 0, 4)) & set(_IMAGE_CLASSES)):
            scene.add(
                RULE,
                Behaviour.EXECUTABLE_FILE,
                f"has the system load an image as kernel code ({name}, class {number}, "
                f"{_IMAGE_CLASSES[number]})",
                (function, i),
                Confidence.PROVEN,
                "the class is undocumented, and Windows refuses it to third-party drivers",
            )
    for function, i, name, _ in scene.calls_and_limits(RULE, *_LOADERS):
        scene.add(
            RULE,
            Behaviour.DRIVER_LOAD,
            f"loads another driver ({name})",
            (function, i),
            Confidence.PROVEN,
            "the system checks the other driver when it loads; check that file as well",
        )
    _by_hand(scene)


# ---- sections over files


def _section(scene: Scene, place: Place, name: str) -> None:
    """A section object: executable, and over a file?"""
    function, i = place
    protection = _numbers(scene.argument(function, i, 4, 4))
    attributes = _numbers(scene.argument(function, i, 5, 4))
    image = any(value & SEC_IMAGE_NO_EXECUTE == SEC_IMAGE for value in attributes)
    executes = any(value & EXECUTE for value in protection)
    no_execute = any(value & SEC_IMAGE_NO_EXECUTE == SEC_IMAGE_NO_EXECUTE for value in attributes)
    if no_execute or not (image or executes):
        return
    handle = scene.argument(function, i, 6)
    if _numbers(handle) == {0} and all(atom.kind in NUMERIC for atom in handle):
        return
    opened = _opened_here(scene, function, i)
    sure = Confidence.PROVEN if opened else Confidence.LIKELY
    if not opened and not scene.imports_any(*_OPENERS):
        sure = Confidence.POSSIBLE
    how = "as an image (SEC_IMAGE)" if image else f"with {_spell(protection)}"
    scene.add(
        RULE,
        Behaviour.EXECUTABLE_FILE,
        f"maps a file {how} ({name})",
        place,
        sure,
        f"the file handle comes from {opened}" if opened else "the driver gives a file handle",
    )


def _spell(protection: set[int]) -> str:
    words = {0x10: "PAGE_EXECUTE", 0x20: "PAGE_EXECUTE_READ", 0x40: "PAGE_EXECUTE_READWRITE"}
    value = min(value for value in protection if value & EXECUTE)
    return words.get(value & EXECUTE, "PAGE_EXECUTE_WRITECOPY")


def _opened_here(scene: Scene, function: Function, i: int) -> str:
    """Name of the DDI by which this function or its direct callers open the file."""
    for opener, _, name, _ in scene.calls(*_OPENERS):
        if opener.start == function.start:
            return name
        for caller, _ in scene.analysis.functions.callers(function.start):
            if caller.start == opener.start:
                return name
            callers = scene.analysis.functions.callers(opener.start)
            if any(other.start == caller.start for other, _ in callers):
                return name
    return ""


def _numbers(held: Atoms) -> set[int]:
    return {atom.value & 0xFFFF_FFFF for atom in held if atom.kind in NUMERIC}


# ---- a loader of its own


def _by_hand(scene: Scene) -> None:
    """Headers compared, relocations applied, and executable memory for the result."""
    if not scene.imports_any(*names.POOL | names.CONTIGUOUS):
        return
    parsers, relocators = _pe_code(scene)
    if not parsers or not relocators:
        return
    for function, i, name, _ in scene.calls(*sorted(names.POOL | names.CONTIGUOUS)):
        near = {function.start} | _neighbours(scene, function)
        if near & parsers and near & relocators and _executable(scene, function, i, name):
            scene.add(
                RULE,
                Behaviour.IMAGE_BY_HAND,
                f"loads an executable file by hand into memory of {name}",
                (function, i),
                Confidence.LIKELY,
                "it compares the signatures 'MZ' and 'PE', takes relocations apart and asks for "
                "executable memory in the same function or in functions it calls",
            )


def _pe_code(scene: Scene) -> tuple[set[int], set[int]]:
    """Starts of the functions that compare a PE signature, and of those that relocate."""
    if scene.image.machine is Machine.ARM64:
        if not words.matching(scene, *_MOVE_DOS_SIGNATURE):
            return set(), set()
        relocators: set[int] = set()
        for each in (_SHIFT_BY_12, _MOVE_TYPE, _COMPARE_TYPE):
            relocators |= words.matching(scene, *each)
        return words.matching(scene, *_MOVE_PE_SIGNATURE), relocators
    parsers = {function.start for function in _comparing(scene, _PE_SIGNATURE)}
    if not parsers or not any(_comparing(scene, _DOS_SIGNATURE, 2)):
        return set(), set()
    masking = list(_comparing(scene, _OFFSET_MASK))
    return parsers, {function.start for function in masking if _shifts(function)}


def _comparing(scene: Scene, constant: bytes, length: int = 4) -> Iterator[Function]:
    """Functions with an instruction that has a constant as its immediate."""
    code = scene.image.bytes
    for start, end in scene.image.code_ranges:
        if end - start < 8:
            continue
        wanted = np.ones(end - start - 4, bool)
        for offset, byte in enumerate(constant[:length]):
            wanted &= code[start + offset : end - 4 + offset] == byte
        for place in (wanted.nonzero()[0] + start).tolist()[:MAX_PARSERS]:
            found = scene.analysis.functions.instruction_at(place)
            if found is None:
                continue
            function, i = found
            instruction = function.instructions[i]
            value = int.from_bytes(constant, "little")
            if any(
                instruction.op_kind(n) in IMMEDIATES and instruction.immediate(n) == value
                for n in range(instruction.op_count)
            ):
                yield function


def _shifts(function: Function) -> bool:
    """Whether a function shifts right by 12, as the type of a relocation is taken out."""
    return any(
        instruction.mnemonic in (Mnemonic.SHR, Mnemonic.SAR)
        and instruction.op1_kind in IMMEDIATES
        and instruction.immediate(1) == 12
        for instruction in function.instructions
    ) or any(
        instruction.mnemonic in (Mnemonic.AND, Mnemonic.CMP)
        and instruction.op1_kind in IMMEDIATES
        and instruction.immediate(1) & 0xFFFF in (0xF000, 0xA000)
        for instruction in function.instructions
    )


def _neighbours(scene: Scene, function: Function) -> set[int]:
    """Starts of the functions that a function calls, and of those that call it."""
    called = {
        scene.arch.direct_target(function, i)
        for i, flow in enumerate(function.flows)
        if flow == Flow.CALL
    }
    return called | {caller.start for caller, _ in scene.analysis.functions.callers(function.start)}


def _executable(scene: Scene, function: Function, i: int, name: str) -> bool:
    """Whether an allocation asks for executable memory."""
    ddi = catalog.ddis().get(name)
    if ddi is None or not ddi.deciding:
        return ddi is not None
    position = ddi.position(ddi.deciding) if scene.image.bits == 64 else ddi.x86_slot(ddi.deciding)
    values = _numbers(scene.argument(function, i, position, 4))
    return any(ddi.rule.executable.holds(value) for value in values)
