"""Apollo's Postgres storage leaves in the tables what stock's leaves, by fewer statements."""

from collections.abc import Iterator
from dataclasses import dataclass

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
from dagster._core.definitions.observe import observe

from dagster_apollo.instance.buffering import event_buffering
from tests.integration.conftest import MakeDatabase
from tests.integration.postgres_support import (
    Kind,
    Traffic,
    contents,
    open_instance,
    traffic,
)

pytestmark = pytest.mark.integration

KINDS: tuple[Kind, Kind] = ("stock", "apollo")
MANY = 12


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
