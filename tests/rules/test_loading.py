"""What no Windows of the target could load: said, and never "loads: yes"."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import build
from facts import READ, READ_EXECUTE, READ_WRITE, evidence, image, moved, results, section
from hvci.cli import main
from hvci.evaluate import Options, evaluate
from hvci.model import (
    NEWEST,
    Answer,
    Evidence,
    Machine,
    Origin,
    Outcome,
    Question,
    WindowsVersion,
    newest_for,
    parse_version,
)
from hvci.report.sentence import summary

EDITION, ACCESS = "no-edition-for-machine", "section-without-access"
X86 = image(machine=Machine.X86, is_pe32_plus=False)
ELEVEN = [version for version in WindowsVersion if version > WindowsVersion.WINDOWS_10_22H2]


@pytest.mark.parametrize("version", WindowsVersion)
def test_a_32_bit_image_needs_a_windows_that_has_a_32_bit_edition(version):
    outcome = results(evidence(image=X86, target_os=version))[EDITION].outcome
    assert outcome is (Outcome.FAIL if version in ELEVEN else Outcome.PASS)
    assert results(evidence(target_os=version))[EDITION].outcome is Outcome.PASS


def test_the_finding_names_the_last_windows():
    facts = evidence(image=X86, target_os=parse_version("11"))
    (finding,) = results(facts)[EDITION].findings
    assert "Windows 11 21H2 has no 32-bit edition" in finding.message
    assert "10-22h2" in finding.fix


@pytest.mark.parametrize("rights", [READ, READ_EXECUTE, READ_WRITE, 0x8000_0000, 0x2000_0000])
def test_a_section_with_any_right_is_fine(rights):
    sections = (*image().sections, section(".odd", 0x4000, rights))
    assert ACCESS not in moved(evidence(image=image(sections=sections)))


def test_a_section_without_a_right_is_undecided():
    sections = (*image().sections, section(".odd", 0x4000, 0x0200_0040))
    assert moved(evidence(image=image(sections=sections))) == {ACCESS: Outcome.UNDECIDED}


LAYOUT = "unusual-layout"
TEXT, CONSTANTS, DATA = (
    replace(each, raw_offset=0x400 + 0x800 * at, raw_size=0x800)
    for at, each in enumerate(image().sections)
)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (image(sections=(TEXT, DATA, CONSTANTS)), "not in ascending order"),
        (image(sections=(replace(TEXT, raw_size=0x600), CONSTANTS, DATA)), "not contiguous on"),
        (image(sections=(TEXT, replace(CONSTANTS, raw_offset=0x1200), DATA)), "not contiguous on"),
    ],
)
def test_a_layout_that_windows_has_a_name_for_is_a_note(changed, named):
    result = results(evidence(image=changed))[LAYOUT]
    assert result.outcome is Outcome.NOTE
    assert named in " ".join(one.message for one in result.findings)
    assert moved(evidence(image=changed)) == {LAYOUT: Outcome.NOTE}


@pytest.mark.parametrize(
    "usual",
    [
        image(),
        image(sections=()),
        image(iat=None, import_tables=()),
        image(sections=(TEXT, CONSTANTS, DATA)),
        image(sections=(TEXT, CONSTANTS, replace(DATA, raw_size=0, raw_offset=0))),
        image(
            sections=(
                TEXT,
                replace(CONSTANTS, raw_size=0, raw_offset=0),
                section(".d", 0x2000, READ),
            )
        ),
    ],
)
def test_a_usual_layout_is_silent(usual):
    assert LAYOUT not in moved(evidence(image=usual))


def test_sources_alone_are_not_asked():
    facts = Evidence(frozenset({Origin.SOURCE}))
    for rule in (EDITION, ACCESS):
        assert results(facts)[rule].outcome is Outcome.NOT_APPLICABLE


def test_without_a_target_each_machine_has_its_newest():
    assert evaluate(build.driver("x86")).target_os is WindowsVersion.WINDOWS_10_22H2
    assert evaluate(build.driver("x64")).target_os is NEWEST
    assert newest_for(None) is NEWEST
    eleven = evaluate(build.driver("x86"), Options(target_os=WindowsVersion.WINDOWS_11_24H2))
    assert eleven.answers[Question.LOADS] is Answer.NO
    assert summary(eleven).startswith("will not load")


@pytest.mark.parametrize(
    ("word", "loads"),
    [
        ("server-2016", Answer.NO),
        ("Windows Server 2019", Answer.NO),
        ("server-2022", Answer.NO),
        ("server-2008-r2", Answer.NO),
        ("server-2008", Answer.YES),
        ("10-1607", Answer.YES),
        ("11", Answer.NO),
    ],
)
def test_windows_server_has_no_32_bit_edition(word, loads, tmp_path, monkeypatch):
    (tmp_path / "d.sys").write_bytes(build.driver("x86"))
    (tmp_path / "a64.sys").write_bytes(build.driver("x64"))
    (tmp_path / "hvci.toml").write_text(f'target_os = ["11-24h2", "{word}"]\n')
    monkeypatch.chdir(tmp_path)
    for words in (["--target-os", word, "--no-config"], []):
        said = CliRunner().invoke(main, ["check", ".", "-f", "json", *words]).stdout
        wide, narrow = json.loads(said)["reports"]
        assert narrow["answers"]["image_check"] == loads
        assert narrow["answers"]["loads"] != "yes"
        assert wide["answers"]["image_check"] == "yes"
