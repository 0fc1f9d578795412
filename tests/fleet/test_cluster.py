"""A real scheduler and two workers as processes: every result once, whoever dies."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from build import driver
from hvci.cli import main
from hvci.fleet.database import opened
from hvci.fleet.schema import body, file, result, seen
from poison import MARK

Client = pytest.importorskip("distributed").Client

ENVIRONMENT = {
    **os.environ,
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path]),
}


def run(*args):
    return CliRunner().invoke(main, ["scan", *map(str, args)])


@pytest.fixture(scope="module")
def cluster():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    tool = [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    worker += ["--host", "127.0.0.1", "--preload", "poison"]
    quiet = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([*tool, *scheduler, "--no-dashboard"], **quiet)]
    started += [subprocess.Popen([*tool, *worker], **quiet) for _ in range(2)]
    with Client(address, timeout=90, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=90)
    yield address, started
    workers = [number for one in started for number in below(one)]
    for number in (*(one.pid for one in started), *workers):
        os.kill(number, signal.SIGKILL)
    for one in started:
        one.wait()


def below(process):
    """The processes that a process started."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def answers(where):
    """What each file got, by its name."""
    joined = seen.join(file).outerjoin(result).outerjoin(body)
    query = select(file.c.path, result.c.verdict, seen.c.problem, body.c.data).select_from(joined)
    database = opened(str(where))
    with database.reading() as connection:
        rows = connection.execute(query).all()
    database.close()
    found = {Path(path).name: (verdict, problem, data) for path, verdict, problem, data in rows}
    assert len(found) == len(rows)
    return found


def test_workers_die_and_every_file_has_one_answer(cluster, tmp_path):
    address, started = cluster
    top = tmp_path / "drivers"
    top.mkdir()
    for number in range(24):
        data = driver(pool_type=number % 3 * 0x100) + bytes(number)
        (top / f"{number:02}.sys").write_bytes(data)
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("in.sys", driver("arm64"))
    (top / "x.zip").write_bytes(inside.getvalue())
    done = run(top, "-d", tmp_path / "calm.db", "--jobs", "1")
    assert done.exit_code == 0, done.output
    (top / "poison.sys").write_bytes(driver(overlay=MARK))
    time.sleep(0.1)
    where = ["-d", str(tmp_path / "cluster.db")]
    scan = subprocess.Popen(
        [sys.executable, "-m", "hvci", "scan", str(top), "-q", "--scheduler", address, *where],
        env=ENVIRONMENT,
    )
    time.sleep(3)
    for number in below(started[1]):
        os.kill(number, signal.SIGKILL)  # a worker under its nanny
    assert scan.wait(120) == 0
    found = answers(tmp_path / "cluster.db")
    assert found.pop("poison.sys")[:2] == (None, "died")
    assert found == answers(tmp_path / "calm.db")


def test_no_cluster_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.fleet.cluster.PATIENCE", 0.5)
    (tmp_path / "a.sys").write_bytes(driver())
    told = run(tmp_path, "-d", tmp_path / "a.db", "--scheduler", "tcp://127.0.0.1:1")
    assert told.exit_code == 2
    assert "--scheduler tcp://127.0.0.1:1" in told.output


def test_each_file_of_a_batch_has_its_time_and_the_one_that_hangs_ends_the_process():
    ends = """if True:
        import sys, time
        from hvci.fleet import remote
        from hvci.fleet.rules import Rules
        from hvci.fleet.worker import Answer, Task
        def answered(task, *_):
            time.sleep(task.size / 10)
            return Answer(None)
        remote.answered = answered
        parcels = [remote.Parcel(Task("a", "b", int(word)), None, ()) for word in sys.argv[1:]]
        sys.exit(len(remote.answer_all(Rules().fields(), Rules().digest, parcels, 1.5)))
    """

    def ended(*sizes):
        words = [sys.executable, "-c", ends, *map(str, sizes)]
        return subprocess.run(words, env=ENVIRONMENT, check=False).returncode

    assert ended(*[7] * 4) == 4
    assert ended(1, 60, 1) == 1


def test_a_worker_with_another_file_under_the_same_path_is_sent_ours(tmp_path):
    from hvci.fleet.cluster import Cluster
    from hvci.fleet.remote import Parcel
    from hvci.fleet.rules import Rules
    from hvci.fleet.walk import Problem
    from hvci.fleet.worker import Answer, Task

    (tmp_path / "a.sys").write_bytes(b"ours")
    cluster = Cluster("tcp://x", Rules(), 60)
    task = Task(str(tmp_path / "a.sys"), "0" * 64, 4)
    told = Answer(None, problem=Problem(task.path, "changed", "changed"))
    assert cluster._answers([Parcel(task, None, ())], iter([told])) == []
    assert cluster._again.popleft() == [Parcel(task, b"ours", ())]
    assert cluster._answers([Parcel(task, b"ours", ())], iter([told])) == [(task, told)]


def test_bytes_that_changed_on_the_way_and_another_hvci():
    from hvci.errors import UsageError
    from hvci.fleet.remote import Parcel, answer_all
    from hvci.fleet.rules import Rules
    from hvci.fleet.worker import Task, decode

    rules = Rules()
    parcel = Parcel(Task("a.sys", "0" * 64, 1), b"x", ())
    (message,) = answer_all(rules.fields(), rules.digest, [parcel], 60)
    assert decode(message).problem.kind == "changed"
    with pytest.raises(UsageError, match="another hvci"):
        answer_all(rules.fields(), "other", [parcel], 60)
