"""Damages archives, INFs and Windows folders at random: each is a row and nothing escapes.

python bench/damage.py 20000 [SEED]

Valid ones of every kind are made first; each case changes, cuts or doubles some bytes of one. Of a
Windows folder that is a hive, a transaction log, a published INF or the event log; it is checked
and scanned. An error of ours, a case without an answer, or a file outside the scratch folder ends
the run.
"""

import io
import random
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import wims
from build import driver
from cabinets import cabinet, compound, installer
from eventfiles import evtx
from eventfiles import hvci as refused_by_hvci
from hives import hive, log
from hvci.cli.installed import look
from hvci.evaluate import Options
from hvci.fleet.rules import Rules
from hvci.fleet.walk import ARCHIVE, WINDOWS, Problem, places
from hvci.fleet.windows import windows_places
from hvci.fleet.worker import Task, answered

INF = """[Version]
Signature="$WINDOWS NT$"
Provider=%Maker%
DriverVer=01/02/2024,1.2.3.4
CatalogFile=a.cat
[Manufacturer]
Maker=Models,NTamd64,NTarm64.10.0
[Models.NTamd64]
Device=Install,PCI\\VEN_1
[Install]
CopyFiles=Files
[Install.Services]
AddService=A,2,Service
[Service]
ServiceType=1
StartType=0
ServiceBinary=%12%\\a.sys
[Files]
a.sys,b.sys
[SourceDisksFiles]
b.sys=1,bin
[SourceDisksNames]
1=Disk,,,\\x
[Strings]
Maker="M"
"""
SYSTEM = {
    "Select": {"Current": 1},
    "ControlSet001": {
        "Services": {
            f"s{n}": {"Type": 1, "Start": n % 5, "ImagePath": f"system32\\drivers\\s{n}.sys"}
            for n in range(12)
        },
        "Enum": {"PCI": {"VEN": {"0": {"Service": "s1"}}}},
    },
    "DriverDatabase": {"DriverInfFiles": {"oem1.inf": {"": ["a.inf_amd64_1"]}}},
}
SOFTWARE = {"Microsoft": {"Windows NT": {"CurrentVersion": {"SystemRoot": "C:\\Windows"}}}}
BEFORE = {**SYSTEM, "ControlSet001": {"Services": {}}}
STORE = "System32/DriverStore/FileRepository/a.inf_amd64_1"
EVENTS = "System32/winevt/Logs/Microsoft-Windows-CodeIntegrity%4Operational.evtx"
OLD, NEW = hive(SYSTEM, (2, 1)), hive(SYSTEM)
HIVE = "System32/config/SYSTEM"
FILES = {
    HIVE: NEW,
    f"{HIVE}.LOG1": log(OLD, NEW, 1),
    "System32/config/SOFTWARE": hive(SOFTWARE),
    "System32/config/DRIVERS": hive({"DriverDatabase": SYSTEM["DriverDatabase"]}),
    "System32/drivers/s1.sys": driver(section_alignment=0x80),
    "System32/drivers/s5.sys": driver(),
    "INF/oem1.inf": INF.encode("utf-16"),
    f"{STORE}/a.inf": INF.encode(),
    f"{STORE}/x/bin/b.sys": driver(pool_type=0),
    EVENTS: evtx([refused_by_hvci("s1.sys")]),
}
DAMAGED = (HIVE, f"{HIVE}.LOG1", "System32/config/SOFTWARE", "INF/oem1.inf", EVENTS)


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def by_libarchive(files, form):
    import libarchive

    parts = []
    with libarchive.custom_writer(lambda data: parts.append(bytes(data)) or len(data), form) as out:
        for name, data in files.items():
            out.add_file_from_memory(name, len(data), data)
    return b"".join(parts)


def valid():
    """Suffix and bytes of one of every kind."""
    files = {"p/a.inf": INF.encode(), "p/bin/b.sys": driver(), "../up.sys": driver("x86")}
    yield ".zip", zipped(files)
    yield ".zip", zipped({"in.cab": cabinet(files), "in.tgz": tarred(files, "w:gz")})
    yield ".tar", tarred(files)
    yield ".tar.gz", tarred(files, "w:gz")
    yield ".tar.xz", tarred(files, "w:xz")
    yield ".cab", cabinet(files)
    yield ".cab", cabinet(files, zipped=False)
    yield ".msi", compound({"table": b"x", "data": cabinet(files)})
    yield ".wim", wims.wim(files)
    yield ".wim", wims.wim(files, "xpress")
    keyed = {f"k{number}": file for number, file in enumerate(files.items())}
    yield ".msi", installer(keyed)
    yield "windows.wim", wims.wim({f"Windows/{name}": data for name, data in FILES.items()})
    yield ".7z", by_libarchive(files, "7zip")
    yield ".iso", by_libarchive(files, "iso9660")
    yield ".inf", INF.encode()
    yield ".inf", INF.encode("utf-16")
    for name in DAMAGED:
        yield name, OLD if name.endswith(".LOG1") else FILES[name]


def damaged(data, chance):
    found = bytearray(data)
    for _ in range(chance.choice((1, 2, 8, 40))):
        place = chance.randrange(len(found))
        match chance.randrange(4):
            case 0 | 1:
                found[place] = chance.randrange(256)
            case 2:
                found[place : place + chance.randrange(9)] = b""
            case 3:
                found[place:place] = found[place : place + chance.randrange(64)]
        if not found:
            return b"x"
    if chance.random() < 0.15:
        del found[chance.randrange(1, len(found) + 1) :]
    return bytes(found)


def row(path, suffix, scratch):
    """What became of a case, in one word; raises where it is an error of ours."""
    if suffix in DAMAGED:
        return of_folder(path.parents[len(Path(suffix).parts) - 1])
    if suffix == ".inf":
        (found, *_) = places([str(path)])
        return type(found).__name__
    kind = WINDOWS if suffix == "windows.wim" else ARCHIVE
    answer = answered(Task(str(path), "0" * 64, 1, kind, scratch=str(scratch)), Rules())
    if answer.problem is not None:
        return answer.problem.kind
    if answer.row is None or answer.row.columns["kind"] == "InternalError":
        raise AssertionError(answer.row and answer.row.columns["summary"])
    return f"opened, {'some' if answer.shut else 'nothing'} refused"


def of_folder(windows):
    """The drivers of a Windows folder, checked and scanned."""
    document = look([str(windows)], Options())
    ours = [one for one in document.errors if one.kind == "InternalError"]
    if ours or not (document.reports or document.errors or document.notices):
        raise AssertionError(ours)
    rows = list(windows_places(str(windows)))
    problems = sum(isinstance(one, Problem) for one in rows)
    return f"{len(rows) - problems} drivers, {'some' if problems else 'no'} problems"


def place(folder, suffix, data):
    """The files of a case; gives the damaged one."""
    if suffix not in DAMAGED:
        path = folder / f"x{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path
    files = {**FILES, suffix: data}
    if suffix.endswith(".LOG1"):
        files[HIVE] = OLD
    for name, content in files.items():
        path = folder / "Windows" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "Windows" / suffix


def run(number, seed):
    chance, kinds, told = random.Random(seed), list(valid()), Counter()
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for case in range(number):
            suffix, data = kinds[case % len(kinds)]
            folder, scratch = top / "cases", top / "scratch"
            path = place(folder, suffix, damaged(data, chance))
            try:
                told[suffix, row(path, suffix, scratch)] += 1
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"damage{Path(suffix).name}"
                shutil.copy(path, kept)
                print(f"case {case}: {type(error).__name__}: {error}; kept as {kept}")
                raise
            here = {each.name for each in top.iterdir()} | {each.name for each in folder.iterdir()}
            assert here <= {"cases", "scratch", path.name, "Windows"}, here
            kept = [each.name[:-4].replace("-", "") for each in scratch.rglob("*")]
            assert all(name.isdigit() for name in kept), "a name escaped"
            shutil.rmtree(folder)
            shutil.rmtree(scratch, ignore_errors=True)
    for (suffix, word), count in sorted(told.items()):
        print(f"{Path(suffix).name[-20:]:20} {word:60} {count}")
    rows = sum(told.values())
    print(f"{number} cases, {rows} rows, {time.process_time() - begin:.0f} CPU s")


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
