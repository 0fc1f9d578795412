"""Drivers of a Windows that could be mixed up, or whose packages look like nobody's."""

import struct

import pytest

from build import IMPORTS, driver
from hives import hive
from hvci.errors import InputError
from hvci.evaluate import Options, evaluate_package
from hvci.installed.drivers import Windows
from hvci.installed.tree import of_windows
from hvci.packages.opened import Refused
from hvci.report.package import remedy
from wims import wim

BROKEN, OTHER = driver(section_alignment=0x80), driver(section_alignment=0x80) + b"other"
X86 = driver("x86")
KEYBOARD = "{4d36e96b-e325-11ce-bfc1-08002be10318}"
STORE = "system32/driverstore/filerepository"


def inf(name, version="01/02/2024,1.0.0.0", more="", binary="%12%", ids=",PCI\\VEN_1"):
    return (
        f'[Version]\nSignature="$WINDOWS NT$"\nProvider=Maker\nClass=System\nDriverVer={version}\n'
        f"[Manufacturer]\nMaker=Models,NTamd64,NTx86\n[Models.NTamd64]\nDevice=Install{ids}\n"
        f"[Models.NTx86]\nDevice=Install{ids}\n"
        f"[Install.Services]\nAddService={name},2,Service\n[Service]\nServiceType=1\nStartType=3\n"
        f"ServiceBinary={binary}\\{name}.sys\n{more}"
    ).encode()


def service(start=3, image="", **rest):
    named = {"ImagePath": (2, f"{image}\0".encode("utf-16-le"))} if image else {}
    return {"Type": 1, "Start": start, **named, **rest}


def system(services, enum=None, classes=None, infs=None):
    database = {"DriverInfFiles": {name: {"": [at]} for name, at in (infs or {}).items()}}
    control = {"Services": services, "Control": {"Class": classes or {}}}
    if enum is not None:
        control["Enum"] = enum
    return hive({"Select": {"Current": 1}, "ControlSet001": control, "DriverDatabase": database})


def put(top, files):
    for name, data in files.items():
        path = top / "Windows" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Windows(*of_windows(top))


def told(windows):
    """Path below the Windows folder, service, published name, devices, staged."""
    found = []
    for one in windows.drivers():
        assert not isinstance(one, Refused), one
        installed, start = one.package.installed, len(windows.tree.name) + len("/Windows/")
        found.append(
            (
                one.path[start:].lower(),
                one.package.service,
                installed.published,
                installed.devices,
                installed.staged,
            )
        )
    return found


def advice(windows, name):
    reports = [one for _, one in evaluate_package(windows.drivers(), Options())]
    (report,) = [one for one in reports if one.package.service == name]
    return remedy(report)


DEVICES = {"PCI": {"VEN_1": {"0": {"Service": "other"}}}}


@pytest.mark.parametrize("runs", [0, 1])
def test_two_versions_of_a_package(tmp_path, runs):
    """The one whose file runs is that of the service, whatever the names sort like."""
    stores = ("a.inf_amd64_1", "a.inf_amd64_2")
    names, data = ("oem2.inf", "oem10.inf"), (BROKEN, OTHER)
    infs = dict(zip(names, stores, strict=True))
    files = {
        "system32/config/system": system({"a": service()}, DEVICES, None, infs),
        "system32/drivers/a.sys": data[runs],
    }
    for name, store, one, version in zip(names, stores, data, ("1.0.0.0", "2.0.0.0"), strict=True):
        text = inf("a", f"01/02/2024,{version}")
        files |= {
            f"inf/{name}": text,
            f"{STORE}/{store}/a.inf": text,
            f"{STORE}/{store}/a.sys": one,
        }
    assert told(put(tmp_path, files)) == [
        ("system32/drivers/a.sys", "a", names[runs], 0, False),
        (f"{STORE}/{stores[1 - runs]}/a.sys", "a", names[1 - runs], 0, True),
    ]


def test_what_runs_and_what_the_package_keeps_are_two_drivers(tmp_path):
    windows = put(
        tmp_path,
        {
            "system32/config/system": system(
                {"a": service()},
                {"PCI": {"VEN_1": {"0": {"Service": "a", "Driver": f"{KEYBOARD}\\0000"}}}},
                {KEYBOARD: {"0000": {"InfPath": "oem1.inf"}}},
                {"oem1.inf": "a.inf_amd64_1"},
            ),
            "system32/drivers/a.sys": BROKEN,
            "inf/oem1.inf": inf("a"),
            f"{STORE}/a.inf_amd64_1/a.sys": OTHER,
        },
    )
    assert told(windows) == [
        ("system32/drivers/a.sys", "a", "oem1.inf", 1, False),
        (f"{STORE}/a.inf_amd64_1/a.sys", "a", "oem1.inf", 1, True),
    ]


def test_devices_tell_versions_apart_where_files_do_not(tmp_path):
    enum = {"PCI": {"VEN_1": {"0": {"Service": "a", "Driver": f"{KEYBOARD}\\0000"}}}}
    classes = {KEYBOARD: {"0000": {"InfPath": "oem2.inf"}}}
    infs = {"oem2.inf": "a.inf_amd64_1", "oem10.inf": "a.inf_amd64_2"}
    files = {
        "system32/config/system": system({"a": service()}, enum, classes, infs),
        "system32/drivers/a.sys": BROKEN,
        "inf/oem2.inf": inf("a"),
        "inf/oem10.inf": inf("a", "01/02/2025,3.0.0.0"),
    }
    assert told(put(tmp_path, files)) == [("system32/drivers/a.sys", "a", "oem2.inf", 1, False)]


def test_a_driver_that_runs_in_the_driver_store_is_of_that_package(tmp_path):
    image = f"\\SystemRoot\\{STORE.replace('/', chr(92))}\\a.inf_amd64_1\\a.sys"
    files = {
        "system32/config/system": system(
            {"a": service(3, image)},
            DEVICES,
            None,
            {"oem2.inf": "a.inf_amd64_1", "oem10.inf": "a.inf_amd64_2"},
        ),
        f"{STORE}/a.inf_amd64_1/a.sys": BROKEN,
        f"{STORE}/a.inf_amd64_2/a.sys": BROKEN,
        "inf/oem2.inf": inf("a", binary="%13%"),
        "inf/oem10.inf": inf("a", "01/02/2025,3.0.0.0", binary="%13%"),
    }
    (first, *_) = told(put(tmp_path, files))
    assert first == (f"{STORE}/a.inf_amd64_1/a.sys", "a", "oem2.inf", 0, False)


def test_the_store_keeps_two_architectures(tmp_path):
    more = "[SourceDisksFiles.x86]\na.sys=1,x86\n[SourceDisksFiles.amd64]\na.sys=1,x64\n"
    files = {
        "system32/config/system": system({}, DEVICES, None, {"oem1.inf": "a.inf_amd64_1"}),
        "inf/oem1.inf": inf("a", more=more),
        f"{STORE}/a.inf_amd64_1/x86/a.sys": X86,
        f"{STORE}/a.inf_amd64_1/x64/a.sys": BROKEN,
    }
    assert told(put(tmp_path, files)) == [
        (f"{STORE}/a.inf_amd64_1/x64/a.sys", "a", "oem1.inf", 0, True)
    ]


def test_a_filter_of_a_class_is_not_left_over(tmp_path):
    enum = {"ACPI": {"KBD": {"0": {"Service": "kbd", "ClassGUID": KEYBOARD}}}}
    windows = put(
        tmp_path,
        {
            "system32/config/system": system(
                {"a": service()}, enum, {KEYBOARD: {"UpperFilters": ["a", "kbdclass"]}}
            ),
            "system32/drivers/a.sys": BROKEN,
            "inf/oem1.inf": inf("a"),
        },
    )
    assert told(windows) == [("system32/drivers/a.sys", "a", "oem1.inf", 1, False)]
    found = advice(windows, "a")
    assert found.command == "pnputil /delete-driver oem1.inf /uninstall"
    assert "left over" not in found.why


@pytest.mark.parametrize(("ids", "left"), [("", False), (",PCI\\VEN_1", True)])
def test_a_driver_that_no_device_can_have_is_not_left_over(tmp_path, ids, left):
    """Filters of files and helpers of programs have no devices at all."""
    windows = put(
        tmp_path,
        {
            "system32/config/system": system({"a": service(0)}, DEVICES),
            "system32/drivers/a.sys": BROKEN,
            "inf/oem1.inf": inf("a", ids=ids),
        },
    )
    found = advice(windows, "a")
    assert ("left over" in found.why) is left
    assert found.command.endswith("/uninstall") is not left
    assert "without a word" in found.why


def test_without_devices_nothing_is_left_over(tmp_path):
    windows = put(
        tmp_path,
        {
            "system32/config/system": system({"a": service()}),
            "system32/drivers/a.sys": BROKEN,
            "inf/oem1.inf": inf("a"),
        },
    )
    assert told(windows)[0][3] is None
    assert "left over" not in advice(windows, "a").why


def test_two_services_of_one_file_are_two_lines(tmp_path):
    services = {
        "a": service(3, "system32\\x.sys"),
        "b": service(0, "\\SystemRoot\\system32\\X.SYS"),
    }
    windows = put(tmp_path, {"system32/config/system": system(services), "system32/x.sys": BROKEN})
    assert [one[1] for one in told(windows)] == ["a", "b"]
    assert "without a word" in advice(windows, "b").why
    assert "without a word" not in advice(windows, "a").why


@pytest.mark.parametrize("way", ["folder", "image"])
def test_a_hive_that_does_not_know_the_store(tmp_path, way):
    """The published INF is a copy of the one in the driver store."""
    files = {
        "system32/config/system": system({}, DEVICES),
        "inf/oem1.inf": inf("a"),
        f"{STORE}/b.inf_amd64_1/b.inf": inf("b"),
        f"{STORE}/a.inf_amd64_9/a.inf": inf("a"),
        f"{STORE}/a.inf_amd64_9/a.sys": BROKEN,
    }
    if way == "folder":
        windows = put(tmp_path, files)
    else:
        from hvci.installed.disks import windows_of

        path = tmp_path / "a.wim"
        path.write_bytes(wim({f"Windows/{name}": data for name, data in files.items()}))
        ((image, folder),) = windows_of(path)
        windows = Windows(image, folder)
    (one,) = windows.drivers()
    assert one.path.lower().endswith(f"{STORE}/a.inf_amd64_9/a.sys")
    assert one.package.installed.published == "oem1.inf"


@pytest.mark.parametrize(
    "image",
    [
        "%windir%\\system32\\x.sys",
        "\\Device\\HarddiskVolume3\\Windows\\system32\\x.sys",
        "\\??\\D:\\Windows\\system32\\x.sys",
        "\\DosDevices\\D:\\WINDOWS\\system32\\x.sys",
        "\\??\\%SystemRoot%\\system32\\x.sys",
        '"D:\\Windows\\system32\\x.sys"',
        "SystemRoot\\system32\\x.sys",
        "%SystemDrive%\\Windows\\system32\\x.sys",
        "system32\\drivers\\..\\x.sys",
        "\\SystemRoot\\..\\Windows\\.\\system32\\x.sys",
        "..\\..\\Windows\\system32\\x.sys",
    ],
)
def test_every_way_to_name_a_file(tmp_path, image):
    version = {"Windows NT": {"CurrentVersion": {"SystemRoot": "D:\\Windows"}}}
    windows = put(
        tmp_path,
        {
            "system32/config/system": system({"a": service(3, image)}),
            "system32/config/software": hive({"Microsoft": version}),
            "system32/x.sys": BROKEN,
            "system32/drivers/x.sys": OTHER,
        },
    )
    assert [one[0] for one in told(windows)] == ["system32/x.sys"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_driver_in_a_folder_that_was_not_copied(tmp_path, is_there):
    """Where the folder is there and the driver is not, the service is a leftover."""
    services = {"a": service(3, "\\??\\C:\\Program Files\\Maker\\x.sys"), "b": service(3)}
    if is_there:
        (tmp_path / "program files").mkdir()
    files = {"system32/config/system": system(services), "system32/drivers/other.txt": b""}
    windows = put(tmp_path, files)
    found = [(one.path, str(one.error)) for one in windows.drivers()]
    lost = "services whose file is not there"
    if is_there:
        assert found == []
        assert f"2 {lost}: a, b" in windows.doubts
    else:
        ((path, why),) = found
        assert path == f"{tmp_path}/Program Files/Maker/x.sys"
        assert "in a folder beside this Windows that is not here" in why
        assert f"1 {lost}: b" in windows.doubts


@pytest.mark.parametrize("damage", ["key", "value", "list", "count"])
def test_services_that_cannot_be_read_are_no_success(tmp_path, damage):
    """They are drivers that were not looked at; the others are told all the same."""
    names = ("aaa", "bbb", "ccc")
    data = bytearray(system({name: service() for name in names}))
    key = data.index(b"nk", data.index(b"bbb") - 80)
    services = data.index(b"nk", data.index(b"Services") - 80)
    if damage == "key":
        data[key : key + 2] = b"xx"
    elif damage == "value":
        (listed,) = struct.unpack_from("<I", data, key + 40)
        (value,) = struct.unpack_from("<I", data, 0x1004 + listed)
        data[0x1004 + value] = 0
    elif damage == "list":
        at = 0x1000 + 4 + int.from_bytes(data[services + 28 : services + 32], "little")
        assert data[at : at + 2] in (b"lf", b"lh", b"li")
        data[at + 2] = 1
    else:
        data[services + 20] = 9
    files = {f"system32/drivers/{name}.sys": BROKEN for name in names}
    windows = put(tmp_path, {"system32/config/system": bytes(data), **files})
    found = [*windows.drivers()]
    read = {one.path.rpartition("/")[2] for one in found if not isinstance(one, Refused)}
    assert (
        read
        == {
            "key": {"aaa.sys", "ccc.sys"},
            "value": {"aaa.sys", "ccc.sys"},
            "list": {"aaa.sys"},
            "count": {"aaa.sys", "bbb.sys", "ccc.sys"},
        }[damage]
    )
    (told,) = [one for one in found if isinstance(one, Refused)]
    assert told.path == f"{tmp_path}: " + ("service bbb" if damage == "value" else "more services")
    assert "its key is damaged" in str(told.error) or "their keys are" in str(told.error)


def test_a_driver_on_another_drive_than_that_of_this_windows(tmp_path):
    version = {"Windows NT": {"CurrentVersion": {"SystemRoot": "D:\\Windows"}}}
    windows = put(
        tmp_path,
        {
            "system32/config/system": system({"a": service(3, "C:\\Windows\\system32\\x.sys")}),
            "system32/config/software": hive({"Microsoft": version}),
            "system32/x.sys": BROKEN,
        },
    )
    (one,) = windows.drivers()
    assert "drive C:" in str(one.error)


@pytest.mark.parametrize("copied", [True, False])
def test_a_folder_of_drivers_that_was_not_copied(tmp_path, copied):
    """Where nothing of a folder is there that every Windows has, no service is a leftover."""
    image = f"\\SystemRoot\\{STORE}\\x.inf_amd64_1\\x.sys".replace("/", "\\")
    files = {"system32/config/system": system({"a": service(3, image), "b": service(0)})}
    files |= {f"{STORE}/y.inf_amd64_1/y.inf": b"", "system32/drivers/y.dll": b""} if copied else {}
    windows = put(tmp_path, files)
    found = [(one.path.lower(), str(one.error)) for one in windows.drivers()]
    if copied:
        assert found == []
        assert "2 services whose file is not there: a, b" in windows.doubts
    else:
        top = f"{tmp_path}/windows/".lower()
        assert [path.removeprefix(top) for path, _ in found] == [
            f"{STORE}/x.inf_amd64_1/x.sys",
            "system32/drivers/b.sys",
        ]
        assert all(why.endswith("and nothing of that folder is here") for _, why in found)
        assert windows.doubts == []


@pytest.mark.parametrize(
    "image", ["\\??\\Volume{1-2}\\x.sys", "\\DosDevices\\UNC\\a\\x.sys", "\\Other\\x.sys"]
)
def test_a_path_that_leads_to_no_drive_is_told(tmp_path, image):
    windows = put(tmp_path, {"system32/config/system": system({"a": service(3, image)})})
    ((path, why),) = [(one.path, str(one.error)) for one in windows.drivers()]
    assert path == f"{tmp_path}: service a"
    assert why == f"its path {image!r} leads to no file of this installation"


def test_drivers_beside_those_of_services_are_counted(tmp_path):
    windows = put(
        tmp_path,
        {
            "system32/config/system": system({"a": service(), "off": service(4)}),
            **{f"system32/drivers/{name}.sys": BROKEN for name in ("A", "off")},
        },
    )
    assert [one[1] for one in told(windows)] == ["a"]
    assert not any("no service names" in text for text in windows.notes)
    windows = put(tmp_path, {"system32/drivers/Library.SYS": BROKEN})
    assert [one[1] for one in told(windows)] == ["a"]
    text = "1 drivers in System32/drivers that no service names were left out: Library.SYS"
    assert text in windows.notes


def test_what_drivers_of_services_import_is_loaded_with_them(tmp_path):
    """It has no service, so that nobody looked at it; what nobody imports is only counted."""
    uses = driver(imports={**IMPORTS, "Library.sys": ("Help",), "..\\x.sys": ("X",)})
    library = driver(imports={**IMPORTS, "far.sys": ("Far",), "gone.sys": ("Gone",)})
    files = {
        "system32/config/system": system(
            {
                "a": service(1, "\\SystemRoot\\Vendor\\a.sys"),
                "b": service(0, "system32\\drivers\\b.sys"),
                "off": service(4, "system32\\drivers\\off.sys"),
            }
        ),
        "Vendor/a.sys": uses,
        "Vendor/library.sys": library,
        "system32/drivers/b.sys": driver(imports={**IMPORTS, "off.sys": ("Off",)}),
        "system32/drivers/library.sys": OTHER,
        "system32/drivers/far.sys": BROKEN,
        "system32/drivers/off.sys": BROKEN,
        "system32/drivers/alone.sys": BROKEN,
    }
    windows = put(tmp_path, files)
    found = {path: one for path, one, *_ in told(windows)}
    assert found == {
        "vendor/a.sys": "a",
        "system32/drivers/b.sys": "b",
        "vendor/library.sys": "",
        "system32/drivers/library.sys": "",
        "system32/drivers/far.sys": "",
        "system32/drivers/off.sys": "",
    }
    text = "1 drivers in System32/drivers that no service names were left out: alone.sys"
    assert text in windows.notes
    reports = dict(evaluate_package(windows.drivers(), Options()))
    starts = {path.rpartition("/")[2]: one.package.start for path, one in reports.items()}
    assert (starts["off.sys"], starts["far.sys"]) == ("boot", "system")
    (far,) = (one for path, one in reports.items() if path.endswith("far.sys"))
    assert remedy(far).command == "update it"


def test_an_imported_driver_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.installed.linked.MAX_MEMBER", 10)
    files = {
        "system32/config/system": system({"a": service()}),
        "system32/drivers/a.sys": driver(imports={**IMPORTS, "b.sys": ("B",)}),
        "system32/drivers/b.sys": BROKEN,
    }
    first, second = put(tmp_path, files).drivers()
    assert (first.package.service, isinstance(second, Refused)) == ("a", True)


@pytest.mark.parametrize(("architecture", "said"), [("AMD64", True), ("x86", False), ("", False)])
def test_a_driver_for_another_machine_than_this_windows_is_told(tmp_path, architecture, said):
    environment = {"PROCESSOR_ARCHITECTURE": architecture} if architecture else {}
    control = {
        "Services": {"a": service()},
        "Control": {"Session Manager": {"Environment": environment}},
    }
    files = {
        "system32/config/system": hive({"Select": {"Current": 1}, "ControlSet001": control}),
        "system32/drivers/a.sys": X86,
    }
    windows = put(tmp_path, files)
    assert [one[1] for one in told(windows)] == ["a"]
    assert (
        any("this Windows (x64), which does not load it: a (x86)" in one for one in windows.doubts)
        is said
    )


@pytest.mark.parametrize("path", ["system32\\drivers\\LONGNA~1.SYS", "\\??\\C:\\PROGRA~1\\a.sys"])
def test_a_short_name_is_no_driver_that_is_gone(tmp_path, path):
    """The file may be there under its whole name, and nobody looked at it."""
    files = {
        "system32/config/system": system({"a": service(3, path), "b": service()}),
        "system32/drivers/longname.sys": BROKEN,
        "system32/drivers/b.sys": X86,
    }
    refused = [one for one in put(tmp_path, files).drivers() if isinstance(one, Refused)]
    assert ["short name (8.3)" in str(one.error) for one in refused] == [True]


def test_a_published_inf_that_is_another_than_the_store_has(tmp_path):
    """As where the copies of two computers were put together."""
    folder = f"{STORE}/a.inf_amd64_9"
    files = {
        "system32/config/system": system({}, DEVICES, infs={"oem1.inf": "a.inf_amd64_9"}),
        "inf/oem1.inf": inf("b"),
        f"{folder}/a.inf": inf("a"),
        f"{folder}/a.sys": BROKEN,
    }
    windows = put(tmp_path, files)
    (one,) = windows.drivers()
    assert (one.package.service, one.package.installed.published) == ("a", "oem1.inf")
    (text,) = windows.unread
    assert text.startswith("oem1.inf is another INF than Windows/System32/DriverStore/")
    windows = put(tmp_path, {"inf/oem1.inf": inf("a")})
    assert len(list(windows.drivers())) == 1
    assert windows.unread == []


def test_a_package_of_which_no_inf_is_there(tmp_path):
    """Nobody knows which drivers it has."""
    known = system({}, DEVICES, infs={"oem1.inf": "a.inf_amd64_9", "disk.inf": "disk.inf_1"})
    windows = put(tmp_path, {"system32/config/system": known})
    assert windows.unread == ["1 packages whose INF is not there: oem1.inf"]


def test_names_that_are_one_to_windows_are_not_guessed_at(tmp_path):
    """As where two copies were put together on a system that tells cases apart."""
    files = {
        "system32/config/system": system({"a": service(), "b": service(3, "system32\\b.sys")}),
        "system32/drivers/a.sys": BROKEN,
        "system32/b.sys": BROKEN,
    }
    windows = put(tmp_path, {**files, "system32/drivers/x": b"", "system32/drivers/X": b""})
    if len(list((tmp_path / "Windows/system32/drivers").iterdir())) < 3:
        pytest.skip("the file system does not tell cases apart")
    assert [one[1] for one in told(windows)] == ["a", "b"]
    windows = put(tmp_path, {"system32/Drivers/a.sys": OTHER})
    wrong, right = windows.drivers()
    assert str(wrong.error).endswith("system32: Drivers and drivers are one name to Windows")
    assert right.package.service == "b"
    put(tmp_path / "two", files)
    (tmp_path / "two" / "WINDOWS").mkdir()
    with pytest.raises(InputError, match="WINDOWS and Windows are one name to Windows"):
        of_windows(tmp_path / "two" / "Windows")


@pytest.mark.parametrize(("select", "is_told"), [({"Current": 1}, False), ({"Default": 2}, True)])
def test_a_start_from_another_control_set_is_told(tmp_path, select, is_told):
    sets = {"ControlSet001": {"Services": {"a": service()}}, "ControlSet002": {"Services": {}}}
    data = hive({"Select": {"Current": 1, "Default": 1, **select}, **sets})
    windows = put(tmp_path, {"System32/config/SYSTEM": data, "System32/drivers/a.sys": BROKEN})
    assert [one.path.rpartition("/")[2] for one in windows.drivers()] == ["a.sys"]
    assert ["ControlSet002 the next time" in text for text in windows.unread] == [True] * is_told


def test_a_driver_of_the_store_whose_package_is_not_known_is_of_a_package(tmp_path):
    """Deleting its service would leave the package, which brings it back."""
    place = "System32/DriverStore/FileRepository/a.inf_amd64_1111111111111111/a.sys"
    services = {"a": service(image=f"\\SystemRoot\\{place}".replace("/", "\\"))}
    windows = put(tmp_path, {"System32/config/SYSTEM": system(services), place: BROKEN})
    said = advice(windows, "a")
    assert (said.command, "which package it is of" in said.why) == ("pnputil /enum-drivers", True)
