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

import math
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvci.packages.library import LIBRARY, found_library
from hvci.packages.opened import MAX_NESTED

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
_CHANGED = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((0, 2), (1, 3)),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, -1),),
    "shutil.rmtree": ((0, 1),),
}
"""Which arguments are paths that change, and which the open folders that they start from."""
_FOLLOWED = frozenset(("os.chmod", "os.chown", "os.truncate"))
"""They change what a link points to, the others the link."""


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
    """It may start other processes for some targets: a run of the emulator is one."""
    archives: str = ""
    """The library for archives, which nobody finds any more who may start no program."""

    @classmethod
    def usual(
        cls, folder: str, seconds: float, programs: bool = False, largest: int = MAX_NESTED
    ) -> Bounds:
        """What every process that reads targets gets, whoever asked for it."""
        return cls(folder, math.ceil(seconds), largest, programs, found_library())

    def fields(self) -> dict[str, object]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Any) -> Bounds:  # noqa: ANN401 (as JSON gives them)
        """The inverse of `fields`."""
        return cls(**fields)


class _Now:
    """What the target at hand allows."""

    may_start = False


def hold(bounds: Bounds, own: str = "") -> bool:
    """Hold this process to its bounds for good; tell whether it is cut off from the network.

    `own` is its folder for temporary files, where it has one already. To be called before any
    thread is started.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would be new processes
    if bounds.archives:
        os.environ.setdefault(LIBRARY, bounds.archives)
    tempfile.tempdir = own or tempfile.mkdtemp(prefix="own-", dir=bounds.folder)
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


def begin_target(bounds: Bounds, programs: bool = True) -> None:
    """Give this process its processor time anew; whoever needs more is ended by SIGXCPU.

    By now all threads run: from here on there is no other and no process, unless the bounds and
    this target allow programs.
    """
    _Now.may_start = bounds.programs and programs
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    soft = hard if _Now.may_start else 0
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard if bounds.programs else 0))
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

    def inside(path: object, follow: bool = True) -> bool:
        if isinstance(path, int):
            return True  # opened before, and asked about then
        named = os.fsdecode(path)  # type: ignore[arg-type]
        base, name = os.path.split(named)
        if follow or name in ("", os.curdir, os.pardir):
            named = os.path.realpath(named)
        else:
            named = os.path.join(os.path.realpath(base), name)  # noqa: PTH118
        return named == folder or named.startswith(folder + os.sep) or named == os.devnull

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & _WRITING and not inside(path):
                raise PermissionError(f"a reader may not write {os.fsdecode(path)}")
        elif event in _CONNECTING or (event in _STARTING and not _Now.may_start):
            raise PermissionError(f"a reader may not call {event}")
        elif event in _CHANGED:
            for place, start in _CHANGED[event]:
                path = arguments[place]
                if start > 0 and not isinstance(path, int):
                    path = _from(arguments[start : start + 1], path)
                if not inside(path, event in _FOLLOWED):
                    raise PermissionError(f"a reader may not change {os.fsdecode(path)}")

    return refuse


def _from(opened: tuple[Any, ...], path: str | bytes | os.PathLike[str]) -> str:
    """A path as seen from an open folder, where there is one."""
    named = os.fsdecode(path)
    number = opened[0] if opened else None
    if not isinstance(number, int) or number < 0:
        return named
    if sys.platform == "darwin":
        import fcntl

        found = fcntl.fcntl(number, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")
        return os.path.join(os.fsdecode(found), named)  # noqa: PTH118
    return os.path.join(os.readlink(f"/proc/self/fd/{number}"), named)  # noqa: PTH115, PTH118
