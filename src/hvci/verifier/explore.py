"""Chooses the paths that a run forces: towards call sites first, then branches never taken.

Theory of operation. Every branch whose other side was not executed leaves a snapshot.

1. Branch flips come first: the data of such a path is the driver's own, only the turn was forced.
   First come first served, each executed only if its side is still new.
2. Call-site directed: each function that holds a call site not reached yet runs by itself, on
   zeroed arguments, with a coverage of its own; its branches are flipped until the site is
   reached or the function's share of paths is spent. What it shows is a place, not a value.
3. What a forced path registers (callbacks, devices) is run from the state in which that path ended.
4. Budgets are counts of paths and blocks; nothing depends on time.

Blind spots: a function is entered with zeroed objects as arguments; loops are flipped once.
"""

from __future__ import annotations

from collections import deque

from hvci.verifier.budget import FORCED
from hvci.verifier.kernel import EntryPoint, Kernel
from hvci.verifier.machine import Machine
from hvci.verifier.outcome import Effort, Outcome, Trust
from hvci.verifier.path import Path
from hvci.verifier.snapshot import Snapshot, Snapshots
from hvci.verifier.survey import Survey

ARGUMENTS = 8
ARGUMENT_SIZE = 0x1000
PATHS_A_SITE = 400
MAX_PENDING = 4_000
FLIPS_FIRST = 0.3
"""Share of the effort for branch flips before call sites are sought."""
CROWDED = 64
"""So many invented pages may stay from path to path."""


class Explorer:
    """Forces paths until the effort is spent or nothing is left."""

    def __init__(
        self, machine: Machine, kernel: Kernel, path: Path, survey: Survey, effort: Effort
    ) -> None:
        self.machine = machine
        self.kernel = kernel
        self.path = path
        self.survey = survey
        self.effort = effort
        self.snapshots = Snapshots(machine, kernel)
        self.pending: deque[Snapshot] = deque()
        self._asked: set[int] = set()
        self._paths_before = 0
        self._blocks_before = 0

    def _spent(self, share: float = 1.0) -> bool:
        """Whether that share of the effort is spent."""
        paths = self.path.paths - self._paths_before
        blocks = self.path.total_blocks - self._blocks_before
        return paths >= self.effort.paths * share or blocks >= self.effort.blocks * share

    def explore(self) -> None:
        """All phases: flips for their share of the effort, then sites, then flips again."""
        self._paths_before, self._blocks_before = self.path.paths, self.path.total_blocks
        self.flip_branches(FLIPS_FIRST)
        self.reach_sites()
        self.flip_branches(1.0)

    def watch(self) -> None:
        """Leave a snapshot at every branch from now on."""
        self.machine.on_fork = self._fork

    def _fork(self, other: int) -> None:
        if other in self._asked or len(self.pending) >= MAX_PENDING:
            return
        self._asked.add(other)
        trust = max(Trust.FORCED, self.path.trust)
        self.pending.append(self.snapshots.take(other, self.path.frames, trust))

    # ---- towards call sites

    def reach_sites(self) -> None:
        """Run the functions that hold call sites not reached yet."""
        start = self.snapshots.take(0, (), Trust.INVENTED)
        for site, function in self.survey.goals.items():
            if site in self.path.recorder.reached or self._spent():
                continue
            self._reach(start, site, function)

    def _reach(self, start: Snapshot, site: int, function: int) -> None:
        """Flip branches of one function until it comes to the site."""
        machine, everything = self.machine, self.machine.visited
        kept, self.pending = self.pending, deque()
        asked, self._asked = self._asked, set()
        machine.visited = set()
        self.snapshots.restore(start)
        machine.memory.forget_inventions()
        self.path.base = Trust.INVENTED
        arguments = [self.kernel.arena.take(ARGUMENT_SIZE) for _ in range(ARGUMENTS)]
        self.path.start(machine.layout.image + function, arguments, FORCED)
        last = self.path.paths + PATHS_A_SITE
        while self.pending and site not in self.path.recorder.reached:
            if self.path.paths >= last or self._spent():
                break
            self._flip(self.pending.popleft())
        machine.visited |= everything
        self.pending, self._asked = kept, asked
        self._drop_callbacks()

    def _drop_callbacks(self) -> None:
        """Callbacks of a function that ran by itself keep only their addresses."""
        for entry in self.kernel.queue:
            entry.arguments = ()

    # ---- branch flips

    def flip_branches(self, share: float) -> None:
        """Execute the other side of branches, and what those paths register."""
        while (self.pending or self.kernel.queue) and not self._spent(share):
            if self.kernel.queue:
                self._callback(self.kernel.queue.popleft())
            else:
                self._flip(self.pending.popleft())
                self._adopt()

    def _flip(self, snapshot: Snapshot) -> Outcome | None:
        if snapshot.pc in self.machine.visited:
            return None
        self.machine.memory.forget_inventions(CROWDED)
        self.snapshots.restore(snapshot)
        self.path.frames, self.path.base = snapshot.frames, snapshot.trust
        return self.path.run(snapshot.pc, FORCED)

    def _adopt(self) -> None:
        """Give new callbacks the state in which the path ended."""
        fresh = [entry for entry in self.kernel.queue if entry.state is None]
        if fresh:
            state = self.snapshots.take(0, (), max(Trust.FORCED, self.path.trust))
            for entry in fresh:
                entry.state = state

    def _callback(self, entry: EntryPoint) -> None:
        self.path.base = Trust.INVENTED
        if isinstance(entry.state, Snapshot):
            self.snapshots.restore(entry.state)
            self.path.base = entry.state.trust if entry.arguments else Trust.INVENTED
        arguments = entry.values(self.machine.memory) or tuple(
            self.kernel.arena.take(ARGUMENT_SIZE) for _ in range(ARGUMENTS)
        )
        self.path.start(entry.address, arguments, FORCED, entry.handed_at)
        self._adopt()
