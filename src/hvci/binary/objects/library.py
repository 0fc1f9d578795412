"""What the code of one library asks for: its objects are linked in memory and read as an image.

Theory of operation: a linker takes the objects that somebody wants, so calls in those that the
driver names are judged and those in others are told and at worst undecided. Knows libraries;
knows nothing of who links them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from hvci.binary.objects import coff
from hvci.binary.objects.archive import (
    BOTH,
    DIRECTIVES,
    MAGIC,
    THIN,
    has_code,
    has_options,
    members,
)
from hvci.binary.objects.linked import Layout, Linker, TooLarge, plain
from hvci.errors import InputError
from hvci.model import (
    BehaviourFact,
    DdiCall,
    Evidence,
    ImageSite,
    Limit,
    Origin,
    Site,
    SourceSite,
    WindowsVersion,
)

FRAMEWORK = ("WdfFunctions", "WdfDriverGlobals")
"""Through these code calls KMDF; where they lead to, only the driver's own objects say."""


@dataclass
class Examined:
    """What was found in a library; places are offsets in functions of its objects."""

    calls: list[DdiCall] = field(default_factory=list)
    behaviours: list[BehaviourFact] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """What was not examined at all, and why."""
    options: list[tuple[str, str, bool]] = field(default_factory=list)
    """Member, what it tells the linker as options, and whether the driver links it."""
    machines: frozenset[str] = frozenset()
    """The machines that it holds code for."""


def examine(
    data: bytes,
    path: str,
    target: WindowsVersion,
    machines: frozenset[str],
    names: Callable[[bytes], bool],
) -> Examined:
    """Read the code of a library for some machines; `names` tells what the driver's text names."""
    found = Examined()
    if data.startswith(THIN):
        found.lost.append("it is a thin archive, whose objects lie elsewhere")
        return found
    by_machine: dict[str, list[coff.Object]] = {}
    for member, body in _bodies(data, path):
        if not has_code(body) and not has_options(body):
            continue
        try:
            one = coff.read(body, member)
        except coff.Unreadable as error:
            found.lost.append(f"{member}: {error}")
        else:
            by_machine.setdefault(one.machine, []).append(one)
    found.machines = frozenset(by_machine)
    fitting = [one for one in by_machine if one in machines or not machines]
    for machine in fitting or by_machine:
        objects = by_machine[machine]
        # objects are linked whoever names them; members of a library are not
        taken = _taken(objects, machine, names if data.startswith(MAGIC) else None)
        found.options += _options(objects, taken)
        _examine(found, path, machine, objects, target, taken)
    return found


def _options(objects: list[coff.Object], taken: frozenset[str]) -> Iterator[tuple[str, str, bool]]:
    """What objects tell the linker: their directives, and sections with the rights of both."""
    for one in objects:
        for part in one.sections:
            if part.name.encode() == DIRECTIVES:
                text = part.data.decode("utf-8-sig", "replace").strip("\0 ")
                yield part.member, text, part.member in taken
            elif part.flags & BOTH == BOTH:
                yield part.member, f"/SECTION:{part.name},ERW", part.member in taken


def _bodies(data: bytes, path: str) -> Iterator[tuple[str, bytes]]:
    if data.startswith(MAGIC) or not data:
        yield from members(data)
    else:
        yield path.rpartition("/")[2], data


def _examine(
    found: Examined,
    path: str,
    machine: str,
    objects: list[coff.Object],
    target: WindowsVersion,
    taken: frozenset[str],
) -> None:
    from hvci import binary

    try:
        layout = Linker(machine, objects).link()
        evidence = binary.read(layout.data, target)
    except TooLarge:
        found.lost.append("more code than is examined")
        return
    except InputError as error:
        found.lost.append(f"its objects could not be laid out: {error}")
        return
    places = _Places(path, layout)
    found.calls += (_told(call, places, taken) for call in evidence.calls)
    for fact in evidence.behaviours:
        if places.member(fact.site) in taken:
            site = places.site(fact.site)
            found.behaviours.append(replace(fact, site=site, origin=Origin.SOURCE))
    found.limits += places.limits(evidence)
    if any(name.lstrip("_").startswith(FRAMEWORK) for name in layout.wanted):
        found.lost.append("calls of the framework (KMDF) in it were not followed")


def _told(call: DdiCall, places: _Places, taken: frozenset[str]) -> DdiCall:
    """A call at its place in the library, with a doubt where its object may not be linked."""
    member = places.member(call.site)
    note = "; ".join(one for one in (f"in {member} of the library", call.note) if one)
    made = replace(call, site=places.site(call.site), origin=Origin.SOURCE, note=note)
    if member in taken:
        return made
    doubt = f"nothing here names what {member} defines, so it may not be linked"
    return replace(made, unreached=True, doubt=doubt)


def _taken(
    objects: list[coff.Object], machine: str, names: Callable[[bytes], bool] | None
) -> frozenset[str]:
    """The members that the driver needs: what its text names, and what those want in turn.

    Without `names` all are.
    """
    if names is None:
        return frozenset(part.member for one in objects for part in one.sections)
    makers: dict[str, list[coff.Object]] = {}
    for one in objects:
        for symbol in one.defined():
            makers.setdefault(symbol.name, []).append(one)
    wanted = {name for name in makers if names(_spoken(name, machine))}
    todo, taken = [one for name in wanted for one in makers[name]], dict[int, coff.Object]()
    while todo:
        one = todo.pop()
        if id(one) not in taken:
            taken[id(one)] = one
            for symbol in one.wanted():
                todo += makers.get(symbol.name, ())
    return frozenset(part.member for one in taken.values() for part in one.sections)


def _spoken(name: str, machine: str) -> bytes:
    """How a program writes a name; of one that C++ decorates, its first part."""
    if name.startswith("??"):
        name = name[3:]
    elif name.startswith("?"):
        name = name[1:]
    else:
        return plain(name, machine).encode("latin-1", "replace")
    return name.partition("@")[0].encode("latin-1", "replace")


class _Places:
    """Tells where in a library a place of the image is."""

    def __init__(self, path: str, layout: Layout) -> None:
        self.path = path
        self.starts = layout.starts
        self.keys = [start for start, _, _ in layout.starts]

    def _at(self, site: Site) -> tuple[int, str, str]:
        rva = int(site.rva) if isinstance(site, ImageSite) else 0
        at = bisect_right(self.keys, rva) - 1
        start, name, member = self.starts[at] if at >= 0 else (rva, "", "")
        return rva - start, name, member

    def member(self, site: Site) -> str:
        """The object that a place belongs to."""
        return self._at(site)[2]

    def site(self, site: Site) -> SourceSite:
        """A place as a person finds it: library, function, and how far into it."""
        offset, name, member = self._at(site)
        return SourceSite(self.path, 1, offset + 1, f"{name or member}+{offset:#x}")

    def limits(self, evidence: Evidence) -> Iterator[Limit]:
        """What was not examined of the code itself; what is odd about the image is our making."""
        for limit in evidence.limits:
            if limit.origin is Origin.CALLSITE:
                at = f"{self.site(limit.site).function}: " if limit.site is not None else ""
                reason, site = f"{self.path}: {at}{limit.reason}", SourceSite(self.path, 1)
                yield replace(limit, origin=Origin.SOURCE, reason=reason, site=site)
