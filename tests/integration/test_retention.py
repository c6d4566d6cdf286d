"""Retention: what goes, and that the UI says the same of assets, checks, partitions and runs."""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
import sqlalchemy
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    DagsterInstance,
    DagsterRun,
)
from sqlalchemy import Engine, text

from dagster_apollo.retention import plan as plan_module
from dagster_apollo.retention.contract import Policy
from dagster_apollo.retention.daemon import RetentionDaemon
from dagster_apollo.retention.plan import make_plan
from dagster_apollo.retention.prune import RetentionError, Scope, prune, recorded, run_through
from dagster_apollo.retention.removal import remove_runs
from dagster_apollo.retention.report import Item, Report, read_outcome, write_outcome
from tests.integration.conftest import MakeDatabase
from tests.integration.postgres_support import open_instance, psycopg
from tests.integration.retention_instance import (
    execute,
    open_ui,
    repeat,
    write_history,
    write_short_history,
)

T = TypeVar("T")
pytestmark = pytest.mark.integration

ALL = Policy(
    runs=timedelta(microseconds=1),
    runs_per_job=1,
    logs=timedelta(days=1),
    audit=timedelta(days=1),
    ticks=timedelta(days=1),
)
TABLES = (
    "runs",
    "run_tags",
    "event_logs",
    "asset_event_tags",
    "asset_check_executions",
    "snapshots",
    "apollo_pruned_run",
    "apollo_compute_log",
)


@pytest.fixture(scope="module")
def history(
    make_database: MakeDatabase, _migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, str]]:
    """The name of a database with a history, and the runs in it that tests speak of."""
    uri = make_database(_migrated_template)
    with open_instance("apollo", uri, tmp_path_factory.mktemp("history")) as instance:
        ids = write_history(instance)
    return re.search(r"test_[0-9a-f]{12}", uri)[0], ids  # type: ignore[index]


@pytest.fixture
def uri(history: tuple[str, dict[str, str]], make_database: MakeDatabase) -> str:
    """The URI of a copy of it."""
    return make_database(history[0])


@pytest.fixture
def ids(history: tuple[str, dict[str, str]]) -> dict[str, str]:
    return history[1]


@pytest.fixture
def instance(uri: str, tmp_path: Path) -> Iterator[DagsterInstance]:
    with open_instance("apollo", uri, tmp_path) as opened:
        yield opened


@pytest.fixture
def engine(uri: str) -> Iterator[Engine]:
    made = sqlalchemy.create_engine(psycopg(uri), pool_size=4)
    yield made
    made.dispose()


def scope_of(instance: DagsterInstance, engine: Engine | None, home: Path) -> Scope:
    return Scope(instance, engine, home, frozenset(), ALL)


def count(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table: connection.execute(text(f"select count(*) from {table}")).scalar_one()
            for table in TABLES
        }


def fill(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def rows(report: Report) -> dict[str, int]:
    return dict(report.rows)


def test_the_ui_says_the_same_after_a_prune_but_for_the_runs_that_went(
    instance: DagsterInstance, engine: Engine, ids: dict[str, str], tmp_path: Path
) -> None:
    scope = scope_of(instance, engine, tmp_path)
    with open_ui(instance) as ui:
        before, runs = ui.asset_pages(), ui.runs()
        pages = ui.run_pages([run["id"] for run in runs])
        had = count(engine)

        told = rows(run_through(prune(scope, dry_run=True)))
        assert count(engine) == had
        assert instance.get_runs_count() == len(runs)

        gone = rows(run_through(recorded(scope, prune(scope))))
        assert ui.asset_pages() == before
        left = ui.runs()
        names = {run_id: name for name, run_id in ids.items()}
        kept = {names[run["id"]] for run in left if run["id"] in names}
        assert left == [run for run in runs if run in left]
        assert ui.run_pages([run["id"] for run in left]) == {
            run["id"]: pages[run["id"]] for run in left
        }
    assert kept >= {"day a", "day b", "day c failed", "day d failed", "last raw", "refined failed"}
    assert kept >= {"day c", "check only", "NOT_STARTED", "STARTED"}
    assert kept.isdisjoint({"first", "checks failed", "lonely failure", "repetition", "plain"})
    assert len(left) < len(runs)
    assert {name: gone[name] for name in ("runs", "events")} == {
        "runs": len(runs) - len(left),
        "events": had["event_logs"] - count(engine)["event_logs"],
    }
    assert told["runs"] == gone["runs"]
    outcome = read_outcome(instance)
    assert outcome is not None
    assert outcome.is_good
    assert outcome.removed["runs"] == gone["runs"]
    assert rows(run_through(prune(scope))) == {}


def test_without_what_it_protects_the_ui_would_say_something_else(
    instance: DagsterInstance, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "protect_asset", lambda *_: set())
    monkeypatch.setattr(plan_module, "protect_instance", lambda *_: None)
    with open_ui(instance) as ui:
        before = ui.asset_pages()
        run_through(prune(scope_of(instance, engine, tmp_path)))
        after = ui.asset_pages()
    changed = {name for name in before if before[name] != after[name]}
    assert changed >= {"assets", "day c", "check told"}


@pytest.fixture
def writer(uri: str, tmp_path: Path) -> Iterator[DagsterInstance]:
    """Another process's instance, which waits for no lock."""
    impatient = f"{uri}&options=-c%20lock_timeout%3D20ms"
    with open_instance("apollo", impatient, tmp_path / "writer") as opened:
        yield opened


def test_no_writer_waits_while_a_prune_holds_its_locks(
    instance: DagsterInstance,
    engine: Engine,
    writer: DagsterInstance,
    ids: dict[str, str],
    tmp_path: Path,
) -> None:
    latest = writer.get_run_by_id(ids["last raw"])
    going_on = writer.get_run_by_id(ids["STARTED"])
    assert latest
    assert going_on
    commits: list[int] = []

    def write(_connection: object) -> None:
        commits.append(1)
        for event in (
            AssetMaterialization("raw"),
            AssetObservation("refined"),
            AssetCheckEvaluation(asset_key=AssetKey("raw"), check_name="inline", passed=True),
        ):
            writer.report_runless_asset_event(event)
        run = DagsterRun(
            job_name="build", job_snapshot_id=latest.job_snapshot_id, tags={"a": str(len(commits))}
        )
        writer.add_run(run)
        writer.report_engine_event("goes on", going_on)
        writer.add_run_tags(going_on.run_id, {"at": str(len(commits))})
        writer.run_storage.set_cursor_values({"cursor": str(len(commits))})

    sqlalchemy.event.listen(engine, "commit", write)
    gone = rows(run_through(prune(scope_of(instance, engine, tmp_path))))
    assert gone["runs"] > 10
    assert len(commits) > 20
    build = execute(writer, "build")
    assert build.success


def test_a_run_that_is_repeated_while_runs_are_chosen_stays_with_its_group(
    instance: DagsterInstance, engine: Engine, ids: dict[str, str]
) -> None:
    reading = engine.execution_options(isolation_level="AUTOCOMMIT").connect
    plan = finish(make_plan(reading, reading, ALL, datetime.now(UTC)))
    assert ids["first"] in plan.runs
    again = repeat(instance, ids["first"])
    for _ in remove_runs(engine, plan, Item("runs")):
        pass
    assert instance.has_run(ids["first"])
    assert instance.has_run(again)
    assert not instance.has_run(ids["lonely failure"])


def test_a_prune_that_was_interrupted_anywhere_is_taken_up_by_the_next(
    instance: DagsterInstance, engine: Engine, tmp_path: Path
) -> None:
    scope = scope_of(instance, engine, tmp_path)
    had = count(engine)
    told = {item.what: item.rows for item in run_through(prune(scope, dry_run=True)).items}
    with open_ui(instance) as ui:
        before = ui.asset_pages()
        for number in range(8, 90, 6):
            steps = prune(scope)
            for _ in range(number):
                if next(steps, "end") == "end":
                    break
            steps.close()
        run_through(prune(scope))
        assert ui.asset_pages() == before
    left = count(engine)
    assert had["runs"] - left["runs"] == told["runs"]
    assert left["apollo_pruned_run"] == 0
    assert left["event_logs"] < had["event_logs"] - told["events"]  # and those of no run
    assert rows(run_through(prune(scope))) == {}


def test_the_tables_stay_as_large_as_they_are_however_many_runs_there_were(
    instance: DagsterInstance, engine: Engine, tmp_path: Path
) -> None:
    scope = scope_of(instance, engine, tmp_path)
    sizes = []
    for _ in range(3):
        for _ in range(2):
            assert execute(instance, "build").success
        run_through(prune(scope))
        sizes.append(count(engine))
    assert sizes[2] == sizes[1]


def test_snapshots_go_once_no_run_has_used_them_for_a_while(
    instance: DagsterInstance, engine: Engine, tmp_path: Path
) -> None:
    scope = scope_of(instance, engine, tmp_path)
    for name in ("unused", "wanted"):
        fill(
            engine,
            "insert into snapshots (snapshot_id, snapshot_body, snapshot_type) "
            f"values ('{name}', 'x', 'PIPELINE')",
        )
    assert run_through(prune(scope)).of("snapshots of jobs and plans").rows == 0
    fill(engine, "update apollo_unused_snapshot set marked_at = now() - interval '2 hours'")
    assert instance.run_storage.has_job_snapshot("wanted")
    run_through(prune(scope))
    assert not instance.run_storage.has_job_snapshot("unused")
    assert instance.run_storage.has_job_snapshot("wanted")
    for run in instance.get_runs():
        if run.job_snapshot_id:
            assert instance.get_historical_job(run.job_snapshot_id)
        if run.execution_plan_snapshot_id:
            assert instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)


def test_what_has_no_more_than_its_age_goes_by_that(
    instance: DagsterInstance, engine: Engine, ids: dict[str, str], tmp_path: Path
) -> None:
    for age, name in (("3 days", "old"), ("1 hour", "young")):
        then = f"now() - interval '{age}'"
        run, going_on = ids["last raw"], ids["STARTED"]
        for statement in f"""
            insert into apollo_audit (at, actor, role, method, action, allowed)
                values ({then}, '{name}', 'admin', 'token', 'x', true);
            insert into apollo_revoked_session values ('{name}', {then} + interval '1 day');
            insert into apollo_service
                (id, service, name, release, dagster_home, host, heartbeat_at)
                values ('{name}', 'daemon', 'daemon', '1', '/', 'h', {then} - interval '29 days');
            insert into apollo_compute_log (log_key, stream, run_id, updated_at) values
                ('{run}/compute_logs/{name}', 'stdout', '{run}', {then}),
                ('{going_on}/compute_logs/{name}', 'stdout', '{going_on}', {then}),
                ('repository/sensor/{name}', 'stdout', null, {then});
            insert into apollo_compute_log_chunk
                values ('{run}/compute_logs/{name}', 'stdout', 0, '12345');
            insert into job_ticks (job_origin_id, selector_id, status, type, timestamp) values
                ('o', 's', 'SUCCESS', 'SCHEDULE', {then}),
                ('p', '{name}', 'SKIPPED', 'SENSOR', {then} - interval '8 days')
        """.split(";"):
            fill(engine, statement)
    scope = scope_of(instance, engine, tmp_path)
    told = run_through(prune(scope, dry_run=True))
    gone = rows(run_through(prune(scope)))
    by_age = {
        "audit log entries": 1,
        "sessions that expired": 1,
        "services that ended": 1,
        "logs": 2,
        "ticks": 1,  # of a schedule; the only ticks of the sensors are their latest
    }
    assert {what: gone[what] for what in by_age} == by_age
    assert {what: told.of(what).rows for what in by_age} == by_age
    assert told.of("logs").size == 5
    with engine.connect() as connection:
        logs = set(connection.execute(text("select log_key from apollo_compute_log")).scalars())
        actors = set(connection.execute(text("select actor from apollo_audit")).scalars())
    assert actors == {"young"}
    assert logs == {
        f"{ids['last raw']}/compute_logs/young",
        f"{ids['STARTED']}/compute_logs/old",
        f"{ids['STARTED']}/compute_logs/young",
        "repository/sensor/young",
    }


def test_logs_that_cannot_be_removed_are_tried_again_and_keep_nothing_else(
    instance: DagsterInstance,
    engine: Engine,
    ids: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removed: list[str] = []

    def delete_logs(log_key: object = None, prefix: Sequence[str] = ()) -> None:
        if prefix[0] == ids["first"] and not removed.count("mended"):
            raise OSError("s3cret: the bucket is away")
        removed.append(prefix[0])

    monkeypatch.setattr(instance.compute_log_manager, "delete_logs", delete_logs)
    scope = scope_of(instance, engine, tmp_path)
    with pytest.raises(RetentionError) as caught:
        run_through(recorded(scope, prune(scope)))
    assert ids["first"] in str(caught.value)
    assert "s3cret" not in str(caught.value)
    outcome = read_outcome(instance)
    assert outcome is not None
    assert outcome.error == str(caught.value)
    assert len(removed) > 10
    assert count(engine)["apollo_pruned_run"] == 1
    removed.append("mended")
    run_through(recorded(scope, prune(scope)))
    assert removed[-1] == ids["first"]
    assert count(engine)["apollo_pruned_run"] == 0


def test_the_daemon_prunes_once_a_day_and_says_how_it_went(
    instance: DagsterInstance, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "apollo.retention")
    daemon = RetentionDaemon(ALL)
    had = instance.get_runs_count()
    with engine.connect() as other:
        other.execute(text("select pg_advisory_lock(:key)"), {"key": 0x41504F4C4C4F0003})
        list(daemon.run_iteration(context := SimpleNamespace(instance=instance)))
        other.execute(text("select pg_advisory_unlock_all()"))
    first = read_outcome(instance)
    assert first is not None
    assert not first.is_good
    assert "Another prune" in caplog.text
    assert instance.get_runs_count() == had
    list(daemon.run_iteration(context))
    assert read_outcome(instance) == first  # an hour later, not at once
    write_outcome(instance, replace(first, started=first.started - timedelta(hours=1)))
    list(daemon.run_iteration(context))
    second = read_outcome(instance)
    assert second is not None
    assert second.is_good
    assert instance.get_runs_count() < had
    list(daemon.run_iteration(context))
    assert read_outcome(instance) == second


def test_on_sqlite_the_ui_says_the_same_after_a_prune(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with DagsterInstance.from_config(str(home)) as instance:
        ids = write_short_history(instance)
        scope = scope_of(instance, None, home)
        with open_ui(instance) as ui:
            before, had = ui.asset_pages(), instance.get_runs_count()
            told = rows(run_through(prune(scope, dry_run=True)))
            assert instance.get_runs_count() == had
            gone = rows(run_through(recorded(scope, prune(scope))))
            assert ui.asset_pages() == before
        assert gone["runs"] == told["runs"] == had - instance.get_runs_count() == 3
        assert not instance.has_run(ids["first"])
        assert instance.has_run(ids["last raw"])


def finish(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value
