"""An instance with a history for retention, and what the UI asks of it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetSelection,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DataVersion,
    Definitions,
    ExecuteInProcessResult,
    MaterializeResult,
    Output,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    define_asset_job,
    job,
    op,
)
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_graphql.test.utils import execute_dagster_graphql

from dagster_apollo.paths import CHECKOUT

BAD: set[str] = set()
"""Assets, partitions and checks that fail at present."""
PARTITIONS = StaticPartitionsDefinition(["a", "b", "c", "d"])


def _fail_if_bad(name: str) -> None:
    if name in BAD:
        raise ValueError(f"{name} is bad")


@asset(
    code_version="1",
    check_specs=[AssetCheckSpec("inline", asset="raw"), AssetCheckSpec("never", asset="raw")],
)
def raw(context: AssetExecutionContext) -> Iterator[Any]:
    _fail_if_bad("raw")
    context.log.info("making raw")
    yield Output(1, data_version=DataVersion(context.run.run_id))
    yield AssetCheckResult(check_name="inline", passed="inline" not in BAD)
    if "never" in BAD:
        return
    yield AssetCheckResult(check_name="never", passed=True)


@asset(code_version="1")
def refined(raw: int) -> int:
    _fail_if_bad("refined")
    return raw + 1


@asset(partitions_def=PARTITIONS)
def daily(context: AssetExecutionContext) -> MaterializeResult[None]:
    _fail_if_bad(context.partition_key)
    return MaterializeResult(metadata={"run": context.run.run_id})


@asset_check(asset=refined)
def apart() -> AssetCheckResult:
    return AssetCheckResult(passed="apart" not in BAD, severity=AssetCheckSeverity.WARN)


@job
def plain() -> None:
    @op
    def work() -> None: ...

    work()


build = define_asset_job("build", AssetSelection.assets(raw, refined))
by_day = define_asset_job("by_day", AssetSelection.assets(daily))
check_only = define_asset_job("check_only", AssetSelection.checks(apart))
defs = Definitions(
    assets=[raw, refined, daily], asset_checks=[apart], jobs=[build, by_day, check_only, plain]
)


def execute(
    instance: DagsterInstance, name: str, partition: str | None = None, **tags: str
) -> ExecuteInProcessResult:
    return defs.resolve_job_def(name).execute_in_process(
        instance=instance, partition_key=partition, tags=tags, raise_on_error=False
    )


def repeat(instance: DagsterInstance, run_id: str, name: str = "build") -> str:
    """Execute a job again as a run of another's group."""
    tags = {PARENT_RUN_ID_TAG: run_id, ROOT_RUN_ID_TAG: run_id}
    job_def = defs.resolve_job_def(name)
    return job_def.execute_in_process(instance=instance, tags=tags, raise_on_error=False).run_id


def write_history(instance: DagsterInstance) -> dict[str, str]:
    """Runs of which some hold the latest of something; returns the ones that tests speak of."""
    ids = {"first": execute(instance, "build").run_id}
    for _ in range(3):
        execute(instance, "build")
    with bad("inline", "apart"):
        ids["checks failed"] = execute(instance, "build").run_id
    with bad("refined"):
        ids["lonely failure"] = execute(instance, "build").run_id
    ids["repetition"] = repeat(instance, ids["lonely failure"])
    for partition in ("a", "b", "a", "b", "c"):
        ids[f"day {partition}"] = execute(instance, "by_day", partition).run_id
    with bad("c", "d"):
        for partition in ("c", "d", "d"):
            ids[f"day {partition} failed"] = execute(instance, "by_day", partition).run_id
    for _ in range(4):
        ids["plain"] = execute(instance, "plain").run_id
    with bad("apart"):
        ids["check only"] = execute(instance, "check_only").run_id
    with bad("never"):
        ids["never"] = execute(instance, "build").run_id
    ids["last raw"] = execute(instance, "build").run_id
    with bad("refined"):
        ids["refined failed"] = execute(instance, "build").run_id
    for number in range(3):
        for event in (
            AssetMaterialization("outside", metadata={"number": number}),
            AssetObservation("seen", tags={"dagster/data_version": str(number)}),
            AssetCheckEvaluation(
                asset_key=AssetKey("outside"), check_name="told", passed=number == 0
            ),
        ):
            instance.report_runless_asset_event(event)
    for status in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED):
        run = DagsterRun(job_name="plain", status=status)
        instance.run_storage.add_run(run)
        ids[status.value] = run.run_id
    return ids


def write_short_history(instance: DagsterInstance) -> dict[str, str]:
    """A part of it: three runs may go, and each of the others holds the latest of something."""
    ids = {"first": execute(instance, "build").run_id}
    for partition in ("a", "a", "b"):
        execute(instance, "by_day", partition)
    with bad("inline"):
        execute(instance, "build")
    ids["last raw"] = execute(instance, "build").run_id
    with bad("raw"):
        execute(instance, "build")
    return ids


@contextmanager
def bad(*names: str) -> Iterator[None]:
    BAD.update(names)
    try:
        yield
    finally:
        BAD.difference_update(names)


_EVENT = """{ runId timestamp partition stepKey tags { key value } metadataEntries {
  label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } } }"""
_RUN = "{ id status jobName startTime endTime tags { key value } rootRunId parentRunId }"
_EXECUTION = """{ id runId status timestamp partition stepKey run { id status }
  evaluation { success severity timestamp targetMaterialization { storageId runId timestamp } } }"""
_ASSETS = f"""
{{
  assetNodes {{
    assetKey {{ path }}
    isPartitioned
    dataVersion staleStatus staleCauses {{ category reason key {{ path }} }}
    latestMaterializationByPartition {_EVENT}
    assetMaterializations(limit: 1) {_EVENT}
    assetObservations(limit: 1) {_EVENT}
    partitionStats {{ numMaterialized numMaterializing numPartitions numFailed }}
    assetPartitionStatuses {{
      ... on DefaultPartitionStatuses {{
        materializedPartitions failedPartitions materializingPartitions unmaterializedPartitions
      }}
    }}
    assetChecksOrError {{
      ... on AssetChecks {{ checks {{ name executionForLatestMaterialization {_EXECUTION} }} }}
    }}
    freshnessInfo {{ currentMinutesLate latestMaterializationMinutesLate }}
    freshnessStatusInfo {{ freshnessStatus }}
  }}
  assetsOrError {{
    ... on AssetConnection {{
      nodes {{
        key {{ path }}
        latestMaterializationTimestamp latestObservationTimestamp
        latestFailedToMaterializeTimestamp latestEventSortKey
        assetHealth {{ assetHealth materializationStatus assetChecksStatus freshnessStatus }}
        assetMaterializations(limit: 1) {_EVENT}
        assetObservations(limit: 1) {_EVENT}
      }}
    }}
  }}
}}
"""
_LATEST = f"""
query($keys: [AssetKeyInput!]!) {{
  assetsLatestInfo(assetKeys: $keys) {{
    assetKey {{ path }}
    latestMaterialization {_EVENT}
    unstartedRunIds inProgressRunIds
    latestRun {_RUN}
  }}
}}
"""
_DAY = f"""
query($partition: String!) {{
  assetNodeOrError(assetKey: {{path: ["daily"]}}) {{
    ... on AssetNode {{
      latestRunForPartition(partition: $partition) {_RUN}
      latestMaterializationByPartition(partitions: [$partition]) {_EVENT}
      dataVersion(partition: $partition) staleStatus(partition: $partition)
    }}
  }}
}}
"""
_CHECK_HISTORY = f"""
query($asset: AssetKeyInput!, $name: String!) {{
  assetCheckExecutions(assetKey: $asset, checkName: $name, limit: 1) {_EXECUTION}
}}
"""
_RUNS = f"""
{{
  runsFeedOrError(limit: 500, view: RUNS) {{
    ... on RunsFeedConnection {{ results {{ ... on Run {_RUN} }} }}
  }}
}}
"""
_ONE_RUN = f"""
query($id: ID!) {{
  runOrError(runId: $id) {{
    ... on Run {{
      id status
      stats {{ ... on RunStatsSnapshot {{ stepsSucceeded stepsFailed materializations }} }}
      executionPlan {{ steps {{ key }} }}
      parentPipelineSnapshotId pipelineSnapshotId
      solidSelection stepStats {{ stepKey status }}
    }}
  }}
  logsForRun(runId: $id) {{
    ... on EventConnection {{ events {{ ... on MessageEvent {{ message timestamp eventType }} }} }}
  }}
  runGroupOrError(runId: $id) {{
    __typename ... on RunGroup {{ rootRunId runs {_RUN} }}
  }}
}}
"""
CHECKS = (("raw", "inline"), ("raw", "never"), ("refined", "apart"), ("outside", "told"))


class Ui:
    """What Dagster's UI is told of an instance."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def ask(self, query: str, **variables: object) -> Any:
        result = execute_dagster_graphql(self._context, query, variables)
        assert not result.errors, result.errors
        return result.data

    def asset_pages(self) -> dict[str, Any]:
        """Everything about the latest state of assets, partitions and checks."""
        keys = [{"path": [name]} for name in ("raw", "refined", "daily", "outside", "seen")]
        return {
            "assets": self.ask(_ASSETS),
            "latest": self.ask(_LATEST, keys=keys[:3]),
            **{f"day {it}": self.ask(_DAY, partition=it) for it in PARTITIONS.get_partition_keys()},
            **{
                f"check {name}": self.ask(_CHECK_HISTORY, asset={"path": [of]}, name=name)
                for of, name in CHECKS
            },
        }

    def runs(self) -> list[dict[str, Any]]:
        """The feed of runs."""
        return self.ask(_RUNS)["runsFeedOrError"]["results"]

    def run_pages(self, run_ids: Sequence[str]) -> dict[str, Any]:
        """What there is of each of some runs."""
        return {run_id: self.ask(_ONE_RUN, id=run_id) for run_id in run_ids}


@contextmanager
def open_ui(instance: DagsterInstance) -> Iterator[Ui]:
    origin = LoadableTargetOrigin(
        executable_path=sys.executable,
        module_name="tests.integration.retention_instance",
        attribute="defs",
        working_directory=str(CHECKOUT),
    )
    with in_process_test_workspace(instance, origin) as context:
        yield Ui(context)
