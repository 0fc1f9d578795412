"""Looks at every file that a target's products compile, in each of them, and at what is left over.

Knows programs and files; what a call or behaviour means is for other modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hvci.source.calls import CallText, find_calls, may_hold_calls
from hvci.source.judge import Context, Judge, Resolved
from hvci.source.program import Program, Unit
from hvci.source.runs import Choice
from hvci.source.text import Source

if TYPE_CHECKING:
    from hvci.source.project import Workspace

UNBUILT = "no build here compiles this file"


@dataclass
class Survey:
    """Goes through a workspace once."""

    workspace: Workspace
    judge: Judge
    calls: list[Resolved] = field(default_factory=list)
    _found: dict[tuple[str, Choice], list[CallText]] = field(default_factory=dict)
    _worth: dict[str, bool] = field(default_factory=dict)

    def contexts(self) -> Iterator[Context]:
        """Every program with the builds that it stands for; kernel code first."""
        every = self.workspace.products
        for product in sorted(every, key=lambda product: product.is_user):
            for variant in self.workspace.variants(product):
                yield Context(variant.program, tuple(variant.builds), product)
        if self.workspace.alone is not None:
            yield Context(self.workspace.alone)

    def run(self) -> None:
        """Resolve every call: where it is compiled, else where it is only written."""
        seen: set[tuple[str, int]] = set()
        dead: list[tuple[CallText, Context]] = []
        for context in self.contexts():
            for path in context.program.paths:
                if self._is_worth(path) and self.workspace.is_asked(path):
                    self._file(path, context, seen, dead)
        for call, context in (*dead, *self._orphans()):
            key = (call.unit.source.path, call.start)
            if key not in seen and (resolved := self.judge.resolve(call, context)) is not None:
                seen.add(key)
                if not context.builds and self._is_orphan(key[0]):
                    resolved = replace(
                        resolved, fact=replace(resolved.fact, dead=UNBUILT, edits=())
                    )
                self.calls.append(resolved)

    def _file(
        self,
        path: str,
        context: Context,
        seen: set[tuple[str, int]],
        dead: list[tuple[CallText, Context]],
    ) -> None:
        units = context.program.units_of(path)
        for unit in units or self._bare(path):
            for call in self._calls(unit, context.program):
                if not units:
                    dead.append((replace(call, kept=False), context))
                elif call.kept is False:
                    dead.append((call, context))
                elif (resolved := self.judge.resolve(call, context)) is not None:
                    seen.add((path, call.start))
                    self.calls.append(resolved)

    def _calls(self, unit: Unit, program: Program) -> Iterator[CallText]:
        key = (unit.source.path, unit.choice)
        if key not in self._found:
            self._found[key] = list(find_calls(unit))
        yield from (replace(call, unit=unit) for call in self._found[key])
        yield from self.judge.named(unit, program)

    def _orphans(self) -> Iterator[tuple[CallText, Context]]:
        for path in self.workspace.orphans:
            if not self._is_worth(path) or not self.workspace.is_asked(path):
                continue
            if self.workspace.alone is not None and self.workspace.alone.holds(path):
                continue
            for unit in self._bare(path):
                context = Context(Program(self.workspace.space, ()))
                yield from ((call, context) for call in find_calls(unit))

    def _is_orphan(self, path: str) -> bool:
        alone = self.workspace.alone
        return path in self.workspace.orphans and (alone is None or not alone.holds(path))

    def _bare(self, path: str) -> list[Unit]:
        """A file that nothing includes: all of its branches may be compiled, or none."""
        text = self.workspace.space.text(path)
        if text is None:
            return []
        every: Choice = tuple(tuple(range(count)) for count in text.directives.groups)
        return [Unit(text, every)]

    def _is_worth(self, path: str) -> bool:
        if path not in self._worth:
            source = self.workspace.space.source(path)
            self._worth[path] = source is not None and _may_hold(source)
        return self._worth[path]


def _may_hold(source: Source) -> bool:
    return not source.path.lower().endswith(".asm") and may_hold_calls(source.text)
