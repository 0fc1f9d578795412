"""The commands that know a policy, a baseline or two versions."""

import json
import warnings
import zipfile

import pytest
from click.testing import CliRunner

from build import driver
from hvci.cli import gather as gathering
from hvci.cli import main
from hvci.errors import NotAnImage
from hvci.report import Document, Format, render
from reports import map_call, pool_call, report, unknown_call


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def here(tmp_path, monkeypatch):
    answers = {
        "good": (),
        "bad": (pool_call(0x1000, 0),),
        "moved": (pool_call(0x2000, 0),),
        "worse": (pool_call(0x2000, 0), pool_call(0x2100, 4, function="More")),
        "doubt": (unknown_call(0x1000),),
        "noted": (map_call(0x1000),),
    }
    seen = []

    def evaluate(given, options):
        seen.append(options)
        text = (tmp_path / given).read_text()
        if text not in answers:
            raise NotAnImage("no PE header")
        return report(*answers[text], path=str(given))

    monkeypatch.setattr(gathering, "evaluate", evaluate)
    monkeypatch.chdir(tmp_path)
    for word in (*answers, "text"):
        (tmp_path / f"{word}.sys").write_text(word)
    evaluate.seen = seen
    return tmp_path


def test_the_nearest_policy_file_holds(here):
    (here / "hvci.toml").write_text('undecided = "pass"\ntarget_os = ["10-1607"]\n')
    assert run("check", "doubt.sys").exit_code == 0
    assert gathering.evaluate.seen[-1].target_os == 14393
    assert run("check", "doubt.sys", "--no-config").exit_code == 3
    assert run("check", "doubt.sys", "--undecided", "fail").exit_code == 1
    (here / "other.toml").write_text('profile = "strict"\n')
    assert run("check", "noted.sys", "--config", "other.toml").exit_code == 1
    assert run("check", "noted.sys", "--profile", "strict").exit_code == 1
    assert run("check", "noted.sys", "--config", "missing.toml").exit_code == 2


def test_paths_and_exclusions_come_from_the_policy(here):
    (here / "hvci.toml").write_text('paths = ["*d.sys"]\nexclude = ["bad.*"]\n')
    document = json.loads(run("check", "-f", "json").stdout)
    assert [one["target"]["path"] for one in document["reports"]] == [
        "good.sys",
        "moved.sys",
        "noted.sys",
    ]
    assert run("check", "--no-config").exit_code == 2


def test_what_is_excluded_is_told_however_it_is_named(here):
    (here / "hvci.toml").write_text('exclude = ["*/bad*"]\n')
    for word in (".", str(here), "*.sys", str(here / "*.sys")):
        document = json.loads(run("check", word, "-f", "json").stdout)
        names = [one["target"]["path"].rpartition("/")[2] for one in document["reports"]]
        assert names
        assert "bad.sys" not in names
        (told,) = (one for one in document["notices"] if "`exclude` leaves 1 target" in one)
        assert told.endswith("bad.sys")


def test_a_policy_that_leaves_everything_out_passes_nothing(here):
    (here / "hvci.toml").write_text('exclude = ["*.sys"]\n')
    for more in ((), ("--isolate",)):
        result = run("check", ".", *more)
        assert result.exit_code == 4
        assert "nothing was evaluated: `exclude` of the policy" in result.stdout


def test_a_saved_report_of_no_driver_passes_nothing(here):
    whole = json.loads(run("check", "good.sys", "-f", "json").stdout)
    (here / "none.json").write_text(json.dumps({**whole, "reports": []}))
    result = run("check", "none.json")
    assert (result.exit_code, "a saved report of no driver" in result.stdout) == (4, True)


def test_suppressions_need_reasons_and_change_the_exit_code(here):
    (here / "hvci.toml").write_text('[[suppress]]\nrule = "execute-pool-type"\n')
    assert run("check", "bad.sys").exit_code == 2
    (here / "hvci.toml").write_text('[[suppress]]\nrule = "execute-pool-type"\nreason = "x"\n')
    assert run("check", "bad.sys").exit_code == 0
    result = run("check", "good.sys")
    assert "matches nothing" in result.stdout


def test_what_a_saved_report_says_besides_is_said_once(here):
    (here / "hvci.toml").write_text('[[suppress]]\nrule = "execute-pool-type"\nreason = "x"\n')
    run("check", "good.sys", "-f", "json", "-o", "saved.json")
    (text,) = json.loads((here / "saved.json").read_text())["notices"]
    whole = json.loads((here / "saved.json").read_text()) | {"notices": [text, "hive not read"]}
    (here / "saved.json").write_text(json.dumps(whole))
    again = json.loads(run("check", "saved.json", "-f", "json").stdout)
    assert again["notices"] == [text, "hive not read"]


def test_no_baseline_is_written_where_nothing_was_evaluated(here, tmp_path):
    (tmp_path / "kept.json").write_text("kept")
    (tmp_path / "empty").mkdir()
    for word in ("empty", "gone.sys"):
        done = run(
            "baseline", "write", str(tmp_path / word), "--baseline", str(tmp_path / "kept.json")
        )
        assert done.exit_code == 4
        assert "nothing was evaluated" in done.stderr
    assert (tmp_path / "kept.json").read_text() == "kept"


def test_baseline_write_and_check(here):
    assert run("baseline", "write", "bad.sys").exit_code == 0
    (here / "bad.sys").write_text("moved")
    assert run("baseline", "check", "bad.sys").exit_code == 0
    assert run("check", "bad.sys", "--baseline", "hvci-baseline.json").exit_code == 0
    (here / "hvci.toml").write_text('baseline = "hvci-baseline.json"\n')
    assert run("check", "bad.sys").exit_code == 0
    (here / "bad.sys").write_text("worse")
    result = run("baseline", "check", "bad.sys")
    assert result.exit_code == 1
    assert "More" in result.stdout


def test_a_baseline_tells_members_of_one_name_apart(here):
    """What one of them does was accepted of the other as well."""

    def pack(*members):
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile("x.zip", "w") as archive:
            for data in members:
                archive.writestr("a.sys", data)

    pack(driver(), driver(pool_type=0))
    assert run("baseline", "write", "x.zip").stdout.endswith(
        "2 targets, 1 finding, 0 rules undecided\n"
    )
    assert run("baseline", "check", "x.zip").exit_code == 0
    pack(driver(pool_type=0), driver(pool_type=0))
    assert run("baseline", "check", "x.zip").exit_code == 1


def test_baseline_problems(here):
    assert run("baseline", "check", "bad.sys").exit_code == 2
    assert run("baseline", "write", "bad.sys", "--baseline", "no/such/x.json").exit_code == 2
    result = run("baseline", "write", "text.sys", "bad.sys")
    assert result.exit_code == 4
    assert "text.sys: no PE header" in result.stderr
    assert (here / "hvci-baseline.json").exists()
    (here / "odd.json").write_bytes(b"\xff")
    assert run("check", "bad.sys", "--baseline", "odd.json").exit_code == 2
    assert run("baseline").exit_code in (0, 2)


def test_select_and_ignore_change_what_counts_and_no_fact(here):
    plain = json.loads(run("check", "bad.sys", "-f", "json").stdout)["reports"][0]
    for options, code in (
        (["--ignore", "execute-pool-type"], 0),
        (["--ignore", "hvci2000"], 0),
        (["--ignore", "nx-opt-in,section-alignment"], 1),
        (["--select", "execute-pool-type"], 1),
        (["--select", "section-alignment, HVCI2001"], 0),
        (["--select", "wrong-pool-enum"], 0),
        (["--select", "execute-pool-type", "--ignore", "execute-pool-type"], 0),
    ):
        assert run("check", "bad.sys", *options).exit_code == code
        (one,) = json.loads(run("check", "bad.sys", *options, "-f", "json").stdout)["reports"]
        for name in ("verdict", "answers", "counters", "summary"):
            assert one[name] == plain[name]
        assert one["gate"] == ("fail" if code else "pass")
    assert run("check", "doubt.sys", "--select", "section-alignment").exit_code == 0
    assert run("check", "doubt.sys", "--select", "execute-pool-type").exit_code == 3
    assert run("baseline", "write", "good.sys").exit_code == 0
    assert run("baseline", "check", "bad.sys", "--ignore", "execute-pool-type").exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("bad.sys",), "\n"),
        (("bad.sys", "--ignore", "execute-pool-type"), "; 1 finding left out, gate: pass\n"),
        (("bad.sys", "--select", "execute-pool-type"), "\n"),
        (("doubt.sys", "--undecided", "pass"), "; gate: pass\n"),
    ],
)
def test_what_is_left_out_is_not_called_accepted(here, words, told):
    about = run("check", *words).stdout.splitlines(keepends=True)[1]
    assert about.partition("Windows 11 26H1")[2] == told


@pytest.mark.parametrize("form", ["text", "concise", "html", "markdown", "msvs", "github"])
def test_people_do_not_see_what_is_left_out(here, form):
    found = "ExAllocatePoolWithTag"
    for name in ("bad.sys", "doubt.sys"):
        assert found in run("check", name, "-f", form).stdout
        assert found not in run("check", name, "-f", form, "--ignore", "execute-pool-type").stdout
        both = run("check", name, "good.sys", "-f", form, "--ignore", "execute-pool-type")
        assert found not in both.stdout


def test_left_out_rules_are_skipped_in_junit(here):
    xml = run("check", "bad.sys", "-f", "junit", "--ignore", "execute-pool-type").stdout
    assert "<failure" not in xml
    assert 'message="left out on the command line"' in xml


def test_unknown_rules_are_refused(here):
    result = run("check", "bad.sys", "--ignore", "execute-pool-types")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean execute-pool-type" in result.stderr
    assert "see hvci rules" in run("check", "bad.sys", "--select", "zzz").stderr


def test_an_interrupt_is_no_success_even_with_exit_zero(here, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gathering, "evaluate", stop)
    assert run("check", "bad.sys", "--exit-zero").exit_code == 130


def test_diff(here):
    assert run("diff", "bad.sys", "moved.sys").exit_code == 0
    result = run("diff", "bad.sys", "worse.sys")
    assert result.exit_code == 1
    assert "new: 1" in result.stdout
    assert "moved: 1" in result.stdout
    assert run("diff", "worse.sys", "good.sys").exit_code == 0
    result = run("diff", "bad.sys", "text.sys")
    assert result.exit_code == 4
    assert "text.sys: no PE header" in result.stderr


def test_report_shows_saved_reports(here):
    run("check", "bad.sys", "-f", "json", "-o", "a.json")
    run("check", "good.sys", "-f", "json", "-o", "b.json")
    for form in Format:
        live = run("check", "bad.sys", "-f", form)
        assert run("report", "a.json", "-f", form).stdout == live.stdout
    both = run("report", "a.json", "b.json")
    assert both.exit_code == 1
    assert "1 fails the readiness test; 1 loads and runs" in both.stdout
    result = run("report", "bad.sys")
    assert result.exit_code == 4
    assert "bad.sys: this is not a saved hvci report" in result.stderr


def test_diff_of_saved_reports(here):
    for name, calls in (("old", ()), ("new", (pool_call(0x1000, 0),))):
        document = Document((report(*calls),))
        (here / f"{name}.json").write_text(render(document, Format.JSON))
    assert run("diff", "old.json", "new.json").exit_code == 1
