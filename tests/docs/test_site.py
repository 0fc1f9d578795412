"""The documentation builds, no link in it is broken, and the commands in it do what it says.

`python tests/docs/test_site.py` writes the example of the README anew.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import click
import pytest

from hvci.cli import main
from hvci.evaluate import Options, evaluate
from hvci.model import Counter
from hvci.report import Document, Format, render
from hvci.rules import RULES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.anchors |= {names.get("id"), names.get("name")}
        self.links += [names[key] for key in ("href", "src") if names.get(key)]


def test_no_link_of_the_built_site_is_broken(site):
    pages = {path: Links(path) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for page, found in pages.items():
        for link in found.links:
            url = urlparse(link)
            if url.scheme or url.netloc:
                continue
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            if target.is_dir():
                target /= "index.html"
            lost = not target.exists()
            if target in pages and url.fragment and not lost:
                lost = url.fragment not in pages[target].anchors
            if lost:
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_every_rule_has_its_page(site):
    for rule in RULES:
        text = (site / "rules" / f"{rule}.html").read_text()
        assert "Why." in text
        assert "Fix." in text


def test_every_rule_that_decides_belongs_to_a_criterion(site):
    text = (site / "criteria.html").read_text()
    for rule in RULES.values():
        if rule.questions:
            assert f'href="rules/{rule.id}.html"' in text, f"{rule.id}: CRITERIA of docs/hooks.py"


def test_every_counter_and_bug_check_is_explained():
    text = (ROOT / "docs/failures.md").read_text()
    for counter in Counter:
        assert f"## {counter.hlk_name}" in text
        if counter.subcode:
            assert f"`{counter.subcode:#x}`" in text
    assert "## Bug check 0xBE" in text
    assert "## Bug check 0xFC" in text


def test_every_format_is_explained():
    text = (ROOT / "docs/outputs.md").read_text()
    for form in Format:
        assert f"| `{form}` |" in text


def documents():
    yield from (ROOT / "docs").glob("*.md")
    yield ROOT / "README.md"
    yield ROOT / "examples/sample-repository/README.md"


def commands():
    for path in documents():
        for line in re.findall(r"^hvci .*$", path.read_text(), re.MULTILINE):
            words = shlex.split(line.replace("\\", "/"), comments=True)
            yield pytest.param(words[1:], id=f"{path.name}: {line}")


@pytest.mark.parametrize("words", list(commands()))
def test_every_command_of_the_documents_can_be_parsed(words):
    words = words[: words.index("<")] if "<" in words else words
    context = click.Context(main)
    command = main
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    command.make_context("hvci", list(words))


@pytest.fixture
def shell(tmp_path):
    """Runs a script in the repository, where `hvci` is this one and every failure ends it."""
    program = tmp_path / "bin" / "hvci"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hvci "$@"\n')
    program.chmod(0o755)
    (tmp_path / "home").mkdir()

    def run(script):
        path = f"{program.parent}:{os.environ['PATH']}"
        pythonpath = os.pathsep.join((str(ROOT / "src"), os.environ.get("PYTHONPATH", "")))
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env={**os.environ, "PATH": path, "PYTHONPATH": pythonpath, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def blocks(name, language="sh"):
    text = (ROOT / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


INSTALL = "python3 -m venv .venv\n.venv/bin/pip install --quiet .\n. .venv/bin/activate\n"


def test_the_first_page_works_as_written(shell):
    install, *others = blocks("docs/index.md")
    assert install == INSTALL
    result = shell("".join(others))
    assert (result.returncode, result.stderr) == (0, "")
    for said in ("will not load", "TARGET ", "execute-pool-type", "MmMapIoSpaceEx", "C30030"):
        assert said in result.stdout


def test_no_page_says_that_hvci_is_on_a_package_index():
    for path in documents():
        assert not re.search(r"pip install[^\n]* '?hvci", path.read_text()), path.name


def first_command():
    install, _, check = blocks("README.md")[0].partition("&& .venv/bin/hvci ")
    assert install == "python3 -m venv .venv && .venv/bin/pip install --quiet . "
    return shlex.split(check)


def test_the_first_command_of_the_readme_ends_with_success(shell):
    words = shlex.join(first_command())
    result = shell(f"hvci {words}\necho went on\n")
    assert result.returncode == 0
    assert result.stdout.endswith("went on\n")
    assert shell(f"hvci {words.replace(' --exit-zero', '')}").returncode == 1


def example():
    """What the first command prints into a file; a terminal folds it at its width."""
    _, path, _ = first_command()
    one = evaluate(ROOT / path, Options(excerpts=True, symbols=()))
    document = Document((replace(one, target=replace(one.target, path=path)),))
    return render(document, Format.TEXT)


def test_the_readme_shows_what_its_first_command_prints():
    (shown,) = blocks("README.md", "text")
    assert shown == example()


def test_help_and_readme_agree():
    readme = (ROOT / "README.md").read_text()
    context = click.Context(main)
    shown = set(re.findall(r"^hvci ([a-z-]+)", readme, re.MULTILINE))
    assert shown == set(main.list_commands(context))
    assert not [form for form in Format if f"`{form}`" not in readme], "README.md, Formats"
    codes = dict(re.findall(r"^\| (\d+) \| ([^|:;,]+)", readme, re.MULTILINE))
    told = dict(re.findall(r"(\d+) ([a-z ]+)[,.]", main.epilog))
    assert set(told) <= set(codes)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = readme.read_text()
    begin, end = text.index("```text\n") + len("```text\n"), text.index("```\n<!-- example: end")
    readme.write_text(text[:begin] + example() + text[end:])
