"""Macros that hide calls: our rows are read and checked by meaning."""

import pytest

from hvci.catalog import ddis, hidden_calls, parse_macros
from hvci.errors import CatalogError

ROW = """
[[macro]]
name = "MAKE"
header = "x.h"
parameters = ["Kind", "Tag"]
ddi = "operator new"
gives = ["Kind", "'abcd'"]
evidence = ["header"]
source = "x.h"
"""


def test_shipped_rows():
    rows = hidden_calls()
    assert rows["STD_CREATE_BODY_"].gives == ("poolType", "'rCcP'")
    assert all(row.ddi in ddis() and row.gives for row in rows.values())


def test_a_row():
    assert parse_macros(ROW, ["operator new"])["MAKE"].parameters == ("Kind", "Tag")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("operator new", "nobody", "nobody is no row"),
        ('["Kind", "\'abcd\'"]', '["Other"]', "Other is no parameter"),
        ("source", "origin", "source is missing"),
        ('source = "x.h"', 'source = "x.h"\nmore = 1', "unknown field more"),
        ('["header"]', '["rumour"]', "rumour"),
    ],
)
def test_a_bad_row_is_refused_by_name(old, new, said):
    with pytest.raises(CatalogError, match=f"MAKE: .*{said}"):
        parse_macros(ROW.replace(old, new), ["operator new"])


def test_a_row_is_listed_once():
    with pytest.raises(CatalogError, match="listed twice"):
        parse_macros(ROW + ROW, ["operator new"])
