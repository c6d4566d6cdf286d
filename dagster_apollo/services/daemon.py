"""`apollo daemon`: Dagster's daemon, of which exactly one is active.

A second one, as there is for a while in every deploy, stands by and takes over when the first is
gone. An active one that is not sure any more of being the only one ends its process there and then:
whoever supervises it starts it again, and it stands by.
"""

import contextlib
import logging
import os
import threading
import time
from functools import partial
from typing import Final, NoReturn

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.controller import DagsterDaemonController, create_daemons_from_instance
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import EXIT_DEFECT
from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.instance.schema import require_current
from dagster_apollo.resumption.contract import load_resumptions
from dagster_apollo.resumption.daemon import ResumptionDaemon
from dagster_apollo.retention.contract import Policy, load_retention
from dagster_apollo.retention.daemon import RetentionDaemon
from dagster_apollo.services.contract import ServiceSettings, load_both, load_services
from dagster_apollo.services.leadership import LOOK_EVERY_SECONDS, Leadership, refuse_pooler
from dagster_apollo.services.registry import registered
from dagster_apollo.services.signals import StopSignals
from dagster_apollo.services.workspace import CodeServers, load_errors, open_workspace

EXIT_LOST: Final = 75  # EX_TEMPFAIL of sysexits.h: start it again
_LOOK_AT_THREADS_SECONDS: Final = 5.0
_RELOAD_SECONDS: Final = 60.0
_STAND_BY_LOG_SECONDS: Final = 60.0
_RESERVE_SECONDS: Final = 2
_log = logging.getLogger("apollo.daemon")


def run_daemon(signals: StopSignals) -> int:
    """Run the daemon until it is asked to stop.

    Returns:
        The exit code of the process.

    Raises:
        ApolloError: bad configuration, a pooler in transaction mode, a schema of another release,
            or a daemon that does not belong to the other services.
    """
    settings, (limit, policy) = load_both(
        partial(load_services, needs_code_server=True),
        partial(load_both, load_resumptions, load_retention),
    )
    refuse_pooler(settings.dagster_pg_uri)
    require_current(settings.dagster_pg_uri)
    with (
        open_instance(settings.dagster_home, RELEASE_CONFIG) as instance,
        registered(settings, "daemon"),
        contextlib.closing(Leadership(settings.dagster_pg_uri)) as leadership,
    ):
        if not _stand_by(leadership, signals):
            return 0
        _log.info("This daemon is the active one")
        with leadership.guarded(_end_now):
            code = _be_active(instance, signals, settings, limit, policy)
        _log.info("This daemon is not the active one any more: its threads have stopped")
    return code


def _stand_by(leadership: Leadership, signals: StopSignals) -> bool:
    """Wait for the lock. False: asked to stop before it was free."""
    said: tuple[str, float] = ("", 0.0)
    while not signals.requests:
        try:
            if leadership.try_acquire():
                return True
            state = f"Standing by: the active daemon is {leadership.holder()}"
        except SQLAlchemyError as error:  # its text may hold the URI
            state = f"Standing by: the database cannot be reached ({type(error).__name__})"
        now = time.monotonic()
        if state != said[0] or now - said[1] > _STAND_BY_LOG_SECONDS:
            _log.info("%s", state)
            said = (state, now)
        signals.wait(LOOK_EVERY_SECONDS)
    return False


def _end_now(reason: str) -> NoReturn:
    """End the process at once, without a word to the daemon's threads: two may be active by now."""
    _log.error("Not surely the only active daemon any more: %s. Ending this process", reason)
    _exit(EXIT_LOST)


def _give_up() -> NoReturn:
    _log.warning("A thread of the daemon has not stopped in time. Ending this process")
    _exit(0)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    os._exit(code)


def _be_active(
    instance: DagsterInstance,
    signals: StopSignals,
    settings: ServiceSettings,
    limit: int,
    policy: Policy,
) -> int:
    """Run the daemon's threads until asked to stop, or until one of them has died."""
    code = 0
    code_servers = CodeServers(settings.code_servers)
    last_resort = threading.Timer(max(1, settings.shutdown_seconds - _RESERVE_SECONDS), _give_up)
    last_resort.daemon = True
    with contextlib.ExitStack() as stack:
        own = (ResumptionDaemon(limit), RetentionDaemon(policy))
        daemons = [
            stack.enter_context(it) for it in (*create_daemons_from_instance(instance), *own)
        ]
        workspace = stack.enter_context(open_workspace(instance, code_servers, _log))
        controller = stack.enter_context(DagsterDaemonController(workspace, daemons))
        # Dagster's own loop also fetches all definitions again each minute; here its watcher does
        # so when a code server was replaced, and this loop where fetching them had failed.
        reloaded = time.monotonic()
        while not code and not signals.wait(_LOOK_AT_THREADS_SECONDS):
            try:
                controller.check_daemon_threads()
            except Exception:  # noqa: BLE001
                code = EXIT_DEFECT  # Dagster has logged which one died
            if time.monotonic() - reloaded > _RELOAD_SECONDS:
                _reload_failed(workspace)
                reloaded = time.monotonic()
        last_resort.start()
    last_resort.cancel()
    return code


def _reload_failed(workspace: WorkspaceProcessContext) -> None:
    for name in load_errors(workspace):
        workspace.refresh_code_location(name)
