"""Reads every INF of a folder and tells what in it was not understood.

python bench/packages.py FOLDER...

One line for each folder in FOLDER: INFs, those that are none of a driver, kernel services, binaries
found where the INF says, and directives that no documented list names.
"""

import sys
from collections import Counter
from pathlib import Path

from hvci.errors import InputError
from hvci.packages.inf import read_inf
from hvci.packages.inf_text import InfText

VERSION = [
    "signature",
    "class",
    "classguid",
    "provider",
    "extensionid",
    "layoutfile",
    "catalogfile",
    "driverver",
    "pnplockdown",
    "driverpackagedisplayname",
    "driverpackagetype",
    "targetcomputers",
    "inherit",
    "advancedinf",
    "compatible",
    "legacyclass",
    "setupclass",
]
INSTALL = [
    "copyfiles",
    "delfiles",
    "renfiles",
    "addreg",
    "delreg",
    "bitreg",
    "include",
    "needs",
    "profileitems",
    "delproperty",
    "addproperty",
    "driverver",
    "reboot",
    "copyinf",
    "updateinis",
    "updateinifields",
    "ini2reg",
    "logconfig",
    "featurescore",
    "registerdlls",
    "unregisterdlls",
    "modelsection",
    "addpowersetting",
    "rebootifneeded",
    "promptforport",
    "addfilter",
    "characteristics",
    "coinstallers32",
    "excludefromselect",
    "excludeid",
    "requiredcapability",
    "reservename",
    "addinterface",
    "addservice",
    "delservice",
    "addcomponent",
    "addsoftware",
    "addeventprovider",
    "addautologger",
    "updateautologger",
    "addcomserver",
    "kmdfservice",
    "umdfservice",
    "umdfserviceorder",
    "umdfhostprocesssharing",
    "umdfdispatcher",
    "umdfimpersonationlevel",
    "umdfmethodneitheraction",
    "umdfkernelmodeclientpolicy",
    "umdffilecobjectpolicy",
    "umdfdriverpipelinename",
    "umdffileobjectpolicy",
    "umdffsdirectory",
    "legacyupdatable",
    "defaultdestdir",
    "bustype",
    "uninstallsection",
    "ndi-xreg",
    "*iftype",
    "*mediatype",
    "*physicalmediatype",
    "port1functionnumber",
    "port1devicenumber",
    "optiondesc",
]
SERVICE = [
    "displayname",
    "description",
    "servicetype",
    "starttype",
    "errorcontrol",
    "servicebinary",
    "startname",
    "loadordergroup",
    "dependencies",
    "addreg",
    "delreg",
    "bitreg",
    "security",
    "servicesid",
    "requiredprivileges",
    "delayedautostart",
    "addtrigger",
    "umdflibraryversion",
    "sidtype",
    "servicesidtype",
    "failureactions",
    "startparameters",
]


def unknown(text):
    """Keys in the sections that are followed, that no list has."""
    sections = dict.fromkeys(text.names, "")
    for name in sections:
        known = None
        keys = {line.key.lower() for line in text.lines(name) if line.key}
        if name == "version":
            known = VERSION
        elif name.endswith(".services"):
            known = INSTALL
        elif "servicebinary" in keys:
            known = SERVICE
        elif keys & {"copyfiles", "addservice"} or ("addreg" in keys and "include" in keys):
            known = INSTALL
        for key in keys if known else ():
            base = key.partition(".")[0]
            if base not in known and not base.startswith("catalogfile"):
                yield key


def survey(folder):
    count, odd = Counter(), Counter()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".inf", ".inx") or not path.is_file():
            continue
        count["infs"] += 1
        try:
            data = path.read_bytes()
            inf = read_inf(data)
        except InputError as error:
            count["refused"] += 1
            print(f"  {path.relative_to(folder)}: {error}")
            continue
        odd.update(unknown(InfText(data)))
        count["services"] += len(inf.services)
        count["problems"] += len(inf.problems)
        for problem in inf.problems:
            print(f"  {path.relative_to(folder)}: {problem}")
        count["without services"] += not inf.services
        there = {
            each.relative_to(path.parent).as_posix().lower() for each in path.parent.rglob("*")
        }
        for service in inf.services:
            found = any(source.lower() in there for source in service.sources)
            count["binaries found" if found else "binaries not there"] += 1
    return count, odd


if __name__ == "__main__":
    for word in sys.argv[1:]:
        for folder in sorted(each for each in Path(word).iterdir() if each.is_dir()):
            count, odd = survey(folder)
            print(f"{folder.name}: {dict(count)}; unknown directives {dict(odd.most_common(12))}")
