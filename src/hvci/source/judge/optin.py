"""The NX opt-in: what it makes of `NonPagedPool` in one file, for each build that compiles it.

Theory of operation: POOL_NX_OPTIN_AUTO replaces constants at compile time; POOL_NX_OPTIN replaces
them by a variable that becomes non-executable in ExInitializeDriverRuntime(DrvRtPoolNxOptIn);
POOL_NX_OPTOUT takes a file out again; ARM and ARM64 builds always behave as _AUTO. So the state
belongs to a file in a build. Blind spot: calls through pointers on the way to the runtime call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from hvci.source.builds.model import Build, Kind
from hvci.source.preprocess.runs import Run
from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.program import Program, Unit, Use
from hvci.source.program.starting import NOTHING, Before, key_of, run_before
from hvci.source.text.directives import Macro

RUNTIME = b"ExInitializeDriverRuntime"
MACROS = ("POOL_NX_OPTIN", "POOL_NX_OPTIN_AUTO", "POOL_NX_OPTOUT")


class Nx(StrEnum):
    """What a build makes of the names that the opt-in replaces."""

    NONE = "no opt-in"
    AUTO = "POOL_NX_OPTIN_AUTO"
    OPTED = "POOL_NX_OPTIN with the runtime call"
    INERT = "POOL_NX_OPTIN without the runtime call"
    OPEN = "POOL_NX_OPTIN, with a runtime call that could not be followed"
    OUT = "POOL_NX_OPTOUT"

    @property
    def is_nx(self) -> bool | None:
        """Whether the names mean non-executable memory; None when it cannot be told."""
        if self is Nx.OPEN:
            return None
        return self in (Nx.AUTO, Nx.OPTED)


@dataclass(frozen=True)
class State:
    """The opt-in of a file in one build."""

    nx: Nx
    build: Build | None
    why: str = ""
    runtime: Runtime | None = None
    """The runtime call of the program, where it matters."""
    defined: Macro | None = None
    """What defines POOL_NX_OPTIN."""


@dataclass(frozen=True)
class Runtime:
    """Where a program calls ExInitializeDriverRuntime(DrvRtPoolNxOptIn)."""

    nx: Nx
    """OPTED, INERT or OPEN."""
    why: str = ""
    use: Use | None = None
    entry: Function | None = None
    offset: int = 0
    """Where, in the entry routine, the call or the way to it stands."""
    early: Before = NOTHING
    """What runs before."""

    def is_before(self, function: Function | None, offset: int, macro: Macro | None) -> bool:
        """Whether a place, or a use of the macro that it stands in, runs before the opt-in."""
        if macro is not None:
            return macro.name in self.early.macros
        if function is None or self.entry is None:
            return False
        if key_of(function) == key_of(self.entry):
            return offset < self.offset
        return key_of(function) in self.early.functions


Runs = Callable[[Program, Use], tuple[bool | None, str]]
"""Whether a call surely is made; None, and the condition on which that hangs."""


def runtime(program: Program, entries: frozenset[str], runs: Runs) -> Runtime:
    """Find the runtime call of a program and the way to it from an entry routine."""
    names = {name.encode() for name in entries}
    uses = [use for use in program.uses(RUNTIME) if _opts_in(text_of(use.node))]
    uses += _in_macros(program)
    started = any(program.functions(name) for name in sorted(names))
    if not uses:
        if macro := next((one for one in _making(program) if program.mentions(one)), b""):
            return Runtime(Nx.OPEN, f"the macro {macro.decode()} decides whether it is called")
        if started:
            return Runtime(Nx.INERT, "ExInitializeDriverRuntime(DrvRtPoolNxOptIn) is never called")
        return Runtime(Nx.OPEN, "the driver that loads this code must make the runtime call")
    others: list[Runtime] = []
    for use in uses:
        sure = partial(_sure, program, runs)
        way = _way_up(program, use, names, sure) or _way_up(program, use, names, lambda use: True)
        if not way:
            continue
        function, offset = way[-1].function, way[-1].offset
        assert function is not None
        met = [runs(program, step) for step in way]
        if all(truth for truth, _ in met):
            early = run_before(program, function, offset)
            return Runtime(Nx.OPTED, "", use, function, offset, early)
        is_never = any(truth is False for truth, _ in met)
        why = _NEVER if is_never else _WHERE.format(next(why for truth, why in met if not truth))
        others.append(Runtime(Nx.INERT if is_never else Nx.OPEN, why, use))
    if others:
        return next((each for each in others if each.nx is Nx.OPEN), others[0])
    place = uses[0].function.name.decode("utf-8", "replace") if uses[0].function else "?"
    why = f"the runtime call is in {place}, and no way to it from DriverEntry was found"
    return Runtime(Nx.OPEN, why, uses[0])


_NEVER = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn) stands where the driver never comes"
_WHERE = (
    "ExInitializeDriverRuntime(DrvRtPoolNxOptIn) is called only where `{}`: call it first in "
    "DriverEntry, whatever else holds"
)


def _opts_in(text: bytes) -> bool:
    return _OPTING.search(text) is not None


_OPTING = re.compile(
    RUNTIME + rb"\s*\(\s*(?:[^;]*\bDrvRtPoolNxOptIn\b|(?:\(\w+\)\s*)?0?x?0*1[uUlL]*\s*\))"
)


def _making(program: Program) -> list[bytes]:
    """The macros that make the call, whether or not they make it always."""
    units = program.naming(RUNTIME)
    every = (
        (name, macro) for unit in units for name, many in unit.macros.items() for macro in many
    )
    return sorted({name for name, macro in every if _opts_in(macro.body)})


def _in_macros(program: Program) -> Iterator[Use]:
    """The uses of macros that make the call, whatever they are given."""
    for name in _making(program):
        for use in program.mentioned(name):
            known = program.macros(name, use.source.path)
            if known and all(_makes(macro) for macro, _ in known):
                yield use


def _makes(macro: Macro) -> bool:
    return _opts_in(macro.body) and _CHOOSES.search(macro.body) is None


_CHOOSES = re.compile(rb"\b(?:if|for|switch|case|return|goto)\b|\?|&&|\|\||#")


def _sure(program: Program, runs: Runs, use: Use) -> bool:
    return runs(program, use)[0] is True


def _way_up(
    program: Program, use: Use, names: set[bytes], follows: Callable[[Use], bool]
) -> tuple[Use, ...]:
    """The calls from a call up to the one in an entry routine; none where no way leads there."""
    todo: list[tuple[Use, ...]] = [(use,)]
    seen = set()
    while todo:
        way = todo.pop(0)
        function = way[-1].function
        if function is None or key_of(function) in seen or not follows(way[-1]):
            continue
        seen.add(key_of(function))
        if function.name in names:
            return way
        todo += [(*way, caller) for caller in program.uses(function.name)]
    return ()


class OptIn:
    """Answers for the files of programs."""

    def __init__(self) -> None:
        self.runs: Runs = lambda program, use: (True, "")
        """Tells whether a call is made; who knows values says so."""
        self._runtimes: dict[int, tuple[Program, Runtime]] = {}

    def runtime(self, program: Program, builds: Iterable[Build]) -> Runtime:
        """Where a program makes the runtime call."""
        if id(program) not in self._runtimes:
            entries = frozenset({"DriverEntry", "DllInitialize"})
            entries = entries.union(*(build.entries for build in builds))
            self._runtimes[id(program)] = (program, runtime(program, entries, self.runs))
        return self._runtimes[id(program)][1]

    def forget(self) -> None:
        """Let go of what was looked up for programs that are done."""
        self._runtimes.clear()

    def states(self, unit: Unit, program: Program, builds: Iterable[Build]) -> list[State]:
        """The opt-in of a file in each build, as the units that compile it set it up."""
        known = tuple(builds)
        ways = list({_said(run): run for run in unit.runs}.values())
        return [
            self._state(run, build, program, known) for build in known or (None,) for run in ways
        ] or [State(Nx.NONE, None)]

    def _state(
        self, run: Run, build: Build | None, program: Program, builds: tuple[Build, ...]
    ) -> State:
        on = {name.decode() for name in run.opt_in}
        if "POOL_NX_OPTOUT" in on:
            return State(Nx.OUT, build, "POOL_NX_OPTOUT is defined")
        is_arm = build is not None and build.machine in ("arm64", "arm")
        kit = _giving_pool_types(run, program)
        if kit and not any(b"POOL_NX_OPTIN" in text for text in kit.values()):
            what = "POOL_NX_OPTIN" if on else "that the machine is ARM"
            why = _UNAWARE.format(what, next(iter(kit))) if on or is_arm else ""
            return State(Nx.NONE, build, why)
        if run.compiler.is_gnu and not kit and (on or is_arm):
            return State(Nx.OPEN, build, _MINGW)
        if is_arm:
            return State(Nx.AUTO, build, "ARM builds always opt in")
        if "POOL_NX_OPTIN_AUTO" in on:
            return State(Nx.AUTO, build)
        if run.doubtful:
            return State(Nx.OPEN, build, _DOUBTFUL)
        if "POOL_NX_OPTIN" not in on:
            known = self.runtime(program, builds) if program.names(RUNTIME) else None
            lost = build.lost[0] if build is not None and build.lost else run.lost
            if known is not None and known.use is not None and lost:
                return State(Nx.OPEN, build, _IN_LOST.format(lost))
            return State(Nx.NONE, build, _LATE if run.late else "", known)
        found = self.runtime(program, builds)
        if build is not None and build.kind is Kind.LIBRARY and found.nx is Nx.INERT:
            why = "the driver that loads or links this library must make the runtime call"
            return State(Nx.OPEN, build, why)
        return State(found.nx, build, found.why, found, run.opt_in[b"POOL_NX_OPTIN"])


_UNAWARE = "{} changes nothing: the opt-in is not known to {}"
_MINGW = (
    "the opt-in is not known to MinGW-w64's headers, with which GCC compiles; ask for "
    "NonPagedPoolNx, or keep the headers that know it with the sources"
)
_DOUBTFUL = "whether POOL_NX_OPTIN is defined depends on something that the sources do not say"
_IN_LOST = "the driver opts in, and POOL_NX_OPTIN may be defined in {}, which is missing here"
_LATE = "POOL_NX_OPTIN is defined only after the headers of the kit were included"


_KIT = ("wdm.h", "ntddk.h", "ntifs.h")
"""Headers of a kit that give the pool types, or include the one that does."""


def _giving_pool_types(run: Run, program: Program) -> dict[str, bytes]:
    """The headers of a kit that are here and give a file the pool types, with their texts.

    Of MinGW-w64's (versions 10 to 15, ddk/wdm.h) none knows an opt-in.
    """
    texts = {
        path: program.space.shelf.sources[path].text
        for path in run.files
        if path.rpartition("/")[2].lower() in _KIT and path in program.space.shelf.sources
    }
    return texts if any(b"NonPagedPoolNx" in text for text in texts.values()) else {}


def _said(run: Run) -> tuple[object, ...]:
    return (frozenset(run.opt_in), run.doubtful, run.late is not None, run.lost, run.compiler)
