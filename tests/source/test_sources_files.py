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
        "!IF $(FREEBUILD)\nSOURCES=bad.c\n!ELSE\nSOURCES=good.c\n!ENDIF\n",
        "!IFDEF MINE\nSOURCES=bad.c\n!ELSEIF 1\nSOURCES=good.c\n!ENDIF\n",
        '!IF "$(_BUILDARCH)" == "AMD64"\nSOURCES=bad.c\n!ELSE\nSOURCES=good.c\n!ENDIF\n',
        "!IF $(OS) > 5 && !DEFINED(X)\nMORE=bad.c\n!ELSE\nMORE=good.c\n!ENDIF\nSOURCES=$(MORE)\n",
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


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("!IF $(FREEBUILD)", (True, True)),
        ("!IF $(AMD64) && $(386)", (False, True)),
        ("!IF 0x600 <= 1537 && ! ( 1 == 2 )", (True, False)),
        ('!IF "a" != "a" || "b" == "b"', (True, False)),
        ("!IFDEF TARGETTYPE", (True, False)),
        ("!IFNDEF TARGETTYPE", (False, True)),
        ("!IFDEF ELSEWHERE", (True, True)),
        ('!IF "$(DDK_TARGET_OS)" == "Win7"', (True, True)),
        ("!IF EXIST(some.txt)", (True, True)),
    ],
)
def test_definitions_under_a_condition(tmp_path, condition, expected):
    """Each branch counts that some build takes, and no other."""
    for at, (first, second) in enumerate((("BAD", "X"), ("X", "BAD"))):
        text = (
            f"SOURCES=d.c\n{condition}\nC_DEFINES=-D{first}\n!ELSE\nC_DEFINES=-D{second}\n!ENDIF\n"
        )
        lay(tmp_path, sources=HEAD + text, d__c=CHOSEN)
        assert ("execute-pool-type" in bad(read(tmp_path))) is expected[at]


def test_a_condition_that_goes_both_ways_is_told(tmp_path):
    text = "SOURCES=d.c\n!IF $(SIDE)\nC_DEFINES=-DBAD\n!ENDIF\n!IF $(SIDE)\nINF=x\n!ENDIF\n"
    lay(tmp_path, sources=HEAD + text, d__c=CHOSEN)
    (call,) = read(tmp_path).calls
    labels = {label for label, value in call.builds if 0 in value.possible}
    assert labels == {
        f"{kind}|{machine} (IF $(SIDE))" for kind in FORMS for machine in ("x64", "x86")
    }


FORMS = ("chk", "fre")


def test_more_ways_than_are_looked_at(tmp_path):
    text = "".join(f"!IF $(S{at})\nSOURCES=$(SOURCES) d.c\n!ENDIF\n" for at in range(8))
    lay(tmp_path, sources=HEAD + "SOURCES=\n" + text, d__c=GOOD)
    assert any("more ways than were looked at" in one for one in weighing(read(tmp_path)))


@pytest.mark.parametrize("name", ["MSC_OPTIMIZATION", "386_FLAGS", "AMD64_FLAGS", "USER_C_FLAGS"])
def test_options_in_other_variables(tmp_path, name):
    lay(tmp_path, sources=f"{HEAD}SOURCES=d.c\n{name}=/Od /DBAD\n", d__c=CHOSEN)
    assert "execute-pool-type" in bad(read(tmp_path))


@pytest.mark.parametrize("name", ["LINKER_FLAGS", "OBJLIBFILES", "OBJECTS"])
def test_objects_in_other_variables(tmp_path, name):
    lay(tmp_path, sources=f"{HEAD}SOURCES=d.c\n{name}=low.obj\n", d__c=GOOD)
    assert ["low.obj" in one for one in weighing(read(tmp_path))] == [True]


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


BY_VERSION = "#if NTDDI_VERSION >= NTDDI_WIN8\n#define P NonPagedPoolNx\n#else\n"
BY_VERSION += "#define P NonPagedPool\n#endif\n" + entry("ExAllocatePoolWithTag(P, 8, 'a');")
AIMED = "_NT_TARGET_VERSION={}\nSOURCES=a.c\n"
ASKING = "!IF $(_NT_TARGET_VERSION) < {}\nC_DEFINES=-DBAD\n!ENDIF\n"


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("0x601", True),
        ("0x0602", False),
        ("$(_NT_TARGET_VERSION_WIN7)", True),
        ("$(_NT_TARGET_VERSION_WINXP)", True),
        ("$(_NT_TARGET_VERSION_WIN8)", False),
    ],
)
def test_the_version_that_a_build_aims_at(tmp_path, version, is_old):
    lay(tmp_path, a__c=BY_VERSION, sources=HEAD + AIMED.format(version))
    assert ("execute-pool-type" in bad(read(tmp_path))) is is_old
    text = HEAD + AIMED.format(version) + ASKING.format("$(_NT_TARGET_VERSION_WIN8)")
    lay(tmp_path, a__c=CHOSEN, sources=text)
    assert ("execute-pool-type" in bad(read(tmp_path))) is is_old


@pytest.mark.parametrize(
    ("condition", "fails"),
    [
        ("OSVER(NTDDI_VERSION) >= NTDDI_WIN8", False),
        ("OSVER(NTDDI_VERSION) < NTDDI_WIN8", True),
        ("SPVER(0x06010100) == 1", False),
        ("SUBVER(0x06010102) != 2", True),
    ],
)
def test_macros_of_the_kit_that_take_versions_apart(tmp_path, condition, fails):
    text = BY_VERSION.replace("NTDDI_VERSION >= NTDDI_WIN8", condition)
    lay(tmp_path, a__c=text, sources=HEAD + "SOURCES=a.c\n")
    assert ("execute-pool-type" in bad(read(tmp_path))) is fails


@pytest.mark.parametrize("place", ["amd64", "."])
def test_a_source_of_one_machine_lies_in_its_folder(tmp_path, place):
    lay(tmp_path, sources=HEAD + "SOURCES=good.c\nAMD64_SOURCES=bad.c\n", good__c=GOOD)
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "bad.c").write_text(BAD)
    evidence = read(tmp_path)
    assert "execute-pool-type" in bad(evidence)
    assert weighing(evidence) == []
