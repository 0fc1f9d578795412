"""Damages archives, INFs and hives at random and shows that each is a row and nothing escapes.

python bench/damage.py 20000 [SEED]

Valid ones of every kind are made first; each case changes, cuts or doubles some bytes of one. An
error of ours, a case without an answer, or a file outside the scratch folder ends the run.
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
from cabinets import cabinet, compound
from hives import hive
from hvci.errors import InputError
from hvci.fleet.rules import Rules
from hvci.fleet.walk import ARCHIVE, places
from hvci.fleet.worker import Task, answered
from hvci.installed.drivers import Windows
from hvci.installed.tree import of_windows

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
HIVE = hive(
    {
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
)


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
    yield ".7z", by_libarchive(files, "7zip")
    yield ".iso", by_libarchive(files, "iso9660")
    yield ".inf", INF.encode()
    yield ".inf", INF.encode("utf-16")
    yield "hive", HIVE


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
    if suffix == "hive":
        try:
            found = of_windows(path.parent.parent.parent)
            return f"{len(list(Windows(*found).drivers()))} drivers" if found else "no hive"
        except InputError as error:
            return f"refused: {str(error)[:40]}"
    if suffix == ".inf":
        (found, *_) = places([str(path)])
        return type(found).__name__
    answer = answered(Task(str(path), "0" * 64, 1, ARCHIVE, scratch=str(scratch)), Rules())
    if answer.problem is not None:
        return answer.problem.kind
    if answer.row is None or answer.row.columns["kind"] == "InternalError":
        raise AssertionError(answer.row and answer.row.columns["summary"])
    return f"opened, {'some' if answer.shut else 'nothing'} refused"


def run(number, seed):
    chance, kinds, told = random.Random(seed), list(valid()), Counter()
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for case in range(number):
            suffix, data = kinds[case % len(kinds)]
            folder, scratch = top / "cases", top / "scratch"
            path = folder / f"x{suffix}"
            if suffix == "hive":
                path = folder / "Windows/System32/config/SYSTEM"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(damaged(data, chance))
            try:
                told[suffix, row(path, suffix, scratch)] += 1
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"damage{suffix}"
                shutil.copy(path, kept)
                print(f"case {case}: {type(error).__name__}: {error}; kept as {kept}")
                raise
            here = {each.name for each in top.iterdir()} | {each.name for each in folder.iterdir()}
            assert here <= {"cases", "scratch", path.name, "Windows"}, here
            assert all(each.name[:-4].isdigit() for each in scratch.rglob("*")), "a name escaped"
            shutil.rmtree(folder)
            shutil.rmtree(scratch, ignore_errors=True)
    for (suffix, word), count in sorted(told.items()):
        print(f"{suffix:8} {word:60} {count}")
    rows = sum(told.values())
    print(f"{number} cases, {rows} rows, {time.process_time() - begin:.0f} CPU s")


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
