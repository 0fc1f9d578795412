"""Compares what JSON, CSV, SARIF, HTML, Markdown and text say of many drivers.

    python bench/outputs.py FOLDER

Evaluates the drivers below a folder, renders one document in each format, reads the formats back
with nothing of hvci, and compares them with the JSON: the table, the counters, how many findings
of each rule there are. Exit code 1 when anything differs.
"""

import argparse
import csv
import io
import json
import re
import sys
from collections import Counter
from html import unescape
from pathlib import Path

from hvci.cli.gather import gather
from hvci.evaluate import Options
from hvci.report import Format, render
from hvci.report.text import Style

SHORT = {
    "execute_pool_type": "pool",
    "execute_page_protection": "protection",
    "execute_page_mapping": "mapping",
    "execute_write_section": "W+X section",
    "section_alignment_failures": "alignment",
    "unsupported_relocs": "relocations",
    "iat_in_executable_section": "IAT in code",
}
_ROW_OF_HTML = re.compile(r'<tr class="f\d[^"]*">(.*?)</tr>')
_CELL, _MARKUP = re.compile(r"<td>(.*?)</td>"), re.compile(r"<[^>]+>")
_ARTICLE = re.compile(r'<article id="t(\d+)">(.*?)</article>', re.DOTALL)


def plain(markup):
    """Text of a piece of HTML."""
    return unescape(_MARKUP.sub("", markup)).strip()


def expected(data):
    """The table as JSON has it: path -> machine, answers, counters, gate."""
    made = {}
    for row in data["overview"]["worst_first"]:
        if row["report"] is None:
            continue
        one = data["reports"][row["report"]]
        answers = [one["answers"][name] or "not asked" for name in ("loads", "readiness", "runs")]
        if one["answers"]["image_check"] == "yes" and answers[0] == "undecided":
            answers[0] = "if signed"
        counted = ", ".join(f"{SHORT[name]} {n}" for name, n in row["counters"].items())
        made[row["path"]] = [row["machine"], *answers, counted or "-", one["gate"]]
    return made


def table_of_text(text):
    rows = (re.split(r" {2,}", line) for line in text.splitlines()[1:])
    return {cells[0]: cells[1:] for cells in rows if len(cells) == 7 and cells[1] != "-"}


def table_of_html(page):
    rows = ([plain(cell) for cell in _CELL.findall(row)] for row in _ROW_OF_HTML.findall(page))
    return {cells[0]: cells[1:] for cells in rows if cells[1] != "-"}


def table_of_markdown(text):
    rows = ([plain(cell) for cell in line.split("|")[1:-1]] for line in text.splitlines())
    return {cells[0]: cells[1:] for cells in rows if len(cells) == 7 and cells[3] in WORDS}


WORDS = ("yes", "no", "undecided", "not asked")


def counters_of_html(page):
    """Path by index -> the seven counters of its article."""
    found = {}
    for index, body in _ARTICLE.findall(page):
        table = body.partition('aria-label="Counters"')[2].partition("</table>")[0]
        found[int(index)] = [int(plain(cell)) for cell in _CELL.findall(table)[1::2]]
    return found


def counters_of_text(text):
    """Path -> the seven counters, from the full text."""
    found, path = {}, ""
    for line in text.splitlines():
        if (head := re.match(r"(\S.*\.sys): ", line)) and not line.startswith("  "):
            path = head[1]
        if counter := re.match(r"  [A-Z][\w -]+(?: Count|Failures):\s+(\d+)$", line):
            found.setdefault(path, []).append(int(counter[1]))
    return found


def compare(data, rendered, verbose):
    """What differs from JSON, as lines."""
    wanted, differ = expected(data), []
    tables = {
        "text": table_of_text(rendered[Format.TEXT]),
        "html": table_of_html(rendered[Format.HTML]),
        "markdown": table_of_markdown(rendered[Format.MARKDOWN]),
    }
    for name, table in tables.items():
        whole = name == "markdown" or set(table) == set(wanted)  # Markdown is cut to fit a comment
        differ += [] if whole else [f"{name}: {len(table)} of {len(wanted)} rows"]
        differ += [
            f"{name} {path}: {cells}" for path, cells in table.items() if cells != wanted[path]
        ]
        print(f"{name}: {len(table)} rows of the table")
    html, text = counters_of_html(rendered[Format.HTML]), counters_of_text(verbose)
    rows = list(csv.DictReader(io.StringIO(rendered[Format.CSV])))
    (run,) = json.loads(rendered[Format.SARIF])["runs"]
    in_csv = Counter((row["target"], row["rule"]) for row in rows if row["rule"])
    uri = {art["location"]["uri"]: art["properties"] for art in run["artifacts"]}
    for index, one in enumerate(data["reports"]):
        path, counts = one["target"]["path"], list(one["counters"].values())
        if html.get(index, counts) != counts or text.get(path, counts) != counts:
            differ.append(f"counters {path}: {counts}, {html.get(index)}, {text.get(path)}")
        for rule in one["rules"]:
            if in_csv[path, rule["id"]] != len(rule["findings"]):
                differ.append(f"csv {path} {rule['id']}: {in_csv[path, rule['id']]} findings")
        mine = next((told for name, told in uri.items() if name.endswith(Path(path).name)), None)
        same = mine and (mine["counters"], mine["summary"]) == (one["counters"], one["summary"])
        differ += [] if same else [f"sarif {path}: {mine}"]
    by_path = {one["target"]["path"]: one for one in data["reports"]}
    for row in rows:
        one = by_path.get(row["target"])
        for name in ("loads", "readiness", "runs", "image_check") if one else ():
            if (row[name] or None) != one["answers"][name]:
                differ.append(f"csv {row['target']}: {name} is {row[name]}")
    return differ


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    document = gather((parser.parse_args().folder,), Options(excerpts=True))
    forms = (Format.JSON, Format.CSV, Format.SARIF, Format.HTML, Format.MARKDOWN, Format.TEXT)
    rendered = {form: render(document, form) for form in forms}
    verbose = render(document, Format.TEXT, Style(verbose=True))
    differ = compare(json.loads(rendered[Format.JSON]), rendered, verbose)
    print(f"{len(document.reports)} drivers, {len(differ)} differences", *differ[:20], sep="\n  ")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
