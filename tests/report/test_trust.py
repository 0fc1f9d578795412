"""Signatures in every output: what shows where, and that they move no verdict."""

import csv
import io
import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

import signed as make
from build import driver
from hvci.catalog.reader import data_text
from hvci.evaluate import Options, evaluate
from hvci.model import Signed, Verdict
from hvci.report import Document, Format, from_json, render
from hvci.report.text import Style
from hvci.signing.catalog import read_catalog
from reports import HOSTILE, everything

IMAGE = driver()
SCHEMA = Draft202012Validator(json.loads(data_text("report.schema.json")))


def shown(data, form, style=None, options=None):
    return render(Document((evaluate(data, options),)), form, style)


def test_the_json_report_has_the_answers_and_the_signatures():
    data = make.signed(IMAGE, make.cross_signed(), program="Our tool", pages=True)
    document = json.loads(shown(data, Format.JSON))
    SCHEMA.validate(document)
    (one,) = document["reports"]
    assert one["answers"]["signed"] == "cross-signed"
    assert one["answers"]["driver_policy"] == "only-if-allow-listed"
    (signature,) = one["trust"]["signatures"]
    assert signature["submitter"] == "Our tool"
    assert signature["page_hashes"]["match"] is True
    again = from_json(json.dumps(document))
    assert again.reports[0].trust.signed is Signed.CROSS_SIGNED


@pytest.mark.parametrize("who", [None, make.test_signed(), make.cross_signed()])
def test_a_signature_moves_no_verdict(who):
    plain = evaluate(IMAGE)
    report = evaluate(make.signed(IMAGE, who) if who else IMAGE)
    assert (report.verdict, report.answers) == (plain.verdict, plain.answers)
    assert report.verdict is Verdict.COMPATIBLE


def test_sources_and_old_reports_have_no_such_answer():
    document = json.loads(render(Document((everything(),)), Format.JSON))
    assert "trust" not in document["reports"][0]
    assert "signed" not in document["reports"][0]["answers"]
    assert from_json(json.dumps(document)).reports[0].trust is None


def test_the_text_says_who_signed_and_verbose_text_each_signature():
    data = make.signed(IMAGE, make.microsoft(make.WHQL), program="Vendor GmbH", pages=True)
    text = " ".join(shown(data, Format.TEXT).split())
    assert "signed hardware: Signed by Microsoft's hardware program (WHCP)" in text
    assert "(Vendor GmbH)" in text
    assert "driver policy undecided:" in text
    assert "Signatures:" not in text
    verbose = " ".join(shown(data, Format.TEXT, Style(verbose=True)).split())
    assert "embedded 1: hardware; signed by Microsoft Windows Hardware" in verbose
    assert (
        "submitted by Vendor GmbH; sha256 digest matches; 7 page hashes (sha256) match" in verbose
    )
    assert "for Windows hardware driver verification, code signing" in verbose
    assert "certificate 2020-01-01 to 2030-01-01, time stamp 2024-05-06T07:08:09Z" in verbose


def test_what_does_not_fit_is_loud():
    other = make.message(driver(pool_type=1), make.vendor(), pages=True, spoil="late")
    text = " ".join(shown(make.attached(IMAGE, other), Format.TEXT, Style(verbose=True)).split())
    assert "sha256 digest does NOT match; 7 page hashes (sha256) do NOT match" in text
    assert "time stamp 2044-05-01T07:08:09Z, outside it" in text


def test_an_unsigned_driver_says_so():
    text = " ".join(shown(IMAGE, Format.TEXT, Style(verbose=True)).split())
    assert "signed none: No signature in the file." in text
    assert "driver policy refused-when-enforced:" in text
    assert "valid" not in text


def test_a_catalog_shows():
    catalog = read_catalog(make.catalog([make.authentihash(IMAGE)], make.vendor()), "d.cat")
    text = shown(IMAGE, Format.TEXT, options=Options(catalogs=(catalog,)))
    assert "by catalog d.cat" in " ".join(text.split())


def test_a_broken_catalog_among_them_shows_why():
    catalog = read_catalog(
        make.catalog([make.authentihash(IMAGE)], make.vendor(), spoil="leaf"), "d"
    )
    text = shown(IMAGE, Format.TEXT, Style(verbose=True), Options(catalogs=(catalog,)))
    assert "d: damaged; the certificate that signed is missing" in " ".join(text.split())


def test_markdown_and_html():
    data = make.signed(IMAGE, make.cross_signed())
    assert "| signed | cross-signed |" in shown(data, Format.MARKDOWN)
    html = shown(data, Format.HTML)
    assert 'signed: <span class="answer">cross-signed</span>' in html
    assert "Signatures: 1" in html
    assert "Signatures:" not in shown(IMAGE, Format.HTML)


def test_sarif_and_csv():
    data = make.signed(IMAGE, make.test_signed())
    (run,) = json.loads(shown(data, Format.SARIF))["runs"]
    assert run["artifacts"][0]["properties"]["signed"] == "test"
    assert run["artifacts"][0]["properties"]["driver_policy"] == "refused-when-enforced"
    (row,) = csv.DictReader(io.StringIO(shown(data, Format.CSV)))
    assert (row["signed"], row["driver_policy"]) == ("test", "refused-when-enforced")


@pytest.mark.parametrize("form", [Format.TEXT, Format.MARKDOWN, Format.HTML, Format.CSV])
def test_names_of_certificates_are_shown_harmless(form):
    report = evaluate(make.signed(IMAGE, make.cross_signed()))
    (one,) = report.trust.signatures
    one = one._replace(signer=HOSTILE, submitter=HOSTILE, problem=HOSTILE, chain=(HOSTILE,))
    trust = report.trust._replace(signatures=(one,), reason=HOSTILE, policy_reason=HOSTILE)
    text = render(Document((replace(report, trust=trust),)), form, Style(verbose=True))
    assert not set("\x1b\x07\r\u202e\x9b\x00") & set(text)
    assert "<b>" not in text or form in (Format.TEXT, Format.CSV)
