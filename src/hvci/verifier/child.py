"""Runs the emulator in a child process, so that nothing it does can harm the caller.

Theory of operation. The driver is hostile input and the engine is native code.

1. The child gets the image on standard input and answers on standard output; it inherits no
   environment, no working directory that matters and no open file.
2. Memory, processor time and wall time are limited; a child that breaks a limit, crashes or
   answers nonsense becomes a `Limit` of an otherwise empty run.
3. The answer is unpickled with an allow-list: only the words of the model and of outcome.py.

Blind spots: where the platform has no resource limits (Windows), only wall time is bounded.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys

from hvci.errors import DamagedImage, InputError, NotAnImage, UnsupportedImage
from hvci.model import Counter, Limit, Origin
from hvci.verifier.outcome import Coverage, VerifierOptions, VerifierRun

RULES = (
    "dynamic-code",
    "execute-page-mapping",
    "execute-page-protection",
    "execute-pool-type",
    "writes-executable-memory",
)
"""What a run that failed leaves unexamined."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from hvci.verifier.child import answer; answer()"
_ALLOWED = ("hvci.model.", "hvci.verifier.outcome")
_BUILTINS = frozenset(("frozenset", "set", "tuple", "dict", "list"))
_ERRORS = {kind.__name__: kind for kind in (NotAnImage, UnsupportedImage)}
MAX_ANSWER = 512 << 20


class _Facts(pickle.Unpickler):
    """Unpickles facts and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if module.startswith(_ALLOWED) or (module == "builtins" and name in _BUILTINS):
            found: object = super().find_class(module, name)
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no fact")


def run(data: bytes, options: VerifierOptions | None = None) -> VerifierRun:
    """Run a driver image; raise `InputError` when it is none."""
    options = options or VerifierOptions()
    request = pickle.dumps((data, options))
    program = _PROGRAM.format(path=sys.path)
    try:
        child = subprocess.run(
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
        content = _Facts(io.BytesIO(answer[:MAX_ANSWER])).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ValueError):
        return _nothing(f"the emulator ended without an answer (exit code {code})")
    if isinstance(content, VerifierRun):
        return content
    kind, message, offset = content
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
    data, options = pickle.loads(sys.stdin.buffer.read())
    _limit(options)
    sys.stdout.buffer.write(pickle.dumps(_attempt(data, options)))


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


def _attempt(data: bytes, options: VerifierOptions) -> VerifierRun | tuple[str, str, int]:
    from hvci.verifier.session import run_here

    try:
        return run_here(data, options)
    except InputError as error:
        message = str(error).partition(" (at file offset")[0]
        return type(error).__name__, message, getattr(error, "offset", 0)
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}: {error}", 0
