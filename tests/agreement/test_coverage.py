"""docs/coverage.md is what the built drivers show, and leaves no DDI of Microsoft's list out."""

import pytest

import coverage_table


@pytest.fixture(scope="module")
def found():
    return coverage_table.gather()


def test_every_ddi_is_shown_on_every_architecture(found):
    wanted = {
        (ddi.name, machine) for ddi in coverage_table.seeds() for machine in coverage_table.MACHINES
    }
    assert sorted(wanted - found.keys()) == []


def test_the_page_is_up_to_date(found):
    current = coverage_table.PAGE.read_text("utf-8")
    assert current == coverage_table.page(found), "run python tests/coverage_table.py"
