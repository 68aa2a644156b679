"""Media types of responses, and the errors that all routes share."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from unhaze.outputs import Notes
from unhaze.web.upload_store import Kept
from unhaze.web.uploads import FILE

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".jxl": "image/jxl",
    ".exr": "image/x-exr",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}


@dataclass(frozen=True)
class Refusal:
    """The reason for an error, in one line."""

    detail: str


Responses = dict[int | str, dict[str, Any]]  # for the OpenAPI document, by status
SECONDS = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
# Possible for every request, also before it is examined.
ANY: Responses = {
    400: {"model": Refusal, "description": "The request is incomplete, or for another host."},
    401: {"model": Refusal, "description": "The token is missing or wrong."},
    429: {"model": Refusal, "description": "Busy; come again.", "headers": SECONDS},
    503: {"model": Refusal, "description": "The server is stopping.", "headers": SECONDS},
}
UNKNOWN: Responses = ANY | {
    404: {"model": Refusal, "description": "Not kept here (any more)."},
    422: {"model": Refusal, "description": "No such picture, model or parameter."},
}
BUSY: Responses = ANY | {
    422: UNKNOWN[422],
    507: {"model": Refusal, "description": "No room for this upload or its result."},
}
UPLOAD: Responses = BUSY | {
    403: {"model": Refusal, "description": "Sent by the page of another site."},
    408: {"model": Refusal, "description": "The body did not come in time."},
    413: {"model": Refusal, "description": "The body is too large, or the picture in it."},
}
CHOICE: Responses = {406: {"model": Refusal, "description": "Accept lets no format through."}}

# Sent with every picture, because a result should state what it lacks.
FACTS = {
    "Unhaze-Model": ("The model that looked at it.", "string"),
    "Unhaze-Seconds": ("The work on it.", "number"),
    "Unhaze-Size": ("WIDTHxHEIGHT in pixels.", "string"),
    "Unhaze-Lost": ("What the result lacks of the upload; if nothing, not sent.", "string"),
    "Unhaze-Notes": ("What became of the cast of dust or smoke, if the haze has it.", "string"),
}
EXPOSED = tuple(FACTS)  # for pages of other sites that may use the API
MOST = 1000  # characters


def content(*media_types: str, facts: bool = False) -> Responses:
    """Returns the OpenAPI description of status 200; facts: with the headers of `FACTS`."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    success = {"content": dict.fromkeys(media_types, binary), "description": "The file."}
    if facts:
        success["headers"] = {
            name: {"description": text, "schema": {"type": kind}}
            for name, (text, kind) in FACTS.items()
        }
    return {200: success}


def facts_of(item: Kept, seconds: float, notes: Notes) -> dict[str, str]:
    """Returns the headers of `FACTS` for a result."""
    headers = {
        "Unhaze-Model": item.model,
        "Unhaze-Seconds": f"{seconds:.3f}",
        "Unhaze-Size": f"{item.width}x{item.height}",
    }
    for name, said in (("Unhaze-Lost", notes.lost), ("Unhaze-Notes", notes.remarks)):
        words = "; ".join(said).encode("ascii", "replace").decode()
        if words:
            headers[name] = " ".join(words.split())[:MOST]
    return headers


def body(fields: type[BaseModel]) -> dict[str, Any]:
    """Returns the OpenAPI description of a body: the file itself, or a form with it and
    `fields`.
    """
    binary = {"type": "string", "format": "binary"}
    properties = fields.model_json_schema()["properties"]
    form = {"type": "object", "properties": {FILE: binary} | properties, "required": [FILE]}
    content = {"application/octet-stream": binary, "multipart/form-data": form}
    described = {kind: {"schema": schema} for kind, schema in content.items()}
    return {"requestBody": {"required": True, "content": described}}


def media_type(suffix: str) -> str:
    """Returns the `Content-Type` of a suffix; unknown ones are plain bytes."""
    return MEDIA_TYPES.get(suffix.lower(), "application/octet-stream")
