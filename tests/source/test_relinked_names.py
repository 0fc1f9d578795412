"""Names that only a linker or compiler gives to routines: calls by them are never silent."""

import pytest

from sources import definitions, entry, lay, read, vcxproj

OTHERS = [
    "extern PVOID (*__imp_ExAllocatePoolWithTag)(POOL_TYPE, SIZE_T, ULONG);\n",
    '#pragma comment(linker, "/alternatename:My=ExAllocatePoolWithTag")\n',
    "#pragma redefine_extname My ExAllocatePoolWithTag\n",
    'PVOID My(POOL_TYPE) __attribute__((alias("ExAllocatePoolWithTag")));\n',
]


def renamed(folder):
    return [one for one in read(folder).limits if "has another name for the linker" in one.reason]


@pytest.mark.parametrize("text", OTHERS)
def test_another_name_of_a_routine(tmp_path, text):
    lay(tmp_path, d__vcxproj=vcxproj("d.c"), d__c=text + entry("My(NonPagedPool);"))
    (limit,) = renamed(tmp_path)
    assert "execute-pool-type" in limit.rules
    other = text.replace("ExAllocatePoolWithTag", "ExFreePoolWithTag")
    lay(tmp_path, d__c="#if 0\n" + text + "#endif\n" + other + entry(""))
    assert renamed(tmp_path) == []


@pytest.mark.parametrize("name", ["ExAllocatePoolWithTag", "_ExAllocatePoolWithTag@12"])
def test_another_name_in_a_project(tmp_path, name):
    for given, count in ((name, 1), ("Other", 0)):
        extra = definitions(f"/ALTERNATENAME:My={given}", "", "AdditionalOptions", "Link")
        lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=extra), d__c=entry("My(NonPagedPool);"))
        assert len(renamed(tmp_path)) == count
