"""The sentence of a report: every combination of answers gives one, and all were read.

`python tests/report/test_sentence.py` writes `sentences.txt` anew: read the difference.
"""

import csv
import io
import json
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from hvci.catalog import ddis, libraries
from hvci.cli import main
from hvci.model import (
    Answer,
    Confidence,
    Finding,
    ImageSite,
    Machine,
    Origin,
    Outcome,
    Question,
    Report,
    RuleResult,
    Rva,
    Target,
    WindowsVersion,
)
from hvci.policy import apply, parse_policy
from hvci.report import Document, Format, from_json, render
from hvci.report.sentence import NOTHING_ASKED, Fate, sentence, summary
from hvci.report.warnings import WARNINGS
from hvci.report.words import answer_word
from hvci.rules import RULES
from reports import (
    everything,
    image,
    pool_call,
    report,
    section,
    source_report,
    unknown_call,
)

TABLE = Path(__file__).with_name("sentences.txt")
ANSWERS = (Answer.YES, Answer.NO, Answer.UNDECIDED, None)
OUTCOMES = {
    Answer.YES: Outcome.PASS,
    Answer.NO: Outcome.FAIL,
    Answer.UNDECIDED: Outcome.UNDECIDED,
    None: Outcome.NOT_APPLICABLE,
}
FAILS = Finding(Outcome.FAIL, "bad", ImageSite(Rva(1)), Origin.IMAGE)


def rows():
    """Every combination of answers, for signed and unsigned images and for sources."""
    yield "loads     runs      readiness | sentence"
    for kind in ("image", "unsigned image", "sources"):
        yield f"{kind}:"
        for loads, runs, readiness in product(ANSWERS, repeat=3):
            fate = Fate(loads, readiness, runs, 3, kind == "sources", kind.startswith("unsigned"))
            answers = "".join(f"{answer or 'not asked':<10}" for answer in (loads, runs, readiness))
            yield f"{answers}| {sentence(fate)}"


def test_every_combination_has_the_sentence_that_was_read():
    assert TABLE.read_text("utf-8").splitlines() == list(rows())


@pytest.mark.parametrize("fate", [Fate(*answers) for answers in product(ANSWERS, repeat=3)])
def test_what_a_sentence_never_says(fate):
    for is_source in (False, True):
        said = sentence(replace(fate, is_source=is_source, places=2))
        good = (fate.loads, fate.readiness, fate.runs) == (Answer.YES,) * 3
        assert (said == "loads and runs, passes the readiness test") == (good and not is_source)
        if fate.loads is Answer.NO:
            assert "will not load" in said
        elif fate.runs is Answer.NO:
            assert "breaks when it runs" in said
        if Answer.UNDECIDED in (fate.loads, fate.readiness, fate.runs):
            assert "undecided" in said or " may " in said or "will not load" in said
    unsigned = sentence(replace(fate, if_signed=True))
    assert unsigned.startswith(("if signed: ", "will not load", NOTHING_ASKED))


def made(machine, target_os, answers, signed=True, kind="image"):
    """A report with these answers and nothing else."""
    results = tuple(
        RuleResult(
            f"rule-{question}",
            OUTCOMES[answer],
            (FAILS,) if answer is Answer.NO else (),
            questions=frozenset({question}),
        )
        for question, answer in zip(Question, answers, strict=True)
    )
    shown = None if kind == "source" else image(machine=machine, signed=signed)
    target = Target("d.sys", "", 1, kind, machine if shown else None)
    return Report(target, target_os, results, image=shown)


POLICIES = (
    {},
    {"profile": "strict"},
    {"profile": "load-only"},
    {"undecided": "pass"},
    {"suppress": [{"rule": rule, "reason": "x"} for rule in ("execute-pool-type", "nx-opt-in")]},
)


def test_no_machine_no_target_and_no_policy_changes_a_sentence():
    for machine, target_os in product((Machine.X64, Machine.X86, Machine.ARM64), WindowsVersion):
        for answers in product(ANSWERS, repeat=3):
            one = made(machine, target_os, answers)
            expected = sentence(Fate(*answers, 1))
            assert summary(one) == expected
    for table, one in product(POLICIES, (report(pool_call(0x1000, 0)), everything())):
        (after,) = apply(Document((one,)), parse_policy(table, "p"), date(2030, 1, 1)).reports
        assert summary(after) == summary(one)
        assert after.answers == one.answers


def test_the_number_of_places_is_that_of_the_counters():
    assert summary(everything()).endswith(f"({sum(everything().counters.values())} places)")
    assert summary(report(pool_call(0x1000, 0))).endswith("(1 place)")
    assert "(1 place)" in summary(made(Machine.X64, 26100, (Answer.YES, Answer.NO, Answer.YES)))


def test_what_is_only_inferred_says_so():
    bad = (Answer.NO, Answer.YES, Answer.YES)
    sure = made(Machine.X64, WindowsVersion.WINDOWS_11_24H2, bad)
    assert summary(sure) == "will not load"
    result = sure.results[0]
    inferred = replace(FAILS, confidence=Confidence.INFERRED)
    one = replace(sure, results=(replace(result, findings=(inferred,)), *sure.results[1:]))
    assert summary(one) == "will not load (inferred)"
    both = replace(result, findings=(inferred, FAILS))
    assert summary(replace(sure, results=(both, *sure.results[1:]))) == "will not load"


def test_an_unsigned_file_never_simply_loads():
    unsigned = report(image=image(signed=False))
    assert summary(unsigned) == "if signed: loads and runs, passes the readiness test"
    assert answer_word(unsigned, Question.LOADS) == "if signed"
    assert answer_word(unsigned, Question.READINESS) == "yes"
    for form in (Format.TEXT, Format.HTML, Format.MARKDOWN):
        text = " ".join(render(Document((unsigned,)), form).split())
        assert "if signed" in text
        assert "loads yes" not in text.replace("| ", "")


def machine_words(one):
    """The answers of a report as JSON, SARIF and CSV tell them."""
    (fields,) = json.loads(render(Document((one,)), Format.JSON))["reports"]
    (run,) = json.loads(render(Document((one,)), Format.SARIF))["runs"]
    (row, *_) = csv.DictReader(io.StringIO(render(Document((one,)), Format.CSV)))
    sarif = run["artifacts"][0]["properties"]["answers"]
    assert {name: fields["answers"][name] for name in sarif} == sarif
    assert {name: row[name] or None for name in sarif} == sarif
    return sarif


def test_no_program_reads_that_an_unsigned_file_loads():
    signed = machine_words(report(image=image(signed=True)))
    assert (signed["loads"], signed["image_check"]) == ("yes", "yes")
    told = machine_words(report(image=image(signed=False)))
    assert (told["loads"], told["image_check"]) == ("undecided", "yes")
    assert told["readiness"] == told["runs"] == "yes"
    bad = section(".wx", 0x1000, 0xE000_0000)
    refused = machine_words(report(image=image(signed=False, sections=(bad,))))
    assert (refused["loads"], refused["image_check"]) == ("no", "no")
    sources = machine_words(source_report())
    assert (sources["loads"], sources["image_check"]) == ("yes", None)


def test_a_missing_signature_changes_no_verdict():
    unsigned = report(image=image(signed=False))
    (fields,) = json.loads(render(Document((unsigned,)), Format.JSON))["reports"]
    assert (fields["verdict"], fields["gate"]) == ("compatible", "pass")
    saved = render(Document((unsigned,)), Format.JSON)
    assert render(from_json(saved), Format.JSON) == saved


def test_json_keeps_the_verdict_and_carries_the_sentence():
    for one in (report(), everything(), source_report(), report(unknown_call(0x1000))):
        (fields,) = json.loads(render(Document((one,)), Format.JSON))["reports"]
        assert fields["verdict"] in ("compatible", "incompatible", "undecided")
        assert fields["summary"] == summary(one)
        for form in (Format.TEXT, Format.SARIF):
            assert summary(one) in render(Document((one,)), form)


def test_nothing_says_that_windows_accepts_a_driver():
    some = [report(), everything(), source_report(), report(image=image(signed=False))]
    said = [render(Document(tuple(some)), form) for form in Format]
    runner = CliRunner()
    commands = [[name] for name in main.list_commands(None)]
    commands += [["baseline", "write"], ["baseline", "check"]]
    said += [runner.invoke(main, [*words, "--help"]).output for words in ([], *commands)]
    said += [runner.invoke(main, words).output for words in (["rules"], ["ddis", "--all"])]
    pages = (*RULES, *ddis(), *WARNINGS, *libraries(), "0xC4", "0xBE", "0xFC")
    said += [runner.invoke(main, ["explain", word]).output for word in pages]
    assert not [text for text in said if "accepts" in text]


if __name__ == "__main__":
    TABLE.write_text("\n".join(rows()) + "\n", "utf-8")


def test_a_tree_of_programs_for_user_mode_is_not_praised_as_a_driver():
    fate = Fate(*(Answer.YES,) * 3, is_source=True, is_user_only=True)
    assert sentence(fate).startswith("builds no kernel driver")
