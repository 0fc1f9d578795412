"""`hvci verifier` and `hvci verify` through the real command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hvci as hvci_package

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
BAD, CLEAN = BUILT / "own_store_bad.x64.o2.sys", BUILT / "own_store_clean.x64.o2.sys"
POOL = BUILT / "calls_bad.x64.o2.sys"


@pytest.fixture
def hvci(tmp_path):
    def call(*words):
        environment = {
            **os.environ,
            "HVCI_HOME": str(tmp_path / "home"),
            "NO_COLOR": "1",
            "PYTHONPATH": str(Path(hvci_package.__file__).parent.parent),
        }
        command = [sys.executable, "-m", "hvci", *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    return call


def test_settings_are_kept_shown_and_forgotten(hvci):
    done = hvci("verifier", "/flags", "0x02000000", "/driver", BAD, CLEAN)
    assert done.returncode == 1
    assert "ATTEMPTED_WRITE_TO_READONLY_MEMORY (be)" in done.stdout
    assert "Evaluated at once: 2 driver(s)" in done.stdout
    settings = hvci("verifier", "/querysettings").stdout
    assert "Verifier Flags: 0x02000000" in settings
    assert "[X] 0x02000000 Code integrity checks." in settings
    assert settings.rstrip().endswith(CLEAN.name)
    query = hvci("verifier", "-query").stdout
    assert f"Name: {BAD.name}, loads: 1" in query
    assert "Section Alignment Failures:         0" in query
    assert hvci("verifier", "/reset").stdout == "All settings were removed.\n"
    assert hvci("verifier", "/reset").stdout == "No settings were changed.\n"
    assert hvci("verifier", "/query").stdout == "No drivers are currently verified.\n"


def test_a_log_gets_what_query_prints(hvci, tmp_path):
    hvci("verifier", "/ruleclasses", "26", "/driver", CLEAN)
    assert hvci("verifier", "/log", "out.txt", "/interval", "5").returncode == 0
    assert (tmp_path / "out.txt").read_text() == hvci("verifier", "/query").stdout


def test_what_is_not_implemented_is_refused_by_name(hvci):
    done = hvci("verifier", "/flags", "0x9bb", "/driver", CLEAN)
    assert done.returncode == 2
    assert "Special pool" in done.stderr
    assert hvci("verifier", "/query").stdout == "No drivers are currently verified.\n"


def test_help_names_every_action(hvci):
    text = hvci("verifier", "/?").stdout
    assert all(word in text for word in ("/flags", "/ruleclasses", "/query", "/reset", "/log"))


def test_verify_prints_an_analysis_and_writes_traces(hvci, tmp_path):
    done = hvci("verify", POOL, "--trace", "trace.jsonl")
    assert done.returncode == 1
    assert "DRIVER_VERIFIER_DETECTED_VIOLATION (c4)" in done.stdout
    assert "DDI:         ExAllocatePoolWithTag" in done.stdout
    assert "FIX:         ExAllocatePool2" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert {"ddi", "arguments", "site", "return", "tier"} <= set(lines[0])
    coverage = (tmp_path / "trace.jsonl.drcov").read_bytes()
    head, _, rest = coverage.partition(b" bbs\n")
    assert head.startswith(b"DRCOV VERSION: 2\n")
    assert len(rest) == 8 * int(head.rpartition(b" ")[2])


def test_check_joins_both_readers(hvci):
    done = hvci("check", "--verify", POOL, "--format", "json")
    report = json.loads(done.stdout)["reports"][0]
    assert report["verifier"]["agreement"]["disagreed"] == 0
    assert report["verifier"]["agreement"]["agreed"] > 40
    assert {call["tier"] for call in report["calls"] if call["origin"] == "verifier"} == {
        "natural"
    } | {call["tier"] for call in report["calls"] if call["tier"]}
    bad = json.loads(hvci("check", "--verify", BAD, "--format", "json").stdout)["reports"][0]
    assert bad["answers"]["runs"] == "no"
