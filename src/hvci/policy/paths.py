"""What the patterns of a policy call a target: its path as seen from the folder of the policy.

So a pattern means the same wherever a command is run and however its targets are named, and never
a folder above the policy, which may be called anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from hvci.policy.config import Policy

_ANYWHERE = re.compile(r"\*+/")
_FROM_ROOT = re.compile(r"/|[a-zA-Z]:/")


def excludes(policy: Policy, path: str) -> bool:
    """Whether a policy leaves a target out."""
    return any(matches(pattern, path, policy.folder) for pattern in policy.exclude)


def matches(pattern: str, path: str, folder: str) -> bool:
    """Whether a pattern of the policy in a folder means a target.

    `*/name` is one in the folder itself as well; what begins at a root is compared as such.
    """
    pattern = pattern.replace("\\", "/")
    if _FROM_ROOT.match(pattern):
        return fnmatchcase(_slashed(os.path.abspath(path)), pattern)  # noqa: PTH100 (text only)
    rooted = _ANYWHERE.match(pattern) is not None
    return any(
        fnmatchcase(name, pattern) or (rooted and fnmatchcase(f"/{name}", pattern))
        for name in _names(path, folder)
    )


def _names(path: str, folder: str) -> Iterator[str]:
    """As it was named, unless that goes through folders above the policy; and from the policy."""
    below = _below(path, folder)
    if not below or not os.path.isabs(path):  # noqa: PTH117 (text only)
        yield _slashed(path).removeprefix("./")
    if below:
        yield below


def _below(path: str, folder: str) -> str:
    """A path from a folder on; empty where it does not lie below it."""
    whole = os.path.abspath(path)  # noqa: PTH100 (links stay: people know a file by that name)
    start = os.path.join(folder, "")  # noqa: PTH118 (text only)
    is_below = folder and os.path.normcase(whole).startswith(os.path.normcase(start))
    return _slashed(whole[len(start) :]) if is_below else ""


def _slashed(path: str) -> str:
    return path.replace("\\", "/")
