"""The jobs and the schedule of a tenant."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from dagster import (
    AssetKey,
    AssetObservation,
    AssetsDefinition,
    AssetSelection,
    DefaultScheduleStatus,
    Failure,
    JobDefinition,
    OpExecutionContext,
    ScheduleDefinition,
    define_asset_job,
    job,
    op,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.dbt.manifest import asset_nodes
from dagster_apollo.dbt.process import require_own_end, stop_dbt
from dagster_apollo.dbt.resource import TenantDbtResource
from dagster_apollo.dbt.stock import build_schedule_from_dbt_selection
from dagster_apollo.settings import TenantSettings
from dagster_apollo.tenants import Tenant

Job = JobDefinition | UnresolvedAssetJobDefinition
_KINDS: Final = ("build", "seed", "snapshot", "source_freshness")


def job_names(tenant: Tenant) -> list[str]:
    """The names of the jobs that a tenant has, or may have: with no seeds there is no seed job."""
    return [f"{tenant.identifier}_{kind}" for kind in _KINDS]


def tenant_schedule(prepared: TenantProject, assets: AssetsDefinition) -> ScheduleDefinition:
    """The schedule of `<tenant>_build`, and with it the job itself.

    It is made for every target, so that a wrong cron shows before production; whether it exists
    there is for the caller to decide.
    """
    tenant = prepared.settings.tenant
    return build_schedule_from_dbt_selection(
        [assets],
        job_name=f"{tenant.identifier}_build",
        schedule_name=schedule_name(prepared.settings),
        cron_schedule=tenant.config.cron,
        execution_timezone=tenant.config.timezone,
        dbt_select="fqn:*",
        tags=run_tags(prepared.settings),
        default_status=DefaultScheduleStatus.RUNNING,
    )


def tenant_jobs(prepared: TenantProject) -> Sequence[Job]:
    """The tenant's jobs apart from `<tenant>_build`: seed, snapshot and source freshness."""
    jobs: list[Job] = [
        define_asset_job(
            f"{prepared.settings.tenant.identifier}_{kind}",
            selection=AssetSelection.assets(*keys),
            tags=run_tags(prepared.settings),
            description=f"Builds and tests the {kind}s of tenant {prepared.settings.tenant.name}.",
        )
        for kind in ("seed", "snapshot")
        if (keys := _keys_of(kind, prepared))
    ]
    return [*jobs, _source_freshness_job(prepared)]


def _keys_of(kind: str, prepared: TenantProject) -> list[AssetKey]:
    """The keys of all nodes of a resource type."""
    manifest, translator = prepared.manifest, prepared.translator
    return [
        translator.get_asset_spec(manifest, node["unique_id"], prepared.project).key
        for node in asset_nodes(manifest)
        if node["resource_type"] == kind
    ]


def schedule_name(settings: TenantSettings) -> str:
    """The name of the schedule of `<tenant>_build`."""
    return f"{settings.tenant.identifier}_build_schedule"


def run_tags(settings: TenantSettings) -> dict[str, str]:
    """Tags that every run of the tenant carries."""
    route = settings.tenant.config.alert_route
    return {
        "apollo/tenant": settings.tenant.name,
        "apollo/target": settings.target,
        **({"apollo/alert_route": route} if route else {}),
    }


def _source_freshness_job(prepared: TenantProject) -> JobDefinition:
    name = f"{prepared.settings.tenant.identifier}_source_freshness"

    @op(
        name=f"{name}_op",
        required_resource_keys={prepared.resource_key},
        pool=prepared.settings.pool,
    )
    def _check(context: OpExecutionContext) -> None:
        dbt: TenantDbtResource = getattr(context.resources, prepared.resource_key)
        invocation = dbt.cli(["source", "freshness"], context=context, raise_on_error=False)
        try:
            invocation.wait()
        finally:
            stop_dbt(invocation.process)
        results = _freshness_results(invocation)
        for result in results:
            source = prepared.manifest["sources"].get(result["unique_id"])
            if source:
                context.log_event(
                    AssetObservation(
                        prepared.translator.get_asset_key(source), metadata=_metadata(result)
                    )
                )
        if not invocation.is_successful():
            require_own_end(invocation.process)
            stale = [r["unique_id"] for r in results if r["status"] not in {"pass", "warn"}]
            raise Failure(
                f"dbt source freshness failed for: {', '.join(stale)}"
                if stale
                else "dbt source freshness failed; see the run's stdout for dbt's message."
            )

    @job(
        name=name,
        tags=run_tags(prepared.settings),
        description=f"Checks how old the sources of tenant {prepared.settings.tenant.name} are.",
    )
    def _job() -> None:
        _check()

    return _job


def _freshness_results(invocation: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """The results in sources.json; none where dbt stopped before it wrote the file."""
    path = invocation.target_path / "sources.json"
    return list(orjson.loads(path.read_bytes())["results"]) if path.exists() else []


def _metadata(result: dict[str, Any]) -> dict[str, Any]:
    known = {
        "status": result.get("status"),
        "max_loaded_at": result.get("max_loaded_at"),
        "snapshotted_at": result.get("snapshotted_at"),
        "age_seconds": result.get("max_loaded_at_time_ago_in_s"),
        "error": result.get("error"),
    }
    return {f"dbt/{name}": value for name, value in known.items() if value is not None}
