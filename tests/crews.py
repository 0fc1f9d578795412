"""Workers that die, hang or answer on demand; a process of their own can import them from here."""

import json
import os
import time
from pathlib import Path

from hvci.fleet.rows import Row
from hvci.fleet.worker import READY, Answer, Task, encode, memory_used


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
