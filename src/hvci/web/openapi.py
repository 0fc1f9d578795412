"""The description of the HTTP endpoints; a test holds it to the routes, and a fuzzer to answers."""

from __future__ import annotations

from typing import Any

from hvci import __version__
from hvci.model import WindowsVersion
from hvci.report import Format
from hvci.web.fleet_api import SCAN
from hvci.web.fleet_index import ORDERS
from hvci.web.guard import PLAIN
from hvci.web.wizard import FLAG_WORDS

Json = dict[str, Any]


def description() -> Json:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hvci",
            "version": __version__,
            "description": "Will this Windows kernel driver work with memory integrity on?",
        },
        "paths": _paths(),
        "components": {"schemas": _schemas()},
    }


_WINDOWS = {"type": "string", "enum": ["", *(version.slug for version in WindowsVersion)]}
_YES_NO = {"type": "string", "enum": ["", "yes", "no"]}
_SCAN = {"type": "string", "pattern": SCAN.pattern}


def _paths() -> Json:
    job = {"$ref": "#/components/schemas/Evaluation"}
    return {
        "/api/openapi.json": {"get": _get("This description", {"type": "object"})},
        "/api/about": {"get": _get("Version and limits", {"$ref": "#/components/schemas/About"})},
        "/api/evaluations": {
            "post": _change(
                "Evaluate drivers, a package or the files of a folder",
                {"202": _json("Waits, or was evaluated before", job)},
                body=_multipart(
                    {
                        "target_os": _WINDOWS,
                        "verify": _YES_NO,
                    }
                ),
                more=(400, 408, 413, 503),
            ),
            "put": _change(
                "Evaluate one file: the body is the file (curl --upload-file)",
                {"202": _json("Waits, or was evaluated before", job)},
                body={
                    "required": True,
                    "content": {
                        "application/octet-stream": {"schema": {"type": "string", "minLength": 1}}
                    },
                },
                parameters=(
                    _query("name", "What the report calls it"),
                    _query("target_os", "Oldest Windows it must work on", _WINDOWS),
                    _query("verify", "yes: run it in the emulated Driver Verifier too", _YES_NO),
                ),
                more=(400, 408, 413, 503),
            ),
        },
        "/api/evaluations/{id}": {
            "get": _get("How far it is, and what it says in short", job, _id(), more=(404,)),
            "delete": _change(
                "Forget an evaluation and its files",
                {"204": {"description": "Forgotten"}},
                parameters=(_id(),),
                more=(404, 409),
            ),
        },
        "/api/evaluations/{id}/report/{form}": {"get": _report()},
        **_verifier_paths(),
        **_fleet_paths(),
    }


def _report() -> Json:
    form = {"type": "string", "enum": [form.value for form in Format]}
    return {
        "summary": "The whole report",
        "parameters": [
            _id(),
            {"name": "form", "in": "path", "required": True, "schema": form},
        ],
        "responses": {
            "200": {"description": "The report", "content": {name: {} for name in _MEDIA}},
            **_errors(404, 409),
        },
    }


def _verifier_paths() -> Json:
    run = {"$ref": "#/components/schemas/Run"}
    plain = {"200": {"description": "Text", "content": {"text/plain": {}}}, **_errors()}
    words = {"flags": {"type": "string", "enum": [*FLAG_WORDS]}}
    return {
        "/api/verifier/settings": {
            "get": _get("What is verified", {"$ref": "#/components/schemas/Settings"}),
            "delete": _change(
                "Delete the settings",
                {"200": _json("Done", _object(removed={"type": "boolean"}))},
            ),
        },
        "/api/verifier/query": {"get": {"summary": "verifier /query", "responses": plain}},
        "/api/verifier/runs": {
            "post": _change(
                "Run drivers in the emulated Driver Verifier; they are the settings afterwards",
                {"202": _json("Waits", run)},
                body=_multipart(words),
                more=(400, 408, 413, 503),
            )
        },
        "/api/verifier/runs/{id}": {
            "get": _get("How far it is, and what was seen", run, _id(), more=(404,))
        },
    }


def _fleet_paths() -> Json:
    number = {"type": "integer", "minimum": 0}
    words = ["fate", "verdict", "policy", "signed", "start", "rule", "vendor", "package"]
    words += ["host", "year", "cpu"]
    choices = [_query(name, "Only files with this") for name in words]
    choices.append(_query("q", "Only files whose path or vendor holds this"))
    orders = {"type": "string", "enum": list(ORDERS)}
    scans = (
        _query("old", "Number of a scan, last or previous", _SCAN),
        _query("new", "Number of a scan, last or previous", _SCAN),
    )
    return {
        "/api/fleet/files": {
            "get": _get(
                "Files of the current scans that fit",
                _object(
                    total=number, first=number, files={"type": "array", "items": {"type": "object"}}
                ),
                *choices,
                _query("order", "In which order", orders),
                _query("first", "From this one on", number),
                _query("limit", "So many at most", {**number, "maximum": 1000}),
                more=(400, 404, 503),
            )
        },
        "/api/fleet/counts": {
            "get": _get(
                "How the files that fit fall apart by each name",
                _object(
                    total=number,
                    by={"type": "object"},
                    only_rule={"type": "array", "items": {"type": "object"}},
                ),
                *choices,
                more=(404, 503),
            )
        },
        "/api/fleet/scans": {
            "get": _get("The scans in the database", {"type": "object"}, more=(404,))
        },
        "/api/fleet/changes": {
            "get": _get(
                "What changed between two scans", {"type": "object"}, *scans, more=(400, 404)
            )
        },
    }


_MEDIA = (
    *("application/json", "application/sarif+json", "application/xml"),
    *("text/plain", "text/html", "text/markdown", "text/csv"),
)
_MEANS = {
    400: "Cannot be read",
    401: "The token is missing",
    403: "Comes from another page, or without the header of changes",
    404: "There is nothing of this name",
    408: "Came too slowly",
    409: "Not done yet",
    413: "Too large",
    421: "This server does not answer to that name",
    429: "Too often",
    503: "The queue is full",
}


def _errors(*codes: int) -> Json:
    schema = {"$ref": "#/components/schemas/Error"}
    return {str(code): _json(_MEANS[code], schema) for code in (401, 421, *codes)}


def _json(told: str, schema: Json) -> Json:
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _get(summary: str, schema: Json, *parameters: Json, more: tuple[int, ...] = ()) -> Json:
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": _json("The answer", schema), **_errors(*more)},
    }


def _change(
    summary: str,
    responses: Json,
    body: Json | None = None,
    parameters: tuple[Json, ...] = (),
    more: tuple[int, ...] = (),
) -> Json:
    header = {
        "name": PLAIN,
        "in": "header",
        "required": True,
        "description": "Any word: a page of somebody else cannot send it",
        "schema": {"type": "string", "minLength": 1},
    }
    found: Json = {
        "summary": summary,
        "parameters": [header, *parameters],
        "responses": {**responses, **_errors(403, 429, *more)},
    }
    return found | ({"requestBody": body} if body else {})


def _query(name: str, told: str, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": told,
        "schema": schema or {"type": "string"},
    }


def _id() -> Json:
    schema = {"type": "string", "pattern": "^[a-z2-7]{24}$"}
    return {"name": "id", "in": "path", "required": True, "schema": schema}


def _multipart(words: Json) -> Json:
    file = {"type": "string", "format": "binary"}
    schema = {
        "type": "object",
        "required": ["files"],
        "properties": {"files": {"type": "array", "items": file, "minItems": 1}, **words},
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


_STATES = {"type": "string", "enum": ["waiting", "running", "done", "interrupted"]}


def _schemas() -> Json:
    text, number = {"type": "string"}, {"type": "integer"}
    maybe = {"type": ["string", "null"]}
    result = _object(path=text, fate=text, sentence=text, verdict=maybe, sha256=maybe)
    return {
        "Error": _object(error=_object(kind=text, message=text)),
        "About": _object(
            tool=text,
            version=text,
            windows={"type": "array", "items": text},
            limits={"type": "object"},
            waiting=number,
            fleet={"type": "boolean"},
        ),
        "Settings": _object(
            flags=text,
            checks={"type": "array", "items": text},
            drivers={"type": "array", "items": _object(name=text, sha256=text)},
        ),
        "Run": _object(
            id=text,
            state=_STATES,
            url=text,
            told=text,
            flags=text,
            drivers=number,
            done=number,
            results={
                "type": "array",
                "items": _object(
                    name=text,
                    proof=text,
                    sentence=text,
                    exit_code=number,
                    block={"type": ["object", "null"]},
                    analyses={"type": "array", "items": text},
                ),
            },
        ),
        "Evaluation": _object(
            id=text,
            state=_STATES,
            name=text,
            url=text,
            told=text,
            target_os=maybe,
            verify={"type": "boolean"},
            targets=number,
            done=number,
            ahead=number,
            results={"type": "array", "items": result},
        ),
    }


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
