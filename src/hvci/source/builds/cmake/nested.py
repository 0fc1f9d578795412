"""Commands of CMake lists that run other commands, or lists that another folder holds.

Knows how those are written; what the commands do is for others.
"""

from __future__ import annotations

from hvci.source.builds.cmake.run import Lists, Runner
from hvci.source.builds.cmake.text import Argument, Command, commands
from hvci.source.text.disk import is_file


def _language(lists: Lists, words: list[str], command: Command) -> None:
    """`cmake_language(CALL name …)`, `(EVAL CODE text)` and `(DEFER … CALL name …)`."""
    what, rest = words[:1], words[1:]
    if what == ["EVAL"] and rest[:1] == ["CODE"]:
        lists.block(commands(" ".join(rest[1:])))
    elif what in (["CALL"], ["DEFER"]) and (what == ["CALL"] or "CALL" in rest):
        rest = rest if what == ["CALL"] else rest[rest.index("CALL") + 1 :]
        if rest:
            given = tuple(Argument(one, quoted=True, raw=True) for one in rest[1:])
            called = Command(rest[0].lower(), given, command.offset)
            if what == ["DEFER"]:
                lists.deferred.append(called)
            else:
                lists.run(called)


def _declared(lists: Lists, words: list[str], command: Command) -> None:
    """Where the text of another project lies, if it is here."""
    for key in ("SOURCE_DIR", "URL"):
        if key in words[1:-1]:
            lists.fetched[words[0].lower()] = words[words.index(key) + 1]


def _fetched(lists: Lists, words: list[str], command: Command) -> None:
    """Runs the lists of projects that were declared; what is not here is told when it is linked."""
    for name in words:
        place = lists.get(f"FETCHCONTENT_SOURCE_DIR_{name.upper()}") or ""
        folder = place or lists.fetched.get(name.lower(), "")
        if folder and is_file(f"{lists.path(folder)}/CMakeLists.txt"):
            lists.subdirectory(folder)


def _dependent(lists: Lists, words: list[str], command: Command) -> None:
    """`cmake_dependent_option(name text value depends force)`."""
    if len(words) < 5:
        return
    name, _, value, depends, force = words[:5]
    every = (
        tuple(Argument(one, quoted=False) for one in text.split()) for text in depends.split(";")
    )
    if not all(lists.holds(Command("if", one, command.offset)) for one in every if one):
        lists.set(name, force)
    elif lists.get(name) is None:
        lists.set(name, value)
    lists.note(name, command)


NESTED: dict[str, Runner] = {
    "cmake_dependent_option": _dependent,
    "cmake_language": _language,
    "fetchcontent_declare": _declared,
    "fetchcontent_makeavailable": _fetched,
}
"""What each command does."""
