"""Tells whether a scan that has no end yet is still being made: only a dead one may be taken up.

Knows processes and clocks; the database keeps what is said here.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time

_FRESH = 600
"""Seconds for which a sign of life of another computer counts; a scan gives one each second."""
_LONGEST = 86400
"""The same where the process is still there: its number can be somebody else's by now."""


def name_of(scan_id: int) -> str:
    """Under which the sign of life of a scan is kept."""
    return f"running {scan_id}"


def sign() -> str:
    """The sign of life of this process."""
    return json.dumps([platform.node(), os.getpid(), int(time.time())])


def is_alive(said: str | None) -> bool:
    """Whether a sign is of another process that still scans."""
    if said is None:
        return False
    node, number, when = json.loads(said)
    age = time.time() - when
    if node != platform.node() or sys.platform == "win32":
        return age < _FRESH and (node, number) != (platform.node(), os.getpid())
    return number != os.getpid() and age < _LONGEST and _is_there(number)


def _is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
