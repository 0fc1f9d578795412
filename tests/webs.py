"""An application in this process with a client that acts as a browser of its own pages does."""

import io
import re
import socket
import threading
import time
import zipfile
from contextlib import contextmanager

import uvicorn
from starlette.testclient import TestClient

from build import driver
from hvci.web.app import application
from hvci.web.settings import Limits, Settings

PORT = 8642
HOST = f"127.0.0.1:{PORT}"
EVIL = "<script>alert(1)</script>'\"\x1b[31m\u202e{{7*7}}.sys"
GOOD, BAD = driver(), driver(pool_type=0)


def settings(home, **rest):
    limits = rest.pop("limits", Limits())
    return Settings("127.0.0.1", PORT, home, jobs=1, limits=limits, **rest)


@contextmanager
def serving(home, **rest):
    with TestClient(application(settings(home, **rest)), base_url=f"http://{HOST}") as client:
        client.follow_redirects = False
        yield client


def csrf(client):
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/").text)[1]


API = {"X-HVCI-Request": "test"}

INF = b"""[Version]
Signature="$Windows NT$"
Class=System
Provider=%Me%
DriverVer=01/01/2026,1.0.0.0
[Manufacturer]
%Me%=Models,NTamd64
[Models.NTamd64]
"Dev"=Dev,ROOT\\X
[Dev]
CopyFiles=Files
[Files]
bad.sys
[Dev.Services]
AddService=Bad,2,Bad_Service
[Bad_Service]
ServiceType=1
StartType=0
ErrorControl=1
ServiceBinary=%12%\\bad.sys
[SourceDisksNames]
1=disk
[SourceDisksFiles]
bad.sys=1
[DestinationDirs]
Files=12
[Strings]
Me="Acme"
"""


def send(client, *files, **words):
    """Upload as a program does; gives the answer."""
    parts = [("files", (name, data)) for name, data in files]
    return client.post("/api/evaluations", data=words, files=parts, headers=API)


def done(client, job, seconds=60):
    """The job once it is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = client.get(f"/api/evaluations/{job['id']}").json()
        if found["state"] in ("done", "interrupted"):
            return found
        time.sleep(0.05)
    raise AssertionError("it is not done")


def evaluated(client, *files, **words):
    answer = send(client, *files, **words)
    assert answer.status_code == 202, answer.text
    return done(client, answer.json())


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


class RealServer:
    """A server on a socket of its own."""

    def __init__(self, home, limits=None, **rest):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        told = Settings("127.0.0.1", self.port, home, jobs=1, limits=limits or Limits(), **rest)
        config = uvicorn.Config(application(told), log_level="error", lifespan="on")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(20)
