"""The workspace of webserver and daemon: the code servers that the environment names.

Both watch each code server and load its definitions anew when another instance answers at the
address, as after a deploy. For that dagster 1.13 asks for the server's id once a second, which is
most of what an idle instance costs; a deploy takes a minute, so here it is once in five. A server
that takes connections but does not answer, as one that hangs, costs seconds and is shown as failed;
the others are served as if nothing were.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dagster import DagsterInstance
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import CodeLocationOrigin, GrpcServerCodeLocationOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._core.workspace.workspace import (
    CodeLocationEntry,
    CodeLocationLoadStatus,
    DefinitionsSource,
)
from dagster._grpc import server_watcher
from dagster._time import get_current_timestamp
from dagster._utils.error import serializable_error_info_from_exc_info

from dagster_apollo.services.contract import CodeServer

WATCH_SECONDS: Final = 5
_LOST_AFTER_WATCHES: Final = 2
"""A server that does not answer is shown as failed after so many more."""
_ANSWER_SECONDS: Final = 5
"""What a code server that works takes to say its id, and more: Dagster's watcher waits 2 s."""


@dataclass(frozen=True)
class CodeServers(WorkspaceLoadTarget):
    """Loads code locations from code servers that run elsewhere; never starts one."""

    servers: tuple[CodeServer, ...]

    def create_origins(self) -> Sequence[GrpcServerCodeLocationOrigin]:
        """One origin a code server."""
        return [
            GrpcServerCodeLocationOrigin(
                host=f"[{server.host}]" if ":" in server.host else server.host,
                port=server.port,
                location_name=server.name,
            )
            for server in self.servers
        ]


class CodeServersContext(WorkspaceProcessContext):
    """Dagster's workspace, which a code server that hangs does not hold up.

    Dagster loads one location after the other, and waits a minute for each answer: with one server
    that hangs, neither the UI nor the daemon would start before that.
    """

    def _load_location(self, origin: CodeLocationOrigin, reload: bool) -> CodeLocationEntry:  # noqa: FBT001
        if isinstance(origin, GrpcServerCodeLocationOrigin):
            try:
                origin.create_client().get_server_id(timeout=_ANSWER_SECONDS)
            except DagsterUserCodeUnreachableError:
                now = get_current_timestamp()
                return CodeLocationEntry(
                    origin=origin,
                    code_location=None,
                    load_error=serializable_error_info_from_exc_info(sys.exc_info()),
                    load_status=CodeLocationLoadStatus.LOADED,
                    display_metadata=origin.get_display_metadata(),
                    update_timestamp=now,
                    version_key=str(now),
                    definitions_source=DefinitionsSource.CODE_SERVER,
                )
        return super()._load_location(origin, reload)


@contextlib.contextmanager
def open_workspace(
    instance: DagsterInstance,
    code_servers: WorkspaceLoadTarget,
    log: logging.Logger,
    *,
    version: str = "",
) -> Iterator[WorkspaceProcessContext]:
    """Watch over code locations for the length of a `with` block.

    Args:
        instance: the Dagster instance.
        code_servers: where the code locations are.
        log: is told, in a line each, which ones cannot be loaded yet. That is nothing unusual: in
            a deploy nobody says which service is up first.
        version: what to call the process's version in Dagster's API.
    """
    warnings.filterwarnings("ignore", "Error loading repository location")  # 40 lines of traceback
    server_watcher.WATCH_INTERVAL = WATCH_SECONDS
    server_watcher.MAX_RECONNECT_ATTEMPTS = _LOST_AFTER_WATCHES
    with CodeServersContext(instance, code_servers, version=version) as workspace:
        for name, error in load_errors(workspace).items():
            log.warning("Code location %s is loaded once that is over: %s", name, error)
        yield workspace


def load_errors(workspace: WorkspaceProcessContext) -> dict[str, str]:
    """Why code locations could not be loaded, by their names."""
    entries = workspace.get_current_workspace().code_location_entries
    return {name: it.load_error.message.strip() for name, it in entries.items() if it.load_error}
