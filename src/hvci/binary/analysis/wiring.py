"""The parts of one image's analysis, wired together once."""

from __future__ import annotations

from functools import cached_property

from hvci.binary.analysis.entered import Entered
from hvci.binary.analysis.ledger import ImportCall, Ledger
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.flow.dataflow import Dataflow
from hvci.binary.form.code import Architecture, Function
from hvci.binary.form.depth import StackDepth
from hvci.binary.form.functions import Functions
from hvci.binary.form.references import MAX_HITS, References
from hvci.binary.pe.image import PeImage
from hvci.model import ImageSite, Machine, Rva


class Analysis:
    """An image with its references, functions and data flow."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self.arch: Architecture
        self.references: References
        self.functions: Functions
        depth = self._for_arm64() if image.machine is Machine.ARM64 else self._for_x86()
        self.flow = Dataflow(image, self.arch, self.functions, depth)
        self.ledger = Ledger()
        self.plain_calls: dict[int, ImportCall] = {}
        """The calls that operands naming an import certainly make, by the operand's RVA."""
        self.known_calls: set[int] = set()
        """RVAs of calls and jumps through registers that surely go to routines of others."""
        self.table_loads: dict[int, tuple[int, int]] = {}
        """A load and the table that it should read, by the RVA of the call that this decides."""
        self.thunk_at: dict[int, int] = {}
        """RVAs of import thunks by that of the operand in them; `import_hits` fills it."""
        self._names: dict[int | None, str] = {}
        """Names of functions that were asked for, by their starts."""
        self.identifiers: dict[str, list[int]] = {}
        """RVAs where identifiers of interfaces stand, for those that were looked for."""

    # One architecture is needed at a time, and each costs start-up time: imported where it is.

    def _for_arm64(self) -> StackDepth:
        from hvci.binary.arch.arm64.architecture import Arm64
        from hvci.binary.arch.arm64.depth import StackDepthArm64
        from hvci.binary.arch.arm64.functions import FunctionsArm64
        from hvci.binary.arch.arm64.scan.references import ReferencesArm64

        self.arch, self.references = Arm64(self.image), ReferencesArm64(self.image)
        self.functions = FunctionsArm64(self.image, self.arch, self.references)
        return StackDepthArm64(self.image)

    def _for_x86(self) -> StackDepth:
        from hvci.binary.arch.x86.architecture import X86
        from hvci.binary.arch.x86.functions import FunctionsX86
        from hvci.binary.arch.x86.references import ReferencesX86
        from hvci.binary.arch.x86.stack.depth import StackDepth32, StackDepth64

        self.arch, self.references = X86(self.image), ReferencesX86(self.image)
        self.functions = FunctionsX86(self.image, self.arch, self.references)
        if self.image.bits == 64:
            return StackDepth64(self.image)
        return StackDepth32(self.image, lambda rva: self.flow.interprocedural.thunks.get(rva))

    def release(self) -> None:
        """Cut the cycles between the parts, so that their memory is free at once."""
        self.functions.release()
        vars(self.flow).clear()
        vars(self).clear()

    @property
    def framework_table(self) -> Atoms:
        """The start of the KMDF function table, as a value."""
        return frozenset((Atom(Kind.TABLE),))

    @cached_property
    def import_hits(self) -> dict[str, list[tuple[int, int]]]:
        """(RVA of the displacement, slot) of every operand that may name an import, by its name.

        The import thunks among them are made known to the data flow.
        """
        imports = self.image.imports
        hits: dict[str, list[tuple[int, int]]] = {}
        thunks = self.flow.interprocedural.thunks
        found = self.references.to_slots(imports)
        if len(found) > MAX_HITS:
            self.flow.spend()
        found = found[:MAX_HITS]
        self.thunk_at = self.references.thunks([place for place, _ in found])
        names = {slot: item.name for slot, item in imports.items()}
        for hit in found:
            name = names[hit[1]]
            if name in hits:
                hits[name].append(hit)
            else:
                hits[name] = [hit]
            if hit[0] in self.thunk_at:
                thunks.setdefault(self.thunk_at[hit[0]], name)
        return hits

    @cached_property
    def import_places(self) -> list[int]:
        """RVA of the displacement of every operand that may name an import, sorted."""
        return sorted(place for hits in self.import_hits.values() for place, _ in hits)

    @cached_property
    def import_place_set(self) -> frozenset[int]:
        """The same to ask for one RVA."""
        return frozenset(self.import_places)

    def address_of(self, atom: Atom) -> int | None:
        """The RVA that a value is the address of; None for other values."""
        if atom.kind is Kind.ADDRESS:
            return atom.value
        rva = atom.value - self.image.base
        is_address = atom.kind is Kind.CONST and self.image.bits == 32 and self.image.holds(rva)
        return rva if is_address else None

    def site(self, rva: int, function: Function | None = None) -> ImageSite:
        """A place in the image, with section and function."""
        return self.site_within(rva, function.start if function is not None else None)

    def site_within(self, rva: int, start: int | None) -> ImageSite:
        """The same where only the start of the function is known; None where not even that."""
        name = self._names.get(start)
        if name is None and start is not None:
            name = self._names[start] = self.function_name(start)
        return ImageSite(Rva(rva), self.image.section_name(rva), name)

    def is_reached(self, function: Function) -> bool:
        """Whether anything leads to code outside known functions: a call, a pointer, an export.

        A function that calls has unwind data on x64; in an image without any, all code may be
        reached.
        """
        if function.kind != "gap" or self.image.runtime_functions == (0, 0):
            return True
        known = function.cache.get("reached")
        if known is None:
            start = function.start
            known = (
                start == self.image.headers.entry
                or start in self.image.exports
                or bool(self.references.to_code(start) or self.references.short_branches(start))
                or self.functions.takes_address(start)
                or self._is_entered(function)
            )
            function.cache["reached"] = known
        return bool(known)

    def _is_entered(self, function: Function) -> bool:
        """Whether something leads into a function: where it starts is not certain."""
        end = function.end(len(function.rvas) - 1)
        return self._entered.between(function.start, end)

    @cached_property
    def _entered(self) -> Entered:
        return Entered(self.image, self.references)

    def function_name(self, start: int) -> str:
        """Exported name, the entry point, or a name made of the RVA."""
        exported = self.image.exports.get(start)
        if exported and not exported.startswith("#"):
            return exported
        return "entry point" if start == self.image.headers.entry else f"sub_{start:x}"
