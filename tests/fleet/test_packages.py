"""A scan opens packages and archives: their drivers are rows that name package and service."""

import io
import json
import os
import sqlite3
import zipfile

import pytest
from click.testing import CliRunner

import signed as make
from build import driver, user_program
from cabinets import cabinet, installer
from fleets import rows_below as rows
from hvci.cli import main
from hvci.fleet.rules import Rules
from hvci.fleet.walk import ARCHIVE, places
from hvci.fleet.worker import Task, answered
from hvci.packages.marks import NOT_OPENED

OLD = 1_600_000_000
GOOD, BAD = driver(), driver(pool_type=0)
INF = """[Version]
Signature="$WINDOWS NT$"
Provider=Maker
Class=System
DriverVer=01/02/2024,1.2.3.4
CatalogFile=a.cat
[Manufacturer]
Maker=Models,NTamd64
[Models.NTamd64]
Device=Install,PCI\\VEN_1&DEV_2
[Install.Services]
AddService=Svc,2,Service
[Service]
ServiceType=1
StartType=0
ServiceBinary=%12%\\a.sys
[SourceDisksFiles]
a.sys=1,bin
"""
CATALOG = make.catalog([make.authentihash(BAD)], make.vendor())
FILES = {"a.inf": INF.encode(), "bin/a.sys": BAD, "a.cat": CATALOG}


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def put(top, files):
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
        os.utime(top / name, (OLD, OLD))
    return top


def run(*args, code=0):
    done = CliRunner().invoke(main, ["scan", *map(str, args), "--jobs", "1"])
    assert done.exit_code == code, done.output
    return done.output


def ask(where, *words):
    done = CliRunner().invoke(main, ["query", *words, "-d", str(where), "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_a_package_and_archives_and_copies_of_them(tmp_path):
    top, where = tmp_path / "in", tmp_path / "a.db"
    archive = zipped([*((f"p/{name}", data) for name, data in FILES.items()), ("good.bin", GOOD)])
    put(top, {f"p/{name}": data for name, data in FILES.items()})
    put(top, {"x.zip": archive, "y/nested.whl": zipped([("in.zip", archive)])})
    run(top, "-d", where)
    driven = ("report", "incompatible", "other", "Svc", None)
    found = rows(where, top)
    assert found == {
        "p/bin/a.sys": driven,
        "x.zip": ("package", "-", "-", None, None),
        "x.zip!p/bin/a.sys": driven,
        "x.zip!good.bin": ("report", "compatible", "none", None, None),
        "y/nested.whl": ("package", "-", "-", None, None),
        "y/nested.whl!in.zip!p/bin/a.sys": driven,
        "y/nested.whl!in.zip!good.bin": ("report", "compatible", "none", None, None),
    }
    again = run(top, "-d", where)
    assert "evaluated             0" in again
    assert "archives, programs" not in again
    assert rows(where, top) == found
    copy = put(tmp_path / "copy", {"z.zip": archive})
    assert "archives, programs" not in run(copy, "-d", where)
    assert rows(where, copy)["z.zip!p/bin/a.sys"] == driven


@pytest.mark.parametrize("bound", ["--isolate", "--no-isolate"])
@pytest.mark.parametrize("form", ["7zip", "iso9660"])
def test_archives_of_a_native_library(tmp_path, form, bound):
    """A process that may start no program has to be told where the library is."""
    libarchive = pytest.importorskip("libarchive")
    parts = []
    with libarchive.custom_writer(lambda data: parts.append(bytes(data)) or len(data), form) as out:
        out.add_file_from_memory("good.sys", len(GOOD), GOOD)
    put(tmp_path, {"x.bin": b"".join(parts)})
    run(tmp_path / "x.bin", bound, "-d", tmp_path / "a.db")
    found = rows(tmp_path / "a.db", tmp_path)
    assert found["x.bin"][4] is None
    assert {name.lower() for name in found} == {"x.bin", "x.bin!good.sys"}


def test_questions_know_packages(tmp_path):
    where = tmp_path / "a.db"
    run(put(tmp_path / "in", FILES), "-d", where)
    (one,) = ask(where, "boot")
    assert (one["service"], one["start"], one["provider"]) == ("Svc", "boot", "Maker")
    (one,) = ask(where, "package")
    assert (one["package"], one["incompatible"]) == (f"Maker: {tmp_path / 'in' / 'a.inf'}", 1)
    assert [each["path"] for each in ask(where, "package", "a.inf")] == [
        str(tmp_path / "in" / "bin" / "a.sys")
    ]
    (report,) = ask(where, "report", "a.sys")["reports"]
    assert report["package"]["ids"] == ["PCI\\VEN_1&DEV_2"]
    assert ask(where, "not-judged") == []


def test_a_catalog_that_came_later_counts(tmp_path):
    top, where = put(tmp_path / "in", FILES), tmp_path / "a.db"
    (top / "a.cat").unlink()
    run(top, "-d", where)
    assert rows(where, top)["bin/a.sys"][2] == "none"
    put(top, {"a.cat": CATALOG})
    run(top, "-d", where)
    assert rows(where, top)["bin/a.sys"][2] == "other"
    (top / "a.cat").unlink()
    assert "evaluated             0" in run(top, "-d", where)
    assert rows(where, top)["bin/a.sys"][2] == "none"


def test_a_catalog_of_the_command_line_counts(tmp_path):
    put(tmp_path, {"b.sys": BAD, "c/one.cat": CATALOG})
    for given in ("c", "c/one.cat"):
        run(tmp_path / "b.sys", "--catalog", tmp_path / given, "-d", tmp_path / f"{given[-1]}.db")
        (row,) = rows(tmp_path / f"{given[-1]}.db", tmp_path).values()
        assert row[2] == "other"


def test_what_is_wrong_with_a_package_is_a_row(tmp_path):
    where = tmp_path / "a.db"
    top = put(
        tmp_path / "in",
        {
            "lost.inf": INF.encode(),
            "none.inf": b"[Defines]\nX=1\n",
            "quiet.inf": b"[Version]\nSignature=x\n",
            "cut.zip": zipped([("a.sys", GOOD)])[:-30],
            "twice.zip": zipped([("a.sys", GOOD), ("b.txt", b"x")]),
            "note.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        },
    )
    run(top, "-d", where)
    found = rows(where, top)
    assert found["lost.inf"][4] == "service Svc: a.sys is not in the package"
    assert "no INF of a driver" in found["none.inf"][4]
    assert "the archive cannot be read" in found["cut.zip"][4]
    assert set(found) == {"lost.inf", "none.inf", "cut.zip", "twice.zip", "twice.zip!a.sys"}
    assert "archives, programs" not in run(top, "-d", where)
    assert rows(where, top) == found  # what is wrong with an archive is known by its content
    copy = put(tmp_path / "copy", {"cut.zip": (top / "cut.zip").read_bytes()})
    run(copy, "-d", where, code=4)
    assert rows(where, copy)["cut.zip"] == found["cut.zip"]


def test_a_cabinet_beside_an_installer_that_comes_or_changes_counts(tmp_path):
    """What an installer holds depends on it, and the installer itself stays the same."""
    top, where = tmp_path / "in", tmp_path / "a.db"
    put(top, {"x.msi": installer({"k": ("p/a.sys", GOOD)}, outside="more.cab")})
    row = "x.msi!more.cab!p/a.sys"
    run(top, "-d", where)
    assert row not in rows(where, top)
    for data, verdict in ((GOOD, "compatible"), (BAD, "incompatible")):
        put(top, {"more.cab": cabinet({"k": data})})
        os.utime(top / "more.cab", ns=(1, len(verdict)))
        run(top, "-d", where)
        assert rows(where, top)[row][1] == verdict
        assert rows(where, top)["x.msi"][4] is None
    assert "evaluated             0" in run(top, "-d", where)
    (top / "more.cab").unlink()
    run(top, "-d", where)
    assert row not in rows(where, top)


def test_members_of_one_name_are_told_apart(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([("a.sys", GOOD), ("a.sys", BAD)])
    put(tmp_path, {"x.zip": data})
    run(tmp_path / "x.zip", "-d", tmp_path / "a.db")
    found = rows(tmp_path / "a.db", tmp_path)
    assert found["x.zip!a.sys"][1] == "compatible"
    assert found["x.zip!a.sys#2"][1] == "incompatible"


def test_a_member_that_cannot_be_read_hides_none_of_its_name(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = bytearray(zipped([("a.sys", GOOD), ("a.sys", BAD), ("a.sys", GOOD)]))
    data[data.index(b"a.sys", 100) + 200] ^= 0xFF
    put(tmp_path, {"x.zip": data})
    run(tmp_path / "x.zip", "-d", tmp_path / "a.db")
    found = {name: row[1] for name, row in rows(tmp_path / "a.db", tmp_path).items()}
    unread = found.pop("x.zip!a.sys#unread")
    assert unread is None
    assert found == {
        "x.zip": "-",
        "x.zip!a.sys": "compatible",
        "x.zip!a.sys#2": "compatible",
    }


def test_what_could_not_be_read_is_one_row_however_it_was_met(tmp_path):
    """A scan that was killed knows the archive already; its rows are those of a calm one."""
    data = bytearray(zipped([("a.sys", GOOD), ("b.sys", BAD)]))
    data[data.index(b"a.sys") + 200] ^= 0xFF
    where = tmp_path / "a.db"
    put(tmp_path / "in", {"x.zip": data, "y.zip": data})
    run(tmp_path / "in" / "x.zip", "-d", where)
    run(tmp_path / "in" / "y.zip", "-d", where)
    with sqlite3.connect(where) as connection:
        query = "SELECT substr(path, -11), size, changed, inode, sha256 FROM file ORDER BY path"
        rows = connection.execute(query).fetchall()
    first = [row[1:] for row in rows if row[0].startswith("x.zip!")]
    second = [row[1:] for row in rows if row[0].startswith("y.zip!")]
    assert len(first) == 2
    assert first == second


def test_an_archive_that_changed_since_it_was_named_is_not_taken_for_the_one_before(tmp_path):
    """What is in it would be kept as what is in the other."""
    path = put(tmp_path, {"x.zip": zipped([("a.sys", GOOD)])}) / "x.zip"
    status = path.stat()
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    task = Task(str(path), "0" * 64, 9, ARCHIVE, scratch=str(tmp_path / "s"), stamp=stamp)
    assert len(answered(task, Rules()).inside) == 1
    put(tmp_path, {"x.zip": zipped([("a.sys", BAD)])})
    told = answered(task, Rules())
    assert (told.inside, told.problem.kind) == ((), "changed")


def test_an_inf_that_is_named_stands_for_its_drivers(tmp_path):
    put(tmp_path, FILES)
    run(tmp_path / "a.inf", "-d", tmp_path / "a.db")
    assert rows(tmp_path / "a.db", tmp_path) == {
        "bin/a.sys": ("report", "incompatible", "other", "Svc", None)
    }
    (tmp_path / "bin" / "a.sys").unlink()
    (lost,) = places([str(tmp_path / "a.inf")])
    assert (lost.kind, lost.sentence) == ("package", "service Svc: a.sys is not in the package")


def test_a_library_that_is_missing_is_not_remembered(tmp_path, monkeypatch):
    """Once it is there, the same command opens what it could not before."""
    from hvci.fleet.boxes import Boxes
    from hvci.fleet.content import Content
    from hvci.fleet.rows import package_row
    from hvci.fleet.rules import Rules
    from hvci.fleet.walk import Place
    from hvci.fleet.worker import Answer, Shut

    boxes = Boxes(tmp_path, Rules())
    answer = Answer(package_row("a", 1, ""), shut=(Shut("", "needs a library", False),))
    content = Content(Place("x.7z", 1, 1, 1), "a", True)
    inside, settled = boxes.put(content, answer, boxes.folder())
    (met,) = settled
    assert (inside, met.sha256, met.problem.sentence) == ([], None, "needs a library")


def test_a_database_of_the_layout_before_is_brought_up_to_date(tmp_path):
    where = tmp_path / "a.db"
    put(tmp_path, {"b.sys": BAD})
    run(tmp_path / "b.sys", "-d", where)
    older = sqlite3.connect(where)
    older.executescript(
        """ALTER TABLE file DROP COLUMN touched;
        CREATE TABLE kept AS SELECT scan_id, file_id, result_id, problem, sentence FROM seen;
        DROP TABLE seen; DROP TABLE member; DROP TABLE package;
        CREATE TABLE seen (scan_id INTEGER NOT NULL, file_id INTEGER NOT NULL, result_id INTEGER,
            problem TEXT, sentence TEXT, PRIMARY KEY (scan_id, file_id)) WITHOUT ROWID;
        INSERT INTO seen SELECT * FROM kept; DROP TABLE kept;
        UPDATE about SET value = '1' WHERE name = 'layout';"""
    )
    older.close()
    told = CliRunner().invoke(main, ["query", "scans", "-d", str(where)])
    assert (told.exit_code, "an older layout" in told.output) == (4, True)
    assert "known by content      1" in run(tmp_path / "b.sys", "-d", where)
    assert "unchanged             1" in run(tmp_path / "b.sys", "-d", where)
    assert rows(where, tmp_path)["b.sys"][1] == "incompatible"


def test_an_installer_that_is_not_opened_is_named(tmp_path):
    put(
        tmp_path,
        {"setup.exe": user_program(overlay=bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst")},
    )
    run(tmp_path / "setup.exe", "-d", tmp_path / "a.db", code=4)
    (one,) = ask(tmp_path / "a.db", "problems")
    assert "an NSIS installer, which hvci does not open" in one["sentence"]


def test_equal_bytes_under_the_name_of_a_driver_and_of_an_archive(tmp_path):
    """What is called .sys is judged as a driver; the archive is opened all the same."""
    data, program = zipped([("in.sys", BAD)]), user_program() + BAD
    top, where = tmp_path / "in", tmp_path / "a.db"
    put(top, {"a.sys": data, "b.zip": data, "c.sys": program, "d.exe": program})
    run(top, "-d", where)
    inside = f"d.exe!driver at {len(program) - len(BAD):#x}"
    found = {name: row[:2] for name, row in rows(where, top).items()}
    assert found == {
        "a.sys": ("NotAnImage", "-"),
        "b.zip": ("package", "-"),
        "b.zip!in.sys": ("report", "incompatible"),
        "c.sys": ("UnsupportedImage", "-"),
        "d.exe": ("package", "-"),
        inside: ("report", "incompatible"),
    }
    assert "unchanged             6" in run(top, "-d", where)


def test_programs_of_a_folder_are_looked_into(tmp_path):
    """A driver in a tool is a row; so is a program without one, which is not read again."""
    top, where = tmp_path / "in", tmp_path / "a.db"
    program = user_program()
    put(top, {"tool.exe": program + BAD, "other.exe": program, "a.doc": b"\xd0\xcf\x11\xe0" * 99})
    put(top, {"setup.exe": program + b"ISSetupStream", "old/a.sy_": b"SZDD\x88\xf0\x27\x33A_"})
    put(top, {"disk.vhdx": b"vhdxfile" + bytes(600), "old.img": bytes(510) + b"\x55\xaa"})
    run(top, "-d", where)
    found = rows(where, top)
    inside = f"tool.exe!driver at {len(program):#x}"
    assert found.pop(inside)[:2] == ("report", "incompatible")
    assert {name: row[4] for name, row in found.items()} == {
        "tool.exe": None,
        "other.exe": None,
        "setup.exe": "an InstallShield installer, which hvci does not open: "
        "extract it and check the folder",
        "disk.vhdx": NOT_OPENED["disk"],
        "old.img": NOT_OPENED["disk"],
        "old/a.sy_": "packed by an old compress.exe, which hvci does not open: run expand on it",
    }
    shown = CliRunner().invoke(main, ["check", str(top), "--no-config", "-f", "json"])
    document = json.loads(shown.stdout)
    assert [one["target"]["path"] for one in document["reports"]] == [f"{top}/{inside}"]
    lost = ("old/a.sy_", "setup.exe", "disk.vhdx", "old.img")
    assert {one["path"] for one in document["errors"]} == {f"{top}/{name}" for name in lost}
