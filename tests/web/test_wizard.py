"""Driver Verifier Manager's flow from its first page to /query, over the store of the command."""

import re
import time
from html import unescape

import pytest
from click.testing import CliRunner

from hvci.cli import main
from hvci.verifier.settings import SettingsStore
from webs import API, BAD, EVIL, GOOD, csrf, evaluated, serving


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("HVCI_HOME", str(tmp_path))
    with serving(tmp_path / "web") as client:
        yield client


def printed(*words):
    found = CliRunner().invoke(main, ["verifier", *words])
    return found.output


def screen(text):
    return unescape(re.search(r'<pre class="screen" id="screen"[^>]*>(.*?)</pre>', text, re.S)[1])


def run(client, *files, flags="0x02000000", **words):
    parts = [("csrf", (None, csrf(client))), ("flags", (None, flags))]
    parts += [(name, (None, word)) for name, word in words.items()]
    parts += [("files", (name, data)) for name, data in files]
    answer = client.post("/verifier/run", files=parts)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def ended(client, location, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = client.get(location + "/progress")
        if answer.headers.get("hx-refresh"):
            return client.get(location).text
        time.sleep(0.1)
    raise AssertionError("it does not end")


def test_the_way_of_the_real_program_leads_to_query(client):
    first = client.get("/verifier").text
    assert "Create custom settings (for code developers)" in first
    chosen = client.get("/verifier/next", params={"task": "custom"})
    second = client.get(chosen.headers["location"]).text
    assert "Code integrity checks" in second
    third = client.get("/verifier/drivers", params={"flag": "0x02000000"}).text
    assert "Select what drivers to verify" in third
    assert "restart" in third
    seen = ended(client, run(client, ("bad.sys", BAD), ("good.sys", GOOD)))
    for words in ("violation", "DriverEntry", "call sites", "Bugcheck Analysis", "ExAllocatePool"):
        assert words in seen, words
    assert screen(client.get("/verifier/query").text) == printed("/query")
    assert screen(client.get("/verifier/display").text) == printed("/querysettings")
    assert "bad.sys" in printed("/query")


def test_what_the_command_sets_is_shown_and_what_is_deleted_here_is_gone_there(client, tmp_path):
    (tmp_path / "mine.sys").write_bytes(BAD)
    printed("/flags", "0x02000000", "/driver", str(tmp_path / "mine.sys"))
    assert "MODULE: mine.sys" in screen(client.get("/verifier/query").text)
    assert "mine.sys" in client.get("/verifier/delete").text
    gone = client.post("/verifier/delete", data={"csrf": csrf(client)}).text
    assert "All settings were removed." in gone
    assert printed("/query") == "No drivers are currently verified.\n"
    again = client.post("/verifier/delete", data={"csrf": csrf(client)}).text
    assert "No settings were changed." in again


@pytest.mark.parametrize(
    "query", ["", "?flag=0x1", "?flag=nonsense", "?flag=-1", "?flag=0x1ffffffff"]
)
def test_without_code_integrity_checks_the_page_says_what_is_missing(client, query):
    text = client.get("/verifier/drivers" + query).text
    assert "Select what drivers" not in text or query in ("?flag=-1", "?flag=0x1ffffffff")
    assert "hvci" in text


def test_other_checks_are_accepted_and_named_as_not_emulated(client):
    text = client.get("/verifier/drivers?flag=0x02000000&flag=0x1").text
    assert "Not emulated: Special pool" in text


def test_drivers_that_were_uploaded_before_can_be_chosen(client):
    job = evaluated(client, (EVIL, BAD))
    third = client.get("/verifier/drivers?flag=0x02000000").text
    assert job["results"][0]["sha256"] in third
    assert "<script>alert" not in third
    seen = ended(client, run(client, known=job["results"][0]["sha256"]))
    assert "violation" in seen
    assert "<script>alert" not in seen
    assert "<script>alert" not in client.get("/verifier/query").text.split("<pre")[1]


def test_nothing_chosen_and_what_is_no_driver_leave_the_settings_alone(client):
    before = SettingsStore().read()
    parts = [("csrf", (None, csrf(client))), ("known", (None, "f" * 64))]
    answer = client.post("/verifier/run", files=parts)
    assert answer.status_code == 400
    assert "Name the drivers" in answer.text
    seen = ended(client, run(client, ("text.sys", b"no driver")))
    assert "unreadable" in seen
    assert SettingsStore().read() == before


def test_the_same_run_twice_sets_twice(client):
    first = run(client, ("good.sys", GOOD))
    ended(client, first)
    SettingsStore().reset()
    second = run(client, ("good.sys", GOOD))
    assert second != first
    ended(client, second)
    assert [driver.name for driver in SettingsStore().read().drivers] == ["good.sys"]


def test_the_same_through_the_endpoints(client):
    answer = client.post(
        "/api/verifier/runs",
        files={"files": ("bad.sys", BAD)},
        data={"flags": "0x02000000"},
        headers=API,
    )
    assert answer.status_code == 202
    ended(client, answer.json()["url"])
    found = client.get(f"/api/verifier/runs/{answer.json()['id']}").json()
    assert found["results"][0]["proof"] == "violation"
    assert found["results"][0]["block"]["counters"]["execute_pool_type"] == 1
    assert client.get("/api/verifier/query").text == printed("/query")
    settings = client.get("/api/verifier/settings").json()
    assert settings["checks"] == ["Code integrity checks"]
    assert settings["drivers"][0]["name"] == "bad.sys"
    assert client.delete("/api/verifier/settings", headers=API).json() == {"removed": True}
    assert client.delete("/api/verifier/settings", headers=API).json() == {"removed": False}
