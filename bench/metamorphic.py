"""Change real drivers in ways that mean nothing, and count the answers that differ: none may.

    python bench/metamorphic.py FOLDER... [--number 200] [--largest 400000] [--seed 1]

The changes are those of tests/metamorphic.py, each alone.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import metamorphic
from hvci.errors import InputError
from hvci.evaluate import evaluate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--largest", type=int, default=400_000, help="bytes of a driver")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    files = [
        one for folder in options.folders for one in sorted(folder.rglob("*")) if one.is_file()
    ]
    files = [one for one in files if one.stat().st_size <= options.largest]
    random.Random(options.seed).shuffle(files)
    done: Counter[str] = Counter()
    differ: list[str] = []
    for path in files[: options.number]:
        data = path.read_bytes()
        try:
            report = evaluate(data)
        except InputError:
            continue
        done["drivers"] += 1
        for change in metamorphic.MEANINGLESS:
            other = metamorphic.changed(data, change, options.seed)
            if other is None:
                continue
            done[change.__name__] += 1
            before = metamorphic.answers(report, change)
            after = metamorphic.answers(evaluate(other), change)
            if before != after:
                parts = [name for name in before if before[name] != after[name]]
                differ.append(f"{path.name} {change.__name__}: {', '.join(parts)}")
    print(dict(done))
    print(f"{len(differ)} differ", *differ, sep="\n")
    return bool(differ)


if __name__ == "__main__":
    raise SystemExit(main())
