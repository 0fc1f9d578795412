"""What must not change an answer, and what must change exactly one thing.

`python bench/metamorphic.py FOLDER` asks the same of real drivers.
"""

from pathlib import Path

import pytest

import build
import metamorphic
import signed
from hvci.evaluate import evaluate
from hvci.model import Signed

BUILT = Path(__file__).parents[1] / "fixtures" / "built"
NAMES = [
    *(f"calls_bad.{machine}.o2" for machine in ("x64", "x86", "arm64")),
    *("sample_clean.x64.o2", "audio_bad.x86.o2", "byname_bad.arm64.o2", "optin_bad.x64.o2"),
]
SEEDS = {name: (BUILT / f"{name}.sys").read_bytes() for name in NAMES}
SEEDS |= {machine: build.driver(machine) for machine in ("x64", "x86", "arm64")}
SEEDS["signed"] = signed.signed(build.driver(), signed.vendor())
_known = {}


def before(name, change=None):
    if name not in _known:
        _known[name] = evaluate(SEEDS[name])
    return metamorphic.answers(_known[name], change)


@pytest.mark.parametrize("change", metamorphic.MEANINGLESS, ids=lambda change: change.__name__)
def test_it_changes_no_answer(change):
    done = 0
    for name, data in SEEDS.items():
        other = metamorphic.changed(data, change)
        if other is None:
            continue
        done += 1
        assert other != data
        assert metamorphic.answers(evaluate(other), change) == before(name, change), name
    assert done, "no driver could be changed so"


def test_all_of_them_at_once_change_no_answer():
    data, order = SEEDS["calls_bad.x64.o2"], metamorphic.order
    for seed, change in enumerate(metamorphic.MEANINGLESS):
        data = metamorphic.changed(data, change, seed) or data
    assert metamorphic.answers(evaluate(data), order) == before("calls_bad.x64.o2", order)


@pytest.mark.parametrize(
    "name", ["x", "C:\\drivers\\a.sys", "INIT.sys", "ntoskrnl.exe", "\u202e.sys"]
)
def test_another_name_changes_no_answer(name):
    data = SEEDS["calls_bad.x64.o2"]
    assert metamorphic.answers(evaluate(data, name=name)) == before("calls_bad.x64.o2")


def test_a_certificate_taken_away_changes_who_signed_it_and_nothing_else():
    bare = evaluate(metamorphic.changed(SEEDS["signed"], metamorphic.stripped))
    whole = evaluate(SEEDS["signed"])
    assert metamorphic.answers(bare) == metamorphic.answers(whole)
    assert bare.trust.signed is Signed.NONE
    assert whole.trust.signed is not Signed.NONE


def moved(name, change):
    """The rules whose outcome a change moves."""
    image = metamorphic.Image(bytearray(SEEDS[name]))
    change(image)
    after = metamorphic.answers(evaluate(bytes(image.data)))
    pairs = zip(before(name)["rules"], after["rules"], strict=True)
    return {one[0] for one, two in pairs if one != two}


def code_writable(image):
    """The right to write for the first section of code."""
    at = next(at for at in image.headers if image.number(at + 36) & 0x2000_0000)
    image.put(at + 36, image.number(at + 36) | 0x8000_0000)


def data_executable(image):
    """The right to execute for the section of data."""
    at = next(at for at in image.headers if bytes(image.data[at : at + 5]) == b".data")
    image.put(at + 36, image.number(at + 36) | 0x2000_0000)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("sample_clean.x64.o2", code_writable), ("x64", code_writable), ("x86", code_writable)),
        *(("arm64", code_writable), ("x64", data_executable), ("arm64", data_executable)),
    ],
)
def test_a_writable_and_executable_section_moves_its_rule_alone(name, change):
    assert moved(name, change) == {"execute-write-section"}
