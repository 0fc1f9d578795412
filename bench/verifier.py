"""How far the emulated verifier comes, on a written-down selection of real drivers.

    python bench/verifier.py FOLDER [--machine x64] [--limit N] [--speakeasy PYTHON] [--twice]

verifier_drivers.json names the drivers by the first 16 digits of their sha256: first one for each
special import library, then one for each impacted DDI, then at random (seed 0), of the development
collection (collection.py). Each driver runs in a process of its own, one at a time. `--speakeasy`
names a Python that has speakeasy-emulator; it runs the same drivers' DriverEntry beside ours.
`--twice` runs each driver again and compares the whole result, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from collection import drivers

HERE = Path(__file__).parent
SELECTION = HERE / "verifier_drivers.json"
OURS = """
import hashlib, json, pickle, resource, sys
from hvci.errors import InputError
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here
data = open(sys.argv[1], 'rb').read()
run = run_here(data, VerifierOptions())
entry, reach = run.driver_entry, run.coverage
print(json.dumps({
    'ending': entry.outcome.ending.value, 'status': entry.outcome.status,
    'why': entry.outcome.reason, 'sites': reach.sites_total - len(reach.missed),
    'sites_total': reach.sites_total, 'natural': reach.sites_natural,
    'blocks': reach.blocks, 'blocks_total': reach.blocks_total, 'paths': run.paths,
    'events': [[hex(e.bugcheck), hex(e.site.rva), e.message] for e in run.events
               if e.bugcheck != 0xC4 and e.tier == 'natural'],
    'digest': hashlib.sha256(pickle.dumps(run)).hexdigest(),
    'megabytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""
THEIRS = """
import json, resource, sys
from speakeasy import Speakeasy
names = set(sys.argv[2].split())
speaker = Speakeasy()
module = speaker.load_module(sys.argv[1])
try:
    speaker.run_module(module, all_entrypoints=False)
except Exception:
    pass
entries = speaker.get_report().get('entry_points', [])
first = entries[0] if entries else {}
calls = [api for entry in entries for api in entry.get('apis', [])]
print(json.dumps({
    'returned': bool(first) and not first.get('error'),
    'sites': len({api['pc'] for api in calls if api['api_name'].split('.')[-1] in names}),
    'why': str((first.get('error') or {}).get('type', '')),
    'megabytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""
LARGE = 40_000
"""Drivers of more blocks are counted apart."""
TIMEOUT = 300


def execute(python: str, program: str, *words: str) -> tuple[dict, float]:
    begin = time.perf_counter()
    done = subprocess.run(
        [python, "-c", program, *words], capture_output=True, text=True, timeout=TIMEOUT
    )
    seconds = time.perf_counter() - begin
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"failed": done.stderr.strip().splitlines()[-1:] or [str(done.returncode)]}, seconds
    return json.loads(lines[-1]), seconds


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def show(rows: list[tuple[str, dict, float]]) -> None:
    for name, row, seconds in rows:
        print(f"  {name}  {seconds:6.2f} s  {json.dumps(row)}")


def summary(rows: list[tuple[str, dict, float]]) -> None:
    good = [row for _, row, _ in rows if "failed" not in row]
    small = [row for row in good if row["blocks_total"] < LARGE]
    returned = [row for row in good if row["ending"] == "returned"]
    succeeded = sum(1 for row in returned if row["status"] < 0x8000_0000)
    sites, total = (sum(row[key] for row in small) for key in ("sites", "sites_total"))
    every = (sum(row["sites"] for row in good), sum(row["sites_total"] for row in good))
    seconds = [took for _, _, took in rows]
    print(f"DriverEntry returned          {len(returned)} of {len(rows)}")
    print(f"  with a success status       {succeeded}")
    share = f"{sites / max(total, 1):.1%}"
    print(f"call sites, under 40,000 blocks {sites} of {total} = {share} ({len(small)} drivers)")
    print(f"call sites, all               {every[0]} of {every[1]}")
    print(f"  naturally                   {sum(row['natural'] for row in good)}")
    print(f"blocks, median                {median(covered(row) for row in good):.1%}")
    print(f"process wall, median          {median(seconds):.2f} s")
    print(f"process wall, p95             {percentile(seconds, 0.95):.2f} s")
    print(f"peak memory, max              {max(row['megabytes'] for row in good)} MB")
    for name, row, _ in rows:
        for event in row.get("events", []):
            print(f"natural {event[0]} in {name} at {event[1]}: {event[2]}")


def covered(row: dict) -> float:
    return row["blocks"] / max(row["blocks_total"], 1)


def beside(python: str, paths: list[tuple[str, Path]]) -> None:
    """Speakeasy on the same drivers."""
    from hvci import catalog

    names = " ".join(catalog.exports())
    rows = []
    for name, path in paths:
        row, seconds = execute(python, THEIRS, str(path), names)
        rows.append((name, row, seconds))
    seconds = [took for _, _, took in rows]
    version = subprocess.run(
        [
            python,
            "-c",
            "from importlib.metadata import version as v; print(v('speakeasy-emulator'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    print(f"\nspeakeasy-emulator {version} on the same {len(rows)} drivers")
    print(f"DriverEntry returned          {sum(bool(row.get('returned')) for _, row, _ in rows)}")
    print(f"call sites reached            {sum(row.get('sites', 0) for _, row, _ in rows)}")
    print(f"process wall, median          {median(seconds):.2f} s")
    print(f"process wall, p95             {percentile(seconds, 0.95):.2f} s")
    print(f"peak memory, max              {max(row.get('megabytes', 0) for _, row, _ in rows)} MB")
    show(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", default="x64")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--speakeasy", metavar="PYTHON")
    parser.add_argument("--twice", action="store_true")
    options = parser.parse_args()
    chosen = json.loads(SELECTION.read_text())[options.machine][: options.limit]
    found = {driver.sha256[:16]: driver.path for driver in drivers(options.folder)}
    paths = [(name, found[name]) for name in chosen if name in found]
    rows, differing = [], []
    for name, path in paths:
        row, seconds = execute(sys.executable, OURS, str(path))
        rows.append((name, row, seconds))
        if options.twice and differs(path, row.get("digest", "")):
            differing.append(name)
    print(f"hvci on {len(rows)} {options.machine} drivers of {len(chosen)} chosen")
    summary(rows)
    if options.twice:
        print(f"two runs differ               {differing or 'none'}")
    show(rows)
    if options.speakeasy:
        beside(options.speakeasy, paths)


def differs(path: Path, digest: str) -> bool:
    """Whether a second run gives another result; peak memory may differ, facts may not."""
    again, _ = execute(sys.executable, OURS, str(path))
    return again.get("digest") != digest


if __name__ == "__main__":
    main()
