"""The documentation builds, no link in it is broken, and the commands in it exist."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import click
import pytest

from hvci.cli import main
from hvci.model import Counter
from hvci.report import Format
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
            assert f'href="rules/{rule.id}.html"' in text, rule.id


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


def test_help_and_readme_agree():
    readme = (ROOT / "README.md").read_text()
    context = click.Context(main)
    shown = set(re.findall(r"^hvci ([a-z-]+)", readme, re.MULTILINE))
    assert shown == set(main.list_commands(context))
    assert all(f"`{form}`" in readme for form in Format)
    codes = dict(re.findall(r"^\| (\d+) \| ([^|:;,]+)", readme, re.MULTILINE))
    told = dict(re.findall(r"(\d+) ([a-z ]+)[,.]", main.epilog))
    assert set(told) <= set(codes)
