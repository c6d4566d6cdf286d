"""Mutations: refused or allowed by role, recorded, and tagged with who asked for them.

The resolvers of the schema's mutations are wrapped once, when the schema is built. That is below
everything that leads to them (HTTP, WebSocket, aliases, several in one request), and costs other
fields nothing.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from dagster import DagsterInstance
from graphql import GraphQLError, GraphQLResolveInfo, GraphQLSchema
from starlette.requests import HTTPConnection

from dagster_apollo.web.audit import Audit
from dagster_apollo.web.identity import Identity, address_of, identity_of
from dagster_apollo.web.launches import OWN_TAGS, TERMINATED_BY, launched_by
from dagster_apollo.web.roles import LAUNCHES, TERMINATIONS, role_for_mutation

_Resolver = Callable[..., Any]
_TARGETS: Final = frozenset(
    {
        "runId",
        "runIds",
        "parentRunId",
        "backfillId",
        "pipelineName",
        "jobName",
        "scheduleName",
        "scheduleOriginId",
        "sensorName",
        "partitionsDefName",
        "concurrencyKey",
    }
)
"""The arguments, wherever they lie, that say what a mutation is about."""
_TAG_LISTS: Final = frozenset({"tags", "extraTags"})
_NOT_APOLLO_S: Final = frozenset({"runConfigData"})
"""Arguments that only the job understands; they may hold secrets."""
_ATTRIBUTES: Final = ("run_id", "backfill_id")


class RefusedError(GraphQLError):
    """A mutation that its caller's role does not allow."""


@dataclass(frozen=True)
class _Call:
    """One call of a mutation that is allowed."""

    name: str
    identity: Identity
    instance: DagsterInstance
    arguments: Mapping[str, object]
    number: int
    """Its entry in the audit log."""


def guard_mutations(schema: GraphQLSchema, audit: Audit) -> None:
    """Wrap the resolver of every mutation of a schema."""
    if schema.mutation_type is None:
        raise TypeError("the schema has no mutations")
    for name, field in schema.mutation_type.fields.items():
        if field.resolve is None:
            raise TypeError(f"the mutation {name} has no resolver")
        field.resolve = _guarded(name, field.resolve, audit)


def _guarded(name: str, resolve: _Resolver, audit: Audit) -> _Resolver:
    @functools.wraps(resolve)
    def guarded(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        call = _allow(name, info, arguments, audit)
        if call.name in TERMINATIONS:
            _tag_terminated(call)
        with launched_by(call.identity.name if call.name in LAUNCHES else None):
            try:
                result = resolve(root, info, **arguments)
            except Exception as error:
                _complete(audit, call, error)
                raise
        if inspect.isawaitable(result):
            return _awaited(result, audit, call)
        _complete(audit, call, result)
        return result

    return guarded


async def _awaited(result: Awaitable[object], audit: Audit, call: _Call) -> object:
    # the coroutine has not run yet, so who launches is said here, too
    with launched_by(call.identity.name if call.name in LAUNCHES else None):
        try:
            value = await result
        except Exception as error:
            _complete(audit, call, error)
            raise
    _complete(audit, call, value)
    return value


def _allow(
    name: str, info: GraphQLResolveInfo, arguments: dict[str, object], audit: Audit
) -> _Call:
    """Decide on a call, and record it before anything is done.

    Raises:
        RefusedError: the caller's role does not allow it.
    """
    connection = cast("HTTPConnection", info.context.source)
    identity = identity_of(connection)
    needed = role_for_mutation(name)
    allowed = identity.role >= needed
    number = audit.record(
        name,
        by=identity,
        allowed=allowed,
        remote=address_of(connection),
        target=_joined(targets(arguments)),
    )
    if not allowed:
        raise RefusedError(
            f"{name} needs the role {needed}; you have the role {identity.role}.",
            extensions={"code": "FORBIDDEN"},
        )
    drop_own_tags(arguments)
    return _Call(name, identity, info.context.instance, arguments, number)


def drop_own_tags(arguments: object) -> None:
    """Take the tags that only Apollo sets out of what a client sent, however deep they lie."""
    if isinstance(arguments, dict):
        for name, value in arguments.items():
            if name in _TAG_LISTS and isinstance(value, list):
                value[:] = [tag for tag in value if not _is_own(tag)]
            elif name not in _NOT_APOLLO_S:
                drop_own_tags(value)
    elif isinstance(arguments, list):
        for item in arguments:
            drop_own_tags(item)


def _is_own(tag: object) -> bool:
    return isinstance(tag, Mapping) and str(tag.get("key", "")).startswith(OWN_TAGS)


def _tag_terminated(call: _Call) -> None:
    for run_id in _texts(call.arguments.get("runId") or call.arguments.get("runIds")):
        run = call.instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            call.instance.add_run_tags(run_id, {TERMINATED_BY: call.identity.name})


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []


def targets(arguments: object) -> Iterator[str]:
    """What a call's own arguments say it is about: runs, jobs, assets, and so on."""
    if isinstance(arguments, list):
        for item in arguments:
            yield from targets(item)
    elif isinstance(arguments, dict):
        for name, value in arguments.items():
            if name in _TARGETS:
                yield from _texts(value)
            elif name == "path":  # of an asset
                yield "/".join(_texts(value))
            elif name not in _TAG_LISTS | _NOT_APOLLO_S:
                yield from targets(value)


def _complete(audit: Audit, call: _Call, result: object) -> None:
    """Add what came of a call to its entry: the runs or the backfill, or the kind of error."""
    made = list(_made(result))
    kind = type(result).__name__
    failed = isinstance(result, Exception) or kind.endswith(("Error", "NotFound", "Failure"))
    detail = {"failed": kind.removeprefix("Graphene")} if failed else None
    target = _joined([*targets(call.arguments), *made]) if made else None
    audit.complete(call.number, target, detail)


def _joined(names: Iterable[str]) -> str | None:
    return ", ".join(dict.fromkeys(names)) or None


def _made(result: object) -> Iterator[str]:
    """The ids of the runs and backfills that a mutation made."""
    for item in getattr(result, "launchMultipleRunsResult", None) or ():
        yield from _made(item)
    run = getattr(result, "run", None)
    for holder in (result, run):
        for attribute in _ATTRIBUTES:
            value = getattr(holder, attribute, None)
            if isinstance(value, str):
                yield value
