"""`apollo resume`."""

import time
from typing import Final

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from rich.console import Console

from dagster_apollo.cli.build import build_tenant, exit_code
from dagster_apollo.cli.prepare import prepare_with_progress
from dagster_apollo.cli.summary import print_summary
from dagster_apollo.dbt.code_location import load_project
from dagster_apollo.dbt.selection import Selection
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.home import open_instance
from dagster_apollo.instance.remaining import Remaining, remaining_of_run
from dagster_apollo.resumption.candidates import Candidates
from dagster_apollo.resumption.creation import NothingLeftError, resumed_tags
from dagster_apollo.run import BuildRequest, Continuation
from dagster_apollo.runtime import start
from dagster_apollo.settings import load_process

_RESUMABLE: Final = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_SHOWN: Final = 50
_ANSWER_SECONDS: Final = 90.0
_LOOK_SECONDS: Final = 1.0


def resume_run(run_id: str, *, dry_run: bool) -> int:
    """Go on with a run: through the daemon where there is one, else in this process.

    Returns:
        0 where that was asked for, or passed; 1 if a node failed, 130 if a person stopped it.

    Raises:
        ApolloError: there is no such run, it has not ended, or it succeeded.
    """
    console = Console(highlight=False, markup=False)
    with open_instance(load_process().dagster_home) as instance:
        candidates = Candidates.open()
        run = instance.get_run_by_id(run_id)
        if run and candidates is None and not run.is_finished:
            run = _looked_after(instance, run)
        if run is None:
            raise ApolloError(f"There is no run {run_id}. Its page in the UI shows its whole id.")
        if run.status not in _RESUMABLE:
            raise ApolloError(
                f"Run {run_id} is {run.status.value}: only runs that failed or were canceled can "
                "be resumed."
            )
        left = remaining_of_run(instance, run)
        _show(run, left, console)
        if dry_run:
            return 0
        if left.is_asset_run and not left:
            raise NothingLeftError(run_id)
        if candidates and candidates.has_daemon():
            return _ask(candidates, run_id, console)
        return _resume_here(instance, run, left, console)


def _looked_after(instance: DagsterInstance, run: DagsterRun) -> DagsterRun | None:
    """The run, recorded as failed if its process is gone: nobody else may be there to do so."""
    launcher = instance.run_launcher
    if launcher.supports_check_run_worker_health:
        health = launcher.check_run_worker_health(run)
        if health.status is WorkerStatus.FAILED:
            instance.report_run_failed(run, health.msg)
    return instance.get_run_by_id(run.run_id)


def _show(run: DagsterRun, left: Remaining, console: Console) -> None:
    if not left.is_asset_run:
        console.print(f"Run {run.run_id} of {run.job_name} has no assets: all of it is left.")
        return
    console.print(
        f"Of run {run.run_id} of {run.job_name} {len(left.assets)} asset(s) and "
        f"{len(left.checks)} check(s) are left."
    )
    names = [
        *(f"asset {key.to_user_string()}" for key in sorted(left.assets)),
        *(
            f"check {key.name} of {key.asset_key.to_user_string()}"
            for key in sorted(left.checks, key=lambda it: (it.asset_key, it.name))
        ),
    ]
    for name in names[:_SHOWN]:
        console.print(f"  {name}", soft_wrap=True)
    if len(names) > _SHOWN:
        console.print(f"  and {len(names) - _SHOWN} more")


def _ask(candidates: Candidates, run_id: str, console: Console) -> int:
    """Have the daemon do it, which has the code servers."""
    candidates.request(run_id)
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until:
        answer = candidates.answer(run_id)
        if answer and answer.resumed_by:
            console.print(f"Run {answer.resumed_by} goes on with it; it is in the queue.")
            return 0
        if answer:
            raise ApolloError(answer.verdict)
        time.sleep(_LOOK_SECONDS)
    console.print(
        "The daemon resumes the run as soon as it can: once its code server is there, and nothing "
        "of the run can execute any more. Its event log will name the new run."
    )
    return 0


def _resume_here(
    instance: DagsterInstance, run: DagsterRun, left: Remaining, console: Console
) -> int:
    tenant = run.tags.get("apollo/tenant")
    if tenant is None or not left.is_asset_run:
        raise ApolloError(
            f"Run {run.run_id} is not a build of a tenant. Launch {run.job_name} again, in the UI."
        )
    runtime = start(names=[tenant])
    chosen = runtime.settings.tenants
    developing = [settings for settings in chosen if not settings.is_production]
    prepare_with_progress(runtime, developing, console)
    build = build_tenant(
        load_project(runtime, chosen[0]),
        Selection(frozenset(), left.assets, left.checks),
        BuildRequest(),
        instance,
        console,
        Continuation(run, resumed_tags(run, None)),
    )
    print_summary([build], console)
    return exit_code([build.outcome])
