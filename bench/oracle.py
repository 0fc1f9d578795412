"""The emulator as an oracle: every call that a run makes and the code reader does not account for.

    python bench/oracle.py FOLDER [--machine arm64] [--natural] [--json FILE] [--seconds 300]

Each driver of a folder (collection.py names the collection) is read and run, paths forced too. A
call of a catalogued DDI that the run makes, through an import slot, the KMDF table or a pointer
that was looked up, is then one of:

    listed    the code reader lists the DDI at that place
    limited   it lists no such call, and a limit weakens the rule that would judge it
    missed    neither: the driver could be called compatible, and nobody looked

Printed are the missed calls, one a line, then the tables of calls, of agreement and of time.
The exit code is 1 when a call was missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

from collection import drivers

MACHINES = ("x64", "x86", "arm64")
PROGRAM = """
import json, sys, time
from hvci import catalog
from hvci.binary import read
from hvci.errors import InputError
from hvci.model import NEWEST, Tier
from hvci.verifier.merge import merge
from hvci.verifier.outcome import Effort, VerifierOptions
from hvci.verifier.session import run_here
data, natural = open(sys.argv[1], 'rb').read(), sys.argv[2] == 'natural'
try:
    begin = time.perf_counter()
    evidence = read(data, NEWEST)
    middle = time.perf_counter()
    run = run_here(data, VerifierOptions(force=not natural))
except InputError as error:
    sys.exit(str(error))
took = time.perf_counter() - middle
known = {(call.ddi, call.site.rva) for call in evidence.calls}
limited = {rule for limit in evidence.limits for rule in limit.rules}
rows = {}
for call in run.calls:
    ddi, place = catalog.ddis()[call.ddi], (call.ddi, call.site.rva)
    how = 'listed' if place in known else 'missed'
    if how == 'missed' and ddi.rule.judged_by in limited:
        how = 'limited'
    by_itself = call.tier is Tier.NATURAL or rows.get(place, (0, 0, 0, False))[3]
    rows[place] = (call.ddi, call.site.rva, how, by_itself)
entry = run.driver_entry
print(json.dumps({
    'rows': list(rows.values()), 'agreement': merge(evidence, run)[1].block(),
    'ending': entry.outcome.ending.value, 'tier': entry.tier.value, 'why': entry.outcome.reason,
    'read': middle - begin, 'run': took,
    'unsupported': [[each.name, each.rva, each.tier.value]
                    for each in getattr(run, 'unsupported', ())],
    'events': [[hex(e.bugcheck), hex(e.site.rva), e.message] for e in run.events
               if e.bugcheck != 0xC4 and e.tier is Tier.NATURAL]}))
"""
HOWS = ("listed", "limited", "missed")
COMPARED = ("agreed", "settled_naturally", "settled_forced", "only_in_run", "disagreed")


def examine(path: Path, natural: bool, seconds: int) -> dict:
    """What both readers say of one driver, or why there is nothing."""
    words = (str(path), "natural" if natural else "forced")
    command = [sys.executable, "-c", PROGRAM, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"given up after {seconds} seconds"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


class Table:
    """The sums of one machine."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {"read": [], "run": []}

    def add(self, found: dict) -> None:
        """Count one driver."""
        self.counts["drivers"] += 1
        if "failed" in found:
            self.counts["failed"] += 1
            return
        self.counts["returned"] += found["ending"] == "returned"
        self.counts.update(how for _, _, how, _ in found["rows"])
        self.counts.update({f"{how} by itself": 0 for how in HOWS})
        self.counts.update(f"{how} by itself" for _, _, how, itself in found["rows"] if itself)
        self.counts.update({key: found["agreement"][key] for key in COMPARED})
        for key, times in self.times.items():
            times.append(found[key])

    def row(self, key: str) -> str:
        """One figure."""
        if key.partition(" ")[0] not in self.times:
            return str(self.counts[key])
        name, _, which = key.partition(" ")
        times = sorted(self.times[name])
        if not times:
            return "-"
        value = median(times) if which == "median" else times[int(len(times) * 0.95)]
        return f"{value:.2f} s"


def show(tables: dict[str, Table]) -> None:
    """All figures, one machine a column."""
    keys = ["drivers", "failed", "returned"]
    keys += [name for how in HOWS for name in (how, f"{how} by itself")]
    keys += [*COMPARED, "read median", "read p95", "run median", "run p95"]
    print(f"{'':<24}" + "".join(f"{machine:>10}" for machine in tables))
    for key in keys:
        print(f"{key:<24}" + "".join(f"{table.row(key):>10}" for table in tables.values()))


def tell(name: str, machine: str, found: dict) -> None:
    """What of one driver has to be explained."""
    if "failed" in found:
        print(f"{machine} {name}: {found['failed']}", flush=True)
        return
    for ddi, rva, how, itself in found["rows"]:
        if how == "missed":
            tier = "by itself" if itself else "on a forced path"
            print(f"{machine} {name}: {ddi} at {rva:#x} missed ({tier})", flush=True)
    for row in found["agreement"]["disagreements"]:
        code, run = ([hex(value) for value in row[key]] for key in ("code", "run"))
        place = f"{row['ddi']} at {row['rva']:#x}"
        print(f"{machine} {name}: {place}: code {code}, run {run}", flush=True)
    for what, rva, tier in found["unsupported"]:
        print(f"{machine} {name}: cannot execute {what} at {rva:#x} ({tier})", flush=True)
    for event in found["events"]:
        print(f"{machine} {name}: natural {event[0]} at {event[1]}: {event[2]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", choices=MACHINES, action="append")
    parser.add_argument("--natural", action="store_true", help="force no path")
    parser.add_argument("--seconds", type=int, default=300, help="for each driver")
    parser.add_argument("--json", type=Path, help="one JSON object for each driver")
    options = parser.parse_args()
    wanted = tuple(options.machine or MACHINES)
    tables = {machine: Table() for machine in wanted}
    begin, lines = time.perf_counter(), []
    for driver in drivers(options.folder):
        if driver.machine not in wanted:
            continue
        name, found = driver.sha256[:16], examine(driver.path, options.natural, options.seconds)
        tables[driver.machine].add(found)
        tell(name, driver.machine, found)
        lines.append(json.dumps({"driver": name, "machine": driver.machine, **found}))
    show(tables)
    print(f"{time.perf_counter() - begin:.0f} seconds")
    if options.json:
        options.json.write_text("\n".join(lines) + "\n", "utf-8")
    return int(any(table.counts["missed"] for table in tables.values()))


if __name__ == "__main__":
    sys.exit(main())
