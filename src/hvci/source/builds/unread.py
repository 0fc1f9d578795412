"""Build files of kinds that are not read: what they compile, nobody here knows how.

Knows their names, and the names of sources in their text; understands none of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds.nearby import has_entry, is_kernel_code
from hvci.source.text.files import UNREAD_NAMES, Shelf

_COMMANDS, _FLAGS = "compile_commands.json", "compile_flags.txt"
_OF_FILES_ALONE = (_COMMANDS, _FLAGS)
"""They say how files are compiled, not what becomes of them."""
SHOWN = 6
"""Names in one sentence."""
_COMPILER = re.compile(r"(?i)\b(?:cl|clang|clang-cl|clang\+\+|gcc|g\+\+|cc|ml64)(?:\.exe)?[\s\"']")
_SCRIPTS = (".bat", ".cmd", ".ps1", ".sh", ".py", ".pl", ".rb", ".lua")
_PATTERN = re.compile(r"\*\.(?:c|cc|cpp|cxx|\{[^}]*\bc)\b")


def leave_out(shelf: Shelf, compiled: Collection[str], told: Collection[str]) -> None:
    """A limit for each build file that names kernel code which no build here compiles.

    `told` are files of which something else says how they are compiled.
    """
    for path in shelf.unread:
        text = shelf.project_text(path)
        name = path.rpartition("/")[2].lower()
        if name.endswith(_SCRIPTS) and name not in UNREAD_NAMES and not _COMPILER.search(text):
            continue
        if name in _OF_FILES_ALONE and not compiled:
            continue  # without a build each file is judged alone, and the first is read
        named = [one for one in _named(shelf, path, text) if one not in compiled]
        if not named or all(one in told for one in named) or not is_kernel_code(shelf, named):
            continue
        if name == _FLAGS and not any(has_entry(shelf, one) for one in named):
            continue  # editors read it for whatever lies there
        names = [one.rpartition("/")[2] for one in named]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        shown = f"{', '.join(names[:SHOWN])}{more}"
        reason = (
            "build files of this kind are not read, so nothing is known of the options for "
            f"{shown}, nor of the linker's: write a compile_commands.json with it, and check the "
            "built .sys"
        )
        if name in _OF_FILES_ALONE:
            reason = (
                f"{shown} may be a driver that no project here builds: check the folder by "
                "itself, and the built .sys"
            )
        shelf.limit(path, reason, (*TEXT_RULES, *LINK_RULES))


def _named(shelf: Shelf, path: str, text: str) -> Iterator[str]:
    """The sources below the folder of a build file that it may compile."""
    folder, _, called = path.rpartition("/")
    called = called.lower()
    folder = shelf.root.as_posix() if called == _COMMANDS else folder
    words = {word.lower() for word in re.findall(r"[\w+.-]+", text)}
    is_all = called == _FLAGS or _PATTERN.search(text) is not None
    for one in _below(shelf.sources, folder):
        name = one.rpartition("/")[2].lower()
        if shelf.sources[one].is_header or name.endswith(".asm"):
            continue
        if is_all or name in words:
            yield one


def _below(paths: Iterable[str], folder: str) -> list[str]:
    return sorted(one for one in paths if not folder or one.startswith(folder + "/"))
