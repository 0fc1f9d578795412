"""Holds a process that reads hostile files to what it needs, as far as the platform can.

Theory of operation. Readers are Python over native libraries; both can have faults that a file
was made for. So the process that reads

1. has limits that the kernel keeps: memory, processor time for each target, size of files, no core
   dump, no new process;
2. stands in a network of its own without any device, where Linux grants that;
3. is refused by Python to open sockets, start programs and write outside of its own folder.

Blind spots: Windows has none of the first two, macOS not the second, and the third binds Python
code only, not native code. For root the kernel counts no processes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space that one evaluation may take, where the system can hold it to that."""
_NEW_USER, _NEW_NETWORK = 0x1000_0000, 0x4000_0000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CONNECTING = frozenset(
    f"socket.{name}"
    for name in ("bind", "connect", "getaddrinfo", "gethostbyname", "sendmsg", "sendto")
)
_STARTING = frozenset(
    (
        *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile"),
        *("os.system", "pty.spawn", "subprocess.Popen"),
    )
)
_CHANGING = frozenset(
    (
        *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"),
        *("os.symlink", "os.truncate", "shutil.rmtree"),
    )
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one process may use."""

    folder: str
    """The only place where it may write; it gets a folder of its own there."""
    seconds: int = 0
    """Processor time for each target; 0 bounds it not."""
    file_bytes: int = 0
    """Size of the largest file that it may write."""
    programs: bool = False
    """It may start other processes: a run of the emulator is one."""

    def fields(self) -> dict[str, object]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Any) -> Bounds:  # noqa: ANN401 (as JSON gives them)
        """The inverse of `fields`."""
        return cls(**fields)


def hold(bounds: Bounds) -> bool:
    """Hold this process to its bounds for good; tell whether it is cut off from the network.

    To be called before any thread is started.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would be new processes
    tempfile.tempdir = tempfile.mkdtemp(prefix="own-", dir=bounds.folder)
    is_cut_off = _leave_network()
    _limit(bounds)
    sys.addaudithook(_refuser(bounds))
    return is_cut_off


def bound_memory() -> None:
    """Bound the address space of this process, where the system can."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def begin_target(bounds: Bounds) -> None:
    """Give this process its processor time anew; whoever needs more is ended by SIGXCPU.

    By now all threads run: from here on there is no other and no process.
    """
    if sys.platform == "win32":
        return
    import resource

    if not bounds.programs:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if bounds.seconds:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(used.ru_utime + used.ru_stime) + bounds.seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _limit(bounds: Bounds) -> None:
    if sys.platform == "win32":
        return
    import resource

    for name, most in (("RLIMIT_FSIZE", bounds.file_bytes), ("RLIMIT_CORE", 0)):
        which = getattr(resource, name)
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def _leave_network() -> bool:
    """Move into a network without devices. Who is not root needs a user namespace for that."""
    if sys.platform != "linux":
        return False
    import ctypes

    user, group = os.geteuid(), os.getegid()
    kind = _NEW_NETWORK if user == 0 else _NEW_NETWORK | _NEW_USER
    try:
        if ctypes.CDLL(None, use_errno=True).unshare(kind):
            return False
    except (OSError, AttributeError):
        return False
    if kind & _NEW_USER:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            try:
                Path("/proc/self", name).write_text(text)
            except OSError:
                break  # without a name, the user still owns what was theirs
    return True


def _refuser(bounds: Bounds) -> Callable[[str, tuple[Any, ...]], None]:
    """What Python asks before it touches anything outside."""
    folder = os.path.realpath(bounds.folder)
    refused = _CONNECTING if bounds.programs else _CONNECTING | _STARTING

    def inside(path: object) -> bool:
        if isinstance(path, int):
            return True  # opened before, and asked about then
        named = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return named == folder or named.startswith(folder + os.sep) or named == os.devnull

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & _WRITING and not inside(path):
                raise PermissionError(f"a reader may not write {os.fsdecode(path)}")
        elif event in refused:
            raise PermissionError(f"a reader may not call {event}")
        elif event in _CHANGING:
            for path in arguments[: 2 if event in ("os.link", "os.rename") else 1]:
                if not inside(path):
                    raise PermissionError(f"a reader may not change {os.fsdecode(path)}")

    return refuse
