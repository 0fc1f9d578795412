"""A driver that its project calls a program is judged; a program asks nothing of the kernel."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model.judged import USER_ONLY
from sources import bad, definitions, entry, lay, read, vcxproj

BAD = entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'abcd');")
PLAIN = "int Helper(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'abcd') != 0; }\n"


def seen(folder, **files):
    """Whether the bad call counts, and whether all here is for user mode."""
    evidence = read(lay(folder, **files))
    return "execute-pool-type" in bad(evidence), USER_ONLY in [
        one.reason for one in evidence.limits
    ]


def program(extra="", type="Application"):
    made = vcxproj("a.c", type=type, driver="", extra=extra)
    return made.replace("<DriverType></DriverType>", "").replace(
        "<TargetVersion>Windows10</TargetVersion>", "<PlatformToolset>v143</PlatformToolset>"
    )


def link(element, text):
    return definitions(text, element=element, item="Link")


SAID = [
    link("OutputFile", "$(OutDir)a.sys"),
    link("AdditionalOptions", "/SUBSYSTEM:NATIVE /NODEFAULTLIB ntoskrnl.lib"),
    link("SubSystem", "Native").replace(
        "</Link>", "<AdditionalOptions>ntoskrnl.lib</AdditionalOptions></Link>"
    ),
    definitions("/kernel", element="AdditionalOptions"),
]


@pytest.mark.parametrize("type", ["Application", "DynamicLibrary"])
@pytest.mark.parametrize("extra", SAID)
def test_what_the_project_says_of_the_link(tmp_path, extra, type):
    files = {"a__vcxproj": program(extra, type), "a__c": "#include <ntddk.h>\n" + PLAIN}
    assert seen(tmp_path, **files) == (True, False)


@pytest.mark.parametrize("type", ["Application", "DynamicLibrary"])
@pytest.mark.parametrize(
    "files",
    [
        {"a__c": BAD},
        {"a__c": BAD.replace("<ntddk.h>", '"all.h"'), "all__h": "#include <ntifs.h>\n"},
    ],
)
def test_what_the_text_shows(tmp_path, files, type):
    extra = link("SubSystem", "Native")
    assert seen(tmp_path, a__vcxproj=program(extra, type), **files) == (True, False)


@pytest.mark.parametrize("target", ["PROGRAM", "DYNLINK", "NOTARGET"])
def test_a_sources_file(tmp_path, target):
    sources = f"TARGETNAME=a\nTARGETTYPE={target}\nSOURCES=a.c\n"
    assert seen(tmp_path, sources=sources, a__c=BAD) == (True, False)


PROGRAMS = [
    PLAIN + "int main(void) { return 0; }\n",
    "#include <windows.h>\n" + PLAIN,
    BAD.replace("<ntddk.h>", "<windows.h>"),
    "#include <windows.h>\n#include <wdf.h>\n" + BAD.partition("\n")[2],
    "#include <ntddk.h>\nNTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p);\n" + PLAIN,
    '// DriverEntry(PDRIVER_OBJECT d) {\n#include "ntddk.h"\n' + PLAIN,
]


@pytest.mark.parametrize("text", PROGRAMS)
def test_programs_stay_programs(tmp_path, text):
    assert seen(tmp_path, a__vcxproj=program(), a__c=text) == (False, True)


def test_a_native_program_stays_one(tmp_path):
    extra = link("SubSystem", "Native").replace(
        "</Link>", "<AdditionalDependencies>ntdll.lib</AdditionalDependencies></Link>"
    )
    assert seen(tmp_path, a__vcxproj=program(extra), a__c=PLAIN) == (False, True)


def test_a_test_program_of_a_driver_stays_one(tmp_path):
    good = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'abcd');")
    text = f"#ifdef UNDER_TEST\n{BAD}\n#else\n{good}\n#endif\n"
    test = program(definitions("UNDER_TEST"))
    lay(tmp_path, a__c=text, driver__vcxproj=vcxproj("a.c"), test__vcxproj=test)
    verdicts = {
        one.target.path.rpartition("/")[2]: one for one in evaluate_drivers(tmp_path, Options())
    }
    assert [one.verdict.value for one in verdicts.values()] == ["compatible"]


# ---- what is not known of projects weighs where a driver holds something of them

UNCLEAR = [
    '<Import Project="..\\nowhere.props" />',
    definitions("X", condition="$([Foo]::Bar('x'))"),
    definitions("gone.h", element="ForcedIncludeFiles"),
    definitions("@gone.rsp", element="AdditionalOptions"),
]
REFERENCE = '<ItemGroup><ProjectReference Include="..\\lib\\lib.vcxproj" /></ItemGroup>'
MAIN = "#include <windows.h>\nint main(void) { return 0; }\n"


@pytest.mark.parametrize("extra", UNCLEAR)
@pytest.mark.parametrize("where", ["program", "library of it", "library by name", "driver"])
def test_what_is_not_known_of_a_program(tmp_path, extra, where):
    good = BAD.replace("NonPagedPool", "NonPagedPoolNx")
    own = extra if where == "driver" else ""
    if where == "library by name":
        own = link("AdditionalDependencies", "lib.lib")
    lay(tmp_path, drv___drv__c=good, drv___drv__vcxproj=vcxproj("drv.c", extra=own))
    mine = REFERENCE + (extra if where == "program" else "")
    lay(tmp_path, app___a__c=MAIN, app___app__vcxproj=program(mine))
    library = program(extra if where.startswith("library") else "", "StaticLibrary")
    lay(tmp_path, lib___a__c="int f(void) { return 0; }\n", lib___lib__vcxproj=library)
    (report,) = evaluate_drivers(tmp_path, Options())
    weighs = where in ("driver", "library by name")
    assert report.verdict == ("undecided" if weighs else "compatible")
    assert len([one for one in report.limits if ".vcxproj: " in one.reason]) >= 1
