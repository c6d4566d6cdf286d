"""`apollo build` on DuckDB, from the command line to the event log."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from dagster import AssetKey, DagsterEventType, DagsterRunStatus, RunsFilter

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, OpenHome, RunApollo
from tests.integration.services import dbt_processes

pytestmark = pytest.mark.integration

SLOW_MODEL = """{{ config(materialized='table', pre_hook='set threads = 1') }}
select sum(a.range * b.range) as total from range(3000000) a, range(300000) b
"""
A_WARNING = "{{ config(severity='warn') }} select 1 from {{ ref('orders') }}"
ASSETS = {
    AssetKey(["small", *rest])
    for rest in (
        ("marts", "orders"),
        ("marts", "customers"),
        ("reference", "raw_orders"),
        ("snapshots", "orders_history"),
    )
}


@pytest.fixture(scope="module")
def env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    """One tenant, in one instance, for the module; tests add models under names of their own."""
    tenants_dir = copy_tenants(dbt_small=SMALL)
    (tenants_dir / "dbt_small" / "tests" / "just_a_warning.sql").write_text(A_WARNING)
    return apollo_env(tenants_dir)


@pytest.fixture(scope="module")
def first(env: dict[str, str], run_apollo: RunApollo) -> dict[str, object]:
    """The result of the first build."""
    result = run_apollo(["build", "--json"], env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["small"]


@pytest.fixture(scope="module")
def second(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo
) -> "subprocess.CompletedProcess[str]":
    """A second build of the same, after many runs that are long over."""
    for number in range(30):
        old = run_folder(env, f"old-{number}")
        old.mkdir()
        os.utime(old, (0, 0))
    state = Path(env["DAGSTER_HOME"], "tenants/small/prepared/local/state.json")
    before = state.stat().st_mtime_ns
    result = call_apollo(["build", "--json"], env)
    assert result.returncode == 0, result.stderr
    assert state.stat().st_mtime_ns == before, "the tenant was prepared again"
    return result


@pytest.fixture(scope="module")
def failed(
    env: dict[str, str], second: "subprocess.CompletedProcess[str]", call_apollo: RunApollo
) -> "subprocess.CompletedProcess[str]":
    """A build in which a model fails and many tests warn."""
    project = Path(env["APOLLO_TENANTS_DIR"], "dbt_small")
    added = {
        project / "models" / "broken.sql": "select no_such_column from {{ ref('orders') }}",
        project / "models" / "below_broken.sql": "select * from {{ ref('broken') }}",
        **{project / "tests" / f"a_warning_{number}.sql": A_WARNING for number in range(12)},
    }
    for path, text in added.items():
        path.write_text(text)
    result = call_apollo(["build", "--select", "a_warning_* broken+"], env)
    for path in added:
        path.unlink()
    return result


def run_folder(env: dict[str, str], run_id: object) -> Path:
    return Path(env["DAGSTER_HOME"], "tenants", "small", "runs", str(run_id))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_build_counts_as_dbt_itself_does(
    env: dict[str, str], first: dict[str, object], run_apollo: RunApollo
) -> None:
    plain = run_apollo(["dbt", "small", "--", "build"], env)
    assert plain.returncode == 0
    done = re.search(r"PASS=(\d+) WARN=(\d+) ERROR=(\d+) SKIP=(\d+) NO-OP=(\d+)", plain.stdout)
    assert done
    counted = [first[name] for name in ("success", "warn", "error", "skipped", "no-op")]
    assert counted == [int(count) for count in done.groups()]
    assert first["success"] == 10


def test_a_warning_is_counted_and_does_not_fail_the_build(first: dict[str, object]) -> None:
    assert (first["warn"], first["total"], first["status"]) == (1, 11, "success")


def test_a_build_is_a_run_of_the_local_instance(
    env: dict[str, str], first: dict[str, object], open_home: OpenHome
) -> None:
    with open_home(env) as instance:
        run = instance.get_run_by_id(str(first["run_id"]))
        assert run is not None
        assert run.status is DagsterRunStatus.SUCCESS
        assert run.job_name == "small_build"
        assert run.tags["apollo/tenant"] == "small"
        assert run.tags["apollo/target"] == "local"
        assert run.remote_job_origin is not None
        events = instance.all_logs(run.run_id)
    built = {
        entry.dagster_event.asset_key
        for entry in events
        if entry.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION
    }
    checked = [
        entry.dagster_event.asset_check_evaluation_data
        for entry in events
        if entry.dagster_event_type is DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert built == ASSETS
    assert len(checked) == 6
    assert [it.check_name for it in checked if not it.passed] == ["just_a_warning"]
    # a singular test of two models is a check on the first of them
    assert any(check.check_name == "totals_match" for check in checked)


def test_a_materialization_says_what_dbt_said(
    env: dict[str, str], first: dict[str, object], open_home: OpenHome
) -> None:
    with open_home(env) as instance:
        event = instance.get_latest_materialization_event(AssetKey(["small", "marts", "customers"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["unique_id"].value == "model.small.customers"
    assert metadata["Execution Duration"].value > 0


def test_a_second_build_parses_nothing(
    env: dict[str, str], second: "subprocess.CompletedProcess[str]"
) -> None:
    summary = json.loads(second.stdout)["small"]
    assert "parsing" not in second.stderr
    log = (run_folder(env, summary["run_id"]) / "dbt.log").read_text()
    assert "Partial parsing enabled, no changes found, skipping parsing" in log
    assert "Unable to do partial parsing" not in log


def test_run_folders_do_not_pile_up(
    env: dict[str, str], second: "subprocess.CompletedProcess[str]"
) -> None:
    kept = [it.name for it in run_folder(env, "x").parent.iterdir()]
    assert json.loads(second.stdout)["small"]["run_id"] in kept
    assert len(kept) <= 21


def test_a_selection_builds_and_plans_no_more_than_dbt_would(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo, open_home: OpenHome
) -> None:
    result = call_apollo(
        ["build", "--json", "--select", "customers", "--exclude", "test_type:unit"], env
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)["small"]
    assert "Warning" not in result.stderr
    assert summary["total"] == 4  # the model, two generic tests and the singular one
    with open_home(env) as instance:
        run = instance.get_run_by_id(summary["run_id"])
        assert run is not None
        assert run.asset_selection == {AssetKey(["small", "marts", "customers"])}
        planned = [
            entry
            for entry in instance.all_logs(run.run_id)
            if entry.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        ]
    assert len(planned) == 1


@pytest.mark.parametrize(
    "selection", ["nothing_like_it", "tag:none", "no_such_method:x", "test_type:unit", ""]
)
def test_a_selection_that_matches_nothing_is_an_error_before_anything_runs(
    env: dict[str, str],
    first: dict[str, object],
    call_apollo: RunApollo,
    open_home: OpenHome,
    selection: str,
) -> None:
    with open_home(env) as instance:
        runs = instance.get_runs_count()
    result = call_apollo(["build", "--json", "--select", selection], env)
    assert result.returncode == 2
    assert result.stdout == ""
    assert (selection.partition(":")[0] or "--select") in result.stderr
    assert "Traceback" not in result.stderr
    with open_home(env) as instance:
        assert instance.get_runs_count() == runs


def test_a_failing_node_is_shown_with_its_message_and_file_before_any_warning(
    env: dict[str, str], failed: "subprocess.CompletedProcess[str]", open_home: OpenHome
) -> None:
    assert failed.returncode == 1
    assert "no_such_column" in failed.stdout
    assert "models/broken.sql" in failed.stdout
    assert "dbt.log" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    with open_home(env) as instance:
        run = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]), limit=1)[0]
    results = json.loads((run_folder(env, run.run_id) / "run_results.json").read_text())["results"]
    states = {result["unique_id"].split(".")[2]: result["status"] for result in results}
    assert (states.pop("broken"), states.pop("below_broken")) == ("error", "skipped")
    assert list(states.values()) == ["warn"] * 12


def test_a_repeated_selection_is_a_union_and_full_refresh_reaches_dbt(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo
) -> None:
    union = ["--select", "orders", "--select", "raw_orders", "--exclude", "resource_type:test"]
    result = call_apollo(["build", "--json", "--full-refresh", *union], env)
    summary = json.loads(result.stdout)["small"]
    assert summary["total"] == 2
    results = json.loads((run_folder(env, summary["run_id"]) / "run_results.json").read_text())
    assert results["args"]["full_refresh"] is True


def test_a_run_that_dbt_has_no_results_of_says_why(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo
) -> None:
    project = Path(env["APOLLO_TENANTS_DIR"], "dbt_small", "dbt_project.yml")
    stock = project.read_text()
    project.write_text(stock + 'on-run-start: "select no_such_thing_at_all"\n')
    try:
        result = call_apollo(["build"], env)
    finally:
        project.write_text(stock)
    assert result.returncode == 1
    assert "no_such_thing_at_all" in result.stdout


def test_an_instance_that_cannot_be_reached_is_a_clear_error(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo
) -> None:
    uri = "postgresql://apollo:s3cretvalue@127.0.0.1:1/dagster"
    result = call_apollo(["build"], {**env, "DAGSTER_PG_URI": uri})
    assert result.returncode == 2
    assert "DAGSTER_PG_URI" in result.stderr
    assert "Traceback" not in result.stderr
    assert "s3cretvalue" not in result.stdout + result.stderr


def test_a_run_folder_that_cannot_be_made_leaves_no_run_behind(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo, open_home: OpenHome
) -> None:
    with open_home(env) as instance:
        count = instance.get_runs_count()
    runs = run_folder(env, "x").parent
    aside = runs.rename(runs.with_name("aside"))
    runs.touch()
    try:
        result = call_apollo(["build"], env)
    finally:
        runs.unlink()
        aside.rename(runs)
    assert result.returncode == 2
    assert "cannot be made" in result.stderr
    with open_home(env) as instance:
        assert instance.get_runs_count() == count


def test_a_tenant_without_a_match_does_not_keep_the_others_from_building(
    env: dict[str, str], first: dict[str, object], call_apollo: RunApollo
) -> None:
    other = Path(env["APOLLO_TENANTS_DIR"], "acme")
    shutil.copytree(SMALL, other)
    try:
        result = call_apollo(["build", "--json", "--select", "just_a_warning"], env)
    finally:
        shutil.rmtree(other)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout).keys() == {"small"}
    assert "acme: --select 'just_a_warning' matches nothing" in result.stderr


def test_a_locked_warehouse_file_is_said_to_be_locked(
    env: dict[str, str], first: dict[str, object], run_apollo: RunApollo
) -> None:
    file = Path(env["DAGSTER_HOME"], "tenants", "small", "small.duckdb")
    with duckdb.connect(file):
        result = run_apollo(["build"], env)
        doctor = run_apollo(["doctor", "--connect"], env)
    assert result.returncode == 1
    assert "Could not set lock on file" in result.stdout
    assert "Another process has the DuckDB file open" in result.stdout
    assert doctor.returncode == 2
    assert "cannot open" in doctor.stdout


def test_a_build_is_recorded_in_postgres(
    env: dict[str, str],
    first: dict[str, object],
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    open_home: OpenHome,
    postgres_uri: str,
) -> None:
    elsewhere = apollo_env(Path(env["APOLLO_TENANTS_DIR"]), DAGSTER_PG_URI=postgres_uri)
    doctor = call_apollo(["doctor"], elsewhere)
    assert "Postgres" in doctor.stdout, doctor.stdout
    shutil.copytree(run_folder(env, "x").parents[2], Path(elsewhere["DAGSTER_HOME"], "tenants"))
    result = call_apollo(["build", "--json"], elsewhere)
    assert result.returncode == 0, result.stderr
    with open_home(elsewhere) as instance:
        run = instance.get_run_by_id(json.loads(result.stdout)["small"]["run_id"])
        assert run is not None
        assert run.status is DagsterRunStatus.SUCCESS
    assert not Path(elsewhere["DAGSTER_HOME"], "history").exists()


def test_production_refuses_a_stale_manifest_and_names_the_command(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    rsa_key: str,
) -> None:
    env = apollo_env(
        copy_tenants(dbt_small=SMALL),
        DBT_TARGET="prod",
        SNOWFLAKE_ACCOUNT="org-account",
        SNOWFLAKE_USER="user",
        SNOWFLAKE_ROLE="role",
        SNOWFLAKE_WAREHOUSE="warehouse",
        SNOWFLAKE_DATABASE="database",
    )
    key = {"SNOWFLAKE_PRIVATE_KEY_PEM": rsa_key}
    never = call_apollo(["build"], {**env, **key})
    assert never.returncode == 2
    assert "apollo prepare small" in never.stderr
    # the release is built without the key, and what it built serves with one
    assert call_apollo(["prepare"], env).returncode == 0
    model = Path(env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "orders.sql")
    fresh = call_apollo(["doctor", "--json"], {**env, **key})
    statuses = {check["name"]: check["status"] for check in json.loads(fresh.stdout)}
    assert statuses["manifest"] == "ok"
    shutil.copy(model, model.with_name("copy_of_orders.sql"))
    stale = call_apollo(["build"], {**env, **key})
    assert stale.returncode == 2
    assert "copy_of_orders.sql" in stale.stderr


@pytest.fixture(scope="module")
def slow(env: dict[str, str], first: dict[str, object]) -> Iterator[None]:
    """A model that builds for ever, for the tests that follow."""
    model = Path(env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "slow.sql")
    model.write_text(SLOW_MODEL)
    yield
    model.unlink()


@pytest.fixture
def slow_build(env: dict[str, str], slow: None) -> "subprocess.Popen[bytes]":
    """A build whose query runs."""
    runs = run_folder(env, "x").parent
    before = set(runs.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster_apollo.cli", "build", "--select", "slow"],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def query_runs() -> bool:
        logs = [run / "dbt.log" for run in set(runs.iterdir()) - before]
        return any(
            "START sql table model marts.slow " in it.read_text() for it in logs if it.exists()
        )

    wait_until(query_runs)
    return process


def test_interrupts_in_quick_succession_are_one(
    env: dict[str, str], slow_build: "subprocess.Popen[bytes]", open_home: OpenHome
) -> None:
    for _ in range(3):
        slow_build.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert slow_build.wait(60) == 130
    wait_until(lambda: not dbt_processes(env), 10)
    with open_home(env) as instance:
        assert instance.get_runs(limit=1)[0].status is DagsterRunStatus.CANCELED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_dbt_and_records_the_run_as_canceled(
    env: dict[str, str],
    slow_build: "subprocess.Popen[bytes]",
    open_home: OpenHome,
    number: signal.Signals,
) -> None:
    slow_build.send_signal(number)
    assert slow_build.wait(60) == 130
    wait_until(lambda: not dbt_processes(env), 10)
    with open_home(env) as instance:
        assert instance.get_runs(limit=1)[0].status is DagsterRunStatus.CANCELED


def test_dbt_does_not_outlive_a_killed_build(
    env: dict[str, str], slow_build: "subprocess.Popen[bytes]"
) -> None:
    assert dbt_processes(env)
    slow_build.kill()
    slow_build.wait(10)
    wait_until(lambda: not dbt_processes(env), 30)
