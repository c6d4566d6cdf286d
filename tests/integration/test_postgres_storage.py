"""Apollo's Postgres storage leaves in the tables what stock's leaves, by fewer statements."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import dagster as dg
import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetSpec,
    DagsterInstance,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.observe import observe
from dagster._core.execution.api import execute_run
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.test_utils import create_run_for_test
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage
from dagster_shared.serdes import serdes as packing
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from dagster_apollo.instance import postgres_storage
from dagster_apollo.instance.buffering import event_buffering
from dagster_apollo.instance.postgres_events import BatchingEventLogStorage
from tests.integration.conftest import MakeDatabase
from tests.integration.postgres_support import (
    Kind,
    Traffic,
    contents,
    open_instance,
    rows_of,
    traffic,
    wait_until,
)

pytestmark = pytest.mark.integration

KINDS: tuple[Kind, Kind] = ("stock", "apollo")
MANY = 12
NAME = "select current_database() as name"


@dg.observable_source_asset
def source() -> dg.DataVersion:
    return dg.DataVersion("v1")


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]), metadata={"owner": "me"})
def by_part(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 3}, data_version=dg.DataVersion("part-v"))


@dg.multi_asset(
    specs=[AssetSpec(f"node_{i}") for i in range(MANY)],
    check_specs=[
        AssetCheckSpec(f"test_{n}", asset=f"node_{i}") for i in range(MANY) for n in "xyz"
    ],
)
def nodes(context: dg.AssetExecutionContext) -> Iterator[object]:
    """As a tenant's dbt does: many assets, checks of three outcomes, a log, observations."""
    with event_buffering(context.instance, context.run.run_id):
        for i in range(MANY):
            context.log.info("node %d", i)
            yield dg.MaterializeResult(
                asset_key=f"node_{i}", metadata={"rows": i}, data_version=dg.DataVersion(f"v{i}")
            )
            for name, passed, severity in (
                ("x", True, AssetCheckSeverity.ERROR),
                ("y", i % 2 == 0, AssetCheckSeverity.WARN),
                ("z", i % 5 != 0, AssetCheckSeverity.WARN),
            ):
                yield AssetCheckResult(
                    asset_key=f"node_{i}",
                    check_name=f"test_{name}",
                    passed=passed,
                    severity=severity,
                    metadata={"failed": i},
                )
            if i % 10 == 0:
                yield dg.AssetObservation(
                    f"node_{i}", metadata={"seen": True}, tags={"dagster/data_version": "7"}
                )
                yield dg.AssetMaterialization("elsewhere", metadata={"turn": i})


@dg.asset(deps=["node_0"])
def after() -> None:
    pass


@dg.asset_check(asset=after, blocking=True)
def is_good() -> AssetCheckResult:
    return AssetCheckResult(passed=False, severity=AssetCheckSeverity.ERROR)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def flaky(context: dg.OpExecutionContext) -> None:
    context.log.warning("attempt %d", context.retry_number)
    if context.retry_number < 2:
        raise dg.RetryRequested(max_retries=2)


@dg.op
def broken(context: dg.OpExecutionContext) -> None:
    with event_buffering(context.instance, context.run.run_id):
        context.log.info("before it breaks")
        raise dg.Failure("it broke", metadata={"why": "because"})


@dg.op(ins={"start": dg.In(dg.Nothing)})
def never() -> None:
    pass


@dg.job
def troubles() -> None:
    flaky()
    never(broken())


ALL = [source, by_part, nodes, after, is_good]


def scenario(instance: DagsterInstance) -> dict[str, object]:
    """Everything that writes to the event log; returns what is read back on the way."""
    read: dict[str, object] = {}
    definitions = dg.Definitions(assets=ALL[:-1], asset_checks=[is_good], jobs=[troubles])
    everything = definitions.resolve_implicit_global_asset_job_def()
    for _ in range(2):
        ran = everything.execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=[*nodes.keys, after.key],
        )
        read.setdefault("first", _reading(instance, ran.run_id))
    observe([source], instance=instance)
    for part in ("a", "b", "a"):
        dg.materialize([by_part], instance=instance, partition_key=part)
    troubles.execute_in_process(instance=instance, raise_on_error=False)
    instance.report_runless_asset_event(
        dg.AssetMaterialization("outside", tags={"dagster/data_version": "1"})
    )
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=AssetKey("outside"), check_name="c", passed=True)
    )
    instance.add_dynamic_partitions("dynamic", ["p", "q"])
    instance.wipe_assets([AssetKey("node_3")])
    doomed = dg.materialize([by_part], instance=instance, partition_key="c")
    instance.delete_run(doomed.run_id)
    run = instance.get_runs()[0]
    instance.report_engine_event("by hand", run, step_key="s")
    latest = instance.get_latest_materialization_event(AssetKey("node_4"))
    read["asset"] = latest.asset_materialization.metadata
    read["partitions"] = instance.get_materialized_partitions(AssetKey("by_part"))
    read["keys"] = sorted(key.to_user_string() for key in instance.get_asset_keys())
    read["checks"] = [
        (record.status, record.event.dagster_event.asset_check_evaluation_data.passed)
        for record in instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(AssetKey("node_0"), "test_z"), limit=9
        )
    ]
    return read


def _reading(instance: DagsterInstance, run_id: str) -> object:
    log = instance.event_log_storage
    stats = instance.get_run_stats(run_id)
    page, cursor = [], None
    while True:
        connection = log.get_records_for_run(run_id, cursor=cursor, limit=37)
        page += [record.storage_id for record in connection.records]
        cursor = connection.cursor
        if not connection.has_more:
            break
    return (
        instance.get_run_by_id(run_id).status,
        (stats.steps_succeeded, stats.steps_failed, stats.materializations),
        [
            (step.step_key, step.status, step.attempts)
            for step in log.get_step_stats_for_run(run_id)
        ],
        page,
        [e.dagster_event_type for e in instance.all_logs(run_id)],
    )


@dataclass
class Outcome:
    """What a kind of storage made of the scenario."""

    tables: dict[str, list[dict[str, object]]]
    read: dict[str, object]
    traffic: Traffic


@pytest.fixture(scope="module")
def outcomes(
    make_database: MakeDatabase, _migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[Kind, Outcome]:
    found: dict[Kind, Outcome] = {}
    for kind in KINDS:
        uri = make_database(_migrated_template)
        home = tmp_path_factory.mktemp(kind)
        with traffic() as counted, open_instance(kind, uri, home) as instance:
            read = scenario(instance)
        found[kind] = Outcome(contents(uri), read, counted)
    return found


def test_the_event_log_is_the_same_event_by_event(outcomes: dict[Kind, Outcome]) -> None:
    stock, apollo = (outcomes[kind].tables["event_logs"] for kind in KINDS)
    assert len(stock) > 6 * MANY
    for theirs, ours in zip(stock, apollo, strict=True):
        assert ours == theirs


@pytest.mark.parametrize(
    "table",
    [
        "asset_keys",
        "asset_event_tags",
        "asset_check_executions",
        "runs",
        "run_tags",
        "dynamic_partitions",
    ],
)
def test_a_table_is_the_same_row_by_row(outcomes: dict[Kind, Outcome], table: str) -> None:
    stock, apollo = (outcomes[kind].tables[table] for kind in KINDS)
    assert stock
    for theirs, ours in zip(stock, apollo, strict=True):
        assert ours == theirs


def test_what_is_read_back_is_the_same(outcomes: dict[Kind, Outcome]) -> None:
    assert outcomes["apollo"].read == outcomes["stock"].read


def test_a_process_opens_a_handful_of_connections(outcomes: dict[Kind, Outcome]) -> None:
    assert outcomes["apollo"].traffic.connections <= 3
    assert outcomes["stock"].traffic.connections > 100


def planned_job(assets: int) -> dg.JobDefinition:
    """A job of one step with three checks for each asset, as a tenant's is."""

    @dg.multi_asset(
        name="dbt",
        specs=[AssetSpec(f"node_{i}") for i in range(assets)],
        check_specs=[
            AssetCheckSpec(f"test_{n}", asset=f"node_{i}") for i in range(assets) for n in range(3)
        ],
    )
    def dbt(context: dg.AssetExecutionContext) -> Iterator[object]:
        with event_buffering(context.instance, context.run.run_id):
            for i in range(assets):
                yield dg.MaterializeResult(asset_key=f"node_{i}")
                for n in range(3):
                    yield AssetCheckResult(
                        asset_key=f"node_{i}", check_name=f"test_{n}", passed=True
                    )

    return dg.Definitions(
        assets=[dbt], executor=dg.in_process_executor
    ).resolve_implicit_global_asset_job_def()


def create(kind: Kind, uri: str, home: Path, job: dg.JobDefinition) -> tuple[Traffic, float]:
    with open_instance(kind, uri, home) as instance, traffic() as counted:
        started = perf_counter()
        instance.create_run_for_job(job)
        return counted, perf_counter() - started


def test_creating_a_run_takes_as_many_statements_whatever_it_plans(
    migrated_uri: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    copies = [make_database(rows_of(migrated_uri, NAME)[0]["name"]) for _ in range(2)]
    uris = [migrated_uri, *copies]
    small, large = planned_job(25), planned_job(1000)
    stock, stock_seconds = create("stock", uris[0], tmp_path / "a", small)
    few, seconds = create("apollo", uris[1], tmp_path / "b", small)
    many, _ = create("apollo", uris[2], tmp_path / "c", large)
    print(f"100 planned events: stock {stock_seconds:.2f} s, Apollo {seconds:.2f} s")
    assert len(many.statements) == len(few.statements) <= 15
    assert (many.connections, few.connections) == (0, 0)  # the one of the opened storage is used
    assert len(stock.statements) > 300
    assert stock.connections > 200
    planned = "select count(*) from {} where {} like '%PLANNED'"
    for table, column in (
        ("event_logs", "dagster_event_type"),
        ("asset_check_executions", "execution_status"),
    ):
        (row,) = rows_of(uris[2], planned.format(table, column))
        assert row["count"] == (4000 if table == "event_logs" else 3000)


def test_a_run_takes_a_fraction_of_the_statements(
    migrated_uri: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    job, counted = planned_job(40), {}
    copy = make_database(rows_of(migrated_uri, NAME)[0]["name"])
    for kind, uri in zip(KINDS, (migrated_uri, copy), strict=True):
        with open_instance(kind, uri, tmp_path / kind) as instance:
            run = instance.create_run_for_job(job)
            with traffic() as counted[kind]:
                assert execute_run(InMemoryJob(job), run, instance).success
    stock, apollo = (counted[kind] for kind in KINDS)
    assert len(apollo.statements) * 5 <= len(stock.statements)
    assert apollo.connections <= 2


def test_the_webserver_has_more_connections_but_not_without_bound(
    migrated_uri: str, tmp_path: Path
) -> None:
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        instance.optimize_for_webserver(statement_timeout=150, pool_recycle=60, max_overflow=2)
        with traffic() as counted, ThreadPoolExecutor(30) as threads:
            asked = [
                threads.submit(storage_read)
                for storage_read in (
                    instance.get_runs,
                    instance.all_asset_keys,
                    instance.all_instigator_state,
                )
                for _ in range(20)
            ]
            for answer in asked:
                answer.result()
        assert 1 < counted.most_open <= 5
        with (
            instance.event_log_storage.index_connection() as connection,
            pytest.raises(OperationalError, match="statement timeout"),
        ):
            connection.execute(text("select pg_sleep(1)"))


def test_a_plan_is_serialized_once_and_stored_as_stock_stores_it(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = dg.Definitions(assets=ALL[:-1]).resolve_implicit_global_asset_job_def()
    wrap = packing._transform_for_serialization
    stored: dict[Kind, list[dict[str, object]]] = {}
    plans: dict[Kind, int] = {}
    for kind in KINDS:
        plans[kind] = 0

        def counted(value: Any, *args: Any, kind: Kind = kind, **more: Any) -> Any:
            plans[kind] += isinstance(value, ExecutionPlanSnapshot)
            return wrap(value, *args, **more)

        uri = make_database()
        with open_instance(kind, uri, tmp_path / kind) as instance:
            monkeypatch.setattr(packing, "_transform_for_serialization", counted)
            runs = [instance.create_run_for_job(job) for _ in range(2)]
            monkeypatch.undo()
            ids = {run.execution_plan_snapshot_id for run in runs}
            assert len(ids) == 1
            plan = instance.get_execution_plan_snapshot(ids.pop() or "")
            assert plan.step_keys_to_execute
        stored[kind] = [
            {name: bytes(it) if name == "snapshot_body" else it for name, it in row.items()}
            for row in rows_of(uri, "select * from snapshots order by id")
        ]
    assert plans == {"stock": 4, "apollo": 2}  # the first run's three times, and the second's once
    assert len(stored["stock"]) == 2
    assert stored["apollo"] == stored["stock"]


def test_threads_share_a_bounded_pool(migrated_uri: str, tmp_path: Path) -> None:
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        run = create_run_for_test(instance)
        with traffic() as counted, ThreadPoolExecutor(16) as threads:
            told = [
                threads.submit(instance.report_engine_event, f"{number}", run)
                for number in range(200)
            ]
            for one in told:
                one.result()
        assert counted.most_open <= 5
        assert len(instance.all_logs(run.run_id)) == 200


def test_a_forked_process_has_connections_and_events_of_its_own(
    migrated_uri: str, tmp_path: Path
) -> None:
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        run = create_run_for_test(instance)
        with event_buffering(instance, run.run_id):
            instance.report_engine_event("before the fork", run)
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    instance.report_engine_event("of the child", run)
                    instance.all_logs(run.run_id)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            instance.report_engine_event("after the fork", run)
        told = [event.message for event in instance.all_logs(run.run_id)]
    assert sorted(told) == ["after the fork", "before the fork", "of the child"]
    assert told.index("before the fork") < told.index("after the fork")


def test_dispose_closes_the_connections(migrated_uri: str, tmp_path: Path) -> None:
    count = (
        "select count(*) from pg_stat_activity "
        "where datname = current_database() and application_name = 'apollo'"
    )
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        instance.get_runs()
        assert rows_of(migrated_uri, count)[0]["count"] == 1
    wait_until(lambda: rows_of(migrated_uri, count)[0]["count"] == 0)


def test_an_empty_database_is_made_ready(postgres_uri: str, tmp_path: Path) -> None:
    with open_instance("apollo", postgres_uri, tmp_path / "home") as instance:
        assert isinstance(instance.event_log_storage, BatchingEventLogStorage)
        assert dg.materialize([after], instance=instance, raise_on_error=False).success


def test_an_older_schema_means_stock(
    migrated_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows_of(migrated_uri, "drop table asset_event_tags cascade; commit; select 1")
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        assert type(instance.event_log_storage) is PostgresEventLogStorage
    assert "dagster instance migrate" in caplog.text


def test_another_version_of_dagster_means_stock(
    migrated_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(postgres_storage, "why_unsupported", lambda: "dagster is 1.99.0")
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        assert type(instance.run_storage) is PostgresRunStorage
    assert "dagster is 1.99.0" in caplog.text


def test_the_uri_is_in_no_configuration(migrated_uri: str, tmp_path: Path) -> None:
    with open_instance("apollo", migrated_uri, tmp_path / "home") as instance:
        told = [instance.info_str(), repr(instance.get_ref()), str(instance.get_ref().to_dict())]
    assert not any(migrated_uri.split("?", maxsplit=1)[0][-12:] in text for text in told)
