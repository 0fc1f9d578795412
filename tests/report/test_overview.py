"""Many drivers at a glance: the worst first, and every output tells the same numbers."""

import csv
import io
import json
import re
from html import unescape
from pathlib import Path

import jsonschema
import pytest

from hvci.errors import InputError, UnsupportedImage
from hvci.evaluate import Options, evaluate
from hvci.model import Counter
from hvci.report import Document, Format, TargetError, from_json, render
from hvci.report.markdown import MOST_CHARACTERS
from hvci.report.overview import SHORT_NAMES, Fate, fate_of, rows, totals
from hvci.report.sentence import summary, told_answers
from hvci.report.text import Style
from reports import everything, pool_call, report, source_report, suppressed, unknown_call

BUILT = Path(__file__).parents[1] / "fixtures" / "built"
NAMES = (
    "sample_bad.x64.o2",
    "sample_clean.x64.o2",
    "msvc_bad.x86.asm",
    "calls_bad.x64.o2",
    "calls_bad.arm64.o2",
    "optin_bad.x64.o2",
    "image.x64.wx_init",
    "image.x86.align_80",
)
SARIF = (Format.SARIF, Format.CODE_SCANNING)
ERRORS = (
    TargetError.of("gone.sys", InputError("gone.sys: no such file")),
    TargetError.of("arm.sys", UnsupportedImage("an image for 32-bit ARM")),
    TargetError.interrupted("late.sys", 8, 9),
)


@pytest.fixture(scope="module")
def document():
    reports = [evaluate(BUILT / f"{name}.sys", Options(excerpts=True)) for name in NAMES]
    return Document((*reports, suppressed(everything()), source_report()), ERRORS)


def test_the_worst_come_first(document):
    order = [row.fate for row in rows(document)]
    assert order == sorted(order, key=list(Fate).index)
    assert {Fate.WILL_NOT_LOAD, Fate.FAILS, Fate.PASSES, Fate.UNREADABLE} <= set(order)
    alike = [row for row in rows(document) if row.fate is Fate.WILL_NOT_LOAD]
    counts = [sum(row.report.counters.values()) for row in alike]
    assert counts == sorted(counts, reverse=True)


def table_of(text):
    """Rows of the text's table by path; two blanks stand between columns."""
    lines = iter(text.splitlines())
    assert next(lines).split() == [
        *("TARGET", "MACHINE", "LOADS", "READINESS", "RUNS", "COUNTERS", "GATE")
    ]
    made = {}
    for line in lines:
        if not line:
            return made
        path, *cells = re.split(r" {2,}", line)
        made[path] = cells
    raise AssertionError("no end")


def cells_of_html(page):
    found = re.findall(r'<tr class="f\d[^"]*">(.*?)</tr>', page)
    rows_ = [re.findall(r"<td>(.*?)</td>", row) for row in found]
    plain = [[unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in rows_]
    return {path: rest for path, *rest in plain}


def cells_of_markdown(text):
    made = {}
    for line in text.splitlines():
        if line.startswith("| <code>") and line.count("|") == 8:
            _, *rest = (unescape(re.sub(r"<[^>]+>", "", one)).strip() for one in line.split("|"))
            made[rest[0]] = rest[1:-1]
    return made


def test_every_output_has_the_same_rows(document):
    expected = {row.path: list(row.cells[1:]) for row in rows(document)}
    assert table_of(render(document, Format.TEXT)) == expected
    assert table_of(render(document, Format.TEXT, Style(quiet=True))) == expected
    assert cells_of_html(render(document, Format.HTML)) == expected
    assert cells_of_markdown(render(document, Format.MARKDOWN)) == expected
    for form in (Format.TEXT, Format.HTML):
        assert totals(document) in render(document, form)
    assert totals(document) in unescape(render(document, Format.MARKDOWN))


def test_json_has_the_same_overview_and_reads_it_back(document):
    text = render(document, Format.JSON)
    data = json.loads(text)
    schema = Path(__file__).parents[2] / "src/hvci/data/report.schema.json"
    jsonschema.validate(data, json.loads(schema.read_text()))
    told = data["overview"]
    assert told["targets"] == len(NAMES) + 2 + len(ERRORS)
    assert [row["path"] for row in told["worst_first"]] == [row.path for row in rows(document)]
    for row in told["worst_first"]:
        if row["report"] is None:
            assert row["path"] in {error.path for error in ERRORS}
            continue
        one = data["reports"][row["report"]]
        assert one["target"]["path"] == row["path"]
        assert one["summary"] == row["summary"]
        assert one["gate"] == row["gate"]
        assert {name: n for name, n in one["counters"].items() if n} == row["counters"]
    for counter in Counter:
        assert told["counters"][counter] == sum(one["counters"][counter] for one in data["reports"])
    assert render(from_json(text), Format.JSON) == text
    assert "overview" not in json.loads(render(Document(document.reports[:1]), Format.JSON))


def test_csv_tells_the_same_numbers(document):
    counted = {}
    for row in csv.DictReader(io.StringIO(render(document, Format.CSV))):
        path = row["target"]
        if row["verdict"] in ("unreadable", "not a driver", "not evaluated"):
            counted[path] = row["verdict"]
            continue
        one = next(each for each in document.reports if each.target.path == path)
        assert row["verdict"] == one.verdict
        assert {name: row[name] or None for name in told_answers(one)} == told_answers(one)
        assert (row["gate"], row["summary"]) == (one.gate, summary(one))
        counts = counted.setdefault(path, dict.fromkeys(Counter, 0))
        for result in one.results:
            if result.rule == row["rule"] and result.counter is not None:
                counts[result.counter] += int(row["count"])
    for one in document.reports:
        assert counted[one.target.path] == one.counters
    words = [counted[error.path] for error in ERRORS]
    assert words == ["unreadable", "not a driver", "not evaluated"]


def test_text_and_html_count_as_the_counters_do(document):
    for one in document.reports:
        alone = Document((one,))
        text, page = (render(alone, form) for form in (Format.TEXT, Format.HTML))
        plain = unescape(re.sub(r"<[^>]+>", " ", page))
        for counter, count in one.counters.items():
            label = counter.hlk_name
            told = re.search(rf"^  {re.escape(label)}(?: Count)?: +(\d+)$", text, re.MULTILINE)
            assert int(told[1]) == count
            assert re.search(rf"{re.escape(label)}(?: Count)? +{count}\b", plain)
            named = re.search(
                rf"{re.escape(label)} (\d+)", unescape(render(alone, Format.MARKDOWN))
            )
            assert int(named[1] if named else 0) == count
            if count:
                row = rows(alone)[0]
                assert f"{SHORT_NAMES[counter]} {count}" in row.counters


def test_markdown_never_drops_a_worse_driver_for_a_better_one():
    bad = [
        report(*(pool_call(0x1000 + 16 * i, 0) for i in range(n % 40 + 1)), path=f"bad{n:03}.sys")
        for n in range(120)
    ]
    good = [report(path=f"{n:03}.sys") for n in range(400)]
    document = Document((*good, *bad))
    text = render(document, Format.MARKDOWN)
    assert len(text) < MOST_CHARACTERS + 2_000
    shown = [name for name in re.findall(r"bad\d{3}", unescape(text)) if name]
    order = [row.path.removesuffix(".sys") for row in rows(document)]
    assert shown[: len(set(shown))] == order[: len(set(shown))]
    assert "more are in the full report" in text
    assert "more targets are in the full report" in text
    details = re.findall(r"^### <code>(.*?)&#46;sys", text, re.MULTILINE)
    assert details == order[: len(details)]


def test_one_huge_report_is_cut_at_a_line():
    calls = [pool_call(0x1000 + 16 * i, 0, function="@" * 240) for i in range(60)]
    one = report(*calls, path="x.sys")
    text = render(Document((one, report(path="y.sys"))), Format.MARKDOWN)
    assert len(text) < MOST_CHARACTERS
    assert "More is in the full report." in text
    assert "### <code>y&#46;sys</code>" in text


def test_the_fates():
    assert fate_of(report()) is Fate.PASSES
    assert fate_of(report(pool_call(0, 0))) is Fate.FAILS
    assert fate_of(suppressed(report(pool_call(0, 0)))) is Fate.FAILS
    assert fate_of(report(unknown_call(0))) is Fate.UNDECIDED
    assert fate_of(everything()) is Fate.WILL_NOT_LOAD


def test_500_drivers_fit_a_person():
    many = [report(path=f"{n}.sys") for n in range(490)]
    many += [
        report(*(pool_call(16 * i, 0) for i in range(n)), path=f"bad{n}.sys") for n in range(1, 11)
    ]
    first_screen = render(Document(tuple(many)), Format.TEXT).splitlines()[:25]
    assert [line.split()[0] for line in first_screen[1:11]] == [
        f"bad{n}.sys" for n in range(10, 0, -1)
    ]
    assert all(len(line) < 100 for line in first_screen)


def test_what_is_no_driver_is_no_error_in_any_output():
    errors = (TargetError.of("arm.sys", UnsupportedImage("an image for 32-bit ARM")),)
    document = Document((report(),), errors)
    assert document.exit_code == 0
    said = {form: render(document, form) for form in Format}
    silent = [
        f for f, text in said.items() if f not in SARIF and "not a driver" not in unescape(text)
    ]
    assert not silent, "each format shows errors by fate_of_error"
    assert "<error" not in said[Format.JUNIT]
    assert "::notice file=arm.sys::not a driver for memory integrity" in said[Format.GITHUB]
    assert "arm.sys : message HVCI0004: not a driver" in said[Format.MSVS]
    assert "arm.sys: note: not a driver" in said[Format.CONCISE]
    run = json.loads(said[Format.SARIF])["runs"][0]["invocations"][0]
    assert run["executionSuccessful"]
    assert run["toolExecutionNotifications"][0]["level"] == "note"
    alone = json.loads(render(Document((), errors), Format.SARIF))["runs"][0]["invocations"][0]
    assert not alone["executionSuccessful"]


def test_html_filters_need_no_script(document):
    page = render(document, Format.HTML)
    assert "<script" not in page
    for fate in {row.fate for row in rows(document)}:
        number = list(Fate).index(fate)
        assert f'id="show-f{number}"' in page
        assert f"#show-f{number}:checked ~ .glance tbody tr:not(.f{number})" in page
    assert page.index('href="#t0"') < page.index("<article")
    assert "<input" not in render(Document(document.reports[:1]), Format.HTML)
