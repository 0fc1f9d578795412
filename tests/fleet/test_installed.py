"""A scan of a Windows: rows name package, published INF, devices and start, and what to do."""

import csv
import io
import json
import sqlite3

import pytest
from click.testing import CliRunner

from build import driver
from hives import hive
from hvci.cli import main
from wims import wim

GOOD, BROKEN = driver(), driver(section_alignment=0x80)
DISKS = "{4d36e97b-e325-11ce-bfc1-08002be10318}"
STORE = "System32/DriverStore/FileRepository"


def inf(name, file):
    return (
        f'[Version]\nSignature="$WINDOWS NT$"\nProvider=Maker\nClass=System\n'
        f"DriverVer=01/02/2024,1.2.3.4\n[Manufacturer]\nM=Models,NTamd64\n[Models.NTamd64]\n"
        f"D=Install,PCI\\VEN_1\n[Install.Services]\nAddService={name},2,S\n[S]\nServiceType=1\n"
        f"StartType=3\nServiceBinary=%12%\\{file}\n"
    ).encode("utf-16")


SYSTEM = {
    "Select": {"Current": 1},
    "ControlSet001": {
        "Services": {
            "disk1": {"Type": 1, "Start": 0},
            "late": {"Type": 1, "Start": 0, "StartOverride": {"0": 3}},
            "fine": {"Type": 1, "Start": 1},
            "again": {"Type": 1, "Start": 3, "ImagePath": "System32\\drivers\\disk1.sys"},
            "lost": {"Type": 1, "Start": 3},
            "away": {"Type": 1, "Start": 3, "ImagePath": "E:\\away.sys"},
        },
        "Enum": {
            "PCI": {"VEN_1": {"0": {"Service": "disk1", "ClassGUID": DISKS, "Driver": "x\\0"}}}
        },
        "Control": {
            "DeviceGuard": {
                "Scenarios": {"HypervisorEnforcedCodeIntegrity": {"Enabled": 1, "WasEnabledBy": 2}}
            }
        },
    },
    "DriverDatabase": {"DriverInfFiles": {"oem3.inf": {"": ["spare.inf_amd64_3"]}}},
}
FILES = {
    "System32/config/SYSTEM": hive(SYSTEM),
    "System32/drivers/disk1.sys": BROKEN,
    "System32/drivers/late.sys": BROKEN + b"late",
    "System32/drivers/fine.sys": GOOD,
    "INF/oem1.inf": inf("disk1", "disk1.sys"),
    "INF/oem3.inf": inf("spare", "spare.sys"),
    f"{STORE}/spare.inf_amd64_3/spare.sys": BROKEN + b"spare",
}


def put(top, files=FILES):
    for name, data in files.items():
        path = top / "Windows" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top / "Windows"


def run(*args, code=0):
    done = CliRunner().invoke(main, [*map(str, args)])
    assert done.exit_code == code, done.output
    return done.stdout


def ask(where, *words):
    return json.loads(run("query", *words, "-d", where, "-f", "json"))


def exported(where):
    rows = csv.DictReader(io.StringIO(run("export", "--csv", "-", "-d", where)))
    return {row["service"]: row for row in rows}


@pytest.fixture(params=["folder", "image"])
def scanned(request, tmp_path):
    """The database of a scan, and what its paths begin with."""
    if request.param == "folder":
        target = put(tmp_path)
        prefix = f"{target}/"
    else:
        target = tmp_path / "a.wim"
        target.write_bytes(wim({f"Windows/{name}": data for name, data in FILES.items()}))
        prefix = f"{target}!1/Windows/"
    where = tmp_path / "a.db"
    run("scan", target, "--installed", "--machine", "desk", "-d", where, "--jobs", 1)
    return where, prefix, target


def test_rows_say_package_devices_and_start(scanned):
    where, prefix, _ = scanned
    found = exported(where)
    told = {
        name: (row["start"], row["published"], row["devices"], row["staged"], row["loads"] == "no")
        for name, row in found.items()
        if name
    }
    assert told == {
        "disk1": ("boot", "oem1.inf", "1", "False", True),
        "late": ("on demand", "", "", "False", True),
        "fine": ("system", "", "", "False", False),
        "spare": ("", "oem3.inf", "0", "True", True),
    }
    assert found["disk1"]["path"] == f"{prefix}System32/drivers/disk1.sys"
    assert found["disk1"]["storage"] == "True"


def test_the_line_that_people_need(scanned):
    where, prefix, _ = scanned
    first, *rest = ask(where, "installed")
    assert (first["service"], first["published"], first["start"]) == ("disk1", "oem1.inf", "boot")
    assert first["to do"] == "pnputil /delete-driver oem1.inf /uninstall"
    assert "turns it off again without a word" in first["why"]
    assert "Warning: disks hang on this driver" in first["why"]
    assert {one["service"]: one["to do"] for one in rest} == {
        "late": 'sc.exe delete "late"',
        "spare": "pnputil /delete-driver oem3.inf",
    }
    assert [one["service"] for one in ask(where, "boot")] == ["disk1"]
    (worst, *_) = ask(where, "update-first")
    assert (worst["published"], worst["starts"]) == ("oem1.inf", "boot")
    names = {one["package"] for one in ask(where, "package")}
    assert {"Maker: oem1.inf (oem1.inf)", "Maker: spare.inf (oem3.inf)"} <= names
    assert [one["service"] for one in ask(where, "package", "oem3.inf")] == ["spare"]
    (report,) = ask(where, "report", f"{prefix}System32/drivers/disk1.sys")["reports"]
    assert report["package"]["installed"]["published"] == "oem1.inf"


def test_what_is_missing_is_told(scanned):
    where, _, _ = scanned
    sentences = " | ".join(one["sentence"] for one in ask(where, "problems"))
    assert "drive E:" in sentences
    assert "1 services whose file is not there: lost" in sentences


def test_again_nothing_is_evaluated(scanned):
    where, _, target = scanned
    before = exported(where)
    again = run("scan", target, "--installed", "--machine", "desk", "-d", where, "--jobs", 1)
    assert "evaluated             0" in again
    assert "archives, programs" not in again
    kept = {name: {**row, "scan": ""} for name, row in before.items()}
    assert {name: {**row, "scan": ""} for name, row in exported(where).items()} == kept


def test_an_image_has_two_answers(tmp_path):
    """All that lies in it, and the Windows in it: neither is taken for the other."""
    target, where = tmp_path / "a.wim", tmp_path / "a.db"
    more = {"Windows/System32/drivers/unused.sys": GOOD}
    target.write_bytes(wim({f"Windows/{name}": data for name, data in FILES.items()} | more))
    plain = run("scan", target, "-d", where, "--jobs", 1)
    assert "archives, programs    1" in plain
    found = run("scan", target, "--installed", "-d", where, "--jobs", 1)
    assert "archives, programs    1" in found
    rows = ask(where, "--sql", "SELECT summary FROM result WHERE kind = 'package' ORDER BY 1")
    assert [one["summary"] for one in rows] == [
        "a Windows with 4 drivers; memory integrity: on, set in Windows Security",
        "an archive with 5 drivers",
    ]


def test_a_live_copy_without_its_logs_says_so(tmp_path):
    dirty = bytearray(FILES["System32/config/SYSTEM"])
    dirty[4] += 1
    windows = put(tmp_path, {**FILES, "System32/config/SYSTEM": bytes(dirty)})
    run("scan", windows, "--installed", "-d", tmp_path / "a.db", "--jobs", 1)
    told = ask(tmp_path / "a.db", "problems")
    assert any("transaction logs are missing" in one["sentence"] for one in told)


@pytest.mark.parametrize("name", ["empty", "none", "damaged"])
def test_what_is_no_windows_is_a_row(tmp_path, name):
    target, where = tmp_path / name, tmp_path / "a.db"
    if name == "empty":
        target.mkdir()
    elif name == "damaged":
        put(tmp_path / name, {"System32/config/SYSTEM": b"regf" + bytes(9000)})
    run("scan", target, "--installed", "-d", where, "--jobs", 1, code=4)
    (one,) = ask(where, "problems")
    assert one["path"] == str(target)
    assert one["sentence"]


def test_a_database_of_the_layout_before_is_brought_up_to_date(tmp_path):
    where, windows = tmp_path / "a.db", put(tmp_path)
    run("scan", windows, "--installed", "-d", where, "--jobs", 1)
    older = sqlite3.connect(where)
    older.executescript(
        """DROP INDEX package_published; DROP INDEX seen_package;
        ALTER TABLE package DROP COLUMN installed; ALTER TABLE package DROP COLUMN published;
        ALTER TABLE package DROP COLUMN devices; ALTER TABLE package DROP COLUMN storage;
        ALTER TABLE package DROP COLUMN staged; ALTER TABLE file DROP COLUMN touched;
        UPDATE about SET value = '2' WHERE name = 'layout';"""
    )
    older.close()
    done = CliRunner().invoke(main, ["query", "scans", "-d", str(where)])
    assert (done.exit_code, "an older layout" in done.output) == (4, True)
    run("scan", windows, "--installed", "-d", where, "--jobs", 1)
    assert exported(where)["disk1"]["published"] == "oem1.inf"
