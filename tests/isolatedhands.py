"""The processes of `hvci check --isolate`, taken over by a file that they read."""

import ctypes
import time
from pathlib import Path

from hvci.cli import isolated


def rude(connection, fields):
    """The usual process, in which some files do what their names say."""
    usual = isolated.documents

    def documents(target, options, packages):
        deed = _DEEDS.get(Path(target.path).stem)
        if deed is not None:
            deed(Path(target.path).parent / "outside")
        return usual(target, options, packages)

    isolated.documents = documents
    isolated_serve(connection, fields)


isolated_serve = isolated.serve


def _spin(outside):
    while True:
        pass


_DEEDS = {
    "crash": lambda outside: ctypes.string_at(0),
    "hoard": lambda outside: bytearray(3 << 30),
    "hang": lambda outside: time.sleep(600),
    "spin": _spin,
    "write": lambda outside: outside.write_text("x"),
}
