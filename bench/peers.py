"""What other tests take for a sign of incompatibility, beside our answer on the same drivers.

    python bench/peers.py FOLDER

Three tests are found in public tools: any section that is writable and executable, INIT included;
an import of MmMapIoSpace; a missing FORCE_INTEGRITY flag. Each is counted over all drivers and over
those that Microsoft's hardware program signed, beside our *loads* "no".
"""

import argparse
from collections import Counter
from pathlib import Path

from hvci.binary.pe.image import PeImage
from hvci.errors import InputError
from hvci.evaluate import evaluate
from hvci.model import Answer, Question, Signed

FORCE_INTEGRITY = 0x80
HARDWARE = (Signed.HARDWARE, Signed.ATTESTATION)
TESTS = {
    "any section writable and executable, INIT included": lambda image: any(
        section.writable and section.executable for section in image.sections
    ),
    "imports MmMapIoSpace": lambda image: "MmMapIoSpace" in image.import_slots,
    "no FORCE_INTEGRITY": lambda image: not image.facts.dll_characteristics & FORCE_INTEGRITY,
}
OURS = "hvci: loads no"


def count(folder):
    """How many drivers each test flags, and how many there are."""
    flagged, total = Counter(), Counter()
    for path in sorted(Path(folder).rglob("*.sys")):
        data = path.read_bytes()
        try:
            report, image = evaluate(data), PeImage(data)
        except InputError:
            continue
        groups = ["all"]
        groups += ["hardware-signed"] if report.trust.signed in HARDWARE else []
        verdicts = {name: test(image) for name, test in TESTS.items()}
        verdicts[OURS] = report.answers[Question.LOADS] is Answer.NO
        for group in groups:
            total[group] += 1
            flagged.update((group, name) for name, flag in verdicts.items() if flag)
    return flagged, total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    found, drivers = count(parser.parse_args().folder)
    for group, number in drivers.items():
        print(f"{group}: {number} drivers")
        for name in (*TESTS, OURS):
            print(f"  {found[group, name]:4d}  {name}")
