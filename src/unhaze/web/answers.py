"""How answers look: their media types, and the refusals that all routes share."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from unhaze.errors import UnhazeError
from unhaze.names import nearest

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request was not fulfilled, in one line."""

    detail: str


@dataclass(frozen=True)
class BadParameters:
    """Why a request was not fulfilled: one line, or a list of what is wrong with the parameters."""

    detail: str | list[Any]


UNKNOWN: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "The token is missing or wrong."},
    404: {"model": Refusal, "description": "Not kept here (any more)."},
    422: {"model": BadParameters, "description": "No such picture, model or parameter."},
}
BUSY: dict[int | str, dict[str, Any]] = {
    429: {
        "model": Refusal,
        "description": "Busy; come again.",
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    },
    503: {
        "model": Refusal,
        "description": "The server is stopping.",
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    },
    507: {"model": Refusal, "description": "No room for this upload or its result."},
}
UPLOAD: dict[int | str, dict[str, Any]] = BUSY | {
    400: {"model": Refusal, "description": "The body is incomplete."},
    401: UNKNOWN[401],
    403: {"model": Refusal, "description": "Sent by the page of another site."},
    408: {"model": Refusal, "description": "The body did not come in time."},
    413: {"model": Refusal, "description": "The body is too large, or the picture in it."},
    422: UNKNOWN[422],
}
# The body is the file itself: nothing has to be unpacked, and it is counted as it comes.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def content(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: what the answer 200 holds."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, binary), "description": "The file."}}


def media_type(suffix: str) -> str:
    """For `Content-Type`; what is not known is only bytes."""
    return MEDIA_TYPES.get(suffix.lower(), "application/octet-stream")


def known_parameters(request: Request) -> None:
    """UnhazeError for a query parameter that the route does not have: it would change nothing."""
    known = {each.alias for each in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            advice = nearest(name, known) if known else "there are none here"
            raise UnhazeError(f"no parameter '{name}'; {advice}")
