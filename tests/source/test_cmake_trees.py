"""CMake lists that others decide about: trees, modules, properties."""

import json

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, entry, lay, read

HEAD = "cmake_minimum_required(VERSION 3.24)\nproject(p C)\n"
DRIVER = "add_executable(d d.c)\ntarget_link_options(d PRIVATE /DRIVER)\n"
CODE = "#ifdef NX\n#define P NonPagedPoolNx\n#else\n#define P NonPagedPool\n#endif\n"
CODE += entry("p = ExAllocatePoolWithTag(P, 8, 'a');")
GOOD = entry("p = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
MORE = "#include <ntddk.h>\nVOID *f(VOID) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
POOL = {"execute-pool-type"}


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


def of_lists(folder, lists, code=CODE, head=HEAD, **files):
    return read(lay(folder, CMakeLists__txt=head + lists, d__c=code, **files))


# ---- parts of a tree

PARTS = {
    "definitions": "add_compile_definitions(NX)\nadd_subdirectory(drv)\n",
    "flags": 'set(CMAKE_C_FLAGS "/DNX")\nadd_subdirectory(drv)\n',
    "function": "function(drv)\nadd_executable(${ARGV})\ntarget_link_options(${ARGV0} PRIVATE "
    "/DRIVER)\ntarget_compile_definitions(${ARGV0} PRIVATE NX)\nendfunction()\n"
    "add_subdirectory(drv)\n",
}


@pytest.mark.parametrize("asked", ["drv", "drv/CMakeLists.txt", "drv/d.c", "."])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_tree_has_what_the_lists_above_say(tmp_path, part, asked):
    own = "drv(d d.c)\n" if part == "function" else DRIVER
    lay(tmp_path, CMakeLists__txt=HEAD + PARTS[part], drv___CMakeLists__txt=own, drv___d__c=CODE)
    evidence = read(tmp_path / asked)
    assert not bad(evidence)
    assert not weighing(evidence)


def test_a_tree_of_its_own_has_not(tmp_path):
    lay(tmp_path, CMakeLists__txt=HEAD + PARTS["definitions"], drv___d__c=CODE)
    lay(tmp_path, drv___CMakeLists__txt=HEAD + DRIVER)
    assert bad(read(tmp_path / "drv")) == POOL
    lay(tmp_path, CMakeLists__txt=HEAD, drv___CMakeLists__txt=DRIVER)
    assert bad(read(tmp_path / "drv")) == POOL


def test_of_a_tree_only_the_part_that_is_asked_for_is_judged(tmp_path):
    lists = HEAD + "add_subdirectory(x/a)\nadd_subdirectory(x/b)\nadd_subdirectory(o)\n"
    lay(tmp_path, CMakeLists__txt=lists)
    for folder in ("x/a", "x/b", "o"):
        name = folder[-1]
        made = DRIVER.replace("(d ", f"({name} ")
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "CMakeLists.txt").write_text(made)
        (tmp_path / folder / "d.c").write_text(GOOD)
    (tmp_path / "o/d.c").write_text(CODE)
    assert bad(read(tmp_path)) == POOL
    assert not bad(read(tmp_path / "x"))
    (tmp_path / "x/b/d.c").write_text(CODE)
    assert bad(read(tmp_path / "x")) == POOL


def test_a_library_beside_the_part_is_linked(tmp_path):
    lists = HEAD + "add_subdirectory(lib)\nadd_subdirectory(drv)\n"
    linked = DRIVER + "target_link_libraries(d PRIVATE l)\n"
    lay(tmp_path, CMakeLists__txt=lists, lib___CMakeLists__txt="add_library(l STATIC more.c)\n")
    lay(tmp_path, lib___more__c=MORE, drv___CMakeLists__txt=linked, drv___d__c=GOOD)
    assert bad(read(tmp_path / "drv")) == POOL


# ---- files that lists run

SETTING = "add_compile_definitions(NX)\n"
PRESET = {"name": "x", "cacheVariables": {"CMAKE_PROJECT_INCLUDE": "${sourceDir}/more.cmake"}}


@pytest.mark.parametrize(
    "name", ["CMAKE_PROJECT_INCLUDE", "CMAKE_PROJECT_INCLUDE_BEFORE", "CMAKE_PROJECT_p_INCLUDE"]
)
def test_what_project_runs(tmp_path, name):
    head = f"set({name} ${{CMAKE_CURRENT_SOURCE_DIR}}/more.cmake)\nproject(p C)\n"
    assert not bad(of_lists(tmp_path, DRIVER, head=head, more__cmake=SETTING))


def test_what_a_preset_has_project_run(tmp_path):
    text = json.dumps({"version": 3, "configurePresets": [PRESET]})
    lay(tmp_path, CMakePresets__json=text, more__cmake=SETTING)
    assert not bad(of_lists(tmp_path, DRIVER))


@pytest.mark.parametrize(
    ("name", "is_open"),
    [("Settings", True), ("cmake/Settings.cmake", True), ("Settings OPTIONAL", False)]
    + [(one, False) for one in ("CheckCSourceCompiles", "GNUInstallDirs", "FindWdk", "CTest")],
)
def test_a_module_that_nobody_has(tmp_path, name, is_open):
    evidence = of_lists(tmp_path, f"include({name})\n" + DRIVER, code=GOOD)
    assert weighing(evidence) == (
        [f"{tmp_path}/CMakeLists.txt: this could not be followed: include({name})"]
        if is_open
        else []
    )


@pytest.mark.parametrize("name", ["CL", "_CL_", "CFLAGS"])
def test_options_in_the_environment_of_a_preset(tmp_path, name):
    hidden = {"name": "b", "hidden": True, "environment": {name: "/DOLD", "OTHER": "1"}}
    presets = [hidden, {"name": "x", "inherits": ["b"]}]
    lay(tmp_path, CMakePresets__json=json.dumps({"version": 3, "configurePresets": presets}))
    (reason,) = weighing(of_lists(tmp_path, DRIVER, code=GOOD))
    assert f"{name} in the environment of the preset x" in reason
    del hidden["environment"][name]
    lay(tmp_path, CMakePresets__json=json.dumps({"version": 3, "configurePresets": presets}))
    assert not weighing(read(tmp_path))


# ---- what replaces what

REPLACING = [
    ("target_compile_definitions(d PRIVATE NX)\n", "COMPILE_DEFINITIONS OTHER", ""),
    ("target_compile_definitions(d PRIVATE NX)\n", "COMPILE_DEFINITIONS", ""),
    ("target_compile_options(d PRIVATE /DNX)\n", "COMPILE_OPTIONS /W4", ""),
    ("add_definitions(-DNX)\n", "COMPILE_DEFINITIONS OTHER", ""),
    ("", "COMPILE_DEFINITIONS OTHER", "add_definitions(-DNX)\n"),
]


@pytest.mark.parametrize(("said", "other", "before"), REPLACING)
def test_a_property_takes_the_place_of_what_was_said(tmp_path, said, other, before):
    lists = f"{before}{DRIVER}{said}"
    assert not bad(of_lists(tmp_path, lists))
    assert bad(of_lists(tmp_path, f"{lists}set_property(TARGET d PROPERTY {other})\n")) == POOL
    more = f"set_property(TARGET d APPEND PROPERTY {other})\n"
    assert not bad(of_lists(tmp_path, lists + more))
    if " " in other:
        lists += f"set_target_properties(d PROPERTIES {other})\n"
        assert bad(of_lists(tmp_path, lists)) == POOL


def test_options_stay_where_definitions_are_replaced(tmp_path):
    lists = (
        f"add_definitions(-DNX)\n{DRIVER}set_target_properties(d PROPERTIES COMPILE_OPTIONS /W4)"
    )
    assert not bad(of_lists(tmp_path, lists))
    lists = "add_definitions(-DNX)\nremove_definitions(-DNX)\n" + DRIVER
    assert bad(of_lists(tmp_path, lists)) == POOL


def test_what_is_handed_on_is_replaced(tmp_path):
    lists = "add_library(i INTERFACE)\ntarget_compile_definitions(i INTERFACE NX)\n{}" + DRIVER
    lists += "target_link_libraries(d PRIVATE i)\n"
    assert not bad(of_lists(tmp_path, lists.format("")))
    other = "set_target_properties(i PROPERTIES INTERFACE_COMPILE_DEFINITIONS OTHER)\n"
    assert bad(of_lists(tmp_path, lists.format(other))) == POOL


def test_what_is_only_linked_hands_nothing_on(tmp_path):
    lists = "add_library(l STATIC more.c)\ntarget_compile_definitions(l PUBLIC NX)\n" + DRIVER
    lists += 'target_link_libraries(d PRIVATE "{}")\n'
    assert not bad(of_lists(tmp_path, lists.format("l"), more__c="int x;\n"))
    assert bad(of_lists(tmp_path, lists.format("$<LINK_ONLY:l>"))) == POOL
    evidence = of_lists(tmp_path, lists.format("$<LINK_ONLY:l>"), code=GOOD, more__c=MORE)
    assert bad(evidence) == POOL


@pytest.mark.parametrize(
    ("top", "below", "expected"),
    [
        ("", 'set(CMAKE_C_FLAGS "/DNX")\n', set()),
        ('set(CMAKE_C_FLAGS "/DNX")\n', 'set(CMAKE_C_FLAGS "")\n', POOL),
        ("", "function(f)\nset(CMAKE_C_FLAGS /DNX)\nendfunction()\nf()\n", POOL),
    ],
)
def test_flags_are_those_of_the_folder(tmp_path, top, below, expected):
    lay(tmp_path, drv___CMakeLists__txt=DRIVER + below, drv___d__c=CODE)
    assert bad(of_lists(tmp_path, top + "add_subdirectory(drv)\n")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('cmake_dependent_option(USE "" ON "A" OFF)', set()),
        ('cmake_dependent_option(USE "" ON "NOT A" OFF)', POOL),
        ('cmake_dependent_option(USE "" OFF "A;B" ON)', set()),
        ("set(USE OFF)\ncmake_dependent_option(USE x ON A OFF)", POOL),
    ],
)
def test_options_that_depend_on_others(tmp_path, text, expected):
    lists = f"set(A ON)\n{text}\nif(USE)\n{SETTING}endif()\n{DRIVER}"
    assert bad(of_lists(tmp_path, lists)) == expected


def test_lists_that_are_joined(tmp_path):
    lists = DRIVER + 'set(S A NX)\ntarget_compile_options(d PRIVATE "/D$<JOIN:${S},;/D>")\n'
    evidence = of_lists(tmp_path, lists)
    assert not bad(evidence)
    assert not weighing(evidence)
