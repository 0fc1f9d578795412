"""Every marked fixture in every build: emulated values are the marked ones, nothing is left."""

import json
from itertools import product
from pathlib import Path

import pytest

from hvci import catalog
from hvci.model import Tier, WindowsVersion
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import Session

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
WINDOWS = (WindowsVersion.WINDOWS_XP, WindowsVersion.WINDOWS_11_24H2)
CHOICES = range(5)
"""Lengths of the registry path: what the fixtures branch on."""
CHOOSING = ("acquire", "calls", "kmdf", "msvc", "optin")
"""Families whose values depend on that length or on the Windows version."""
ENDS_BEFORE = "a bug check ends DriverEntry before it"
NEVER = {
    ("generated_code_bad", "contiguous"): ENDS_BEFORE,
    ("generated_code_bad", "kept_pool"): ENDS_BEFORE,
    ("generated_code_bad", "mapping"): ENDS_BEFORE,
    ("sample_bad", "plugin_section"): ENDS_BEFORE,
    ("msvc_bad", "zero_on_edge"): "KeQueryTimeIncrement never returns zero",
    ("msvc_clean", "zero_on_edge"): "KeQueryTimeIncrement never returns zero",
}
"""Marked sites that no run executes by itself, and why."""
FORCED = {
    ("byname_bad", "guarded_fallback"): "every Windows that gets so far has MmMapIoSpaceEx",
    ("byname_clean", "guarded_fallback"): "every Windows that gets so far has MmMapIoSpaceEx",
    ("library_bad", "second_buffer"): "no registry value fits the first buffer",
    ("library_clean", "second_buffer"): "no registry value fits the first buffer",
    ("manual_map_bad", "image_pool"): "files hold zeros and no headers",
}
"""Marked sites that are executed only where a branch is turned, and why."""
PARTLY = {("acquire_bad", "variable"): {4}, ("acquire_clean", "variable"): {0x200}}
"""Values that a run sees of a variable which also holds another, before anybody reads it."""
EXPECTED = sorted(BUILT.glob("*.expected.json"))


def run(expected, force=False):
    """(outcome, values by place and tier, RVAs of executed blocks) of every run that it takes."""
    family = name_of(expected).rpartition("_")[0]
    needed = not force and family in CHOOSING
    for version, choice in product(WINDOWS if needed else WINDOWS[1:], CHOICES if needed else (0,)):
        options = VerifierOptions(target_os=version, force=force)
        session = Session((BUILT / expected["driver"]).read_bytes(), options)
        session.machine.memory.put(session.kernel.objects.registry_path, choice, 2)
        yield session.run()


def observations(expected, force=False):
    """Deciding values by (RVA, DDI) and tier, and where code ran."""
    found, ran = {}, set()
    for result in run(expected, force):
        ran.update(result.executed)
        for call in result.calls:
            deciding = catalog.ddis()[call.ddi].deciding
            value = call.arguments.get(deciding)
            seen = found.setdefault((call.site.rva, call.ddi), {}).setdefault(call.tier, set())
            if value is not None:
                seen.update(value.possible)
    return found, ran


def name_of(expected):
    return expected["driver"].partition(".")[0]


def call_marks(expected):
    """The marks of DDI calls."""
    return [site for site in expected["sites"] if site["api"] is not None]


def check(site, found, ran, tier):
    """Every place of a mark was reached, and its values are the marked ones."""
    if site["at"][0]["kind"] == "implementation":
        assert all(any(at <= each["rva"] < at + size for at, size in ran) for each in site["at"])
        return
    places = [found.get((each["rva"], site["api"])) for each in site["at"]]
    assert None not in places, f"{site['id']} is not reached"
    values = set().union(*(place.get(tier, set()) for place in places))
    if site["complete"]:
        assert values == set(site["values"]), site["id"]
    assert set(site["values"]) <= values, site["id"]


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.name.partition(".expected")[0])
def test_emulated_values_are_the_marked_ones(path):
    expected = json.loads(path.read_text("utf-8"))
    marks = [
        site
        for site in call_marks(expected)
        if not {(name_of(expected), site["id"])} & (NEVER.keys() | FORCED.keys())
    ]
    if not marks:
        return
    found, ran = observations(expected)
    for site in marks:
        values = PARTLY.get((name_of(expected), site["id"]), site["values"])
        check({**site, "values": values}, found, ran, Tier.NATURAL)


@pytest.mark.parametrize(
    "path",
    [path for path in EXPECTED if path.name.partition(".")[0] in {family for family, _ in FORCED}],
    ids=lambda path: path.name.partition(".expected")[0],
)
def test_values_behind_a_turned_branch_are_the_marked_ones(path):
    expected = json.loads(path.read_text("utf-8"))
    found, ran = observations(expected, force=True)
    marks = [site for site in call_marks(expected) if (name_of(expected), site["id"]) in FORCED]
    for site in marks:
        check(site, found, ran, Tier.FORCED)
    assert marks


@pytest.mark.parametrize(("driver", "name"), sorted(NEVER))
def test_what_never_runs_by_itself_is_still_marked(driver, name):
    """A row that nothing needs any more must go."""
    for path in BUILT.glob(f"{driver}.*.expected.json"):
        expected = json.loads(path.read_text("utf-8"))
        (site,) = (site for site in expected["sites"] if site["id"] == name)
        found, _ = observations(expected)
        assert not any(
            Tier.NATURAL in found.get((each["rva"], site["api"]), {}) for each in site["at"]
        )
