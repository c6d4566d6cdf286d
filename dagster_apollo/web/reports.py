"""Which asset a script reports about, for the audit log: where the path does not say it."""

import json
from typing import Any, Final

from dagster import AssetKey
from starlette.requests import Request

_KEY: Final = "asset_key"


async def reported_asset(request: Request) -> str | None:
    """The asset of a report, as Dagster 1.13 reads it: from the body, else from the query.

    Returns:
        Its key; None where the path has it, or nothing that is one has.
    """
    if request.path_params.get(_KEY):
        return None
    value: Any = None
    if request.headers.get("content-type") == "application/json":
        try:
            value = json.loads(await request.body()).get(_KEY)
        except (ValueError, AttributeError, RecursionError):
            return None  # the endpoint refuses it
    if value is None and (text := request.query_params.get(_KEY)):
        key = AssetKey.from_db_string(text)
        value = key.path if key else None
    if isinstance(value, str):
        return value
    return "/".join(map(str, value)) if isinstance(value, list) else None
