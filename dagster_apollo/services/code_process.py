"""The process that serves the tenants' code: its start, its drain, its end.

Started by code_server.py. It writes a byte to a file descriptor when it serves. With `--drain` it
serves nothing, but ends the runs of a server that died while it was draining.

The processes that execute runs import it, too, before all else (multiprocessing, `__mp_main__`), so
it is here that they become private; this comes before the imports that take their time.
"""

from dagster_apollo.process_privacy import keep_private

if __name__ in {"__main__", "__mp_main__"}:
    keep_private()

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
import traceback
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagster_apollo.errors import EXIT_DEFECT, ApolloError
from dagster_apollo.own_variables import is_host_variable
from dagster_apollo.services.contract import ServiceSettings, load_services
from dagster_apollo.services.draining import Phase, Plan
from dagster_apollo.services.signals import StopSignals

if TYPE_CHECKING:
    from dagster_apollo.services.grpc_server import DrainingApiServer

_IDLE_SECONDS: Final = 1.0
_DRAIN_LOOK_SECONDS: Final = 0.3
_PR_SET_PDEATHSIG: Final = 1
_WHY: Final = (
    "The code server that executes this run is being stopped, as in every deploy, and the run has "
    "not finished in the time that the host allows (APOLLO_SHUTDOWN_SECONDS). dbt is told to stop. "
    "Once the new code server is up, the run is resumed by itself, as with Re-execute, From asset "
    "failure: that builds what failed or was not reached, and nothing else."
)
_log = logging.getLogger("apollo.code_server")


def main() -> int:
    """Serve until asked to stop, then drain.

    Returns:
        The exit code of the process.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=Path, required=True)
    parser.add_argument("--ready", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--drain", type=float)
    arguments = parser.parse_args()
    signals = StopSignals().install()
    _end_with(arguments.parent)
    _start_resource_tracker()
    try:
        settings = load_services()
        return _run(settings, arguments, signals)
    except ApolloError as error:
        print(f"apollo: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except Exception as error:  # noqa: BLE001
        mendable = _apollo_error(error)
        if mendable:
            print(f"apollo: {mendable}", file=sys.stderr)  # noqa: T201
            return mendable.exit_code
        traceback.print_exc()
        return EXIT_DEFECT


def _run(settings: ServiceSettings, arguments: argparse.Namespace, signals: StopSignals) -> int:
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
    from dagster_apollo.instance.pools import set_pool_limits
    from dagster_apollo.instance.rhythm import load_rhythm
    from dagster_apollo.instance.schema import require_current
    from dagster_apollo.services.grpc_server import LOCATION, DrainingApiServer, GrpcServer
    from dagster_apollo.services.log import configure_logging
    from dagster_apollo.services.registry import registered
    from dagster_apollo.services.workers import WorkerFiles
    from dagster_apollo.settings import load, load_process

    configure_logging()
    if arguments.drain is None:
        require_current(settings.dagster_pg_uri)  # opening the instance would make Dagster's tables
    with contextlib.ExitStack() as stack:
        instance = stack.enter_context(open_instance(settings.dagster_home, RELEASE_CONFIG))
        os.chdir(settings.dagster_home)  # in the checkout Dagster would load .env itself
        files = WorkerFiles(arguments.workers)
        if arguments.drain is not None:
            servicer = DrainingApiServer(instance, None, files, origin=None)
            _drain(servicer, Plan.of(arguments.drain), signals, already=1)
            servicer.termination_event.set()
            return 0
        load_rhythm()  # each run reads it, and would fail
        tenants = load(require_keys=False).tenants
        set_pool_limits(instance, {it.pool: it.pool_limit for it in tenants if it.pool_limit})
        name = load_process().apollo_tenants or LOCATION
        registration = stack.enter_context(registered(settings, "code-server", name))
        origin = LoadableTargetOrigin(
            executable_path=sys.executable, module_name="dagster_apollo.definitions"
        )
        servicer = DrainingApiServer(instance, registration.id, files, origin)
        server = GrpcServer(servicer, arguments.host, arguments.port)
        os.write(arguments.ready, b".")
        os.close(arguments.ready)
        _log.info("Serving the tenants on %s:%d", arguments.host, arguments.port)
        while not signals.wait(_IDLE_SECONDS) and not servicer.termination_event.is_set():
            pass
        if signals.requests:
            _drain(servicer, Plan.of(settings.shutdown_seconds), signals)
        server.close()
    return 0


def _drain(
    servicer: "DrainingApiServer", plan: Plan, signals: StopSignals, *, already: int = 0
) -> None:
    """Let runs finish, then stop them, then kill them: until none is left, or the time is up.

    Args:
        servicer: the server whose runs they are.
        plan: how long for what.
        signals: each further request hurries.
        already: requests that came before this process was there.
    """
    servicer.drain()
    began = time.monotonic()
    running = servicer.running()
    if running:
        _log.info(
            "Stopping: %d running (%s) may go on for %d s, then dbt is told to stop",
            *(len(running), ", ".join(running), plan.stop_at),
        )
    while not servicer.is_idle():
        phase = plan.phase(time.monotonic() - began, already + signals.requests)
        if phase is Phase.LEAVE:
            _log.error("Leaving with runs that do not end: %s", ", ".join(servicer.running()))
            return
        if phase is Phase.STOP:
            servicer.stop_runs(_WHY)
        if phase is Phase.KILL:
            servicer.stop_runs(_WHY)
            servicer.kill_runs()
        signals.wait(_DRAIN_LOOK_SECONDS)
    _log.info("Stopped: no run is left")


def _apollo_error(error: BaseException | None) -> ApolloError | None:
    """The error for a person that Dagster wrapped into its own, if there is one."""
    while error is not None:
        if isinstance(error, ApolloError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _start_resource_tracker() -> None:
    """Start what Python starts beside the first run, without the tenants' and Apollo's variables.

    It is no program of Apollo's that could keep its environment private.
    """
    variables = dict(os.environ)
    for name in variables:
        if not is_host_variable(name):
            del os.environ[name]
    try:
        resource_tracker.ensure_running()
    finally:
        os.environ.update(variables)


def _end_with(parent: int) -> None:
    """Drain when the supervisor is gone: a code server that nobody watches must not stay."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before this was said
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
