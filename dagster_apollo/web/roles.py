"""What each role may do: the mutations of Dagster's GraphQL API, its permissions, its routes.

A viewer reads. An operator also launches, re-executes and terminates, and reports what happened
elsewhere. An admin may do everything. What is not listed here is for admins alone, so a mutation
that a new version of Dagster brings is closed until somebody has looked at it.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from dagster._core.workspace.permissions import (
    LOCATION_SCOPED_PERMISSIONS,
    PermissionResult,
    Permissions,
    get_user_permissions,
)


class Role(IntEnum):
    """A role; the greater one may do all that the smaller one may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> "Role":
        """The role of a name in lower case.

        Raises:
            ValueError: there is no such role; the message names those that exist.
        """
        for role in cls:
            if str(role) == text:
                return role
        raise ValueError(f"is not a role; roles are {ROLES_TEXT}")


ROLES_TEXT: Final = ", ".join(str(role) for role in Role)

ROLE_OF_MUTATION: Final[Mapping[str, Role]] = {
    "launchPipelineExecution": Role.OPERATOR,
    "launchRun": Role.OPERATOR,
    "launchMultipleRuns": Role.OPERATOR,
    "launchPipelineReexecution": Role.OPERATOR,
    "launchRunReexecution": Role.OPERATOR,
    "launchPartitionBackfill": Role.OPERATOR,
    "resumePartitionBackfill": Role.OPERATOR,
    "reexecutePartitionBackfill": Role.OPERATOR,
    "cancelPartitionBackfill": Role.OPERATOR,
    "terminatePipelineExecution": Role.OPERATOR,
    "terminateRun": Role.OPERATOR,
    "terminateRuns": Role.OPERATOR,
    "scheduleDryRun": Role.OPERATOR,
    "sensorDryRun": Role.OPERATOR,
    "reportRunlessAssetEvents": Role.OPERATOR,
    "reportAssetCheckEvaluations": Role.OPERATOR,
    "reloadRepositoryLocation": Role.OPERATOR,
    "reloadWorkspace": Role.OPERATOR,
    "logTelemetry": Role.OPERATOR,
    "setNuxSeen": Role.OPERATOR,
    "startSchedule": Role.ADMIN,
    "stopRunningSchedule": Role.ADMIN,
    "resetSchedule": Role.ADMIN,
    "startSensor": Role.ADMIN,
    "stopSensor": Role.ADMIN,
    "resetSensor": Role.ADMIN,
    "setSensorCursor": Role.ADMIN,
    "deletePipelineRun": Role.ADMIN,
    "deleteRun": Role.ADMIN,
    "wipeAssets": Role.ADMIN,
    "addDynamicPartition": Role.ADMIN,
    "deleteDynamicPartitions": Role.ADMIN,
    "shutdownRepositoryLocation": Role.ADMIN,
    "setAppManagedComponent": Role.ADMIN,
    "deleteAppManagedComponent": Role.ADMIN,
    "refreshComponentState": Role.ADMIN,
    "setAutoMaterializePaused": Role.ADMIN,
    "setConcurrencyLimit": Role.ADMIN,
    "deleteConcurrencyLimit": Role.ADMIN,
    "freeConcurrencySlots": Role.ADMIN,
    "freeConcurrencySlotsForRun": Role.ADMIN,
}
"""Every mutation of Dagster 1.13.27, and who may call it."""

ROLE_OF_FIELD: Final[Mapping[tuple[str, str], Role]] = {
    ("DryRunInstigationTick", "evaluationResult"): Role.OPERATOR,
}
"""Fields, by their type, that have the code server run a tenant's code when they are read."""

LAUNCHES: Final = frozenset(
    {
        "launchPipelineExecution",
        "launchRun",
        "launchMultipleRuns",
        "launchPipelineReexecution",
        "launchRunReexecution",
        "launchPartitionBackfill",
        "reexecutePartitionBackfill",
    }
)
"""The mutations that create runs, or a backfill that will."""
TERMINATIONS: Final = frozenset({"terminatePipelineExecution", "terminateRun", "terminateRuns"})
"""The mutations that end runs; their runs are in the argument runId or runIds."""

_OPERATOR_PERMISSIONS: Final = frozenset(
    {
        Permissions.LAUNCH_PIPELINE_EXECUTION,
        Permissions.LAUNCH_PIPELINE_REEXECUTION,
        Permissions.LAUNCH_PARTITION_BACKFILL,
        Permissions.CANCEL_PARTITION_BACKFILL,
        Permissions.TERMINATE_PIPELINE_EXECUTION,
        Permissions.SCHEDULE_DRY_RUN,
        Permissions.SENSOR_DRY_RUN,
        Permissions.REPORT_RUNLESS_ASSET_EVENTS,
        Permissions.RELOAD_REPOSITORY_LOCATION,
        Permissions.RELOAD_WORKSPACE,
    }
)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods by which nothing is changed."""


def role_for_mutation(name: str) -> Role:
    """The least role that may call a mutation."""
    return ROLE_OF_MUTATION.get(name, Role.ADMIN)


def role_for_route(method: str, path: str) -> Role:
    """The least role for a request; what GraphQL is asked for is decided by its mutations.

    Args:
        method: the HTTP method; GET for a WebSocket.
        path: the path of the URL, as the router sees it.
    """
    if path == "/graphql" or method in SAFE_METHODS:
        return Role.VIEWER
    if path.startswith("/report_asset_"):
        return Role.OPERATOR
    return Role.ADMIN


def permissions_of(role: Role) -> Mapping[str, PermissionResult]:
    """Dagster's permissions of a role, by which its UI hides what would be refused."""
    if role is not Role.OPERATOR:
        return get_user_permissions(read_only=role < Role.ADMIN)
    return {
        permission: PermissionResult(True, None)
        if permission in _OPERATOR_PERMISSIONS
        else PermissionResult(False, "This needs the role admin")
        for permission in get_user_permissions(read_only=False)
    }


def location_permissions_of(role: Role) -> Mapping[str, PermissionResult]:
    """Those of a role's permissions that Dagster asks for by code location."""
    return {
        permission: result
        for permission, result in permissions_of(role).items()
        if permission in LOCATION_SCOPED_PERMISSIONS
    }
