"""The JSON contract: its shape, its schema, and that reading a saved report loses nothing."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hvci.catalog.reader import data_text
from hvci.errors import DamagedImage, HvciError, InputError, NotAnImage, UsageError
from hvci.model import Counter
from hvci.report import Document, Format, TargetError, document_from, from_json, render, worst
from hvci.report.encode import document_fields
from reports import everything, library_call, pool_call, report, reports, source_call, source_report

SCHEMA = Draft202012Validator(json.loads(data_text("report.schema.json")))


def fields(*of, errors=()):
    return json.loads(render(Document(tuple(of), tuple(errors)), Format.JSON))


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize(
    "shape",
    [
        fields(),
        fields(everything()),
        fields(report(pool_call(0x1000, 512))),
        fields(report(library_call(0x1000))),
        fields(source_report(source_call(3, 0), source_call(1, 512))),
        fields(everything(), source_report()),
        fields(errors=[TargetError.of("x.sys", NotAnImage("no PE header"))]),
    ],
)
def test_every_shape_matches_the_schema(shape):
    SCHEMA.validate(shape)


def test_names_of_the_contract():
    document = fields(report(pool_call(0x1234, 0)))
    assert list(document) == ["schema_version", "tool", "reports", "errors", "notices"]
    (one,) = document["reports"]
    assert one["verdict"] == "incompatible"
    assert one["answers"] == {
        "loads": "yes",
        "readiness": "no",
        "runs": "yes",
        "image_check": "yes",
        "blocklisted": None,
    }
    assert list(one["counters"]) == [counter.value for counter in Counter]
    assert one["counters"]["execute_pool_type"] == 1
    rule = next(rule for rule in one["rules"] if rule["id"] == "execute-pool-type")
    assert (rule["outcome"], rule["subcode"]) == ("fail", "0x2000")
    (finding,) = rule["findings"]
    assert finding["ddi"] == "ExAllocatePoolWithTag"
    assert finding["site"]["rva"] == 0x1234
    assert finding["suppressed"] is None
    (call,) = one["calls"]
    assert (call["via"], call["executable"], call["site"]["rva"]) == ("iat", "yes", 0x1234)
    assert call["arguments"]["PoolType"]["possible"] == [0]
    assert one["image"]["nx_compat"] is True
    assert one["image"]["sections"][0]["rights"] == "r-x"


def test_a_call_names_its_library_or_none():
    document = fields(report(pool_call(0x1000, 0), library_call(0x1100)))
    own, linked = (call["library"] for call in document["reports"][0]["calls"])
    assert own is None
    assert linked == {
        "name": "wdmsec.lib",
        "confidence": "likely",
        "why": "the pool tag PpRb",
    }


def test_calls_and_findings_are_sorted_by_place():
    document = fields(report(pool_call(0x1300, 0), pool_call(0x1100, 0), pool_call(0x1200, 0)))
    (one,) = document["reports"]
    assert [call["site"]["rva"] for call in one["calls"]] == [0x1100, 0x1200, 0x1300]
    lines = source_report(source_call(9, 0), source_call(2, 0))
    (one,) = fields(lines)["reports"]
    assert [call["site"]["line"] for call in one["calls"]] == [2, 9]
    assert [call["site"]["rva"] for call in one["calls"]] == [None, None]


def test_no_raw_control_character_leaves_in_json():
    hostile = report(pool_call(0x1000, 0, function="a\x1b[31m\x7f\x9b\u202e"))
    text = render(Document((hostile,)), Format.JSON)
    assert text.isascii()
    assert not set(text) - {"\n"} & {chr(code) for code in (*range(32), 0x7F)}


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=200)
@given(st.lists(reports, max_size=2))
def test_json_to_report_to_json_is_the_identity(some):
    first = document_fields(Document(tuple(some), tool_version="9.9"))
    SCHEMA.validate(json.loads(json.dumps(first)))
    text = render(Document(tuple(some), tool_version="9.9"), Format.JSON)
    again = from_json(text)
    assert render(again, Format.JSON) == text
    assert again.tool_version == "9.9"


def test_reading_gives_the_same_answers():
    live = everything()
    (saved,) = from_json(render(Document((live,)), Format.JSON)).reports
    assert saved.verdict is live.verdict
    assert saved.answers == live.answers
    assert saved.counters == live.counters
    assert saved.image == live.image
    assert len(saved.calls) == len(live.calls)


def damage(path, value):
    document = fields(everything())
    spot = document
    for step in path[:-1]:
        spot = spot[step]
    if value is KeyError:
        del spot[path[-1]]
    else:
        spot[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("schema_version",), 2, "schema_version 2"),
        (("schema_version",), True, "needs schema_version of type int"),
        (("reports",), {}, "needs reports of type list"),
        (("reports", 0), 5, "reports[0] is not an object"),
        (("reports", 0, "target", "path"), 5, "needs path of type str"),
        (("reports", 0, "target", "machine"), "vax", "unknown machine 'vax'"),
        (("reports", 0, "target_os"), "95", "unknown target_os '95'"),
        (("reports", 0, "rules"), KeyError, "needs rules"),
        (("reports", 0, "rules", 0, "outcome"), "maybe", "unknown outcome"),
        (("reports", 0, "rules", 0, "questions"), [1], "needs questions to hold str"),
        (("reports", 0, "rules", 0, "questions"), ["why"], "unknown question 'why'"),
        (("reports", 0, "rules", 0, "subcode"), "many", "unknown subcode"),
        (("reports", 0, "rules", 0, "extra"), 1, "does not know: ['extra']"),
        (("reports", 0, "calls", 0, "site"), None, "needs site of type dict"),
        (("reports", 0, "image", "linker_version"), [1], "two numbers as linker_version"),
        (("reports", 0, "seconds"), {"image": "long"}, "needs image of type float"),
        (("tool",), "hvci", "needs tool of type dict"),
    ],
)
def test_a_damaged_report_is_refused_with_its_place(path, value, says):
    with pytest.raises(InputError) as caught:
        document_from(damage(path, value))
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"a": 1}'])
def test_text_that_is_no_report_is_an_input_error(text):
    with pytest.raises(InputError, match=r"not a saved hvci report(?!.*char)"):
        from_json(text)


def test_seconds_may_be_whole_numbers():
    document = fields(everything())
    document["reports"][0]["seconds"] = {"image": 1}
    assert document_from(document).reports[0].seconds == {"image": 1.0}


def test_errors_keep_kind_advice_and_exit_code():
    error = TargetError.of("x.sys", DamagedImage("x.sys: section table ends early", 0x40))
    assert error.kind == "DamagedImage"
    assert error.message == "section table ends early (at file offset 0x40)"
    assert error.advice
    ours = TargetError.of("x.sys", KeyError("oops"))
    assert (ours.kind, ours.exit_code) == ("InternalError", 70)
    saved = from_json(render(Document(errors=(error, ours)), Format.JSON))
    assert saved.errors == (error, ours)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (set(), 0),
        ({0}, 0),
        ({0, 3}, 3),
        ({0, 3, 1}, 1),
        ({1, 3, 4}, 4),
        ({1, 4, 2}, 2),
        ({0, 1, 2, 3, 4, 70}, 70),
    ],
)
def test_the_worst_target_wins(codes, code):
    assert worst(codes) == code


def test_exit_code_of_a_document():
    bad, good = report(pool_call(0x1000, 0)), source_report()
    unreadable = TargetError.of("x", InputError("gone"))
    assert Document((bad,)).exit_code == 1
    assert Document((bad,), (unreadable,)).exit_code == InputError.exit_code
    assert Document((good,)).exit_code == (0 if good.verdict == "compatible" else 3)
    assert Document(errors=(TargetError.of("x", UsageError("no")),)).exit_code == 2
    assert Document(errors=(TargetError.of("x", HvciError("no")),)).exit_code == 70
