"""Calls of display miniports through the interface that they keep: found where it is one."""

import json
from pathlib import Path

import pytest

from hvci.binary import read
from hvci.binary.calls.display import DEVICE
from hvci.model import NEWEST, Via

BUILT = Path(__file__).parents[2] / "fixtures" / "built"
EXPECTED = sorted(BUILT.glob("ports_*.expected.json"))
CALLED = "DxgkCbMapMemory"


def calls(data):
    """The calls of the interface: how each place is reached."""
    return {int(one.site.rva): one.via for one in read(data, NEWEST).calls if one.ddi == CALLED}


def of(path):
    expected = json.loads(path.read_text("utf-8"))
    (mark,) = [one for one in expected["sites"] if one["api"] == CALLED]
    return (BUILT / expected["driver"]).read_bytes(), mark


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.name.partition(".expected")[0])
def test_the_call_is_found_at_its_place(path):
    data, mark = of(path)
    found = calls(data)
    assert found == dict.fromkeys((one["rva"] for one in mark["at"]), Via.CALLBACK)


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.name.partition(".expected")[0])
def test_without_the_display_kernel_there_is_no_interface(path):
    data, _ = of(path)
    other = DEVICE.replace(b"K", b"X")
    assert data.count(DEVICE) == 1
    assert calls(data.replace(DEVICE, other)) == {}
