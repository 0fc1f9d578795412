"""How fast drivers are evaluated: in process, from a cold start, and beside a bare disassembly.

    python bench/static.py FOLDER [--machine x64] [--limit N] [--repeat 3] [--json FILE]

In process: each driver is read once into memory and evaluated `--repeat` times on one core; the
best CPU time counts, which a busy machine disturbs least. "image, calls" is the same without the
search for behaviours: image rules, call sites, their arguments and the report. Cold start:
`hvci check` of the median driver against `python -c "import numpy, iced_x86, rich.console"`.
Sweep: the same bytes of executable sections under iced-x86 with a look at the target of each
memory operand, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from collection import drivers
from iced_x86 import Decoder

from hvci.binary import PeImage
from hvci.errors import InputError
from hvci.evaluate import evaluate

COLD_RUNS = 7
BASELINE = "import numpy, iced_x86, rich.console"


@dataclass
class Figures:
    """Times in seconds, sizes in bytes."""

    evaluate: list[float] = field(default_factory=list)
    calls_only: list[float] = field(default_factory=list)
    """Without the search for behaviours, which no call shows."""
    sweep: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    refused: int = 0
    calls: int = 0
    undecided: int = 0


def best(call: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times)


def timed(data: bytes, repeat: int) -> tuple[float, float]:
    """Best time of an evaluation, and the best without its search for behaviours."""
    whole, part = [], []
    for _ in range(repeat):
        begin = time.process_time()
        report = evaluate(data)
        whole.append(time.process_time() - begin)
        part.append(whole[-1] - report.seconds.get("behaviour", 0.0))
    return min(whole), min(part)


def sweep(image: PeImage) -> int:
    """Decode all executable sections linearly and look at what their operands name."""
    named = 0
    for start, end in image.code_ranges:
        code = bytes(image.memory[start:end])
        for instruction in Decoder(image.bits, code, ip=image.base + start):
            named += instruction.memory_displacement != 0
    return named


def measure(data: bytes, path: Path, repeat: int, with_sweep: bool, figures: Figures) -> None:
    try:
        report = evaluate(data)
    except InputError:
        figures.refused += 1
        return
    whole, part = timed(data, repeat)
    figures.evaluate.append(whole)
    figures.calls_only.append(part)
    figures.sizes.append(len(data))
    figures.paths.append(path)
    for stage, seconds in report.seconds.items():
        figures.stages[stage] += seconds
    judged = [item for item in report.calls if item.executable != "n/a"]
    figures.calls += len(judged)
    figures.undecided += sum(item.executable == "undecided" for item in judged)
    if with_sweep:
        image = PeImage(data)
        figures.sweep.append(best(lambda: sweep(image), 1))


def cold(*commands: list[str]) -> list[float]:
    """Median CPU seconds (user and system) of a fresh process for each of some commands.

    In turns, so that a change in the machine's speed meets all of them. All modules are compiled
    before: installing a package compiles it, and a source tree the first, untimed run.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    spent: list[list[float]] = [[] for _ in commands]
    for _ in range(1 + COLD_RUNS):
        for arguments, seconds in zip(commands, spent, strict=True):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, *arguments]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=kept)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            seconds.append(user + system)
    return [statistics.median(seconds[1:]) for seconds in spent]


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: Figures) -> dict[str, float]:
    """The figures as one flat row."""
    total, size = sum(figures.evaluate), sum(figures.sizes)
    in_stages = sum(figures.stages.values())
    by_time = sorted(zip(figures.evaluate, figures.paths, strict=True))
    middle = str(by_time[len(by_time) // 2][1])
    check, baseline = cold(["-m", "hvci", "check", middle], ["-c", BASELINE])
    row = {
        "drivers": len(figures.evaluate),
        "refused": figures.refused,
        "judged calls": figures.calls,
        "answered %": 100 * (1 - figures.undecided / max(1, figures.calls)),
        "median ms": 1000 * statistics.median(figures.evaluate),
        "p95 ms": 1000 * percentile(figures.evaluate, 0.95),
        "worst ms": 1000 * max(figures.evaluate),
        "drivers/s": len(figures.evaluate) / total,
        "MB/s": size / total / 1e6,
        "image, calls: ms": 1000 * statistics.median(figures.calls_only),
        "image, calls: /s": len(figures.calls_only) / sum(figures.calls_only),
        **{f"{stage} %": 100 * part / in_stages for stage, part in sorted(figures.stages.items())},
        "cold check s": check,
        "cold baseline s": baseline,
        "cold ratio": check / baseline,
    }
    if figures.sweep:
        row["sweep drivers/s"] = len(figures.sweep) / sum(figures.sweep)
        row["evaluate/sweep time"] = total / sum(figures.sweep)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", choices=("x64", "x86", "arm64"), default="x64")
    parser.add_argument("--limit", type=int, default=0, help="only the first N drivers, by hash")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    chosen = [item for item in drivers(options.folder) if item.machine == options.machine]
    figures = Figures()
    for item in chosen[: options.limit or None]:
        with_sweep = options.machine != "arm64"
        measure(item.path.read_bytes(), item.path, options.repeat, with_sweep, figures)
    if not figures.evaluate:
        sys.exit(f"no {options.machine} driver in {options.folder} could be evaluated")
    row = table(figures)
    for name, value in row.items():
        print(
            f"{name:<22}{value:>12,.2f}" if isinstance(value, float) else f"{name:<22}{value:>12,}"
        )
    if options.json:
        options.json.write_text(json.dumps(row, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
