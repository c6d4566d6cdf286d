"""The events of some tenants' runs and assets."""

# ruff: noqa: ANN401 - what a view hands on is as the whole has it

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    EventLogEntry,
    EventLogRecord,
    EventRecordsFilter,
)
from dagster._core.event_api import EventRecordsResult
from dagster._core.execution.stats import RunStepKeyStatsSnapshot
from dagster._core.storage.event_log.base import (
    AssetRecord,
    EventLogConnection,
    EventLogStorage,
)

from dagster_apollo.web.limits.redaction import (
    is_of_inputs,
    limited_asset,
    limited_entry,
    limited_records,
    limited_tags,
)
from dagster_apollo.web.limits.runs import IsTheirs
from dagster_apollo.web.limits.scope import NotForLimitedError, Scope
from dagster_apollo.web.limits.views import passed, refusing

_NO_RUN = "-"
"""The id of no run: of one that is not theirs, a storage says what it says of one that is not."""
_Handler = Callable[[EventLogEntry, str], None]
_Key = TypeVar("_Key", AssetKey, AssetCheckKey)


@refusing(
    EventLogStorage,
    # made of those below
    "get_logs_for_run",
    "get_asset_keys_for_run",
    "default_run_scoped_event_tailer_offset",
)
class LimitedEvents(EventLogStorage):
    """What of the event log belongs to some tenants: by run, or by the asset's key.

    Args:
        whole: all of it.
        scope: the tenants.
        is_theirs: whether an id is that of one of their runs.
    """

    def __init__(self, whole: EventLogStorage, scope: Scope, is_theirs: IsTheirs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._whole = whole
        self._scope = scope
        self._is_theirs = is_theirs
        self._watching: dict[tuple[str, _Handler], _Handler] = {}

    is_persistent = passed("is_persistent")
    is_run_sharded = passed("is_run_sharded")
    supports_asset_checks = passed("supports_asset_checks")
    supports_global_concurrency_limits = passed("supports_global_concurrency_limits")
    supports_partition_subset_in_asset_materialization_planned_events = passed(
        "supports_partition_subset_in_asset_materialization_planned_events"
    )
    asset_records_have_last_observation = passed("asset_records_have_last_observation")
    asset_records_have_last_planned_and_failed_materializations = passed(
        "asset_records_have_last_planned_and_failed_materializations"
    )
    can_store_asset_failure_events = passed("can_store_asset_failure_events")

    # by run

    def _run(self, run_id: str) -> str:
        return run_id if self._is_theirs(run_id) else _NO_RUN

    def get_records_for_run(self, run_id: str, *args: Any, **more: Any) -> EventLogConnection:
        """The events of a run."""
        found = self._whole.get_records_for_run(self._run(run_id), *args, **more)
        return found._replace(records=limited_records(found.records, self._scope))

    def get_asset_partitions_for_run(self, run_id: str, *args: Any, **more: Any) -> Any:
        """The assets of a run."""
        found = self._whole.get_asset_partitions_for_run(self._run(run_id), *args, **more)
        return {key: value for key, value in found.items() if self._scope.has(key)}

    def get_stats_for_run(self, run_id: str) -> Any:
        """How many steps of a run succeeded."""
        return self._whole.get_stats_for_run(self._run(run_id))

    def get_step_stats_for_run(
        self, run_id: str, step_keys: Sequence[str] | None = None
    ) -> Sequence[RunStepKeyStatsSnapshot]:
        """How long the steps of a run took.

        An asset of theirs may be made by a run of several tenants: of its step nothing is said.
        """
        if not self._is_theirs(run_id):
            return [RunStepKeyStatsSnapshot(run_id, key) for key in step_keys or ()]
        return self._whole.get_step_stats_for_run(run_id, step_keys)

    def watch(self, run_id: str, cursor: str | None, callback: _Handler) -> None:
        """Follow a run.

        Raises:
            NotForLimitedError: it is not theirs.
        """
        if not self._is_theirs(run_id):
            raise NotForLimitedError("That run")

        def limited(entry: EventLogEntry, at: str) -> None:
            if not is_of_inputs(entry):
                callback(limited_entry(entry, self._scope), at)

        self._watching[run_id, callback] = limited
        self._whole.watch(run_id, cursor, limited)

    def end_watch(self, run_id: str, handler: _Handler) -> None:
        """Follow it no more."""
        self._whole.end_watch(run_id, self._watching.pop((run_id, handler)))

    # by asset

    def _those(self, keys: Iterable[_Key]) -> list[_Key]:
        return [key for key in keys if self._scope.has(key)]

    def _if(self, key: AssetKey | AssetCheckKey, read: Callable[[], Any], none: Any) -> Any:
        """What there is of an asset or a check; nothing, where it is not theirs."""
        return read() if self._scope.has(key) else none

    def get_event_records(
        self, event_records_filter: EventRecordsFilter, *args: Any, **more: Any
    ) -> Sequence[EventLogRecord]:
        """The events of an asset.

        Raises:
            NotForLimitedError: it is not asked for those of one asset of theirs.
        """
        key = event_records_filter.asset_key
        if key is None or not self._scope.has(key):
            raise NotForLimitedError("The events of all assets")
        found = self._whole.get_event_records(event_records_filter, *args, **more)
        return limited_records(found, self._scope)

    def get_asset_event_summary_records(
        self,
        event_type: Any,
        asset_key: AssetKey | None = None,
        run_id: str | None = None,
        *args: Any,
        **more: Any,
    ) -> Sequence[Any]:
        """The events of an asset, or of a run, in short."""
        if asset_key is None and run_id is None:
            raise NotForLimitedError("The events of all assets")
        if asset_key and not self._scope.has(asset_key):
            return []
        if run_id and not self._is_theirs(run_id):
            return []
        found = self._whole.get_asset_event_summary_records(
            event_type, asset_key, run_id, *args, **more
        )
        return [record for record in found if self._scope.has(record.asset_key)]

    def _fetched(
        self,
        fetch: Callable[..., EventRecordsResult],
        wanted: AssetKey | AssetRecordsFilter,
        *args: Any,
        **more: Any,
    ) -> EventRecordsResult:
        key = wanted if isinstance(wanted, AssetKey) else wanted.asset_key
        none = EventRecordsResult([], "", has_more=False)
        found: EventRecordsResult = self._if(key, lambda: fetch(wanted, *args, **more), none)
        return found._replace(records=limited_records(found.records, self._scope))

    def fetch_materializations(self, records_filter: Any, *args: Any, **more: Any) -> Any:
        """The materializations of an asset."""
        return self._fetched(self._whole.fetch_materializations, records_filter, *args, **more)

    def fetch_failed_materializations(self, records_filter: Any, *args: Any, **more: Any) -> Any:
        """The failures of an asset."""
        fetch = self._whole.fetch_failed_materializations
        return self._fetched(fetch, records_filter, *args, **more)

    def fetch_observations(self, records_filter: Any, *args: Any, **more: Any) -> Any:
        """The observations of an asset."""
        return self._fetched(self._whole.fetch_observations, records_filter, *args, **more)

    def get_asset_records(
        self, asset_keys: Sequence[AssetKey] | None = None
    ) -> Sequence[AssetRecord]:
        """What is known of assets."""
        wanted = self.all_asset_keys() if asset_keys is None else self._those(asset_keys)
        found = self._whole.get_asset_records(wanted) if wanted else []
        return [limited_asset(record, self._scope) for record in found]

    def get_latest_materialization_storage_ids(
        self, asset_keys: Sequence[AssetKey]
    ) -> Mapping[AssetKey, int | None]:
        """The places of assets' last materializations."""
        return self._whole.get_latest_materialization_storage_ids(self._those(asset_keys))

    def get_freshness_state_records(self, keys: Sequence[AssetKey]) -> Mapping[AssetKey, Any]:
        """How fresh assets are."""
        return self._whole.get_freshness_state_records(self._those(keys))

    def has_asset_key(self, asset_key: AssetKey) -> bool:
        """Whether there is such an asset."""
        return self._scope.has(asset_key) and self._whole.has_asset_key(asset_key)

    def all_asset_keys(self) -> Sequence[AssetKey]:
        """The keys of all assets of theirs."""
        return self.get_asset_keys()

    def get_asset_keys(
        self,
        prefix: Sequence[str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Sequence[AssetKey]:
        """The keys of assets, in their order."""
        prefixes = [list(prefix)] if prefix else [[it] for it in self._scope.prefixes]
        found = {
            key
            for it in prefixes
            if it[0] in self._scope.prefixes
            for key in self._whole.get_asset_keys(it, limit, cursor)
        }
        return sorted(self._those(found), key=AssetKey.to_string)[:limit]

    def get_latest_materialization_events(
        self, asset_keys: Iterable[AssetKey]
    ) -> Mapping[AssetKey, Any]:
        """The last materializations of assets."""
        found = self._whole.get_latest_materialization_events(self._those(asset_keys))
        return {key: it and limited_entry(it, self._scope) for key, it in found.items()}

    def get_latest_planned_materialization_info(
        self, asset_key: AssetKey, *args: Any, **more: Any
    ) -> Any:
        """The run that is to materialize an asset."""
        read = self._whole.get_latest_planned_materialization_info
        return self._if(asset_key, lambda: read(asset_key, *args, **more), None)

    def get_event_tags_for_asset(self, asset_key: AssetKey, *args: Any, **more: Any) -> Any:
        """The tags of an asset's events."""
        read = self._whole.get_event_tags_for_asset
        found = self._if(asset_key, lambda: read(asset_key, *args, **more), [])
        return [limited_tags(tags, self._scope) for tags in found]

    def get_materialized_partitions(self, asset_key: AssetKey, *args: Any, **more: Any) -> set[str]:
        """The partitions of an asset that are there."""
        read = self._whole.get_materialized_partitions
        return self._if(asset_key, lambda: read(asset_key, *args, **more), set())  # type: ignore[no-any-return]

    def get_latest_storage_id_by_partition(
        self, asset_key: AssetKey, *args: Any, **more: Any
    ) -> Any:
        """The places of the last events of an asset's partitions."""
        read = self._whole.get_latest_storage_id_by_partition
        return self._if(asset_key, lambda: read(asset_key, *args, **more), {})

    def get_latest_tags_by_partition(self, asset_key: AssetKey, *args: Any, **more: Any) -> Any:
        """The tags of the last events of an asset's partitions."""
        read = self._whole.get_latest_tags_by_partition
        found = self._if(asset_key, lambda: read(asset_key, *args, **more), {})
        return {partition: limited_tags(tags, self._scope) for partition, tags in found.items()}

    def get_latest_asset_partition_materialization_attempts_without_materializations(
        self, asset_key: AssetKey, *args: Any, **more: Any
    ) -> Any:
        """The partitions of an asset whose last run did not succeed, or has not yet."""
        whole = self._whole
        read = whole.get_latest_asset_partition_materialization_attempts_without_materializations
        return self._if(asset_key, lambda: read(asset_key, *args, **more), {})

    def get_updated_data_version_partitions(
        self, asset_key: AssetKey, *args: Any, **more: Any
    ) -> Any:
        """The partitions of an asset whose data changed."""
        read = self._whole.get_updated_data_version_partitions
        return self._if(asset_key, lambda: read(asset_key, *args, **more), set())

    def get_asset_status_cache_values(
        self, partitions_defs_by_key: Iterable[tuple[AssetKey, Any]], *_: Any, **__: Any
    ) -> Sequence[None]:
        """Nothing: who reads this cache may have to write it."""
        return [None for _ in partitions_defs_by_key]

    def can_read_asset_status_cache(self) -> bool:
        """No."""
        return False

    def can_write_asset_status_cache(self) -> bool:
        """No."""
        return False

    # by check

    def get_asset_check_summary_records(
        self, asset_check_keys: Sequence[AssetCheckKey]
    ) -> Mapping[AssetCheckKey, Any]:
        """What is known of checks."""
        return self._whole.get_asset_check_summary_records(self._those(asset_check_keys))

    def get_asset_check_execution_history(
        self, check_key: AssetCheckKey, *args: Any, **more: Any
    ) -> Sequence[Any]:
        """What a check found."""
        read = self._whole.get_asset_check_execution_history
        return self._if(check_key, lambda: read(check_key, *args, **more), [])  # type: ignore[no-any-return]

    def get_latest_asset_check_execution_by_key(
        self, check_keys: Sequence[AssetCheckKey], *args: Any, **more: Any
    ) -> Mapping[AssetCheckKey, Any]:
        """What checks found last."""
        keys = self._those(check_keys)
        return self._whole.get_latest_asset_check_execution_by_key(keys, *args, **more)

    def get_asset_check_partition_info(
        self, keys: Sequence[AssetCheckKey], *args: Any, **more: Any
    ) -> Sequence[Any]:
        """What checks found of partitions."""
        return self._whole.get_asset_check_partition_info(self._those(keys), *args, **more)

    def get_checkpointed_asset_check_state(
        self, keys: Sequence[AssetCheckKey]
    ) -> Mapping[AssetCheckKey, Any]:
        """How checks stand, as was stored."""
        return self._whole.get_checkpointed_asset_check_state(self._those(keys))

    def get_asset_check_state(
        self, keys: Sequence[tuple[AssetCheckKey, Any]]
    ) -> Mapping[AssetCheckKey, Any]:
        """How checks stand."""
        return self._whole.get_asset_check_state([it for it in keys if self._scope.has(it[0])])

    # pools: their names are those of tenants

    def get_concurrency_keys(self) -> set[str]:
        """None."""
        return set()

    def get_pool_limits(self) -> Sequence[Any]:
        """None."""
        return []

    def get_concurrency_run_ids(self) -> Set[str]:  # type: ignore[override]
        """None."""
        return set()

    def get_pool_config(self) -> Any:
        """How pools work; it names none."""
        return self._whole.get_pool_config()
