"""Which definition of a macro stands at a place, where files that are included define it anew.

Theory of operation: the lines before a place are gone through backwards, into what they include and
out to the line that includes the file. What a condition may keep out, and a header that may have
been read before, ends the search. Knows directives; knows nothing of values.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvci.source.program.program import Macro, Program, Unit
from hvci.source.text import directives
from hvci.source.text.directives import Directive, Included

MAX_DEPTH = 12
"""Files that include each other."""
END = 1 << 60
"""The place behind a file."""
Known = Sequence[tuple[Macro, bool | None]]


class Standing:
    """Looks for the definition that stands at a place, among those that were met."""

    def __init__(self, program: Program, name: bytes, known: Known) -> None:
        self.program = program
        self.name = name
        self.known = {id(macro): sure for macro, sure in known}
        self.is_open = False
        """Something on the way may define the name or not."""

    def at(self, path: str, offset: int, depth: int = 0) -> Macro | None:
        """The definition that surely stands there; None where that is not known."""
        found = self._before(path, offset, depth)
        if found is not None or self.is_open or depth > MAX_DEPTH:
            return found
        outer = self._includer(path)
        return self.at(outer[0], outer[1], depth + 1) if outer is not None else None

    def _before(self, path: str, offset: int, depth: int) -> Macro | None:
        """The last definition in a file before a place, or in what it includes there."""
        text = self.program.space.text(path)
        units = self.program.units_of(path)
        if text is None or len(units) != 1 or depth > MAX_DEPTH:
            self.is_open = True
            return None
        lines = text.directives.lines
        for line in reversed([one for one in lines if one.offset < offset]):
            if (found := self._line(line, units[0], depth)) is not None or self.is_open:
                return found
        return None

    def _line(self, line: Directive, unit: Unit, depth: int) -> Macro | None:
        """What one line defines; `is_open` where it may define or undefine the name."""
        what = line.what
        if isinstance(what, Included):
            return self._included(line, what, unit, depth)
        is_about = isinstance(what, Macro) and what.name == self.name
        if not is_about and not (line.kind == directives.UNDEF and what == self.name):
            return None
        live = unit.live(line.offset)
        if live is False:
            return None
        is_sure = isinstance(what, Macro) and live and self.known.get(id(what)) is True
        self.is_open = not is_sure
        return what if is_sure and isinstance(what, Macro) else None

    def _included(self, line: Directive, what: Included, unit: Unit, depth: int) -> Macro | None:
        """What stands behind a file that a line includes."""
        folders = self.program.reading(unit.source.path)[0].places
        path = self.program.space.includes.find(unit.source.path, what, folders)
        if path is None or not self._speaks(path, folders, set()):
            return None
        live = unit.live(line.offset)
        if live is False:
            return None
        text = self.program.space.text(path)
        is_once = text is None or text.directives.once or bool(text.directives.guard)
        if not live or is_once:
            self.is_open = True
            return None
        return self._before(path, END, depth + 1)

    def _speaks(self, path: str, folders: tuple[str, ...], seen: set[str]) -> bool:
        """Whether a file, or what it includes, defines the name or takes it away."""
        if path in seen:
            return False
        seen.add(path)
        text = self.program.space.text(path)
        if text is not None and (
            self.name in text.directives.macros or self.name in text.directives.undefined
        ):
            return True
        inner = self.program.space.includes.direct(path, folders)
        return any(self._speaks(one, folders, seen) for one in inner)

    def _includer(self, path: str) -> tuple[str, int] | None:
        """The only line that includes a file, if one does and nothing compiles the file itself."""
        units = self.program.reading(path)
        if len(units) != 1 or units[0].path == path:
            return None
        folders, find = units[0].places, self.program.space.includes.find
        found = [
            (outer, line.offset)
            for outer in self.program.space.closure(units[0])
            if (text := self.program.space.text(outer)) is not None
            for line in text.directives.lines
            if isinstance(line.what, Included) and find(outer, line.what, folders) == path
        ]
        return found[0] if len(found) == 1 else None
