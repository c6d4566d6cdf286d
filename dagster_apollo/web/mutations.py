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
from graphql import GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema
from starlette.requests import HTTPConnection

from dagster_apollo.web.audit import Audit
from dagster_apollo.web.context import RoleRequestContext
from dagster_apollo.web.errors import RefusedError
from dagster_apollo.web.identity import Identity, address_of, identity_of
from dagster_apollo.web.launches import OWN_TAGS, launched_by, tag_cancelled, tag_terminated
from dagster_apollo.web.limits.mutations import require_theirs
from dagster_apollo.web.limits.scope import NotForLimitedError
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
_INVALID_CONFIG: Final = "RunConfigValidationInvalid"


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
        context: RoleRequestContext = info.context
        info = info._replace(context=context.whole)
        with launched_by(call.identity.name if call.name in LAUNCHES else None):
            try:
                result = resolve(root, info, **arguments)
            except Exception as error:
                _complete(audit, call, error)
                raise
        if inspect.isawaitable(result):
            return _awaited(result, audit, call)
        _complete(audit, call, result)
        _require_tellable(result, call)
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
    _require_tellable(value, call)
    return value


def _require_tellable(result: object, call: _Call) -> None:
    """Keep from limited people what is said of a configuration that is not valid.

    It names all that the job could be configured with, which is all tenants'.

    Raises:
        RefusedError: the result says that.
    """
    if call.identity.grant.is_limited and _INVALID_CONFIG in failures(result):
        raise RefusedError("The run's configuration is not valid: isPipelineConfigValid says why.")


def _allow(
    name: str, info: GraphQLResolveInfo, arguments: dict[str, object], audit: Audit
) -> _Call:
    """Decide on a call, and record it before anything is done.

    Raises:
        RefusedError: the caller's role does not allow it, or it is about other tenants.
    """
    detail = details(arguments)
    context: RoleRequestContext = info.context
    identity, number = _require(
        name,
        role_for_mutation(name),
        info,
        audit,
        about=joined(targets(arguments)),
        detail=detail,
        arguments=arguments,
    )
    drop_own_tags(arguments)
    return _Call(name, identity, context.whole.instance, arguments, detail, number)


def _require(
    name: str,
    needed: Role,
    info: GraphQLResolveInfo,
    audit: Audit,
    *,
    about: str | None,
    detail: Mapping[str, Any] | None = None,
    arguments: Mapping[str, object] | None = None,
) -> tuple[Identity, int]:
    """Record who asks for something; returns who that is, and the number of the entry.

    Args:
        name: what is asked for.
        needed: the least role that may have it.
        info: the request.
        audit: the audit log.
        about: to what it is to be done.
        detail: what else is recorded.
        arguments: those of a mutation; None: it is a field of something that is seen already.

    Raises:
        RefusedError: the caller's role does not allow it, or it is about other tenants.
    """
    context: RoleRequestContext = info.context
    connection = cast("HTTPConnection", context.source)
    identity = identity_of(connection)
    refusal = _refusal(name, needed, identity, context, arguments)
    allowed = refusal is None
    number = audit.record(
        name,
        by=identity,
        allowed=allowed,
        remote=address_of(connection),
        target=about,
        detail=detail,
    )
    if refusal is not None:
        raise RefusedError(refusal, extensions={"code": "FORBIDDEN"})
    return identity, number


def _refusal(
    name: str,
    needed: Role,
    identity: Identity,
    context: RoleRequestContext,
    arguments: Mapping[str, object] | None,
) -> str | None:
    """Why somebody is refused something; None where they are not."""
    if identity.role < needed:
        return f"{name} needs the role {needed}; you have the role {identity.role}."
    if context.scope is None:
        return None
    if arguments is None:
        return str(NotForLimitedError(name))
    try:
        require_theirs(name, arguments, context)
    except NotForLimitedError as error:
        return str(error)
    return None


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
