"""Runs the emulator in a child process, so that nothing it does can harm the caller.

Theory of operation. The driver is hostile input and the engine is native code.

1. The child gets the image on standard input and answers on standard output; it inherits no
   environment, no working directory that matters and no open file.
2. Memory, processor time and wall time are limited; a child that breaks a limit, crashes or
   answers nonsense becomes a `Limit` of an otherwise empty run.
3. Question and answer are JSON (`plain.py`): nothing in them says what is built from them.

Blind spots: where the platform has no resource limits (Windows), only wall time is bounded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from hvci.errors import DamagedImage, InputError, NotAnImage, UnsupportedImage
from hvci.model import Counter, Limit, Origin
from hvci.model.judged import CALL_RULES
from hvci.verifier.outcome import Coverage, VerifierOptions, VerifierRun
from hvci.verifier.plain import from_plain, to_plain

RULES = (*CALL_RULES, "dynamic-code", "writes-executable-memory")
"""What a run that failed leaves unexamined."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from hvci.verifier.child import answer; answer()"
_ERRORS = {kind.__name__: kind for kind in (NotAnImage, UnsupportedImage)}
RUN = "run"
MAX_ANSWER = 512 << 20


def run(data: bytes, options: VerifierOptions | None = None) -> VerifierRun:
    """Run a driver image; raise `InputError` when it is none."""
    options = options or VerifierOptions()
    request = json.dumps(to_plain(options)).encode() + b"\n" + data
    program = _PROGRAM.format(path=sys.path)
    try:
        child = subprocess.run(  # noqa: S603 (ourselves, no shell)
            [sys.executable, "-I", "-c", program],
            input=request,
            capture_output=True,
            timeout=options.seconds,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _nothing(f"the verifier run was given up after {options.seconds} seconds")
    return _read(child.stdout, child.returncode)


def _environment() -> dict[str, str]:
    """Nothing but what Windows needs to start a program."""
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}


def _read(answer: bytes, code: int) -> VerifierRun:
    if code < 0:
        return _nothing(f"the emulator crashed (signal {-code})")
    try:
        kind, *content = json.loads(answer[:MAX_ANSWER])
        if kind == RUN:
            return from_plain(VerifierRun, content[0])
        message, offset = from_plain(str, content[0]), from_plain(int, content[1])
    except (ValueError, TypeError, IndexError, RecursionError):
        return _nothing(f"the emulator ended without an answer (exit code {code})")
    if kind == "DamagedImage":
        raise DamagedImage(message, offset)
    if kind in _ERRORS:
        raise _ERRORS[kind](message)
    return _nothing(f"the verifier run failed: {message}")


def _nothing(reason: str) -> VerifierRun:
    """A run that saw nothing, and why."""
    return VerifierRun(
        calls=(),
        events=(),
        counters=dict.fromkeys(Counter, 0),
        entry_points=(),
        coverage=Coverage(0, 0, 0, 0, 0, ()),
        limits=(Limit(Origin.VERIFIER, RULES, reason),),
        allocations=0,
        allocated_bytes=0,
        paths=0,
        blocks_executed=0,
        unknown=(),
    )


# ---- inside the child


def answer() -> None:
    """Read a request, run it, write the answer."""
    question, _, data = sys.stdin.buffer.read().partition(b"\n")
    options = from_plain(VerifierOptions, json.loads(question))
    _limit(options)
    sys.stdout.write(json.dumps(_attempt(data, options)))


def _limit(options: VerifierOptions) -> None:
    """Bound memory and processor time where the platform can."""
    if sys.platform == "win32":
        return
    import resource

    memory = options.megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (options.seconds, options.seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _attempt(data: bytes, options: VerifierOptions) -> list[object]:
    from hvci.verifier.session import run_here

    try:
        return [RUN, to_plain(run_here(data, options))]
    except InputError as error:
        message = str(error).partition(" (at file offset")[0]
        return [type(error).__name__, message, getattr(error, "offset", 0)]
    except Exception as error:
        return [type(error).__name__, f"{type(error).__name__}: {error}", 0]
