"""The emulator under changed and made-up code: no host file, no connection, no process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = 25
"""Drivers for each machine."""
PROGRAM = """
import os, random, sys
sys.path[:0] = {path!r}
import emulated, engine
one = emulated.Subject({machine!r})
rng = random.Random(7)
def inputs():
    yield b""
    for kind in range({runs}):
        yield bytes([rng.randrange(64)]) + rng.randbytes(60)
for data in [b"", b"\\x3f" + bytes(range(60))]:
    one.run(data)  # what is imported when it is needed first
seen, is_on = set(), False
def hear(event, arguments):
    if is_on and not (event in ("open", "os.listdir") and own(*arguments)):
        seen.add(event)
def own(path, mode=None, flags=0):
    return not flags & 3 and str(path).startswith({own!r})
sys.addaudithook(hear)
descriptors = sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []
is_on = True
os.path.exists({begin!r})
for data in inputs():
    one.run(data)
os.path.exists({end!r})
is_on = False
again = sorted(os.listdir("/proc/self/fd")) if descriptors else []
if {planted}:
    is_on = True
    open(os.devnull).close()
    is_on = False
import json
print(json.dumps([sorted(seen), descriptors == again]))
"""
TOUCHING = ("open", "socket.", "subprocess.", "os.", "shutil.", "ctypes.dlopen")
OWN = tuple({str(ROOT / "src"), sys.prefix, sys.base_prefix})
"""Where our code and data are, which some drivers need for the first time."""


BEGIN, END = "/hvci-trace-begins", "/hvci-trace-ends"
"""Names that nothing has: asking for them marks the trace of system calls."""


def program(machine, planted=False):
    path = [str(ROOT / "src"), str(ROOT / "fuzz"), str(ROOT / "tests")]
    text = PROGRAM.format(
        path=path, machine=machine, runs=RUNS, planted=planted, begin=BEGIN, end=END, own=OWN
    )
    return [sys.executable, "-c", text]


def events(machine, planted=False):
    """What Python was asked while drivers ran, and whether open files are the same after."""
    done = subprocess.run(program(machine, planted), capture_output=True, check=True)
    seen, same = json.loads(done.stdout)
    return [event for event in seen if event.startswith(TOUCHING)], same


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_changed_code_touches_nothing_of_the_host(machine):
    assert events(machine) == ([], True)


def test_the_trace_sees_a_file_that_is_opened():
    assert events("x86", planted=True)[0] == ["open"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_native_code_asks_the_system_for_no_file_connection_or_process(tmp_path):
    log = tmp_path / "calls"
    words = ["strace", "-f", "-qq", "-e", "trace=%file,%network,%process", "-o", str(log)]
    traced = subprocess.run([*words, *program("x64")], capture_output=True, check=False)
    calls = log.read_text().splitlines() if log.exists() else []
    marks = [n for n, call in enumerate(calls) if BEGIN in call or END in call]
    if traced.returncode or len(marks) != 2:
        pytest.skip("this system lets nobody trace")
    others = [call for call in calls[marks[0] + 1 : marks[1]] if not _reads_own(call)]
    assert others == []


def _reads_own(call):
    """Whether a system call opens code or data of ours for reading, or asks for them."""
    changes = any(word in call for word in ("O_WRONLY", "O_RDWR", "O_CREAT", "unlink", "rename"))
    about_open = "stat" in call and '"", ' in call
    return not changes and (about_open or any(f'"{folder}' in call for folder in OWN))
