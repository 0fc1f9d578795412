"""PostgreSQL answers as SQLite does: a server of its own is started where there is one to start."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from fleets import ROWS, fill, met
from hvci.cli import main
from hvci.errors import StoreError
from hvci.fleet.database import create
from hvci.fleet.questions import QUESTIONS
from hvci.fleet.walk import Problem
from hvci.model import Installed, Package


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg")
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("no PostgreSQL")
    as_user = []
    folder = Path(tempfile.mkdtemp(prefix="hvci-pg", dir="/tmp"))
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root")
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    run = {"check": True, "capture_output": True, "cwd": folder}
    data = folder / "data"
    words = ["--locale-provider=icu", "--icu-locale=en-US", "--encoding=UTF8"]
    subprocess.run([*as_user, "initdb", "-A", "trust", "-U", "me", "-N", *words, data], **run)
    options = f"-c listen_addresses='' -k {folder}"
    pg = [*as_user, "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options]
    subprocess.run([*pg, "start"], **{**run, "capture_output": False}, stdout=subprocess.DEVNULL)
    yield f"postgresql://me:secret@/postgres?host={folder}"
    subprocess.run([*pg, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder, ignore_errors=True)


def run(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert "internal error" not in done.output
    return done


def test_both_answer_alike(server, tmp_path):
    for where in (server, tmp_path / "a.db"):
        lost = met("good")
        lost.found, lost.answer = Problem("/drivers/lost.sys", "vanished", "no such file"), None
        many = [met("worse", f"/drivers/{name}.sys") for name in ("B", "a", "C", "_", "Ä")]
        for number, one in enumerate(many):
            there = Installed(f"oem{number}.inf", 1)
            one.package = Package("x.inf", "s", "boot", provider="b", installed=there)
        fill(where, *map(met, ROWS), met("bad", "/drivers/copy.sys"), *many, lost)
        fill(where, met("good"), met("bad"), host="laptop")
        shared = met("worse", "/drivers/a.sys")
        shared.package = Package("y.inf", "s", "boot", provider="b")
        for host in ("m", "z", "c", "k", "b", "x"):
            fill(where, shared, host=host)
        fill(where, met("good"), met("open", found=ROWS["bad"]))
    asked = [["query", name] for name in QUESTIONS if name not in ("machine", "scans")]
    asked += [["query", "ddi", "ExAllocatePoolWithTag"], ["query", "vendor", "Acme"]]
    asked += [
        ["query", "changed"],
        ["query", "package", "y.inf"],
        ["query", "--sql", "SELECT count(*) AS n FROM seen"],
    ]
    asked += [["export", "--csv", "-"], ["stats"], ["diff", "1", "9"], ["diff", "1", "2"]]
    for words in asked:
        one, other = (run(*words, "-d", where) for where in (server, tmp_path / "a.db"))
        assert (one.exit_code, one.output) == (other.exit_code, other.output), words
    refused = run("query", "--sql", "DELETE FROM seen", "-d", server)
    assert (refused.exit_code, "read-only transaction" in refused.output) == (4, True)
    assert "secret" not in refused.output


def test_questions_are_not_compiled(server):
    """Over a million rows that took two seconds of three."""
    with create(server).reading() as connection:
        assert connection.exec_driver_sql("SHOW jit").scalar() == "off"


def test_the_layout_before_orders_texts_by_bytes_from_now_on(server):
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE older")
    where = server.replace("/postgres?", "/older?")
    fill(where, *map(met, ROWS))
    with psycopg.connect(where) as connection:
        connection.execute("UPDATE about SET value = '3' WHERE name = 'layout'")
        connection.execute("DROP INDEX result_fate")
        connection.execute("ALTER TABLE file DROP COLUMN touched")
        connection.execute('ALTER TABLE file ALTER COLUMN path TYPE TEXT COLLATE "default"')
    create(where).close()
    with psycopg.connect(where) as connection:
        texts = (
            "FROM information_schema.columns WHERE data_type = 'text' AND table_schema = 'public'"
        )
        found = connection.execute(f"SELECT DISTINCT collation_name {texts}").fetchall()
        assert found == [("C",)]
        assert connection.execute("SELECT count(*) FROM file").fetchone() == (len(ROWS),)
        index = "SELECT 1 FROM pg_indexes WHERE indexname = 'result_fate'"
        assert connection.execute(index).fetchone()


def test_a_server_that_does_not_answer_is_one_sentence():
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as told:
        create("postgresql://me:secret@/postgres?host=/nowhere")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
