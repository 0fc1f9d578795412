"""Files that could be mixed up: of two architectures, two Windows, two packages, two names."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from build import driver, user_program
from cabinets import cabinet
from hvci.cli import main
from hvci.errors import InputError
from hvci.fleet import elsewhere
from hvci.fleet.walk import Problem, places
from hvci.packages.beside import Beside
from hvci.packages.inf import read_inf
from hvci.packages.opened import Driver, Refused, open_archive, open_inf

X64, X86, ARM64 = driver(), driver("x86"), driver("arm64")
HEAD = """[Version]
Signature="$WINDOWS NT$"
Provider=Maker
Class=System
DriverVer=01/02/2024,1.2.3.4
CatalogFile=a.cat
"""


def service(name, file, start=3, kind=1):
    return f"[Service_{name}]\nServiceType={kind}\nStartType={start}\nServiceBinary=%12%\\{file}\n"


def models(manufacturer, **installs):
    """Manufacturer line, and a models section for each decoration; underscores are dots."""
    text = f"[Manufacturer]\n%M%={manufacturer}\n"
    for name, install in installs.items():
        text += f"[{name.replace('_', '.')}]\nD={install},PCI\\VEN_1\n"
    return text


def add(install, name):
    return f"[{install}.Services]\nAddService={name},2,Service_{name}\n"


def put(top, files):
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return top


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def in_zip_file(top, files):
    path = top / "x.zip"
    path.write_bytes(zipped(files))
    return path


def in_archive(top, files):
    path = in_zip_file(top, files)
    found = {one.path.partition("!")[2]: one for one in open_archive(path)}
    return {name: one.package for name, one in found.items() if isinstance(one, Driver)}


def in_folder(top, files):
    base = put(top / "in", files)
    found = [one for one in places([str(base)]) if not isinstance(one, Problem)]
    return {one.path.removeprefix(f"{base}/"): one.package for one in found}


WAYS = pytest.mark.parametrize("look", [in_archive, in_folder])


def told(found):
    return {name: one and (one.service, one.start) for name, one in found.items()}


TWO = (
    HEAD
    + models("Std,NTamd64,NTx86", Std_NTamd64="A", Std_NTx86="B")
    + add("A", "Wide")
    + add("B", "Narrow")
    + service("Wide", "a.sys", 0)
    + service("Narrow", "a.sys", 1)
)


@WAYS
def test_two_architectures_in_folders_of_their_own(tmp_path, look):
    text = TWO + (
        "[SourceDisksFiles]\na.sys=1,x86\n[SourceDisksFiles.amd64]\na.sys=1,x64\n"
        "[SourceDisksNames]\n1=D\n"
    )
    found = look(tmp_path, {"a.inf": text, "x86/a.sys": X86, "x64/a.sys": X64, "a.sys": ARM64})
    assert told(found) == {
        "x86/a.sys": ("Narrow", "system"),
        "x64/a.sys": ("Wide", "boot"),
        "a.sys": None,  # what lies beside the INF is not what it names
    }


@WAYS
@pytest.mark.parametrize(("data", "name"), [(X64, "Wide"), (X86, "Narrow")])
def test_one_name_for_two_architectures(tmp_path, look, data, name):
    assert told(look(tmp_path, {"a.inf": TWO, "a.sys": data}))["a.sys"][0] == name


def test_a_driver_in_a_cabinet_that_the_inf_names(tmp_path):
    """In an archive the two belong together; in a folder the cabinet is opened for itself."""
    text = HEAD + models("Std,NTamd64", Std_NTamd64="A") + "[A]\nCopyFiles=@a.sys\n"
    text += add("A", "One") + service("One", "a.sys", 0)
    text += "[SourceDisksNames]\n1=Disk,driver.cab,,x\n[SourceDisksFiles]\na.sys=1\n"
    files = {"p/a.inf": text, "p/x/Driver.cab": cabinet({"A.sys": X64})}
    found = in_archive(tmp_path, files)
    assert told(found) == {"p/x/Driver.cab!A.sys": ("One", "boot")}
    (missing,) = open_inf(put(tmp_path / "in", files) / "p" / "a.inf")
    assert "or in x/driver.cab, which is not opened for it" in str(missing.error)


@WAYS
def test_copies_that_are_renamed_for_each_architecture(tmp_path, look):
    text = TWO + (
        "[A]\nCopyFiles=CopyA\n[B]\nCopyFiles=CopyB\n[CopyA]\na.sys,a64.sys\n[CopyB]\na.sys,a32.sys\n"
    )
    files = {"a.inf": text, "a64.sys": X64, "a32.sys": X86, "a.sys": ARM64}
    assert told(look(tmp_path, files)) == {
        "a64.sys": ("Wide", "boot"),
        "a32.sys": ("Narrow", "system"),
        "a.sys": None,
    }


@WAYS
def test_models_without_a_decoration_are_for_the_other_machines(tmp_path, look):
    text = TWO.replace("Std,NTamd64,NTx86", "Std,NTamd64").replace("[Std.NTx86]", "[Std]")
    files = {"a.inf": text + "[SourceDisksFiles.x86]\na.sys=1,i386\n", "i386/a.sys": X86}
    assert told(look(tmp_path, files)) == {"i386/a.sys": ("Narrow", "system")}


@WAYS
def test_many_models_of_one_machine_do_not_hide_the_other(tmp_path, look):
    """As in an audio INF, which lists a hundred devices for each architecture."""
    many = "".join(f"D{n}=Many{n},PCI\\VEN_{n}\n" for n in range(100))
    sections = "".join(add(f"Many{n}", "Svc") for n in range(100))
    text = HEAD + "[Manufacturer]\n%M%=Std,NTx86,NTamd64\n"
    text += f"[Std.NTx86]\n{many}[Std.NTamd64]\n{many}{sections}" + service("Svc", "a.sys")
    text += "[SourceDisksFiles.x86]\na.sys=1,x86\n[SourceDisksFiles.amd64]\na.sys=1,x64\n"
    files = {"a.inf": text, "x64/a.sys": X64, "x86/a.sys": X86}
    expected = ("Svc", "on demand")
    assert told(look(tmp_path, files)) == {"x64/a.sys": expected, "x86/a.sys": expected}


@WAYS
@pytest.mark.parametrize("order", [("6.1", "10.0...17763"), ("10.0...17763", "6.1")])
def test_the_newest_windows_counts(tmp_path, look, order):
    first, second = order
    text = (
        HEAD
        + f"[Manufacturer]\n%M%=Std,NTamd64.{first},NTamd64.{second}\n"
        + "[Std.NTamd64.6.1]\nD=Old,PCI\\VEN_1\n[Std.NTamd64.10.0...17763]\nD=New,PCI\\VEN_1\n"
        + add("Old", "Old")
        + add("New", "New")
        + service("Old", "a.sys", 0)
        + service("New", "a.sys", 3)
    )
    assert told(look(tmp_path, {"a.inf": text, "a.sys": X64})) == {"a.sys": ("New", "on demand")}


@WAYS
def test_two_packages_with_a_driver_of_one_name(tmp_path, look):
    def inf(name, start):
        return (
            HEAD
            + models("Std,NTamd64", Std_NTamd64="A")
            + add("A", name)
            + service(name, "a.sys", start)
        )

    files = {"one/a.inf": inf("One", 0), "one/a.sys": X64, "two/a.inf": inf("Two", 3)}
    files |= {"two/A.SYS": driver(pool_type=0), "two/a.cat": b"none"}
    found = look(tmp_path, files)
    assert told(found) == {"one/a.sys": ("One", "boot"), "two/A.SYS": ("Two", "on demand")}
    assert [len(found[name].catalogs) for name in sorted(found)] == [0, 1]


@WAYS
def test_two_infs_for_one_driver(tmp_path, look):
    """The one that starts it first tells what hangs on it."""

    def inf(name, start):
        return (
            HEAD
            + models("Std,NTamd64", Std_NTamd64="A")
            + add("A", name)
            + service(name, "a.sys", start)
        )

    files = {"a.inf": inf("Late", 3), "b.inf": inf("Boot", 0), "a.sys": X64}
    assert told(look(tmp_path, files)) == {"a.sys": ("Boot", "boot")}


def test_an_inf_that_is_named_takes_its_own_architecture(tmp_path):
    put(tmp_path, {"a.inf": TWO, "a.sys": X86})
    assert [one.package.service for one in open_inf(tmp_path / "a.inf")] == ["Wide", "Narrow"]
    put(tmp_path, {"x64/a.sys": X64})
    text = TWO + "[SourceDisksFiles.amd64]\na.sys=1,x64\n"
    put(tmp_path, {"a.inf": text})
    found = {one.package.service: one.path for one in open_inf(tmp_path / "a.inf")}
    assert found == {
        "Wide": str(tmp_path / "x64" / "a.sys"),
        "Narrow": str(tmp_path / "a.sys"),
    }


def test_an_old_file_is_not_missing_because_nobody_asked_for_it(tmp_path):
    put(tmp_path, {"a.inf": TWO, "a.sys": X64})
    assert list(places([str(tmp_path)], since=1 << 62)) == []
    beside = Beside()
    beside.add(tmp_path / "a.inf")
    assert list(beside.wrong()) == []


def test_strings_of_a_language_stand_in_for_those_of_none():
    text = TWO.replace("Provider=Maker", "Provider=%P%").replace("StartType=0", "StartType=%BOOT%")
    strings = '[Strings.0407]\nP="Firma"\nBOOT=0\n[Strings.0409]\nP="Company"\n'
    inf = read_inf((text + strings).encode("utf-16"))
    assert (inf.provider, inf.services[0].start) == ("Company", 0)


@WAYS
def test_the_nearest_inf_speaks_for_a_file(tmp_path, look):
    """A package for several machines lies above the folders that are packages of their own."""

    def inf(name, start, folder=""):
        return (
            HEAD
            + models("Std,NTamd64", Std_NTamd64="A")
            + add("A", name)
            + service(name, "a.sys", start)
            + f"[SourceDisksFiles]\na.sys=1,{folder}\n"
        )

    files = {"all.inf": inf("Above", 0, "x64"), "x64/a.inf": inf("Beside", 3), "x64/a.sys": X64}
    assert told(look(tmp_path, files)) == {"x64/a.sys": ("Beside", "on demand")}


TWO_SERVICES = (
    HEAD
    + models("Std,NTamd64", Std_NTamd64="A")
    + "[A.Services]\nAddService=One,2,Service_One\nAddService=Two,,Service_Two\n"
    + "AddService=Three,,Absent\n"
    + service("One", "one.sys")
    + service("Two", "two.sys")
)
WRONG = [
    "service One: one.sys is not in the package",
    "service Two: two.sys is not in the package",
    "service Three: there is no section 'Absent'",
]


def test_all_that_is_wrong_with_an_inf_is_told(tmp_path):
    """A scan has one row for the INF."""
    put(tmp_path, {"a.inf": TWO_SERVICES, "other.sys": X64})
    for target in (tmp_path, tmp_path / "a.inf"):
        (one,) = (each for each in places([str(target)]) if isinstance(each, Problem))
        assert one.path == str(tmp_path / "a.inf")
        assert sorted(one.sentence.split("; ")) == sorted(WRONG)


def test_what_is_wrong_with_an_inf_in_an_archive_is_told_beside_drivers(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"p/a.inf": TWO_SERVICES, "p/one.sys": X64}))
    found = [one for one in open_archive(path) if not isinstance(one, Driver)]
    assert {one.path for one in found} == {f"{path}!p/a.inf"}
    assert sorted(str(one.error) for one in found) == sorted(WRONG[1:])
    path.write_bytes(zipped({"p/a.inf": TWO_SERVICES, "p/one.c": b"int x;"}))
    with pytest.raises(InputError, match="no driver in this archive"):
        list(open_archive(path))


def test_names_that_differ_in_case_are_two_files(tmp_path):
    inf = HEAD + models("Std,NTamd64", Std_NTamd64="A") + add("A", "S") + service("S", "a.sys")
    put(tmp_path, {"a.inf": inf, "A.SYS": X64, "a.sys": X86})
    if len(list(tmp_path.glob("*"))) < 3:
        pytest.skip("this file system does not tell cases apart")
    found = {one.path[-5:]: one.package for one in places([str(tmp_path)])}
    assert told(found) == {"A.SYS": ("S", "on demand"), "a.sys": None}


THREE = (
    HEAD
    + models("Std,NTamd64,NTarm64", Std_NTamd64="A", Std_NTarm64="A")
    + add("A", "S")
    + service("S", "a.sys")
    + "[SourceDisksNames]\n1=D\n[SourceDisksFiles.amd64]\na.sys=1,x64\n"
    + "[SourceDisksFiles.arm64]\na.sys=1,arm64\n"
)
FOR_ARM64 = "service S: arm64/a.sys, the file for arm64,"


def wrong_with(top, files):
    """What is said of an INF in an archive, beside its drivers and alone."""
    path = put(top, {"x.zip": zipped(files)}) / "x.zip"
    in_zip = [str(one.error) for one in open_archive(path) if not isinstance(one, Driver)]
    named = [
        str(one.error)
        for one in open_inf(put(top / "in", files) / "a.inf")
        if not isinstance(one, Driver)
    ]
    met = [one.sentence for one in places([str(top / "in")]) if isinstance(one, Problem)]
    assert in_zip == named == [text for one in met for text in one.split("; ")]
    return named


def test_the_driver_of_one_machine_that_is_not_there(tmp_path):
    files = {"a.inf": THREE, "x64/a.sys": X64}
    assert wrong_with(tmp_path, files) == [f"{FOR_ARM64} is not in the package"]
    # elsewhere than the INF says, but there
    assert wrong_with(tmp_path, {**files, "a.sys": ARM64}) == []


def test_a_file_under_the_installed_name_is_not_the_one_that_is_renamed(tmp_path):
    text = (
        HEAD
        + models("Std,NTamd64", Std_NTamd64="A")
        + "[A]\nCopyFiles=F\n[F]\na.sys,a64.sys\n"
        + add("A", "S")
        + service("S", "a.sys")
    )
    assert wrong_with(tmp_path, {"a.inf": text, "a.sys": X64}) == [
        "service S: a64.sys, the file for x64, is not in the package"
    ]
    assert wrong_with(tmp_path, {"a.inf": text, "a64.sys": X64}) == []
    assert wrong_with(tmp_path, {"a.inf": text, "a64.sys": X64, "a.sys": X86}) == []


def test_the_driver_of_one_windows_that_is_not_there(tmp_path):
    text = (
        HEAD
        + models("Std,NTamd64.10.0,NTamd64", Std_NTamd64_10_0="A", Std_NTamd64="B")
        + "[A]\nCopyFiles=F\n[F]\na.sys,new.sys\n[B]\nCopyFiles=G\n[G]\na.sys,old.sys\n"
        + add("A", "S")
        + add("B", "S")
        + service("S", "a.sys")
    )
    files = {"a.inf": text, "old.sys": X64}
    assert wrong_with(tmp_path, files) == [
        "service S: new.sys, the file for x64, is not in the package"
    ]
    assert wrong_with(tmp_path, {**files, "new.sys": X64}) == []


@WAYS
def test_the_folder_of_a_disk_can_be_for_one_machine(tmp_path, look):
    text = TWO + (
        "[SourceDisksNames]\n1=D,,,other\n[SourceDisksNames.amd64]\n1=D,,,x64\n"
        "[SourceDisksFiles]\na.sys=1\n"
    )
    found = look(tmp_path, {"a.inf": text, "x64/a.sys": X64, "other/a.sys": X86, "a.sys": X64})
    assert told(found) == {
        "x64/a.sys": ("Wide", "boot"),
        "other/a.sys": ("Narrow", "system"),
        "a.sys": None,
    }


@pytest.mark.parametrize(("named", "used"), [("0x0A", "10"), ("010", "0xa"), ("x", "x")])
def test_a_disk_by_its_number_however_it_is_written(tmp_path, named, used):
    text = one_of("S") + f"[SourceDisksNames]\n9=D,,,c\n{named}=D,,,b\n[SourceDisksFiles]\n"
    files = {"a.inf": f"{text}s.sys={used}\n", "b/s.sys": X64, "c/s.sys": X64, "s.sys": X86}
    assert told(in_folder(tmp_path, files)) == {
        "b/s.sys": ("S", "on demand"),
        "c/s.sys": None,
        "s.sys": None,
    }


@pytest.mark.parametrize("data", [X64, X86])
def test_the_driver_of_one_machine_where_that_of_another_belongs(tmp_path, data):
    files = {"a.inf": THREE, "x64/a.sys": X64, "arm64/a.sys": data}
    machine = "x64" if data is X64 else "x86"
    assert wrong_with(tmp_path, files) == [f"{FOR_ARM64} is one for {machine}"]


def test_drivers_of_two_machines_that_changed_places(tmp_path):
    files = {"a.inf": THREE, "x64/a.sys": ARM64, "arm64/a.sys": X64}
    assert wrong_with(tmp_path, files) == [
        f"{FOR_ARM64} is one for x64",
        "service S: x64/a.sys, the file for x64, is one for arm64",
    ]


def test_an_inf_for_one_machine_beside_a_driver_for_another(tmp_path):
    text = HEAD + models("Std,NTarm64", Std_NTarm64="A") + add("A", "S") + service("S", "a.sys")
    assert wrong_with(tmp_path, {"a.inf": text, "a.sys": X64}) == [
        "service S: a.sys, the file for arm64, is one for x64"
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"a.inf": TWO, "a.sys": X64},  # one place for all machines: a package for one of them
        {"a.inf": THREE, "x64/a.sys": X64, "arm64/a.sys": b"damaged"},  # told by its own report
        {
            "a.inf": THREE.replace("arm64", "x86"),  # on 32-bit Windows nothing is asked
            "x64/a.sys": X64,
        },
        {"a.inf": THREE.replace(",NTarm64", ""), "x64/a.sys": X64},
    ],
)
def test_an_inf_for_more_machines_than_its_package(tmp_path, files):
    assert wrong_with(tmp_path, files) == []


UMDF = (
    HEAD
    + models("Std,NTamd64", Std_NTamd64="A")
    + "[A]\nCopyFiles=Files\n[Files]\nmine.dll\n[A.Services]\nAddService=WUDFRd,2,Service_WUDFRd\n"
    + service("WUDFRd", "WUDFRd.sys")
)


def test_a_driver_of_windows_is_not_missing(tmp_path):
    files = {"a.inf": UMDF, "other.sys": X64}
    path = put(tmp_path, {"x.zip": zipped(files), "in/a.inf": UMDF, "in/other.sys": X64}) / "x.zip"
    assert [isinstance(one, Driver) for one in open_archive(path)] == [True]
    assert not [one for one in places([str(tmp_path / "in")]) if isinstance(one, Problem)]
    with pytest.raises(InputError, match=r"no kernel driver of its own, but uses WUDFRd\.sys"):
        list(open_inf(tmp_path / "in" / "a.inf"))
    copied = UMDF.replace("mine.dll", "WUDFRd.sys")
    (missing,) = open_inf(put(tmp_path, {"b/a.inf": copied}) / "b" / "a.inf")
    assert str(missing.error) == "service WUDFRd: WUDFRd.sys is not in the package"


def one_of(name, more=""):
    return (
        HEAD
        + models("Std,NTamd64", Std_NTamd64="A")
        + f"[A]\nCopyFiles=@{name}.sys\n{more}\n"
        + add("A", name)
        + service(name, f"{name}.sys")
    )


def opened_by(path):
    found = list(open_inf(path))
    drivers = {one.package.service: one.package.inf for one in found if isinstance(one, Driver)}
    return drivers, [str(one.error) for one in found if not isinstance(one, Driver)]


def test_infs_that_are_installed_with_another(tmp_path):
    files = {"a.inf": one_of("One", "CopyINF=B.inf"), "one.sys": X64, "two.sys": X64}
    top = put(tmp_path, files)
    lost = "B.inf, which is installed with it, is not in the package"
    assert opened_by(top / "a.inf") == ({"One": str(top / "a.inf")}, [lost])
    put(top, {"b.inf": one_of("Two", "CopyINF=a.inf, c.inf"), "c.inf": UMDF})
    assert opened_by(top / "a.inf") == (
        {"One": str(top / "a.inf"), "Two": str(top / "b.inf")},
        [],
    )
    put(top, {"c.inf": "no INF"})
    assert "without a single section" in opened_by(top / "a.inf")[1][0]
    (met,) = (one for one in places([str(top / "a.inf")]) if isinstance(one, Problem))
    assert (met.path, met.sentence) == (str(top / "a.inf"), opened_by(top / "a.inf")[1][0])


def test_an_inf_beside_it_that_another_takes_in_is_told(tmp_path):
    top = put(tmp_path, {"a.inf": one_of("One", "Include=usb.inf"), "one.sys": X64})
    assert opened_by(top / "a.inf")[1] == []  # of Windows
    put(top, {"USB.inf": "[Version]\n"})
    assert opened_by(top / "a.inf")[1] == [
        "it takes in sections of usb.inf, which are not followed: check the folder"
    ]


def test_a_layout_beside_it_that_says_where_its_files_lie_is_told(tmp_path):
    text = one_of("One").replace("[Version]", "[Version]\nLayoutFile=lay.inf,layout.inf")
    top = put(tmp_path, {"a.inf": text, "one.sys": X64})
    assert opened_by(top / "a.inf")[1] == []  # of Windows
    put(top, {"lay.inf": "[Version]\n[SourceDisksFiles]\none.sys=1,x\n", "x/one.sys": X64})
    assert opened_by(top / "a.inf")[1] == [
        "it takes in sections of lay.inf, which are not followed: check the folder"
    ]


@pytest.mark.parametrize(("below", "is_error"), [("x64", False), ("x86", True), ("arm64", True)])
def test_a_driver_for_another_machine_is_not_the_one_that_an_inf_lacks(tmp_path, below, is_error):
    """One for the right machine may be put where the INF says later: it is told all the same."""
    images = {"x64": X64, "x86": X86, "arm64": ARM64}
    top = put(tmp_path, {"a.inf": one_of("One"), "deep/one.sys": images[below], "b.sys": X64})
    says = f"{top / 'a.inf'}: service One: One.sys is not in the package"
    found = checked(top)
    if is_error:
        assert found == (4, [says], [])
    else:
        assert found == (0, [], [f"INF {says} where the INF says; there is deep/one.sys"])


def checked(path, *more):
    """Exit code, errors and notices of a check."""
    done = CliRunner().invoke(main, ["check", str(path), "-f", "json", "--no-config", *more])
    document = json.loads(done.stdout)
    errors = [f"{one['path']}: {one['message']}" for one in document["errors"]]
    return done.exit_code, errors, document["notices"]


@pytest.mark.parametrize("more", [(), ("--isolate",)])
def test_what_lies_nowhere_below_an_inf_is_told_of_a_folder_of_packages(tmp_path, more):
    """In an archive it is an error; folders are put together by builds."""
    top = put(tmp_path, {"p/a.inf": one_of("One"), "q/a.inf": one_of("One"), "q/one.sys": X64})
    says = f"INF {top / 'p' / 'a.inf'}: service One: One.sys is not in the package"
    assert checked(top, *more) == (0, [], [says])
    put(top, {"p/one.c": "int x;"})
    assert checked(top / "p")[2] == []  # sources: it is built elsewhere
    put(top, {f"{n}/{n}.inf": one_of("Lost") for n in "abcdefg"})
    assert checked(top, *more)[2][-1] == "2 more INFs name files that are not where they say"


@pytest.mark.parametrize("words", [("", "a.sys"), ("a.sys", ""), ("a.inf", "a.sys")])
def test_a_driver_that_is_named_beside_its_package_stays_of_it(tmp_path, words):
    text = HEAD + models("Std,NTamd64", Std_NTamd64="A") + add("A", "S") + service("S", "a.sys", 0)
    top = put(tmp_path, {"a.inf": text, "a.sys": X64})
    last = list(elsewhere.places(str(top / word) for word in words))[-1]
    assert (last.path, last.package.service) == (str(top / "a.sys"), "S")


def test_of_two_services_of_one_file_the_first_to_start_is_its_row(tmp_path):
    text = HEAD + models("Std,NTamd64", Std_NTamd64="A") + add("A", "Boot") + add("A", "Late")
    text += service("Boot", "a.sys", 0) + service("Late", "a.sys", 3)
    top = put(tmp_path, {"a.inf": text, "a.sys": X64})
    for word in ("", "a.inf"):
        (one,) = places([str(top / word)])
        assert one.package.service == "Boot"


@WAYS
def test_a_driver_that_an_inf_copies_for_no_service_is_of_the_package(tmp_path, look):
    """A library of drivers: a service of another INF that has it counts more."""
    text = one_of("One").replace("@One.sys", "@One.sys, @lib.sys, @two.sys")
    files = {"a.inf": text, "b.inf": one_of("Two"), "one.sys": X64, "lib.sys": X64, "two.sys": X64}
    assert told(look(tmp_path, files)) == {
        "one.sys": ("One", "on demand"),
        "lib.sys": ("", ""),
        "two.sys": ("Two", "on demand"),
    }


def test_an_inf_that_is_named_answers_for_all_drivers_that_it_copies(tmp_path):
    text = one_of("One").replace("@One.sys", "@One.sys, Files")
    text += "[Files]\nlib.sys,lib64.sys\n[A.Services]\n"
    top = put(tmp_path, {"a.inf": text, "one.sys": X64, "lib64.sys": X64})
    assert [one.path.rpartition("/")[2] for one in open_inf(top / "a.inf")] == [
        "one.sys",
        "lib64.sys",
    ]


def test_a_driver_that_comes_with_co_installers_is_of_the_package(tmp_path):
    more = "[A.CoInstallers]\nCopyFiles=More\nNeeds=Rest\n[More]\nb.sys\n[Rest]\nCopyFiles=@c.sys\n"
    top = put(
        tmp_path, {"a.inf": one_of("One", more), "b.sys": ARM64, "c.sys": X86, "one.sys": X64}
    )
    found = [Path(one.path).name for one in open_inf(top / "a.inf")]
    assert sorted(found) == ["b.sys", "c.sys", "one.sys"]


def test_a_library_that_is_not_there_is_told_where_the_inf_has_it(tmp_path):
    text = one_of("One").replace("@One.sys", "@One.sys, @lib.sys")
    files = {"a.inf": text, "one.sys": X64}
    assert wrong_with(tmp_path, files) == []  # it may be one of Windows
    files["a.inf"] += "[SourceDisksFiles]\nlib.sys=1\none.sys=1\n"
    said = "it copies a driver of no service: lib.sys is not in the package"
    assert wrong_with(tmp_path, files) == [said]


def test_an_inf_that_is_installed_with_another_and_is_not_there_is_told_everywhere(tmp_path):
    files = {"a.inf": one_of("One", "CopyINF=B.inf"), "one.sys": X64}
    said = "B.inf, which is installed with it, is not in the package"
    assert wrong_with(tmp_path, files) == [said]
    assert wrong_with(tmp_path, {**files, "b.inf": one_of("One")}) == []


@pytest.mark.parametrize(
    "more", ["CopyINF=in\\b.inf", "CopyINF=b.inf\n[SourceDisksFiles]\nb.inf=1,In"]
)
def test_an_inf_in_a_folder_that_is_installed_with_another(tmp_path, more):
    files = {"a.inf": one_of("One", more), "one.sys": X64, "two.sys": X86}
    top = put(tmp_path, {**files, "in/B.inf": one_of("Two"), "in/two.sys": X64})
    assert opened_by(top / "a.inf") == (
        {"One": str(top / "a.inf"), "Two": str(top / "in" / "B.inf")},
        [],
    )


@pytest.mark.parametrize(
    ("manufacturer", "sections", "says"),
    [
        ("Std,NTamd64", {"Std": "I"}, "[Std.NTamd64]"),
        ("Std,NTamd64.10.0,NTarm64", {"Std": "I", "Std_NTarm64": "I"}, "[Std.NTamd64.10.0]"),
        ("Std,NTamd64,NTarm64", {"Std_NTamd64": "I"}, ""),  # the package is for x64 alone
        ("Std,NTamd64,NTamd64.6.1", {"Std_NTamd64": "I"}, ""),  # left out on purpose
        ("Std,NTx86,NTamd64", {"Std_NTamd64": "I"}, ""),
        ("Std", {"Std": "I"}, ""),
    ],
)
def test_models_that_a_manufacturer_names_and_that_are_not_there(
    tmp_path, manufacturer, sections, says
):
    inf = HEAD + models(manufacturer, **sections) + "[I]\n" + add("I", "svc")
    wrong = wrong_with(tmp_path, {"a.inf": inf + service("svc", "a.sys"), "a.sys": X64})
    assert [says in one for one in wrong if "models" in one] == [True] * bool(says)


def test_an_inf_all_of_whose_models_are_missing_is_told():
    inf = read_inf((HEAD + models("Std,NTamd64", Standard_NTamd64="I")).encode())
    assert inf.problems == ("there is no section of models [Std.NTamd64]",)


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 9, b"[Defines]\nA=1\n"])
def test_what_is_called_an_inf_and_holds_nothing_is_told(tmp_path, data):
    files = {"a.inf": data, "a.sys": X64}
    in_zip = [one for one in open_archive(in_zip_file(tmp_path, files)) if isinstance(one, Refused)]
    folder = put(tmp_path / "in", files)
    done = CliRunner().invoke(main, ["check", str(folder), "-q"])
    says = "without a single section"
    is_damaged = b"[" not in data[:1]
    assert [says in str(one.error) for one in in_zip] == [True] * is_damaged
    assert (done.exit_code, says in done.stdout) == (4 * is_damaged, is_damaged)
    met = [one.sentence for one in places([str(folder)]) if isinstance(one, Problem)]
    assert [says in one for one in met] == [is_damaged]


@pytest.mark.parametrize(
    ("sections", "is_told"),
    [
        ("[Manufacturer]\nM=S,NTamd64\n", True),
        ("[DefaultInstall.NTamd64]\nCopyFiles=F\n", True),
        ("[I.NT.Services]\nAddService=a,2,S\n", True),
        ("[SourceDisksFiles.amd64]\na.sys=1\n", True),
        ("[Defines]\nBASE_NAME=a\n[Sources]\na.c\n", False),
        ("[autorun]\nopen=setup.exe\n", False),
    ],
)
def test_an_inf_of_a_driver_without_its_version_is_told_everywhere(tmp_path, sections, is_told):
    """Windows installs nothing by it; other texts that are called so are nothing to us."""
    files = {"a.inf": sections.encode(), "a.sys": X64}
    folder = put(tmp_path / "in", files)
    done = CliRunner().invoke(main, ["check", str(folder), "-q"])
    says = "installs nothing by it"
    assert (done.exit_code, says in " ".join(done.stdout.split())) == (4 * is_told, is_told)
    in_zip = [one for one in open_archive(in_zip_file(tmp_path, files)) if isinstance(one, Refused)]
    assert [says in str(one.error) for one in in_zip] == [True] * is_told
    met = [one.sentence for one in places([str(folder)]) if isinstance(one, Problem)]
    assert [says in one for one in met] == [is_told]


@pytest.mark.parametrize("name", ["a.sys", "a.bin"])
@pytest.mark.parametrize("data", [user_program(subsystem=3), b"", X64])
def test_a_service_of_the_kernel_whose_file_is_no_driver_is_told(tmp_path, name, data):
    inf = HEAD + models("Std,NTamd64", Std_NTamd64="I") + "[I]\n" + add("I", "svc")
    files = {"a.inf": inf + service("svc", name), name: data, "other.sys": X64}
    folder = put(tmp_path / "in", files)
    met = [one.sentence for one in places([str(folder)]) if isinstance(one, Problem)]
    is_told = data != X64 and not (name == "a.sys" and not data)  # that has a report of its own
    assert met == [f"service svc: {name} is no image of a kernel driver"] * is_told
    done = CliRunner().invoke(main, ["check", str(folder), "-q"])
    assert done.exit_code == (0 if data == X64 else 4)
    named = [str(one.error) for one in open_inf(folder / "a.inf") if isinstance(one, Refused)]
    assert named == met
    in_zip = [one for one in open_archive(in_zip_file(tmp_path, files)) if isinstance(one, Refused)]
    assert bool(in_zip) is (data != X64 and (name, data) != ("a.sys", b""))


DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100)
DRIVERS = ("._One.sys", "__MACOSX/x/._one.sys")


@pytest.mark.parametrize("data", [DOUBLE, ARM64])
def test_what_macos_puts_beside_files_is_nothing(tmp_path, data):
    """A driver that is called so is one."""
    others = ("__MACOSX/._a.inf", "._x.zip", "._a.cat")
    files = {"a.inf": one_of("One"), "One.sys": X64, **dict.fromkeys(DRIVERS, data)}
    files |= dict.fromkeys(others, DOUBLE)
    folder = put(tmp_path / "in", files)
    wanted = {"One.sys", *(DRIVERS if data is ARM64 else ())}
    found = list(places([str(folder)]))
    assert {one.path.removeprefix(f"{folder}/") for one in found} == wanted
    done = CliRunner().invoke(main, ["check", str(folder), "-f", "json"])
    assert (done.exit_code, len(json.loads(done.stdout)["reports"])) == (0, len(wanted))
    inside = [*open_archive(in_zip_file(tmp_path, files))]
    assert {one.path.partition("!")[2] for one in inside} == wanted


def test_a_pointer_to_a_driver_says_what_to_do(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    put(tmp_path, {"a.sys": pointer})
    done = CliRunner().invoke(main, ["check", str(tmp_path / "a.sys")])
    assert (done.exit_code, "git lfs pull" in done.stdout) == (4, True)
