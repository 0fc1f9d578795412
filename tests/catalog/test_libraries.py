"""libraries.toml: what it says; a row that says too little or nonsense is refused by name."""

import pytest

from hvci import catalog
from hvci.catalog import Place, parse_libraries, parse_routines
from hvci.errors import CatalogError

LIBRARY = """
[[library]]
name = "made.lib"
gives = "MadeUp"
note = "from made.lib"
fix = "link another"
text = "A library."
ddis = ["ExAllocatePoolWithTag"]
tags = ["Made"]
imports = ["ZwClose"]
evidence = ["observed"]
source = "https://example.com/made"
"""
ROUTINE = """
[[routine]]
name = "Start"
library = "made.lib"
place = "entry"
cookie = true
source = "https://example.com/made"
"""
CALLED = ROUTINE.replace('"Start"', '"Next"').replace('"entry"', '"called"')


def libraries(text):
    return parse_libraries(text, catalog.ddis())


def changed(text, old, new):
    assert old in text
    return text.replace(old, new)


def test_good_rows_are_read():
    (library,) = libraries(LIBRARY).values()
    assert library.tags == {0x6564614D}
    assert (library.strings, library.modules, library.functions) == ((), frozenset(), frozenset())
    assert library.signs == ("the pool tag Made", "ZwClose in the same function")
    (routine,) = parse_routines(ROUTINE)
    assert (routine.place, routine.cookie, routine.calls) == (Place.ENTRY, True, frozenset())


def test_signs_name_all_that_must_be_there():
    more = 'strings = ["A long text", "Another text"]\nmodules = ["made.sys"]\nevidence'
    (library,) = libraries(changed(LIBRARY, "evidence", more)).values()
    assert library.signs[2:] == (
        "the texts A long text and Another text in the image",
        "an import from made.sys",
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "made.lib"\n', "", "library 1: name is missing"),
        ('"ExAllocatePoolWithTag"', '"NoSuchDdi"', "made.lib: ddis: NoSuchDdi is no DDI"),
        ('["ExAllocatePoolWithTag"]', "[]", "made.lib: ddis is empty"),
        ('"Made"', '"Mad"', "made.lib: tags: 'Mad' is not known"),
        ('"Made"', '"Mäde"', "made.lib: tags: 'Mäde' is not known"),
        ('["Made"]', "[]", "made.lib: tags is empty"),
        ('imports = ["ZwClose"]\n', "", "made.lib: a tag alone proves nothing"),
        ('imports = ["ZwClose"]', 'strings = ["Exact"]', "made.lib: a string needs 8"),
        ('imports = ["ZwClose"]', 'modules = ["KS.sys"]', "made.lib: modules are written"),
        ('"from made.lib"', '"made.lib"', 'made.lib: note begins with "from"'),
        ('"link another"', '""', "made.lib: fix is empty"),
        ('["observed"]', "[]", "made.lib: evidence is empty"),
        ('["observed"]', '["guessed"]', "made.lib: evidence: 'guessed' is not known"),
        ('"https://example.com/made"', '"a friend"', "made.lib: source must be an address"),
        ("gives", "give", "made.lib: gives is missing"),
        ("evidence", "extra = 1\nevidence", "made.lib: unknown field extra"),
    ],
)
def test_a_bad_library_is_refused_by_name(old, new, says):
    with pytest.raises(CatalogError, match=f"^libraries.toml: {says}"):
        libraries(changed(LIBRARY, old, new))


def test_a_library_twice_and_a_table_that_is_none():
    with pytest.raises(CatalogError, match=r"libraries.toml: made.lib: listed twice"):
        libraries(LIBRARY + LIBRARY)
    with pytest.raises(CatalogError, match=r"libraries.toml: want \[\[library\]\] tables"):
        libraries("library = 1")
    with pytest.raises(CatalogError, match=r"libraries.toml: want \[\[routine\]\] tables"):
        parse_routines("routine = [1]")


@pytest.mark.parametrize(
    ("text", "old", "new", "says"),
    [
        (ROUTINE, 'name = "Start"\n', "", "routine 1: name is missing"),
        (ROUTINE, "cookie = true\n", "", "Start: nothing tells it"),
        (ROUTINE, '"entry"', '"below"', "Start: place: 'below' is not known"),
        (ROUTINE, "cookie = true", 'called_by = ["Start"]', "Start: called_by is for what"),
        (ROUTINE, "cookie = true", 'calls = ["Nobody"]', "Start: Nobody is no routine"),
        (CALLED, "cookie = true", 'calls = ["Next"]', "Next: calls is for the entry"),
        (CALLED, "cookie = true", 'called_by = ["Nobody"]', "Next: Nobody is no routine"),
        (ROUTINE, '"https://example.com/made"', '""', "Start: source must be an address"),
    ],
)
def test_a_bad_routine_is_refused_by_name(text, old, new, says):
    with pytest.raises(CatalogError, match=f"^libraries.toml: {says}"):
        parse_routines(changed(text, old, new))


def test_shipped_rows():
    shipped = catalog.libraries()
    assert {"wdmsec.lib", "stdunk.h"} <= set(shipped)
    for library in shipped.values():
        judged = {catalog.ddis()[name].rule.judged_by for name in library.ddis}
        assert judged == {"execute-pool-type"}
        assert all(catalog.ddis()[name].tag for name in library.ddis)
        assert not library.fix.endswith(".")
        assert library.fix[0].islower()
    tags = [tag for library in shipped.values() for tag in library.tags]
    assert len(tags) == len(set(tags))
    assert {"GsDriverEntry", "FxDriverEntry", "DriverEntry"} <= {r.name for r in catalog.routines()}
