import pytest

from hvci.catalog import ddis
from hvci.catalog.kmdf import kmdf_functions, parse_kmdf_functions
from hvci.errors import CatalogError


def test_the_kmdf_table_and_the_catalogue_agree():
    names = kmdf_functions()
    rows = [ddi for ddi in ddis().values() if ddi.wdf_index >= 0]
    assert len(rows) > 10
    assert all(names[ddi.wdf_index] == ddi.name for ddi in rows)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '["a", null]'])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(CatalogError, match=r"^kmdf_functions\.json: "):
        parse_kmdf_functions(text)
