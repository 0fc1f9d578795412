"""Whether what drivers do by themselves in a run agrees with what their code shows.

    python bench/verifier_agreement.py FOLDER [--machine x64] [--seconds 120]

Every driver of a folder (collection.py names the collection) runs in a process of its own, with no
path forced. Printed are the totals, each call site where the two readers disagree or that only the
run saw, and each natural bug check 0xBE or 0xFC: all of them have to be explained.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from collection import drivers

MACHINES = ("x64", "x86", "arm64")
PROGRAM = """
import json, sys
from hvci.binary import read
from hvci.errors import InputError
from hvci.model import NEWEST
from hvci.verifier.merge import merge
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here
data = open(sys.argv[1], 'rb').read()
try:
    evidence, run = read(data, NEWEST), run_here(data, VerifierOptions(force=False))
except InputError as error:
    sys.exit(str(error))
entry = run.driver_entry
known = {(call.ddi, call.site.rva) for call in evidence.calls}
alone = sorted({(call.ddi, call.site.rva) for call in run.calls} - known)
print(json.dumps({
    'alone': alone,
    'agreement': merge(evidence, run)[1].block(),
    'ending': entry.outcome.ending.value, 'why': entry.outcome.reason,
    'events': [[hex(e.bugcheck), hex(e.site.rva), e.message] for e in run.events
               if e.bugcheck != 0xC4 and e.tier == 'natural']}))
"""
COUNTED = ("agreed", "settled_naturally", "only_in_run", "disagreed")


def examine(path: Path, seconds: int) -> dict:
    """What the two readers say of one driver, or why there is nothing."""
    command = [sys.executable, "-c", PROGRAM, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"given up after {seconds} seconds"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", choices=MACHINES)
    parser.add_argument("--seconds", type=int, default=120)
    options = parser.parse_args()
    wanted = (options.machine,) if options.machine else MACHINES
    totals: Counter[str] = Counter()
    for driver in drivers(options.folder):
        if driver.machine not in wanted:
            continue
        name, found = driver.sha256[:16], examine(driver.path, options.seconds)
        totals["drivers"] += 1
        if "failed" in found:
            totals["failed"] += 1
            print(f"{name}: {found['failed']}")
            continue
        returned = found["ending"] == "returned"
        totals["DriverEntry returned"] += returned
        if not returned:
            print(f"{name}: DriverEntry ended: {found['why']}")
        totals.update({key: found["agreement"][key] for key in COUNTED})
        for row in found["agreement"]["disagreements"]:
            code, run = ([hex(value) for value in row[key]] for key in ("code", "run"))
            print(f"{name}: {row['ddi']} at {row['rva']:#x}: code {code}, run {run}")
        for ddi, rva in found["alone"]:
            print(f"{name}: {ddi} at {rva:#x} only in the run")
        for event in found["events"]:
            print(f"{name}: natural {event[0]} at {event[1]}: {event[2]}")
    for key, count in totals.items():
        print(f"{key:<24}{count:>6}")


if __name__ == "__main__":
    main()
