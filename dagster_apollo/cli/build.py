"""`apollo build`."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from dagster import DagsterInstance
from rich.console import Console

from dagster_apollo.cli.prepare import prepare_with_progress
from dagster_apollo.cli.progress import BuildProgress
from dagster_apollo.cli.summary import TenantBuild, print_summary, to_json
from dagster_apollo.dbt.code_location import load_project, tenant_code_location
from dagster_apollo.dbt.resource import DbtEvent, RunObserver
from dagster_apollo.instance.home import open_instance
from dagster_apollo.run import BuildOutcome, BuildRequest, create_run, execute_run
from dagster_apollo.runtime import Runtime, start
from dagster_apollo.settings import TenantSettings

EXIT_PASSED: Final = 0
EXIT_FAILED: Final = 1
EXIT_CANCELED: Final = 130


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
    console = Console(stderr=as_json, highlight=False)
    console.print("[bold]apollo[/]: reading the environment")
    runtime = start(target=target)
    chosen = runtime.settings.of(names)
    developing = [settings for settings in chosen if not settings.is_production]
    prepare_with_progress(runtime, developing, console)
    instance = open_instance(runtime.settings.dagster_home)
    builds: list[TenantBuild] = []
    for settings in chosen:
        builds.append(_build(runtime, settings, request, instance, console))
        if builds[-1].outcome.is_cancelled:
            break
    print_summary(builds, console)
    if as_json:
        print(to_json(builds))  # noqa: T201
    return _exit_code([build.outcome for build in builds])


def _exit_code(outcomes: Sequence[BuildOutcome]) -> int:
    if any(outcome.is_cancelled for outcome in outcomes):
        return EXIT_CANCELED
    return EXIT_PASSED if all(outcome.is_success for outcome in outcomes) else EXIT_FAILED


def _build(
    runtime: Runtime,
    settings: TenantSettings,
    request: BuildRequest,
    instance: DagsterInstance,
    console: Console,
) -> TenantBuild:
    begun = time.monotonic()
    errors: list[str] = []
    progress = BuildProgress(settings.tenant.name, console)

    def on_event(event: DbtEvent) -> None:
        if event["info"].get("level") == "error":
            errors.append(str(event["info"]["msg"]))
        progress.on_event(event)

    observer = RunObserver(on_event)
    prepared = load_project(runtime, settings)
    job, run = create_run(instance, tenant_code_location(prepared, observer), prepared, request)
    console.print(
        f"  {settings.tenant.name}: run {run.run_id}, target {settings.target}", soft_wrap=True
    )
    outcomes: list[BuildOutcome] = []
    failures: list[BaseException] = []
    done = threading.Event()  # an interrupted Thread.join() may take the thread for ended (3.11)

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
    with _output_to(log, console), progress, _signals_as_interrupts():
        worker.start()
        while not done.is_set():
            try:
                done.wait(0.2)
            except KeyboardInterrupt:
                console.print("  stopping dbt; its running queries are canceled")
                instance.report_run_canceling(run)
                _cancel(observer)
    if failures:
        raise failures[0]
    outcome = outcomes[0]
    if errors and not outcome.results:
        outcome = replace(outcome, errors=tuple(errors))
    return TenantBuild(prepared, outcome, time.monotonic() - begun)


def _cancel(observer: RunObserver) -> None:
    """Stop dbt; a second Ctrl-C while it ends changes nothing."""
    while True:
        try:
            observer.cancel()
        except KeyboardInterrupt:
            continue
        return


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP (a closed terminal) as Ctrl-C.

    SIGINT itself is set, too: a shell script's background job inherits it ignored.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _output_to(path: Path, console: Console) -> Iterator[None]:
    """Send this process's output to a file, except what goes through the console.

    Dagster captures the run's output by descriptor and mirrors it to wherever that led before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
