"""Workers that die, hang or answer on demand; a process of their own can import them from here."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hvci.fleet.bounds import Bounds, begin_target, hold
from hvci.fleet.rows import Row
from hvci.fleet.worker import READY, Answer, Task, attend, encode, memory_used


def obey(connection, fields):
    """Answer every task, but what its path asks for."""
    connection.send_bytes(READY)
    while True:
        try:
            task = Task(*json.loads(connection.recv_bytes()))
        except EOFError:
            return
        if task.path == "die":
            os._exit(9)
        if task.path == "die once" and not Path(task.sha256).exists():
            Path(task.sha256).touch()
            os._exit(9)
        if task.path == "hang":
            time.sleep(600)
        memory = 1000 if task.path == "large" else 1
        columns = {"pid": os.getpid(), "memory": memory_used()}
        connection.send_bytes(encode(Answer(Row(columns), b"\0blob", None, memory)))


def stillborn(connection, fields):
    """End before anything is asked."""
    os._exit(3)


def bounded(connection, fields):
    """Hold to bounds, then do what each path names, and tell how that ended."""
    bounds = Bounds.of(fields["bounds"])
    is_cut_off = hold(bounds)

    def answer(task):
        begin_target(bounds)
        try:
            return Answer(Row({"told": str(_DEEDS[task.path](task)), "cut off": is_cut_off}))
        except Exception as error:
            return Answer(Row({"told": type(error).__name__, "cut off": is_cut_off}))

    attend(connection, answer)


def _spin(task):
    while True:
        pass


def _crash(task):
    import ctypes

    ctypes.string_at(0)


def _own(task):
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
    return Path(tempfile.gettempdir()).name.startswith("own-")


def _large(task):
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(3):
            file.write(bytes(1 << 20))


def _raw(task):
    """What native code could do: a socket without asking Python's."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    one = libc.socket(2, 2, 0)
    address = b"\x02\0\x00\x35\x08\x08\x08\x08" + bytes(8)
    sent = libc.sendto(one, b"x", 1, 0, address, 16)
    return "sent" if sent >= 0 else "unreachable"


def _tidy(task):
    """Empty a folder of its own that holds a link to a file outside."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "link").symlink_to(task.sha256)
        Path(folder, "inner").mkdir()
        Path(folder, "inner", "file").write_text("x")
    return Path(folder).exists()


def _follow(task):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "link").symlink_to(task.sha256)
        Path(folder, "link").write_text("x")


def _from_folder(task):
    outside = os.open(Path(task.sha256).parent, os.O_RDONLY)
    os.unlink(Path(task.sha256).name, dir_fd=outside)


_DEEDS = {
    "tidy": _tidy,
    "follow": _follow,
    "from folder": _from_folder,
    "spin": _spin,
    "crash": _crash,
    "own": _own,
    "large": _large,
    "raw": _raw,
    "hoard": lambda task: len(bytearray(3 << 30)),
    "connect": lambda task: socket.create_connection(("127.0.0.1", 9), 1),
    "program": lambda task: subprocess.run([sys.executable, "-c", ""], check=True),
    "fork": lambda task: os.fork(),
    "write": lambda task: Path(task.sha256).write_text("x"),
    "remove": lambda task: Path(task.sha256).unlink(),
    "read": lambda task: len(Path(task.sha256).read_bytes()),
}
