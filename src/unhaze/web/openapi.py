"""The OpenAPI document, and the same as a plain page without scripts or other servers."""

import html
import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from unhaze.web.entry import COOKIE
from unhaze.web.limits import OPEN
from unhaze.web.parameters import PARAMETERS

SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "What `--token` says."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The token as a browser keeps it once it was given in the form.",
    },
}
REQUEST_ID = {
    "description": "Of this request, as given in X-Request-ID or made up; the log has it, too.",
    "schema": {"type": "string"},
}
LIMITS = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def describe(app: FastAPI, *, with_token: bool) -> None:
    """Sets how the application generates its document; with_token: whether a token is required."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(app, with_token)
        return app.openapi_schema

    app.openapi = document


def complete(app: FastAPI, with_token: bool) -> dict[str, Any]:
    """Returns the document of FastAPI, completed with authentication and common responses."""
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    found["servers"] = [{"url": app.root_path or "/", "description": "Where this comes from."}]
    found["components"]["securitySchemes"] = SCHEMES
    for path, methods in found["paths"].items():
        for about in methods.values():
            if with_token and path not in OPEN:
                about["security"] = [{name: []} for name in SCHEMES]
            for response in about["responses"].values():
                response.setdefault("headers", {})["X-Request-ID"] = REQUEST_ID
            for each in about.get("parameters", []):
                if each["name"] in PARAMETERS:
                    each["example"] = (PARAMETERS[each["name"]][1].examples or [None])[0]
    return found


def page(document: dict[str, Any]) -> str:
    """Returns the document as HTML."""
    rows = []
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            call = html.escape(f"{method.upper()} {path}")
            text = html.escape(about.get("description", about.get("summary", "")))
            given = parameter_table(about.get("parameters", []))
            statuses = ", ".join(about["responses"])
            told = f"<p>{text}</p>{given}<p>Status: {statuses}.</p>"
            rows.append(f"<dt><code>{call}</code></dt><dd>{told}</dd>")
    way = "Every request but those for health needs <code>Authorization: Bearer TOKEN</code>. "
    secured = '"security"' in json.dumps(document["paths"])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>unhaze: HTTP API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="icon.svg">'
        '<link rel="stylesheet" href="style.css"><main class="prose"><h1>HTTP API</h1>'
        f"<p>{html.escape(document['info']['description'])} {way if secured else ''}The whole"
        ' document: <a href="openapi.json">openapi.json</a>. <a href="./">Back to the page</a></p>'
        f"<dl>{''.join(rows)}</dl></main></html>"
    )


def parameter_table(parameters: list[dict[str, Any]]) -> str:
    """Returns a table of parameters: name, type, range, default, example and meaning."""
    if not parameters:
        return ""
    rows = []
    for each in parameters:
        schema = each["schema"]
        default = schema.get("default", "needed" if each.get("required") else "")
        example = each.get("example", "")
        cells = (
            f"<code>{html.escape(each['name'])}</code>",
            html.escape(kind_of(schema)),
            html.escape(str(default)),
            html.escape(str(example[0] if isinstance(example, list) else example)),
            html.escape(each.get("description", schema.get("description", ""))),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("parameter", "type", "default", "example", "meaning")
    head = "".join(f"<th>{each}</th>" for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def kind_of(schema: dict[str, Any]) -> str:
    """Returns type and range in words."""
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        return "one of " + ", ".join(map(str, choices))
    limits = [words.format(schema[key]) for key, words in LIMITS.items() if key in schema]
    return " ".join([schema.get("type", "string"), *limits])
