"""CMake lists: what targets hand on, commands that run others, what the environment says."""

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, entry, lay, read

CHOSEN = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
DRIVER = CHOSEN + entry("ExAllocatePoolWithTag(P, 8, 'a');")
PART = f"#include <ntddk.h>\n{CHOSEN}PVOID F(void) {{ return ExAllocatePoolWithTag(P, 8, 'b'); }}\n"
LISTS = "add_executable(a driver.c)\ntarget_link_options(a PRIVATE /DRIVER)\n"


def asked(folder, lists, **files):
    lay(folder, CMakeLists__txt=f"project(p C)\n{LISTS}{lists}\n", driver__c=DRIVER, **files)
    return read(folder)


def failing(evidence):
    """The files with calls that ask for executable memory."""
    calls = (call for call in evidence.calls if 0 in call.arguments["PoolType"].possible)
    return {call.site.path.rpartition("/")[2] for call in calls}


def weighing(evidence):
    return [one.reason for one in evidence.limits if set(TEXT_RULES) <= set(one.rules)]


GIVES = "add_library(v INTERFACE)\ntarget_compile_definitions(v INTERFACE BAD)\n"
PARTS = "add_library(u STATIC part.c)\ntarget_link_libraries(a u)\n"


@pytest.mark.parametrize(
    ("links", "files"),
    [
        ("target_link_libraries(u PRIVATE v)", {"part.c"}),
        ("target_link_libraries(u PUBLIC v)", {"part.c", "driver.c"}),
        ("target_link_libraries(u v)", {"part.c", "driver.c"}),
        ("target_link_libraries(u INTERFACE v)", {"driver.c"}),
        ("target_link_libraries(u LINK_PRIVATE v)", {"part.c"}),
        ("target_link_libraries(u LINK_INTERFACE_LIBRARIES v)", {"driver.c"}),
        ("target_link_libraries(u PRIVATE v PUBLIC v)", {"part.c", "driver.c"}),
        ("target_link_libraries(u PUBLIC v PRIVATE v)", {"part.c", "driver.c"}),
    ],
)
def test_usage_goes_as_far_as_it_is_handed(tmp_path, links, files):
    assert failing(asked(tmp_path, GIVES + PARTS + links, part__c=PART)) == files


def test_what_a_private_link_links_is_linked(tmp_path):
    lists = "add_library(u STATIC part.c)\nadd_library(w STATIC more.c)\n"
    lists += "target_compile_definitions(w PRIVATE BAD)\n"
    lists += "target_link_libraries(u PRIVATE w)\ntarget_link_libraries(a PRIVATE u)"
    assert failing(asked(tmp_path, lists, part__c=PART, more__c=PART)) == {"more.c"}


ADDS = "target_compile_definitions(a PRIVATE BAD)"


@pytest.mark.parametrize(
    "lists",
    [
        "cmake_language(CALL target_compile_definitions a PRIVATE BAD)",
        f'cmake_language(EVAL CODE "{ADDS}")',
        "cmake_language(DEFER CALL target_compile_definitions a PRIVATE BAD)",
        "cmake_language(DEFER ID x CALL target_compile_definitions a PRIVATE BAD)",
        "add_subdirectory(sub)\ntarget_link_libraries(a sub::x)",
        "include(FetchContent)\nFetchContent_Declare(X SOURCE_DIR ${CMAKE_SOURCE_DIR}/sub)\n"
        "FetchContent_MakeAvailable(x)\ntarget_link_libraries(a sub::x)",
        "set(FETCHCONTENT_SOURCE_DIR_X sub)\nFetchContent_Declare(x URL https://host/x.zip)\n"
        "FetchContent_MakeAvailable(x)\ntarget_link_libraries(a sub::x)",
        "add_library(u STATIC part.c)\ntarget_precompile_headers(u PRIVATE all.h)\n"
        "target_precompile_headers(a REUSE_FROM u)",
    ],
)
def test_what_other_commands_run_counts(tmp_path, lists):
    sub = "add_library(x INTERFACE)\nadd_library(sub::x ALIAS x)\n"
    sub += "cmake_language(DEFER CALL target_compile_definitions x INTERFACE BAD)\n"
    files = {"sub___CMakeLists__txt": sub, "part__c": PART, "all__h": "#define BAD\n"}
    evidence = asked(tmp_path, lists, **files)
    assert "driver.c" in failing(evidence)
    assert weighing(evidence) == []


def test_a_project_that_is_not_here(tmp_path):
    lists = "FetchContent_Declare(x URL https://host/x.zip)\nFetchContent_MakeAvailable(x)\n"
    assert weighing(asked(tmp_path, lists)) == []
    (reason,) = weighing(asked(tmp_path, lists + "target_link_libraries(a x)"))
    assert "x.lib, which is not here" in reason
    (reason,) = weighing(asked(tmp_path, "target_precompile_headers(a REUSE_FROM x)"))
    assert "REUSE_FROM x" in reason


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ("target_compile_definitions(a PRIVATE $ENV{DEFS})", "$ENV{DEFS}"),
        ("target_compile_definitions(a PRIVATE ${DEFS})", "${DEFS}"),
        ("set(D $ENV{DEFS})\ntarget_compile_definitions(a PRIVATE ${D})", "${D}"),
        ("set(D $ENV{DEFS})\nadd_compile_options(${D})", "${D}"),
        ("set(D $ENV{DEFS})\nset(D)\nset(D X)\nadd_compile_options(${D})", ""),
        ('set(CMAKE_C_FLAGS "${CMAKE_C_FLAGS} $ENV{FLAGS}")', "${CMAKE_C_FLAGS}"),
        (f"if(DEFINED ENV{{KIND}})\n{ADDS}\nendif()", "if(DEFINED ENV{KIND})"),
        (f'if("$ENV{{KIND}}" STREQUAL x)\n{ADDS}\nendif()', 'if("$ENV{KIND}" STREQUAL x)'),
        ('if(DEFINED ENV{KIND})\nmessage("x")\nendif()', ""),
        ("if(DEFINED ENV{KIND})\nset(D BAD)\nendif()\nadd_compile_options(${D})", "${D}"),
        ("if(DEFINED ENV{KIND})\nset(D BAD)\nendif()\n", ""),
        (f"function(f)\n{ADDS}\nendfunction()\nif(DEFINED ENV{{KIND}})\nf()\nendif()", "if("),
        (f"execute_process(COMMAND x OUTPUT_VARIABLE K)\nif(K)\n{ADDS}\nendif()", "if(K)"),
        (f'check_c_source_compiles("x" K)\nif(K)\n{ADDS}\nendif()', "if(K)"),
        (f"check_symbol_exists(x y.h K)\nif(NOT K)\n{ADDS}\nendif()", "if(NOT K)"),
        (f"if(KIND)\n{ADDS}\nendif()", ""),
        ("set(D)\ntarget_compile_definitions(a PRIVATE ${D})", ""),
        ("set(D X)\nunset(D)\ntarget_compile_definitions(a PRIVATE ${D})", ""),
        ("set(D ${GONE})\ntarget_compile_definitions(a PRIVATE ${D})", "${D}"),
        (
            'function(f)\ncmake_parse_arguments(A "" "" "DEFS" ${ARGN})\n'
            "target_compile_definitions(a PRIVATE ${A_DEFS})\nendfunction()\nf(X)\nf(DEFS Y)",
            "",
        ),
        ("include_directories($ENV{SDK})", ""),
    ],
)
def test_what_only_the_environment_says_is_named(tmp_path, lists, told):
    reasons = weighing(asked(tmp_path, lists))
    assert [told in one for one in reasons] == ([True] if told else [])
    assert not bad(asked(tmp_path, "")) & {"execute-pool-type"}


@pytest.mark.parametrize(
    ("flags", "after", "expected"),
    [
        ('set(CMAKE_C_FLAGS "/DBAD" CACHE STRING "" FORCE)', True, {"driver.c"}),
        ('set(CMAKE_C_FLAGS "/DBAD" CACHE STRING "")', True, set()),
        ('set(CMAKE_C_FLAGS "/DBAD" CACHE STRING "")', False, {"driver.c"}),
    ],
)
def test_options_that_are_kept_in_the_cache(tmp_path, flags, after, expected):
    lists = f"project(p C)\n{flags}\n" if after else f"{flags}\nproject(p C)\n"
    lay(tmp_path, CMakeLists__txt=lists + LISTS, driver__c=DRIVER)
    assert failing(read(tmp_path)) == expected
