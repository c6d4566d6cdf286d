"""What Dagster asks a request about its permissions, answered by role."""

from collections.abc import Mapping

from dagster._core.storage.tags import REPORTING_USER_TAG
from dagster._core.workspace.context import IWorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.permissions import PermissionResult
from starlette.requests import HTTPConnection

from dagster_apollo.web.identity import identity_of
from dagster_apollo.web.roles import Role, location_permissions_of, permissions_of


class RoleRequestContext(WorkspaceRequestContext):
    """The workspace as somebody sees it: Dagster's UI hides what their role does not allow."""

    @classmethod
    def of(
        cls,
        process_context: IWorkspaceProcessContext[WorkspaceRequestContext],
        connection: HTTPConnection,
    ) -> "RoleRequestContext":
        """The context of a request that the front door let in."""
        stock = process_context.create_request_context(connection)
        return cls(
            instance=stock.instance,
            current_workspace=stock.get_current_workspace(),
            process_context=process_context,
            version=stock.version,
            source=connection,
            read_only=identity_of(connection).role is Role.VIEWER,
        )

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
