"""Mutations: refused or allowed by role, recorded, and tagged with who asked for them.

The resolvers of the schema's mutations, and of the few other fields that have code run, are wrapped
once, when the schema is built. That is below
everything that leads to them (HTTP, WebSocket, aliases, several in one request), and costs other
fields nothing.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from dagster import DagsterInstance
from graphql import GraphQLError, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema
from starlette.requests import HTTPConnection

from dagster_apollo.web.audit import Audit
from dagster_apollo.web.identity import Identity, address_of, identity_of
from dagster_apollo.web.launches import OWN_TAGS, launched_by, tag_cancelled, tag_terminated
from dagster_apollo.web.roles import (
    LAUNCHES,
    ROLE_OF_FIELD,
    TERMINATIONS,
    Role,
    role_for_mutation,
)
from dagster_apollo.web.targets import (
    NOT_APOLLO_S,
    TAG_LISTS,
    details,
    failures,
    joined,
    made,
    selected,
    succeeded,
    targets,
)

_Resolver = Callable[..., Any]
_CANCEL_BACKFILL: Final = "cancelPartitionBackfill"


class RefusedError(GraphQLError):
    """A mutation, or a field, that its caller's role does not allow."""


@dataclass(frozen=True)
class _Call:
    """One call of a mutation that is allowed."""

    name: str
    identity: Identity
    instance: DagsterInstance
    arguments: Mapping[str, object]
    detail: Mapping[str, Any]
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


def guard_fields(schema: GraphQLSchema, audit: Audit) -> None:
    """Wrap the resolvers of the fields that run code though they only seem to read."""
    for (kind, name), needed in ROLE_OF_FIELD.items():
        type_ = schema.get_type(kind)
        field = type_.fields.get(name) if isinstance(type_, GraphQLObjectType) else None
        if field is None or field.resolve is None:
            raise TypeError(f"the schema has no {kind}.{name}, which is to be guarded")
        field.resolve = _guarded_field(f"{kind}.{name}", needed, field.resolve, audit)


def _guarded_field(name: str, needed: Role, resolve: _Resolver, audit: Audit) -> _Resolver:
    @functools.wraps(resolve)
    def guarded(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        _require(name, needed, info, audit, about=selected(root))
        return resolve(root, info, **arguments)

    return guarded


def _guarded(name: str, resolve: _Resolver, audit: Audit) -> _Resolver:
    @functools.wraps(resolve)
    def guarded(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        call = _allow(name, info, arguments, audit)
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
    detail = details(arguments)
    identity, number = _require(
        name, role_for_mutation(name), info, audit, about=joined(targets(arguments)), detail=detail
    )
    drop_own_tags(arguments)
    return _Call(name, identity, info.context.instance, arguments, detail, number)


def _require(
    name: str,
    needed: Role,
    info: GraphQLResolveInfo,
    audit: Audit,
    *,
    about: str | None,
    detail: Mapping[str, Any] | None = None,
) -> tuple[Identity, int]:
    """Record who asks for something; returns who that is, and the number of the entry.

    Raises:
        RefusedError: the caller's role does not allow it.
    """
    connection = cast("HTTPConnection", info.context.source)
    identity = identity_of(connection)
    allowed = identity.role >= needed
    number = audit.record(
        name,
        by=identity,
        allowed=allowed,
        remote=address_of(connection),
        target=about,
        detail=detail,
    )
    if not allowed:
        raise RefusedError(
            f"{name} needs the role {needed}; you have the role {identity.role}.",
            extensions={"code": "FORBIDDEN"},
        )
    return identity, number


def drop_own_tags(arguments: object) -> None:
    """Take the tags that only Apollo sets out of what a client sent, however deep they lie."""
    if isinstance(arguments, dict):
        for name, value in arguments.items():
            if name in TAG_LISTS and isinstance(value, list):
                value[:] = [tag for tag in value if not _is_own(tag)]
            elif name not in NOT_APOLLO_S:
                drop_own_tags(value)
    elif isinstance(arguments, list):
        for item in arguments:
            drop_own_tags(item)


def _is_own(tag: object) -> bool:
    return isinstance(tag, Mapping) and str(tag.get("key", "")).startswith(OWN_TAGS)


def _complete(audit: Audit, call: _Call, result: object) -> None:
    """Tag the runs that a call has ended, and add to its entry what came of it.

    It is done, so a tag or an addition that cannot be written does not make it fail.
    """
    by = call.identity.name
    if call.name in TERMINATIONS:
        for done in succeeded(result, "TerminateRunSuccess"):
            tag_terminated(call.instance, made(done), by)
    elif call.name == _CANCEL_BACKFILL:
        for done in succeeded(result, "CancelBackfillSuccess"):
            for backfill_id in made(done):
                tag_cancelled(call.instance, backfill_id, by)
    ids, failed = list(made(result)), failures(result)
    target = joined([*targets(call.arguments), *ids]) if ids else None
    detail = {**call.detail, "failed": ", ".join(failed)} if failed else None
    audit.complete(call.number, target, detail)
