"""What Dagster asks a request about its permissions, answered by role.

People who are limited to tenants get one of the same kind, of views of workspace and instance.
"""

from collections.abc import Mapping
from typing import Final, Self

from dagster import DagsterInstance
from dagster._core.storage.tags import REPORTING_USER_TAG
from dagster._core.workspace.context import IWorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.permissions import PermissionResult, Permissions
from dagster._core.workspace.workspace import CurrentWorkspace
from starlette.requests import HTTPConnection

from dagster_apollo.web.identity import identity_of
from dagster_apollo.web.limits.instance import LimitedInstance
from dagster_apollo.web.limits.scope import NotForLimitedError, Scope
from dagster_apollo.web.limits.workspace import Workspaces
from dagster_apollo.web.roles import Role, location_permissions_of, permissions_of

_ProcessContext = IWorkspaceProcessContext[WorkspaceRequestContext]
_LEFT: Final = frozenset(
    {
        Permissions.LAUNCH_PIPELINE_EXECUTION,
        Permissions.LAUNCH_PIPELINE_REEXECUTION,
        Permissions.TERMINATE_PIPELINE_EXECUTION,
    }
)


class RoleRequestContext(WorkspaceRequestContext):
    """The workspace as somebody sees it: Dagster's UI hides what their role does not allow."""

    @classmethod
    def of(
        cls, process_context: _ProcessContext, connection: HTTPConnection, workspaces: Workspaces
    ) -> "RoleRequestContext":
        """The context of a request that the front door let in.

        Args:
            process_context: what the process serves.
            connection: the request.
            workspaces: the workspaces of people who are limited to tenants.
        """
        stock = process_context.create_request_context(connection)
        instance, workspace = stock.instance, stock.get_current_workspace()
        tenants = identity_of(connection).grant.tenants
        whole = cls._made(process_context, connection, stock.version, instance, workspace)
        if tenants is None:
            return whole
        scope = Scope(tenants)
        theirs = workspaces.of(workspace, scope)
        view = LimitedInstance(instance, scope, theirs)
        limited = LimitedRequestContext._made(
            process_context, connection, stock.version, view, theirs
        )
        limited.limit(scope, whole)
        return limited

    @classmethod
    def _made(
        cls,
        process_context: _ProcessContext,
        connection: HTTPConnection,
        version: str | None,
        instance: DagsterInstance,
        workspace: CurrentWorkspace,
    ) -> Self:
        return cls(
            instance=instance,
            current_workspace=workspace,
            process_context=process_context,
            version=version,
            source=connection,
            read_only=identity_of(connection).role is Role.VIEWER,
        )

    @property
    def scope(self) -> Scope | None:
        """The tenants that whoever asks is limited to; None where they are not."""
        return None

    @property
    def whole(self) -> "RoleRequestContext":
        """The context without limits, for what has been looked at already."""
        return self

    @property
    def permissions(self) -> Mapping[str, PermissionResult]:
        """Dagster's permissions for the whole deployment."""
        return permissions_of(self._role)

    def permissions_for_location(
        self,
        *,
        location_name: str,  # noqa: ARG002
    ) -> Mapping[str, PermissionResult]:
        """Dagster's permissions for a code location, which are the same for all."""
        return location_permissions_of(self._role)

    def get_reporting_user_tags(self) -> dict[str, str]:
        """Who reports an event that no run made."""
        return {REPORTING_USER_TAG: identity_of(self._connection).name}

    @property
    def _role(self) -> Role:
        return identity_of(self._connection).role

    @property
    def _connection(self) -> HTTPConnection:
        if not isinstance(self.source, HTTPConnection):
            raise TypeError("the context was not made for a request")
        return self.source


class LimitedRequestContext(RoleRequestContext):
    """The workspace as somebody sees it who is limited to tenants."""

    _scope: Scope
    _whole: RoleRequestContext

    def limit(self, scope: Scope, whole: RoleRequestContext) -> None:
        """Say what it is limited to, and what it is a view of."""
        self._scope = scope
        self._whole = whole

    @property
    def scope(self) -> Scope:
        """The tenants."""
        return self._scope

    @property
    def whole(self) -> RoleRequestContext:
        """What it is a view of."""
        return self._whole

    @property
    def permissions(self) -> Mapping[str, PermissionResult]:
        """Those of the role that `limits/mutations.py` leaves to limited people."""
        return _limited(super().permissions)

    def permissions_for_location(self, *, location_name: str) -> Mapping[str, PermissionResult]:
        """The same, for a code location."""
        return _limited(super().permissions_for_location(location_name=location_name))

    @property
    def process_context(self) -> _ProcessContext:
        """Refused: it is the whole's."""
        raise NotForLimitedError("The process")

    @property
    def show_instance_config(self) -> bool:
        """No: it may name tenants."""
        return False


def _limited(permissions: Mapping[str, PermissionResult]) -> Mapping[str, PermissionResult]:
    refused = PermissionResult(enabled=False, disabled_reason="You are limited to tenants")
    return {name: it if name in _LEFT else refused for name, it in permissions.items()}
