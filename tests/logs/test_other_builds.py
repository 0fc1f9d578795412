"""A log beside another build of the driver, its sources, or findings that cannot have caused it."""

import pytest
from click.testing import CliRunner

from build import driver
from hvci.cli import main
from sources import entry, lay, vcxproj

CRASH = """*** STOP: 0x000000C4 (0x0000000000002000,0xfffff80112341015,{pool},0x0000000074736554)
fffff801`12340000 fffff801`12350000   {name}        (deferred)
    Image path: {name}.sys
IMAGE_NAME:  {name}.sys
"""
CALL = "ExAllocatePoolWithTag(NonPagedPool, 8, 'tseT');"
OTHER = "is another build of it"
PLACE = "the log names this place:"


def said(folder, *targets, pool="0x0000000000000000", name="drv"):
    log = folder / "crash.txt"
    log.write_text(CRASH.format(pool=pool, name=name))
    return CliRunner().invoke(main, ["import-log", str(log), *map(str, targets)]).output


@pytest.mark.parametrize(
    ("asks", "pool", "is_same"),
    [
        (0, "0x0000000000000000", True),
        (0x200, "0x0000000000000000", False),
        (1, "0x0000000000000000", False),
        (0x200, "0x0000000000000200", True),
    ],
)
def test_a_call_that_cannot_have_had_the_parameters_is_of_another_build(
    tmp_path, asks, pool, is_same
):
    (tmp_path / "drv.sys").write_bytes(driver(pool_type=asks))
    text = said(tmp_path, tmp_path / "drv.sys", pool=pool)
    assert (PLACE in text, OTHER in text) == (is_same, not is_same)


def test_a_driver_that_is_not_named_is_no_other_build(tmp_path):
    (tmp_path / "drv.sys").write_bytes(driver())
    text = said(tmp_path, tmp_path / "drv.sys", name="else")
    assert "no finding of hvci explains it" in text
    assert OTHER not in text


def test_causes_of_other_checks_are_none_of_a_bug_check(tmp_path):
    """It would not load with memory integrity on, and has no call that stops it."""
    (tmp_path / "drv.sys").write_bytes(driver(section_alignment=0x200))
    assert "SectionAlignment" not in said(tmp_path, tmp_path / "drv.sys")
    (tmp_path / "drv.sys").write_bytes(driver(pool_type=0))
    row = said(tmp_path, tmp_path / "drv.sys").partition("next:")[0]
    assert "PoolType is NonPagedPool" in row


@pytest.mark.parametrize(
    "target", ["", "drv.vcxproj", "drv.c", "else.vcxproj", "CMakeLists.txt", "two/CMakeLists.txt"]
)
def test_sources_of_the_driver_that_the_log_names(tmp_path, target):
    lay(tmp_path, drv__c=entry(CALL), two___drv__c=entry(CALL))
    cmake = "add_executable({0} drv.c)\ntarget_link_options({0} PRIVATE /DRIVER)\n"
    lay(tmp_path, two___CMakeLists__txt=cmake.format("drv") + cmake.format("else"))
    if target == "CMakeLists.txt":
        lay(tmp_path, CMakeLists__txt=cmake.format("drv"))
    elif target.endswith(".vcxproj"):
        (tmp_path / target).write_text(vcxproj("drv.c"))
    text = said(tmp_path, tmp_path / target)
    assert ("findings that can have caused it" in text) is (target != "else.vcxproj")
    if target == "two/CMakeLists.txt":
        assert "CMakeLists.txt#else" not in text
