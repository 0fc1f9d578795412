"""Measures the web application.

python bench/web.py fleet 1000000               first paint, filters and search over so many rows
python bench/web.py clients 200 120             so many clients for so many seconds, on loopback
python bench/web.py upload 300                  an upload of so many MB: time and memory
python bench/web.py describe 100                asks what the description allows, and what not
python bench/web.py fill 1000000 fleet.db       only write such a database, to look at it
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import fleet as fleets
from hvci.fleet.database import create
from hvci.fleet.rules import Rules
from hvci.fleet.schema import package, scan
from hvci.fleet.store import Store

FIXTURES = Path(__file__).parents[1] / "tests/fixtures/built"
HEADER = {"X-HVCI-Request": "bench"}
HOSTS = 40


class Server:
    """A server in a process of its own."""

    def __init__(self, home, *words):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "hvci", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--data", str(home), *words])
        self.url = f"http://127.0.0.1:{self.port}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.get("/api/about")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server does not answer")

    def get(self, path):
        begin = time.perf_counter()
        with urllib.request.urlopen(self.url + path, timeout=120) as answer:
            text = answer.read()
        return (time.perf_counter() - begin) * 1000, text

    def memory(self):
        """MiB now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) >> 10

    def cpu(self):
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.terminate()
        self.process.wait(30)


# ---------------------------------------------------------------------- fleet


def fill(where, number):
    """A database of so many files on 40 machines, with packages, vendors, rules and years."""
    store = Store(create(str(where)), Rules(), "desk-0")
    store.begin("all")
    fleets.fill(store, number)
    store.finish()
    with store.database.writing() as connection:
        connection.execute(package.delete())  # those that came with the files
        connection.execute(package.insert(), [an_inf(one) for one in range(1, 3001)])
        connection.exec_driver_sql("UPDATE seen SET package_id = 1 + file_id % 3000")
        (first,) = connection.execute(scan.select().limit(1)).all()
        scans = [
            {**first._mapping, "id": 1000 + one, "host": f"desk-{one}"} for one in range(1, HOSTS)
        ]
        connection.execute(scan.insert(), scans)
        for one in range(1, HOSTS):
            connection.exec_driver_sql(
                f"UPDATE seen SET scan_id = {1000 + one} WHERE file_id % {HOSTS} = {one}"
            )
    store.database.close()


def an_inf(number):
    start = ("boot", "system", "automatic", "on demand", "on demand", "on demand")[number % 6]
    return {
        "id": number,
        "digest": f"{number:064x}",
        "inf": f"oem{number}.inf",
        "service": f"svc{number}",
        "start": start,
        "provider": f"Provider {number % 400}",
        "version": f"{1 + number % 12:02}/15/{2004 + number % 22},{number}.0.0.1",
        "class_name": "System",
        "hardware_ids": 3,
        "catalogs": "[]",
        "ids": "[]",
        "installed": True,
        "published": f"oem{number}.inf",
        "devices": number % 3,
        "storage": False,
        "staged": False,
    }


PAGES = {
    "first paint": "/fleet",
    "verdict": "/fleet/rows?verdict=incompatible",
    "gate": "/fleet/rows?fate=will+not+load",
    "vendor": "/fleet/rows?vendor=Vendor+7",
    "package": "/fleet/rows?package=Provider+7:+oem7.inf",
    "rule": "/fleet/rows?rule=rule-3",
    "machine": "/fleet/rows?host=desk-7",
    "year": "/fleet/rows?year=2012",
    "start and order": "/fleet/rows?start=boot&order=worst",
    "three together": "/fleet/rows?verdict=incompatible&rule=rule-3&start=boot",
    "search, some": "/fleet/rows?q=77123",
    "search, all": "/fleet/rows?q=.sys",
    "search, none": "/fleet/rows?q=nothing-has-this",
    "by vendor": "/fleet/rows?order=vendor",
    "far on": "/fleet/rows?first=500000",
    "endpoint": "/api/fleet/files?verdict=incompatible&rule=rule-3",
}


def fleet(folder, number, where=None):
    if where is None:
        where = folder / "fleet.db"
        begin = time.perf_counter()
        fill(where, number)
        print(f"{number} rows written in {time.perf_counter() - begin:.0f} s", flush=True)
    server = Server(folder / "home", "--database", str(where))
    begin = time.perf_counter()
    while b"results" not in server.get("/fleet")[1]:
        time.sleep(0.5)
    print(f"columns made in {time.perf_counter() - begin:.0f} s, {server.memory()} MiB")
    for name, path in PAGES.items():
        first, _ = server.get(path)
        cpu = server.cpu()
        times = sorted(server.get(path)[0] for _ in range(9))
        used = (server.cpu() - cpu) / 9 * 1000
        told = f"first {first:6.0f} ms, then median {times[4]:6.0f}, worst {times[-1]:6.0f}"
        print(f"{name:20} {told}, processor {used:6.0f}", flush=True)
    print(f"server: {server.memory()} MiB")
    server.close()
    server = Server(folder / "home", "--database", str(where))
    print(f"first paint after a restart {server.get('/fleet')[0]:6.0f} ms")
    server.close()


# ---------------------------------------------------------------------- clients


async def asked(port, method, path, body=b"", kind=""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-HVCI-Request: b\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n{kind}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    status = int(answer[9:12])
    return status, answer.partition(b"\r\n\r\n")[2]


async def client(number, port, drivers, end, seen_codes, wrong, times):
    chance = random.Random(number)
    while time.monotonic() < end:
        name, data, verdict = chance.choice(drivers)
        # Another byte behind the image is another content: it has to be evaluated anew.
        body = data + chance.randbytes(4) if chance.random() < 0.5 else data
        begin = time.perf_counter()
        status, answer = await asked(port, "PUT", f"/api/evaluations?name={name}", body)
        seen_codes["PUT", status] += 1
        if status != 202:
            await asyncio.sleep(chance.uniform(0.2, 1))
            continue
        path = f"/api/evaluations/{json.loads(answer)['id']}"
        while time.monotonic() < end + 60:
            status, answer = await asked(port, "GET", path)
            seen_codes["GET", status] += 1
            found = json.loads(answer) if status == 200 else {}
            if found.get("state") == "done":
                times.append(time.perf_counter() - begin)
                if found["results"][0]["verdict"] != verdict:
                    wrong.append((name, found["results"][0]))
                break
            await asyncio.sleep(chance.uniform(0.3, 0.8))


async def clients(folder, number, seconds):
    names = sorted(FIXTURES.glob("*.sys"))[::40]
    verdicts = {
        path: json.loads(
            subprocess.run(
                [sys.executable, "-m", "hvci", "check", str(path), "--format", "json"],
                capture_output=True,
                check=False,
            ).stdout
        )["reports"][0]["verdict"]
        for path in names
    }
    drivers = [(path.name, path.read_bytes(), verdict) for path, verdict in verdicts.items()]
    server = Server(folder / "home")
    codes, wrong, times, memory = Counter(), [], [], []
    end = time.monotonic() + seconds
    tasks = [
        asyncio.create_task(client(one, server.port, drivers, end, codes, wrong, times))
        for one in range(number)
    ]
    while time.monotonic() < end:
        await asyncio.sleep(min(10, max(0.1, end - time.monotonic())))
        memory.append(server.memory())
        print(f"{len(times)} done, {memory[-1]} MiB, {dict(codes)}", flush=True)
    await asyncio.gather(*tasks)
    print(f"{number} clients, {seconds} s: {len(times)} answers, {len(wrong)} wrong {wrong[:3]}")
    print(f"codes {dict(codes)}")
    if times:
        print(
            f"upload to answer: median {statistics.median(times):.2f} s, worst {max(times):.2f} s"
        )
    print(f"memory MiB {memory}; server's processor time {server.cpu():.0f} s")
    server.close()


# ---------------------------------------------------------------------- upload


def upload(folder, megabytes):
    server = Server(folder / "home")
    before, cpu = server.memory(), server.cpu()
    data = (FIXTURES / "sample_bad.x64.o2.sys").read_bytes() + os.urandom(1 << 20) * megabytes
    request = urllib.request.Request(
        server.url + "/api/evaluations?name=huge.sys", data, HEADER, method="PUT"
    )
    begin = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:
        job = json.loads(answer.read())
    seconds = time.perf_counter() - begin
    used = server.cpu() - cpu
    while job["state"] != "done":
        time.sleep(0.2)
        job = json.loads(server.get(f"/api/evaluations/{job['id']}")[1])
    print(f"{len(data) >> 20} MiB in {seconds:.1f} s, {used:.1f} s of the server's processor time")
    print(
        f"server {before} MiB before, {server.memory()} MiB after; {job['results'][0]['sentence']}"
    )
    server.close()


def describe(folder, examples):
    """Needs the package schemathesis: every answer must be one that the description has."""
    where = folder / "fleet.db"
    fill(where, 2000)
    server = Server(folder / "home", "--database", str(where))
    command = ["schemathesis", "run", f"{server.url}/api/openapi.json", "--checks", "all"]
    found = subprocess.run([*command, "--max-examples", str(examples)], check=False)
    server.close()
    return found.returncode


def main(what, *words):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if what == "fleet":
            fleet(folder, int(words[0]), Path(words[1]) if len(words) > 1 else None)
        elif what == "fill":
            fill(Path(words[1]), int(words[0]))
        elif what == "clients":
            asyncio.run(clients(folder, int(words[0]), int(words[1])))
        elif what == "describe":
            sys.exit(describe(folder, int(words[0])))
        elif what == "upload":
            upload(folder, int(words[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
