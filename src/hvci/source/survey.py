"""Looks at every file that a target's products compile, in each of them, and at what is left over.

One product is looked at after the other, and what was parsed for it is let go of before the next.
Knows programs and files; what a call or behaviour means is for other modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from hvci.model import BehaviourFact, BuildSetting, Limit, Origin, SourceSite
from hvci.model.judged import CALL_RULES, LINK_RULES
from hvci.pause import collect_young
from hvci.source.assembly.inline import inline_limits
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.judge.absent import Absent
from hvci.source.judge.executable_files import executable_files
from hvci.source.judge.facts import Context, Judge, Resolved
from hvci.source.judge.families import wrong_family
from hvci.source.judge.merge import Kept, kept
from hvci.source.judge.newer import too_new
from hvci.source.judge.opt_in_facts import opt_in_facts
from hvci.source.pointers import behaviour, executed
from hvci.source.pointers.placed import DATA, WRITABLE, Placed
from hvci.source.pointers.sections import Pragmas
from hvci.source.preprocess.runs import Choice
from hvci.source.program.calls import CallText, find_calls, may_hold_calls
from hvci.source.program.program import Program, Unit
from hvci.source.text.blocks import WORDS
from hvci.source.text.text import Source
from hvci.source.text.wordindex import WordIndex

UNBUILT = "no build here compiles this file"
MAX_STEPS = 40_000
"""Work for the calls of one product, in all its configurations: expressions looked at.

No product of Windows-driver-samples needs 2,000.
"""
CALL_COST = 4
"""What a call costs besides."""
SPENT = "the work budget was spent before all calls were looked at"
Key = tuple[str, int]


@dataclass
class Survey:
    """Goes through a workspace once."""

    workspace: Workspace
    judge: Judge
    calls: list[Kept] = field(default_factory=list)
    behaviours: list[tuple[Product | None, BehaviourFact]] = field(default_factory=list)
    settings: list[tuple[Product | None, BuildSetting]] = field(default_factory=list)
    _found: dict[tuple[str, Choice], list[CallText]] = field(default_factory=dict)
    _worth: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    _seen: set[Key] = field(default_factory=set)
    """Calls that run somewhere, or were taken down as ones that do not."""
    _left: int = MAX_STEPS
    """Work that is left for the product at hand."""
    _absent: dict[int, Absent] = field(default_factory=dict)
    """What missing headers may change in each program of the product at hand."""
    _laid: set[tuple[int, BuildSetting]] = field(default_factory=set)
    """What pragmas of each product say of sections."""
    _is_spent: bool = False
    """Whether that was said."""

    def run(self) -> None:
        """Resolve every call: where it is compiled, else where it is only written."""
        every = sorted(self.workspace.products, key=lambda product: product.is_user)
        for product in every:
            variants = self.workspace.variants(product)
            self._product(
                product, [Context(one.program, tuple(one.builds), product) for one in variants]
            )
        if self.workspace.alone is not None:
            self._product(None, [Context(self.workspace.alone)])
        self._orphans()

    def _product(self, product: Product | None, contexts: list[Context]) -> None:
        self._left, self._is_spent = MAX_STEPS, False
        calls: list[Resolved] = []
        written: list[tuple[CallText, Context]] = []
        done: set[tuple[str, Choice]] = set()
        executed.together([one.program for one in contexts if not one.is_user])
        for context in contexts:
            others, words = self.judge.other_names(context.program), self.workspace.space.words
            if not context.is_user:
                self.workspace.shelf.limits += self.judge.limits(context.program)
            for path in filter(self.workspace.is_asked, context.program.paths):
                has_calls, does_more = self._is_worth(path)
                if has_calls or (others and words.among(path, others)):
                    self._file(path, context, calls, written)
                if does_more and not context.is_user:
                    self._text(path, context, done)
                if not context.is_user:
                    self.workspace.shelf.limits += self._inline(context.program, path)
        for context in (one for one in contexts if not one.is_user):
            self._layout(product, context.program)
            self._executions(product, context.program)
            self._absent[id(context)] = known = Absent(self.judge, context)
            asked = filter(self.workspace.is_asked, context.program.paths)
            self.workspace.shelf.limits += known.limits(asked)
        self._seen.update((one.call.unit.source.path, one.call.start) for one in calls)
        for call, context in written:
            self._dead(call, context, calls)
        calls = [_unread(one) for one in calls]
        for one in calls:
            if (absent := self._absent.get(id(one.context))) is not None:
                self.workspace.shelf.limits += absent.defaults(one)
            self.behaviours += ((product, fact) for fact in wrong_family(one))
        self.behaviours += ((product, fact) for fact in opt_in_facts(self.judge, calls))
        self.behaviours += ((product, fact) for fact in executable_files(calls))
        self.behaviours += ((product, fact) for fact in too_new(calls, self.judge.target))
        self.calls += (kept(one) for one in calls)
        self._found.clear()
        self._absent.clear()
        self.judge.forget()
        for context in contexts:
            executed.forget(context.program)
            context.program.forget()
        collect_young()

    def _layout(self, product: Product | None, program: Program) -> None:
        """What the pragmas of a program say of sections, once for all configurations."""
        pragmas, limits = Pragmas(program), self.workspace.shelf.limits
        placed, others = Placed(program), set(WRITABLE)
        paths = list(filter(self.workspace.is_asked, program.paths))
        for path in paths:
            for unit in program.units_of(path) if pragmas.are_in(path) else ():
                said = pragmas.read(unit)
                self._lay(product, said.settings)
                for reason, site in said.lost:
                    limit = Limit(Origin.SOURCE, LINK_RULES, f"{site.path}: {reason}", site)
                    limits += () if limit in limits else (limit,)
            for unit in program.units_of(path) if placed.are_in(path) else ():
                self._lay(product, placed.read(unit))
        others.update(
            one.value.lower() for of, one in self.settings if of is product and one.name == DATA
        )
        for path in paths:
            if placed.names_routines(path):
                for unit in program.units_of(path):
                    self._lay(product, placed.routines(unit, others))

    def _lay(self, product: Product | None, settings: Iterable[BuildSetting]) -> None:
        """Take down what is said of sections, once."""
        for one in settings:
            if (id(product), one) not in self._laid:
                self._laid.add((id(product), one))
                self.settings.append((product, one))

    def _executions(self, product: Product | None, program: Program) -> None:
        """What a program does with pointers to code."""
        found = executed.executions(program)
        for fact in found.facts():
            if isinstance(fact.site, SourceSite) and self.workspace.is_asked(fact.site.path):
                self.behaviours.append((product, fact))
        self.workspace.shelf.limits += found.limits()

    def _inline(self, program: Program, path: str) -> Iterator[Limit]:
        """What assembly inside a file may do."""
        words = self.workspace.space.words
        if not words.among(path, WORDS):
            return iter(())
        gets_memory = executed.executions(program).suspects.names_memory
        return inline_limits(program, path, gets_memory=gets_memory)

    def _dead(self, call: CallText, context: Context, calls: list[Resolved]) -> None:
        """Take down a call that is written and never compiled, once."""
        key = (call.unit.source.path, call.start)
        if key not in self._seen and (resolved := self._resolve(call, context)) is not None:
            self._seen.add(key)
            calls.append(resolved)
            if (known := self._absent.get(id(context))) is not None:
                self.workspace.shelf.limits += known.hidden(resolved)

    def _file(
        self,
        path: str,
        context: Context,
        calls: list[Resolved],
        written: list[tuple[CallText, Context]],
    ) -> None:
        units = context.program.units_of(path)
        for unit in units or self._bare(path):
            for call in self._calls(unit, context.program):
                if not units:
                    written.append((replace(call, kept=False), context))
                elif call.kept is False or context.is_user:
                    written.append((call, context))
                elif (resolved := self._resolve(call, context)) is not None:
                    calls.append(resolved)

    def _resolve(self, call: CallText, context: Context) -> Resolved | None:
        """What a call asks for, while the budget of the product lasts."""
        if self._left > 0:
            resolver = self.judge.resolver(context.program)
            before = resolver.steps
            resolved = self.judge.resolve(call, context)
            self._left -= CALL_COST + resolver.steps - before
            return resolved
        if not self._is_spent:
            self._is_spent = True
            path = call.unit.source.path
            told = Limit(Origin.SOURCE, CALL_RULES, f"{path}: {SPENT}", SourceSite(path, 1))
            self.workspace.shelf.limits.append(told)
        return None

    def _text(self, path: str, context: Context, done: set[tuple[str, Choice]]) -> None:
        """What a file does besides calls, once for each choice of its branches."""
        product = context.product
        for unit in context.program.units_of(path):
            if (path, unit.choice) in done:
                continue
            done.add((path, unit.choice))
            found = behaviour.behaviours(unit, context.program)
            self.behaviours += ((product, fact) for fact in found)

    def _calls(self, unit: Unit, program: Program) -> Iterator[CallText]:
        key = (unit.source.path, unit.choice)
        if key not in self._found:
            self._found[key] = list(find_calls(unit, self.workspace.space.words))
        for call in self._found[key]:
            yield call if call.unit is unit else replace(call, unit=unit)
        yield from self.judge.named(unit, program)

    def _orphans(self) -> None:
        """The calls of files that no build compiles."""
        self._left, self._is_spent = MAX_STEPS, False
        alone, calls = self.workspace.alone, list[Resolved]()
        context = Context(Program(self.workspace.space, ()))
        for path in filter(self.workspace.is_asked, self.workspace.orphans):
            if self._is_worth(path)[0] and (alone is None or not alone.holds(path)):
                for unit in self._bare(path):
                    for call in find_calls(unit, self.workspace.space.words):
                        self._dead(call, context, calls)
        for one in calls:
            self.calls.append(kept(replace(one, fact=replace(one.fact, dead=UNBUILT, edits=()))))

    def _bare(self, path: str) -> list[Unit]:
        """A file that nothing includes: all of its branches may be compiled, or none."""
        text = self.workspace.space.text(path)
        if text is None:
            return []
        every: Choice = tuple(tuple(range(count)) for count in text.directives.groups)
        return [Unit(text, every)]

    def _is_worth(self, path: str) -> tuple[bool, bool]:
        """Whether a file holds calls, and whether it may do something else."""
        if path not in self._worth:
            source = self.workspace.space.source(path)
            self._worth[path] = (
                (False, False) if source is None else _worth(source, self.workspace.space.words)
            )
        return self._worth[path]


def _unread(one: Resolved) -> Resolved:
    """A call in a header that no unit includes in the end says so."""
    path, program = one.call.unit.source.path, one.context.program
    if one.fact.dead and program.holds(path) and not program.units_of(path):
        return replace(one, fact=replace(one.fact, dead=UNBUILT, edits=()))
    return one


def _worth(source: Source, index: WordIndex) -> tuple[bool, bool]:
    if source.path.lower().endswith(".asm"):
        return False, False
    return may_hold_calls(source, index), behaviour.worth_a_look(source, index)
