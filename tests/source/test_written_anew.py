"""Files that a step of the build writes first: what is compiled may be another text."""

import pytest

from hvci.model.judged import TEXT_RULES
from hvci.source.builds.steps import written
from sources import bad, definitions, entry, lay, read, vcxproj

USING = '#include "gen.h"\n' + entry("ExAllocatePoolWithTag(POOL, 8, 'a');")
GOOD = "#define POOL NonPagedPoolNx\n"
SAID = "a step of the build may write"


def told(evidence):
    """What is said of files that are written anew."""
    every = (one.reason for one in evidence.limits if set(TEXT_RULES) <= set(one.rules))
    return [reason for reason in every if SAID in reason]


def event(command, more=""):
    inner = f"<PreBuildEvent><Command>{command}</Command></PreBuildEvent>"
    return f"<ItemDefinitionGroup>{inner}</ItemDefinitionGroup>{more}"


def task(text):
    return f'<Target Name="T" BeforeTargets="ClCompile">{text}</Target>'


STEP = '<ItemGroup><CustomBuild Include="a.in"><Outputs>{}</Outputs></CustomBuild></ItemGroup>'
USE = "<PropertyGroup><PreBuildEventUseInBuild>false</PreBuildEventUseInBuild></PropertyGroup>"
MSBUILD = [
    (event("copy /y ..\\other\\gen.h gen.h"), True),
    (event("copy /y ..\\other\\gen.h $(ProjectDir)"), True),
    (event("if not exist x.h copy other\\gen.h ."), True),
    (event("python make.py &gt; $(ProjectDir)gen.h"), True),
    (event("call tool.cmd $(ProjectDir)gen.h"), True),
    (event("copy gen.h $(OutDir)"), False),
    (event("copy gen.h ..\\out\\gen.h"), False),
    (event("type gen.h"), False),
    (event("echo building gen.h"), False),
    (event("tool gen.h", USE), False),
    (STEP.format("gen.h"), True),
    (STEP.format("other.h"), False),
    (task('<Copy SourceFiles="a.h" DestinationFiles="gen.h" />'), True),
    (task('<Copy SourceFiles="x\\gen.h" DestinationFolder="$(ProjectDir)" />'), True),
    (task('<Copy SourceFiles="gen.h" DestinationFolder="out" />'), False),
    (task('<WriteLinesToFile File="gen.h" Lines="x" />'), True),
    (task('<Exec Command="tool gen.h" />'), True),
    (task('<Delete Files="gen.h" />'), False),
    (task('<Message Text="gen.h" />'), False),
]


@pytest.mark.parametrize(("extra", "is_told"), MSBUILD)
def test_steps_of_visual_studio(tmp_path, extra, is_told):
    lay(tmp_path, driver__c=USING, gen__h=GOOD, driver__vcxproj=vcxproj("driver.c", extra=extra))
    evidence = read(tmp_path)
    assert len(told(evidence)) == is_told
    assert not bad(evidence)


HERE = "${CMAKE_CURRENT_SOURCE_DIR}"
CMAKE = [
    (f"configure_file(gen.h.in {HERE}/gen.h)", True),
    ("configure_file(gen.h.in gen.h)", False),
    ('file(WRITE gen.h "text")', True),
    (f'file(GENERATE OUTPUT {HERE}/gen.h CONTENT "text")', True),
    ("file(READ gen.h TEXT)", False),
    (f"add_custom_command(OUTPUT {HERE}/gen.h COMMAND tool)", True),
    (f"add_custom_command(OUTPUT x.h COMMAND tool {HERE}/gen.h)", False),
    (f"add_custom_command(TARGET a PRE_BUILD COMMAND tool {HERE}/gen.h)", True),
    (f"add_custom_command(TARGET a POST_BUILD COMMAND tool {HERE}/gen.h)", False),
    (f"add_custom_target(t COMMAND cmake -E copy {HERE}/b.h {HERE}/gen.h)", True),
    (f"add_custom_target(t COMMAND linter {HERE}/gen.h)", False),
    (f'execute_process(COMMAND "a tool" {HERE}/gen.h OUTPUT_VARIABLE X)', True),
]


@pytest.mark.parametrize(("text", "is_told"), CMAKE)
def test_steps_of_cmake(tmp_path, text, is_told):
    lists = "add_executable(a driver.c)\ntarget_link_options(a PRIVATE /DRIVER)\n"
    lay(tmp_path, driver__c=USING, gen__h=GOOD, CMakeLists__txt=f"{lists}{text}\n")
    assert len(told(read(tmp_path))) == is_told


LINKED = "a.sys: driver.o\n\tgcc -shared -Wl,--subsystem,native -o $@ $^ -lntoskrnl\n"
LINKED += "driver.o: driver.c gen.h\n\tgcc -c $< -o $@\n"


@pytest.mark.parametrize(
    ("rule", "is_told"),
    [
        ("gen.h: gen.in\n\tsed s/a/b/ gen.in > gen.h\n", True),
        ("ready:\n\ttool > gen.h\n", True),
        ("gen.h: gen.in\n", False),
        ("dist: driver.c\n\ttar cf a.tar gen.h\n", False),
    ],
)
def test_rules_of_makefiles(tmp_path, rule, is_told):
    lay(tmp_path, driver__c=USING, gen__h=GOOD, Makefile=LINKED + rule)
    assert len(told(read(tmp_path))) == is_told


def test_rules_beside_a_sources_file(tmp_path):
    sources = "TARGETNAME=a\nTARGETTYPE=DRIVER\nSOURCES=driver.c\n"
    lay(tmp_path, driver__c=USING, gen__h=GOOD, sources=sources)
    assert not told(read(tmp_path))
    lay(tmp_path, makefile__inc="gen.h: gen.in\n\tcopy gen.in gen.h\n")
    assert len(told(read(tmp_path))) == 1


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("#define VERSION 4\n", False),
        ("#define VERSION 4\n/* #undef POOL */\n#define POOL NonPagedPoolNx\n", True),
        ("/* nothing yet */\n#undef POOL\n", True),
        ("\n", True),
        ("#define VERSION 4\nstatic int f(void) { return 1; }\n", True),
    ],
)
def test_numbers_that_nothing_names_are_no_matter(tmp_path, text, is_told):
    extra = event("copy /y ..\\other\\gen.h gen.h")
    code = "#define POOL NonPagedPoolNx\n" + USING
    lay(tmp_path, driver__c=code, gen__h=text, driver__vcxproj=vcxproj("driver.c", extra=extra))
    assert len(told(read(tmp_path))) == is_told


def test_a_library_that_writes_its_own_header(tmp_path):
    extra = event("copy /y ..\\other\\gen.h gen.h")
    library = vcxproj("part.c", type="StaticLibrary", extra=extra)
    reference = '<ItemGroup><ProjectReference Include="part.vcxproj" /></ItemGroup>'
    part = '#include "gen.h"\nPVOID F(void) { return ExAllocatePoolWithTag(POOL, 8, 1); }\n'
    lay(tmp_path, driver__c=entry("F();"), part__c=part, gen__h=GOOD, part__vcxproj=library)
    lay(tmp_path, driver__vcxproj=vcxproj("driver.c", extra=reference + definitions("A")))
    assert len(told(read(tmp_path))) == 1


@pytest.mark.parametrize(
    ("commands", "names", "sure"),
    [
        ("copy a.h+b.h c.h", ["c.h"], ["c.h"]),
        ('xcopy /y "x y\\a.h" inc\\', ["inc/a.h"], ["inc/a.h"]),
        ("mc -h . -o out.h a.mc", ["out.h", "out.h"], ["out.h"]),
        ("@echo #define A>>x.h\r\nfc a.h b.h", ["x.h"], ["x.h"]),
        ("tool a.h & rem b.h", ["a.h"], []),
        ("copy a.h", [], []),
    ],
)
def test_what_commands_write(commands, names, sure):
    assert list(written(commands)) == names
    assert list(written(commands, is_sure=True)) == sure
