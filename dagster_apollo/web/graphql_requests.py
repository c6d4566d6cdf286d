"""What the GraphQL endpoint takes, before Dagster reads it.

Dagster 1.13 also runs operations, mutations among them, that come in the query string of a GET or
with a POST of any content type, which pages of other sites can send.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from graphql import (
    ASTValidationRule,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

_JSON: Final = "application/json"
_UNSUPPORTED: Final = 1003
"""The code with which a WebSocket is closed that brings what nobody can use."""


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
    if not _is_operation(body):
        return _error(
            'The body must be a JSON object with "query", one operation, and may have "variables", '
            'an object, and "operationName".',
            400,
        )
    return None


def _is_operation(content: object) -> bool:
    """Whether a JSON text is an operation; Dagster 1.13 fails in the midst of another."""
    if not isinstance(content, dict) or not isinstance(content.get("query"), str):
        return False
    variables, name = content.get("variables"), content.get("operationName")
    if isinstance(variables, str):  # Dagster reads it once more
        try:
            variables = json.loads(variables)
        except (ValueError, RecursionError):
            return False
    return isinstance(variables, dict | None) and isinstance(name, str | None)


class CheckedWebSocket(WebSocket):
    """The WebSocket of subscriptions; closed when a message comes that is not one of theirs."""

    async def receive_json(self, mode: str = "text") -> Any:  # noqa: ANN401
        """The next message, a JSON object.

        Raises:
            WebSocketDisconnect: the client has gone, or what came is no such message.
        """
        try:
            message = await super().receive_json(mode)
        except (ValueError, KeyError, RecursionError):
            message = None
        if not _is_message(message):
            await self.close(_UNSUPPORTED)
            raise WebSocketDisconnect(_UNSUPPORTED)
        return message


def _is_message(content: object) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("id"), str | int | None):
        return False
    payload = content.get("payload")
    return content.get("type") != "start" or (
        _is_operation(payload)
        and isinstance(payload, dict)
        and not isinstance(payload.get("variables"), str)
        and isinstance(payload.get("operation_name"), str | None)
    )


class FewMutations(ASTValidationRule):
    """Limits how many mutations one request may make, by whatever aliases and fragments."""

    MOST: Final = 20

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: object) -> None:
        """Look at an operation."""
        if node.operation is OperationType.MUTATION:
            number = len(set(self._fields(node.selection_set, set())))
            if number > self.MOST:
                text = f"One request may make {self.MOST} mutations; this one makes {number}."
                self.report_error(GraphQLError(text, node))

    def _fields(self, selections: SelectionSetNode, seen: set[str]) -> Iterator[str]:
        """The names of the fields in the answer; each fragment counts once, as it is run."""
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                yield (selection.alias or selection.name).value
            elif isinstance(selection, InlineFragmentNode):
                yield from self._fields(selection.selection_set, seen)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = self.context.get_fragment(selection.name.value)
                if fragment is not None:
                    yield from self._fields(fragment.selection_set, seen)


def _error(text: str, status: int) -> Response:
    headers = {"Allow": "POST"} if status == 405 else None  # noqa: PLR2004
    return JSONResponse({"errors": [{"message": text}]}, status, headers)
