"""The compiler of a build decides what is compiled, and whether its headers know the opt-in."""

import json

import pytest

from hvci.model import Outcome
from hvci.rules import judge
from sources import bad, entry, lay, read, vcxproj

POOL = "execute-pool-type"
BY_COMPILER = (
    "#if CONDITION\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
    + entry("ExAllocatePoolWithTag(P, 8, 'a');")
)
GNU, CLANG, MSVC = "defined(__GNUC__)", "defined(__clang__)", "defined(_MSC_VER)"
GCC_ALONE = "defined(__MINGW32__) && !defined(__clang__)"
MAKEFILE = "{before}d.sys: d.o\n\t{link} -o $@ $^\nd.o: d.c\n\t{compile} -c d.c\n"
GNU_LINK = "-nostdlib -Wl,--subsystem,native -lntoskrnl"


def driver(condition):
    return BY_COMPILER.replace("CONDITION", condition)


def is_bad(folder, condition, **files):
    """Whether the driver gets the bad pool where a condition holds; else it must be clean."""
    lay(folder, d__c=driver(condition), **files)
    found = POOL in bad(read(folder))
    lay(folder, d__c=driver(f"!({condition})"), **files)
    assert (POOL in bad(read(folder))) is not found
    return found


@pytest.mark.parametrize(
    ("compile", "before", "link", "true"),
    [
        ("x86_64-w64-mingw32-gcc", "", GNU_LINK, {GNU, GCC_ALONE}),
        ("$(CC)", "CC = i686-w64-mingw32-gcc\n", GNU_LINK, {GNU, GCC_ALONE}),
        ("$(CC)", "CC ?= ccache gcc-12\n", GNU_LINK, {GNU, GCC_ALONE}),
        ("$(CROSS)gcc", "", GNU_LINK, {GNU, GCC_ALONE}),
        ("@$(CXX)", "CXX := x86_64-w64-mingw32-g++-posix\n", GNU_LINK, {GNU, GCC_ALONE}),
        ("$(CC)", "", GNU_LINK, {GNU, GCC_ALONE}),
        ("zig cc -target x86_64-windows-gnu", "", GNU_LINK, {GNU, CLANG}),
        ("clang --target=x86_64-w64-mingw32", "", GNU_LINK, {GNU, CLANG}),
        ("x86_64-w64-mingw32-clang", "", GNU_LINK, {GNU, CLANG}),
        ("clang", "", "clang -Wl,--subsystem,native -lntoskrnl", {GNU, CLANG}),
        ("clang", "", "lld-link /driver /subsystem:native ntoskrnl.lib", {CLANG, MSVC}),
        ("clang-cl", "", "lld-link /driver /subsystem:native ntoskrnl.lib", {CLANG, MSVC}),
        ("clang --target=x86_64-pc-windows-msvc", "", GNU_LINK, {CLANG, MSVC}),
        ("cl /nologo", "", "link /driver ntoskrnl.lib", {MSVC}),
        ('"C:\\VC\\bin\\cl.exe"', "", "link /driver ntoskrnl.lib", {MSVC}),
        ("$(CC)", "", "link /driver ntoskrnl.lib", {MSVC}),
        ("cl", "HOSTCC = gcc\n", "link /driver ntoskrnl.lib", {MSVC}),
    ],
)
@pytest.mark.parametrize("condition", [GNU, CLANG, MSVC, GCC_ALONE])
def test_a_makefile(tmp_path, compile, before, link, true, condition):
    text = MAKEFILE.format(before=before, compile=compile, link=link)
    assert is_bad(tmp_path, condition, Makefile=text) is (condition in true)


def test_a_makefile_for_two_compilers_is_judged_for_each(tmp_path):
    before = "ifdef MINGW\nCC = x86_64-w64-mingw32-gcc\nelse\nCC = clang-cl\nendif\n"
    text = MAKEFILE.format(before=before, compile="$(CC)", link=GNU_LINK)
    for condition in (GNU, CLANG):
        lay(tmp_path, Makefile=text, d__c=driver(condition))
        assert POOL in bad(read(tmp_path)), condition


CMAKE = (
    "cmake_minimum_required(VERSION 3.20)\n{before}project(d C)\nadd_library(d SHARED d.c)\n"
    'set_target_properties(d PROPERTIES SUFFIX .sys LINK_FLAGS "{link}")\n'
    "target_link_libraries(d ntoskrnl)\n"
)


@pytest.mark.parametrize(
    ("before", "link", "files", "true"),
    [
        ("", "/driver /subsystem:native", {}, {MSVC}),
        ("", "-nostdlib -Wl,--subsystem,native", {}, {GNU, GCC_ALONE}),
        ("set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc)\n", "", {}, {GNU, GCC_ALONE}),
        ("set(CMAKE_C_COMPILER clang-cl)\n", "/driver", {}, {CLANG, MSVC}),
        (
            "set(CMAKE_C_COMPILER clang)\nset(CMAKE_C_COMPILER_TARGET x86_64-w64-mingw32)\n",
            "",
            {},
            {GNU, CLANG},
        ),
        (
            "set(CMAKE_TOOLCHAIN_FILE mingw.cmake)\n",
            "",
            {"mingw__cmake": "set(CMAKE_C_COMPILER i686-w64-mingw32-gcc)\n"},
            {GNU, GCC_ALONE},
        ),
        (
            "",
            "",
            {
                "CMakePresets__json": json.dumps(
                    {
                        "configurePresets": [
                            {"name": "g", "cacheVariables": {"CMAKE_C_COMPILER": "gcc"}}
                        ]
                    }
                )
            },
            {GNU, GCC_ALONE},
        ),
    ],
)
@pytest.mark.parametrize("condition", [GNU, CLANG, MSVC, GCC_ALONE])
def test_cmake(tmp_path, before, link, files, true, condition):
    lists = CMAKE.format(before=before, link=link)
    assert is_bad(tmp_path, condition, CMakeLists__txt=lists, **files) is (condition in true)


@pytest.mark.parametrize(
    ("asked", "true"),
    [
        ("if(MINGW)", {GNU, MSVC}),
        ('if(CMAKE_C_COMPILER_ID STREQUAL "GNU")', {GNU, MSVC}),
        ('if(CMAKE_C_COMPILER_ID MATCHES "Clang")', {CLANG, MSVC}),
        ("if(MINGW AND MSVC)", {GNU, MSVC}),
        ("if(WIN32)", {MSVC}),
    ],
)
def test_lists_that_ask_for_a_compiler_are_run_with_it_too(tmp_path, asked, true):
    lists = CMAKE.format(before="", link="")
    lists += f"{asked}\n target_compile_definitions(d PRIVATE ASKED)\nendif()\n"
    for condition in (GNU, CLANG, MSVC):
        lay(tmp_path, d__c=driver(condition), CMakeLists__txt=lists)
        assert (POOL in bad(read(tmp_path))) is (condition in true), condition


def test_lists_that_refuse_a_compiler_build_nothing_with_it(tmp_path):
    lists = CMAKE.format(before="", link="/driver")
    lists += 'if(MINGW)\n message(FATAL_ERROR "use MSVC")\nendif()\n'
    lay(tmp_path, d__c=driver(GNU), CMakeLists__txt=lists)
    assert not bad(read(tmp_path))


def test_the_module_of_the_kit_is_for_microsofts_tools(tmp_path):
    lists = "project(d C)\nfind_package(WDK)\nwdk_add_driver(d d.c)\nif(MINGW)\nendif()\n"
    lay(tmp_path, d__c=driver(GNU), CMakeLists__txt=lists)
    assert not bad(read(tmp_path))


@pytest.mark.parametrize("condition", [GNU, CLANG, MSVC])
@pytest.mark.parametrize(("said", "true"), [("GNU", {GNU}), ("MSVC", {MSVC})])
def test_generator_expressions(tmp_path, condition, said, true):
    """Each compiler gets the definition that is meant for it alone."""
    lists = CMAKE.format(before="", link="")
    lists += f"target_compile_definitions(d PRIVATE $<$<C_COMPILER_ID:{said}>:ASKED>)\n#MINGW\n"
    lay(tmp_path, d__c=driver(f"{condition} && defined(ASKED)"), CMakeLists__txt=lists)
    assert (POOL in bad(read(tmp_path))) is (condition in true)


MESON = "project('d', 'c')\nexecutable('d', ['d.c'], name_suffix: 'sys', link_args: [{link}])\n"


@pytest.mark.parametrize(
    ("link", "cross", "true"),
    [
        ("'-Wl,--subsystem,native', '-lntoskrnl'", "", {GNU, GCC_ALONE}),
        ("'/driver', '/subsystem:native'", "", {MSVC}),
        ("'-Wl,--subsystem,native'", "c = 'x86_64-w64-mingw32-clang'", {GNU, CLANG}),
        ("", "c = ['ccache', 'clang-cl']", {CLANG, MSVC}),
        ("", "c = 'x86_64-w64-mingw32-gcc'", {GNU, GCC_ALONE}),
    ],
)
@pytest.mark.parametrize("condition", [GNU, CLANG, MSVC, GCC_ALONE])
def test_meson(tmp_path, link, cross, true, condition):
    files = {"cross___w__txt": f"[binaries]\n{cross}\n", "notes__txt": "c = 'cl'\n"}
    text = MESON.format(link=link)
    found = is_bad(tmp_path, condition, meson__build=text, **(files if cross else {}))
    assert found is (condition in true)


@pytest.mark.parametrize(
    ("toolset", "true"),
    [("ClangCL", {CLANG, MSVC}), ("LLVM_v143", {CLANG, MSVC}), ("v143", {MSVC})],
)
@pytest.mark.parametrize("condition", [GNU, CLANG, MSVC])
def test_msbuild(tmp_path, toolset, true, condition):
    tool = f"<PropertyGroup><PlatformToolset>{toolset}</PlatformToolset></PropertyGroup>"
    project = vcxproj("d.c", extra=tool)
    assert is_bad(tmp_path, condition, d__vcxproj=project) is (condition in true)


@pytest.mark.parametrize(
    ("command", "true"),
    [
        ("x86_64-w64-mingw32-gcc -c d.c", {GNU}),
        ("clang-cl /c d.c", {CLANG, MSVC}),
        ("cl /c d.c", {MSVC}),
    ],
)
@pytest.mark.parametrize("condition", [GNU, CLANG, MSVC])
def test_a_list_of_commands(tmp_path, command, true, condition):
    one = [{"directory": ".", "file": "d.c", "command": command}]
    files = {"compile_commands__json": json.dumps(one)}
    assert is_bad(tmp_path, condition, **files) is (condition in true)


# ---- the opt-in of the kit's headers, which MinGW-w64's do not have

OPTED = entry(
    "ExInitializeDriverRuntime(DrvRtPoolNxOptIn); ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
)
WDM = "typedef enum { NonPagedPool, NonPagedPoolNx = 512 } POOL_TYPE;\n"
OF_GCC = MAKEFILE.format(
    before="", compile="x86_64-w64-mingw32-gcc -Ikit -DPOOL_NX_OPTIN=1", link=GNU_LINK
)
OF_CL = MAKEFILE.format(
    before="", compile="cl -Ikit -DPOOL_NX_OPTIN=1", link="link /driver ntoskrnl.lib"
)


def test_headers_that_know_no_opt_in(tmp_path):
    lay(tmp_path, d__c="#include <wdm.h>\n" + OPTED, kit___wdm__h=WDM, Makefile=OF_GCC)
    assert POOL in bad(read(tmp_path))
    assert "not known to" in str(read(tmp_path).calls)
    lay(tmp_path, Makefile=OF_CL)
    assert POOL in bad(read(tmp_path)), "the text of the headers counts, whoever compiles"


def test_headers_that_know_it(tmp_path):
    known = WDM + "#if POOL_NX_OPTIN\n#endif\n"
    lay(tmp_path, d__c="#include <wdm.h>\n" + OPTED, kit___wdm__h=known, Makefile=OF_GCC)
    assert not bad(read(tmp_path))


def findings(evidence):
    """What is found of the pool type."""
    return next(one for one in judge(evidence) if one.rule == POOL).findings


def test_without_headers_gcc_leaves_it_open(tmp_path):
    lay(tmp_path, d__c="#include <wdm.h>\n" + OPTED, Makefile=OF_GCC)
    evidence = read(tmp_path)
    assert {one.outcome for one in findings(evidence)} == {Outcome.UNDECIDED}
    assert "MinGW-w64" in str(evidence.calls)
    lay(tmp_path, Makefile=OF_CL)
    assert "MinGW-w64" not in str(read(tmp_path).calls)


@pytest.mark.parametrize(("makefile", "is_gnu"), [(OF_GCC, True), (OF_CL, False)])
def test_what_to_write_instead_is_what_the_headers_have(tmp_path, makefile, is_gnu):
    lay(tmp_path, d__c=entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"))
    lay(tmp_path, Makefile=makefile.replace("-DPOOL_NX_OPTIN=1", ""))
    (found,) = findings(read(tmp_path))
    assert ("MinGW-w64's headers" in found.fix) is is_gnu
    assert found.fix.startswith("ExAllocatePool2") is not is_gnu
