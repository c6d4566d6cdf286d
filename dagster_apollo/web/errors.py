"""What somebody is told of an error that is not theirs: admins all of it, others how to ask for it.

An exception's text and stack name paths, queries and hosts. Who is no admin is told what Dagster or
Apollo says on purpose, and of anything else a number by which an admin finds it in the log.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from dagster import DagsterError
from dagster_graphql.implementation.utils import ErrorCapture, UserFacingGraphQLError
from dagster_graphql.schema.errors import GraphenePythonError
from dagster_shared.error import SerializableErrorInfo
from graphene import Schema  # type: ignore[import-untyped]
from graphql import ExecutionResult, GraphQLError
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.postgres_logs.store import ComputeLogError
from dagster_apollo.web.audit import AuditError
from dagster_apollo.web.roles import Role

OUTAGES: Final = (SQLAlchemyError, ComputeLogError, AuditError)
"""Errors that say that the database fails: the answer is 503."""
_ON_PURPOSE: Final = (DagsterError, ApolloError, UserFacingGraphQLError, GraphQLError)
_STACK: Final = "\n\nStack Trace:"
"""What begins the stack of the code server's process in the text of its errors (1.13.27)."""
_asking: ContextVar[Role | None] = ContextVar("apollo_asking", default=None)
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
_log = logging.getLogger("apollo.web")


class RefusedError(GraphQLError):
    """A field or a mutation that whoever asks for it may not have."""


@contextmanager
def asked_by(role: Role) -> Iterator[None]:
    """Let errors in the block be told as to somebody of a role."""
    token = _asking.set(role)
    try:
        yield
    finally:
        _asking.reset(token)


def is_outage(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised for, is that the database fails."""
    while error is not None:
        if isinstance(error, OUTAGES):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def told(error: BaseException) -> str:
    """What somebody who is no admin is told of an error; the log gets what is kept back."""
    if isinstance(error, _ON_PURPOSE) and not _is_hidden_outage(error):
        return str(error).partition(_STACK)[0]
    number = secrets.token_hex(4)
    trace = None if is_outage(error) else error  # a database's own text may hold its URI
    _log.error("Internal error %s: %s", number, type(error).__name__, exc_info=trace)
    return f"Internal error {number}. An admin finds it by this number in the webserver's log."


def _is_hidden_outage(error: BaseException) -> bool:
    """Whether an error may quote the database."""
    return is_outage(error) and not isinstance(error, ApolloError)


def veiled(error: GraphQLError) -> GraphQLError:
    """An error as it may be shown: to admins as it is, to others what they may be told of it."""
    original = error.original_error
    if _asking.get() is Role.ADMIN or original is None or error.path is None:
        return error  # without a path it is about the query itself
    return GraphQLError(
        told(original),
        error.nodes,
        error.source,
        error.positions,
        error.path,
        extensions=error.extensions,
    )


def veil_errors(schema: Schema) -> None:
    """Have the errors that Dagster hands on as results, or in subscriptions, told by role, too."""
    stock = schema.subscribe

    async def subscribe(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        results = await stock(*arguments, **options)
        return results if isinstance(results, ExecutionResult) else _veiled_results(results)

    schema.subscribe = subscribe
    ErrorCapture.on_exception = _result_of


async def _veiled_results(results: AsyncIterator[ExecutionResult]) -> AsyncIterator[Any]:
    try:
        async for result in results:
            errors = [veiled(error) for error in result.errors or ()]
            yield ExecutionResult(result.data, errors or None, result.extensions)
    except Exception as error:
        if _asking.get() is Role.ADMIN:
            raise
        raise GraphQLError(told(error)) from None


def _result_of(exc_info: _ExcInfo) -> GraphenePythonError:
    """The result that stands for an exception; as Dagster makes it where the front door is not."""
    if _asking.get() in {None, Role.ADMIN}:
        return ErrorCapture.default_on_exception(exc_info)
    info = SerializableErrorInfo(told(exc_info[1]), [], exc_info[0].__name__)
    return GraphenePythonError(info)  # type: ignore[no-untyped-call]
