"""Who is answered, from which page, how much and how fast."""

import asyncio
import hashlib
import socket
import time
from pathlib import Path

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from hvci import web
from hvci.web.app import application
from hvci.web.guard import Guard
from hvci.web.settings import Limits, Settings, is_loopback
from webs import API, BAD, HOST, PORT, RealServer, csrf, send, serving

PAGES = ("/", "/login", "/api/about", "/api/openapi.json", "/static/app.css", "/nothing", "/r/x")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("web")) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_says_what_a_browser_may_do_with_it(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8642", "127.0.0.1", "127.0.0.1:80", "", "[::1", "a@b:8642"],
)
@pytest.mark.parametrize("path", PAGES)
def test_another_name_is_not_answered_to(client, host, path):
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 421
    assert "x-frame-options" in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "LOCALHOST:8642", "[::1]:8642"])
def test_names_of_this_computer_are_answered_to(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def changes(routes):
    return [
        (method, route.path.replace("{id}", "a" * 24))
        for route in routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"GET", "HEAD"})
    ]


def all_changes(client):
    found = changes(client.app.routes)
    assert len(found) >= 5
    return found


def test_no_change_without_a_secret_of_our_pages(client):
    for method, path in all_changes(client):
        for data in ({}, {"csrf": "0" * 64}):
            answer = client.request(method, path, data=data)
            assert answer.status_code in (403, 404), (method, path, answer.text)
            assert answer.status_code == 403 or "/r/" in path


def test_no_change_from_a_page_of_another_origin(client):
    words = {"csrf": csrf(client)}
    for method, path in all_changes(client):
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": f"http://{HOST}.evil.example"},
            {"origin": "http://["},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            answer = client.request(method, path, data=words, headers={**API, **headers})
            assert answer.status_code == 403, (method, path, headers)


@pytest.mark.parametrize("path", ["/r/x/{}", "/fleet/driver/{}/1", "/fleet/driver/1/{}"])
def test_a_number_of_any_length_leads_nowhere(client, path):
    for digits in (19, 20, 5000):
        assert client.get(path.format("9" * digits)).status_code == 404


@pytest.mark.parametrize("size", ["9" * 5000, "9" * 19, "0" * 5000 + "9" * 12])
def test_an_upload_of_any_announced_size_is_refused(client, size):
    headers = {**API, "content-length": size}
    assert client.post("/api/evaluations", headers=headers, content=b"x").status_code == 413


@pytest.mark.parametrize("size", ["\u00b2", "-1", "x"])
def test_a_size_that_is_no_number_is_no_fault(client, size):
    headers = {**API, "content-length": size.encode("latin-1")}
    assert client.post("/api/evaluations", headers=headers, content=b"x").status_code == 400


def test_an_address_with_bytes_that_no_address_has_is_refused():
    told = []

    async def asked():
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"\xec"}
        scope["headers"] = [(b"host", HOST.encode())]

        async def send(message):
            told.append(message.get("status"))

        await Guard(None, Settings("127.0.0.1", PORT, Path()), None)(scope, None, send)

    asyncio.run(asked())
    assert told[0] == 400


def test_a_browser_may_not_ask_before_for_another_origin(client):
    asked = {"origin": "http://evil.example", "access-control-request-headers": "x-hvci-request"}
    answer = client.options("/api/evaluations", headers=asked)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_form_of_ours_is_taken(client):
    files = {"files": ("bad.sys", BAD)}
    answer = client.post(
        "/evaluate",
        data={"csrf": csrf(client)},
        files=files,
        headers={"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"},
    )
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/r/")


def test_a_file_before_the_secret_is_not_kept(client, tmp_path):
    parts = [("files", ("a.sys", b"MZ" * 4000)), ("csrf", (None, csrf(client)))]
    before = stored(client)
    assert client.post("/evaluate", files=parts).status_code == 403
    assert stored(client) == before


def stored(client):
    home = client.app.state.parts.settings.home
    return sorted(path.name for path in (home / "uploads").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/..\\app.py",
        "/static//etc/passwd",
        "/static/%00",
        "/r/..%2f..%2fsecret",
        "/r/%00/download/json",
        "/r/aaaaaaaaaaaaaaaaaaaaaaaa/download/..%2fsecret",
        "/api/evaluations/..%2f..%2fweb.sqlite",
    ],
)
def test_no_path_leads_out(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert b"import" not in answer.content


def test_an_upload_that_is_too_large_is_refused_by_its_size_and_by_its_bytes(tmp_path):
    with serving(tmp_path, limits=Limits(upload=100_000)) as client:
        answer = send(client, ("a.sys", bytes(200_000)))
        assert answer.status_code == 413

        def pieces():
            for _ in range(100):
                yield bytes(10_000)

        answer = client.put("/api/evaluations", content=pieces(), headers=API)
        assert answer.status_code == 413
        assert stored(client) == []


def test_too_many_files_and_too_long_words_are_refused(tmp_path):
    with serving(tmp_path, limits=Limits(files=3, text=1000)) as client:
        many = [(f"{number}.sys", b"MZ") for number in range(4)]
        assert send(client, *many).status_code == 413
        assert send(client, ("a.sys", b"MZ"), target_os="x" * 2000).status_code == 413


def test_a_full_room_says_so(tmp_path):
    with serving(tmp_path, limits=Limits(stored=10_000)) as client:
        answer = send(client, ("a.sys", bytes(20_000)))
        assert answer.status_code == 503
        assert "full" in answer.json()["error"]["message"]
        assert stored(client) == []


def test_others_need_the_token(tmp_path):
    told = Settings("192.0.2.7", 8642, tmp_path, token="sesame", limits=Limits(logins=4))
    with TestClient(application(told), base_url="http://192.0.2.7:8642") as client:
        client.follow_redirects = False
        for path in ("/", "/r/x", "/nothing", "/verifier", "/fleet"):
            assert client.get(path).headers["location"] == "/login"
        assert client.get("/api/about").status_code == 401
        assert client.get("/api/about", headers={"authorization": "Bearer no"}).status_code == 401
        mine = {"authorization": "Bearer sesame"}
        assert client.get("/api/about", headers=mine).status_code == 200
        word = client.app.state.csrf
        wrong = client.post("/login", data={"csrf": word, "token": "no"})
        assert wrong.status_code == 403
        assert "sesame" not in wrong.text
        let_in = client.post("/login", data={"csrf": word, "token": "sesame"})
        cookie = let_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "sesame" not in cookie
        assert client.get("/").status_code == 200
        codes = [
            client.post("/login", data={"csrf": word, "token": str(n)}).status_code
            for n in range(4)
        ]
        assert codes[-1] == 429


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8")),
        *((host, False) for host in ("0.0.0.0", "192.0.2.7", "evil", "::")),
    ],
)
def test_loopback_is_told_from_the_rest(host, local):
    assert is_loopback(host) is local


def test_what_comes_from_a_package_is_what_the_package_holds():
    """htmx 2.0.11 from npm, whole and unchanged, with its licence beside it."""
    place = Path(web.__file__).parent / "static"
    digest = hashlib.sha256((place / "htmx.min.js").read_bytes()).hexdigest()
    assert digest == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert "Zero-Clause BSD" in (place / "htmx.LICENSE.txt").read_text()


def test_no_page_asks_for_anything_of_another_origin():
    place = Path(web.__file__).parent
    for path in [
        *(place / "templates").glob("*"),
        place / "static/app.css",
        place / "static/app.js",
    ]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, path
        assert "https:" not in text, path
        assert " style=" not in text, path
        assert "onclick" not in text, path


def test_a_body_that_stops_or_trickles_is_ended(tmp_path):
    limits = Limits(idle=0.4, patience=0.5, pace=100_000)
    with RealServer(tmp_path, limits) as real:
        head = (
            f"PUT /api/evaluations HTTP/1.1\r\nHost: 127.0.0.1:{real.port}\r\n"
            "X-HVCI-Request: t\r\nContent-Length: 1000\r\n\r\n"
        ).encode()
        for trickle in (False, True):
            begin = time.monotonic()
            with socket.create_connection(("127.0.0.1", real.port), timeout=20) as sock:
                sock.sendall(head + b"MZ")
                answer = _answer(sock, trickle)
            assert b" 408 " in answer
            assert time.monotonic() - begin < 10
        assert not list((tmp_path / "uploads/part").iterdir())


def _answer(sock, trickle):
    sock.settimeout(0.1)
    for _ in range(100):
        try:
            if found := sock.recv(4096):
                return found
        except TimeoutError:
            if trickle:
                sock.sendall(b"x")
    return b""


def test_a_question_is_answered_while_an_upload_hangs(tmp_path):
    with RealServer(tmp_path, Limits()) as real:
        host = f"Host: 127.0.0.1:{real.port}\r\n"
        put = f"PUT /api/evaluations HTTP/1.1\r\n{host}X-HVCI-Request: t\r\n"
        with socket.create_connection(("127.0.0.1", real.port)) as hanging:
            hanging.sendall(f"{put}Content-Length: 9\r\n\r\n".encode())
            with socket.create_connection(("127.0.0.1", real.port), timeout=5) as other:
                other.sendall(
                    f"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1:{real.port}\r\n\r\n".encode()
                )
                assert b" 200 " in other.recv(4096)


def test_pages_that_are_open_stay_good_after_a_restart(tmp_path):
    with serving(tmp_path) as client:
        word = csrf(client)
    with serving(tmp_path) as client:
        assert csrf(client) == word
        assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


def test_one_address_may_not_ask_for_too_many_changes(tmp_path):
    told = Settings("192.0.2.7", 8642, tmp_path, token="t", limits=Limits(changes=3))
    with TestClient(application(told), base_url="http://192.0.2.7:8642") as client:
        headers = {**API, "authorization": "Bearer t"}
        codes = [client.delete("/api/evaluations/x", headers=headers).status_code for _ in range(4)]
        assert codes == [404, 404, 404, 429]
