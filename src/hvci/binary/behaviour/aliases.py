"""Second, writable mappings of code: through an MDL, or through its physical address."""

from __future__ import annotations

from hvci.binary.atoms import NUMERIC, Atoms, Kind
from hvci.binary.behaviour import names
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.stores import WRITES, export_of
from hvci.binary.code import Function
from hvci.model import Behaviour, Confidence

NO_WRITE = 0x8000_0000
"""MdlMappingNoWrite."""
WRITABLE = 0x4 | 0x8 | 0x40 | 0x80
"""PAGE_READWRITE, PAGE_WRITECOPY and their executable forms."""
_MDL_MAPPERS = {
    "MmMapLockedPages": 0,
    "MmMapLockedPagesSpecifyCache": 0,
    "MmProtectMdlSystemAddress": 0,
    "MmMapLockedPagesWithReservedMapping": 2,
}
"""Position of the MDL."""
_PROTECTS = "MmProtectMdlSystemAddress"
_PRIORITY = 5


def find(scene: Scene) -> None:
    """Add every fact about mappings of code."""
    _through_mdl(scene)
    _through_physical_address(scene)


def _through_mdl(scene: Scene) -> None:
    if not scene.imports_any(*_MDL_MAPPERS):
        return
    mdls = _over_code(scene, "IoAllocateMdl", "MmCreateMdl", position={"MmCreateMdl": 1})
    if not mdls:
        return
    for function, i, name, _ in scene.calls(*_MDL_MAPPERS):
        if not _writable(scene, function, i, name):
            continue
        held = scene.argument(function, i, _MDL_MAPPERS[name])
        made = sorted(mdls.keys() & _results(held))
        near = sorted(rva for rva, (maker, _) in mdls.items() if maker.start == function.start)
        verb = "makes writable" if name == _PROTECTS else "maps writable"
        if made or near:
            what = mdls[(made or near)[0]][1]
            scene.add(
                WRITES,
                Behaviour.ALIAS,
                f"{verb} an MDL that describes {what} ({name})",
                (function, i),
                Confidence.PROVEN if made else Confidence.LIKELY,
                f"the MDL is made at {(made or near)[0]:#x}"
                + ("" if made else " in the same function; its way here is not followed"),
            )


def _through_physical_address(scene: Scene) -> None:
    if not scene.imports_any("MmMapIoSpace", "MmMapIoSpaceEx"):
        return
    places = _over_code(scene, "MmGetPhysicalAddress", position={})
    if not places:
        return
    for function, i, name, _ in scene.calls("MmMapIoSpace", "MmMapIoSpaceEx"):
        if name == "MmMapIoSpaceEx":
            position = 2 if scene.image.bits == 64 else 3
            if not _allows(scene.argument(function, i, position, 4)):
                continue
        made = sorted(places.keys() & _results(scene.argument(function, i, 0)))
        if made:
            scene.add(
                WRITES,
                Behaviour.ALIAS,
                f"maps writable the physical memory of {places[made[0]][1]} ({name})",
                (function, i),
                Confidence.PROVEN,
                f"the physical address is asked for at {made[0]:#x}",
            )


def _over_code(
    scene: Scene, *wanted: str, position: dict[str, int]
) -> dict[int, tuple[Function, str]]:
    """Calls that get an address of code, by RVA, with what the code is."""
    found = {}
    for function, i, name, _ in scene.calls(*wanted):
        held = scene.argument(function, i, position.get(name, 0))
        what = _code_named(scene, held)
        if what:
            found[function.rvas[i]] = function, what
    return found


def _code_named(scene: Scene, held: Atoms) -> str:
    """What code a set of atoms points at; empty when it points at none."""
    rva = scene.code_address(held)
    if rva is not None:
        return f"code of {scene.image.section_name(rva)} at {rva:#x}"
    for atom in sorted(held):
        name = export_of(scene, atom)
        if name and names.is_function(name):
            return f"the code of {name}"
    return ""


def _results(held: Atoms) -> set[int]:
    """RVAs of the calls whose results are among a set of atoms."""
    return {atom.value for atom in held if atom.kind is Kind.RESULT}


def _writable(scene: Scene, function: Function, i: int, name: str) -> bool:
    """Whether a mapping of an MDL can be written through."""
    if name == _PROTECTS:
        return _allows(scene.argument(function, i, 1, 4))
    if name != "MmMapLockedPagesSpecifyCache":
        return True
    held = scene.argument(function, i, _PRIORITY, 4)
    return not any(atom.kind in NUMERIC and atom.value & NO_WRITE for atom in held)


def _allows(protection: Atoms) -> bool:
    """Whether a page protection can be writable."""
    return any(atom.kind not in NUMERIC or atom.value & WRITABLE for atom in protection)
