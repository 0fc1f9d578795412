"""One call that image and sources show is one finding, with both places; others stay two."""

from dataclasses import replace

from facts import call, evidence
from hvci.evaluate import report_on
from hvci.model import (
    Allowance,
    Counter,
    Edit,
    ImageSite,
    Level,
    Origin,
    Outcome,
    Rva,
    SourceSite,
    Target,
)
from hvci.report import Document
from hvci.report.lines import to_csv

TARGET = Target("x.sys", "0" * 64, 1, "image")
POOL = "execute-pool-type"


def in_code(rva, tag, function=None, kind=0, ddi="ExAllocatePoolWithTag"):
    site = ImageSite(Rva(rva), ".text", function)
    return replace(call(ddi, PoolType=kind, Tag=tag), site=site)


def in_source(line, tag, function="Create", kind=0, ddi="ExAllocatePoolWithTag"):
    site = SourceSite("a.c", line, 5, function)
    return replace(call(ddi, Origin.SOURCE, PoolType=kind, Tag=tag), site=site)


def judged(*calls, **more):
    origins = frozenset({Origin.IMAGE, Origin.CALLSITE, Origin.SOURCE})
    return report_on(TARGET, evidence(origins=origins, calls=calls, **more))


def findings(one, rule=POOL):
    return [f for result in one.results if result.rule == rule for f in result.findings]


def test_the_same_call_is_one_with_both_places():
    one = judged(in_code(0x10, 1), in_source(7, 1))
    (finding,) = findings(one)
    assert finding.origin is Origin.CALLSITE
    assert (finding.site.rva, finding.site.file, finding.site.line) == (0x10, "a.c", 7)
    assert len(one.calls) == 1
    assert one.counters[Counter.EXECUTE_POOL_TYPE] == 1
    assert to_csv(Document((one,))).count("\n") == 2


def test_tags_and_functions_tell_calls_apart():
    tags = 0x64636261, 0x68676665
    calls = [in_code(0x10, tags[0]), in_code(0x20, tags[1])]
    one = judged(*calls, in_source(7, tags[0]), in_source(9, tags[1]))
    assert [f.site.line for f in findings(one)] == [7, 9]
    same = judged(
        in_code(0x10, 1, "F"), in_code(0x20, 1, "G"), in_source(7, 1, "G"), in_source(9, 1, "F")
    )
    assert [(f.site.rva, f.site.line) for f in findings(same)] == [(0x10, 9), (0x20, 7)]


def test_what_nothing_tells_apart_stays_and_is_counted_once():
    one = judged(in_code(0x10, 1), in_code(0x20, 1), in_source(7, 1), in_source(9, 1))
    assert len(findings(one)) == 4
    assert one.counters[Counter.EXECUTE_POOL_TYPE] == 2


def test_other_values_are_other_findings():
    one = judged(in_code(0x10, 1), in_source(7, 1, kind=4))
    assert len(findings(one)) == 2


def test_places_of_symbols_win_and_edits_and_acceptances_come_along():
    named = in_code(0x10, 1)
    named = replace(named, site=replace(named.site, file="b.c", line=3))
    edit = Edit("a.c", 0, 1, 7, 1, 2, "x", "y", Level.SAFE)
    allowed = Allowance(frozenset({POOL}), "a.c", 7, 7, "measured", "a comment")
    text = replace(in_source(7, 1), edits=(edit,))
    (finding,) = findings(judged(named, text, allowances=(allowed,)))
    assert (finding.site.file, finding.site.line) == ("b.c", 3)
    assert finding.edits == (edit,)
    assert finding.suppressed.reason == "measured"


def test_notes_are_one_as_well():
    code = replace(call("MmMapIoSpace", CacheType=0), site=ImageSite(Rva(1)))
    text = replace(call("MmMapIoSpace", Origin.SOURCE, CacheType=0), site=SourceSite("a.c", 1, 1))
    (finding,) = findings(judged(code, text), "executable-by-default")
    assert finding.outcome is Outcome.NOTE


def test_an_image_alone_is_as_it_was():
    one = report_on(TARGET, evidence(calls=(in_code(0x10, 1), in_code(0x20, 1))))
    assert len(findings(one)) == 2
