"""Lists in every output: which rule named the driver, and that no verdict moves."""

import csv
import io
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import signed as make
from build import driver
from databases import database as make_database
from databases import driver_entry
from hvci.catalog.reader import data_text
from hvci.cli import main
from hvci.evaluate import Options, evaluate
from hvci.lists import load_block_list
from hvci.model import Answer, Match
from hvci.report import Document, Format, from_json, render
from policies import File, Policy, Signer, to_binary, to_xml
from reports import HOSTILE

IMAGE = driver()
NAMES_IT = Policy((File("ID_DENY_A", hash=make.authentihash(IMAGE).hex()),))
SCHEMA = Draft202012Validator(json.loads(data_text("report.schema.json")))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.sys").write_bytes(IMAGE)
    (tmp_path / "yes.xml").write_bytes(to_xml(NAMES_IT))
    (tmp_path / "no.p7b").write_bytes(to_binary(Policy((File("ID_DENY_B", hash="00" * 32),))))
    (tmp_path / "lol.json").write_bytes(b'[{"KnownVulnerableSamples": [{"MD5": "%032d"}]}]' % 0)
    return tmp_path


def check(*words):
    return CliRunner().invoke(main, ["check", "a.sys", "--no-config", *words])


def report(*paths):
    return evaluate("a.sys", Options(lists=tuple(map(load_block_list, paths))))


def test_the_answer_is_asked_only_with_a_list(folder):
    assert report().blocklisted is None
    assert report("no.p7b", "lol.json").blocklisted is Answer.NO
    assert report("no.p7b", "yes.xml").blocklisted is Answer.YES


def test_a_list_moves_no_verdict_and_no_exit_code(folder):
    assert (check().exit_code, check("--blocklist", "yes.xml").exit_code) == (0, 0)
    assert report("yes.xml").verdict is report().verdict


def test_the_text_names_the_rule(folder):
    text = " ".join(check("--blocklist", "yes.xml", "--blocklist", "lol.json").stdout.split())
    assert "blocklisted yes A given block list names this driver" in text
    assert "block list names it: Our policy 10.0.1.2 (yes.xml, 2 entries); ID_DENY_A" in text
    assert '"about ID_DENY_A": Authenticode SHA-256.' in text
    assert "block list does not name it: LOLDrivers (lol.json, 1 entries)." in text


def test_a_doubt_shows(folder):
    attribute = File("F", "FileAttrib", names={"FileName": "*"})
    signer = Signer("S", "ab" * 20, attributes=("F",))
    policy = Policy((attribute,), (signer,), ("S",))
    (folder / "doubt.xml").write_bytes(to_xml(policy))
    text = " ".join(check("--blocklist", "doubt.xml").stdout.split())
    assert "blocklisted undecided" in text
    assert "block list undecided: Our policy" in text
    assert "give the catalog that signs it (--catalog)" in text


def test_json_and_back(folder):
    document = json.loads(check("--blocklist", "yes.xml", "-f", "json").stdout)
    SCHEMA.validate(document)
    (one,) = document["reports"]
    assert one["answers"]["blocklisted"] == "yes"
    (answer,) = one["lists"]
    assert (answer["kind"], answer["source"]) == ("app-control-policy", "yes.xml")
    assert answer["matches"][0]["rule"] == "ID_DENY_A"
    again = from_json(json.dumps(document)).reports[0]
    assert (again.blocklisted, again.lists[0].matches[0].why) == (
        Answer.YES,
        "Authenticode SHA-256",
    )


def test_sarif_csv_html_and_markdown(folder):
    given = ("--blocklist", "yes.xml")
    (run,) = json.loads(check(*given, "-f", "sarif").stdout)["runs"]
    properties = run["artifacts"][0]["properties"]
    assert (properties["blocklisted"], properties["listed"]) == ("yes", "ID_DENY_A")
    (row,) = csv.DictReader(io.StringIO(check(*given, "-f", "csv").stdout))
    assert (row["blocklisted"], row["listed"]) == ("yes", "ID_DENY_A")
    assert "ID_DENY_A" in check(*given, "-f", "html").stdout
    assert "| block list | names it |" in check(*given, "-f", "markdown").stdout


@pytest.mark.parametrize("form", [Format.TEXT, Format.MARKDOWN, Format.HTML, Format.CSV])
def test_names_in_a_list_are_shown_harmless(folder, form):
    one = report("yes.xml")
    many = tuple(Match(HOSTILE, HOSTILE, HOSTILE) for _ in range(5))
    answer = one.lists[0]._replace(matches=many, title=HOSTILE, note=HOSTILE, source=HOSTILE)
    text = render(Document((replace(one, lists=(answer,)),)), form)
    assert not set("\x1b\x07\r\u202e\x9b\x00") & set(text)
    if form is Format.TEXT:
        assert "and 2 more" in " ".join(text.split())


def test_a_compatibility_database_shows_apart(folder):
    (folder / "drv.sdb").write_bytes(make_database(driver_entry("a.sys", policy=0x10)))
    result = check("--compat-db", "drv.sdb")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "compatibility db names it: driver compatibility database (drv.sdb, 1 entries)" in text
    assert "name a.sys: refused when memory integrity runs (policy 0x10)" in text
    assert "blocklisted" not in text
    one = json.loads(check("--compat-db", "drv.sdb", "-f", "json").stdout)["reports"][0]
    assert (one["answers"]["blocklisted"], one["lists"][0]["kind"]) == (
        None,
        "compatibility-database",
    )
    assert check("--compat-db", "a.sys").exit_code == 2


def test_a_policy_names_lists_and_catalogs(folder):
    (folder / "drv.sdb").write_bytes(make_database(driver_entry("a.sys", policy=0x10)))
    (folder / "a.cat").write_bytes(make.catalog([make.authentihash(IMAGE)], make.vendor()))
    (folder / "hvci.toml").write_text(
        'blocklists = ["yes.xml"]\ncompat_db = ["drv.sdb"]\ncatalogs = ["a.cat"]\n'
    )
    words = ["check", "a.sys", "-f", "json", "--blocklist", "no.p7b"]
    one = json.loads(CliRunner().invoke(main, words).stdout)["reports"][0]
    assert [each["source"] for each in one["lists"]] == ["no.p7b", "yes.xml", "drv.sdb"]
    assert (one["answers"]["blocklisted"], one["answers"]["signed"]) == ("yes", "other")


def test_the_checklist_takes_them_too(folder):
    (folder / "a.cat").write_bytes(make.catalog([make.authentihash(IMAGE)], make.cross_signed()))
    words = ["checklist", "a.sys", "--no-config", "--format", "json"]
    before = CliRunner().invoke(main, words)
    after = CliRunner().invoke(main, [*words, "--catalog", "a.cat"])
    assert before.stdout != after.stdout
    assert "signed by its vendor" in after.stdout


def test_a_bad_list_is_named(folder):
    result = check("--blocklist", "a.sys")
    assert result.exit_code == 2
    assert "a.sys: the policy" in result.stderr
