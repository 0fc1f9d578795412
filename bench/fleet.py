"""Measures the database of a scan.

python bench/fleet.py questions 1000000         every ready question over so many drivers
python bench/fleet.py rescan 20000              unchanged files by time of change, and by content
python bench/fleet.py kill FOLDER 20            kill -9 at random, resume, compare row for row
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import select

from hvci.errors import StoreError
from hvci.fleet.batches import batches
from hvci.fleet.comparing import changes
from hvci.fleet.database import create, opened
from hvci.fleet.exporting import statement
from hvci.fleet.questions import QUESTIONS, ask
from hvci.fleet.rules import Rules
from hvci.fleet.scanning import Scan
from hvci.fleet.schema import body, file, finding, result, scan, seen
from hvci.fleet.statistics import statistics
from hvci.fleet.store import Store
from hvci.fleet.views import View
from hvci.fleet.walk import places

DDIS = [f"Ddi{number}" for number in range(120)]
RULES = [f"rule-{number}" for number in range(25)]
OLD = 1_600_000_000


def timed(what, call):
    begin = time.perf_counter()
    found = call()
    print(f"{what:40} {(time.perf_counter() - begin) * 1000:9.0f} ms", flush=True)
    return found


def questions(folder, number):
    store = Store(create(str(folder / "a.db")), Rules(), "desk")
    store.begin("all")
    timed(f"{number} drivers written", lambda: fill(store, number))
    timed("the scan ended", store.finish)
    print(f"{(folder / 'a.db').stat().st_size >> 20} MiB")
    asked = [(name, "") for name in QUESTIONS]
    asked += [("vendor", "Vendor 7"), ("rule", RULES[3]), ("ddi", DDIS[5])]
    database = opened(str(folder / "a.db"))
    with database.reading() as connection:
        for name, word in asked:
            timed(f"{name} {word}", lambda n=name, w=word: ask(connection, n, View(), w, 100))
        timed("stats", lambda: statistics(connection, View()))
        timed("changed", lambda: list(changes(connection, store.scan_id, store.scan_id)))


def fill(store, number):
    chance = random.Random(7)
    drivers = zip(range(1, number + 1), drawn(chance), strict=False)
    for some in batches(drivers, 20_000):
        with store.database.writing() as connection:
            connection.execute(result.insert(), [driver(one, verdict) for one, verdict in some])
            connection.execute(
                body.insert(),
                [
                    {"result_id": one, "dictionary_id": 1, "data": chance.randbytes(1100)}
                    for one, _ in some
                ],
            )
            connection.execute(finding.insert(), [row for one, _ in some for row in said(one)])
            connection.execute(file.insert(), [place(one) for one, _ in some])
            met = {"scan_id": store.scan_id, "problem": None, "sentence": None}
            connection.execute(
                seen.insert(), [met | {"file_id": one, "result_id": one} for one, _ in some]
            )


def drawn(chance):
    while True:
        yield chance.choices(("compatible", "incompatible", "undecided"), (45, 50, 5))[0]


def driver(number, verdict):
    chance = random.Random(number)
    bad = verdict == "incompatible"
    return {
        "id": number,
        "sha256": f"{chance.getrandbits(256):064x}",
        "rules_id": 1,
        "kind": "report",
        "verdict": verdict,
        "loads": "no" if bad and number % 3 == 0 else "yes",
        "readiness": "no" if bad else "yes",
        "runs": "no" if bad and number % 20 == 0 else "yes",
        "summary": "loads and runs, fails the readiness test (8 places)",
        "machine": chance.choice(("x64", "x86", "arm64")),
        "size": 90_000,
        "signed": chance.choice(("hardware", "cross-signed", "none")),
        "driver_policy": "passes",
        "vendor": f"Vendor {int(chance.paretovariate(0.5)) % 5000}",
        "failures": chance.randrange(1, 50) if bad else 0,
        "doubts": int(verdict == "undecided"),
    }


def said(number):
    chance = random.Random(number)
    keys = {(chance.choice(RULES), chance.choice(DDIS)) for _ in range(chance.randrange(6))}
    outcome = "fail" if number % 2 else "note"
    return [
        {"result_id": number, "rule": rule, "outcome": outcome, "ddi": ddi, "places": 2}
        for rule, ddi in keys
    ]


def place(number):
    path = f"/drivers/{number % 1000}/{number}.sys"
    return {
        "id": number,
        "host": "desk",
        "path": path,
        "size": 90_000,
        "changed": 1,
        "inode": number,
        "sha256": f"{random.Random(number).getrandbits(256):064x}",
    }


def rescan(folder, number):
    top = folder / "drivers"
    for one in range(number):
        path = top / f"{one % 100}" / f"{one}.sys"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"MZ" + one.to_bytes(4, "little") * 500)
        os.utime(path, (OLD, OLD))
    for what in ("first", "by time of change", "by content"):
        if what == "by content":
            for path in top.rglob("*.sys"):
                os.utime(path, (OLD + 1, OLD + 1))
        store = Store(create(str(folder / "a.db")), Rules(), "desk")
        run = Scan(store, Rules(), 2, 300, lambda _: None)
        begin, cpu = time.perf_counter(), time.process_time()
        run.run("all", places([str(top)]))
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        print(f"{what:20} {number / wall:9.0f} files/s, {number / cpu:9.0f} a CPU second")


def kill(folder, top, times):
    command = [sys.executable, "-m", "hvci", "scan", top, "-q", "-d"]
    subprocess.run([*command, str(folder / "calm.db")], check=True)
    chance, killed = random.Random(), [*command, str(folder / "killed.db")]
    for number in range(times):
        process = subprocess.Popen(killed)
        before, deadline = rows(folder / "killed.db"), time.monotonic() + 60
        while rows(folder / "killed.db") == before and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(chance.uniform(0, 1))
        workers = children(process.pid)
        victim = process.pid if number % 2 or not workers else chance.choice(workers)
        os.kill(victim, signal.SIGKILL)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait()
        print(f"{number}: {rows(folder / 'killed.db')} results", flush=True)
    subprocess.run(killed, check=True)
    equal = kept(folder / "killed.db") == kept(folder / "calm.db")
    print("row for row equal" if equal else "NOT equal")
    return equal


def children(parent):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True)
    return [int(word) for word in found.stdout.split()]


def rows(where):
    """How many results there are; none before there is a database."""
    try:
        database = opened(str(where))
    except StoreError:
        return 0
    with database.reading() as connection:
        found = len(connection.execute(select(result.c.id)).all())
    database.close()
    return found


def kept(where):
    """Everything but the numbers of rows and the times of scans."""
    database = opened(str(where))
    with database.reading() as connection:
        exported = {tuple(row)[1:] for row in connection.execute(statement(View()))}
        said = select(result.c.sha256, *finding.c[1:]).join(finding)
        blobs = select(result.c.sha256, body.c.data).join(body)
        files = select(file.c.path, file.c.size, file.c.changed, file.c.inode, file.c.sha256)
        ended = connection.execute(select(scan.c.ended)).all()
        found = [sorted(map(tuple, connection.execute(query))) for query in (said, blobs, files)]
    assert len(ended) == 1
    assert ended[0][0]
    return exported, found


def main(what, *words):
    with tempfile.TemporaryDirectory() as name:
        if what == "questions":
            questions(Path(name), int(words[0]))
        elif what == "rescan":
            rescan(Path(name), int(words[0]))
        elif not kill(Path(name), words[0], int(words[1])):
            sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
