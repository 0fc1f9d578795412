"""Uploads in, pages and reports out: the same answers as everywhere, whatever files are called."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from build import user_program
from hvci.evaluate import Options, evaluate
from hvci.report import Document, Format, from_json
from hvci.report.encode import report_fields
from webs import API, BAD, EVIL, GOOD, INF, csrf, done, evaluated, send, serving, zipped

SAMPLE = Path(__file__).parents[1] / "fixtures/built/sample_bad.x64.o2.sys"
SCHEMA = Path(__file__).parents[2] / "src/hvci/data/report.schema.json"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("web")) as client:
        yield client


def page(client, job, rest=""):
    answer = client.get(f"/r/{job['id']}{rest}")
    assert answer.status_code == 200, answer.text
    return answer.text


def saved(client, job):
    text = client.get(f"/api/evaluations/{job['id']}/report/json").text
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(text))
    return from_json(text)


def without_times(report):
    return {**report_fields(report), "seconds": {}}


def test_the_report_is_that_of_the_library(client):
    data = SAMPLE.read_bytes()
    job = evaluated(client, ("sample.sys", data))
    (report,) = saved(client, job).reports
    own = evaluate(data, Options(excerpts=True), "sample.sys")
    assert without_times(report) == without_times(own)


def test_a_bad_driver_is_told_with_place_value_why_and_what_to_write(client):
    job = evaluated(client, ("sample.sys", SAMPLE.read_bytes()))
    text = page(client, job)
    for words in (
        "Will not load; if it did,",
        "Execute Pool Type Count",
        "ExAllocatePoolWithTag",
        "PoolType is NonPagedPool (0x0)",
        "ExAllocatePool2(POOL_FLAG_NON_PAGED, ...)",
        "Why:",
        "read in the machine code",
        "What was not examined",
        "<svg",
        'href="#f1"',
        'id="f1"',
        "refused-when-enforced",
    ):
        assert words in text, words


def test_a_clean_driver_has_nothing_to_tell(client):
    text = page(client, evaluated(client, ("good.sys", GOOD)))
    assert "Nothing that fails and nothing that is undecided." in text
    assert "fail</span>" not in text
    assert '<div class="answer open"><h2>Loads</h2><p class="word">if signed</p>' in text


def test_a_damaged_file_is_one_sentence(client):
    job = evaluated(client, ("broken.sys", GOOD[:200]), ("text.sys", b"no driver"))
    assert [one["verdict"] for one in job["results"]] == [None, None]
    assert {one["fate"] for one in job["results"]} == {"could not be read"}
    text = page(client, job)
    assert "Could not be read" in text
    assert client.get(f"/r/{job['id']}/0").status_code == 404


def test_files_of_a_package_belong_together_and_an_archive_is_opened(client):
    for files in (
        [("pack.zip", zipped(**{"a/good.sys": GOOD, "a/bad.sys": BAD}))],
        [("pack/a/good.sys", GOOD), ("pack/a/bad.sys", BAD)],
        [("pack.tar", tarred({"a/good.sys": GOOD, "a/bad.sys": BAD}))],
    ):
        job = evaluated(client, *files)
        assert sorted(one["verdict"] for one in job["results"]) == ["compatible", "incompatible"]
        assert job["targets"] == 1
        text = page(client, job)
        assert "2 targets: 1 fails the readiness test; 1 loads and runs" in text
        number = [one["verdict"] for one in job["results"]].index("incompatible")
        assert "PoolType is NonPagedPool" in page(client, job, f"/{number}")


def test_an_inf_beside_its_driver_tells_of_the_service(client):
    job = evaluated(client, ("bad.sys", BAD), ("bad.inf", INF))
    (report,) = saved(client, job).reports
    assert report.package.service == "Bad"
    assert report.package.start == "boot"
    assert report.target.path == "bad.sys"
    assert "/" not in report.package.inf
    assert "service Bad, starts at boot" in page(client, job)


def test_an_inf_alone_says_what_is_missing(client):
    (one,) = evaluated(client, ("bad.inf", INF))["results"]
    assert one["verdict"] is None
    assert "drop it together" in one["sentence"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "setup.exe",
            user_program() + bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst",
            "check the folder",
        ),
        ("disk.vhdx", b"vhdxfile" + bytes(4096), "image of a disk"),
        ("driver.c", b"int x;", "a source file"),
        ("driver.vcxproj", b"<Project/>", "a source file"),
    ],
)
def test_what_is_read_elsewhere_says_where(client, name, data, words):
    (one,) = evaluated(client, (name, data))["results"]
    assert one["verdict"] is None
    assert words in one["sentence"]


def tarred(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def test_a_name_is_text_wherever_it_stands(client):
    for files in (
        [(EVIL, BAD)],
        [("../../../../tmp/evil.sys", BAD)],
        [("C:\\Windows\\evil.sys", BAD)],
        [("\0.sys", BAD)],
        [("a" * 3000 + ".sys", BAD)],
        [("x/../../evil.sys", BAD), (f"x/{EVIL}", GOOD)],
        [(EVIL.replace(".sys", ".zip"), zipped(**{f"../../{EVIL}": BAD, "/etc/x.sys": GOOD}))],
    ):
        job = evaluated(client, *files)
        assert job["results"], files
        for text in (page(client, job), client.get("/").text):
            assert "<script>alert" not in text
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert "49" not in text.split("<h1")[1].split("</h1>")[0]
        for form in Format:
            assert client.get(f"/r/{job['id']}/download/{form}").status_code == 200
    home = client.app.state.parts.settings.home
    kept = {path.name for path in home.rglob("*.sys")} | {path.name for path in home.rglob("*.zip")}
    assert kept == set()


def test_bombs_cost_a_sentence(client):
    zeros = zipped(**{"a.sys": b"MZ" + bytes(300 << 20)})
    (one,) = evaluated(client, ("bomb.zip", zeros))["results"]
    assert "too large" in one["sentence"]
    nested = GOOD
    for number in range(9):
        nested = zipped(**{f"{number}.zip" if number else "good.sys": nested})
    (one,) = evaluated(client, ("nested.zip", nested))["results"]
    assert "nested too deep" in one["sentence"]
    damaged = bytearray(zipped(**{"a.sys": BAD * 20}))
    damaged[40:400] = bytes(360)
    assert evaluated(client, ("damaged.zip", bytes(damaged)))["results"][0]["verdict"] is None


def test_an_image_that_is_larger_than_any_driver_says_so(client):
    (one,) = evaluated(client, ("huge.sys", GOOD + bytes(257 << 20)))["results"]
    assert "more than 268435456 bytes" in one["sentence"]
    assert "uploads" not in one["sentence"]


def test_all_formats_can_be_taken_along(client):
    job = evaluated(client, ("bad.sys", BAD))
    for form in Format:
        answer = client.get(f"/r/{job['id']}/download/{form}")
        assert "attachment" in answer.headers["content-disposition"]
        assert b"bad.sys" in answer.content.replace(b"&#46;", b".")
    assert client.get(f"/r/{job['id']}/download/exe").status_code == 404


def test_another_windows_gives_another_link_and_another_remedy(client):
    job = evaluated(client, ("bad.sys", BAD))
    words = {"csrf": csrf(client), "target_os": "10-1607"}
    answer = client.post(f"/r/{job['id']}/again", data=words)
    other = done(client, {"id": answer.headers["location"].rpartition("/")[2]})
    assert other["id"] != job["id"]
    assert "ExAllocatePool2(" in page(client, job)
    assert "ExAllocatePool2(" not in page(client, other)
    assert "NonPagedPoolNx" in page(client, other)
    words["target_os"] = "windows-nonsense"
    assert client.post(f"/r/{job['id']}/again", data=words).status_code == 400


def test_the_same_question_has_the_same_link_and_is_evaluated_once(client):
    first = evaluated(client, ("same.sys", BAD))
    again = send(client, ("same.sys", BAD)).json()
    assert again["id"] == first["id"]
    assert again["state"] == "done"
    assert send(client, ("other.sys", BAD)).json()["id"] != first["id"]


def test_a_run_in_the_emulator_joins_the_report(client):
    job = evaluated(client, ("bad.sys", BAD), verify="yes")
    (report,) = saved(client, job).reports
    assert report.verifier is not None
    assert "Run in the emulated Driver Verifier" in page(client, job)


def test_one_file_can_be_the_whole_body(client):
    answer = client.put("/api/evaluations?name=put.sys&target_os=10-1607", content=BAD, headers=API)
    job = done(client, answer.json())
    assert job["name"] == "put.sys"
    assert job["target_os"] == "10-1607"
    assert job["results"][0]["verdict"] == "incompatible"


def test_what_is_deleted_is_gone(client):
    job = evaluated(client, ("gone.sys", BAD + b"unlike any other"))
    sha256 = job["results"][0]["sha256"]
    parts = client.app.state.parts
    assert parts.uploads.has(sha256)
    assert client.delete(f"/api/evaluations/{job['id']}", headers=API).status_code == 204
    assert not parts.uploads.has(sha256)
    assert client.get(f"/r/{job['id']}").status_code == 404
    assert client.delete(f"/api/evaluations/{job['id']}", headers=API).status_code == 404


PARTS = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", PARTS),
        (b"--x\r\n", PARTS),
        (
            b"--x\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\nMZ",
            "multipart/form-data; boundary=x",
        ),
        (b"\xff\xfe--x", "multipart/form-data; boundary=x"),
        (b"a", "multipart/form-data"),
        (b"a=1", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"--x\r\n" + b"A: b\r\n" * 100 + b"\r\n", PARTS),
    ],
)
def test_a_form_that_is_none_is_refused_in_a_sentence(client, content, kind):
    answer = client.post("/api/evaluations", content=content, headers={**API, "content-type": kind})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_nothing_chosen_is_said(client):
    parts = [("csrf", (None, csrf(client))), ("files", ("", b""))]
    answer = client.post("/evaluate", files=parts)
    assert answer.status_code == 400
    assert "There is no file in this upload" in answer.text


def test_the_documents_of_many_files_are_one(client):
    files = [(f"{number}.sys", BAD + bytes([number])) for number in range(12)]
    job = evaluated(client, *files)
    document = saved(client, job)
    assert isinstance(document, Document)
    assert [one.target.path for one in document.reports] == [name for name, _ in files]


def test_a_zip_whose_names_clash_loses_nothing(client):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.sys", GOOD)
        archive.writestr("a.sys", BAD)
    verdicts = [
        one["verdict"] for one in evaluated(client, ("c.zip", stream.getvalue()))["results"]
    ]
    assert sorted(verdicts) == ["compatible", "incompatible"]
