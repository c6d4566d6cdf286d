"""`apollo resume` on a laptop: what a killed build did not get to, in the terminal."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    OpenHome,
    RunApollo,
)
from tests.integration.services import (
    FOR_EVER,
    SLOW_MODEL,
    dbt_processes,
    query_is_running,
    wait_until,
)

pytestmark = pytest.mark.integration


def test_a_build_that_was_killed_goes_on_with_what_is_left_of_its_selection(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    run_apollo: RunApollo,
    call_apollo: RunApollo,
    open_home: OpenHome,
) -> None:
    env = apollo_env(copy_tenants(dbt_small=SMALL), DAGSTER_PG_URI="")
    models = Path(env["APOLLO_TENANTS_DIR"], "dbt_small", "models")
    slow = models / "slow.sql"
    slow.write_text(SLOW_MODEL % FOR_EVER)
    with subprocess.Popen(
        [sys.executable, "-m", "dagster_apollo.cli", "build", "--select", "fqn:*"],
        cwd=CHECKOUT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as build:
        wait_until(lambda: query_is_running(env, "slow"))
        with open_home(env) as instance:
            (run,) = instance.get_runs()
            wait_until(lambda: len(built(instance, run.run_id)) == 4)
        os.kill(build.pid, signal.SIGKILL)
    wait_until(lambda: not dbt_processes(env), 40)  # it ends with the process that started it

    shown = call_apollo(["resume", run.run_id, "--dry-run"], env)
    assert shown.returncode == 0, shown.stderr
    assert "1 asset(s) and " in shown.stdout
    slow.write_text(SLOW_MODEL % 1)
    resumed = run_apollo(["resume", run.run_id], env)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    with open_home(env) as instance:
        child, parent = instance.get_runs()
        assert parent.status is DagsterRunStatus.FAILURE
        assert child.status is DagsterRunStatus.SUCCESS
        assert child.parent_run_id == child.root_run_id == parent.run_id == run.run_id
        assert built(instance, child.run_id) == ["slow"]
        tests = checked(instance, parent.run_id) + checked(instance, child.run_id)
        assert set(tests.values()) == {1}  # those that the killed build did not get to, too
        assert len(tests) == len(planned_checks(instance, parent.run_id))
        assert "is gone" in "".join(it.message for it in instance.all_logs(parent.run_id))


def built(instance: DagsterInstance, run_id: str) -> list[str]:
    events = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    return sorted(it.get_dagster_event().asset_key.path[-1] for it in events)


def checked(instance: DagsterInstance, run_id: str) -> Counter[str]:
    """How often each test was run."""
    events = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    data = [it.get_dagster_event().asset_check_evaluation_data for it in events]
    return Counter(f"{it.asset_key.to_user_string()} {it.check_name}" for it in data)


def planned_checks(instance: DagsterInstance, run_id: str) -> list[EventLogEntry]:
    kind = DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    return list(instance.all_logs(run_id, of_type=kind))
