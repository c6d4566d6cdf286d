"""What of the API people get who are limited to tenants: an allow list of its root fields.

Whatever a field answers with is read from the views of workspace and instance. On the list is what
has been worked through with them; one that is not, as those that a new release of Dagster brings,
is refused. A test compares both lists with the schema.
"""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from graphql import GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema

from dagster_apollo.web.context import RoleRequestContext
from dagster_apollo.web.errors import RefusedError
from dagster_apollo.web.limits.scope import NotForLimitedError

QUERIES: Final = frozenset(
    {
        "allTopLevelResourceDetailsOrError",
        "assetCheckExecutions",
        "assetNodeAdditionalRequiredKeys",
        "assetNodeDefinitionCollisions",
        "assetNodeOrError",
        "assetNodes",
        "assetOrError",
        "assetRecordsOrError",
        "assetsLatestInfo",
        "assetsOrError",
        "autoMaterializeTicks",
        "canBulkTerminate",
        "capturedLogs",
        "capturedLogsMetadata",
        "executionPlanOrError",
        "graphOrError",
        "instance",
        "instigationStateOrError",
        "instigationStatesOrError",
        "isPipelineConfigValid",
        "locationStatusesOrError",
        "logsForRun",
        "partitionBackfillOrError",
        "partitionBackfillsOrError",
        "partitionSetOrError",
        "partitionSetsOrError",
        "permissions",
        "pipelineOrError",
        "pipelineRunOrError",
        "pipelineRunsOrError",
        "pipelineSnapshotOrError",
        "repositoriesOrError",
        "repositoryOrError",
        "resourcesOrError",
        "runConfigSchemaOrError",
        "runGroupOrError",
        "runIdsOrError",
        "runOrError",
        "runTagKeysOrError",
        "runTagsOrError",
        "runsFeedCountOrError",
        "runsFeedOrError",
        "runsOrError",
        "scheduleOrError",
        "scheduler",
        "schedulesOrError",
        "sensorOrError",
        "sensorsOrError",
        "shouldShowNux",
        "topLevelResourceDetailsOrError",
        "utilizedEnvVarsOrError",
        "version",
        "workspaceLocationEntryOrError",
        "workspaceOrError",
    }
)
"""The queries of Dagster 1.13.27 that limited people get."""

REFUSED_QUERIES: Final = frozenset(
    {
        "appManagedComponentsForLocationOrError",
        "assetBackfillPreview",
        "assetConditionEvaluationForPartition",
        "assetConditionEvaluationRecordsOrError",
        "assetConditionEvaluationsForEvaluationId",
        "autoMaterializeAssetEvaluationsOrError",
        "autoMaterializeEvaluationsForEvaluationId",
        "componentTypesForLocationOrError",
        "componentsForLocationOrError",
        "latestDefsStateInfo",
        "test",
        "truePartitionsForAutomationConditionEvaluationNode",
    }
)
"""Those that they do not get: conditions and components are of all tenants of a code location."""

SUBSCRIPTIONS: Final = frozenset({"capturedLogs", "pipelineRunLogs", "locationStateChangeEvents"})
"""The subscriptions of Dagster 1.13.27, all of which limited people get."""
_LOCATIONS: Final = "locationStateChangeEvents"
_Resolver = Callable[..., Any]


def limit_fields(schema: GraphQLSchema) -> None:
    """Refuse limited people the queries and subscriptions of a schema that are not on the list."""
    if schema.query_type is None or schema.subscription_type is None:
        raise TypeError("the schema has no queries, or no subscriptions")
    for name, field in schema.query_type.fields.items():
        if field.resolve is None:
            raise TypeError(f"the query {name} has no resolver")
        field.resolve = _limited(name, field.resolve, QUERIES)
    _limit_subscriptions(schema.subscription_type)


def _limit_subscriptions(subscriptions: GraphQLObjectType) -> None:
    for name, field in subscriptions.fields.items():
        if field.subscribe is None:
            raise TypeError(f"the subscription {name} has no source")
        source = _locations(field.subscribe) if name == _LOCATIONS else field.subscribe
        field.subscribe = _limited(name, source, SUBSCRIPTIONS)


def _limited(name: str, resolve: _Resolver, allowed: frozenset[str]) -> _Resolver:
    @functools.wraps(resolve)
    def limited(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        context: RoleRequestContext = info.context
        if context.scope is not None and name not in allowed:
            raise RefusedError(str(NotForLimitedError(name)), extensions={"code": "FORBIDDEN"})
        return resolve(root, info, **arguments)

    return limited


def _locations(source: _Resolver) -> _Resolver:
    """The events of code locations, which limited people get of theirs, without what they say."""

    @functools.wraps(source)
    def limited(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        context: RoleRequestContext = info.context
        if context.scope is None:
            return source(root, info, **arguments)
        names = frozenset(context.code_location_names)
        return _those(source(root, info._replace(context=context.whole), **arguments), names)

    return limited


async def _those(events: AsyncIterator[Any], names: frozenset[str]) -> AsyncIterator[Any]:
    async for item in events:
        if item.event.location_name in names:
            item.event.message = ""
            yield item
