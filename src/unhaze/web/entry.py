"""Login for people if the server has a token: a form instead of a line of JSON."""

import base64
import hashlib
import hmac

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

COOKIE = "unhaze"
ENTRY = "/token"  # target of the form
STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1rem}"
    "input,button{font:inherit;box-sizing:border-box;width:100%;padding:.5rem;margin-top:.5rem}"
)
DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{DIGEST}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "WWW-Authenticate": "Bearer",
}
PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>unhaze: token</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><style>{style}</style>'
    '<main><h1>unhaze</h1>{fault}<form method="post" action="{action}">'
    '<label for="token">This server requires a token, which its operator has.</label>'
    '<input id="token" name="token" type="password" autocomplete="current-password"'
    " required autofocus><button>Open</button></form></main></html>"
)
FAULT = '<p role="alert">That is not the token of this server.</p>'

router = APIRouter(include_in_schema=False)


@router.post(ENTRY)
async def enter(request: Request) -> Response:
    """Handles the submitted form."""
    return admit(request, str((await request.form(max_files=0, max_fields=1)).get("token", "")))


def admit(request: Request, given: str) -> Response:
    """Redirects to the page with the token in a cookie, so that it does not stay in the address."""
    token = request.app.state.clearer.settings.token
    if token and not same(given, token):
        return form(request, wrong=True)
    response = RedirectResponse("./", 303)
    if token:
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return response


def form(request: Request, *, wrong: bool = False) -> Response:
    """Returns the form with status 401; wrong: whether a wrong token was submitted."""
    # Relative, because a proxy may serve all of this below an unknown path.
    action = "../" * (request.url.path.count("/") - 1) + ENTRY.removeprefix("/")
    page = PAGE.format(style=STYLE, action=action, fault=FAULT if wrong else "")
    return HTMLResponse(page, 401, HEADERS)


def is_browser(request: Request) -> bool:
    """Returns whether the client is a browser that expects a page."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def same(given: str, token: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())
