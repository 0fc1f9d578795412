"""Workers of a waiting line that answer, die or hang; a process of its own imports them here."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hvci.fleet.worker import Answer, attend
from hvci.web import working
from hvci.web.parts import joined, packed


def work(connection, fields):
    attend(connection, _answered)


def _answered(task):
    name = json.loads(task.path)["name"]
    if name == "die":
        os._exit(9)
    return Answer(None, joined([packed({"name": name}, {"name": name})]), memory=1)


def hang(connection, fields):
    attend(connection, lambda task: time.sleep(600))


def rude(connection, fields):
    """The server's own worker, taken over by the file that it reads."""
    working.answered = _rude
    working.serve(connection, fields)


def _rude(task):
    name = json.loads(task.path)["name"]
    try:
        told = str(_DEEDS[name](Path(json.loads(task.path)["progress"])))
    except Exception as error:
        told = type(error).__name__
    return Answer(None, joined([packed({"name": name, "told": told}, {})]), memory=1)


def _crash(place):
    import ctypes

    ctypes.string_at(0)


def _own(place):
    with tempfile.NamedTemporaryFile() as file:
        return Path(file.name).is_relative_to(place.parent)


_DEEDS = {
    "connect": lambda place: socket.create_connection(("127.0.0.1", 9), 1),
    "program": lambda place: subprocess.run([sys.executable, "-c", ""], check=True).returncode,
    "write": lambda place: (place.parent.parent / "outside").write_text("x"),
    "hoard": lambda place: len(bytearray(3 << 30)),
    "own": _own,
    "crash": _crash,
}
