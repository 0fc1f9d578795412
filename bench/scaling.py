"""How the time for a hostile file grows with its size; exponent 1: twice as much, twice as long.

    python bench/scaling.py [FAMILY ...] [--from 10000] [--to 1000000] [--limit 60]

Shown are CPU seconds for each size, ten times as much each, and the exponent between the last two.
A family ends at the size that takes longer than the limit.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import families

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate, evaluate_drivers


def seconds(make: Callable[[int], bytes], size: int) -> tuple[float, str]:
    """CPU seconds for one file, and what came of it."""
    data = make(size)
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
        return time.process_time() - begin, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {one.__name__: one for one in (*families.IMAGES, *families.TEXTS)}
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(known))
    parser.add_argument("--from", dest="first", type=int, default=10_000)
    parser.add_argument("--to", type=int, default=1_000_000)
    parser.add_argument("--limit", type=float, default=60)
    options = parser.parse_args()
    for name in options.families or known:
        size, took, row = options.first, [], []
        while size <= options.to:
            spent, told = seconds(known[name], size)
            took.append(spent)
            row.append(f"{size:>10,} {spent:7.2f} s")
            if spent > options.limit:
                break
            size *= 10
        grown = math.log10(took[-1] / max(took[-2], 0.001)) if len(took) > 1 else 0.0
        print(f"{name:20}", *row, f"  exponent {grown:.2f}  {told}", flush=True)


if __name__ == "__main__":
    main()
