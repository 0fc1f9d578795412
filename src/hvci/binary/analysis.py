"""The parts of one image's analysis, wired together once."""

from __future__ import annotations

from hvci.binary.atoms import Atom, Atoms, Kind
from hvci.binary.code import Function
from hvci.binary.dataflow import Dataflow
from hvci.binary.functions import Functions
from hvci.binary.image import PeImage
from hvci.binary.references import References
from hvci.binary.stack import StackDepth32, StackDepth64
from hvci.binary.x86 import X86
from hvci.model import ImageSite, Rva


class Analysis:
    """An image with its references, functions and data flow."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self.arch = X86(image)
        self.references = References(image)
        self.functions = Functions(image, self.arch, self.references)
        depth = (
            StackDepth64(image)
            if image.bits == 64
            else StackDepth32(image, lambda rva: self.flow.interprocedural.thunks.get(rva))
        )
        self.flow = Dataflow(image, self.arch, self.functions, depth)

    @property
    def framework_table(self) -> Atoms:
        """The start of the KMDF function table, as a value."""
        return frozenset((Atom(Kind.TABLE),))

    def site(self, rva: int, function: Function | None = None) -> ImageSite:
        """A place in the image, with section and function."""
        name = self.function_name(function.start) if function is not None else None
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
                or bool(self.references.to_code(start))
                or self.functions.takes_address(start)
            )
            function.cache["reached"] = known
        return bool(known)

    def function_name(self, start: int) -> str:
        """Exported name, the entry point, or a name made of the RVA."""
        exported = self.image.exports.get(start)
        if exported:
            return exported
        return "entry point" if start == self.image.headers.entry else f"sub_{start:x}"
