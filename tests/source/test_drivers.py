"""Several drivers in one target: each has its own report, its own opt-in and its own image."""

import json

import pytest

import build
from hvci.cli.gather import gather
from hvci.evaluate import Options, evaluate_drivers
from hvci.fix import fix
from hvci.model import Answer, Question, Verdict
from hvci.report.encode import to_json
from sources import definitions, entry, lay, vcxproj

ASK = "p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
OPTS = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"
OPT_IN = definitions("POOL_NX_OPTIN=1")
PACKAGE = vcxproj(
    type="Utility",
    driver="Package",
    extra='<ItemGroup><ProjectReference Include="..\\good\\good.vcxproj" />'
    '<ProjectReference Include="..\\bad\\bad.vcxproj" /></ItemGroup>',
)
SOLUTION = "\n".join(
    f'Project("{{8BC9CEB8}}") = "{name}", "{name}\\{name}.vcxproj", "{{{name}}}"'
    for name in ("good", "bad")
)


def tree(folder, platforms=("x64",)):
    """A driver that opts in, one that only asks, and what belongs to neither."""
    return lay(
        folder,
        good___good__c=entry(OPTS + ASK),
        good___good__vcxproj=vcxproj("good.c", extra=OPT_IN, platforms=platforms),
        good___old__c="int Unused;\n",
        bad___bad__c=entry(ASK),
        bad___bad__vcxproj=vcxproj("bad.c", "gone.c", platforms=platforms),
        bad___older__c=entry(ASK),
        tool___tool__c="int main(void) { return 0; }\n",
        tool___tool__vcxproj=vcxproj("tool.c", type="Application", driver=""),
        package___package__vcxproj=PACKAGE,
        all__sln=SOLUTION,
    )


def reports(*targets):
    document = gather(map(str, targets), Options())
    assert not document.errors
    return {report.target.path: report for report in document.reports}


def verdicts(*targets):
    return {path: report.verdict for path, report in reports(*targets).items()}


def reasons(report):
    return " ".join(limit.reason for limit in report.limits)


@pytest.mark.parametrize("target", ["", "all.sln", "package/package.vcxproj"])
def test_each_driver_has_its_own_report(tmp_path, monkeypatch, target):
    tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = reports(target or ".")
    assert {path: one.verdict for path, one in found.items()} == {
        "bad/bad.vcxproj": Verdict.INCOMPATIBLE,
        "good/good.vcxproj": Verdict.COMPATIBLE,
    }
    good, bad = found["good/good.vcxproj"], found["bad/bad.vcxproj"]
    assert [one.call.site.path for one in good.calls if one.call.arguments] == ["good/good.c"]
    assert good.target.sha256 != bad.target.sha256
    assert good.target.size_bytes == (tmp_path / "good/good.c").stat().st_size
    assert "gone.c" in reasons(bad)
    assert "gone.c" not in reasons(good)


def test_what_no_build_compiles_is_told_with_the_nearest_driver(tmp_path, monkeypatch):
    tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = reports(".")
    good, bad = found["good/good.vcxproj"], found["bad/bad.vcxproj"]
    assert "good/old.c" in reasons(good)
    assert "old" not in reasons(bad).replace("bad/older.c", "")
    assert "bad/older.c" in reasons(bad)
    assert [one.call.site.path for one in bad.calls if one.call.dead] == ["bad/older.c"]
    assert not [one for one in good.calls if one.call.dead]


@pytest.mark.parametrize("target", ["", "all.sln", "package/package.vcxproj", "bad/bad.vcxproj"])
def test_a_relative_and_an_absolute_target_give_the_same(tmp_path, monkeypatch, target):
    tree(tmp_path / "t")
    monkeypatch.chdir(tmp_path)

    def output(word):
        document = json.loads(to_json(gather([str(word)], Options())))
        for report in document["reports"]:
            report.pop("seconds")
        return json.dumps(document, indent=1)

    absolute = output(tmp_path / "t" / target)
    assert output(f"t/{target}" if target else "t") == absolute.replace(f"{tmp_path}/", "")


def test_an_image_speaks_for_its_driver_only(tmp_path, monkeypatch):
    lay(tree(tmp_path), good___good__sys=build.driver(), unlike__sys=build.driver())
    monkeypatch.chdir(tmp_path)
    assert verdicts(".") == {
        "good/good.sys": Verdict.COMPATIBLE,
        "unlike.sys": Verdict.COMPATIBLE,
        "bad/bad.vcxproj": Verdict.INCOMPATIBLE,
    }


def test_sources_that_come_first_are_told_by_the_image_too(tmp_path):
    lay(tmp_path, src___a__c=entry(ASK), src___a__vcxproj=vcxproj("a.c"))
    lay(tmp_path, out___a__sys=build.driver(pool_type=0))
    (report,) = reports(tmp_path / "src", tmp_path / "out" / "a.sys").values()
    assert report.target.path.endswith("a.sys")
    assert [one.executable.value for one in report.calls] == ["yes", "yes"]


def test_configurations_that_differ_are_told_besides_the_image(tmp_path):
    text = entry("#ifndef _WIN64\n" + ASK + "\n#endif")
    lay(tmp_path, a__c=text, a__sys=build.driver(pool_type=0x200))
    lay(tmp_path, a__vcxproj=vcxproj("a.c", platforms=("x64", "Win32")))
    assert list(verdicts(tmp_path).values()) == [Verdict.COMPATIBLE, Verdict.INCOMPATIBLE]


def test_a_file_that_is_not_there_is_missed_by_the_driver_that_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, a__c=entry(""), a__vcxproj=vcxproj("a.c"))
    lay(tmp_path, b__c=entry(""), b__vcxproj=vcxproj("b.c", "gone.c"))
    assert verdicts(".") == {"a.vcxproj": Verdict.COMPATIBLE, "b.vcxproj": Verdict.UNDECIDED}
    assert "gone.c" in reasons(reports(".")["b.vcxproj"])


def test_a_library_that_no_driver_links_is_told_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    library = vcxproj("lib.c", type="StaticLibrary")
    lay(
        tmp_path, a__c=entry(""), a__vcxproj=vcxproj("a.c"), lib__c=entry(ASK), lib__vcxproj=library
    )
    assert verdicts(".") == {"a.vcxproj": Verdict.COMPATIBLE, "lib.vcxproj": Verdict.INCOMPATIBLE}


CMAKE = """
add_library(one MODULE one.c)
target_link_options(one PRIVATE /DRIVER)
add_library(two MODULE two.c)
target_link_options(two PRIVATE /DRIVER)
"""


def test_targets_of_one_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, CMakeLists__txt=CMAKE, one__c=entry(ASK), two__c=entry(""))
    found = reports(".")
    assert set(found) == {"CMakeLists.txt#one", "CMakeLists.txt#two"}
    assert found["CMakeLists.txt#one"].verdict is Verdict.INCOMPATIBLE
    assert fix("CMakeLists.txt#one", Options()).fixed == 1


CARGO = """
[package]
name = "{name}"
[package.metadata.wdk.driver-model]
driver-type = "WDM"
"""
RUST = "fn f() {{ unsafe {{ ExAllocatePoolWithTag({}, 8, 0); }} }}\n"


def test_crates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (("my-one", 0), ("two", 0x200)):
        lay(tmp_path / name, Cargo__toml=CARGO.format(name=name), lib__rs=RUST.format(value))
    assert verdicts(".") == {
        "my-one/Cargo.toml": Verdict.INCOMPATIBLE,
        "two/Cargo.toml": Verdict.UNDECIDED,
    }
    lay(tmp_path, my_one__sys=build.driver(pool_type=0))
    found = reports(".")
    assert set(found) == {"my_one.sys", "two/Cargo.toml"}
    assert len(found["my_one.sys"].calls) == 2
    assert "what its code does" not in reasons(found["my_one.sys"])


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ({"package": {"name": "my-driver"}}, "my_driver"),
        ({"lib": {"name": "Other"}, "package": {"name": "a"}}, "other"),
        ({"package": {"name": 5}, "lib": []}, "folder"),
    ],
)
def test_what_the_image_of_a_crate_is_called(manifest, name):
    from hvci.source.rust.cargo import image_name

    assert image_name(manifest, "Folder") == name


def test_files_of_which_nothing_is_built_stay_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, Cargo__toml=CARGO.format(name="two"), lib__rs=RUST.format(0x200))
    lay(tmp_path, c___a__c=entry(ASK), c___b__c="int b;\n")
    assert verdicts(".") == {"Cargo.toml": Verdict.UNDECIDED, ".": Verdict.INCOMPATIBLE}


@pytest.mark.parametrize("where", ["b/k.h", "b/inc/k.h"])
def test_a_header_of_another_driver_is_not_taken_by_its_name(tmp_path, where):
    """A folder with a project is that project's: who means a header of it says so."""
    text = '#include <ntddk.h>\n#include "k.h"\n' + entry("ExAllocatePoolWithTag(K, 8, 'a');")
    for name in ("a", "b"):
        lay(tmp_path / name, **{f"{name}__c": text, f"{name}__vcxproj": vcxproj(f"{name}.c")})
    lay(tmp_path, **{where.replace("/", "___").replace(".", "__"): "#define K NonPagedPoolNx\n"})
    found = {
        one.target.path.rpartition("/")[2]: one.answers[Question.READINESS]
        for one in evaluate_drivers(tmp_path, Options())
    }
    assert found == {"a.vcxproj": Answer.UNDECIDED, "b.vcxproj": Answer.YES}


def test_a_header_in_a_folder_of_no_driver_is_found_by_its_name(tmp_path):
    text = '#include <ntddk.h>\n#include "k.h"\n' + entry("ExAllocatePoolWithTag(K, 8, 'a');")
    lay(tmp_path, a___a__c=text, a___a__vcxproj=vcxproj("a.c"))
    lay(tmp_path, common___k__h="#define K NonPagedPoolNx\n")
    (report,) = evaluate_drivers(tmp_path, Options())
    assert report.answers[Question.READINESS] is Answer.YES
