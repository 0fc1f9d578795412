"""Measures the database of a scan.

python bench/fleet.py questions 1000000 [URL]   every ready question over so many drivers
python bench/fleet.py machines 1000 [URL]       ... over so many machines with the same drivers
python bench/fleet.py alike URL                 both in SQLite and in PostgreSQL, row for row
python bench/fleet.py shares FOLDER             processor time of the parts of a scan
python bench/fleet.py rescan 20000              unchanged files by time of change, and by content
python bench/fleet.py kill FOLDER 20            kill -9 at random, resume, compare row for row
python bench/fleet.py cluster FOLDER 10000      a Dask cluster beside processes of this computer

For the cluster, small drivers of FOLDER are copied with another last byte each, so that no two are
equal. One worker is killed twice.
"""

import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from sqlalchemy import select

from hvci.errors import HvciError, StoreError
from hvci.fleet.batches import batches
from hvci.fleet.comparing import changes
from hvci.fleet.database import create, opened
from hvci.fleet.exporting import statement
from hvci.fleet.packed import pack
from hvci.fleet.questions import QUESTIONS, ask
from hvci.fleet.rows import row_of, stored_fields
from hvci.fleet.rules import Rules
from hvci.fleet.scanning import Scan
from hvci.fleet.schema import body, file, finding, package, result, scan, seen
from hvci.fleet.statistics import statistics
from hvci.fleet.store import Store
from hvci.fleet.views import View
from hvci.fleet.walk import places
from hvci.fleet.worker import Task, evaluated

DDIS = [f"Ddi{number}" for number in range(120)]
RULES = [f"rule-{number}" for number in range(25)]
OLD = 1_600_000_000
PACKAGES = 4000
SAME = 1000
AGAIN = 10
"""One driver of so many is met on a second machine."""
QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}
"""What docs/scale.md says of workers and scheduler."""
SMALL = 40_000
"""Bytes of a driver that is copied for the cluster."""


def timed(what, call):
    """Wall time, and processor time of this process: of SQLite the measure on a busy computer."""
    begin, before = time.perf_counter(), time.process_time()
    found = call()
    wall, cpu = time.perf_counter() - begin, time.process_time() - before
    print(f"{what:40} {wall * 1000:9.0f} ms {cpu * 1000:9.0f} CPU ms", flush=True)
    return found


def questions(folder, number, where=""):
    where = where or str(folder / "a.db")
    store = Store(create(where), Rules(), "desk")
    store.begin("all")
    timed(f"{number} drivers written", lambda: fill(store, number))
    timed("the scan ended", store.finish)
    again = Store(store.database, Rules(), "laptop")
    again.begin("all")
    timed(f"{number // AGAIN} of them met again", lambda: meet_again(again, number))
    again.finish()
    settle(where, store)
    return answer_all(where, [store.scan_id] * 2)


def settle(where, store):
    if "://" not in where:
        print(f"{Path(where).stat().st_size >> 20} MiB")
    else:
        with store.database.writing() as connection:
            connection.exec_driver_sql("ANALYZE")  # as its own service does from time to time


def machines(folder, number, where=""):
    """Each machine is a scan of its own and has the same drivers, a third of them in packages."""
    where = where or str(folder / "a.db")
    store = Store(create(where), Rules(), "desk")
    with store.database.writing() as connection:
        add(connection, package, [packaged(one) for one in range(1, PACKAGES + 1)])
        drivers = list(zip(range(1, SAME + 1), drawn(random.Random(7)), strict=False))
        add(connection, result, [driver(one, verdict) for one, verdict in drivers])
        add(connection, finding, [row for one, _ in drivers for row in said(one)])
    scans = []
    for machine in range(number):
        store = Store(store.database, Rules(), f"machine {machine}")
        store.begin("all")
        scans.append(store.scan_id)
        files = [(one, machine * SAME + one) for one, _ in drivers]
        with store.database.writing() as connection:
            add(connection, file, [place(*one, f"machine {machine}") for one in files])
            rows = [met(store.scan_id, *one) for one in files]
            of = ((one * 7 + machine) % PACKAGES + 1 if one % 3 == 0 else None for one, _ in files)
            rows = [row | {"package_id": each} for row, each in zip(rows, of, strict=True)]
            add(connection, seen, rows)
        store.finish()
    settle(where, store)
    return answer_all(where, scans[:2])


def answer_all(where, scans):
    """Every answer, timed."""
    asked = [(name, "") for name in QUESTIONS]
    asked += [("vendor", "Vendor 7"), ("rule", RULES[3]), ("ddi", DDIS[5])]
    asked += [("package", "oem7.inf"), ("package", "a7.inf")]
    database, found = opened(where), {}
    with database.reading() as connection:
        for name, word in asked:
            call = lambda n=name, w=word: ask(connection, n, View(), w, 100)  # noqa: E731
            found[f"{name} {word}"] = timed(f"{name} {word}", call)
        found["stats"] = timed("stats", lambda: statistics(connection, View()))
        found["changed"] = timed("changed", lambda: list(changes(connection, *scans)))
    return found


def alike(folder, url, number=1_000_000):
    """Whether PostgreSQL answers as SQLite does; the database at the URL is emptied."""
    same = True
    for shape, size in ((questions, number), (machines, number // SAME)):
        one = shape(folder, size, str(folder / f"{shape.__name__}.db"))
        emptied(url)
        other = shape(folder, size, url)
        for name, answer in one.items():
            ours, theirs = without_times(answer), without_times(other[name])
            if ours != theirs:
                same = False
                print(f"{shape.__name__}: {name} differs\n  {ours[:2000]}\n  {theirs[:2000]}")
    print("row for row equal" if same else "NOT equal")
    return same


def without_times(answer):
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:+.]+", "", repr(answer))


def emptied(url):
    store = Store(create(url), Rules(), "desk")
    with store.database.writing() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    store.database.close()


def fill(store, number):
    chance = random.Random(7)
    with store.database.writing() as connection:
        add(connection, package, [packaged(one) for one in range(1, PACKAGES + 1)])
    drivers = zip(range(1, number + 1), drawn(chance), strict=False)
    for some in batches(drivers, 20_000):
        with store.database.writing() as connection:
            add(connection, result, [driver(one, verdict) for one, verdict in some])
            blobs = [(one, chance.randbytes(1100)) for one, _ in some]
            rest = {"dictionary_id": 1}
            add(connection, body, [{"result_id": one, "data": data} | rest for one, data in blobs])
            add(connection, finding, [row for one, _ in some for row in said(one)])
            add(connection, file, [place(one, one) for one, _ in some])
            add(connection, seen, [met(store.scan_id, one, one) for one, _ in some])


def meet_again(store, number):
    """Another machine has some of the drivers as well."""
    for some in batches(range(AGAIN, number + 1, AGAIN), 20_000):
        with store.database.writing() as connection:
            add(connection, file, [place(one, number + one, "laptop") for one in some])
            add(connection, seen, [met(store.scan_id, one, number + one) for one in some])


def met(scan_id, number, file_id):
    """A file; every fourth is of a package, as in scans of a Windows."""
    row = {"scan_id": scan_id, "file_id": file_id, "result_id": number, "problem": None}
    of = number // 4 % PACKAGES + 1 if number % 4 == 0 else None
    return row | {"sentence": None, "package_id": of}


def packaged(number):
    """A package; every twentieth starts at boot."""
    names = {"digest": str(number), "inf": f"a{number}.inf", "service": f"s{number}"}
    texts = {"provider": f"Vendor {number % 400}", "version": "01/02/2024, 1.0.0.0"}
    start = "boot" if number % 20 == 0 else "system" if number % 20 == 1 else "on demand"
    there = {"installed": True, "published": f"oem{number % 300}.inf", "devices": number % 3}
    flags = {"storage": False, "staged": False, "class_name": "System", "hardware_ids": 1}
    lists = {"catalogs": "[]", "ids": "[]"}
    return {"id": number, "start": start, **names, **texts, **there, **flags, **lists}


def add(connection, table, rows):
    """Write rows as fast as the database takes them."""
    if connection.dialect.name != "postgresql" or not rows:
        connection.execute(table.insert(), rows)
        return
    names = list(rows[0])
    into = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
    with connection.connection.driver_connection.cursor().copy(into) as copy:
        for row in rows:
            copy.write_row([row[name] for name in names])


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


def place(number, file_id, host="desk"):
    path = f"/drivers/{number % 1000}/{number}.sys"
    return {
        "id": file_id,
        "host": host,
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


def shares(folder, top):
    """Processor time of the parts of a worker's answer, and of a scan with one worker."""
    rules, spent = Rules(), dict.fromkeys(("read", "evaluate", "row", "report", "pack"), 0.0)
    paths = sorted(Path(top).rglob("*.sys"))
    for path in paths:
        marks = [time.process_time()]
        data = path.read_bytes()
        task = Task(str(path), hashlib.sha256(data).hexdigest(), len(data))
        marks.append(time.process_time())
        try:
            report = evaluated(data, task, rules)
        except HvciError:
            continue
        marks.append(time.process_time())
        row_of(report, task.sha256)
        marks.append(time.process_time())
        fields = stored_fields(report)
        marks.append(time.process_time())
        pack(fields)
        marks.append(time.process_time())
        for name, begin, end in zip(spent, marks[:-1], marks[1:], strict=True):
            spent[name] += end - begin
    before = os.times()
    scanned(top, folder / "a.db", "--jobs", "1")
    after = os.times()
    whole = after[2] + after[3] - before[2] - before[3]
    spent["all else of a scan"] = whole - sum(spent.values())
    for name, cpu in spent.items():
        print(f"{name:20} {cpu / len(paths) * 1000:6.2f} ms a driver {cpu / whole:6.1%}")
    print(f"{'scan':20} {whole / len(paths) * 1000:6.2f} ms a driver, {len(paths)} drivers")


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


def cluster(folder, top, number):
    """Answers of a scheduler and two workers over TCP beside those of two processes."""
    drivers = folder / "drivers"
    drivers.mkdir()
    small = sorted(path for path in Path(top).rglob("*.sys") if 2000 < path.stat().st_size < SMALL)
    for one in range(number):
        data = small[one % len(small)].read_bytes()
        path = drivers / f"{one:06}.sys"
        path.write_bytes(data + one.to_bytes(8, "little"))
        os.utime(path, (OLD, OLD))
    print(f"{number} drivers made of {len(small)}", flush=True)
    spent = {}
    for what, times in (("processes", 0), ("cluster", 0), ("killed", 2)):
        where = folder / f"{what}.db"
        begin, before, idle, up = time.perf_counter(), os.times(), idleness(), 0.0
        if what == "processes":
            scanned(drivers, where, "--jobs", "2")
        else:
            up = on_cluster(drivers, where, times)
        after = os.times()
        spent[what] = after[2] + after[3] - before[2] - before[3] - up
        wall = time.perf_counter() - begin
        quiet = (idleness() - idle) / wall / os.cpu_count()
        print(f"{what:10} {wall:6.1f} s wall, computer idle {quiet:.0%}", end="")
        print(f"{spent[what]:8.1f} CPU s and {up:.1f} before the scan", flush=True)
        if what != "processes":
            equal = kept(where) == kept(folder / "processes.db")
            print("  every result once, row for row equal" if equal else "  NOT equal", flush=True)
    print(f"overhead {spent['cluster'] / spent['processes'] - 1:+.1%} of processor time")


def idleness():
    """Seconds that all cores together had nothing to do."""
    return int(Path("/proc/stat").read_text().split()[4]) / os.sysconf("SC_CLK_TCK")


def used(process):
    """Processor time of a process and of those that it started."""
    whole = 0
    for number in (process.pid, *children(process.pid)):
        words = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        whole += sum(map(int, words[11:15]))
    return whole / os.sysconf("SC_CLK_TCK")


def scanned(target, where, *more):
    command = [sys.executable, "-m", "hvci", "scan", str(target), "-q", "-d", str(where), *more]
    subprocess.run(command, check=True)


def on_cluster(target, where, times):
    """Scan on a scheduler and two workers, of which one is killed so many times.

    Gives the processor time that they took before the scan.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    quiet = {"env": {**os.environ, **QUIET}, "stderr": subprocess.DEVNULL}
    tool = [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--host", "127.0.0.1"]
    started = [subprocess.Popen([*tool, *scheduler, "--no-dashboard"], **quiet)]
    started += [subprocess.Popen([*tool, *worker, "--no-dashboard"], **quiet) for _ in range(2)]
    scan_of = threading.Thread(target=scanned, args=(target, where, "--scheduler", address))
    time.sleep(12)
    up = sum(map(used, started))
    scan_of.start()
    for _ in range(times):
        before = rows(where)
        while rows(where) < before + 500 and scan_of.is_alive():
            time.sleep(0.5)
        for number in children(started[1].pid):
            os.kill(number, signal.SIGKILL)  # the nanny starts it anew
            print(f"  killed a worker at {rows(where)} results", flush=True)
    scan_of.join()
    for one in reversed(started):
        one.terminate()
        one.wait()
    return up


def main(what, *words):
    with tempfile.TemporaryDirectory() as name:
        if what == "questions":
            questions(Path(name), int(words[0]), *words[1:])
        elif what == "machines":
            machines(Path(name), int(words[0]), *words[1:])
        elif what == "alike":
            if not alike(Path(name), words[0], *map(int, words[1:])):
                sys.exit(1)
        elif what == "shares":
            shares(Path(name), words[0])
        elif what == "rescan":
            rescan(Path(name), int(words[0]))
        elif what == "cluster":
            cluster(Path(name), words[0], int(words[1]))
        elif not kill(Path(name), words[0], int(words[1])):
            sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
