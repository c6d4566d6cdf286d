"""Dagster's endpoints that block, kept off the loop that serves everybody.

In Dagster 1.13 they are coroutines that ask the storage or a code server without awaiting anything:
one slow answer would stop every other request, that for the health of the process included.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_JSON: Final = "application/json"
_R = TypeVar("_R", bound=Response)


async def in_thread(endpoint: Callable[[Request], Awaitable[_R]], request: Request) -> _R:
    """Run an endpoint in a thread, with a loop of its own.

    Raises:
        HTTPException: the body says that it is JSON, and is not.
    """
    body = await request.body()  # kept in the request: it comes in by this loop alone
    if request.headers.get("content-type") == _JSON:
        _require_object(body)

    async def run() -> _R:
        return await endpoint(request)

    return await run_sync(lambda: asyncio.run(run()))


def _require_object(body: bytes) -> None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "The body must be a JSON object.")
