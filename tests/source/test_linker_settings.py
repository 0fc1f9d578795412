"""Every way in which a linker is told of sections: none is silent, and others change nothing."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Outcome
from hvci.model.judged import LINK_RULES
from hvci.rules import judge
from objects import CODE, archive, obj, section, symbol
from sources import bad, definitions, entry, lay, read, vcxproj

SECTION = "/SECTION:.text,ERW"
BOTH = ["execute-write-section"]
TABLE = "SECTIONS\n  .text READ WRITE EXECUTE\n"


def found(folder):
    """The rules that fail, and the reasons for which the layout is not known."""
    evidence = read(folder)
    reasons = [one.reason for one in evidence.limits if set(LINK_RULES) <= set(one.rules)]
    return sorted(set(bad(evidence)) & set(LINK_RULES)), reasons


def written(folder, text, **more):
    return found(lay(folder, a__vcxproj=vcxproj("a.c"), a__c=text + "\n" + entry(""), **more))


# --------------------------------------------------------------------- pragmas

PRAGMAS = [
    f'#pragma comment(linker, "{SECTION}")',
    f'#pragma comment(linker, \\\n  "{SECTION}")',
    f'  # pragma comment ( linker , "{SECTION}" )',
    '#pragma comment(linker, "/SECTION:" ".text" ",ERW")',
    '#pragma comment(linker, "/section:\\".text\\",ERW")',
    f'#define OPTION "{SECTION}"\n#pragma comment(linker, OPTION)',
    '#define NAME ".text"\n#pragma comment(linker, "-section:" NAME ",ERW")',
    f'__pragma(comment(linker, "{SECTION}"))',
    f'_Pragma("comment(linker, \\"{SECTION}\\")")',
    f'#define TELL(x) __pragma(comment(linker, x))\nTELL("{SECTION}")',
    f'#define TELL(x) __pragma(x)\nTELL(comment(linker, "{SECTION}"))',
    f'#define TELL(x) _Pragma(#x)\nTELL(comment(linker, "{SECTION}"))',
    f'#define INNER(x) __pragma(comment(linker, x))\n#define TELL INNER("{SECTION}")\nTELL',
    '#define TELL(n) __pragma(comment(linker, "/SECTION:" #n ",ERW"))\nTELL(.text)',
    '#pragma section("x", read, write, execute)',
    '#pragma  section ( "x" , long, write , execute )',
    '__pragma(section("x", read, write, execute))',
    '#define RIGHTS read, write, execute\n#pragma section("x", RIGHTS)',
    '__asm__(".section .x,\\"xd\\"\\n nop\\n .text");',
    '__asm__(".section .x,\\"xw\\"\\n nop\\n .text");',
]


@pytest.mark.parametrize("text", PRAGMAS)
def test_a_pragma(tmp_path, text):
    assert written(tmp_path, text) == (BOTH, [])


@pytest.mark.parametrize("text", PRAGMAS[:2] + PRAGMAS[7:13])
def test_a_pragma_of_a_header_at_its_use(tmp_path, text):
    *made, use = text.rsplit("\n", 1) if text.startswith("#define") else ("", text)
    assert written(tmp_path, f'#include "h.h"\n{use}', h__h="\n".join(made)) == (BOTH, [])


QUIET = [
    f'#if 0\n#pragma comment(linker, "{SECTION}")\n#endif',
    f'#if 0\n__pragma(comment(linker, "{SECTION}"))\n#endif',
    f'// #pragma comment(linker, "{SECTION}")',
    "#define TELL(x) __pragma(comment(linker, x))",
    '#define TELL(x) __pragma(comment(linker, x))\nTELL("/EXPORT:F")',
    "#define QUIET __pragma(warning(disable:4996))\nQUIET",
    f'#pragma comment(user, "{SECTION}")',
    '#pragma comment(linker, "/INCLUDE:section")',
    '#pragma comment(linker, "/SECTION:.text,ER")',
    '#pragma section("x", read, execute)',
    '#pragma data_seg("PAGEDATA")\nint a = 1;\n#pragma data_seg()',
    '#pragma code_seg(push, "PAGE")\nvoid F(void) {}\n#pragma code_seg(pop)',
    '__asm__(".section .x,\\"dw\\"\\n .long 1\\n .text");',
    f'const char *a = "{SECTION}";',
]


@pytest.mark.parametrize("text", QUIET)
def test_others_change_nothing(tmp_path, text):
    assert written(tmp_path, text) == ([], [])


def test_a_pragma_that_cannot_be_put_together(tmp_path):
    fails, reasons = written(tmp_path, "#pragma comment(linker, OPTIONS_OF_THE_BUILD)")
    assert fails == []
    assert len(reasons) == 1
    assert "could not be put together" in reasons[0]
    assert "a.c" in reasons[0]


ON_ARM64 = "'$(Platform)'=='ARM64'"


EITHER = """#if defined(NOBODY_SAYS)
#define OPTION "{0}"
#else
#define OPTION "{1}"
#endif
#define TELL __pragma(comment(linker, OPTION))
#define TELL2 TELL
"""


@pytest.mark.parametrize("use", ["#pragma comment(linker, OPTION)", "TELL", "TELL2"])
@pytest.mark.parametrize("options", [("/OPT:REF", SECTION), (SECTION, "/OPT:REF")])
def test_every_definition_of_a_macro_that_may_be_the_one(tmp_path, options, use):
    text = EITHER.format(*options) + use + "\n" + entry("")
    lay(tmp_path, a__c=text)  # nothing says how it is built
    assert BOTH[0] in bad(read(tmp_path))


@pytest.mark.parametrize("options", [("", SECTION), (SECTION, "")])
def test_a_macro_that_only_some_builds_fill(tmp_path, options):
    bodies = [f'__pragma(comment(linker, "{one}"))' if one else "" for one in options]
    text = "#ifdef NOBODY_SAYS\n#define TELL {}\n#else\n#define TELL {}\n#endif\nTELL\n"
    lay(tmp_path, a__c=text.format(*bodies) + entry(""))
    assert BOTH[0] in bad(read(tmp_path))


def test_a_macro_that_each_configuration_defines_in_its_way(tmp_path):
    project = vcxproj(
        "a.c",
        platforms=("x64", "ARM64"),
        extra=definitions(f"OPTION=&quot;{SECTION}&quot;", "'$(Platform)'=='ARM64'"),
    )
    text = '#ifndef OPTION\n#define OPTION "/OPT:REF"\n#endif\n#pragma comment(linker, OPTION)\n'
    assert found(lay(tmp_path, a__vcxproj=project, a__c=text + entry("")))[0] == BOTH


MIXED = [
    '#pragma data_seg(".text")\nint a = 1;\n#pragma data_seg()',
    '#pragma bss_seg("PAGE")\nint a;\n#pragma bss_seg()',
    '#pragma section(".text")\n__declspec(allocate(".text")) int a = 1;',
    '#pragma code_seg(".data")\nint F(void) { return 3; }\n#pragma code_seg()',
]


@pytest.mark.parametrize("text", MIXED)
def test_what_the_linker_makes_of_two_rights_is_open(tmp_path, text):
    lay(tmp_path, a__vcxproj=vcxproj("a.c"), a__c=text + "\n" + entry(""))
    outcomes = {one.rule: one.outcome for one in judge(read(tmp_path))}
    assert outcomes["execute-write-section"] is Outcome.UNDECIDED


# -------------------------------------------------------------------- projects


def linked(element, text):
    return definitions(text, element=element, item="Link")


PROJECTS = [
    linked("AdditionalOptions", f"{SECTION} %(AdditionalOptions)"),
    linked("AdditionalOptions", "/SECTION:&quot;.text&quot;,ERW"),
    linked("AdditionalOptions", "@link.rsp"),
    linked("AdditionalOptions", "/OPT:REF @first.rsp"),
    linked("AdditionalOptions", "/DEF:a.def"),
    linked("ModuleDefinitionFile", "a.def"),
    definitions(f"editbin {SECTION} $(TargetPath)", element="Command", item="PostBuildEvent"),
    definitions("EDITBIN.EXE /SECTION:.text,W x.sys", element="Command", item="PostBuildEvent"),
    f'<Target Name="T" AfterTargets="Link"><Exec Command="editbin {SECTION} a.sys"/></Target>',
]


@pytest.mark.parametrize("extra", PROJECTS)
def test_a_project(tmp_path, extra):
    more = {"link__rsp": f"/OPT:REF\n{SECTION}\n", "first__rsp": "@link.rsp", "a__def": TABLE}
    lay(tmp_path, a__vcxproj=vcxproj("a.c", extra=extra), a__c=entry(""), **more)
    assert found(tmp_path) == (BOTH, [])


UNKNOWN = [
    (linked("AdditionalOptions", "@gone.rsp"), "gone.rsp"),
    (linked("ModuleDefinitionFile", "gone.def"), "gone.def"),
    (
        definitions(
            "llvm-objcopy --set-section-flags .text=code,data a.sys",
            element="Command",
            item="PostBuildEvent",
        ),
        "llvm-objcopy",
    ),
    (
        definitions("VMProtect_Con a.sys b.sys", element="Command", item="PostBuildEvent"),
        "VMProtect_Con",
    ),
]


@pytest.mark.parametrize(("extra", "named"), UNKNOWN)
def test_what_a_project_says_and_nobody_can_read(tmp_path, extra, named):
    lay(
        tmp_path, a__vcxproj=vcxproj("a.c", platforms=("x64", "ARM64"), extra=extra), a__c=entry("")
    )
    fails, reasons = found(tmp_path)
    assert fails == []
    assert len(reasons) == 1
    assert named in reasons[0]


@pytest.mark.parametrize(
    "text",
    [
        "SECTIONS\n .text READ EXECUTE\n .data READ WRITE\nEXPORTS\n WRITE\n EXECUTE\n",
        "EXPORTS\n SECTIONS_OF\n .text READ\n",
        "; SECTIONS\n; .text READ WRITE EXECUTE\nSECTIONS\n .text EXECUTE ; WRITE\n",
        "",
    ],
)
def test_module_definitions_that_are_harmless(tmp_path, text):
    project = vcxproj("a.c", extra=linked("ModuleDefinitionFile", "a.def"))
    assert found(lay(tmp_path, a__vcxproj=project, a__c=entry(""), a__def=text)) == ([], [])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TABLE, 2),
        ("SECTIONS .text EXECUTE WRITE\n", 1),
        ("LIBRARY a\nSEGMENTS\n\n .text CLASS 'CODE' EXECUTE WRITE\nEXPORTS\n F\n", 4),
        ("SECTIONS\n .data READ WRITE\n .text\n EXECUTE\n WRITE\n", 3),
    ],
)
def test_a_finding_in_module_definitions_has_its_line(tmp_path, text, line):
    project = vcxproj("a.c", extra=linked("ModuleDefinitionFile", "a.def"))
    evidence = read(lay(tmp_path, a__vcxproj=project, a__c=entry(""), a__def=text))
    (rule,) = (one for one in judge(evidence) if one.rule == BOTH[0])
    assert [(one.site.path, one.site.line) for one in rule.findings] == [
        (str(tmp_path / "a.def"), line)
    ]


# ---------------------------------------------------------- other build systems

CMAKE = "project(d C)\n{0}find_package(WDK REQUIRED)\nwdk_add_driver(d a.c{1})\n{2}"


@pytest.mark.parametrize(
    "lists",
    [
        CMAKE.format("", "", f'target_link_options(d PRIVATE "{SECTION}")'),
        CMAKE.format("", "", f'target_link_options(d PRIVATE "LINKER:{SECTION}")'),
        CMAKE.format("", "", f'target_link_options(d PRIVATE "$<$<CONFIG:Release>:{SECTION}>")'),
        CMAKE.format("", "", "target_link_libraries(d -SECTION:.text,ERW)"),
        CMAKE.format("", " a.def", ""),
        CMAKE.format("", "", 'set_target_properties(d PROPERTIES LINK_FLAGS "/DEF:a.def")'),
        CMAKE.format("add_link_options(@link.rsp)\n", "", ""),
        CMAKE.format(
            "", "", f"add_custom_command(TARGET d POST_BUILD COMMAND editbin {SECTION} d.sys)"
        ),
    ],
)
def test_a_cmake_list(tmp_path, lists):
    lay(tmp_path, CMakeLists__txt=lists, a__c=entry(""), a__def=TABLE, link__rsp=SECTION)
    assert found(tmp_path) == (BOTH, [])


@pytest.mark.parametrize(
    ("lists", "named"),
    [
        (CMAKE.format("", " gone.def", ""), "gone.def"),
        (CMAKE.format("add_link_options(-Wl,-T,d.ld)\n", "", ""), "d.ld"),
        (
            CMAKE.format("", "", "add_custom_command(TARGET d POST_BUILD COMMAND upx d.sys)"),
            "upx",
        ),
    ],
)
def test_what_a_cmake_list_says_and_nobody_can_read(tmp_path, lists, named):
    fails, reasons = found(lay(tmp_path, CMakeLists__txt=lists, a__c=entry("")))
    assert fails == []
    assert len(reasons) == 1
    assert named in reasons[0]


SOURCES = "TARGETNAME=d\nTARGETTYPE=DRIVER\nSOURCES=a.c\n{0}\n"


@pytest.mark.parametrize(
    "line", ["DLLDEF=a.def", f"LINKER_FLAGS={SECTION}", f"AMD64_LINKER_FLAGS={SECTION}"]
)
def test_a_sources_file(tmp_path, line):
    lay(tmp_path, sources=SOURCES.format(line), a__c=entry(""), a__def=TABLE)
    assert found(tmp_path) == (BOTH, [])


GNU = """d.sys: a.o
\tgcc -shared -Wl,--subsystem,native {0} -o d.sys a.o -lntoskrnl
a.o: a.c
\tgcc -c a.c
"""
MICROSOFT = """d.sys: a.obj
\t@link /DRIVER {0} /OUT:d.sys a.obj ntoskrnl.lib
a.obj: a.c
\tcl /kernel /c a.c
"""


@pytest.mark.parametrize(
    "makefile",
    [
        *(GNU.format(one) for one in ("-Wl,-N", "-N", "-Wl,-s,--omagic", "-Xlinker --omagic")),
        "LDFLAGS = -Wl,-N\n" + GNU.format("$(LDFLAGS)"),
        GNU.format("-Xlinker -section:.text,ERW"),
        *(MICROSOFT.format(one) for one in (SECTION, "@link.rsp", "/DEF:a.def")),
        MICROSOFT.format("@<<\n/OPT:REF\n" + SECTION + "\n<<\n"),
        MICROSOFT.format("").replace("a.obj: a.c", f"\teditbin {SECTION} d.sys\na.obj: a.c"),
    ],
)
def test_a_makefile(tmp_path, makefile):
    lay(tmp_path, Makefile=makefile, a__c=entry(""), a__def=TABLE, link__rsp=SECTION)
    assert found(tmp_path) == (BOTH, [])


@pytest.mark.parametrize(
    "option", ["-Wl,--section-alignment,32", "-Wl,--section-alignment=0x20", "-Wl,/align:32"]
)
def test_small_alignments_of_a_makefile(tmp_path, option):
    lay(tmp_path, Makefile=GNU.format(option), a__c=entry(""))
    assert found(tmp_path) == (["section-alignment"], [])


@pytest.mark.parametrize(
    "option",
    ["-Wl,-T,d.ld", "-T d.ld", "-Wl,--script=d.ld", "-Xlinker -T -Xlinker d.ld"],
)
def test_a_linker_script_is_not_read(tmp_path, option):
    fails, reasons = found(lay(tmp_path, Makefile=GNU.format(option), a__c=entry("")))
    assert fails == []
    assert len(reasons) == 1
    assert "d.ld" in reasons[0]


@pytest.mark.parametrize(
    "makefile",
    [
        GNU.format("-Wl,--section-alignment,4096 -Wl,-n"),
        GNU.format("") + "copy: d.sys\n\tcp -N d.sys out\n",
        GNU.format("") + "# -Wl,-N\n",
        "UNUSED = /SECTION:.text,ERW\n" + MICROSOFT.format("/OPT:REF"),
        MICROSOFT.format("/DEFAULTLIB:x /ENTRY:DriverEntry"),
    ],
)
def test_makefiles_that_are_harmless(tmp_path, makefile):
    assert found(lay(tmp_path, Makefile=makefile, a__c=entry(""))) == ([], [])


def test_options_of_one_image_are_not_those_of_another(tmp_path):
    two = GNU.format("") + GNU.format("-Wl,-N").replace("d.sys", "e.sys").replace("a.", "b.")
    lay(tmp_path, Makefile=two, a__c=entry(""), b__c=entry(""))
    reports = evaluate_drivers(tmp_path, Options())
    verdicts = {one.target.path.rpartition("#")[2]: one.verdict.value for one in reports}
    assert verdicts == {"d.sys": "compatible", "e.sys": "incompatible"}


def test_options_of_one_branch(tmp_path):
    branches = "ifdef OLD\nLDFLAGS = -Wl,-N\nelse\nLDFLAGS = -s\nendif\n"
    lay(tmp_path, Makefile=branches + GNU.format("$(LDFLAGS)"), a__c=entry(""))
    assert found(tmp_path)[0] == BOTH


# ---------------------------------------------------------- objects and assembly


def with_library(folder, *members, text="int Ask(void);"):
    extra = definitions("x.lib", element="AdditionalDependencies", item="Link")
    body = text + "\n" + entry("Ask();")
    lay(folder, a__vcxproj=vcxproj("a.c", extra=extra), a__c=body, x__lib=archive(*members))
    return found(folder)


def with_options(options, name="Ask"):
    parts = [section(".text", b"\xc3"), section(".drectve", options, 0x0010_0A00)]
    return obj("x64", parts, [symbol(name, 1)])


def test_what_a_linked_object_tells_the_linker(tmp_path):
    assert with_library(tmp_path, with_options(b"   /SECTION:.text,ERW ")) == (BOTH, [])


def test_what_an_object_without_code_tells_the_linker(tmp_path):
    parts = [
        section(".data", bytes(8), 0xC030_0040),
        section(".drectve", b"-merge:.data=.text", 0xA00),
    ]
    assert with_library(tmp_path, obj("x64", parts, [symbol("Ask", 1)])) == (BOTH, [])


def test_a_section_of_an_object_with_both_rights(tmp_path):
    parts = [section(".wx", b"\xc3", CODE | 0x8000_0000)]
    assert with_library(tmp_path, obj("x64", parts, [symbol("Ask", 1)])) == (BOTH, [])


def test_an_object_that_nothing_names_may_not_be_linked(tmp_path):
    fails, reasons = with_library(tmp_path, with_options(b""), with_options(b"/ALIGN:32", "Other"))
    assert fails == []
    assert len(reasons) == 1
    assert "/ALIGN:32" in reasons[0]


@pytest.mark.parametrize(
    "options", [b"", b'/DEFAULTLIB:"LIBCMT" /EXPORT:Ask ', b"/SECTION:.text,ER"]
)
def test_harmless_options_of_an_object(tmp_path, options):
    assert with_library(tmp_path, with_options(options)) == ([], [])


def test_a_thin_archive_is_not_examined(tmp_path):
    extra = definitions("x.lib", element="AdditionalDependencies", item="Link")
    lay(tmp_path, a__vcxproj=vcxproj("a.c", extra=extra), a__c=entry(""), x__lib=b"!<thin>\n")
    assert any("thin archive" in one.reason for one in read(tmp_path).limits)


ASSEMBLY = [
    ("a2.asm", "_X SEGMENT EXECUTE READ WRITE 'CODE'\n_X ENDS\nEND\n"),
    *(("a2.S", f'.section .x,"{one}"\n.globl f\nf: ret\n') for one in ("xw", "xd", "xs", "rwx")),
    ("a2.asm", "  AREA |.x|, CODE, READWRITE\n  END\n"),
]


@pytest.mark.parametrize(("name", "text"), ASSEMBLY)
def test_sections_of_assembly(tmp_path, name, text):
    item = f'<ItemGroup><MASM Include="{name}" /></ItemGroup>'
    lay(tmp_path, a__vcxproj=vcxproj("a.c", extra=item), a__c=entry(""))
    (tmp_path / name).write_text(text)
    assert found(tmp_path)[0] == BOTH


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a2.asm", "_X SEGMENT READ EXECUTE 'CODE'\n_X ENDS\nEND\n"),
        ("a2.S", '.section .x,"x"\n.globl f\nf: ret\n.section .y,"dw"\n'),
        ("a2.S", '.section .x,"xr"\n.section .z,"wxr"\n.globl f\nf: ret\n'),
        ("a2.asm", "  AREA |.text|, CODE, READONLY\n  AREA |.data|, DATA, READWRITE\n  END\n"),
    ],
)
def test_sections_of_assembly_that_are_harmless(tmp_path, name, text):
    item = f'<ItemGroup><MASM Include="{name}" /></ItemGroup>'
    lay(tmp_path, a__vcxproj=vcxproj("a.c", extra=item), a__c=entry(""))
    (tmp_path / name).write_text(text)
    assert found(tmp_path)[0] == []
