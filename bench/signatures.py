"""Signatures of real drivers beside an independent oracle, their cost, and mutated tables.

    python bench/signatures.py FOLDER [--mutations 20000]

For each driver the classes are compared with those that asn1crypto's types give, and the digests
with LIEF's. Then that many mutated certificate tables are read: none may raise.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import signature_oracle as oracle
from hvci import signing
from hvci.errors import InputError
from hvci.model import NEWEST, Signed


def drivers(folder):
    """The images below a folder that hvci judges."""
    for path in sorted(Path(folder).rglob("*.sys")):
        data = path.read_bytes()
        try:
            signing.read(data, NEWEST)
        except InputError:
            continue
        yield path, data


def compare(folder):
    """Classes and digests beside those of the oracles; the processor time of ours."""
    found, differing, spent, count = Counter(), [], 0.0, 0
    for path, data in drivers(folder):
        begin = time.process_time()
        trust = signing.read(data, NEWEST).trust
        spent += time.process_time() - begin
        count += 1
        found[trust.signed.value] += 1
        intact = [one for one in trust.signatures if one.signed is not Signed.DAMAGED]
        ours = sorted(one.signed.value for one in intact)
        matches = all(one.digest_matches for one in trust.signatures)
        if ours != oracle.classes(data) or matches != oracle.digests_match(data):
            differing.append((path.name, ours, oracle.classes(data)))
    print(f"{count} drivers, {1000 * spent / max(count, 1):.2f} ms each: {dict(found)}")
    print(f"{len(differing)} differ from the oracles", *differing[:20], sep="\n  ")
    return not differing


def mutate(folder, count):
    """Read mutated tables; the number of errors that nobody caught."""
    from signing.test_hostile_signatures import mutated

    chance = random.Random(18)
    signed = [(data, signing.read(data, NEWEST)) for _, data in drivers(folder)]
    signed = [(data, read.file.table[0]) for data, read in signed if read.reads]
    errors, found, worst = Counter(), Counter(), 0.0
    for _ in range(count):
        data, start = chance.choice(signed)
        changed = mutated(data, start, chance)
        begin = time.process_time()
        try:
            found[signing.read(changed, NEWEST).trust.signed.value] += 1
        except Exception as error:
            errors[repr(error)[:80]] += 1
        worst = max(worst, time.process_time() - begin)
    print(f"{count} mutations: {dict(found)}; slowest {worst:.3f} s; errors {dict(errors)}")
    return not errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--mutations", type=int, default=0)
    given = parser.parse_args()
    same = compare(given.folder)
    sys.exit(not (mutate(given.folder, given.mutations) and same))
