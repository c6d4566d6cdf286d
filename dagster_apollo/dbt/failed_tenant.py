"""What Dagster shows of a tenant that cannot be loaded.

The other tenants of the code location load without it. Its jobs and, in production, its schedule
keep their names and fail with the reason, so that a tick that did not build is a failed run and
nothing that a person can overlook.
"""

from typing import Final

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    DefaultScheduleStatus,
    Definitions,
    Failure,
    ScheduleDefinition,
    asset,
    define_asset_job,
)

from dagster_apollo.dbt.jobs import job_names, run_tags, schedule_name
from dagster_apollo.settings import TenantSettings

ASSET_NAME: Final = "failed_to_load"


def failed_tenant(settings: TenantSettings, reason: str) -> Definitions:
    """One asset that says why the tenant has no others, and jobs that fail with the same reason.

    Args:
        settings: the tenant.
        reason: what is wrong and what mends it; it is shown in the UI, so it holds no secret.
    """
    tags = run_tags(settings)
    described = f"Tenant {settings.tenant.name} could not be loaded."
    failed = _failed_asset(settings, f"{described}\n\n```text\n{reason}\n```", reason)
    jobs = [
        define_asset_job(name, [failed], tags=tags, description=described)
        for name in job_names(settings.tenant)
    ]
    schedule = ScheduleDefinition(
        name=schedule_name(settings),
        job=jobs[0],
        cron_schedule=settings.tenant.config.cron,
        execution_timezone=settings.tenant.config.timezone,
        tags=tags,
        default_status=DefaultScheduleStatus.RUNNING,
    )
    return Definitions(
        assets=[failed], jobs=jobs, schedules=[schedule] if settings.is_production else []
    )


def _failed_asset(settings: TenantSettings, description: str, reason: str) -> AssetsDefinition:
    @asset(
        name=ASSET_NAME,
        key_prefix=[settings.tenant.key_prefix],
        group_name=ASSET_NAME,
        description=description,
        owners=list(settings.tenant.config.owners),
    )
    def _failed(_context: AssetExecutionContext) -> None:
        raise Failure(reason, allow_retries=False)

    return _failed
