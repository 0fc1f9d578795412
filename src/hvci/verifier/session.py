"""A verifier run: load the driver, run it naturally, then force what it did not reach.

Knows the order of things; decides nothing about memory, DDIs or paths.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hvci.binary import PeImage
from hvci.verifier.budget import DISPATCH, NATURAL, Budget
from hvci.verifier.checks import Recorder
from hvci.verifier.clock import Clock
from hvci.verifier.explore import Explorer
from hvci.verifier.kernel import EntryPoint, Kernel
from hvci.verifier.loader import Loaded, load
from hvci.verifier.machine import Machine
from hvci.verifier.memory import page_up
from hvci.verifier.outcome import Coverage, EntryResult, Trust, VerifierOptions, VerifierRun
from hvci.verifier.path import Path
from hvci.verifier.processor_state import watch
from hvci.verifier.results import (
    Bounds,
    behaviours_of,
    calls_of,
    events_of,
    limits_of,
    unsupported_of,
)
from hvci.verifier.survey import Survey, survey

DRIVER_NAME = "driver"
PNP, POWER, SYSTEM_CONTROL = 27, 22, 23
CREATE, CLOSE, READ, WRITE, CLEANUP = 0, 2, 3, 4, 18
DEVICE_CONTROL, INTERNAL_CONTROL = 14, 15
ORDER = (
    (PNP, 0),
    (CREATE, 0),
    (DEVICE_CONTROL, 0),
    (INTERNAL_CONTROL, 0),
    (READ, 0),
    (WRITE, 0),
    (CLEANUP, 0),
    (CLOSE, 0),
    (POWER, 2),
    (SYSTEM_CONTROL, 0),
    *((PNP, minor) for minor in (7, 9, 13, 20, 4, 2)),
    *((major, 0) for major in range(28)),
)
"""(major, minor) functions in the order in which a system would send them."""
DEFAULT_CODE = 0x22_2000
BUFFER = 0x100


class Session:
    """One driver on one machine."""

    def __init__(self, data: bytes, options: VerifierOptions) -> None:
        image = self.image = PeImage(data)
        self.options = options
        self.survey: Survey = self._surveyed(image, data)
        self.machine = Machine(image.machine, page_up(image.size))
        self.kernel = Kernel(self.machine, options.target_os)
        self.loaded: Loaded = load(self.machine, image, self._resolve)
        self.recorder = Recorder(image, self.loaded.base)
        self.path = Path(self.machine, self.kernel, self.recorder)
        self._unwatched = watch(self.machine, image, self.path.changes_processor)
        self.clock = Clock(self.machine, image)
        self.results: list[EntryResult] = []
        self._done: set[tuple[int, ...]] = set()
        self._kept = Trust.NATURAL
        """How far what earlier entry points left behind can be trusted."""
        self.path.trace.is_on = options.trace
        self._prepare()

    def _surveyed(self, image: PeImage, data: bytes) -> Survey:
        return survey(image, data)

    def _resolve(self, module: str, name: str) -> int:
        return self.kernel.address_of(f"{module}{name}" if name.startswith("#") else name, module)

    def _prepare(self) -> None:
        kernel, objects = self.kernel, self.kernel.objects
        invalid = kernel.address_of("IopInvalidDeviceRequest")
        objects.make_driver(self.loaded.base, self.loaded.size, invalid, DRIVER_NAME)
        codes = (*self.options.ioctls, *self.survey.codes)
        kernel.ioctls.codes = tuple(dict.fromkeys((*codes, DEFAULT_CODE)))
        name = objects.unicode(f"{DRIVER_NAME}.sys")
        self.recorder.check_image(name, objects.unicode)
        kernel.prepare_processor()

    # ---- natural phase

    def run(self) -> VerifierRun:
        """All phases."""
        explorer = Explorer(self.machine, self.kernel, self.path, self.survey, self.options.effort)
        if self.options.force:
            explorer.watch()
        objects = self.kernel.objects
        arguments = (objects.driver, objects.registry_path)
        self._execute(EntryPoint("DriverEntry", self.loaded.entry, arguments))
        self._natural()
        natural = len({key.rva for key in self.recorder.calls if key.trust is Trust.NATURAL})
        if self.options.force:
            explorer.explore()
        return self._result(natural)

    def _natural(self) -> None:
        """AddDevice, dispatch routines, callbacks, unload."""
        self._callbacks()
        for entry in self._standard_entries():
            if entry.name.startswith(self.options.entry):
                self._execute(entry, DISPATCH)
                self._callbacks()
        self.kernel.leave()
        self._callbacks()
        objects, at = self.kernel.objects, self.kernel.structures
        unload = self.machine.memory.pointer(objects.driver + at.driver_unload)
        if self.kernel.is_drivers(unload):
            self._execute(EntryPoint("DriverUnload", unload, (objects.driver,)))
        if self.kernel.unload is not None:
            self._execute(self.kernel.unload)

    def _callbacks(self) -> None:
        while self.kernel.queue:
            entry = self.kernel.queue.popleft()
            if entry.name.startswith(self.options.entry):
                self._execute(entry, DISPATCH)

    def _standard_entries(self) -> Iterator[EntryPoint]:
        """AddDevice, then every dispatch routine with the requests that it would get."""
        objects = self.kernel.objects
        extension = objects.driver_extension
        add = self.machine.memory.pointer(extension + self.machine.memory.pointer_size)
        if self.kernel.is_drivers(add):
            yield EntryPoint("AddDevice", add, (objects.driver, objects.physical_device))
        for major, minor in ORDER:
            function = objects.major(major)
            if self.kernel.is_drivers(function):
                yield from self._requests(function, major, minor)
        start = self.machine.memory.pointer(objects.driver + self.kernel.structures.driver_start_io)
        if self.kernel.is_drivers(start):
            yield EntryPoint("StartIo", start, (objects.device, objects.irp(objects.device, READ)))

    def _requests(self, function: int, major: int, minor: int) -> Iterator[EntryPoint]:
        objects = self.kernel.objects
        is_control = major in (DEVICE_CONTROL, INTERNAL_CONTROL)
        for code in self.kernel.ioctls.codes if is_control else (0,):
            key = (function, major, minor, code)
            if key in self._done:
                continue
            self._done.add(key)
            device = objects.device
            irp = objects.irp(device, major, minor, code, BUFFER)
            suffix = f" {code:#x}" if code else f".{minor}" if minor else ""
            yield EntryPoint(f"IRP_MJ_{MAJOR_NAMES[major]}{suffix}", function, (device, irp))

    def _execute(self, entry: EntryPoint, budget: Budget = NATURAL) -> None:
        self.path.trace.entry = entry.name
        arguments = entry.values(self.machine.memory)
        self.path.base = max(self._kept, entry.trust)
        outcome = self.path.start(entry.address, arguments, budget, entry.handed_at)
        if self.path.has_guessed:  # the driver may keep the result, and what follows reads it
            self._kept = Trust.INVENTED
        self.results.append(EntryResult(entry.name, outcome.tier, outcome))

    # ---- result

    def _result(self, natural: int) -> VerifierRun:
        recorder, arena = self.recorder, self.kernel.arena
        return VerifierRun(
            calls_of(recorder),
            events_of(recorder),
            dict(recorder.counters),
            tuple(self.results),
            self._coverage(natural),
            limits_of(recorder, self.results, self.loaded, self._bounds()),
            arena.count,
            arena.bytes,
            self.path.paths,
            self.path.total_blocks,
            tuple(sorted(self.kernel.unknown.items())),
            self._executed(),
            behaviours_of(recorder),
            tuple(self.path.trace.lines),
            self.loaded.base,
            unsupported_of(recorder),
        )

    def _bounds(self) -> Bounds:
        return Bounds(
            self._unwatched,
            self.clock.unwatched,
            self.survey.codes_left_out,
            self.recorder.events_left_out,
            self.path.trace.is_full,
        )

    def _executed(self) -> tuple[tuple[int, int], ...]:
        base = self.loaded.base
        known = self.machine.blocks_known
        return tuple(sorted((start - base, block.end - start) for start, block in known.items()))

    def _coverage(self, natural: int) -> Coverage:
        leaders = self.survey.leaders
        hit = np.zeros(len(leaders), bool)
        for start, size in self._executed():
            low, high = np.searchsorted(leaders, (start, start + size))
            hit[low:high] = True
        reached = self.recorder.reached
        missed = tuple(site for site in self.survey.goals if site not in reached)
        return Coverage(
            int(hit.sum()),
            len(leaders),
            len(reached),
            natural,
            len(reached.union(self.survey.goals)),  # the code does not show every call
            missed,
        )


MAJOR_NAMES = (
    "CREATE",
    "CREATE_NAMED_PIPE",
    "CLOSE",
    "READ",
    "WRITE",
    "QUERY_INFORMATION",
    "SET_INFORMATION",
    "QUERY_EA",
    "SET_EA",
    "FLUSH_BUFFERS",
    "QUERY_VOLUME_INFORMATION",
    "SET_VOLUME_INFORMATION",
    "DIRECTORY_CONTROL",
    "FILE_SYSTEM_CONTROL",
    "DEVICE_CONTROL",
    "INTERNAL_DEVICE_CONTROL",
    "SHUTDOWN",
    "LOCK_CONTROL",
    "CLEANUP",
    "CREATE_MAILSLOT",
    "QUERY_SECURITY",
    "SET_SECURITY",
    "POWER",
    "SYSTEM_CONTROL",
    "DEVICE_CHANGE",
    "QUERY_QUOTA",
    "SET_QUOTA",
    "PNP",
)
"""IRP_MJ_ names by number."""


def run_here(data: bytes, options: VerifierOptions) -> VerifierRun:
    """Run a driver in this process; raise `InputError` when it is none."""
    return Session(data, options).run()


__all__ = ["Session", "VerifierOptions", "VerifierRun", "run_here"]
