"""The description of the endpoints: every route stands in it, and nothing else."""

from pathlib import Path

from starlette.routing import Route

from hvci.web import api, fleet_api
from hvci.web.openapi import description
from webs import serving


def test_every_endpoint_is_described_and_every_description_is_an_endpoint():
    routes = {
        (route.path, method.lower())
        for route in (*api.ROUTES, *fleet_api.ROUTES)
        if isinstance(route, Route) and route.path != "/api"
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {
        (path, method) for path, methods in description()["paths"].items() for method in methods
    }
    assert described == routes


def test_the_page_about_it_names_the_endpoints():
    text = (Path(__file__).parents[2] / "docs/web.md").read_text()
    for path in description()["paths"]:
        name = path.partition("{")[0].rstrip("/")
        assert name in text or name.removeprefix("/api/") in text, path


def test_the_description_is_found(tmp_path):
    with serving(tmp_path) as client:
        assert client.get("/api").headers["location"] == "/api/openapi.json"
        assert client.get("/api/openapi.json").json() == description()
        assert client.put("/api/about").status_code == 405
        assert client.post("/", data={}).status_code in (403, 405)
