"""What the GraphQL endpoint takes, before Dagster reads it.

Dagster 1.13 also runs operations, mutations among them, that come in the query string of a GET or
with a POST of any content type, which pages of other sites can send.
"""

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_JSON: Final = "application/json"


def wants_graphiql(request: Request) -> bool:
    """Whether somebody opens the page that explores the API; it runs nothing by itself."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


async def refusal_of(request: Request) -> Response | None:
    """Why a request is not taken as a GraphQL operation; None where it is."""
    if request.method != "POST":
        return _error("Send operations by POST, with content type application/json.", 405)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        return _error("The content type must be application/json.", 415)
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        return _error("The body is not JSON.", 400)
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return _error('The body must be a JSON object with "query", one operation.', 400)
    return None


def _error(text: str, status: int) -> Response:
    headers = {"Allow": "POST"} if status == 405 else None  # noqa: PLR2004
    return JSONResponse({"errors": [{"message": text}]}, status, headers)
