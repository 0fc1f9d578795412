"""Shapes of CMake lists that must leave nothing out without a word."""

import json

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
    'set(N 0)\nwdk_add_driver(a good.c)\nwhile(N LESS 9)\nmath(EXPR N "(${N} + 1) * 2")\n'
    "if(N EQUAL 6)\ntarget_sources(a PRIVATE bad.c)\nbreak()\nendif()\nendwhile()",
    "foreach(n RANGE 0 4 2)\nif(n EQUAL 2)\ncontinue()\nendif()\nlist(APPEND S bad${n})\n"
    "endforeach()\nlist(TRANSFORM S REPLACE 0 .c)\nlist(GET S 0 T)\nwdk_add_driver(a good.c ${T})",
    "wdk_add_driver(a good.c)\nset_property(TARGET a APPEND PROPERTY SOURCES bad.c)",
    "add_library(i INTERFACE)\nset_target_properties(i PROPERTIES INTERFACE_SOURCES bad.c)\n"
    "wdk_add_driver(a good.c)\nset_target_properties(a PROPERTIES LINK_LIBRARIES i)",
    'if("b" STRGREATER_EQUAL "a")\nset(S bad.c)\nendif()\nwdk_add_driver(a good.c ${S})',
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
    ("set(S 1)\nmath(EXPR S ~1)\ntarget_sources(a PRIVATE ${S}.h)", "${S}"),
    ("set(S h)\nlist(TRANSFORM S GENEX_STRIP)\ntarget_sources(a PRIVATE x.${S})", "${S}"),
    (
        "set(S h.h)\nwhile(1)\nlist(APPEND S x.h)\nendwhile()\ntarget_sources(a PUBLIC ${S})",
        "too long to be run",
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
    "set(S x)\nmath(EXPR S ~1)\nset(S good.h)\ntarget_sources(a PRIVATE ${S})",
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
    "add_compile_definitions($<$<CONFIG:RelWithDebInfo>:BAD>)",
    "add_compile_definitions($<$<CONFIG:MinSizeRel>:BAD>)",
    "set(CMAKE_C_FLAGS_RELWITHDEBINFO /DBAD)",
    "set(CMAKE_CONFIGURATION_TYPES A Chk)\nadd_compile_definitions($<$<CONFIG:Chk>:BAD>)",
    "set(CMAKE_C_FLAGS_INIT /DBAD)",
    "set(CMAKE_TOOLCHAIN_FILE tools.cmake)\nproject(again C)",
    "set_directory_properties(PROPERTIES COMPILE_DEFINITIONS BAD)",
    "add_library(i INTERFACE)\nset_property(TARGET i PROPERTY INTERFACE_COMPILE_DEFINITIONS BAD)\n"
    "link_libraries(i)",
]


@pytest.mark.parametrize("lists", DEFINED)
def test_definitions_for_one_language_file_or_folder(tmp_path, lists):
    more = {"d__c": CHOSEN, "bad__h": "#define BAD\n", "tools__cmake": "add_definitions(-DBAD)\n"}
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


def test_definitions_that_are_removed_again(tmp_path):
    lists = "add_definitions(-DGOOD -DBAD)\nremove_definitions(-DBAD)\nwdk_add_driver(a d.c)\n"
    assert "execute-pool-type" not in bad(asked(tmp_path, lists, d__c=CHOSEN))


def test_a_source_that_is_only_shown(tmp_path):
    shown = "set_source_files_properties(bad.c PROPERTIES HEADER_FILE_ONLY ON)\n"
    evidence = asked(tmp_path, f"wdk_add_driver(a good.c bad.c)\n{shown}")
    assert "execute-pool-type" not in bad(evidence)


def test_a_source_in_another_language_than_its_name_says(tmp_path):
    lists = "set_source_files_properties(d.c PROPERTIES LANGUAGE CXX)\nwdk_add_driver(a d.c)\n"
    text = CHOSEN.replace("#ifdef BAD", "#ifdef __cplusplus")
    assert "execute-pool-type" in bad(asked(tmp_path, lists, d__c=text))


def test_what_only_arm64_compiles(tmp_path):
    lists = 'wdk_add_driver(a good.c)\nif(CMAKE_SYSTEM_PROCESSOR STREQUAL "ARM64")\n'
    lists += "target_sources(a PRIVATE bad.c)\nendif()\n"
    text = BAD.replace("NonPagedPool,", "NonPagedPoolExecute,")
    lay(tmp_path, CMakeLists__txt=HEAD + lists, good__c=GOOD, bad__c=text)
    assert "execute-pool-type" in bad(read(tmp_path))


# ---- presets

DRIVER = (
    "option(MORE off)\nwdk_add_driver(a d.c)\nif(MORE)\ntarget_sources(a PRIVATE bad.c)\nendif()\n"
)


def preset(**said):
    """A list of presets that begins with a hidden one."""
    base = {"name": "base", "hidden": True, "cacheVariables": {"OTHER": {"value": "x"}}}
    return json.dumps({"configurePresets": [base, {"name": "own", "inherits": "base", **said}]})


@pytest.mark.parametrize(
    "said",
    [
        {"cacheVariables": {"MORE": True}},
        {"cacheVariables": {"MORE": {"type": "BOOL", "value": "ON"}}},
        {"cacheVariables": {"CMAKE_C_FLAGS": "/DBAD"}},
        {"toolchainFile": "tools.cmake"},
        {"cacheVariables": {"CMAKE_TOOLCHAIN_FILE": "${sourceDir}/tools.cmake"}},
    ],
)
@pytest.mark.parametrize("name", ["CMakePresets__json", "CMakeUserPresets__json"])
def test_what_a_preset_says(tmp_path, said, name):
    more = {name: preset(**said), "d__c": CHOSEN, "tools__cmake": "set(CMAKE_C_FLAGS_INIT /DBAD)\n"}
    assert "execute-pool-type" in bad(asked(tmp_path, DRIVER, **more))


@pytest.mark.parametrize(
    "said",
    [
        {"condition": {"type": "equals", "lhs": "${hostSystemName}", "rhs": "Linux"}},
        {"condition": {"type": "notEquals", "lhs": "${hostSystemName}", "rhs": "Windows"}},
        {"condition": False},
        {"hidden": True},
    ],
)
def test_a_preset_that_is_not_for_windows(tmp_path, said):
    more = preset(cacheVariables={"MORE": "ON"}, **said)
    evidence = asked(tmp_path, DRIVER, d__c=CHOSEN, CMakePresets__json=more)
    assert "execute-pool-type" not in bad(evidence)
    assert not weighing(evidence)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "the presets in CMakePresets.json"),
        ('{"include": ["gone.json"]}', "the presets in gone.json"),
        (preset(toolchainFile="gone.cmake"), "the toolchain file gone.cmake"),
        (preset(toolchainFile="$env{TOOLS}/vcpkg.cmake"), ""),
        (
            json.dumps(
                {
                    "configurePresets": [
                        {"name": str(at), "cacheVariables": {"X": str(at)}} for at in range(9)
                    ]
                }
            ),
            "more than 6 presets",
        ),
    ],
)
def test_what_of_presets_is_not_read_is_named(tmp_path, text, told):
    reasons = weighing(asked(tmp_path, DRIVER, d__c=CHOSEN, CMakePresets__json=text))
    assert [told in one for one in reasons] == [True] * bool(told)


def test_every_machine_configuration_and_compiler_of_usual_lists_is_run(tmp_path):
    lists = "add_library(a SHARED good.c)\nset_target_properties(a PROPERTIES SUFFIX .sys)\n"
    lists += "if(MINGW OR CMAKE_C_COMPILER_ID MATCHES Clang)\nendif()\n# ARM64\n"
    lists += 'set(CMAKE_C_FLAGS_RELWITHDEBINFO "/O2")\nset(CMAKE_C_FLAGS_MINSIZEREL "/O1")\n'
    assert not any("too long to be run" in one for one in weighing(asked(tmp_path, lists)))


def test_more_configurations_than_are_run(tmp_path):
    names = " ".join(f"C{at}" for at in range(30))
    lists = f"set(CMAKE_CONFIGURATION_TYPES {names})\nwdk_add_driver(a good.c)\n"
    assert any("too long to be run" in one for one in weighing(asked(tmp_path, lists)))


@pytest.mark.parametrize(
    ("lists", "is_told"),
    [
        ("set(CMAKE_UNITY_BUILD ON)\nwdk_add_driver(d a.c b.c)\n", True),
        ("wdk_add_driver(d a.c b.c)\nset_target_properties(d PROPERTIES UNITY_BUILD ON)\n", True),
        ("set(CMAKE_UNITY_BUILD OFF)\nwdk_add_driver(d a.c b.c)\n", False),
        ("wdk_add_driver(d a.c b.c)\n", False),
    ],
)
def test_a_unity_build_in_which_one_file_may_change_the_next(tmp_path, lists, is_told):
    second = "#ifndef P\n#define P NonPagedPoolNx\n#endif\n"
    second += entry("ExAllocatePoolWithTag(P, 8, 'a');")
    lay(tmp_path, a__c="#define P NonPagedPool\n", b__c=second)
    lay(tmp_path, CMakeLists__txt=f"project(d C)\nfind_package(WDK)\n{lists}")
    assert any("unity" in one.reason for one in read(tmp_path).limits) is is_told
