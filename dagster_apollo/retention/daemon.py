"""Retention as a part of the active daemon: once a day, and again an hour after a failure."""

import logging
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Final

from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.daemon import IntervalDaemon

from dagster_apollo.errors import ApolloError
from dagster_apollo.retention.contract import Policy, is_due
from dagster_apollo.retention.prune import paced, prune, recorded
from dagster_apollo.retention.report import read_outcome
from dagster_apollo.retention.scope import open_scope

_LOOK_EVERY_SECONDS: Final = 60
_AGAIN: Final = timedelta(hours=1)
_log = logging.getLogger("apollo.retention")


class RetentionDaemon(IntervalDaemon[WorkspaceProcessContext]):
    """Prunes the instance."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(interval_seconds=_LOOK_EVERY_SECONDS)
        self._policy = policy

    @classmethod
    def daemon_type(cls) -> str:
        """The name of its heartbeat."""
        return "APOLLO_RETENTION"

    def run_iteration(
        self, workspace_process_context: WorkspaceProcessContext
    ) -> Generator[None, None, None]:
        """Prune if it is time.

        Yields:
            After each step, so that the daemon can say that it lives, and stop.
        """
        instance = workspace_process_context.instance
        last = read_outcome(instance)
        now = datetime.now(UTC)
        started = last.started if last else None
        good = last is not None and last.is_good
        if not is_due(now, self._policy.hour, started, succeeded=good, again=_AGAIN):
            return
        _log.info("Pruning begins")
        try:
            with open_scope(instance, self._policy) as scope:
                report = yield from paced(recorded(scope, prune(scope)))
        except ApolloError as error:
            _log.error("Pruning failed: %s", error)
        else:
            gone = ", ".join(f"{rows:,} {what}" for what, rows in report.rows.items())
            _log.info("Pruning has ended. Removed: %s", gone or "nothing")
