"""SARIF: valid by the official schema, within GitHub's limits, stable when code moves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft4Validator

from hvci.errors import InputError
from hvci.evaluate import evaluate
from hvci.model import Edit, Finding, ImageSite, Level, Limit, Origin, Outcome, RuleResult, Rva
from hvci.report import Document, Format, TargetError, render, sarif
from hvci.report.identity import named_findings, short_name
from hvci.report.sarif import uri
from hvci.report.text import Style
from hvci.rules import RULES
from reports import (
    everything,
    hostile_report,
    pool_call,
    report,
    reports,
    source_call,
    source_report,
    suppressed,
    unknown_call,
)

SCHEMA = json.loads((Path(__file__).parent.parent / "data/sarif-2.1.0.schema.json").read_text())
VALIDATOR = Draft4Validator(SCHEMA)
ERROR = TargetError.of("gone.sys", InputError("gone.sys: nothing there"))
MIXED = Document((everything(), source_report(source_call(3, 0)), report()), (ERROR,))


def run(document, form=Format.SARIF):
    log = json.loads(render(document, form))
    VALIDATOR.validate(log)
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    return one


def of(document, rule, form=Format.SARIF):
    return [result for result in run(document, form)["results"] if result["ruleId"] == rule]


@pytest.mark.parametrize("form", [Format.SARIF, Format.CODE_SCANNING])
@pytest.mark.parametrize(
    "document",
    [
        Document(),
        Document((everything(),)),
        Document((source_report(source_call(3, 0)),)),
        Document((suppressed(everything()),)),
        Document((hostile_report(),), (TargetError.of("\x1b]", InputError("x")),)),
        MIXED,
    ],
)
def test_valid_by_the_official_schema(document, form):
    run(document, form)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(reports)
def test_any_report_is_valid(one):
    run(Document((one,)))
    run(Document((one,)), Format.CODE_SCANNING)


def test_every_outcome_has_its_kind():
    one = everything()
    kinds = {(result["ruleId"], result["kind"]) for result in run(Document((one,)))["results"]}
    assert ("execute-pool-type", "fail") in kinds
    assert ("execute-pool-type", "open") in kinds
    assert ("executable-by-default", "informational") in kinds
    assert ("section-alignment", "pass") in kinds
    source = {(r["ruleId"], r["kind"]) for r in run(MIXED)["results"]}
    assert ("section-alignment", "pass") in source
    x86 = replace(one, results=(RuleResult("x", Outcome.NOT_APPLICABLE, reason="32 bit"),))
    (result,) = run(Document((x86,)))["results"]
    assert (result["kind"], result["message"]["text"]) == (
        "notApplicable",
        "not applicable: 32 bit",
    )


def test_only_failures_have_a_level():
    for result in run(MIXED)["results"]:
        assert (result["level"] == "none") == (result["kind"] != "fail")


def test_image_places_are_addresses_with_logical_locations():
    (result,) = of(Document((report(pool_call(0x1234, 0)),)), "execute-pool-type")
    (location,) = result["locations"]
    physical = location["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": "driver.sys", "index": 0}
    assert physical["address"]["relativeAddress"] == 0x1234
    assert physical["address"]["absoluteAddress"] == 0x1_4000_1234
    assert physical["region"]["byteOffset"] == 0x1234
    (logical,) = location["logicalLocations"]
    assert logical["fullyQualifiedName"] == "driver.sys!DriverEntry"
    assert "Instead: ExAllocatePool2" in result["message"]["text"]


def test_places_outside_the_file_have_no_offset():
    outside = replace(pool_call(0x9000, 0), site=ImageSite(Rva(0x9000)))
    (result,) = of(Document((report(outside),)), "execute-pool-type")
    physical = result["locations"][0]["physicalLocation"]
    assert "region" not in physical
    assert "fullyQualifiedName" not in physical["address"]


def test_source_places_are_regions():
    (result,) = of(Document((source_report(source_call(3, 0)),)), "execute-pool-type")
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "driver.c"
    assert physical["region"] == {"startLine": 3, "startColumn": 5}


def test_symbols_give_a_related_place_and_alerts_start_there():
    document = Document((report(unknown_call(0x1000)),))
    (result,) = of(document, "execute-pool-type")
    related = result["relatedLocations"][0]["physicalLocation"]
    assert related["artifactLocation"]["uri"] == "read.c"
    (alert,) = of(document, "execute-pool-type", Format.CODE_SCANNING)
    assert alert["locations"][0]["physicalLocation"]["region"] == {"startLine": 12}
    assert alert["level"] == "warning"
    assert "kind" not in alert


def test_rules_have_help_tags_and_relationships():
    tool = run(Document())["tool"]["driver"]
    assert [rule["id"] for rule in tool["rules"]] == list(RULES)
    for rule in tool["rules"]:
        assert rule["help"]["text"]
        assert rule["help"]["markdown"]
        assert {"security", "hvci"} <= set(rule["properties"]["tags"])
    pool = next(rule for rule in tool["rules"] if rule["id"] == "execute-pool-type")
    names = {item["target"]["toolComponent"]["name"] for item in pool["relationships"]}
    assert names == {"HLK readiness counters", "Verifier sub-codes"}


def test_taxonomies_are_referred_to_by_index():
    one = run(MIXED)
    taxonomies = one["taxonomies"]
    (first, *_) = of(MIXED, "execute-pool-type")
    ids = [reference["id"] for reference in first["taxa"]]
    assert "C30030" in ids
    for reference in first["taxa"]:
        taxonomy = taxonomies[reference["toolComponent"]["index"]]
        assert taxonomy["taxa"][reference["index"]]["id"] == reference["id"]


def test_suppressions():
    (first, *_) = of(Document((suppressed(everything()),)), "execute-pool-type")
    (accepted,) = first["suppressions"]
    assert (accepted["kind"], accepted["status"]) == ("external", "accepted")
    assert accepted["justification"] == "known and harmless"
    source = suppressed(source_report(source_call(1, 0)))
    findings = [
        replace(f, suppressed=replace(f.suppressed, by="#pragma warning"))
        for result in source.results
        for f in result.findings
    ]
    one = replace(source, results=(RuleResult("x", Outcome.FAIL, tuple(findings)),))
    (result,) = of(Document((one,)), "x")
    assert result["suppressions"][0]["kind"] == "inSource"


def test_errors_and_limits_are_notifications():
    limits = (Limit(Origin.IMAGE, (), "odd header"),)
    one = run(Document((report(limits=limits),), (ERROR,)))
    (invocation,) = one["invocations"]
    assert invocation["executionSuccessful"] is False
    texts = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert texts == ["gone.sys: nothing there", "odd header"]


def test_limits_of_github(monkeypatch):
    alerts = run(MIXED, Format.CODE_SCANNING)
    for result in alerts["results"]:
        assert result["message"]["text"]
        assert 1 <= len(result["locations"]) <= 100
        physical = result["locations"][0]["physicalLocation"]
        assert physical["artifactLocation"]["uri"]
        assert physical["region"]["startLine"] >= 1
        assert result["partialFingerprints"]["primaryLocationLineHash"]
        assert result["level"] in ("note", "warning", "error")
    for rule in alerts["tool"]["driver"]["rules"]:
        assert len(rule["properties"]["tags"]) <= 20
        assert 0 < float(rule["properties"]["security-severity"]) <= 10
    monkeypatch.setattr(sarif, "MOST_RESULTS", 2)
    one = run(MIXED)
    assert len(one["results"]) == 2
    notes = one["invocations"][0]["toolExecutionNotifications"]
    assert "more results are not listed" in notes[-1]["message"]["text"]


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        ("a b/x.sys", "a%20b/x.sys"),
        ("dir\\x.sys", "dir/x.sys"),
        ("/tmp/x.sys", "file:///tmp/x.sys"),
        ("C:\\d\\x.sys", "file:///C:/d/x.sys"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("a\x1b\n?#", "a%1B%0A%3F%23"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_paths_as_uris(path, reference):
    assert uri(path) == reference


# ---------------------------------------------------------------------- fingerprints


def names(one):
    return {named.fingerprint for named in named_findings(one)}


def test_fingerprints_survive_a_rebuild_that_moves_code():
    before = report(
        pool_call(0x1000, 0), pool_call(0x1100, 0), unknown_call(0x1200), pool_call(0x1300, 4)
    )
    moved = report(
        pool_call(0x5310, 4), unknown_call(0x5000), pool_call(0x5110, 0), pool_call(0x5010, 0)
    )
    assert names(before) == names(moved)
    assert len(names(before)) == len(before.findings)


def test_invented_function_names_are_no_part_of_a_fingerprint():
    before = report(pool_call(0x1000, 0, function="sub_1000"))
    assert names(before) == names(report(pool_call(0x2000, 0, function="sub_2000")))
    assert names(before) == names(report(pool_call(0x2000, 0, function=None)))
    assert names(before) != names(report(pool_call(0x2000, 0, function="Named")))


def test_fingerprints_tell_values_and_places_apart():
    assert names(report(pool_call(0x1000, 0))) != names(report(pool_call(0x1000, 4)))
    assert names(source_report(source_call(3, 0))) == names(source_report(source_call(9, 0)))
    assert len(names(report(pool_call(0x1000, 0), pool_call(0x1010, 0)))) == 2


def test_addresses_in_messages_do_not_matter():
    def one(address):
        message = f"writes to code at {address}"
        finding = Finding(Outcome.FAIL, message, ImageSite(Rva(1), ".text"), Origin.CALLSITE)
        return replace(report(), results=(RuleResult("x", Outcome.FAIL, (finding,)),))

    assert names(one("0x1000")) == names(one("0x2000"))


def test_drivers_of_one_run_are_told_apart():
    document = Document((report(pool_call(0x1000, 0)), report(pool_call(0x1000, 0), path="b.sys")))
    first, second = of(document, "execute-pool-type")
    assert first["partialFingerprints"] != second["partialFingerprints"]


def test_short_names():
    assert short_name("C:\\a\\b.sys") == "b.sys"
    assert short_name("a/b.sys") == "b.sys"
    assert short_name("/") == "/"


def test_a_fix_of_a_source_is_a_replacement(tmp_path):
    path = tmp_path / "a.c"
    path.write_text("PVOID f(void) { return ExAllocatePool(NonPagedPool, 1); }\n")
    document = Document((evaluate(path),))
    (result,) = (one for one in run(document)["results"] if "fixes" in one)
    ((change,),) = [fix["artifactChanges"] for fix in result["fixes"]]
    (replacement,) = change["replacements"]
    region = replacement["deletedRegion"]
    line = path.read_text().splitlines()[region["startLine"] - 1]
    assert line[region["startColumn"] - 1 : region["endColumn"] - 1] == "NonPagedPool"
    assert replacement["insertedContent"]["text"] == "NonPagedPoolNx"
    assert "--level safe" in result["fixes"][0]["description"]["text"]


def test_edits_become_fixes():
    one = source_report(source_call(3, 0))
    edit = Edit("driver.c", 40, 52, 3, 9, 21, "NonPagedPool", "NonPagedPoolNx", Level.SAFE)
    results = tuple(
        replace(result, findings=tuple(replace(f, edits=(edit,)) for f in result.findings))
        for result in one.results
    )
    document = Document((replace(one, results=results),))
    (result,) = of(document, "execute-pool-type")
    (fix,) = result["fixes"]
    (change,) = fix["artifactChanges"]
    assert change["artifactLocation"]["uri"] == "driver.c"
    (replacement,) = change["replacements"]
    assert replacement["insertedContent"]["text"] == "NonPagedPoolNx"
    assert replacement["deletedRegion"]["startColumn"] == 9
    assert replacement["deletedRegion"]["endColumn"] == 21
    text = render(document, Format.TEXT, Style(verbose=True))
    assert "- 3: NonPagedPool\n" in text
    assert "+ 3: NonPagedPoolNx  (safe)\n" in text
    assert "+ 3: NonPagedPoolNx  (safe)" in render(document, Format.HTML)
