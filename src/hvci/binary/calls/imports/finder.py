"""Calls of the imports of the catalogue: the finder of what `direct.py` sees."""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.binary.calls.found import Answer, Found, Open, Shared


class Imports:
    """Calls through import slots."""

    def __init__(self, shared: Shared) -> None:
        self.imports = shared.imports

    def find(self) -> Iterator[Answer]:
        """Every call of an import, and bytes that may be one."""
        for call in self.imports.find(catalog.exports()):
            yield Found(call.function, call.i, call.name, call.via)
        for name, rva in self.imports.doubts:
            yield Open(f"bytes that look like a call of {name}", rva, name)
