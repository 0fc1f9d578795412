"""The pages in a real browser: what a person does, with mouse or keyboard, and what it asks for.

Runs where Chromium and Playwright are; `HVCI_CHROMIUM` names another browser. Accessibility is
judged by axe-core, taken from its npm package or from the file that `HVCI_AXE` names.
"""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from fleets import ROWS, fill, met
from webs import BAD, GOOD, RealServer, zipped

CHROMIUM = os.environ.get("HVCI_CHROMIUM") or shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api")
if not CHROMIUM:
    pytest.skip("there is no Chromium", allow_module_level=True)

AXE = "axe-core@4.14.1"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SAMPLE = Path(__file__).parents[1] / "fixtures/built/sample_bad.x64.o2.sys"
PATIENCE = 30_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("browser")
    fill(home / "a.db", *map(met, ROWS))
    before, os.environ["HVCI_HOME"] = os.environ.get("HVCI_HOME"), str(home)
    with RealServer(home / "web", database=str(home / "a.db")) as server:
        server.url = f"http://127.0.0.1:{server.port}"
        yield server
    del os.environ["HVCI_HOME"]
    if before is not None:
        os.environ["HVCI_HOME"] = before


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture(params=["light"])
def page(request, browser, server):
    """A page that may ask nobody but the server, and may complain of nothing."""
    context = browser.new_context(base_url=server.url, color_scheme=request.param)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    asked, said = [], []
    context.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    foreign = [url for url in asked if not url.startswith((f"{server.url}/", "blob:", "data:"))]
    assert foreign == []
    assert said == []


@pytest.fixture
def file(tmp_path):
    def made(name, data):
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return made


def evaluate(page, *files):
    page.goto("/")
    page.locator("#files").set_input_files([*files])
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.wait_for_url(re.compile("/r/"))


def test_a_bad_driver_says_why_and_its_picture_leads_to_the_place(page):
    evaluate(page, str(SAMPLE))
    page.get_by_text("Will not load; if it did").wait_for()
    page.locator("svg.picture a.flag").last.click()
    finding = page.locator("article.finding:target")
    finding.wait_for()
    assert page.evaluate("document.activeElement.className").startswith("finding")
    first = page.locator("article.finding").first
    first.get_by_role("button").click()
    first.get_by_role("button", name=re.compile("Copied|Copy")).wait_for()
    page.get_by_label(re.compile("Judged for")).select_option("10-1607")
    page.get_by_role("button", name="Judge again").click()
    page.get_by_text("Judged for Windows 10 1607. Another").wait_for()


def test_a_clean_driver_says_so(page, file):
    evaluate(page, file("good.sys", GOOD))
    page.get_by_text("Nothing that fails and nothing that is undecided.").wait_for()


def test_a_package_leads_to_each_of_its_drivers(page, file):
    evaluate(page, file("pack.zip", zipped(**{"a/good.sys": GOOD, "b/bad.sys": BAD})))
    page.get_by_role("heading", name=re.compile("Fails the readiness test")).wait_for()
    page.get_by_role("link", name="pack.zip!b/bad.sys").click()
    page.get_by_text("PoolType is NonPagedPool").first.wait_for()
    page.get_by_role("link", name="All of pack.zip").click()
    page.get_by_role("link", name="pack.zip!a/good.sys").wait_for()


def test_a_damaged_file_is_one_sentence(page, file):
    evaluate(page, file("broken.sys", GOOD[:300]))
    page.get_by_role("heading", name=re.compile("Could not be read")).wait_for()


def test_a_file_of_300_mb_is_taken_and_refused_in_a_sentence(page, tmp_path):
    with (tmp_path / "huge.sys").open("wb") as stream:
        stream.write(GOOD)
        stream.truncate(300 << 20)
    evaluate(page, str(tmp_path / "huge.sys"))
    page.get_by_text("more bytes than").or_(page.get_by_text("more than 268435456")).wait_for()


def test_what_is_dropped_is_evaluated(page):
    page.goto("/")
    dropped = page.evaluate_handle(
        """(bytes) => { const all = new DataTransfer();
        all.items.add(new File([new Uint8Array(bytes)], "dropped.sys")); return all; }""",
        list(BAD),
    )
    page.dispatch_event("#upload", "drop", {"dataTransfer": dropped})
    page.wait_for_url(re.compile("/r/"))
    page.get_by_role("heading", name="dropped.sys").wait_for()


def test_a_folder_is_a_package(page, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/bad.sys").write_bytes(BAD)
    (tmp_path / "pack/good.sys").write_bytes(GOOD)
    page.goto("/")
    page.locator("#folder").set_input_files(str(tmp_path / "pack"))
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.wait_for_url(re.compile("/r/"))
    page.get_by_role("link", name="pack/bad.sys").wait_for()


def test_the_wizard_leads_to_query(page, file):
    page.goto("/verifier")
    page.get_by_label(re.compile(r"^Create custom settings \(for code developers\)")).check()
    page.get_by_role("button", name="Next").click()
    page.get_by_label(re.compile("^Code integrity checks")).check()
    page.get_by_role("button", name="Next").click()
    page.locator("#files").set_input_files([file("bad.sys", BAD), file("good.sys", GOOD)])
    page.get_by_role("button", name="Finish and run").click()
    page.get_by_role("heading", name="Evaluated at once: 2 drivers").wait_for()
    page.get_by_text("Violation: bug check 0xc4 0x2000 at 1 place.").first.wait_for()
    page.get_by_role("link", name=re.compile("^Currently verified drivers")).click()
    page.get_by_text("MODULE: bad.sys").wait_for()
    page.get_by_role("link", name="Delete existing settings").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("All settings were removed.").wait_for()


def test_the_fleet_is_filtered_without_a_reload(page):
    page.goto("/fleet")
    page.get_by_text("6 of 6 files").wait_for()
    page.evaluate("window.same = true")
    page.get_by_label("Verdict").select_option("incompatible")
    page.get_by_text("3 of 6 files").wait_for()
    page.get_by_label("Path, vendor or file name").fill("worse")
    page.get_by_text("1 of 6 files").wait_for()
    page.wait_for_url(re.compile(r"verdict=incompatible.*|q=worse.*"))
    assert page.evaluate("window.same")
    page.reload()
    page.get_by_text("1 of 6 files").wait_for()
    page.get_by_role("link", name=re.compile("Without Verdict")).click()
    page.get_by_label("Verdict").wait_for()


def tab_to(page, name, most=80):
    """Press Tab until something of that name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const one = document.activeElement;
            if (!one.matches("a, button, input, select, summary")) { return ""; }
            const label = one.labels && one.labels[0];
            return [one.getAttribute("aria-label"), label && label.textContent, one.textContent]
              .filter(Boolean).join(" ").trim(); }"""
        )
        if name in found:
            return
    raise AssertionError(f"the keyboard does not come to {name}")


def test_the_keyboard_alone_is_enough(page, file):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    tab_to(page, "Choose files")
    page.locator("#files").set_input_files(file("keys.sys", BAD))
    tab_to(page, "Evaluate")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/r/"))
    page.get_by_text("fails the readiness test (1 place)").wait_for()
    tab_to(page, "execute-pool-type at")
    page.keyboard.press("Enter")
    page.locator("article.finding:target").wait_for()
    tab_to(page, "Copy")
    page.keyboard.press("Enter")
    page.goto("/verifier")
    tab_to(page, "Create custom settings")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/verifier/settings"))
    tab_to(page, "Code integrity checks")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/verifier/drivers"))
    tab_to(page, "keys.sys")
    page.keyboard.press("Space")
    tab_to(page, "Finish and run")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Evaluated at once: 1 driver").wait_for()
    tab_to(page, "/query")
    page.keyboard.press("Enter")
    page.get_by_text("MODULE: keys.sys").wait_for()


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    if named := os.environ.get("HVCI_AXE"):
        return Path(named).read_text()
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm to take axe-core from")
    command = [npm, "pack", "--silent", "--ignore-scripts", AXE]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=120).returncode:
        pytest.skip("axe-core cannot be had")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        return packed.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_nothing_serious_stands_against_anyone(page, axe, file, server):
    evaluate(page, str(SAMPLE), file("good.sys", GOOD), file("broken.sys", b"MZ"))
    page.get_by_role("heading", name=re.compile("Will not load")).wait_for()
    job = page.url.removeprefix(server.url)
    page.goto("/verifier/drivers?flag=0x02000000")
    page.locator("#files").set_input_files(str(SAMPLE))
    page.get_by_role("button", name="Finish and run").click()
    page.get_by_role("heading", name="Evaluated at once").wait_for()
    run = page.url.removeprefix(server.url)
    found = {}
    for path in (
        *("/", job, f"{job}/0", f"{job}/1", run, "/login"),
        *("/verifier", "/verifier/settings", "/verifier/drivers?flag=0x02000000"),
        *("/verifier/query", "/verifier/display", "/verifier/delete"),
        *("/fleet", "/fleet/compare"),
    ):
        page.goto(path)
        page.evaluate(axe)
        result = page.evaluate(
            "axe.run().then(all => all.violations.map(one => [one.id, one.impact, "
            "one.nodes.slice(0, 3).map(node => node.html.slice(0, 200))]))"
        )
        if serious := [one for one in result if one[1] in ("serious", "critical")]:
            found[path] = serious
    assert found == {}


def test_a_phone_needs_no_scrolling_sideways(page, server):
    evaluate(page, str(SAMPLE))
    page.get_by_text("Will not load; if it did").wait_for()
    job = page.url.removeprefix(server.url)
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", job, "/verifier", "/verifier/settings", "/verifier/query", "/fleet"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
