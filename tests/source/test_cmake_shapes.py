"""Shapes of CMake lists that must leave nothing out without a word."""

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, entry, lay, read

HEAD = "cmake_minimum_required(VERSION 3.20)\nproject(x C CXX)\nfind_package(WDK REQUIRED)\n"
GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
BAD = "#include <ntddk.h>\nPVOID F(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
CHOSEN = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


def asked(folder, lists, **files):
    """The evidence of a driver whose list is given; `bad.c` asks for executable pool."""
    lay(folder, CMakeLists__txt=HEAD + lists, good__c=GOOD, bad__c=BAD, **files)
    return read(folder)


MADE = [
    "set(S good.c)\nlist(INSERT S 0 bad.c)\nwdk_add_driver(a ${S})",
    "set(S x.c bad.c good.c)\nlist(REMOVE_AT S 0)\nlist(SORT S)\nwdk_add_driver(a ${S})",
    "set(S good.c bad.c)\nlist(POP_FRONT S F)\nwdk_add_driver(a ${F} ${S})",
    "set(S good.c bad.c)\nlist(POP_BACK S F)\nlist(REVERSE S)\nwdk_add_driver(a ${F} ${S})",
    "set(S x.c bad.c y.c)\nlist(SUBLIST S 1 1 T)\nwdk_add_driver(a good.c ${T})",
    "set(S good bad)\nlist(TRANSFORM S APPEND .c OUTPUT_VARIABLE T)\nwdk_add_driver(a ${T})",
    'set(S good bad)\nlist(TRANSFORM S REPLACE "(.+)" "\\\\1.c")\nwdk_add_driver(a ${S})',
    "set(S GOOD.C BAD.C)\nlist(TRANSFORM S TOLOWER)\nwdk_add_driver(a ${S})",
    "set(S bad.c good.c)\nlist(FIND S good.c N)\nlist(GET S ${N} -2 T)\nwdk_add_driver(a ${T})",
    "set(A bad.c)\nset(B good.c)\nforeach(p IN ZIP_LISTS A B)\nlist(APPEND S ${p_0} ${p_1})\n"
    "endforeach()\nwdk_add_driver(a ${S})",
    "set(A bad.c)\nforeach(p IN ZIP_LISTS A)\nset(S ${p_0} ${p})\nendforeach()\n"
    "wdk_add_driver(a good.c ${S})",
    "aux_source_directory(. S)\nwdk_add_driver(a ${S})",
    "add_library(i INTERFACE)\ntarget_sources(i INTERFACE bad.c)\nwdk_add_driver(a good.c)\n"
    "target_link_libraries(a PRIVATE i)",
    "add_library(l STATIC bad.c)\nadd_library(my::l ALIAS l)\nwdk_add_driver(a good.c)\n"
    "target_link_libraries(a PRIVATE my::l)",
    "wdk_add_library(l STATIC bad.c)\nlink_libraries(l)\nwdk_add_driver(a good.c)",
    "wdk_add_library(l STATIC bad.c)\nwdk_add_driver(a good.c)\n"
    "target_link_libraries(a PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,l>)",
    "wdk_add_library(l STATIC bad.c)\nwdk_add_driver(a good.c)\n"
    "target_link_libraries(a PRIVATE general $<TARGET_NAME:l>)",
]


@pytest.mark.parametrize("lists", MADE)
def test_a_source_is_found(tmp_path, lists):
    evidence = asked(tmp_path, lists + "\n")
    files = {call.site.path.rpartition("/")[2] for call in evidence.calls if not call.dead}
    assert files == {"good.c", "bad.c"}
    assert weighing(evidence) == []


@pytest.mark.parametrize("name", ["bad.c++", "bad.ixx"])
def test_a_source_with_another_extension(tmp_path, name):
    (tmp_path / name).write_text(BAD)
    evidence = asked(tmp_path, f"wdk_add_driver(a good.c {name})\n")
    assert "execute-pool-type" in bad(evidence)


LOST = [
    ("acme_add_driver(b bad.c)", "the command acme_add_driver"),
    ("acme_sources(a ${MORE})", "the command acme_sources"),
    ("include(cmake/gone.cmake)", "include(cmake/gone.cmake)"),
    ("target_link_libraries(a PRIVATE ${FOUND})", "${FOUND}"),
    ("target_link_libraries(a PRIVATE PkgConfig::engine)", "PkgConfig::engine"),
    ("target_link_libraries(a PRIVATE -lengine)", "engine.lib"),
    ("add_library(e STATIC IMPORTED)\ntarget_link_libraries(a PRIVATE e)", "e.lib"),
    ("target_sources(a PRIVATE more)", "more"),
    ("target_sources(a PRIVATE gone.obj)", "gone.obj"),
    ("file(STRINGS s.txt S)\ntarget_sources(a PRIVATE ${S})", "${S}"),
    ("set(S x)\nfile(STRINGS s.txt S)\nset(T ${S})\ntarget_sources(a PRIVATE ${T})", "${T}"),
    ("set(S 1)\nmath(EXPR S 1+1)\ntarget_sources(a PRIVATE ${S}.h)", "${S}"),
    ("set(S h)\nlist(TRANSFORM S GENEX_STRIP)\ntarget_sources(a PRIVATE x.${S})", "${S}"),
    (
        "set(S h.h)\nwhile(1)\nlist(APPEND S bad.c)\nendwhile()\ntarget_sources(a PUBLIC ${S})",
        "${S}",
    ),
    ("execute_process(COMMAND x OUTPUT_VARIABLE S)\ntarget_sources(a PRIVATE ${S})", "${S}"),
]


@pytest.mark.parametrize(("lists", "told"), LOST)
def test_what_is_not_followed_is_named(tmp_path, lists, told):
    reasons = weighing(asked(tmp_path, f"wdk_add_driver(a good.c)\n{lists}\n"))
    assert reasons
    assert all(told in reason for reason in reasons)


CLEAR = [
    "message(STATUS a good.c)",
    "include(cmake/gone.cmake OPTIONAL)",
    "include(GNUInstallDirs)",
    "sign_with_test_certificate(a)",
    "target_link_libraries(a PRIVATE WDK::FLTMGR)",
    "add_subdirectory(docs)",
    "set(S x)\nmath(EXPR S 1+1)\nset(S good.h)\ntarget_sources(a PRIVATE ${S})",
]


@pytest.mark.parametrize("lists", CLEAR)
def test_what_says_nothing_of_the_driver_weighs_nothing(tmp_path, lists):
    assert weighing(asked(tmp_path, f"wdk_add_driver(a good.c)\n{lists}\n")) == []


DEFINED = [
    'set(CMAKE_C_FLAGS_RELEASE "-DBAD")',
    'set(CMAKE_C_FLAGS "${CMAKE_C_FLAGS} /DBAD")',
    'add_compile_options("$<$<COMPILE_LANGUAGE:C>:/DBAD>")',
    "set_source_files_properties(d.c PROPERTIES COMPILE_OPTIONS /FIbad.h)",
    "set_property(SOURCE d.c PROPERTY COMPILE_DEFINITIONS BAD)",
    "set_property(SOURCE d.c PROPERTY COMPILE_DEFINITIONS A)\n"
    "set_property(SOURCE d.c APPEND PROPERTY COMPILE_DEFINITIONS BAD)",
    "set_property(DIRECTORY APPEND PROPERTY COMPILE_DEFINITIONS BAD)",
    "wdk_add_driver(b d.c)\ntarget_precompile_headers(b PRIVATE bad.h)",
    "wdk_add_driver(b d.c)\nset_target_properties(b PROPERTIES COMPILE_OPTIONS /DBAD)",
]


@pytest.mark.parametrize("lists", DEFINED)
def test_definitions_for_one_language_file_or_folder(tmp_path, lists):
    more = {"d__c": CHOSEN, "bad__h": "#define BAD\n"}
    evidence = asked(tmp_path, f"{lists}\nwdk_add_driver(a d.c)\n", **more)
    assert "execute-pool-type" in bad(evidence)


@pytest.mark.parametrize(
    "lists",
    ['set(CMAKE_CXX_FLAGS "-DBAD")', 'add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:/DBAD>")'],
)
def test_definitions_for_another_language_do_not_count(tmp_path, lists):
    evidence = asked(tmp_path, f"{lists}\nwdk_add_driver(a d.c)\n", d__c=CHOSEN)
    assert "execute-pool-type" not in bad(evidence)
    assert weighing(evidence) == []


DRIVERS = [
    'set(CMAKE_EXE_LINKER_FLAGS "/DRIVER /SUBSYSTEM:NATIVE")\nadd_executable(a d.c)',
    'set(CMAKE_SHARED_LINKER_FLAGS_RELEASE "/DRIVER")\nadd_library(a SHARED d.c)',
    "add_executable(a d.c)\nset_target_properties(a PROPERTIES LINK_FLAGS_DEBUG /DRIVER)",
    "add_executable(a d.c)",
]


@pytest.mark.parametrize("lists", DRIVERS)
def test_a_target_that_is_a_driver(tmp_path, lists):
    text = BAD + entry("F();").replace("#include <ntddk.h>", "")
    lay(tmp_path, CMakeLists__txt=HEAD + lists + "\n", d__c=text)
    assert "execute-pool-type" in bad(read(tmp_path))


def test_a_program_is_no_driver(tmp_path):
    text = '#include <windows.h>\nint main(void) { return DriverEntry("x"); }\n'
    lay(tmp_path, CMakeLists__txt=HEAD + "add_executable(a d.c)\n", d__c=text)
    assert any("only programs for user mode" in one.reason for one in read(tmp_path).limits)
