"""Which compiler a build calls: it decides what is defined before the first line.

Theory of operation: the name in a command says most (`i686-w64-mingw32-gcc`, `clang-cl`, `zig cc`);
of Clang the target says in whose manner it compiles, or else what the linker is told beside it.
Where no compiler is named the manner of the options counts. Knows names and options of compilers;
knows no project format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hvci.source.preprocess.predefined import Compiler

_NAME = re.compile(
    r"(?i)(?:\A|(?<=[\s\"'/\\=()]))(?:(clang-cl)|((?:[\w.]+-)*)(?:(gcc|g\+\+)|(clang(?:\+\+)?))"
    r"|(zig(?:\.exe)?\s+c(?:c|\+\+))|(cl))(?:-(?:\d[\w.]*|win32|posix))?(?:\.exe)?(?=[\s\"']|\Z)"
)
_GNU_TARGET = re.compile(r"(?i)mingw|windows-gnu")
_MSVC_TARGET = re.compile(r"(?i)windows-msvc|-windows(?=[\s\"']|\Z)|pc-win32")
_GNU_OPTIONS = re.compile(
    r"-Wl,(?:-|/?\w+=)|(?<!\S)-l(?:ntoskrnl|hal|ndis|fltmgr|wdfldr|wdfdriverentry|gcc)\b"
    r"|(?<!\S)(?:-nostdlib|-nostartfiles|-shared|-mdll|-mwindows|-std=gnu\w+)(?!\S)"
    r"|(?<!\S)--?subsystem[=, ]"
)
_MSVC_OPTIONS = re.compile(
    r"(?i)-Wl,/|[/-]nologo\b|(?<!\S)(?:[/-]driver\b|[/-]subsystem:|[/-]kernel\b|[/-]entry:|/[dio]\S)"
    r"|\b(?:ntoskrnl|hal|wdmsec|bufferoverflowk|bufferoverflowfastfailk|ntstrsafe|wdfldr)\.lib\b"
)


def of_command(text: str, about: str = "") -> Compiler | None:
    """The compiler that a command, or the value of a variable, names first.

    `about` is what else is known of the build; it tells in whose manner Clang compiles.
    """
    match = _NAME.search(text)
    if match is None:
        return None
    clang_cl, prefix, gcc, clang, zig, cl = match.groups()
    if clang_cl:
        return Compiler.CLANG_MSVC
    if cl:
        return Compiler.MSVC
    if gcc:
        return Compiler.GCC
    if zig or (clang and _GNU_TARGET.search(prefix or "")):
        is_msvc = _MSVC_TARGET.search(text) is not None
        return Compiler.CLANG_MSVC if is_msvc else Compiler.CLANG_GNU
    return _clang(text, about)


def _clang(text: str, about: str) -> Compiler:
    """In whose manner Clang compiles; by itself it does as MSVC, on Windows."""
    for where in (text, about):
        if _MSVC_TARGET.search(where):
            return Compiler.CLANG_MSVC
        if _GNU_TARGET.search(where):
            return Compiler.CLANG_GNU
    is_gnu = of_options(f"{text} {about}") is Compiler.GCC
    return Compiler.CLANG_GNU if is_gnu else Compiler.CLANG_MSVC


def of_options(text: str) -> Compiler | None:
    """GCC or MSVC, where options are only in the manner of one."""
    is_gnu, is_msvc = _GNU_OPTIONS.search(text), _MSVC_OPTIONS.search(text)
    if (is_gnu is None) == (is_msvc is None):
        return None
    return Compiler.GCC if is_gnu else Compiler.MSVC


_ASSIGNED = re.compile(
    r"(?m)^[ ]*(?:export[ ]+|override[ ]+)?(?:CC|CXX)[ \t]*[+:?]*=[ \t]*([^\n]+)"
)
_RECIPE = re.compile(r"(?m)^(?:\t|[ ]{2,}|[^\n#=]*:[^\n=;]*;)[ \t]*[@+-]*[ \t]*([^\n]+)")


def of_makefile(text: str) -> tuple[Compiler, ...]:
    """Every compiler that a makefile with its variables written out calls for one driver."""
    commands = (one for many in (_ASSIGNED, _RECIPE) for one in many.findall(text))
    return of_commands((one[:MAX_COMMAND] for one in commands if _is_command(one)), text)


MAX_COMMAND = 2000
_FIRST = re.compile(r"[\"']?(?:ccache[ ]+)?(?:[^\s\"']|\\[ ])*[\"']?")


def _is_command(text: str) -> bool:
    """Whether a command begins with the name of a compiler, or with Zig's."""
    match = _FIRST.match(text)
    first = match[0] if match is not None else ""
    return _NAME.search(first) is not None or re.search(r"(?i)\bzig(?:\.exe)?\Z", first) is not None


def of_commands(commands: Iterable[str], about: str) -> tuple[Compiler, ...]:
    """Every compiler that some commands name; where none does, what the options say."""
    found = {one: None for text in commands if (one := of_command(text, about)) is not None}
    return tuple(found) or (of_options(about) or Compiler.MSVC,)
