"""`hvci verifier` and `hvci verify` through the real command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import hvci as hvci_package
from hvci.binary import PeImage
from hvci.cli import main

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
    assert f"MODULE: {BAD.name} (load: 1 / unload: " in query
    assert "Section Alignment Failures:             0" in query
    assert "Verdict:                          violation: bug check 0xbe at 1 place" in query
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


def test_other_checks_are_a_warning_and_statistics_can_be_all(hvci):
    words = ("verifier", "/standard", "/flags", "0x02000000", "/log.code_integrity")
    done = hvci(*words, "/driver", POOL)
    assert done.returncode == 1
    assert "Warning: not emulated: Special pool (0x00000001)" in done.stderr
    assert "Bugcheck Analysis" not in done.stdout
    assert f"{POOL.name}: violation: bug check 0xc4 0x2000 at " in done.stdout
    query = hvci("verifier", "/query").stdout
    assert "[X] 0x00100000 Extended Verifier flags (internal)." in query
    log = hvci("verifier", "/log", "out.txt")
    assert log.returncode == 0
    assert "Execute Pool Type Count" in hvci("import-log", "out.txt").stdout


def test_a_run_that_proves_nothing_is_no_success(hvci, tmp_path):
    # DriverEntry of a driver whose first instructions are `mov eax, 0C0000001h; ret`.
    data = bytearray(CLEAN.read_bytes())
    image = PeImage(bytes(data))
    section = image.section_at(image.headers.entry)
    at = section.raw_offset + image.headers.entry - section.rva
    data[at : at + 6] = b"\xb8\x01\x00\x00\xc0\xc3"
    (tmp_path / "fails.sys").write_bytes(data)
    done = hvci("verify", "fails.sys", "--no-force")
    assert done.returncode == 3
    assert "undecided: DriverEntry failed with 0xc0000001" in done.stdout
    assert hvci("verifier", "/rc", "26", "/driver", "fails.sys").returncode == 3
    several = hvci("verify", CLEAN, "fails.sys", BAD, "gone.sys")
    assert several.returncode == 4
    assert [line.partition(": ")[0] for line in several.stdout.splitlines()[-4:]] == [
        "gone.sys",
        str(BAD),
        "fails.sys",
        str(CLEAN),
    ]
    both = json.loads(hvci("verify", CLEAN, "gone.sys", "--format", "json").stdout)
    assert [row.get("outcome") for row in both] == ["clean", None]
    assert hvci("verify", CLEAN, "fails.sys").returncode == 3
    assert hvci("verify", CLEAN).returncode == 0


def test_an_interrupt_leaves_what_was_done(monkeypatch):
    from hvci import verifier

    runs = iter([verifier.run(CLEAN.read_bytes())])

    def run(data, options):
        for done in runs:
            return done
        raise KeyboardInterrupt

    monkeypatch.setattr(verifier, "run", run)
    done = CliRunner().invoke(main, ["verify", str(CLEAN), str(BAD), "--format", "json"])
    assert done.exit_code == 130
    assert "interrupted after 1 of 2 drivers" in done.stderr
    assert [row["outcome"] for row in json.loads(done.stdout)] == ["clean"]


def test_a_folder_is_no_driver(hvci):
    done = hvci("verify", BUILT)
    assert done.returncode == 4
    assert "is a folder; name the drivers" in done.stderr


def test_symbols_name_the_place(hvci):
    done = hvci("verify", POOL, "--no-force")
    assert "FAULTING_SOURCE_LINE_NUMBER:  " in done.stdout
    block = json.loads(hvci("verify", POOL, "--no-force", "--format", "json").stdout)
    assert {"rva", "function", "file", "line"} <= set(block["events"][0]["site"])


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


def test_an_entry_point_that_is_not_there_is_a_wrong_argument(hvci):
    done = hvci("verify", CLEAN, "--entry", "foo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--entry foo: it has no entry point whose name begins so" in done.stderr
    assert hvci("verify", CLEAN, "--entry", "DriverUnload").returncode == 0
    several = hvci("verify", BAD, CLEAN, "--entry", "foo")
    assert (several.returncode, several.stdout.count("not run: --entry foo")) == (2, 1)


def test_a_symbol_folder_that_is_not_there_is_a_wrong_argument(hvci):
    for command in ("check", "verify"):
        done = hvci(command, CLEAN, "--symbols", "nowhere")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--symbols nowhere: there is no such folder" in done.stderr


def test_no_more_call_sites_are_reached_than_there_are(hvci):
    for driver in (POOL, BAD):
        coverage = json.loads(hvci("verify", driver, "--format", "json").stdout)["coverage"]
        assert (
            coverage["call_sites"] + len(coverage["call_sites_missed"])
            == (coverage["call_sites_total"])
        )


def test_a_violation_of_the_layout_names_no_instruction(hvci, tmp_path):
    data = bytearray(CLEAN.read_bytes())
    data[data.index(b".text\0") + 39] |= 0x80  # IMAGE_SCN_MEM_WRITE
    file = tmp_path / "writable.sys"
    file.write_bytes(data)
    done = hvci("verify", file)
    assert done.returncode == 1
    assert "Arg1: 0000000000002003" in done.stdout
    assert "FAULTING_IP" not in done.stdout
    assert not any(word in done.stdout for word in ("FUNCTION:", "FAULTING_SOURCE", "PATH:"))
    assert "FAULTING_IP" in hvci("verify", POOL).stdout
