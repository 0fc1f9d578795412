"""A Windows folder: which drivers its services start, from which package, and what to do."""

import importlib.util
import io
import json
import os
import random
from dataclasses import replace

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from build import driver
from eventfiles import hvci as refused_by_hvci
from hives import hive, log
from hvci.catalog.reader import data_text
from hvci.cli import main
from hvci.errors import InputError
from hvci.installed.drivers import NO_DRIVER, Windows
from hvci.installed.hive import DamagedHive, Hive
from hvci.installed.recovery import is_dirty, recovered
from hvci.installed.tree import of_windows

GOOD, BROKEN, INIT = driver(), driver(section_alignment=0x80), driver(init=0xE2000020)
STORAGE = "{4d36e97b-e325-11ce-bfc1-08002be10318}"
INF = """[Version]
Signature="$WINDOWS NT$"
Provider=Maker
Class=System
DriverVer=01/02/2024,1.2.3.4
[Manufacturer]
Maker=Models,NTamd64
[Models.NTamd64]
Device=Install,PCI\\VEN_1
[Install.Services]
AddService={0},2,Service
[Service]
ServiceType=1
StartType=3
ServiceBinary=%12%\\{1}
"""


def service(start, image="", **rest):
    named = {"ImagePath": (2, f"{image}\0".encode("utf-16-le"))} if image else {}
    return {"Type": 1, "Start": start, **named, **rest}


SYSTEM = {
    "Select": {"Current": 2},
    "ControlSet002": {
        "Services": {
            "disk1": service(0, "System32\\drivers\\disk1.sys"),
            "late": service(0, "\\SystemRoot\\System32\\DRIVERS\\LATE.sys", StartOverride={"0": 3}),
            "tool": service(1, "\\??\\C:\\Tools\\tool.sys"),
            "plain": service(3),
            "filter": service(3, Owners=["oem2.inf", "keyboard.inf"]),
            "off": service(4),
            "lost": service(3, "system32\\drivers\\lost.sys"),
            "away": service(3, "D:\\away.sys"),
            "init": service(3, "system32\\drivers\\init.sys"),
            "program": {"Type": 16, "Start": 2, "ImagePath": "C:\\x.exe"},
        },
        "Enum": {
            "PCI": {
                "VEN_1": {
                    "0": {"Service": "disk1", "ClassGUID": STORAGE, "Driver": f"{STORAGE}\\0000"},
                    "1": {"Service": "plain"},
                }
            }
        },
        "Control": {
            "Class": {STORAGE: {"0000": {"InfPath": "oem1.inf"}}},
            "DeviceGuard": {
                "Scenarios": {"HypervisorEnforcedCodeIntegrity": {"Enabled": 1, "WasEnabledBy": 2}}
            },
        },
    },
    "DriverDatabase": {
        "DriverInfFiles": {
            "oem1.inf": {"": ["disk1.inf_amd64_1"], "Active": "disk1.inf_amd64_1"},
            "oem3.inf": {"": ["spare.inf_amd64_3"]},
        },
        "DriverPackages": {
            "disk1.inf_amd64_1": {"": "oem1.inf", "InfName": "disk1.inf"},
        },
    },
}
FILES = {
    "system32/config/system": hive(SYSTEM),
    "system32/drivers/disk1.sys": BROKEN,
    "system32/drivers/late.sys": BROKEN,
    "system32/drivers/plain.sys": GOOD,
    "system32/drivers/filter.sys": BROKEN,
    "system32/drivers/init.sys": INIT,
    "inf/oem1.inf": INF.format("disk1", "disk1.sys").encode(),
    "system32/driverstore/filerepository/spare.inf_amd64_3/spare.inf": INF.format(
        "spare", "spare.sys"
    ).encode("utf-16"),
    "system32/driverstore/filerepository/spare.inf_amd64_3/spare.sys": BROKEN + b"other",
}


def put(top, files, windows="WINDOWS"):
    for name, data in files.items():
        path = top / windows / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (top / "TOOLS").mkdir(exist_ok=True)
    (top / "TOOLS" / "Tool.SYS").write_bytes(BROKEN)
    return top / windows


def check(*words):
    return CliRunner().invoke(main, ["check", *map(str, words), "--no-config"])


def look(*words):
    document = json.loads(check(*words, "--installed", "-f", "json").stdout)
    Draft202012Validator(json.loads(data_text("report.schema.json"))).validate(document)
    found = {one["package"]["service"]: one for one in document["reports"]}
    return found, document


def advice(document, name):
    (found,) = [one for one in document["notices"] if f"(service {name})" in one]
    return found


@pytest.mark.parametrize("named", ["folder", "disk"])
def test_the_drivers_of_a_windows(tmp_path, named):
    windows = put(tmp_path, FILES)
    found, document = look(windows if named == "folder" else tmp_path)
    starts = {name: one["package"]["start"] for name, one in found.items()}
    assert starts == {
        "disk1": "boot",
        "late": "on demand",
        "tool": "system",
        "plain": "on demand",
        "filter": "on demand",
        "init": "on demand",
        "spare": "",
    }
    told = {name: one["package"]["installed"] for name, one in found.items()}
    assert told["disk1"] == {
        "published": "oem1.inf",
        "devices": 1,
        "storage": True,
        "staged": False,
    }
    assert told["spare"]["staged"]
    assert told["spare"]["published"] == "oem3.inf"
    assert told["plain"]["devices"] == 1
    assert told["tool"]["devices"] is None
    assert told["filter"]["published"] == ""  # a filter's name among the owners proves nothing
    assert found["disk1"]["package"]["inf"] == "disk1.inf"
    assert [error["path"] for error in document["errors"]] == [f"{tmp_path}: service away"]


def test_the_line_that_people_need(tmp_path):
    _, document = look(put(tmp_path, FILES))
    first = next(one for one in document["notices"] if "pnputil" in one)
    assert "(service disk1): pnputil /delete-driver oem1.inf /uninstall" in first
    assert "turns it off again without a word" in first
    assert "Warning: disks hang on this driver" in first
    late = advice(document, "late")
    assert 'sc.exe delete "late"' in late
    assert "without a word" not in late  # a StartOverride says on demand
    spare = advice(document, "spare")
    assert "pnputil /delete-driver oem3.inf " in spare
    assert "left over" in spare
    assert "/uninstall" not in spare
    for name in ("plain", "init"):
        assert not [one for one in document["notices"] if f"(service {name})" in one]
    notices = " | ".join(document["notices"])
    assert f"memory integrity of {tmp_path}: on, set in Windows Security" in notices
    assert "1 disabled services were left out" in notices
    assert "1 services whose file is not there: lost" in notices


def test_what_devices_need_is_not_to_be_removed(tmp_path):
    _, document = look(put(tmp_path, {**FILES, "system32/drivers/plain.sys": BROKEN}))
    assert "update it" in advice(document, "plain")
    assert "do not remove it" in advice(document, "plain")


def test_the_text_shows_it(tmp_path):
    text = " ".join(check(put(tmp_path, FILES), "--installed", "-v").stdout.split())
    assert "published as oem1.inf; 1 devices" in text
    assert "pnputil /delete-driver oem1.inf /uninstall" in text


def test_a_driver_that_says_it_is_a_program_is_judged(tmp_path):
    said = driver(subsystem=3, section_alignment=0x80)
    found, _ = look(put(tmp_path, {**FILES, "system32/drivers/plain.sys": said}))
    assert found["plain"]["verdict"] == found["disk1"]["verdict"] == "incompatible"


def test_what_is_no_windows(tmp_path):
    for word in (tmp_path, tmp_path / "none"):
        result = check(word, "--installed")
        assert result.exit_code == 4
        assert "no Windows folder" in result.stdout or "no such folder" in result.stdout
    (tmp_path / "disk.img").write_bytes(bytes(510) + b"\x55\xaa" + bytes(4096))
    result = check(tmp_path / "disk.img")
    assert result.exit_code == 4
    text = " ".join(result.stdout.split())
    assert "no Windows in this disk image" in text or "hvci[disks]" in text


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (
            {"EnableVirtualizationBasedSecurity": 1, "HypervisorEnforcedCodeIntegrity": 1},
            "UEFI lock",
        ),
        (
            {"EnableVirtualizationBasedSecurity": 1, "HypervisorEnforcedCodeIntegrity": 2},
            "on, set by",
        ),
        ({"HypervisorEnforcedCodeIntegrity": 0}, "off, set by policy"),
        ({}, "on, set in Windows Security"),
    ],
)
def test_who_set_memory_integrity(tmp_path, policy, said):
    software = {"Policies": {"Microsoft": {"Windows": {"DeviceGuard": policy}}}}
    put(tmp_path, {**FILES, "system32/config/SOFTWARE": hive(software)})
    windows = Windows(*of_windows(tmp_path))
    assert said in windows.notes[0]


def test_a_damaged_hive_of_programs_costs_no_driver(tmp_path):
    """Its cells are gone, its head is whole."""
    software = hive({"Policies": {}})[:0x1000] + b"hbin" + bytes(0xFFC)
    put(tmp_path, {**FILES, "system32/config/SOFTWARE": software})
    windows = Windows(*of_windows(tmp_path))
    assert len(windows.registry.services) > 5
    assert "set in Windows Security" in windows.notes[0]
    assert any(one.startswith("policies: ") for one in windows.doubts)


def test_packages_of_the_hive_of_drivers(tmp_path):
    system = {name: value for name, value in SYSTEM.items() if name != "DriverDatabase"}
    drivers = hive({"DriverDatabase": SYSTEM["DriverDatabase"]})
    files = {"system32/config/system": hive(system), "system32/config/DRIVERS": drivers}
    found, _ = look(put(tmp_path, {**FILES, **files}))
    assert found["spare"]["package"]["installed"]["published"] == "oem3.inf"


def test_the_event_log_is_joined(tmp_path):
    if importlib.util.find_spec("evtx") is None:
        pytest.skip("needs the package evtx")
    from eventfiles import evtx

    name = "system32/winevt/Logs/Microsoft-Windows-CodeIntegrity%4Operational.evtx"
    _, document = look(put(tmp_path, {**FILES, name: evtx([refused_by_hvci("disk1.sys")])}))
    (line,) = [one for one in document["notices"] if one.startswith("event log: ")]
    assert "disk1.sys: refused by" in line


@pytest.mark.parametrize(
    ("computer", "other"),
    [("PC-OF-SOMEBODY-WITH-A-NAME.local", ""), ("pc2.local", "PC2"), ("", "")],
)
def test_an_event_log_of_another_computer_is_told(tmp_path, computer, other):
    if importlib.util.find_spec("evtx") is None:
        pytest.skip("needs the package evtx")
    from eventfiles import evtx

    control = {**SYSTEM["ControlSet002"]["Control"]}
    control["ComputerName"] = {"ComputerName": {"ComputerName": "PC-OF-SOMEBODY-"}}
    system = {**SYSTEM, "ControlSet002": {**SYSTEM["ControlSet002"], "Control": control}}
    event = replace(refused_by_hvci("disk1.sys"), computer=computer)
    name = "system32/winevt/Logs/Microsoft-Windows-CodeIntegrity%4Operational.evtx"
    files = {**FILES, "system32/config/system": hive(system), name: evtx([event])}
    _, document = look(put(tmp_path, files))
    told = [one for one in document["notices"] if one.startswith("its event log is also of")]
    assert told == [f"its event log is also of {other}, and this Windows is of PC-OF-SOMEBODY-"] * (
        other != ""
    )


def test_transaction_logs_are_applied():
    before = hive({"Select": {"Current": 1}, "ControlSet001": {"Services": {"a": service(3)}}})
    fields = {"Select": {"Current": 1}, "ControlSet001": {"Services": {"bcd": service(3)}}}
    after = hive(fields)
    dirty = hive(fields, (2, 1))[:0x1000] + before[0x1000:]
    assert not is_dirty(before)
    assert is_dirty(dirty)
    for kind in (b"HvLE", b"DIRT"):
        data, whole = recovered(dirty, [log(dirty, after, 1, kind)])
        names = [key.name for key in Hive(data).find("ControlSet001\\Services").subkeys()]
        assert (names, whole) == (["bcd"], True)
    torn = bytearray(log(dirty, after, 1))
    torn[-600] ^= 1
    for logs in ([bytes(torn)], [], [b"junk"]):
        assert recovered(dirty, logs) == (dirty, False)


def test_a_live_copy_without_its_logs_says_so(tmp_path):
    dirty = bytearray(FILES["system32/config/system"])
    dirty[4] += 1
    _, document = look(put(tmp_path, {**FILES, "system32/config/system": bytes(dirty)}))
    assert any("transaction logs are missing" in one for one in document["notices"])
    assert any("transaction logs are missing" in one["message"] for one in document["errors"])


def test_a_copy_that_may_lack_drivers_is_not_compatible(tmp_path):
    """Every driver that was seen is good: what nobody could read decides the exit code."""
    good = {name: GOOD if name.endswith(".sys") else data for name, data in FILES.items()}
    registry = {
        "Select": {"Current": 1},
        "ControlSet001": {"Services": {"disk1": service(0, "System32\\drivers\\disk1.sys")}},
    }
    whole, left = hive(registry), hive(registry, (2, 1))
    for data, code in ((whole, 0), (left, 4)):
        windows = put(tmp_path, {**good, "system32/config/system": data})
        assert check(windows, "--installed").exit_code == code
    software = {**good, "system32/config/system": whole, "system32/config/software": b"regf"}
    assert check(put(tmp_path, software), "--installed").exit_code == 4


def test_values_and_keys_of_every_form():
    long = "x" * 20_000
    many = {f"key{number}": {"n": number} for number in range(30)}
    one = Hive(hive({"a": {"long": long, "B": b"123456", "": "unnamed"}, "Ünï": {"x": 1}, **many}))
    key = one.find("A")
    assert key.text("LONG") == long
    assert key.data("b") == b"123456"
    assert key.text("") == "unnamed"
    assert one.find("key17").integer("n") == 17
    assert one.find("ünï").integer("x") == 1
    assert one.find("\u4e00") is None
    assert (key.integer("long"), key.texts("b"), key.text("none")) == (None, [], "")
    assert Hive(hive({"\u4e00\u4e01": {}})).find("\u4e00\u4e01") is not None


@pytest.mark.parametrize("seed", range(150))
def test_damaged_hives(tmp_path, seed):
    chance = random.Random(seed)
    data = bytearray(FILES["system32/config/system"])
    for _ in range(chance.choice((1, 5, 40))):
        data[chance.choice((chance.randrange(len(data)), 0x1020 + chance.randrange(0x800)))] = (
            chance.randrange(256)
        )
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    windows = put(tmp_path, {"system32/config/system": bytes(data)})
    found = of_windows(windows)
    assert found is not None
    try:
        list(Windows(*found).drivers())
    except InputError as error:
        assert str(error)


def test_what_is_no_hive():
    for data in (b"", b"regf", b"MZ" + bytes(9000)):
        with pytest.raises(DamagedHive, match="no registry hive"):
            Hive(data)
    loop = bytearray(hive({"a": {"b": {}}}))
    with pytest.raises(DamagedHive):
        Hive(bytes(loop[:0x1040])).find("a")


def test_no_link_leads_out_of_a_windows(tmp_path):
    (tmp_path / "outside.sys").write_bytes(BROKEN)
    windows = put(tmp_path / "c", FILES)
    (windows / "system32/drivers/plain.sys").unlink()
    (windows / "system32/drivers/plain.sys").symlink_to(tmp_path / "outside.sys")
    found, document = look(windows)
    assert "plain" not in found
    (error,) = (one for one in document["errors"] if one["path"].endswith("plain.sys"))
    assert error["message"].startswith("a link that leads out of this Windows")


def test_a_folder_that_cannot_be_listed_hides_no_driver(tmp_path, monkeypatch):
    windows = put(tmp_path, FILES)
    listed = os.listdir

    def shut(folder):
        if str(folder).endswith("drivers"):
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "listdir", shut)
    result = check(windows, "--installed", "-f", "json")
    told = {one["path"][-9:]: one["message"] for one in json.loads(result.stdout)["errors"]}
    assert "Permission denied" in told["plain.sys"]
    assert result.exit_code == 4


def test_a_catalog_that_cannot_be_read_costs_no_driver(tmp_path):
    folder = "system32/catroot/{f750e6c3-38ee-11d1-85e5-00c04fc295ee}"
    windows = put(tmp_path, {**FILES, f"{folder}/oem1.cat": b"x" * ((16 << 20) + 1)})
    assert "disk1" in look(windows)[0]


def test_what_the_driver_store_lacks_or_hides_is_told(tmp_path):
    store = "system32/driverstore/filerepository/spare.inf_amd64_3"
    files = {name: data for name, data in FILES.items() if name != f"{store}/spare.sys"}
    windows = put(tmp_path / "a", files)
    assert (
        "1 packages whose driver is not in the driver store: oem3.inf"
        in look(windows)[1]["notices"]
    )
    (tmp_path / "b" / "x.sys").parent.mkdir()
    (tmp_path / "b" / "x.sys").write_bytes(BROKEN)
    (windows / store / "spare.sys").symlink_to(tmp_path / "b" / "x.sys")
    (error,) = (one for one in look(windows)[1]["errors"] if one["path"].endswith("spare.sys"))
    assert error["message"].startswith("a link that leads out")


@pytest.mark.parametrize("services", [{}, {"off": service(4)}, {"lost": service(3)}])
def test_a_windows_without_a_driver_is_not_compatible(tmp_path, services):
    one = {"Select": {"Current": 1}, "ControlSet001": {"Services": services}}
    windows = put(tmp_path, {"system32/config/system": hive(one), "system32/drivers/off.sys": GOOD})
    for more in ((), ("--isolate",)):
        result = check(windows, "--installed", "-f", "json", *more)
        (error,) = json.loads(result.stdout)["errors"]
        assert (result.exit_code, error["message"]) == (4, NO_DRIVER)


def test_a_volume_of_a_disk_image():
    """The same through a filesystem of the library for images."""
    virtual = pytest.importorskip("dissect.target.filesystem").VirtualFilesystem(
        case_sensitive=False
    )
    from hvci.installed.disks import Disk

    for name, data in FILES.items():
        virtual.map_file_fh(f"Windows/{name}", io.BytesIO(data))
    windows = Windows(Disk("disk.vhdx", virtual), "Windows")
    found = {one.package.service: one for one in windows.drivers() if hasattr(one, "data")}
    assert found["disk1"].path == "disk.vhdx!Windows/System32/drivers/disk1.sys"
    assert found["disk1"].data == BROKEN
    assert found["disk1"].package.installed.published == "oem1.inf"


def test_what_is_told_of_a_disk_is_told_without_the_option_too(tmp_path, monkeypatch):
    windows = put(tmp_path, FILES)
    monkeypatch.setattr("hvci.installed.disks.windows_of", lambda _: [of_windows(windows)])
    disk = tmp_path / "disk.vhdx"
    disk.write_bytes(b"vhdxfile")
    said = [json.loads(check(disk, *more, "-f", "json").stdout) for more in ((), ("--installed",))]
    assert said[0]["notices"] == said[1]["notices"] != []


def test_a_folder_with_a_windows_says_what_the_option_adds(tmp_path):
    windows = put(tmp_path, FILES)
    for folder, said in ((windows, 1), (tmp_path, 1), (windows / "system32" / "drivers", 0)):
        notices = json.loads(check(folder, "-f", "json").stdout)["notices"]
        assert sum("--installed looks at" in one for one in notices) == said


def test_a_windows_image(tmp_path):
    from wims import wim

    path = tmp_path / "install.wim"
    path.write_bytes(wim({f"Windows/{name}": data for name, data in FILES.items()}))
    found, _ = look(path)
    assert found["disk1"]["target"]["path"] == f"{path}!1/Windows/System32/drivers/disk1.sys"
    assert found["disk1"]["package"]["installed"]["published"] == "oem1.inf"
    path.write_bytes(wim({"a.txt": b"x"}))
    assert "no Windows in this image" in check(path, "--installed").stdout
