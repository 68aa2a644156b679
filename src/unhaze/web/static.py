"""Files of the page: the build of `make site`, and the models that run in the browser.

Small files are part of the package. The runtime for browsers (WebAssembly, 14 MB) is added by `make
site`, as in released wheels; without it the page uses the server only.
"""

import mimetypes
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unhaze.restore.models import FOLDER
from unhaze.web.work import Missing

IN_BROWSER = ("photo", "photo-fast")  # as in site/src/models.ts
RUNTIME = "runtime/ort-wasm-simd-threaded.wasm"
SAMPLE = "samples/valley.jpg"
# The tables of systems differ for these.
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
TYPES |= {".webmanifest": "application/manifest+json"}
FOR_EVER = "private, max-age=31536000, immutable"  # their names change with their content
ASK_FIRST = "private, no-cache"


def add_files(app: FastAPI, folder: Path) -> None:
    """Adds what the page downloads: its configuration, models, and the files in `folder`."""
    for suffix, kind in TYPES.items():
        mimetypes.add_type(kind, suffix)

    @app.get("/config.json", include_in_schema=False)
    def config() -> JSONResponse:
        return JSONResponse(
            {
                "server": True,
                "browser": (folder / RUNTIME).is_file(),
                "codecs": False,
                "webgpu": False,
                "sample": (folder / SAMPLE).is_file(),
            }
        )

    @app.get("/models/{name}.onnx", include_in_schema=False)
    def model(name: str) -> FileResponse:
        if name not in IN_BROWSER:
            raise Missing(f"no model '{name}' for browsers; expected {' or '.join(IN_BROWSER)}")
        headers = {"cache-control": ASK_FIRST}
        return FileResponse(FOLDER / f"{name}.onnx", headers=headers)

    app.mount("/", kept(StaticFiles(directory=folder)), name="page")


def kept(files: ASGIApp) -> ASGIApp:
    """Serves `files`; browsers may cache those in assets/ and revalidate the others."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        rule = FOR_EVER if "/assets/" in scope["path"] else ASK_FIRST

        async def send_with_rule(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                message["headers"] = [*message["headers"], (b"cache-control", rule.encode())]
            await send(message)

        await files(scope, receive, send_with_rule)

    return respond
