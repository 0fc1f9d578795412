"""Calls through the KMDF function table: what only looks like one is none."""

import pytest

from here import FIXTURES
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.callsites import CallSites
from hvci.binary.calls.framework.table import find_binding, uses
from hvci.binary.form.code import Flow, Location
from hvci.binary.pe.image import PeImage
from hvci.evaluate import evaluate
from hvci.model import Via

BUILT = FIXTURES / "built"
CALL_BYTES = 5


def framework_calls(data):
    calls = CallSites(Analysis(PeImage(bytes(data)))).find()
    return {(call.site.rva, call.ddi) for call in calls if call.via is Via.KMDF}


def test_a_direct_call_whose_bytes_name_a_table_entry_is_no_framework_call():
    data = bytearray((BUILT / "kmdf_bad.x64.v13_o2.sys").read_bytes())
    before = framework_calls(data)
    assert len(before) > 10
    analysis = Analysis(PeImage(bytes(data)))
    entry = analysis.functions.at(analysis.image.headers.entry)
    i = entry.flows.index(Flow.CALL)
    rva = entry.rvas[i]
    assert entry.end(i) - rva == CALL_BYTES
    section = analysis.image.section_at(rva)
    operand = section.raw_offset + rva + 1 - section.rva
    distance = find_binding(analysis).table + 8 - (rva + CALL_BYTES)
    data[operand : operand + 4] = distance.to_bytes(4, "little", signed=True)
    assert rva not in {place for place, _ in framework_calls(data)}


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_what_was_asked_before_the_table_was_known_is_asked_again(machine):
    data = (BUILT / f"kmdf_bad.{machine}.v15_o2.sys").read_bytes()
    analysis = Analysis(PeImage(data))
    binding = find_binding(analysis)
    loads = [
        found
        for place in analysis.references.to_data(binding.table)
        if (found := analysis.functions.instruction_at(place))
        and analysis.arch.effect(*found).registers.bit_count() == 1
    ]

    def held():
        for function, i in loads:
            register = analysis.arch.effect(function, i).registers.bit_length() - 1
            analysis.flow.begin()
            yield analysis.flow.value(function, i + 1, Location(register))

    assert analysis.framework_table not in list(held())
    uses(analysis, binding)
    assert analysis.framework_table in list(held())


def test_the_version_of_the_framework_reaches_the_report():
    report = evaluate((BUILT / "kmdf_bad.x64.v15_o2.sys").read_bytes())
    assert report.image is not None
    assert report.image.kmdf_version == "1.15.0"


def test_an_image_without_the_framework_has_no_version():
    report = evaluate((BUILT / "calls_bad.x64.o2.sys").read_bytes())
    assert report.image is not None
    assert report.image.kmdf_version is None
