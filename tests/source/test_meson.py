"""Meson files: each target has its own files and arguments, and those that all targets get."""

import pytest

from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Answer, Question
from sources import bad, entry, lay, read

HEAD = "project('p', 'c', 'cpp')\n"
CODE = "#ifdef NX\n#define P NonPagedPoolNx\n#else\n#define P NonPagedPool\n#endif\n"
PART = CODE + "#include <ntddk.h>\nVOID *f(VOID) { return ExAllocatePoolWithTag(P, 8, 'b'); }\n"
CODE += entry("p = ExAllocatePoolWithTag(P, 8, 'a');")
CALLS = "VOID *f(VOID);\n" + entry("f();")
DRIVER = "shared_library('{0}', '{0}.c', {1} name_suffix: 'sys')\n"
POOL = {"execute-pool-type"}


def answers(folder):
    """What each driver would do in the readiness test, by its name."""
    reports = evaluate_drivers(folder, Options())
    return {one.target.path.rpartition("#")[2]: one.answers[Question.READINESS] for one in reports}


def one_driver(folder, more, arguments="", file="d.c", **files):
    text = HEAD + more.format(DRIVER.format("d", arguments))
    (folder / file).write_text(files.pop("code", CODE))
    return read(lay(folder, meson__build=text, **files))


@pytest.mark.parametrize(
    ("more", "arguments", "is_bad"),
    [
        ("{}", "c_args: '-DNX',", False),
        ("{}", "c_args: ['-DNX', '-O2'],", False),
        ("{}", "cpp_args: ['-DNX', '-O2'],", True),
        ("a = ['-DNX']\n{}", "c_args: a,", False),
        ("a = ['-DNX']\nb = a + ['-O2']\n{}", "c_args: b,", False),
        ("a = ['-DNX']\n{}", "", True),
        ("x = declare_dependency(compile_args: '-DNX')\n{}", "dependencies: [x],", False),
        ("x = declare_dependency(compile_args: '-DNX')\n{}", "", True),
        ("add_project_arguments('-DNX', language: 'c')\n{}", "", False),
        ("add_project_arguments(['-DNX'], language: ['c', 'cpp'])\n{}", "", False),
        ("add_global_arguments('-DNX', language: 'cpp')\n{}", "", True),
        ("a = '-DNX'\nadd_project_arguments(a, language: 'c')\n{}", "", False),
        ("executable('t', 't.c', c_args: '-DNX')\n{}", "", True),
        ("t = executable('t', 't.c', c_args: '-DNX')\ntest('x', t)\n{}", "", True),
    ],
)
def test_arguments_of_one_driver(tmp_path, more, arguments, is_bad):
    evidence = one_driver(tmp_path, more, arguments, t__c="int main(void) { return 0; }\n")
    assert bool(bad(evidence)) is is_bad


def test_two_drivers_of_one_file(tmp_path):
    text = HEAD + DRIVER.format("a", "c_args: '-DNX',") + DRIVER.format("b", "")
    lay(tmp_path, meson__build=text, a__c=CODE, b__c=CODE)
    assert answers(tmp_path) == {"a": Answer.YES, "b": Answer.NO}
    text = HEAD + "s = files('a.c', 'm.c')\n" + DRIVER.format("a", "").replace("'a.c'", "s")
    lay(tmp_path, meson__build=text + DRIVER.format("b", ""), a__c=CALLS, b__c=entry(""), m__c=PART)
    assert answers(tmp_path) == {"a": Answer.NO, "b": Answer.YES}


@pytest.mark.parametrize(
    ("library", "link"),
    [
        ("l = static_library('l', 'm.c'{})\n", "link_with: l,"),
        ("l = static_library('l', 'm.c'{})\n", "objects: l.extract_all_objects(),"),
        (
            "l = static_library('l', 'm.c'{})\nx = declare_dependency(link_with: l)\n",
            "dependencies: x,",
        ),
    ],
)
def test_a_library_has_arguments_of_its_own(tmp_path, library, link):
    files = {"a__c": CALLS, "b__c": CODE, "m__c": PART}
    drivers = DRIVER.format("a", link) + DRIVER.format("b", "c_args: '-DNX',")
    lay(tmp_path, meson__build=HEAD + library.format("") + drivers, **files)
    assert answers(tmp_path) == {"a": Answer.NO, "b": Answer.YES}
    lay(tmp_path, meson__build=HEAD + library.format(", c_args: '-DNX'") + drivers, **files)
    assert answers(tmp_path) == {"a": Answer.YES, "b": Answer.YES}


@pytest.mark.parametrize("asked", [".", "s", "s/meson.build", "s/d.c"])
@pytest.mark.parametrize(
    ("above", "arguments"),
    [("add_project_arguments('-DNX', language: 'c')\n", ""), ("a = ['-DNX']\n", "c_args: a,")],
)
def test_a_folder_has_what_stands_above(tmp_path, above, arguments, asked):
    lay(tmp_path, meson__build=HEAD + above + "subdir('s')\n", s___d__c=CODE)
    lay(tmp_path, s___meson__build=DRIVER.format("d", arguments))
    assert not bad(read(tmp_path / asked))
    lay(tmp_path, meson__build=HEAD + "subdir('s')\n")
    assert bad(read(tmp_path / asked)) == POOL


@pytest.mark.parametrize("name", ["l", "other"])
def test_a_library_whose_variable_has_another_name(tmp_path, name):
    text = (
        HEAD + f"{name} = static_library('x', 'm.c')\n" + DRIVER.format("a", f"link_with: {name},")
    )
    evidence = read(lay(tmp_path, meson__build=text, a__c=CALLS, m__c=PART))
    assert bad(evidence) == POOL
    assert not any("names no source file" in one.reason for one in evidence.limits)


@pytest.mark.parametrize("asked", ["", "meson.build"])
def test_the_file_at_the_top_stands_for_those_below(tmp_path, asked):
    lay(tmp_path, meson__build=HEAD + "subdir('s')\nsubdir('t')\n")
    lay(tmp_path, s___meson__build=DRIVER.format("d", "c_args: '-DNX',"), s___d__c=CODE)
    lay(tmp_path, t___meson__build=DRIVER.format("e", ""), t___e__c=CODE)
    found = evaluate_drivers(tmp_path / asked, Options())
    told = {one.target.path.split("/")[-2]: one.answers[Question.READINESS] for one in found}
    assert told == {"s": Answer.YES, "t": Answer.NO}


def test_arguments_that_only_some_files_get_are_told(tmp_path):
    text = HEAD + "add_project_arguments('-DNX', language: 'cpp')\n"
    text += DRIVER.format("d", "").replace("'d.c'", "['d.c', 'm.cpp']")
    evidence = read(lay(tmp_path, meson__build=text, d__c=CALLS, m__cpp=PART))
    assert any("arguments for files of cpp alone" in one.reason for one in evidence.limits)


def test_more_targets_than_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.source.builds.meson.MAX_TARGETS", 1)
    text = HEAD + DRIVER.format("a", "") + DRIVER.format("b", "")
    evidence = read(lay(tmp_path, meson__build=text, a__c=entry(""), b__c=CODE))
    assert any("more than 1 targets" in one.reason for one in evidence.limits)


# ---- loops

IMAGE = "name_suffix: 'sys')\n"
LOOPS = {
    "list": ("foreach n : ['a', 'b']\n  executable(n, n + '.c', {}", "n == 'a'"),
    "variable": (
        "l = ['a', 'b']\nforeach n : l\n  executable(n, '@0@.c'.format(n), {}",
        "n == 'a'",
    ),
    "lines": ("foreach n : [\n  'a',\n  'b', ]\n  executable(n, f'@n@.c', {}", "n == 'a'"),
    "dictionary": (
        "d = {{'a': ['a.c'], 'b': ['b.c']}}\nforeach n, s : d\n  executable(n, s, {}",
        "n != 'b'",
    ),
    "values": ("foreach n, s : {{'a': 'a', 'b': 'b'}}\n  executable(n, s + '.c', {}", "s == 'a'"),
    "folder": ("foreach n : ['a', 'b']\n  executable(n, '.' / n + '.c', {}", "n == 'a'"),
    "inner": (
        "foreach x : ['c']\nforeach n : ['a', 'b']\n  executable(n, n + '.' + x, {}",
        "n == 'a'",
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("form", ["{} ? ['-DNX'] : []", "{} ? ['-DNX', '-O2'] : ['-O2']"])
def test_each_round_of_a_loop_is_a_target(tmp_path, loop, form):
    text, asked = LOOPS[loop]
    made = text.format(f"c_args: {form.format(asked)}, {IMAGE}") + "endforeach\n"
    made += "endforeach\n" if loop == "inner" else ""
    lay(tmp_path, meson__build=HEAD + made, a__c=CODE, b__c=CODE)
    assert answers(tmp_path) == {"a": Answer.YES, "b": Answer.NO}


def test_a_condition_in_a_loop_is_decided(tmp_path):
    text = "foreach n : ['a', 'b']\n  x = []\n  if n == 'a'\n    executable(n, n + '.c', {0}"
    text += "  else\n    executable(n, n + '.c', c_args: '-DNX', {0}  endif\nendforeach\n"
    lay(tmp_path, meson__build=HEAD + text.format(IMAGE), a__c=CODE, b__c=CODE)
    assert answers(tmp_path) == {"a": Answer.NO, "b": Answer.YES}


@pytest.mark.parametrize(
    "value", ["run_command('x').stdout().split()", "l", str([f"x{at}" for at in range(201)])]
)
def test_a_loop_over_what_the_file_does_not_say_is_open(tmp_path, value):
    text = (
        f"l = ['a']\nl += ['b']\nforeach n : {value}\n  executable(n, n + '.c', {IMAGE}endforeach\n"
    )
    (report,) = evaluate_drivers(lay(tmp_path, meson__build=HEAD + text, a__c=CODE), Options())
    assert report.answers[Question.READINESS] is Answer.UNDECIDED
