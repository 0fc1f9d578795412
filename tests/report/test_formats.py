"""Every other output: well-formed, inert for hostile names, the same live and saved."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from junitparser import JUnitXml

from hvci.errors import NotAnImage
from hvci.model import Answer, ImageSite, Limit, Origin, Rva, Value
from hvci.report import Document, Format, TargetError, from_json, render
from hvci.report.markup import element
from hvci.rules import RULES
from reports import (
    EXECUTE,
    HOSTILE,
    READ,
    everything,
    hostile_report,
    image,
    library_call,
    map_call,
    pool_call,
    report,
    section,
    source_call,
    source_report,
    suppressed,
    unknown_call,
)

ERROR = TargetError.of("gone.sys", NotAnImage("gone.sys: no PE header"))
HOSTILE_ERROR = TargetError(HOSTILE, "InputError", HOSTILE, HOSTILE)
DOCUMENTS = {
    "empty": Document(),
    "everything": Document((everything(),), (ERROR,)),
    "clean": Document((report(),)),
    "source": Document((source_report(source_call(3, 0)), report(unknown_call(0x1000)))),
    "suppressed": Document((suppressed(everything()),)),
    "hostile": Document((hostile_report(), suppressed(hostile_report())), (HOSTILE_ERROR,)),
}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("form", Format)
def test_live_and_saved_reports_look_the_same(name, form):
    live = DOCUMENTS[name]
    saved = from_json(render(live, Format.JSON))
    assert render(saved, form) == render(live, form)


@pytest.mark.parametrize("form", Format)
def test_no_control_character_leaves_in_any_format(form):
    assert not CONTROL.search(render(DOCUMENTS["hostile"], form))


# ---------------------------------------------------------------------- HTML


class Page(HTMLParser):
    """Collects elements and text, and fails on anything that could act."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.words, self.depth = [], [], []
        self.feed(source)
        assert self.depth == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = dict(attrs)
        assert tag not in ("script", "img", "iframe", "link", "object", "b")
        assert not any(name.startswith("on") for name in names)
        assert all(str(names.get(name, "#")).startswith("#") for name in ("href", "src"))
        if tag not in ("meta", "br", "hr", "input"):
            self.depth.append(tag)

    def handle_endtag(self, tag):
        assert self.depth.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page(name):
    return Page(render(DOCUMENTS[name], Format.HTML))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_html_is_well_formed_and_inert(name):
    assert page(name).tags[0] == "html"


def test_html_says_it_all():
    text = page("everything").text
    assert "Will not load (inferred)" in text
    for word in ("loads: no", "readiness: no", "runs: yes", "Execute Pool Type Count"):
        assert word in text
    assert "0x1010 .text DriverEntry" in text
    assert "PoolType 0x0, Tag 0x64636261 (via iat)" in text
    assert "unknown: loaded from memory that others write" in text
    assert "Not examined: " in text
    assert "For information: " in text
    assert "gone.sys Could not be read no PE header. Give a driver" in text


def test_html_lists_several_targets():
    assert "nav" in page("source").tags
    assert "nav" not in page("clean").tags


def test_html_shows_block_list_and_partly_known_values():
    partly = replace(
        unknown_call(0x1000), note="from a library", arguments={"PoolType": Value.unknown("x", 1)}
    )
    one = replace(report(partly), blocklisted=Answer.YES)
    text = Page(render(Document((one,)), Format.HTML)).text
    assert "blocklisted: yes" in text
    assert "PoolType 0x1 or unknown: x (via thunk; from a library)" in text


def test_html_names_the_library_of_a_call():
    text = Page(render(Document((report(library_call(0x1000)),)), Format.HTML)).text
    assert "(via iat; likely from wdmsec.lib of the Windows 7 kit or an older one)" in text
    assert "likely from" not in Page(render(DOCUMENTS["everything"], Format.HTML)).text


def test_html_of_500_findings_stays_small():
    many = [pool_call(0x1000 + 16 * i, 0) for i in range(500)]
    assert len(render(Document((report(*many),)), Format.HTML)) < 1_000_000


def test_picture_is_to_scale():
    sections = (
        section(".text", 0x1000, READ | EXECUTE, 0x6000),
        section("tiny", 0x7000, READ, 1),
        section("rwx", 0x8000, 0xE000_0000, 0x2000),
    )
    one = report(
        pool_call(0x5000, 0),
        map_call(0x6000),
        unknown_call(0x5002),
        image=image(sections=sections, size_of_image=0xA000, iat=None),
    )
    source = render(Document((one,)), Format.HTML)
    assert '<rect x="100" y="26" width="600" height="44" class="s x">' in source
    assert 'width="1.5"' in source
    assert 'class="s wx"' in source
    assert source.count('class="m fail"') == 2
    assert source.count('class="m"') == 2
    assert 'class="m note"' in source
    assert "svg" not in Page(render(Document((source_report(),)), Format.HTML)).tags
    bare = report(image=image(sections=()))
    assert "svg" not in Page(render(Document((bare,)), Format.HTML)).tags


def test_elements():
    assert element("br") == "<br>"
    assert element("p", "<", class_="a", open=True, hidden=False, x=1.5) == (
        '<p class="a" open x="1.5">&lt;</p>'
    )
    assert element("a", element("b", "x"), href='"') == '<a href="&quot;"><b>x</b></a>'


# ---------------------------------------------------------------------- JUnit


def junit(name):
    return JUnitXml.fromstring(render(DOCUMENTS[name], Format.JUNIT).encode())


def test_junit_has_one_case_per_rule():
    (suite, unreadable) = junit("everything")
    assert [case.name for case in suite] == list(RULES)
    assert suite.tests == len(RULES)
    failed = {case.name for case in suite if case.is_failure}
    assert failed == {"execute-pool-type", "execute-write-section"}
    (case,) = unreadable
    assert case.is_error
    assert junit("everything").errors == 1


def test_junit_of_undecided_notes_and_suppressed():
    source, doubtful = junit("source")
    assert {case.name for case in doubtful if case.is_error} == {"execute-pool-type"}
    assert any(case.is_skipped for case in source)
    (suite,) = junit("suppressed")
    assert not any(case.is_failure for case in suite)
    text = render(DOCUMENTS["suppressed"], Format.JUNIT)
    assert "suppressed by hvci.toml, kernel team, until 2031-01-01: known and harmless" in text
    weak = report(limits=(Limit(Origin.CALLSITE, ("execute-pool-type",), "no code"),))
    (suite,) = JUnitXml.fromstring(render(Document((weak,)), Format.JUNIT).encode())
    (case,) = [case for case in suite if case.is_error]
    assert case.result[0].message == "no code"


# ---------------------------------------------------------------------- CSV and lines


def test_csv_has_a_row_for_each_finding_and_each_target():
    rows = list(csv.DictReader(io.StringIO(render(DOCUMENTS["everything"], Format.CSV))))
    assert rows[-1]["target"] == "gone.sys"
    assert rows[-1]["verdict"] == "unreadable"
    first = next(row for row in rows if row["rule"] == "execute-pool-type")
    assert (first["rva"], first["function"], first["subcode"]) == (
        "0x1010",
        "DriverEntry",
        "0x2000",
    )
    (clean,) = csv.DictReader(io.StringIO(render(DOCUMENTS["clean"], Format.CSV)))
    assert (clean["verdict"], clean["rule"]) == ("compatible", "")
    (source, _) = csv.DictReader(io.StringIO(render(DOCUMENTS["source"], Format.CSV)))
    assert (source["file"], source["line"], source["column"]) == ("driver.c", "3", "5")


@pytest.mark.parametrize("start", "=+-@")
def test_csv_holds_no_formula(start):
    one = report(path=f"{start}cmd|' /C calc'!A0")
    (row,) = csv.DictReader(io.StringIO(render(Document((one,)), Format.CSV)))
    assert row["target"].startswith(f"'{start}")


def test_msvs_lines():
    lines = render(DOCUMENTS["source"], Format.MSVS).splitlines()
    assert lines[0].startswith("driver.c(3,5): warning HVCI2000: ExAllocatePoolWithTag: ")
    assert lines[1].startswith("read.c(12,1): warning HVCI2000: undecided: ")
    lines = render(DOCUMENTS["everything"], Format.MSVS).splitlines()
    assert lines[-1] == "gone.sys : error HVCI0004: could not be read: no PE header"
    assert any("driver.sys : warning HVCI2003: " in line for line in lines)
    assert not any("HVCI2010" in line for line in lines)
    text = render(DOCUMENTS["suppressed"], Format.MSVS)
    assert text.count("warning HVCI2000") == 1
    assert text.count("message HVCI2000: suppressed by hvci.toml") == 2
    bare = replace(unknown_call(0x1000), site=ImageSite(Rva(0x1000), ".text", None, "read.c"))
    assert render(Document((report(bare),)), Format.MSVS).startswith("read.c : warning")


def test_github_annotations():
    lines = render(DOCUMENTS["source"], Format.GITHUB).splitlines()
    start = "::error file=driver.c,title=execute-pool-type,line=3,col=5::HVCI2000: "
    assert lines[0].startswith(start)
    assert lines[1].startswith("::warning file=read.c")
    assert render(DOCUMENTS["everything"], Format.GITHUB).endswith(
        "::error file=gone.sys::could not be read: no PE header\n"
    )
    odd = report(pool_call(0x1000, 0), path="a,b:c%0A::stop")
    assert "file=a%2Cb%3Ac%250A%3A%3Astop," in render(Document((odd,)), Format.GITHUB)


def test_suppressed_findings_are_annotated_as_notices():
    text = render(DOCUMENTS["suppressed"], Format.GITHUB)
    assert "::notice file=driver.sys,title=execute-pool-type::HVCI2000: suppressed by" in text
    assert "::error" not in text


def test_notices_of_the_policy_are_in_build_logs():
    document = replace(DOCUMENTS["clean"], notices=("hvci.toml: nothing matches 50%",))
    assert "hvci : warning HVCI0002: hvci.toml: nothing" in render(document, Format.MSVS)
    assert "::warning title=policy::hvci.toml: nothing matches 50%25" in render(
        document, Format.GITHUB
    )
    (_, policy) = JUnitXml.fromstring(render(document, Format.JUNIT).encode())
    assert policy.name == "policy"


def test_readiness_block():
    text = render(DOCUMENTS["everything"], Format.READINESS)
    head = text.splitlines()
    assert head[0] == "Module: driver.sys"
    assert head[1] == "Execute Pool Type Count:            2"
    assert head[5] == "Section Alignment Failures:         0"
    assert "InCompatible HVCI Kernel Driver Modules found\nModule: driver.sys\n\tReason: " in text
    assert "\tReason: execute pool type count:            2\n" in text
    assert text.endswith("Module: gone.sys could not be read\n")
    assert "InCompatible" not in render(DOCUMENTS["clean"], Format.READINESS)


# ---------------------------------------------------------------------- Markdown


def test_markdown_tables():
    text = render(DOCUMENTS["everything"], Format.MARKDOWN)
    assert "### <code>driver&#46;sys</code>: will not load (inferred); if it did" in text
    assert "| fail | execute-pool-type | <code>0x1010 " in text
    assert "<details><summary>Not examined</summary>" in text
    assert "could not be read" in text
    assert "| suppressed |" in render(DOCUMENTS["suppressed"], Format.MARKDOWN)


def test_markdown_of_hostile_names_is_inert():
    text = render(DOCUMENTS["hostile"], Format.MARKDOWN)
    allowed = ("code", "br", "details", "summary", "!--")
    tags = re.findall(r"<(/?)([a-z!-]+)", text)
    assert {tag for _, tag in tags} <= set(allowed)
    one = report(path="@octocat [x](http://evil) `y` www.evil.example")
    text = render(Document((one,)), Format.MARKDOWN)
    assert "&#64;<!-- -->octocat" in text
    assert not re.search(r"[`@\[]|www\.|http:", text.partition("\n")[0])


def test_markdown_fits_a_comment():
    many = [pool_call(0x1000 + 16 * i, 0) for i in range(100)]
    text = render(Document((report(*many),)), Format.MARKDOWN)
    assert "40 more findings are in the full report." in text
    text = render(Document((report(*many),) * 50), Format.MARKDOWN)
    assert len(text) < 65_536
    assert "more targets are in the full report." in text
    limits = tuple(Limit(Origin.IMAGE, (), f"reason {i}") for i in range(30))
    assert "- 10 more" in render(Document((report(limits=limits),)), Format.MARKDOWN)
