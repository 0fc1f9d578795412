"""The commands: what they print where, and the exit code they end with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hvci.catalog import SEED_ROWS
from hvci.cli import INTERRUPTED, main
from hvci.cli import gather as gathering
from hvci.cli.output import page_width, wants_colour
from hvci.errors import CatalogError, NotAnImage, UnsupportedImage
from hvci.report import Document, Format, render
from hvci.rules import RULES
from reports import pool_call, report, source_report, unknown_call


def run(*args, **extra):
    return CliRunner().invoke(main, [str(arg) for arg in args], **extra)


@pytest.fixture
def drivers(tmp_path, monkeypatch):
    """Files whose first word decides what the evaluation says."""
    answers = {
        b"good": lambda: report(path="good"),
        b"bad": lambda: report(pool_call(0x1000, 0), path="bad"),
        b"doubt": lambda: report(unknown_call(0x1000), path="doubt"),
    }

    def evaluate(given, options):
        data = given if isinstance(given, bytes) else (tmp_path / given).read_bytes()
        if data == b"bug":
            raise KeyError("surprise")
        if data not in answers:
            raise NotAnImage("no PE header")
        return answers[data]()

    monkeypatch.setattr(gathering, "evaluate", evaluate)
    for word in ("good", "bad", "doubt", "text", "bug"):
        (tmp_path / f"{word}.sys").write_text(word)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good"], 0),
        (["bad"], 1),
        (["doubt"], 3),
        (["text"], 4),
        (["bug"], 70),
        (["good", "doubt"], 3),
        (["doubt", "bad"], 1),
        (["bad", "text"], 4),
        (["bad", "text", "bug"], 70),
    ],
)
def test_exit_codes(drivers, names, code):
    words = [f"{name}.sys" for name in names]
    assert run("check", *words).exit_code == code
    assert run("check", "--exit-zero", *words).exit_code == 0


def test_a_bad_target_never_stops_the_others(drivers):
    result = run("check", "missing.sys", "text.sys", "good.sys", "-f", "json")
    document = json.loads(result.stdout)
    assert [error["path"] for error in document["errors"]] == ["missing.sys", "text.sys"]
    assert [one["target"]["path"] for one in document["reports"]] == ["good"]
    assert result.exit_code == 4
    assert result.stderr == ""


def test_folders_patterns_and_standard_input(drivers):
    assert run("check", ".").exit_code == 70
    assert run("check", "*od.sys").exit_code == 0
    assert run("check", "-", input="bad").exit_code == 1


def test_text_is_the_default_and_has_no_colour_in_a_pipe(drivers):
    result = run("check", "bad.sys")
    assert result.stdout.startswith("bad: loads and runs, fails the readiness test (1 place)\n")
    assert "\x1b" not in result.stdout


def test_a_saved_report_is_a_target(drivers):
    run("check", "bad.sys", "text.sys", "-f", "json", "-o", "saved.json")
    again = run("check", "saved.json", "-f", "json")
    assert again.stdout == (drivers / "saved.json").read_text()
    assert again.exit_code == 4
    assert run("check", "saved.json").stdout == run("check", "bad.sys", "text.sys").stdout


def test_a_damaged_saved_report_is_named(drivers):
    (drivers / "broken.json").write_text('{"schema_version": 1}')
    result = run("check", "broken.json")
    assert result.exit_code == 4
    assert "broken.json: could not be read" in result.stdout
    assert "not a saved hvci report" in result.stdout


def test_output_takes_the_place_of_stdout(drivers):
    result = run("check", "bad.sys", "-o", "out.txt")
    assert result.stdout == ""
    assert (drivers / "out.txt").read_text().startswith("bad: loads and runs")


def test_output_with_a_format_comes_besides(drivers):
    result = run("check", "bad.sys", "-o", "json=a.json", "-o", "text=b.txt")
    assert result.stdout == (drivers / "b.txt").read_text()
    assert json.loads((drivers / "a.json").read_text())["reports"]
    assert run("check", "bad.sys", "-o", "json=-", "-o", "x.txt").stdout.startswith("{")


@pytest.mark.parametrize(
    "args",
    [
        ["check"],
        ["check", "good.sys", "--format", "yaml"],
        ["check", "good.sys", "--target-os", "95"],
        ["check", "good.sys", "-o", "json="],
        ["check", "good.sys", "-o", "foo=x"],
        ["check", "good.sys", "-o", "no/such/folder/x.json"],
        ["check", "good.sys", "-o", "json=x.out", "-o", "html=./x.out"],
        ["explain", "nonsense"],
        ["explain"],
        ["nonsense"],
    ],
)
def test_wrong_arguments(drivers, args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


def test_target_os_reaches_the_evaluation(drivers, monkeypatch):
    seen = []
    monkeypatch.setattr(
        gathering, "evaluate", lambda given, options: seen.append(options) or report()
    )
    run("check", "good.sys", "--target-os", "Windows 10 1607")
    assert seen[0].target_os == 14393


def test_progress_on_a_terminal_only(drivers, monkeypatch):
    assert run("check", "good.sys", "bad.sys").stderr == ""
    monkeypatch.setattr(gathering, "is_watched", lambda: True)
    result = run("check", "good.sys", "bad.sys")
    assert "1/2" in result.stderr
    assert "\ngood " in result.stdout
    assert run("check", "good.sys").stderr == ""


def test_rules_lists_every_rule():
    lines = run("rules").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(RULES)


def test_ddis_lists_the_catalogue():
    seed = run("ddis", "--seed").stdout.splitlines()
    assert len(seed) == SEED_ROWS + 1
    judged = run("ddis").stdout.splitlines()
    everything = run("ddis", "--all").stdout.splitlines()
    assert len(seed) < len(judged) < len(everything)
    assert not any("listed only" in line for line in judged)
    assert judged[1:] == sorted(judged[1:], key=lambda line: line.split()[0])


def test_replacements_follow_the_target():
    def line(version):
        lines = run("ddis", "--target-os", version).stdout.splitlines()
        return next(line for line in lines if line.startswith("ExAllocatePoolWithTag "))

    assert "ExAllocatePool2" in line("11-24h2")
    assert "NonPagedPoolNx" in line("10-1607")


def test_explain():
    assert "MmMapIoSpaceEx" in run("explain", "mmmapiospace").stdout
    assert "NonPagedPool (0x0)" in run("explain", "0xC4", "0x2000", "1", "0", "0").stdout


def test_version_and_help():
    assert run("--version").stdout.startswith("hvci 0.")
    for args in ([], ["check"], ["rules"], ["ddis"], ["explain"]):
        result = run(*args, "--help")
        assert result.exit_code == 0
        assert "hvci " in result.stdout


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (CatalogError("ddis.toml: row X"), 70, "hvci: ddis.toml: row X"),
        (NotAnImage("x: no PE"), 4, "Give a driver"),
        (ZeroDivisionError("oops"), 70, "internal error: ZeroDivisionError: oops"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
    ],
)
def test_errors_become_one_line_and_an_exit_code(monkeypatch, error, code, says):
    def fail(*args):
        raise error

    monkeypatch.setattr("hvci.report.pages.explain", fail)
    result = run("explain", "x")
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.output


def hvci(*args, **extra):
    command = [sys.executable, "-m", "hvci", *map(str, args)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **extra)


def test_a_reader_that_goes_away_gets_no_traceback_and_no_verdict():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "hvci", "ddis", "--all"]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [("--help",), ("rules",), ("explain", "3111")])
def test_a_full_disk_is_no_fault_of_ours(words):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hvci", *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"hvci: cannot write: ")


@pytest.mark.parametrize("command", ["check", "scan"])
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--catalog", "not a catalog"),
        ("--blocklist", "the policy is cut off"),
        ("--compat-db", "not a shim database"),
    ],
)
def test_a_list_that_is_none_is_a_wrong_argument(tmp_path, command, option, says):
    """A scan read one that named nothing and said that no list names the driver."""
    (tmp_path / "t.txt").write_text("hi")
    (tmp_path / "folder").mkdir()
    where = ("-d", tmp_path / "a.db") if command == "scan" else ()
    for name in ("t.txt", "folder", "nowhere"):
        done = run(command, tmp_path / "a.sys", option, tmp_path / name, *where)
        assert (done.exit_code, name in done.stderr) == (2, True)
        assert name != "t.txt" or says in done.stderr


def test_numbers_of_scans_without_a_database_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("diff", "1", "2")
    assert (done.exit_code, "name the database: --database" in done.stderr) == (4, True)


@pytest.mark.parametrize("words", [("check",), ("checklist",), ("baseline", "write")])
def test_without_a_target_a_command_names_its_own_help(words):
    done = run(*words, "--no-config")
    assert (done.exit_code, f"{' '.join(words)} --help" in done.stderr) == (2, True)


def test_names_that_the_terminal_cannot_show(tmp_path):
    file = tmp_path / "saved.json"
    file.write_text(render(Document((report(path="Treiber 日\u202e"),)), Format.JSON))
    result = hvci("check", file, env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert result.returncode == 0
    assert result.stdout.startswith(b"Treiber \\u65e5\\u202e: loads and runs")


def test_module_entry_point_and_cold_imports(tmp_path):
    assert hvci("--version").stdout.startswith(b"hvci ")
    file = tmp_path / "saved.json"
    file.write_text(render(Document((source_report(),)), Format.JSON))
    code = (
        "import sys; from hvci.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'rich', 'iced_x86', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "check", str(file), "-f", "json"]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.stderr.strip() == b"[]"


@pytest.mark.parametrize(
    ("columns", "terminal", "width"), [("60", 80, 60), ("", 80, 80), ("x", 80, 80), ("", 0, 100)]
)
def test_the_page_is_as_wide_as_the_terminal(monkeypatch, columns, terminal, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((terminal, 24)))
    monkeypatch.setenv("COLUMNS", columns)
    assert page_width() == width


def test_a_pipe_has_no_width(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert page_width() is None


def test_what_is_no_driver_is_a_row_beside_others(drivers, monkeypatch):
    def evaluate(given, options):
        if "arm" in str(given):
            raise UnsupportedImage("an image for 32-bit ARM")
        return report(path="good")

    monkeypatch.setattr(gathering, "evaluate", evaluate)
    (drivers / "arm.sys").write_text("x")
    result = run("check", "arm.sys", "good.sys")
    assert result.exit_code == 0
    assert "not a driver for memory integrity: an image for 32-bit ARM" in result.stdout
    assert run("check", "arm.sys").exit_code == 4
    assert run("check", "arm.sys", "missing.sys", "good.sys").exit_code == 4
    (error,) = json.loads(run("check", "arm.sys", "good.sys", "-f", "json").stdout)["errors"]
    assert error["kind"] == "UnsupportedImage"


@pytest.mark.parametrize("form", Format)
def test_an_interrupted_run_reports_what_was_done(drivers, monkeypatch, form):
    def evaluate(given, options):
        if "doubt" in str(given):
            raise KeyboardInterrupt
        return report(pool_call(0x1000, 0), path=str(given))

    monkeypatch.setattr(gathering, "evaluate", evaluate)
    result = run("check", "bad.sys", "doubt.sys", "good.sys", "-f", form)
    assert result.exit_code == INTERRUPTED
    assert "interrupted after 1 of 3 targets" in result.stderr
    for name in ("bad.sys", "doubt.sys", "good.sys"):
        assert name.replace(".", "&#46;" if form is Format.MARKDOWN else ".") in result.stdout
    if form is Format.CONCISE:
        assert "doubt.sys: error: not evaluated: interrupted after 1 of 3" in result.stdout
    result = run("baseline", "write", "bad.sys", "doubt.sys")
    assert result.exit_code == INTERRUPTED
    assert not (drivers / "hvci-baseline.json").exists()


def test_quiet_and_verbose(drivers):
    assert run("check", "bad.sys", "-q").stdout.startswith("TARGET ")
    assert run("check", "bad.sys", "--quiet", "--verbose").exit_code == 2


def test_concise_is_one_line_a_finding(drivers):
    result = run("check", "bad.sys", "good.sys", "doubt.sys", "text.sys", "-f", "concise")
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("bad:0x1000: fail: ExAllocatePoolWithTag: PoolType is NonPagedPool")
    assert lines[0].endswith(
        "instead: ExAllocatePool2(POOL_FLAG_NON_PAGED, ...) [execute-pool-type]"
    )
    assert lines[1] == "text.sys: error: could not be read: no PE header"
    assert lines[2].startswith("read.c:12: undecided: ")
    assert "(doubt at 0x1000)" in lines[2]
    assert lines[3] == "good: loads and runs, passes the readiness test"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_refused(monkeypatch, name, value):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour()
    monkeypatch.setenv(name, value)
    assert not wants_colour()


@pytest.mark.parametrize("words", [(), *((name,) for name in sorted(main.list_commands(None)))])
def test_help_fits_80_columns(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    asked = (*words, "--help")
    shown = CliRunner().invoke(main, asked, terminal_width=80)
    assert shown.exit_code == 0
    assert all(len(line) <= 80 for line in shown.output.splitlines())
    if not words:
        assert "..." not in shown.output.partition("Commands:")[2]
