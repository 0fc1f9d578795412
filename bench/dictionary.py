"""Trains the dictionary that stored reports are packed with, on the drivers of the tests.

python bench/dictionary.py            write src/hvci/data/reports.zdict
python bench/dictionary.py FOLDER     how large reports of the drivers of a folder get with it
"""

import json
import sys
from pathlib import Path
from statistics import mean, median

import zstandard

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate
from hvci.fleet.packed import DICTIONARY, LEVEL, pack
from hvci.fleet.rows import stored_fields

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
SIZE = 200 << 10
SEGMENT, LETTERS = 1024, 8
"""Of zstd's COVER: these gave the smallest reports of drivers that it was not trained on."""


def reports(folder):
    for path in sorted(folder.rglob("*.sys")):
        try:
            yield stored_fields(evaluate(path.read_bytes(), Options()))
        except InputError:
            continue


def train():
    chosen = [json.dumps(one, separators=(",", ":")).encode() for one in reports(FIXTURES)]
    data = zstandard.train_dictionary(SIZE, chosen, k=SEGMENT, d=LETTERS, level=LEVEL).as_bytes()
    DICTIONARY.write_bytes(data)
    print(f"{DICTIONARY}: {len(data)} bytes, of {len(chosen)} reports")


def measure(folder):
    sizes = [len(pack(one)) for one in reports(folder)]
    print(f"{len(sizes)} reports: mean {mean(sizes):.0f}, median {median(sizes):.0f} bytes")


if __name__ == "__main__":
    measure(Path(sys.argv[1])) if len(sys.argv) > 1 else train()
