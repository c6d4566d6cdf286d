"""`apollo build`."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from dagster import DagsterInstance
from rich.console import Console

from dagster_apollo.cli.prepare import prepare_with_progress
from dagster_apollo.cli.progress import BuildProgress
from dagster_apollo.cli.summary import TenantBuild, print_summary, to_json
from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.dbt.code_location import load_project, tenant_code_location
from dagster_apollo.dbt.resource import RunObserver
from dagster_apollo.dbt.selection import Selection
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.home import open_instance
from dagster_apollo.run import (
    BuildOutcome,
    BuildRequest,
    Continuation,
    create_run,
    execute_run,
    make_runs_folder,
    mark_canceling,
    select,
)
from dagster_apollo.runtime import start

EXIT_PASSED: Final = 0
EXIT_FAILED: Final = 1
EXIT_CANCELED: Final = 130
_LOOK_EVERY_SECONDS: Final = 0.2


def build_tenants(
    names: Sequence[str],
    request: BuildRequest,
    *,
    target: str | None,
    as_json: bool,
) -> int:
    """Build tenants one after the other, each as a run of the local instance.

    Returns:
        0 if all passed, 1 if a node failed, 130 if a person stopped it.

    Raises:
        ApolloError: bad configuration, a project that does not parse, or a selection that
            matches nothing.
    """
    if request.is_blank:
        raise ApolloError("--select or --exclude is empty. Give it a selection, or leave it out.")
    console = Console(stderr=as_json, highlight=False, markup=False)
    console.print("apollo: reading the environment")
    runtime = start(names=names, target=target)
    chosen = runtime.settings.tenants
    developing = [settings for settings in chosen if not settings.is_production]
    prepare_with_progress(runtime, developing, console)
    # all that can be wrong with any of them, before the first one runs
    planned = _plan([load_project(runtime, settings) for settings in chosen], request, console)
    instance = open_instance(runtime.settings.dagster_home)
    builds: list[TenantBuild] = []
    for prepared, selection in planned:
        builds.append(build_tenant(prepared, selection, request, instance, console))
        if builds[-1].outcome.is_cancelled:
            break
    print_summary(builds, console)
    if as_json:
        print(to_json(builds))  # noqa: T201
    return exit_code([build.outcome for build in builds])


def exit_code(outcomes: Sequence[BuildOutcome]) -> int:
    """The exit code of a command that has built tenants."""
    if any(outcome.is_cancelled for outcome in outcomes):
        return EXIT_CANCELED
    return EXIT_PASSED if all(outcome.is_success for outcome in outcomes) else EXIT_FAILED


def _plan(
    tenants: Sequence[TenantProject], request: BuildRequest, console: Console
) -> list[tuple[TenantProject, Selection | None]]:
    """The tenants that there is something to build of, with what is selected of them.

    Raises:
        ApolloError: the selection is not valid, or matches nothing of any tenant.
    """
    if not request.is_partial:
        return [(prepared, None) for prepared in tenants]
    selections = [(prepared, select(prepared, request)) for prepared in tenants]
    planned: list[tuple[TenantProject, Selection | None]] = []
    for prepared, selection in selections:
        if selection.is_buildable:
            planned.append((prepared, selection))
        elif len(tenants) > 1:
            name = prepared.settings.tenant.name
            console.print(f"  {name}: {request.text} matches nothing", soft_wrap=True)
    if not planned:
        names = ", ".join(prepared.settings.tenant.name for prepared in tenants)
        raise ApolloError(
            f"{request.text} matches nothing that {names} builds. "
            f"`apollo dbt {tenants[0].settings.tenant.name} -- ls` lists what there is."
        )
    return planned


def build_tenant(
    prepared: TenantProject,
    selection: Selection | None,
    request: BuildRequest,
    instance: DagsterInstance,
    console: Console,
    after: Continuation | None = None,
) -> TenantBuild:
    """Build a tenant as a run in this process, and show how it goes.

    Args:
        prepared: the tenant.
        selection: what to build; None: everything.
        request: the configuration of the build.
        instance: where the run is recorded.
        console: where to show it.
        after: the run that this one goes on with, whose configuration counts then.
    """
    begun = time.monotonic()
    settings = prepared.settings
    progress = BuildProgress(settings.tenant.name, console)
    observer = RunObserver(progress.on_event)
    definitions = tenant_code_location(prepared, observer)
    make_runs_folder(settings)
    job, run = create_run(instance, definitions, prepared, request, selection, after)
    console.print(
        f"  {settings.tenant.name}: run {run.run_id}, target {settings.target}", soft_wrap=True
    )
    outcomes: list[BuildOutcome] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            outcomes.append(execute_run(instance, prepared, job, run))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)  # raised again below, on the main thread
        finally:
            done.set()

    # Dagster and dbt work on a thread, so that this one is free for Ctrl-C: a run that is stopped
    # is first marked as being canceled, then dbt is told, and Dagster records what follows from it.
    worker = threading.Thread(target=work, name=f"run-{run.run_id}")
    log = settings.paths.runs / run.run_id / "console.log"
    with _stop_signals() as stop, _output_to(log, console), progress:
        worker.start()
        while not done.wait(_LOOK_EVERY_SECONDS):
            if stop.is_set() and not observer.is_cancelled:
                console.print("  stopping dbt; its running queries are canceled")
                mark_canceling(instance, run.run_id)
                observer.cancel()
    if failures:
        raise failures[0]
    return TenantBuild(prepared, outcomes[0], time.monotonic() - begun)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Note Ctrl-C, SIGTERM and SIGHUP (a closed terminal), however often they come.

    They raise nothing: an exception could leave the code that deals with the first of them.
    SIGINT is set, too, because a shell script's background job inherits it ignored.
    """
    stop = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _output_to(path: Path, console: Console) -> Iterator[None]:
    """Send this process's output to a file, except what goes through the console.

    Dagster captures the run's output by descriptor and mirrors it to wherever that led before.
    """
    path.parent.mkdir(exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    with path.open("ab") as file, os.fdopen(os.dup(saved[2 if console.stderr else 1]), "w") as out:
        shown, console.file = console.file, out
        try:
            for number in saved:
                os.dup2(file.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            console.file = shown
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)
