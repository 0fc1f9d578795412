"""The code that leads to a finding: shown where there is any, never a reason to fail."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hvci.binary.listing import listing
from hvci.evaluate import Options, evaluate
from hvci.excerpts import with_excerpts
from hvci.model import ImageSite, Machine, Rva
from hvci.report import Document, Format, from_json, render
from hvci.report.text import Style
from reports import (
    EXECUTE,
    HOSTILE,
    READ,
    WRITE,
    everything,
    image,
    section,
    source_call,
    source_report,
)

BUILT = Path(__file__).parents[1] / "fixtures/built"
CODE = bytes.fromhex("90" * 16 + "4883ec2831c9ba40000000e8f0ffffff")


def place(data, rva, function=None, machine=Machine.X64, rights=READ | EXECUTE, size=None):
    sections = (section(".text", 0, rights, len(data) if size is None else size),)
    one = image(machine=machine, sections=sections, iat=None)
    return listing(data, one, ImageSite(Rva(rva), ".text", function), "Ddi")


def test_a_named_start_gives_the_instructions_from_there():
    assert place(CODE, 27, "sub_10") == (
        "0x10: sub rsp, 0x28",
        "0x14: xor ecx, ecx",
        "0x16: mov edx, 0x40",
        "0x1b: call 0x10  ; Ddi",
    )


def test_without_a_start_decoding_falls_into_step():
    lines = place(CODE, 27)
    assert len(lines) == 6
    assert lines[-1] == "0x1b: call 0x10  ; Ddi"
    assert place(CODE, 27, "sub_ffffff") == lines


def test_x86_and_arm64():
    assert place(b"\x6a\x00\xe8\xf9\xff\xff\xff", 2, "sub_0", Machine.X86) == (
        "0x0: push 0",
        "0x2: call 0  ; Ddi",
    )
    code = bytes.fromhex("1f2003d5 00000094")
    assert place(code, 4, machine=Machine.ARM64) == ("0x0: nop", "0x4: bl #4  ; Ddi")


@pytest.mark.parametrize(
    "lines",
    [
        place(CODE, 24, "sub_10"),
        place(CODE, 27, rights=READ | WRITE),
        place(CODE, 27, size=0),
        place(CODE, 500),
        place(b"\xff" * 40, 27),
        place(b"", 0, size=8),
    ],
)
def test_nothing_is_shown_where_no_code_can_be(lines):
    assert lines == () or lines[-1].startswith("0x1b")


def test_sites_of_built_drivers_are_calls():
    for path in sorted(BUILT.glob("calls_bad.x*.o2.sys")):
        one = evaluate(path, Options(excerpts=True))
        shown = [finding for finding in one.findings if finding.excerpt]
        assert len(shown) > 20
        for finding in shown:
            last = finding.excerpt[-1]
            assert last.startswith(f"{finding.site.rva:#x}: ")
            assert "call" in last or "jmp" in last
        assert evaluate(path).findings == tuple(
            replace(finding, excerpt=()) for finding in one.findings
        )


def test_source_lines_lead_to_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "one\ntwo\n\tthree\nfour\nfive\n"
    for data in (text.encode(), text.encode("utf-16")):
        Path("driver.c").write_bytes(data)
        one = with_excerpts(source_report(source_call(4, 0), source_call(1, 0), source_call(99, 0)))
        shown = {f.site.line: f.excerpt for f in one.findings}
        assert shown[4] == ("1: one", "2: two", "3:     three", "4: four")
        assert shown[1] == ("1: one",)
        assert shown[99] == ()
    Path("driver.c").unlink()
    gone = with_excerpts(source_report(source_call(4, 0)))
    assert all(finding.excerpt == () for finding in gone.findings)


def test_reports_without_an_image_stay_as_they_are():
    bare = replace(everything(), image=None)
    assert with_excerpts(bare) == bare


def shown():
    results = tuple(
        replace(
            result,
            findings=tuple(
                replace(f, excerpt=(f"0x1: {HOSTILE}", "0x2: call [rax]")) for f in result.findings
            ),
        )
        for result in everything().results
    )
    return Document((replace(everything(), results=results),))


@pytest.mark.parametrize("form", Format)
def test_outputs_show_excerpts_and_keep_them_harmless(form):
    text = render(shown(), form)
    assert "\x1b" not in text
    assert render(from_json(render(shown(), Format.JSON)), form) == text


def test_where_excerpts_are_shown():
    assert "0x2: call [rax]" in render(shown(), Format.HTML)
    assert "\n        0x2: call [rax]\n" in render(shown(), Format.TEXT, Style(verbose=True))
    assert "call [rax]" not in render(shown(), Format.TEXT)
    (run,) = json.loads(render(shown(), Format.SARIF))["runs"]
    assert any(
        "0x2: call [rax]" in r.get("properties", {}).get("excerpt", ()) for r in run["results"]
    )
