"""`sources` files: what they include, what they link, and what nothing here sets."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Answer, Question
from hvci.model.judged import TEXT_RULES
from sources import bad, entry, lay, read

GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
BAD = "#include <ntddk.h>\nPVOID F(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
CHOSEN = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")
HEAD = "TARGETNAME=a\nTARGETTYPE=DRIVER\n"


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


@pytest.mark.parametrize(
    "text",
    [
        "!include more.inc\nSOURCES=good.c $(COMMON)\n",
        "!INCLUDE $(NTMAKEENV)\\x.inc\n!include more.inc\nSOURCES=good.c \\\n  $(COMMON)\n",
        "SOURCES=good.c \\\n # kept apart\n bad.c\n",
        "!IF $(FREEBUILD)\nSOURCES=bad.c\n!ENDIF\n!IF 0\nSOURCES=good.c\n!ENDIF\n",
    ],
)
def test_every_source_is_found(tmp_path, text):
    lay(tmp_path, sources=HEAD + text, good__c=GOOD, bad__c=BAD, more__inc="COMMON=bad.c\n")
    evidence = read(tmp_path)
    assert len(evidence.calls) == 2
    assert weighing(evidence) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("!include gone.inc\nSOURCES=good.c\n", "gone.inc, which it includes, is missing"),
        ("SOURCES=good.c $(MORE)\n", "its files are also in $(MORE)"),
        ("SOURCES=good.c\nLINKLIBS=engine.lib\n", "a links engine.lib, which is not here"),
        ("SOURCES=good.c\nTARGETLIBS=$(MINE)\\x.lib\n", "a links $(MINE)\\x.lib"),
        ("SOURCES=good.c\nUSER_C_FLAGS=/FIgone.h\n", "the header gone.h, which is forced"),
    ],
)
def test_what_is_missing_is_named(tmp_path, text, told):
    lay(tmp_path, sources=HEAD + text, good__c=GOOD)
    assert [told in reason for reason in weighing(read(tmp_path))] == [True]


def test_libraries_of_the_kit_and_forced_headers(tmp_path):
    text = "SOURCES=d.c\nTARGETLIBS=$(DDK_LIB_PATH)\\some.lib $(SDK_LIB_PATH)\\uuid.lib\n"
    lay(tmp_path, sources=HEAD + text, d__c=CHOSEN, bad__h="#define BAD\n")
    evidence = read(tmp_path)
    assert (bad(evidence), weighing(evidence)) == (set(), [])
    lay(tmp_path, sources=HEAD + text + "USER_C_FLAGS=/FIbad.h\n")
    assert "execute-pool-type" in bad(read(tmp_path))


def test_definitions_that_depend_on_a_condition_are_named(tmp_path):
    text = "SOURCES=d.c\n!IF $(FREEBUILD)\nC_DEFINES=-DX\n!ELSE\nC_DEFINES=-DBAD\n!ENDIF\n"
    lay(tmp_path, sources=HEAD + text, d__c=CHOSEN)
    evidence = read(tmp_path)
    assert "execute-pool-type" in bad(evidence)
    assert any("depends on !IF" in limit.reason for limit in evidence.limits)


def test_the_line_of_a_setting_is_that_of_the_file(tmp_path):
    text = "# one\n# two\n!include more.inc\nTARGETTYPE=DRIVER\n"
    text += "DRIVER_ALIGNMENT=0x80\nSOURCES=good.c\n"
    lay(tmp_path, sources=text, good__c=GOOD, more__inc="A=1\nB=2\n")
    assert {one.site.line for one in read(tmp_path).settings if one.name == "/ALIGN"} == {5}


def test_a_library_is_that_of_the_driver_that_links_it(tmp_path):
    lay(tmp_path, dirs="DIRS=a b lib\n", lib___l__c=BAD)
    lay(tmp_path, lib___sources="TARGETNAME=l\nTARGETTYPE=DRIVER_LIBRARY\nSOURCES=l.c\n")
    for name in ("a", "b"):
        linked = "TARGETLIBS=..\\lib\\$(O)\\l.lib\n" if name == "a" else ""
        text = f"TARGETNAME={name}\nTARGETTYPE=DRIVER\nSOURCES=good.c\n{linked}"
        lay(tmp_path / name, sources=text, good__c=GOOD)
    reports = evaluate_drivers(tmp_path, Options())
    found = {one.target.path.split("/")[-2]: one.answers[Question.READINESS] for one in reports}
    assert found == {"a": Answer.NO, "b": Answer.YES}
    (alone,) = evaluate_drivers(tmp_path / "a", Options())
    assert alone.answers[Question.READINESS] is Answer.NO
