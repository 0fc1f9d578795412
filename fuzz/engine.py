"""Runs one target, with coverage where atheris is there: what it learns is written as it goes.

    python fuzz/engine.py TARGET --seconds N --state FOLDER

A defect does not end the run: it is made small, kept, and each place counts once. A hang or too
much memory ends the process, and libFuzzer keeps the input.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
PATHS = [str(HERE), str(HERE.parent / "tests")]
"""Where targets find what they share, and the builders of the tests."""
CORPUS = HERE / "corpus"
SLOW = 5.0
"""Seconds of processor time: longer is a hang."""
MEMORY = 1024
"""MiB."""
MAX_LENGTH = 4096
TRIES = 400
"""Attempts to make an input smaller."""
EVERY = 2.0
"""Seconds between two looks at the state."""
LIMITED = {
    **dict.fromkeys(("code_x64", "code_x86", "code_arm64"), 256),
    **dict.fromkeys(("evtx", "pdb"), 200),
    **dict.fromkeys(("emulator_x64", "emulator_x86", "emulator_arm64"), 100),
    **{"certificate": 8192, "catalog": 8192, "report_json": 20_000, "log_text": 8192},
}
"""Longest input where it is not MAX_LENGTH."""
COVERED = {
    "code": ("hvci.binary.arch", "hvci.binary.behaviour", "hvci.binary.calls", "hvci.binary.flow"),
    "emulator": ("hvci.verifier",),
    "project": ("hvci.source",),
    "source": ("hvci.source",),
    "web": ("hvci.web",),
}
"""Packages whose branches guide, by what a target's name begins with; else all of hvci."""
FIRST = 8
"""Seeds that are run before coverage is counted."""


def covered(target: str) -> tuple[str, ...]:
    """Packages whose branches guide a target: to count those of others takes time."""
    return COVERED.get(target.split("_")[0], ("hvci",))


def key_of(error: BaseException) -> str:
    """What tells one defect from another: its type and the last place of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if "hvci" in frame.filename and "fuzz" not in Path(frame.filename).parts[-3:]
    ]
    last = (ours or frames)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.name}"


class Runner:
    """One target and what is known of it."""

    def __init__(self, name: str, state: Path) -> None:
        self.name = name
        sys.path[:0] = [path for path in PATHS if path not in sys.path]
        self.module: ModuleType = importlib.import_module(f"targets.{name}")
        self.one: Callable[[bytes], None] = self.module.one
        self.path = state / f"{name}.json"
        self.inputs = state / "inputs" / name
        """What coverage has chosen so far."""
        self.last = state / f"{name}.last"
        self.keeps_last = False
        """Whether the input at hand stands in a file: a hang or a native fault ends the process."""
        self.executions = 0
        self.slowest = 0.0
        self.defects: dict[str, str] = {}
        self._begin = self._told = time.monotonic()

    def attempt(self, data: bytes) -> str:
        """Run an input; the key of the defect that it shows, or nothing."""
        begin = time.process_time()
        try:
            self.one(data)
        except Exception as error:
            return key_of(error)
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            return key_of(error)
        finally:
            spent = time.process_time() - begin
            self.slowest = max(self.slowest, spent)
        return f"slow: {self.name}" if spent > SLOW else ""

    def __call__(self, data: bytes) -> None:
        """Run an input and keep what it shows."""
        self.executions += 1
        if self.keeps_last:
            self.last.write_bytes(data)
        key = self.attempt(data)
        if key and key not in self.defects:
            small = data if key.startswith("slow") else self._smaller(data, key)
            self.defects[key] = keep(self.name, small)
            self.tell()
        elif time.monotonic() - self._told > EVERY:
            self.tell()

    def _smaller(self, data: bytes, key: str) -> bytes:
        """The same defect with as few bytes as some tries find."""
        size, tries = max(1, len(data) // 2), 0
        while size and tries < TRIES:
            at = 0
            while at < len(data) and tries < TRIES:
                tries += 1
                shorter = data[:at] + data[at + size :]
                if self.attempt(shorter) == key:
                    data = shorter
                else:
                    at += size
            size //= 2
        return data

    def tell(self) -> None:
        """Write what is known."""
        self._told = time.monotonic()
        known = {
            "executions": self.executions,
            "seconds": round(self._told - self._begin, 1),
            "slowest": round(self.slowest, 3),
            "memory": _memory(),
            "defects": self.defects,
        }
        waiting = self.path.with_suffix(".new")
        waiting.write_text(json.dumps(known, indent=1))
        waiting.replace(self.path)

    def seeds(self) -> Iterator[bytes]:
        """What to begin with."""
        make: Any = getattr(self.module, "seeds", None)
        yield from make() if make else (b"", bytes(range(256)))
        for folder in (CORPUS / self.name, self.inputs):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                yield path.read_bytes()


def keep(name: str, data: bytes) -> str:
    """Put an input into the corpus, named by its content; the name."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path.name


def mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    """An input made of others, without knowing what they reach."""
    data = bytearray(rng.choice(pool))
    for _ in range(1 << rng.randrange(5)):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(6)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at : at + rng.choice((1, 2, 4))] = rng.randbytes(rng.choice((1, 2, 4)))
        elif what == 2:
            del data[at : at + rng.randrange(1, 32)]
        elif what == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 16))
        elif what == 4:
            other = rng.choice(pool)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + rng.randrange(1, 64)]
        else:
            edge = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
            data[at : at + 4] = edge.to_bytes(4, "little")
    return bytes(data)


def plain(runner: Runner, seconds: float, limit: int, most: int = 1 << 40) -> None:
    """Change seeds at random: where atheris is not there."""
    rng = random.Random(time.time_ns())
    runner.keeps_last = True
    pool = list(runner.seeds())
    end = time.monotonic() + seconds
    for data in pool:
        if time.monotonic() < end:
            runner(data)
    while time.monotonic() < end and runner.executions < most:
        runner(mutated(rng, pool)[:limit])
    runner.tell()


def guided(runner: Runner, seconds: float, state: Path, limit: int, most: int) -> None:
    """Let libFuzzer choose by coverage; never returns."""
    import atheris

    found = runner.inputs
    found.mkdir(parents=True, exist_ok=True)
    for data in runner.seeds():
        (found / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    words = [
        *("engine", f"-max_total_time={int(seconds)}", f"-rss_limit_mb={MEMORY}", "-timeout=60"),
        *(f"-max_len={limit}", f"-artifact_prefix={state}/{runner.name}.", "-print_final_stats=1"),
        *("-verbosity=1", "-reload=0", "-len_control=20", f"-runs={most}", str(found)),
    ]
    atheris.Setup(words, runner)
    atheris.Fuzz()


def _memory() -> int:
    """The most that this process ever had, in MiB."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most >> (20 if sys.platform == "darwin" else 10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--most", type=int, default=1 << 40, help="executions")
    parser.add_argument("--plain", action="store_true", help="without coverage")
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    limit = LIMITED.get(options.target, MAX_LENGTH)
    try:
        import atheris
    except ImportError:
        options.plain = True
    if options.plain:
        plain(Runner(options.target, options.state), options.seconds, limit, options.most)
        return
    with atheris.instrument_imports(include=list(covered(options.target))):
        runner = Runner(options.target, options.state)
        for data in islice(runner.seeds(), FIRST):
            runner(data)  # so that what is imported late is instrumented as well
    most = min(options.most, (1 << 31) - 1)
    guided(runner, options.seconds, options.state, limit, most)


if __name__ == "__main__":
    main()
