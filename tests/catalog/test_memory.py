"""Which DDIs hand out memory: a field of the catalogue, from which behaviours start."""

from pathlib import Path

import pytest

from hvci import catalog
from hvci.catalog import memory
from hvci.catalog.ddis import Gives
from hvci.evaluate import evaluate
from hvci.model import Outcome

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
OLD = b"ExAllocatePoolWithTag\0"


def test_the_sets_are_those_of_the_rows() -> None:
    rows = catalog.ddis().values()
    given = {kind: {row.name for row in rows if row.gives is kind} for kind in Gives}
    assert given[Gives.POOL] == memory.POOL
    assert given[Gives.VIEW] == memory.VIEWS
    assert given[Gives.VIRTUAL] == memory.VIRTUAL
    assert given[Gives.CONTIGUOUS] < memory.CONTIGUOUS
    assert given[Gives.MAPPING] < memory.MAPPINGS


def test_what_puts_memory_somewhere_gets_a_pointer() -> None:
    for name in memory.PUT.keys() & catalog.ddis().keys():
        ddi, put = catalog.ddis()[name], memory.PUT[name]
        parameter = ddi.parameters[put.position]
        assert parameter.type.startswith("P") or "*" in parameter.type
        assert (put.at(64), put.at(32)) == (put.position, ddi.x86_slot(parameter.name))
        assert name not in memory.RETURNED


def test_each_of_the_46_that_returns_pool_is_known() -> None:
    asked = {row.name for row in catalog.ddis().values() if row.seed and "Allocate" in row.name}
    assert {"VideoPortAllocatePool", "ChangerClassAllocatePool"} < asked & memory.POOL


@pytest.mark.parametrize("name", ["ExAllocatePoolWithTag", "VideoPortAllocatePool"])
@pytest.mark.parametrize("driver", ["manual_map_bad.x64.o2.sys", "generated_code_bad.x64.o2.sys"])
def test_code_in_pool_is_found_whoever_gives_it(name: str, driver: str) -> None:
    data = (BUILT / driver).read_bytes()
    assert data.count(OLD) == 1
    report = evaluate(data.replace(OLD, name.encode() + b"\0"))
    outcomes = {each.rule: each.outcome for each in report.results}
    assert outcomes["dynamic-code"] is Outcome.FAIL


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        ("ExFreePoolWithTag", True),
        ("ZwClose", True),
        ("NtClose", True),
        ("NtBuildNumber", False),
        ("KeTickCount", False),
        ("NotInTheCatalogue", False),
    ],
)
def test_code_is_told_from_variables_of_the_kernel(name: str, is_code: bool) -> None:
    assert memory.is_function(name) is is_code
