"""Linker settings of a project, seen without the image that they make."""

import pytest

from facts import CALLS, results
from hvci.model import BuildSetting, Evidence, Origin, Outcome, SourceSite

FAIL, NOTE, PASS, UNDECIDED = Outcome.FAIL, Outcome.NOTE, Outcome.PASS, Outcome.UNDECIDED
WRITE, IMPORTS, ALIGNMENT = (
    "execute-write-section",
    "iat-in-executable-section",
    "section-alignment",
)


def setting(name, value, line=1, configuration=""):
    return BuildSetting(name, value, SourceSite("x.vcxproj", line), configuration)


def judged(*settings):
    facts = Evidence(frozenset({Origin.SOURCE}), calls=CALLS, settings=settings)
    return results(facts)


def outcomes(*settings):
    rules = (WRITE, IMPORTS, ALIGNMENT)
    return {rule: judged(*settings)[rule].outcome for rule in rules}


SILENT = {WRITE: PASS, IMPORTS: PASS, ALIGNMENT: PASS}


@pytest.mark.parametrize(
    "value",
    [
        ("/SECTION", ".hook,ER"),
        ("/SECTION", ".hook,RW"),
        ("/SECTION", ".hook,E!W"),
        ("/SECTION", ".hook"),
        ("/MERGE", ".rdata=.data"),
        ("/MERGE", ".CRT=.rdata"),
        ("/MERGE", ".text2=.text"),
        ("/MERGE", "PAGEDATA=.data"),
        ("/MERGE", "pageconst=.data"),
        ("/ALIGN", "0x1000"),
        ("/ALIGN", "8192"),
        ("/ALIGN", "$(Alignment)"),
        ("/SUBSYSTEM", "NATIVE"),
        ("data_seg", ".mine"),
        ("code_seg", "PAGE"),
    ],
    ids=str,
)
def test_silence(value):
    assert outcomes(setting(*value)) == SILENT


@pytest.mark.parametrize(
    ("value", "rule", "outcome"),
    [
        (("/SECTION", ".hook,ERW"), WRITE, FAIL),
        (("/SECTION", '".hook,rwe"'), WRITE, FAIL),
        (("/SECTION", "INIT,ERW"), WRITE, NOTE),
        (("/SECTION", "init,ERWD"), WRITE, NOTE),
        (("/MERGE", ".data=.text"), WRITE, FAIL),
        (("/MERGE", "PAGE=.data"), WRITE, FAIL),
        (("/MERGE", "PAGELK=.bss"), WRITE, FAIL),
        (("/MERGE", ".rdata=.text"), IMPORTS, FAIL),
        (("/MERGE", ".idata=INIT"), IMPORTS, FAIL),
        (("/ALIGN", "0x80"), ALIGNMENT, FAIL),
        (("/ALIGN", "512"), ALIGNMENT, FAIL),
        (("--omagic", ""), WRITE, FAIL),
        (("data_seg", ".text"), WRITE, UNDECIDED),
        (("data_seg", "PAGE"), WRITE, UNDECIDED),
        (("code_seg", ".data"), WRITE, UNDECIDED),
        (("code_seg", ".rdata"), IMPORTS, UNDECIDED),
    ],
    ids=str,
)
def test_one_setting_moves_one_rule(value, rule, outcome):
    assert outcomes(setting(*value)) == {**SILENT, rule: outcome}
    (finding,) = judged(setting(*value))[rule].findings
    assert finding.origin is Origin.SOURCE
    assert finding.site == SourceSite("x.vcxproj", 1)
    assert all(part in finding.message for part in value)
    assert bool(finding.fix) == (outcome is not NOTE)


def test_a_merge_whose_section_is_narrowed_again_is_silent():
    merge = setting("/MERGE", ".data=.text", configuration="Release|x64")
    narrowed = setting("/SECTION", ".text,ER", 2, "Release|x64")
    assert outcomes(merge, narrowed) == SILENT
    elsewhere = setting("/SECTION", ".text,ER", 2, "Debug|x64")
    assert outcomes(merge, elsewhere)[WRITE] is FAIL
    wide = setting("/SECTION", ".text,ERW", 2, "Release|x64")
    assert outcomes(merge, wide)[WRITE] is FAIL
    other = setting("/SECTION", ".other,ER", 2, "Release|x64")
    assert outcomes(merge, other)[WRITE] is FAIL


def test_a_merge_goes_on_where_its_section_is_merged_itself():
    first, second = setting("/MERGE", ".data=.mine"), setting("/MERGE", ".mine=.text", 2)
    assert outcomes(first) == SILENT
    assert outcomes(second) == SILENT
    assert outcomes(first, second)[WRITE] is FAIL
    imports = setting("/MERGE", ".idata=.mine")
    assert outcomes(imports, second)[IMPORTS] is FAIL
    elsewhere = setting("/MERGE", ".mine=.text", 2, "Debug|x64")
    assert outcomes(first, elsewhere)[WRITE] is PASS


def test_a_section_that_gets_code_and_data_is_undecided():
    both = setting("code_seg", ".mine"), setting("data_seg", ".mine", 2)
    assert outcomes(*both)[WRITE] is UNDECIDED
    assert outcomes(both[0]) == outcomes(both[1]) == SILENT
    merged = setting("/MERGE", ".mine=.text", 3)
    assert outcomes(both[1], merged)[WRITE] is FAIL


def test_the_same_setting_of_two_configurations_is_told_once():
    found = judged(
        setting("/ALIGN", "0x80", configuration="Debug|x64"),
        setting("/ALIGN", "0x80", configuration="Release|x64"),
        setting("/ALIGN", "0x80", line=2, configuration="Release|x64"),
    )[ALIGNMENT].findings
    assert [finding.site.line for finding in found] == [1, 2]
    assert "in Debug|x64" in found[0].message
