"""A driver that only asks: stand-ins called with chosen arguments, on any machine."""

from hvci.model import Machine as Architecture
from hvci.model import WindowsVersion
from hvci.verifier.kernel import Kernel
from hvci.verifier.machine import Machine

ARCHITECTURES = [Architecture.X64, Architecture.X86, Architecture.ARM64]


class _Arguments:
    """A processor whose argument slots hold chosen values."""

    def __init__(self, processor):
        self._processor = processor
        self.values = ()

    def argument(self, index, rules):
        return self.values[index - 1]  # as if there were the framework's globals

    def __getattr__(self, name):
        return getattr(self._processor, name)


class Driver:
    """It asks the kernel, and keeps what it is given."""

    def __init__(self, architecture):
        self.kernel = Kernel(Machine(architecture, 0x10000), WindowsVersion.WINDOWS_11_24H2)
        self.kernel.machine.processor = _Arguments(self.kernel.machine.processor)
        self.memory, self.p = self.kernel.memory, self.kernel.memory.pointer_size
        self.code = self.kernel.machine.layout.image
        self.memory.map(self.code, 0x1000, 5, "image")
        self.memory.seal(self.code, 0x1000)

    def asks(self, name, *values):
        """The answer to a call; a missing argument is none."""
        kernel = self.kernel
        kernel.machine.processor.values = (*values, *(0,) * 8)
        number = (kernel.address_of(name, hidden=1) - kernel.machine.layout.stubs) // 16
        return kernel.answer(kernel.call(number))

    def room(self, *pointers):
        """Memory of the driver that holds these."""
        address = self.kernel.arena.take(0x100)
        for index, value in enumerate(pointers):
            self.memory.put_pointer(address + self.p * index, value)
        return address

    def given(self, name, *values, at):
        """What a call stored through the argument of that number."""
        out = self.room(0)
        values = [*values, *(0,) * 8]
        values[at] = out
        assert self.asks(name, *values) == 0
        return self.memory.pointer(out)

    def structure(self, size, **pointers):
        """A structure that begins with its size; pointers by their number."""
        address = self.room()
        self.memory.put_u32(address, size)
        for name, value in pointers.items():
            self.memory.put_pointer(address + self.p * int(name.removeprefix("at")), value)
        return address

    def queued(self):
        """(function, arguments) of what Windows would call, in order."""
        return [(entry.address, entry.values(self.memory)) for entry in self.kernel.queue]

    def attributes(self, kind=0, parent=0, cleanup=0):
        """WDF_OBJECT_ATTRIBUTES."""
        wide = self.p == 8
        address = self.structure(56 if wide else 32, at1=cleanup)
        self.memory.put_pointer(address + (32 if wide else 20), parent)
        self.memory.put_pointer(address + (48 if wide else 28), kind)
        return address

    def device(self):
        """(initializer, device) as EvtDriverDeviceAdd makes it."""
        initializer = self.asks("WdfControlDeviceInitAllocate")
        holder = self.room(initializer)
        return initializer, self.given("WdfDeviceCreate", holder, at=2)
