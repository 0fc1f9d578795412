"""CMake lists, Makefiles and Meson files: which files make which driver, with which definitions."""

import pytest

from hvci.evaluate import evaluate
from hvci.model import Verdict
from sources import bad, entry, lay, read, value_of

POOL = "execute-pool-type"
NX = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
PLAIN = entry("ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
AUTO = "POOL_NX_OPTIN_AUTO=1"
CHOSEN = "#ifdef GOOD\n#define P NonPagedPoolNx\n#else\n#define P NonPagedPool\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")


def reasons(evidence):
    """The reasons of all limits, as one text."""
    return "\n".join(limit.reason for limit in evidence.limits)


def weighing(evidence):
    """The limits that weaken a rule about calls."""
    return [one.reason for one in evidence.limits if POOL in one.rules]


# ---- sources


@pytest.mark.parametrize(
    "text",
    [
        "wdk_add_driver(drv drv.c)",
        "set(SRC drv.c)\nwdk_add_driver(drv ${SRC})",
        'list(APPEND SRC "drv.c" other.h)\nwdk_add_driver(drv KMDF 1.15 WINVER 0x0601 ${SRC})',
        "file(GLOB SRC *.c)\nwdk_add_driver(drv ${SRC})",
        "file(GLOB_RECURSE SRC RELATIVE ${CMAKE_SOURCE_DIR} *.c)\nwdk_add_driver(drv ${SRC})",
        "wdk_add_driver(drv)\ntarget_sources(drv PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/drv.c)",
        'wdk_add_driver(drv "${PROJECT_SOURCE_DIR}/drv.c")',
        "set(A drv)\nset(B A)\nwdk_add_driver(drv ${${B}}.c)",
        "foreach(name drv)\n  list(APPEND SRC ${name}.c)\nendforeach()\nwdk_add_driver(drv ${SRC})",
        "function(make name)\n wdk_add_driver(${name} ${ARGN})\nendfunction()\nmake(drv drv.c)",
        "macro(add what)\n set(SRC ${what}.c)\nendmacro()\nadd(drv)\nwdk_add_driver(drv ${SRC})",
        "function(get out)\n set(${out} drv.c PARENT_SCOPE)\nendfunction()\n"
        "function(outer)\n get(S)\n wdk_add_driver(drv ${S})\nendfunction()\nouter()",
        "if(NOT MSVC)\n return()\nendif()\nif(WIN32 AND CMAKE_SIZEOF_VOID_P GREATER 2)\n"
        " wdk_add_driver(drv drv.c)\nelse()\n wdk_add_driver(drv lost.c)\nendif()",
        "add_executable(drv drv.c)\ntarget_link_options(drv PRIVATE /DRIVER /ENTRY:DriverEntry)",
        "add_library(drv SHARED drv.c)\nset_target_properties(drv PROPERTIES SUFFIX .sys)",
        "add_library(part OBJECT drv.c)\nwdk_add_driver(drv $<TARGET_OBJECTS:part>)",
        "#[[ a comment\nwdk_add_driver(drv lost.c) ]]\nwdk_add_driver(drv drv.c) # lost.c",
    ],
)
def test_the_files_of_a_driver(tmp_path, text):
    evidence = read(lay(tmp_path, CMakeLists__txt=text, drv__c=PLAIN, other__h=""))
    assert bad(evidence) == {POOL}
    assert not weighing(evidence)
    assert "drv.c" not in reasons(evidence)


def test_folders_of_their_own(tmp_path):
    lay(tmp_path, CMakeLists__txt="project(p C)\nset(NAME drv)\nadd_subdirectory(src)\n")
    lay(tmp_path, src___CMakeLists__txt="wdk_add_driver(${NAME} ${PROJECT_SOURCE_DIR}/src/drv.c)\n")
    assert bad(read(lay(tmp_path, src___drv__c=PLAIN))) == {POOL}


def test_a_file_that_is_included(tmp_path):
    lay(tmp_path, CMakeLists__txt="include(cmake/files.cmake)\nwdk_add_driver(drv ${SRC})\n")
    lay(tmp_path, cmake___files__cmake="set(SRC ${CMAKE_CURRENT_LIST_DIR}/../drv.c)\n")
    evidence = read(lay(tmp_path, drv__c=PLAIN))
    assert bad(evidence) == {POOL}
    assert not weighing(evidence)


# ---- what user-mode targets do


def test_sources_of_tests_do_not_weigh(tmp_path):
    text = "project(mixed C)\noption(TESTS x ON)\nset(T test_a.c test_b.c)\n"
    text += "wdk_add_driver(drv drv.c)\n"
    text += 'if (TESTS)\nforeach(S ${T})\n string(REGEX REPLACE ".c$" "" B ${S})\n'
    text += ' add_executable(${B} "tests/${S}")\nendforeach()\n'
    text += "add_executable(fuzz ${PROJECT_SOURCE_DIR}/tests/lost.c ${UNSET})\nendif()\n"
    lay(tmp_path, CMakeLists__txt=text, drv__c=NX)
    lay(tmp_path, tests___test_a__c="int main(void){return 0;}", tests___test_b__c="")
    assert evaluate(tmp_path).verdict is Verdict.COMPATIBLE


# ---- definitions


@pytest.mark.parametrize(
    "text",
    [
        f"add_definitions(-D{AUTO})\nwdk_add_driver(drv drv.c)",
        f"wdk_add_driver(drv drv.c)\nadd_definitions(/D{AUTO})",
        f"add_compile_definitions({AUTO})\nwdk_add_driver(drv drv.c)",
        f"wdk_add_driver(drv drv.c)\ntarget_compile_definitions(drv PRIVATE {AUTO})",
        f"wdk_add_driver(drv drv.c)\ntarget_compile_options(drv PRIVATE -D{AUTO} /W4)",
        f"wdk_add_driver(drv drv.c)\n"
        f"set_target_properties(drv PROPERTIES COMPILE_DEFINITIONS {AUTO})",
        f"wdk_add_driver(drv drv.c)\nset_source_files_properties(drv.c PROPERTIES "
        f"COMPILE_DEFINITIONS {AUTO})",
        f"wdk_add_driver(drv drv.c)\n"
        f"set_property(TARGET drv APPEND PROPERTY COMPILE_DEFINITIONS {AUTO})",
        f"add_library(o INTERFACE)\ntarget_compile_definitions(o INTERFACE {AUTO})\n"
        "wdk_add_driver(drv drv.c)\ntarget_link_libraries(drv PRIVATE o)",
        f"wdk_add_driver(drv drv.c)\ntarget_compile_definitions(drv PRIVATE "
        f"$<$<CONFIG:Debug>:{AUTO}> $<$<NOT:$<CONFIG:Debug>>:{AUTO}>)",
        f"wdk_add_driver(drv drv.c)\n"
        f"target_compile_definitions(drv PRIVATE $<BUILD_INTERFACE:{AUTO}>)",
    ],
)  # fmt: skip
def test_definitions(tmp_path, text):
    assert not bad(read(lay(tmp_path, CMakeLists__txt=text, drv__c=PLAIN)))


def test_a_definition_of_one_configuration(tmp_path):
    text = "wdk_add_driver(drv drv.c)\n"
    text += f"target_compile_definitions(drv PRIVATE $<$<CONFIG:Debug>:{AUTO}>)"
    evidence = read(lay(tmp_path, CMakeLists__txt=text, drv__c=PLAIN))
    assert bad(evidence) == {POOL}
    assert "NX on Debug|x64, Debug|x86, executable on Release|x64" in evidence.calls[0].note


def test_definitions_of_one_target_are_not_those_of_another(tmp_path):
    text = "wdk_add_driver(a a.c)\nwdk_add_driver(b b.c)\n"
    text += f"target_compile_definitions(a PRIVATE {AUTO})\n"
    evidence = read(lay(tmp_path, CMakeLists__txt=text, a__c=PLAIN, b__c=NX))
    assert not bad(evidence)
    evidence = read(lay(tmp_path, a__c=NX, b__c=PLAIN))
    assert bad(evidence) == {POOL}


def test_a_library_is_part_of_its_driver(tmp_path):
    text = "add_library(part STATIC part.c)\nwdk_add_driver(drv drv.c)\n"
    text += "target_link_libraries(drv part)\nadd_compile_definitions(POOL_NX_OPTIN=1)\n"
    part = "#include <ntddk.h>\nVOID f(VOID) { ExAllocatePoolWithTag(NonPagedPool, 8, 'a'); }\n"
    lay(tmp_path, CMakeLists__txt=text, part__c=part)
    lay(tmp_path, drv__c=entry("ExInitializeDriverRuntime(DrvRtPoolNxOptIn); f();"))
    assert not bad(read(tmp_path))
    lay(tmp_path, drv__c=entry("f();"))
    assert POOL in bad(read(tmp_path))


def test_folders_of_headers(tmp_path):
    text = "wdk_add_driver(drv drv.c)\ntarget_include_directories(drv PRIVATE good)\n"
    lay(
        tmp_path,
        CMakeLists__txt=text,
        drv__c='#include "kind.h"\n' + PLAIN.replace("NonPagedPool", "KIND"),
    )
    lay(
        tmp_path,
        bad___kind__h="#define KIND NonPagedPool\n",
        good___kind__h="#define KIND PagedPool\n",
    )
    assert value_of(read(tmp_path), "ExAllocatePoolWithTag") == ({1}, True)


# ---- what cannot be followed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wdk_add_driver(drv drv.c ${MORE})", "${MORE}"),
        ("wdk_add_driver(drv drv.c lost1.c lost2.c)", "lost1.c does not exist"),
        ("wdk_add_driver(drv drv.c $<STRANGE:x.c>)", "$<STRANGE:x.c>"),
        ("wdk_add_driver(drv)", "names no source file"),
    ],
)
def test_what_cannot_be_followed_is_one_limit_of_the_target(tmp_path, text, said):
    evidence = read(lay(tmp_path, CMakeLists__txt=text, drv__c=NX))
    (reason,) = weighing(evidence)
    assert said in reason
    assert "target drv" in reason


@pytest.mark.parametrize(
    "text",
    [
        "function(f)\n f()\nendfunction()\nf()\nwdk_add_driver(drv drv.c)",
        "set(A ${A}x)\nset(A ${${A}})\nwdk_add_driver(drv drv.c)",
        "include(CMakeLists.txt)\nadd_subdirectory(.)\nwdk_add_driver(drv drv.c)",
        "if(A\n wdk_add_driver(drv drv.c)",
        "foreach(i RANGE 100000)\n foreach(j RANGE 100000)\n"
        " set(A ${A}aaaaaaaa)\n endforeach()\nendforeach()\n",
        "((((((((((",
        "set(A b;" * 20000,
    ],
    ids=["recursion", "self", "cycle", "open", "loops", "parentheses", "long"],
)
def test_hostile_lists_are_bounded(tmp_path, text):
    read(lay(tmp_path, CMakeLists__txt=text, drv__c=NX))


# ---- Makefiles and Meson

MAKEFILE = """CC = x86_64-w64-mingw32-gcc
OBJS := drv.o $(patsubst %.c,%.o,$(wildcard lib/*.c))
CFLAGS += -D{define} -Iinc
all: drv.sys
drv.sys: $(OBJS)
\t$(CC) -nostdlib -Wl,--subsystem,native -Wl,--entry,DriverEntry -o $@ $^ -lntoskrnl
%.o: %.c
\t$(CC) $(CFLAGS) -c $<
"""


def test_a_makefile_of_a_driver(tmp_path):
    lay(
        tmp_path,
        Makefile=MAKEFILE.format(define="OTHER"),
        drv__c=NX,
        lib___a__c=CHOSEN,
        old__c=PLAIN,
    )
    evidence = read(tmp_path)
    assert bad(evidence) == {POOL}
    assert "old.c: not compiled by any build here" in reasons(evidence)
    lay(tmp_path, Makefile=MAKEFILE.format(define="GOOD"))
    assert not bad(read(tmp_path))


def test_a_makefile_of_something_else(tmp_path):
    lay(tmp_path, Makefile="all: tool\ntool: tool.c\n\tcc -o tool tool.c\n", tool__c="int main(){}")
    assert bad(read(lay(tmp_path, drv__c=PLAIN))) == {POOL}


def test_meson(tmp_path):
    text = "project('drv', 'c')\nexecutable('drv', ['drv.c'], name_suffix: 'sys',\n"
    text += " link_args: ['-Wl,--subsystem,native'], c_args: ['-DGOOD'])\n"
    assert not bad(read(lay(tmp_path, meson__build=text, drv__c=CHOSEN, old__c=PLAIN)))
    lay(tmp_path, meson__build=text.replace("GOOD", "OTHER"))
    assert bad(read(tmp_path)) == {POOL}


@pytest.mark.parametrize("assignment", ["CFLAGS+=-D{}", "CFLAGS=-O2 -D{}", "CFLAGS := -D{} -O2"])
def test_a_makefile_that_defines_without_a_blank(tmp_path, assignment):
    makefile = f"{assignment.format('GOOD')}\ndrv.sys: drv.o\n\tld -o $@ $^ -lntoskrnl\n"
    lay(tmp_path, Makefile=makefile, drv__c=CHOSEN)
    assert not bad(read(tmp_path))
