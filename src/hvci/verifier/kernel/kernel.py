"""The emulated kernel: names for stand-ins, kernel state, and the entry points a driver gives it.

Theory of operation. A driver reaches the kernel through stand-ins only.

1. A name gets its stand-in when something first asks for it: an import, a function table, or
   MmGetSystemRoutineAddress. Any name gets one.
2. A hand-written model answers; else the documented prototype (zeroed outputs, a success status or
   a fresh object); else zero. A DDI without a model never stops a run: it is counted in `unknown`,
   and in `guesses` where all it does is compute. Routines that it hands to Windows are queued.
3. Callbacks that the driver registers are queued as entry points and never nested; only those
   whose result the driver waits for are entered at once (`Enter`).
4. Nothing here touches the host: no file, device, network, clock, random number or environment.

Blind spots: objects hold what drivers were seen to read, not every field that Windows fills.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hvci.catalog.givers import GIVERS
from hvci.catalog.kmdf import kmdf_functions
from hvci.catalog.prototypes import Returns, prototype
from hvci.model import WindowsVersion
from hvci.verifier.arch import Convention
from hvci.verifier.kernel import layouts as _layouts
from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.exports import convention, exports
from hvci.verifier.kernel.models import Answer, Model, computes, stand_in
from hvci.verifier.kernel.objects import Objects
from hvci.verifier.kernel.pool import make_arena
from hvci.verifier.layout import STUB_BYTES
from hvci.verifier.machine import Machine
from hvci.verifier.memory import Memory
from hvci.verifier.outcome import Trust

UNKNOWN_OBJECT = 0x200
LARGEST_TABLE = 0x200
"""Bytes of a structure of routines."""


@dataclass(slots=True)
class EntryPoint:
    """A function of the driver that the system would call."""

    name: str
    address: int
    arguments: tuple[int, ...]
    through: tuple[int, ...] = ()
    """Indices of arguments that an earlier entry point sets: they point at the value."""
    state: object | None = None
    """The machine's state that it belongs to; None for the present one."""
    trust: Trust = Trust.NATURAL
    """How far the path could be trusted that handed it to Windows."""
    handed_at: int = 0
    """The call that did; 0 when none did."""

    def values(self, memory: Memory) -> tuple[int, ...]:
        """The arguments as they are when it starts."""
        return tuple(
            memory.pointer(value) if index in self.through else value
            for index, value in enumerate(self.arguments)
        )


@dataclass(slots=True)
class Ioctls:
    """The control codes to send, and the buffer size to send with each."""

    codes: tuple[int, ...] = ()
    size: int = 0x100


@dataclass(slots=True)
class _StandIn:
    """A stand-in with a name, and what its calls have in common."""

    name: str
    module: str
    hidden: int
    rules: Convention
    model: Model | None
    """The hand-written model, if there is one."""
    wide: frozenset[int]


@dataclass(slots=True)
class State:
    """What a snapshot must hold beside memory."""

    top: int
    io_top: int
    devices: tuple[int, ...]
    handle: int


class Kernel:
    """The kernel's side of one run."""

    def __init__(self, machine: Machine, version: WindowsVersion) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.version = version
        self.arena = make_arena(machine.memory, machine.layout.arena)
        self.objects = Objects(machine, self.arena)
        self.structures: _layouts.Structures = self.objects.at
        self.ioctls = Ioctls()
        self.unknown: Counter[str] = Counter()
        self.guesses = 0
        """How many results of computations were made up so far: what follows is not natural."""
        self.hands_over: Callable[[EntryPoint], None] = lambda entry: None
        """Notes how an entry point came here; whoever runs paths knows."""
        self.queue: deque[EntryPoint] = deque()
        self.last: deque[EntryPoint] | None = deque()
        """What Windows calls when a device goes; None once that time has come."""
        self.kept: dict[tuple[object, ...], int] = {}
        """Objects that models hand out again, by a key of their choosing."""
        self.ticks = 0
        self.io_top = machine.layout.io
        self.aliases: dict[tuple[int, int], int] = {}
        """Second mappings by (frame offset, bytes)."""
        self.alias_top = machine.layout.alias
        self.sizes: dict[int, int] = {}
        """Bytes of section objects by handle."""
        self.physical_sections: set[int] = set()
        """Handles of the section that shows physical memory."""
        self.unload: EntryPoint | None = None
        self._queued: set[tuple[int, int]] = set()
        self._stand_ins: list[_StandIn] = []
        self._addresses: dict[str, int] = {}
        self._data_top = machine.layout.data
        self._handle = 0x1000

    def prepare_processor(self) -> None:
        """Fill in per-processor data and KUSER_SHARED_DATA, as drivers read them directly."""
        memory, place, objects = self.memory, self.machine.layout, self.objects
        wide = memory.pointer_size == 8
        if wide:
            memory.put_pointer(place.control + 0x18, place.control)
            memory.put_pointer(place.control + 0x20, place.control + 0x180)
            memory.put_pointer(place.control + 0x188, objects.thread)
        else:
            memory.put_u32(place.control, 0xFFFF_FFFF)
            memory.put_pointer(place.control + 0x1C, place.control)
            memory.put_pointer(place.control + 0x124, objects.thread)
        major = 10 if self.version >= WindowsVersion.WINDOWS_10_1507 else 6
        minor = 0 if major == 10 else {7600: 1, 9200: 2, 9600: 3}.get(int(self.version), 0)
        for offset, value in ((0x26C, major), (0x270, minor), (0x260, int(self.version))):
            memory.poke(place.shared + offset, value.to_bytes(4, "little"))
        for offset in (0x08, 0x14, 0x320):
            memory.poke(place.shared + offset, (0x1D9_0000_0000_0000).to_bytes(8, "little"))

    # ---- names

    def address_of(self, name: str, module: str = "ntoskrnl.exe", hidden: int = 0) -> int:
        """The address of an export: a variable's cell or a function's stand-in."""
        if name not in self._addresses:
            value = exports().variables.get(name)
            made = self._function(name, module, hidden) if value is None else self._cell(value)
            self._addresses[name] = made
        return self._addresses[name]

    def _function(self, name: str, module: str, hidden: int) -> int:
        self._stand_ins.append(self._make(name, module, hidden))
        return self.machine.layout.stubs + STUB_BYTES * (len(self._stand_ins) - 1)

    def _make(self, name: str, module: str = "", hidden: int = 0) -> _StandIn:
        found, rules = stand_in(name), convention(name, self.memory.pointer_size, hidden)
        if found is None:
            return _StandIn(name, module, hidden, rules, None, frozenset())
        return _StandIn(name, module, hidden, rules, found.model, found.wide)

    def _cell(self, value: int | str) -> int:
        """A variable that the kernel exports."""
        cell, self._data_top = self._data_top, self._data_top + 0x40
        wide = self.memory.pointer_size == 8
        known: dict[int | str, int] = {
            "build": 0xF000_0000 | int(self.version),
            "highest_user": 0x7FFF_FFFE_FFFF if wide else 0x7FFE_FFFF,
            "user_probe": 0x7FFF_FFFF_0000 if wide else 0x7FFF_0000,
            "system_start": 0xFFFF_8000_0000_0000 if wide else 0x8000_0000,
            "process": self.objects.process,
            "list": cell,
        }
        if value == "object":
            value = self.arena.take(UNKNOWN_OBJECT)
        number = known.get(value, value)
        assert isinstance(number, int)
        self.memory.put_pointer(cell, number)
        if value == "list":
            self.memory.put_pointer(cell + self.memory.pointer_size, cell)
        return cell

    def kmdf_address(self, index: int) -> int:
        """The stand-in of a KMDF function table entry."""
        names = kmdf_functions()
        name = names[index] if index < len(names) and names[index] else f"WdfFunction{index}"
        return self.address_of(name, "wdf01000.sys", hidden=1)

    @property
    def named(self) -> int:
        """How many stand-ins have a name."""
        return len(self._stand_ins)

    def name_at(self, number: int) -> str:
        """Name of a stand-in by its number."""
        return self._stand_ins[number].name if number < len(self._stand_ins) else "?"

    # ---- calls

    def call(self, number: int) -> Call:
        """Describe the call of a stand-in that was just entered."""
        item = self._stand_ins[number] if number < len(self._stand_ins) else self._make("?")
        return Call(self, item.name, item.rules, item.wide, item.hidden, item.model)

    def removes(self, address: int) -> int | None:
        """Bytes of arguments that the stand-in at an address takes off an x86 stack, if known."""
        number = self.machine.stub_at(address)
        if not 0 <= number < len(self._stand_ins):
            return None
        rules = self._stand_ins[number].rules
        return rules.stack_bytes if rules.is_known else None

    def shifted(self, call: Call) -> Call:
        """The same call without its first argument, which only chose the function."""
        return Call(self, call.name, call.convention, frozenset(), call.hidden + 1, call.model)

    def answer(self, call: Call) -> Answer:
        """Do what the DDI does."""
        if call.model is not None:
            return call.model(call)
        self.unknown[call.name] += 1
        self.guesses += computes(call.name)
        self._given_on(call)
        return self._by_prototype(call)

    def _given_on(self, call: Call) -> None:
        """Queue the routine that Windows will call with what the driver hands on."""
        gives = GIVERS.get(call.name)
        if gives is None:
            return
        position = gives.position(8 * call.pointer_size)
        arguments = [self.arena.take(UNKNOWN_OBJECT) for _ in range(position)]
        arguments += [call.arg(gives.context), *(self.arena.take(UNKNOWN_OBJECT) for _ in range(3))]
        self.register(call.name, call.arg(gives.routine), arguments)

    def _by_prototype(self, call: Call) -> int:
        """Outputs point at zeroed objects; a function that returns a pointer returns one."""
        shape = prototype(call.name)
        if shape is None:
            return 0
        for index in shape.outputs:
            address = call.arg(index) if index else 0
            mapping = self.memory.find(address) if address >= LOWEST_POINTER else None
            if mapping is not None and not self.memory.pointer(address):
                self.memory.put_pointer(address, self.arena.take(UNKNOWN_OBJECT))
        if shape.returns is Returns.POINTER:
            return self.arena.take(UNKNOWN_OBJECT)
        return int(shape.returns is Returns.BOOLEAN)

    # ---- objects and callbacks

    def handle(self) -> int:
        """A fresh handle."""
        self._handle += 4
        return self._handle

    def keep(self, *key: object, size: int = UNKNOWN_OBJECT) -> int:
        """An object that is the same whenever the same key is asked for."""
        if key not in self.kept:
            self.kept[key] = self.arena.take(size)
        return self.kept[key]

    def section_of(self, instance: int) -> int:
        """The handle behind a section object; the object itself when it came from elsewhere."""
        handles = (key[1] for key, at in self.kept.items() if key[0] == "object" and at == instance)
        handle = next(handles, instance)
        assert isinstance(handle, int)
        return handle

    def register(
        self,
        name: str,
        function: int,
        arguments: Sequence[int],
        variant: int = 0,
        through: tuple[int, ...] = (),
        *,
        is_last: bool = False,
    ) -> None:
        """Queue a callback as an entry point; each function and variant once.

        One that `is_last` waits until the driver has done its work.
        """
        if self.is_drivers(function) and (function, variant) not in self._queued:
            self._queued.add((function, variant))
            queue = self.last if is_last and self.last is not None else self.queue
            entry = EntryPoint(name, function, tuple(arguments), through)
            self.hands_over(entry)
            queue.append(entry)

    def is_drivers(self, function: int) -> bool:
        """Whether an address lies in the image, or in memory that the driver asked for."""
        return self.machine.in_image(function) or bool(self.arena.owner(function))

    def leave(self) -> None:
        """The time of what comes last."""
        self.queue.extend(self.last or ())
        self.last = None

    def set_unload(self, name: str, function: int, arguments: Sequence[int]) -> None:
        """Remember the routine that the system calls last."""
        if self.is_drivers(function):
            self.unload = EntryPoint(name, function, tuple(arguments))
            self.hands_over(self.unload)

    def register_table(self, name: str, table: int, size: int, make: int = 6) -> None:
        """Queue every pointer into code in a registration structure as a callback."""
        for offset, function in self.routines_in(table, size):
            if (function, 0) not in self._queued:
                arguments = [self.arena.take(0x800) for _ in range(make)]
                self.register(f"{name}+{offset:#x}", function, arguments)

    def routines_in(self, table: int, size: int) -> Iterator[tuple[int, int]]:
        """(offset, function of the driver) among the pointers of a structure."""
        step = self.memory.pointer_size
        for offset in range(0, min(size, LARGEST_TABLE) - step + 1, step):
            function = self.memory.pointer(table + offset)
            if self.machine.in_image(function) and self.memory.is_code(function):
                yield offset, function

    def header_page(self) -> int:
        """A page that starts as an image of the kernel would."""
        page = self.kept.get(("kernel header",), 0)
        if not page:
            page = self.keep("kernel header", size=0x1000)
            machine = 0x8664 if self.memory.pointer_size == 8 else 0x14C
            self.memory.write(page, b"MZ")
            self.memory.put_u32(page + 0x3C, 0x80)
            self.memory.write(page + 0x80, b"PE\0\0" + machine.to_bytes(2, "little"))
        return page

    # ---- state

    def save(self) -> State:
        """The part of the state that lies outside memory."""
        return State(self.arena.top, self.io_top, tuple(self.objects.devices), self._handle)

    def restore(self, state: State) -> None:
        """Go back to a saved state."""
        self.arena.rewind(state.top)
        self.io_top = state.io_top
        self.objects.devices[:] = state.devices
        self._handle = state.handle
        top = state.top
        self.kept = {key: at for key, at in self.kept.items() if at < top}
