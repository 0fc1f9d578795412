"""The command: where it listens, what it prints, and that it ends when it is told to."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from hvci.cli import main


def test_an_address_without_a_name_is_refused():
    found = CliRunner().invoke(main, ["serve", "--host", "0.0.0.0"])
    assert found.exit_code == 2
    assert "--name HOST" in found.output


def test_a_database_that_is_not_there_is_said_before_anything_is_served(tmp_path):
    words = ["serve", "--data", str(tmp_path), "--database", str(tmp_path / "none.db")]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 4
    assert "no such database" in found.output


def test_a_port_that_is_taken_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = CliRunner().invoke(main, ["serve", "--port", port, "--data", str(tmp_path)])
    assert found.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in found.output


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_it_answers_until_it_is_ended(tmp_path, how):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hvci", "serve", "--port", str(port), "--data", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ) as process:
        try:
            told = process.stderr.readline().decode()
            url = re.search(r"http://127\.0\.0\.1:\d+/", told)[0]
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert b"memory integrity" in answer.read()
            process.send_signal(how)
            assert process.wait(60) in (0, 130, -how)
        finally:
            process.kill()
        assert b"Traceback" not in process.stderr.read()
