"""Which calls are a library's: every sign must be there, and symbols have the last word."""

from dataclasses import replace

import pytest

from here import FIXTURES
from hvci.binary.calls.libraries import with_names
from hvci.evaluate import Options, evaluate
from hvci.model import (
    Confidence,
    DdiCall,
    Evidence,
    Executable,
    FromLibrary,
    ImageSite,
    Origin,
    Rva,
    SourceSite,
    Value,
    Via,
)

BUILT = FIXTURES / "built"
MACHINES = ("x64", "x86", "arm64")
TAG = int.from_bytes(b"PpRb", "little")
FOUND = FromLibrary("wdmsec.lib", Confidence.LIKELY, "features")


def bytes_of(name):
    return (BUILT / f"{name}.sys").read_bytes()


def recognised(target, options=None):
    report = evaluate(target, options)
    return [item.call.library.name for item in report.calls if item.call.library]


# ---- features of the image


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("IoCreateDeviceSecure".encode("utf-16-le"), "IoCreateDeviceSecurf".encode("utf-16-le")),
        ("DeviceCharacteristics".encode("utf-16-le"), "DeviceCharacteristicz".encode("utf-16-le")),
        (b"ZwQueryValueKey\0", b"ZwQueryValueKez\0"),
        (b"PpRb", b"PpRc"),
    ],
    ids=("lookup", "setting", "import", "tag"),
)
def test_no_library_without_each_of_its_signs(machine, old, new):
    data = bytes_of(f"library_bad.{machine}.o2")
    if machine == "arm64" and old == b"PpRb":
        pytest.skip("the tag is spread over two instructions")
    assert recognised(data) == ["wdmsec.lib"] * 2
    assert old in data
    assert recognised(data.replace(old, new)) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_a_header_of_audio_drivers_needs_an_audio_driver(machine):
    data = bytes_of(f"objects_bad.{machine}.o2")
    assert recognised(data) == ["stdunk.h"] * 2
    assert recognised(data.replace(b"portcls.sys", b"portclx.sys")) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_a_current_library_is_no_finding(machine):
    report = evaluate(BUILT / f"library_clean.{machine}.o2.sys")
    assert [finding.message for finding in report.findings] == []
    judged = [item.executable for item in report.calls if "PoolType" in item.call.arguments]
    assert judged == [Executable.NO] * 6
    assert [item for item in report.calls if item.call.library] == []


def test_findings_name_the_library_and_what_to_link():
    report = evaluate(BUILT / "library_bad.x64.o2.sys")
    named = [finding for finding in report.findings if "wdmsec.lib" in finding.message]
    assert [finding.site.rva for finding in named] == [
        item.call.site.rva for item in report.calls if item.call.library
    ]
    assert all("link wdmsec.lib of a current WDK" in finding.fix for finding in named)
    others = [finding for finding in report.findings if finding not in named]
    assert len(others) == 4
    assert not any("wdmsec" in f"{finding.message}{finding.fix}" for finding in others)


# ---- symbols and runs


def test_symbols_make_certain_or_deny():
    certain = evaluate(BUILT / "library_bad.x64.named.sys", Options(symbols=()))
    libraries = [item.call.library for item in certain.calls if item.call.library]
    assert [found.confidence for found in libraries] == [Confidence.PROVEN] * 2
    assert libraries[0].why == "symbols name the function CmRegUtilUcValueGetFullBuffer"
    assert recognised(BUILT / "library_bad.x64.renamed.sys") == ["wdmsec.lib"] * 2
    assert recognised(BUILT / "library_bad.x64.renamed.sys", Options(symbols=())) == []


def a_call(function=None, pool_type=0, tag=TAG, **change):
    arguments = {"PoolType": Value.exactly(pool_type), "Tag": Value.exactly(tag)}
    site = ImageSite(Rva(0x1010), ".text", function)
    call = DdiCall("ExAllocatePoolWithTag", arguments, site, Origin.CALLSITE, Via.IAT)
    return replace(call, **change)


def after_names(*calls):
    return [call.library for call in with_names(Evidence(frozenset(), calls=calls)).calls]


@pytest.mark.parametrize(
    "call",
    [
        a_call("CmRegUtilUcValueGetFullBuffer", pool_type=0x200),
        a_call("CmRegUtilUcValueGetFullBuffer", tag=0x31313131),
        a_call("CmRegUtilUcValueGetFullBuffer", dead="for old Windows only"),
        a_call("CmRegUtilUcValueGetFullBuffer", arguments={"PoolType": Value.exactly(0)}),
        a_call(
            "CmRegUtilUcValueGetFullBuffer",
            arguments={"PoolType": Value.exactly(0), "Tag": Value.unknown("computed")},
        ),
        a_call("CmRegUtilUcValueGetFullBuffer", ddi="MmMapIoSpace"),
        a_call("CmRegUtilUcValueGetFullBuffer", ddi="NoSuchDdi"),
        a_call("Own", library=FOUND),
        a_call("Own(void*)", library=FOUND),
        a_call(),
        replace(
            a_call(),
            site=SourceSite("a.c", 3, 1, "CmRegUtilUcValueGetFullBuffer"),
            origin=Origin.SOURCE,
        ),
    ],
)
def test_no_library_by_name(call):
    assert after_names(call) == [None]


@pytest.mark.parametrize(
    "name",
    [
        "CmRegUtilUcValueGetFullBuffer",
        "CmRegUtilUcValueGetFullBuffer(void*, unsigned long)",
        "_CmRegUtilUcValueGetFullBuffer@16",
    ],
)
def test_a_name_in_symbols_is_certain_without_any_feature(name):
    (found,) = after_names(a_call(name))
    assert (found.name, found.confidence) == ("wdmsec.lib", Confidence.PROVEN)


@pytest.mark.parametrize("name", [None, "sub_1000", "entry point"])
def test_no_name_leaves_the_features(name):
    assert after_names(a_call(name, library=FOUND)) == [FOUND]


def test_a_header_has_no_function_that_could_deny_it():
    header = FromLibrary("stdunk.h", Confidence.LIKELY, "features")
    tag = int.from_bytes(b"PcNw", "little")
    assert after_names(a_call("CreateMiniport", tag=tag, library=header)) == [header]


def test_what_a_run_saw_at_the_place_is_the_same_call():
    run = a_call(origin=Origin.VERIFIER, via=Via.EMULATED)
    elsewhere = replace(run, site=ImageSite(Rva(0x2000)))
    assert after_names(a_call(library=FOUND), run, elsewhere) == [FOUND, FOUND, None]


def test_a_run_of_the_driver_names_the_library_too():
    report = evaluate(BUILT / "library_bad.x64.o2.sys", Options(verify=True))
    origins = {item.call.origin for item in report.calls if item.call.library}
    assert origins == {Origin.CALLSITE, Origin.VERIFIER}
