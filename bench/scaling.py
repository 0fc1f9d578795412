"""How the time for a hostile file grows with its size; exponent 1: twice as much, twice as long.

    python bench/scaling.py [FAMILY ...] [--from 10000] [--to 1000000] [--limit 60] [--markdown]

Shown are CPU seconds and MiB for each size, ten times as much each (the last: --to), and the
exponent between the two sizes up to a megabyte. Each is measured in a process of its own that has
loaded hvci before; above are the seconds that a loop of Python takes on this machine, to compare.
A family ends at the size that takes longer than the limit.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import families

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate, evaluate_drivers

MEGABYTE = 1_000_000


class Taken(NamedTuple):
    """What one file took."""

    seconds: float
    mebibytes: int
    """More than the process had before."""
    told: str


def take(make: Callable[[int], bytes], size: int) -> Taken:
    """What one file took, and what came of it; in this process."""
    data = make(size)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "driver.c")
        path.write_bytes(data)
        begin = time.process_time()
        try:
            if make in families.TEXTS:
                reports = evaluate_drivers(path, Options())
                told = str(reports[0].verdict) if reports else "no driver"
            else:
                told = str(evaluate(data).verdict)
        except InputError as error:
            told = str(error)[:60]
        spent = time.process_time() - begin
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Taken(spent, (most - before) >> 10, told)


def apart(make: Callable[[int], bytes], size: int) -> Taken:
    """The same in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(take, (make, size))


def unit() -> float:
    """CPU seconds of a loop: how fast this machine is, and how busy."""
    begin = time.process_time()
    found: dict[int, int] = {}
    for number in range(3_000_000):
        found[number & 0xFFFF] = number
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {one.__name__: one for one in (*families.IMAGES, *families.TEXTS)}
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(known))
    parser.add_argument("--from", dest="first", type=int, default=10_000)
    parser.add_argument("--to", type=int, default=1_000_000)
    parser.add_argument("--limit", type=float, default=60)
    parser.add_argument("--markdown", action="store_true", help="a table for docs/security.md")
    options = parser.parse_args()
    for one in known.values():
        take(one, 2000)  # what is loaded late is loaded now
    print(f"a loop of Python: {unit():.2f} s", flush=True)
    sizes = [options.first]
    while sizes[-1] < options.to:
        sizes.append(min(sizes[-1] * 10, options.to))
    if options.markdown:
        print("| family |", *(f"{size:,} |" for size in sizes), "exponent | says |")
        print("|---|" + "---|" * (len(sizes) + 2))
    for name in options.families or known:
        took: list[Taken] = []
        for size in sizes:
            took.append(apart(known[name], size))
            if took[-1].seconds > options.limit:
                break
        line(name, sizes, took, options.markdown)


def line(name: str, sizes: list[int], took: list[Taken], markdown: bool) -> None:
    """One family."""
    grown = "-"
    last = sum(size <= MEGABYTE for size in sizes[: len(took)]) - 1
    if last > 0:
        before, behind = took[last - 1 : last + 1]
        grown = f"{math.log10(max(behind.seconds, 0.001) / max(before.seconds, 0.001)):.2f}"
    cells = [f"{one.seconds:.2f} s, {one.mebibytes} MiB" for one in took]
    cells += ["-"] * (len(sizes) - len(took))
    if markdown:
        print(f"| {name.replace('_', ' ')} |", *(f"{cell} |" for cell in cells), end=" ")
        print(f"{grown} | {took[-1].told} |", flush=True)
    else:
        print(
            f"{name:20}",
            *(f"{cell:>18}" for cell in cells),
            f"  exponent {grown}  {took[-1].told}",
            flush=True,
        )


if __name__ == "__main__":
    main()
