"""Whole reports of committed drivers. `python tests/golden/test_golden.py` writes them anew."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hvci.evaluate import Options, evaluate
from hvci.model import WindowsVersion
from hvci.report import Document, Format, render

HERE = Path(__file__).parent
BUILT = HERE.parent / "fixtures" / "built"
DRIVERS = {
    "sample_bad.x64.o2": WindowsVersion.WINDOWS_11_24H2,
    "sample_clean.x64.o2": WindowsVersion.WINDOWS_11_24H2,
    "msvc_bad.x86.asm": WindowsVersion.WINDOWS_10_1507,
    "optin_clean.x64.o2": WindowsVersion.WINDOWS_10_1507,
    "image.x64.straddling": WindowsVersion.WINDOWS_10_1607,
    "image.x64.wx_init": WindowsVersion.WINDOWS_11_24H2,
    "image.x86.align_80": WindowsVersion.WINDOWS_11_24H2,
}
FORMS = {Format.TEXT: ".txt", Format.JSON: ".json"}


def document(name):
    """One driver's report as it would be on any machine: its own name as path, no times."""
    report = evaluate(BUILT / f"{name}.sys", Options(target_os=DRIVERS[name]))
    target = replace(report.target, path=f"{name}.sys")
    return Document((replace(report, target=target, seconds={}),))


def golden(name, form):
    return HERE / f"{name}{FORMS[form]}"


@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_report_is_as_committed(name, form):
    expected = golden(name, form).read_text("utf-8")
    assert render(document(name), form).splitlines() == expected.splitlines(), (
        "read the difference; where it is meant, run python tests/golden/test_golden.py"
    )


@pytest.mark.parametrize("name", DRIVERS)
def test_the_committed_report_is_json(name):
    assert json.loads(golden(name, Format.JSON).read_text("utf-8"))["schema_version"] == 1


if __name__ == "__main__":
    for each in DRIVERS:
        for kind in FORMS:
            golden(each, kind).write_text(render(document(each), kind), "utf-8")
