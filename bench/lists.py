"""Asks block lists and databases about real drivers, compares forms, and mutates what they are.

    python bench/lists.py FOLDER LIST... [--mutations 50000]

Prints for each list its entries, the drivers it names, the time for each, and, where two lists
share an XML policy's title, whether both name the same drivers. Then mutated lists are read.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from hvci import lists, signing
from hvci.errors import HvciError, InputError
from hvci.model import NEWEST


def load(path):
    """A list of any kind."""
    is_database = Path(path).read_bytes()[8:12] == b"sdbf"
    return lists.load_database(path) if is_database else lists.load_block_list(path)


def subjects(folder):
    """The drivers below a folder."""
    for path in sorted(Path(folder).rglob("*.sys")):
        try:
            yield lists.Subject(signing.read(path.read_bytes(), NEWEST), path.name)
        except InputError:
            continue


def ask(folder, paths):
    """What each list says of all drivers."""
    drivers = list(subjects(folder))
    named = {}
    for path in paths:
        begin = time.process_time()
        one = load(path)
        loaded = time.process_time()
        answers = [one.ask(driver) for driver in drivers]
        spent = time.process_time() - loaded
        kinds = Counter(answer.matches[0].why.split(" ")[0] for answer in answers if answer.matches)
        doubts = sum(bool(answer.doubt) for answer in answers)
        named[path] = [bool(answer.matches) for answer in answers]
        print(
            f"{path}: {answers[0].title}, {answers[0].entries} entries, read in "
            f"{1000 * (loaded - begin):.0f} ms; {sum(named[path])} of {len(drivers)} named "
            f"{dict(kinds)}, {doubts} undecided, {1000 * spent / len(drivers):.2f} ms each"
        )
    first = paths[0]
    for path in paths[1:]:
        differ = sum(a != b for a, b in zip(named[first], named[path], strict=True))
        print(f"{differ} drivers differ between {first} and {path}")


def mutate(folder, paths, count):
    """Read mutated lists and ask them; whether none raised anything but a refusal."""
    driver = next(subjects(folder))
    chance, errors, worst = random.Random(4), Counter(), 0.0
    whole = [Path(path).read_bytes() for path in paths]
    scratch = Path(paths[0]).with_suffix(".mutated")
    for _ in range(count):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.choice((1, 2, 10, 100))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        scratch.write_bytes(bytes(data))
        begin = time.process_time()
        try:
            load(str(scratch)).ask(driver)
        except HvciError:
            errors["refused"] += 1
        except Exception as error:
            errors[repr(error)[:80]] += 1
        worst = max(worst, time.process_time() - begin)
    scratch.unlink(missing_ok=True)
    print(f"{count} mutations: {dict(errors)}; slowest {worst:.2f} s")
    return set(errors) <= {"refused"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("lists", nargs="+")
    parser.add_argument("--mutations", type=int, default=0)
    given = parser.parse_args()
    ask(given.folder, given.lists)
    sys.exit(not mutate(given.folder, given.lists, given.mutations))
