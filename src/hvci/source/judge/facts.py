"""From a call in text to a fact: its arguments' values, and whether it can run at all.

Knows calls, values, builds and guards; decides nothing about memory integrity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from hvci import catalog
from hvci.model import DdiCall, Limit, Origin, SourceSite, Value, Via, WindowsVersion
from hvci.source.builds.model import Build
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.judge.conditional import runs_always
from hvci.source.judge.edits import asks, edits
from hvci.source.judge.optin import Nx, OptIn, State
from hvci.source.judge.values import deciding_value, plain_value
from hvci.source.pointers.executed import executions
from hvci.source.pointers.ordinary import ordinary
from hvci.source.preprocess.tree import Function
from hvci.source.program.calls import (
    Argument,
    CallText,
    Shape,
    find_named,
    with_macros_spread,
)
from hvci.source.program.news import choosing, says_pool, takes
from hvci.source.program.pasted import pasted
from hvci.source.program.program import Program, Unit, Use
from hvci.source.program.relinked import relinked
from hvci.source.program.stores import is_unused_template
from hvci.source.values.dead import unreached
from hvci.source.values.exports import walks
from hvci.source.values.guess import Guess
from hvci.source.values.places import Place
from hvci.source.values.resolve import Resolver
from hvci.source.values.settled import settled
from hvci.source.values.versions import guards

BEFORE = "it runs before ExInitializeDriverRuntime(DrvRtPoolNxOptIn)"


@dataclass(frozen=True, eq=False)
class Context:
    """Where a file is looked at: one program, with the builds that it stands for."""

    program: Program
    builds: tuple[Build, ...] = ()
    product: Product | None = None

    @property
    def is_user(self) -> bool:
        """Whether it runs in user mode only."""
        return self.product is not None and self.product.is_user


@dataclass(frozen=True)
class Resolved:
    """A call with its fact, its text and what is known of its deciding argument."""

    fact: DdiCall
    call: CallText
    guess: Guess | None
    states: tuple[State, ...]
    context: Context


class Judge:
    """Resolves the calls of a workspace."""

    def __init__(self, workspace: Workspace, opt_in: OptIn, target: WindowsVersion) -> None:
        self.workspace = workspace
        self.opt_in = opt_in
        opt_in.runs = lambda program, use: runs_always(self.resolver(program), use)
        self.target = target
        self._resolvers: dict[int, Resolver] = {}

    def resolver(self, program: Program) -> Resolver:
        """The evaluator of a program, made once."""
        if id(program) not in self._resolvers:
            self._resolvers[id(program)] = Resolver(program, self.target)
        return self._resolvers[id(program)]

    def resolve(self, call: CallText, context: Context) -> Resolved | None:
        """The fact of one call; None for a `new` whose operator takes no pool."""
        if call.shape is Shape.NEW:
            of_operator = self._of_operator(call, context.program)
            if of_operator is None:
                return None
            call = of_operator
        call = with_macros_spread(call, context.program)
        path = call.unit.source.path
        function = call.file.function_at(call.start) if call.macro is None else None
        place = Place(function, call.start, call.macro, path)
        resolver = self.resolver(context.program)
        if call.shape is Shape.CALL and resolver.names.stands_for_other(call.word, place):
            return None  # what the macro calls is a call of its own
        states = self._states(call, function, context)
        guess = self._guess(call, call.ddi.deciding, place, resolver)
        if call.shape is Shape.NEW and guess is not None and guess.families == {"pool_flags"}:
            call = replace(call, ddi=catalog.ddis()["ExAllocatePool2"])
        arguments = self._others(call, place, resolver)
        note = "through operator new" if call.shape is Shape.NEW else ""
        if guess is not None:
            pairs = [(state.nx, state.why) for state in states]
            arguments[call.ddi.deciding] = deciding_value(guess, call.ddi, pairs)
            note = "; ".join(one for one in (note, self._note(guess, states)) if one)
        line, column = call.unit.source.position(call.start)
        name = function.name.decode("utf-8", "replace") if function else None
        fact = DdiCall(
            call.ddi.name,
            arguments,
            SourceSite(path, line, column, name),
            Origin.SOURCE,
            Via.BY_NAME if call.shape is Shape.NAMED else Via.SOURCE,
            note=note,
            dead=self._dead(call, function, context, resolver),
            ordinary=ordinary(call, function, resolver),
            gnu=bool(call.unit.runs) and all(run.compiler.is_gnu for run in call.unit.runs),
        )
        fact = self._with_edits(fact, call, guess, resolver)
        return Resolved(fact, call, guess, tuple(states), context)

    def _with_edits(
        self, fact: DdiCall, call: CallText, guess: Guess | None, resolver: Resolver
    ) -> DdiCall:
        """The edits of a call; none for memory in which code runs, which they would break."""
        if not asks(fact, call.ddi):
            return fact
        place = (call.unit.source.path, call.start)
        if runs := executions(resolver.program).memory.get(place):
            return replace(fact, runs_code=runs)
        return replace(fact, edits=edits(fact, call, guess, self.workspace.shelf, self.target))

    def forget(self) -> None:
        """Let go of what was looked up for programs that are done."""
        self._resolvers.clear()
        self.opt_in.forget()

    def named(self, unit: Unit, program: Program) -> Iterator[CallText]:
        """The calls of a file by other names than the routines have."""
        known = self.resolver(program)
        yield from find_named(unit, known.lookups.names, Shape.NAMED)
        yield from find_named(unit, known.aliases.names, Shape.CALL)

    def other_names(self, program: Program) -> frozenset[bytes]:
        """The names without which a file holds no such call."""
        known = self.resolver(program)
        return frozenset((*known.lookups.names, *known.aliases.names))

    def limits(self, program: Program) -> list[Limit]:
        """Where a routine goes under another name that was not followed."""
        known = self.resolver(program)
        found = [*known.aliases.limits, *known.lookups.limits, *walks(program)]
        return [*found, *pasted(program), *relinked(program)]

    def _of_operator(self, call: CallText, program: Program) -> CallText | None:
        """A `new` with the row that its operator's first parameter asks for."""
        use = Use(call.unit.source, call.file, call.node, call.start, None) if call.node else None
        operators = [one for one in program.functions(b"new") if use and says_pool(use, one)]
        types = {one.types[1].split()[-1] for one in operators if len(one.types) > 1}
        if types and not types & _POOL_TYPES:
            return None
        flags = b"POOL_FLAG" in call.arguments[0].text
        if flags or (types and types <= {b"POOL_FLAGS"}):
            return replace(call, ddi=catalog.ddis()["ExAllocatePool2"])
        return call

    def _states(self, call: CallText, function: Function | None, context: Context) -> list[State]:
        states = self.opt_in.states(call.unit, context.program, context.builds)
        if not any(state.nx is Nx.OPTED for state in states):
            return states
        runtime = self.opt_in.runtime(context.program, context.builds)
        if not runtime.is_before(function, call.start, call.macro):
            return states
        early = [
            replace(state, nx=Nx.INERT, why=BEFORE) if state.nx is Nx.OPTED else state
            for state in states
        ]
        return early if call.macro is None else early + states  # other uses of it come later

    def _guess(
        self, call: CallText, parameter: str, place: Place, resolver: Resolver
    ) -> Guess | None:
        if not parameter:
            return None
        argument = call.argument(parameter)
        if argument is None:
            count = len(call.arguments)
            return Guess(complete=False, reason=f"the call has only {count} arguments")
        return _value(call, parameter, argument, place, resolver)

    def _others(self, call: CallText, place: Place, resolver: Resolver) -> dict[str, Value]:
        """The tag, the access mode and the attributes, where the DDI has them."""
        found = {}
        for name in call.ddi.watched:
            if name != call.ddi.deciding and (argument := call.argument(name)) is not None:
                found[name] = plain_value(_value(call, name, argument, place, resolver))
        return found

    def _note(self, guess: Guess, states: list[State]) -> str:
        """Where the value comes from, when that is not the call itself."""
        notes = []
        why = {state.why for state in states if state.nx in _UNOPTED and state.why}
        if any(atom.opted for atom in guess.atoms):
            notes += sorted(why)
        for origin, words in _ORIGINS.items():
            if origin in guess.origins:
                notes.append(words)
        return "; ".join(notes)

    def _dead(
        self, call: CallText, function: Function | None, context: Context, resolver: Resolver
    ) -> str:
        if call.kept is False:
            return "no build keeps this branch"
        if context.is_user:
            return "only user-mode programs are built from this file"
        if call.macro is not None:
            return self._of_macro(call, resolver)
        if function is not None and is_unused_template(function, resolver.program):
            return "the template is never used"
        if function is not None and _is_unused_new(function, resolver.program):
            return "no `new` of the sources uses this operator"
        if function is not None and _is_forwarding_new(function, call, resolver.program):
            return "counted at each `new` that uses this operator"
        if (
            call.node is not None
            and function is not None
            and resolver.discards(call.node, function)
        ):
            return "no use of the template compiles this branch"
        if function is not None and (why := resolver.unused.reason(function)):
            return why
        if call.node is not None and function is not None:
            why = unreached(call.node, partial(settled, function, resolver=resolver))
            if why:
                return why
        if call.node is not None:
            known = guards.Guards(
                resolver.lookups, self.target, resolver.versions, call.file, function
            )
            return guards.dead(call.node, known)
        return ""

    def _of_macro(self, call: CallText, resolver: Resolver) -> str:
        """A macro that nobody uses runs nowhere."""
        assert call.macro is not None
        used = resolver.program.mentions(call.macro.name)
        return "" if used else "the macro is never used"


_UNOPTED = (Nx.NONE, Nx.INERT, Nx.OUT)
_POOL_TYPES = {b"POOL_TYPE", b"POOL_FLAGS", b"ULONG", b"ULONG64", b"_POOL_TYPE"}
_ORIGINS = {
    "caller": "the value comes from the callers of this function",
    "template": "the value comes from the template's uses",
}


def _is_unused_new(function: Function, program: Program) -> bool:
    """Whether it is an operator new with a choice of pool, and nobody chooses."""
    if function.name != b"new" or len(function.parameters) < 2 or function.is_method:
        return False
    if any(program.names(name.encode()) for name in catalog.hidden_calls()):
        return False
    return not choosing(function, program)


def _is_forwarding_new(function: Function, call: CallText, program: Program) -> bool:
    """Whether it is an operator new that hands its own choice of pool on: one request, not two.

    Every `new` that may use it is then a call of its own.
    """
    if function.name != b"new" or len(function.parameters) < 2 or function.is_method:
        return False
    argument = call.argument(call.ddi.deciding) if call.ddi.deciding else None
    if argument is None or argument.text.strip() != function.parameters[1]:
        return False
    if function.types[1].split()[-1] not in _POOL_TYPES:
        return False
    uses = [use for use in program.news() if takes(use, function)]
    if len(choosing(function, program)) > len(uses):
        return False  # some give nothing
    return bool(uses) and all(says_pool(use, function) for use in uses)


def _value(
    call: CallText, name: str, argument: Argument, place: Place, resolver: Resolver
) -> Guess:
    """What a parameter gets: as much of the value as its type holds."""
    size = call.ddi.parameters[call.ddi.position(name)].size
    if argument.node is not None:
        return resolver.evaluate(argument.node, place).cut(8 * size)
    there = replace(place, shift=argument.start)
    return resolver.evaluate_text(argument.text, there).cut(8 * size)
