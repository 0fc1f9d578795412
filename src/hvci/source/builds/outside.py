"""Variables of a makefile that its compile commands use and only the environment may set.

Knows assignments, commands of rules and the names that make and habit give; reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.source.builds.msbuild.unset import unset

_USED = re.compile(r"\$(?:\(([A-Za-z_][\w.-]*)\)|\{([A-Za-z_][\w.-]*)\})")
_COMPILES = re.compile(r"(?m)^\t[^\n]*(?:\s[-/]c\b|\$[({](?:CC|CXX|cc|CPP)[)}])[^\n]*$")
_USUAL = re.compile(
    r"(?i)(?:host_?|build_?|target_?)?(?:cc?|cxx|cpp|ld|as|ar|rc)(?:_?flags)?|ldlibs|loadlibes|rm|make\w*"
    r"|target_arch|q|v|at|quiet|verbose|cross\w*|\w*(?:dir|path|root|home|prefix|arch|kit|suffix|sdk"
    r"|ext|version|include|includes|inc|lib|libs|src|srcs|obj|objs|sources|objects|link|linker)"
)
"""Names that habit gives to tools, places and lists: what they hold defines nothing, as a rule."""
_SHELL = re.compile(r"(\S*)\$[({]shell\s+((?:[^(){}]|\$\([\w.-]+\))*)[)}]")
_FOLDER = re.compile(r"[/-](?:I|L|isystem|iquote|idirafter|std|target)")
_BY_ITSELF = ("CFLAGS", "CPPFLAGS", "CXXFLAGS")
"""What make compiles with where no rule says how."""
_BY_RULE = re.compile(r"(?m)^(?:\S*%\S*\.o(?:bj)?\b[^:\n]*|\S*\.c\S*\.o(?:bj)?)[ \t]*:")
SHOWN = 60
"""Characters of a command in a sentence."""
MAX_NAMES = 200


def outside(text: str, values: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The names that nobody sets, each with the macro whose value it is, if it is."""
    parts = [match[0] for match in _COMPILES.finditer(text)]
    if _BY_RULE.search(text) is None:
        parts += (values[one] for one in _BY_ITSELF if one in values)
    todo, seen, lost = parts.copy(), set[str](), dict[str, None]()
    while todo and len(seen) < MAX_NAMES:
        for match in _USED.finditer(todo.pop()):
            name = match[1] or match[2]
            if name in seen:
                continue
            seen.add(name)
            if name in values:
                parts.append(values[name])
                todo.append(values[name])
            elif _USUAL.fullmatch(name) is None:
                lost[name] = None
    whole = _USED.sub(lambda match: f"$({match[1] or match[2]})", " ".join(parts))
    return tuple(unset(whole, lost) | dict.fromkeys(_printed(whole)))


def _printed(text: str) -> Iterator[tuple[str, str]]:
    """What programs that make runs print into options: no definition where a folder stands."""
    for match in _SHELL.finditer(text):
        if _FOLDER.match(match[1]) is None:
            of = re.match(r"[/-]D([A-Za-z_]\w*)=", match[1])
            yield f"shell {' '.join(match[2].split())[:SHOWN]}", of[1] if of is not None else ""
