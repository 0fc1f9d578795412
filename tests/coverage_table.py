"""The table of docs/coverage.md: each DDI of Microsoft's list, and a built driver that shows it.

    python tests/coverage_table.py        # write docs/coverage.md anew

A cell is filled only where hvci reports every marked call of the DDI in the driver rightly: at the
right place, with the right values and the right answer.
"""

import json
from pathlib import Path

from hvci import catalog
from hvci.evaluate import Options, evaluate
from hvci.model import Executable, WindowsVersion

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "coverage.md"
BUILT = Path(__file__).parent / "fixtures" / "built"
MACHINES = ("x64", "x86", "arm64")
TARGET = Options(target_os=WindowsVersion.WINDOWS_10_1607)
ANSWERS = {
    "fail": Executable.YES,
    "note": Executable.YES,
    "undecided": Executable.UNDECIDED,
    "pass": Executable.NO,
}
INTRODUCTION = """# Coverage of Microsoft's list

Every DDI of the table in Microsoft's page "Evaluate HVCI driver compatibility", with a driver of
`tests/fixtures/built` in which `hvci` reports each marked call of it rightly: place, values and
answer. "Reached" says in which ways the calls of all such drivers reach it; a number in brackets
counts those drivers. Written by `python tests/coverage_table.py`; a test keeps it true.

"""


def is_right(site, items):
    """Whether hvci reports all places of a marked site as they are."""
    ddi = catalog.ddis()[site["api"]]
    name = ddi.parameters[site["arg"]].name if isinstance(site["arg"], int) else ddi.deciding
    for place in site["at"]:
        item = items.get((place["rva"], site["api"]))
        if item is None or item.executable is not ANSWERS.get(site["verdict"], item.executable):
            return False
        value = item.call.arguments.get(name)
        if site["values"] and (value is None or value.possible != frozenset(site["values"])):
            return False
        if site["values"] and value.complete != site["complete"]:
            return False
    return True


def shown_in(path):
    """(DDI, how it is reached) of the DDIs whose marked calls in a driver are reported rightly."""
    expected = json.loads(path.read_text("utf-8"))
    sites = [site for site in expected["sites"] if site["api"] in catalog.ddis()]
    if not sites:
        return []
    report = evaluate(BUILT / expected["driver"], TARGET)
    items = {(item.call.site.rva, item.call.ddi): item for item in report.calls}
    wrong = {site["api"] for site in sites if not is_right(site, items)}
    return [
        (site["api"], str(items[place["rva"], site["api"]].call.via))
        for site in sites
        if site["api"] not in wrong
        for place in site["at"]
    ]


def gather():
    """(DDI, machine) to the drivers that show it and the ways in which it is reached there."""
    found = {}
    for machine in MACHINES:
        for path in sorted(BUILT.glob(f"*.{machine}.*expected.json")):
            for ddi, via in shown_in(path):
                drivers, ways = found.setdefault((ddi, machine), (set(), set()))
                drivers.add(path.name.replace(".expected.json", ""))
                ways.add(via)
    return found


def seeds():
    """The DDIs of Microsoft's table, in its order."""
    return [ddi for ddi in catalog.ddis().values() if ddi.seed]


def page(found):
    """The text of docs/coverage.md."""
    lines = ["| DDI | architecture | reached | driver |", "|---|---|---|---|"]
    for ddi in seeds():
        for machine in MACHINES:
            drivers, ways = found.get((ddi.name, machine), (set(), set()))
            example = f"`{min(drivers)}` ({len(drivers)})" if drivers else "none"
            lines.append(f"| {ddi.name} | {machine} | {', '.join(sorted(ways))} | {example} |")
    return INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(gather()), "utf-8", newline="\n")
