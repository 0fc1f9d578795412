"""Second, writable mappings of code: through an MDL, or through its physical address."""

from __future__ import annotations

from hvci.binary.behaviour import names
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.writes import WRITES, export_of
from hvci.binary.flow.atoms import NUMERIC, Atoms, Kind
from hvci.binary.form.code import Function
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
    mdls = _Makers(scene, {"IoAllocateMdl": 0, "MmCreateMdl": 1})
    if not mdls.over_code(set(mdls.calls)):
        return
    for function, i, name, _ in scene.calls(*_MDL_MAPPERS):
        if not _writable(scene, function, i, name):
            continue
        made = mdls.over_code(_results(scene.argument(function, i, _MDL_MAPPERS[name])))
        near = made or mdls.over_code(mdls.within(function))
        if near:
            verb = "makes writable" if name == _PROTECTS else "maps writable"
            rva, what = near[0]
            scene.add(
                WRITES,
                Behaviour.ALIAS,
                f"{verb} an MDL that describes {what} ({name})",
                (function, i),
                Confidence.PROVEN if made else Confidence.LIKELY,
                f"the MDL is made at {rva:#x}"
                + ("" if made else " in the same function; its way here is not followed"),
            )


def _through_physical_address(scene: Scene) -> None:
    if not scene.imports_any("MmMapIoSpace", "MmMapIoSpaceEx"):
        return
    places = _Makers(scene, {"MmGetPhysicalAddress": 0})
    maps = scene.calls("MmMapIoSpace", "MmMapIoSpaceEx") if places.calls else []
    if len(places.calls) <= len(maps) and not places.over_code(set(places.calls)):
        return  # asked first where that asks less
    for function, i, name, _ in maps:
        if name == "MmMapIoSpaceEx":
            position = 2 if scene.image.bits == 64 else 3
            if not _allows(scene.argument(function, i, position, 4)):
                continue
        made = places.over_code(_results(scene.argument(function, i, 0)))
        if made:
            rva, what = made[0]
            scene.add(
                WRITES,
                Behaviour.ALIAS,
                f"maps writable the physical memory of {what} ({name})",
                (function, i),
                Confidence.PROVEN,
                f"the physical address is asked for at {rva:#x}",
            )


class _Makers:
    """Calls that describe memory, by RVA; asked only for those that a mapping uses."""

    def __init__(self, scene: Scene, position: dict[str, int]) -> None:
        """`position` is that of the address, by the name of the routine."""
        self.scene = scene
        self.calls = {
            call.function.rvas[call.i]: (call.function, call.i, position[call.name])
            for call in scene.calls(*position)
        }
        self._known: dict[int, str] = {}

    def within(self, function: Function) -> set[int]:
        """The calls of one function."""
        return {rva for rva, call in self.calls.items() if call[0].start == function.start}

    def over_code(self, rvas: set[int]) -> list[tuple[int, str]]:
        """Which of some calls get an address of code, sorted, with what the code is."""
        for rva in (self.calls.keys() & rvas) - self._known.keys():
            self._known[rva] = _code_named(self.scene, self.scene.argument(*self.calls[rva]))
        return [(rva, self._known[rva]) for rva in sorted(rvas) if self._known.get(rva)]


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
